//! PEM text that went through a clipboard, an environment variable or a source file on its way.

use std::fmt;

use zeroize::Zeroizing;

/// What was done to a text on its way here, and undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pasted {
    Utf16,
    ByteOrderMark,
    LiteralNewlines,
    Quotes,
    LostLineEnds,
    Indented,
}

impl fmt::Display for Pasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf16 => "it is UTF-16, as PowerShell's > writes it",
            Self::ByteOrderMark => "it begins with a byte order mark",
            Self::LiteralNewlines => "its line ends are written as the two characters \\n",
            Self::Quotes => "it stands in quotation marks",
            Self::LostLineEnds => "its line ends are lost",
            Self::Indented => "its lines are indented, as in YAML",
        })
    }
}

/// The text as PEM should be, with what had to be undone.
pub(super) fn clean(bytes: &[u8]) -> (Zeroizing<String>, Vec<Pasted>) {
    let mut notes = Vec::new();
    let mut text = decode(bytes, &mut notes);
    if !text.contains(BEGIN) {
        return (text, notes);
    }
    // Neither a backslash nor a quotation mark belongs to PEM, so that undoing them harms nothing
    // but comments between the blocks.
    if text.contains("\\n") {
        notes.push(Pasted::LiteralNewlines);
        text = shortened(&shortened(&text, "\\r", ""), "\\n", "\n");
    }
    if ["\"-----BEGIN ", "'-----BEGIN "].iter().any(|quoted| text.contains(quoted)) {
        notes.push(Pasted::Quotes);
        text = without_quotes(&text);
    }
    if text.lines().any(has_company) {
        notes.push(Pasted::LostLineEnds);
        text = with_boundary_lines(&text);
    }
    if text.lines().any(is_indented) {
        notes.push(Pasted::Indented);
        text = without_margin(&text);
    }
    (text, notes)
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// A text that will not be longer than this: a reallocation would leave a copy of a key behind.
fn sized(length: usize) -> Zeroizing<String> {
    Zeroizing::new(String::with_capacity(length))
}

fn decode(bytes: &[u8], notes: &mut Vec<Pasted>) -> Zeroizing<String> {
    let utf16 = |read: fn([u8; 2]) -> u16| {
        let units = bytes[2..].as_chunks().0.iter().map(|unit| read(*unit));
        let mut text = sized(bytes.len() / 2 * 3);
        text.extend(char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
        text
    };
    match bytes {
        [0xff, 0xfe, ..] => {
            notes.push(Pasted::Utf16);
            utf16(u16::from_le_bytes)
        }
        [0xfe, 0xff, ..] => {
            notes.push(Pasted::Utf16);
            utf16(u16::from_be_bytes)
        }
        _ => {
            let bytes = match bytes.strip_prefix("\u{feff}".as_bytes()) {
                Some(rest) => {
                    notes.push(Pasted::ByteOrderMark);
                    rest
                }
                None => bytes,
            };
            // Of an invalid byte comes a character of three.
            let wrong = bytes.utf8_chunks().count();
            let mut text = sized(bytes.len() + char::REPLACEMENT_CHARACTER.len_utf8() * wrong);
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                if !chunk.invalid().is_empty() {
                    text.push(char::REPLACEMENT_CHARACTER);
                }
            }
            text
        }
    }
}

/// The text with `short` for each `long`.
fn shortened(text: &str, long: &str, short: &str) -> Zeroizing<String> {
    let mut clean = sized(text.len());
    for (index, part) in text.split(long).enumerate() {
        if index > 0 {
            clean.push_str(short);
        }
        clean.push_str(part);
    }
    clean
}

/// The value of a C, Java, Python or JSON string constant, of one line or of many.
fn without_quotes(text: &str) -> Zeroizing<String> {
    let (mut clean, mut bare) = (sized(text.len() + 1), sized(text.len()));
    for line in text.lines() {
        bare.clear();
        bare.extend(line.split(['"', '\'']));
        let line = bare.trim().trim_end_matches([';', ',', '\\', ')', '(']).trim_end();
        // What joins the lines of a Java constant. No line of base64 is a single character.
        if line != "+" {
            clean.push_str(line.strip_suffix(" +").unwrap_or(line));
            clean.push('\n');
        }
    }
    clean
}

/// Whether a BEGIN or END line holds more than itself.
fn has_company(line: &str) -> bool {
    let line = line.trim();
    boundaries(line).next().is_some_and(|(at, length)| at > 0 || length < line.len())
}

/// Whether a BEGIN or END line does not begin at the margin, where openssl wants it.
fn is_indented(line: &str) -> bool {
    line.starts_with(char::is_whitespace) && boundaries(line.trim()).next().is_some()
}

fn without_margin(text: &str) -> Zeroizing<String> {
    let mut clean = sized(text.len() + 1);
    for line in text.lines() {
        clean.push_str(line.trim_start());
        clean.push('\n');
    }
    clean
}

fn with_boundary_lines(text: &str) -> Zeroizing<String> {
    let mut clean = sized(text.len() + 2 * boundaries(text).count());
    let mut done = 0;
    for (at, length) in boundaries(text) {
        clean.push_str(&text[done..at]);
        clean.push('\n');
        clean.push_str(&text[at..at + length]);
        clean.push('\n');
        done = at + length;
    }
    clean.push_str(&text[done..]);
    clean
}

/// Where each `-----BEGIN X-----` and `-----END X-----` of the text stands, and how long it is.
fn boundaries(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let at = from + text[from..].find(DASHES)?;
            let label = at + DASHES.len();
            let kind = ["BEGIN ", "END "].iter().find(|kind| text[label..].starts_with(**kind));
            let end = kind.and_then(|kind| {
                let label = label + kind.len();
                // A label is short and stands on one line; dashes far away are not its own.
                let length = text[label..].find(DASHES).filter(|length| *length <= 40)?;
                Some(label + length + DASHES.len())
            });
            match end {
                Some(end) if !text[at..end].contains('\n') => {
                    from = end;
                    return Some((at, end - at));
                }
                _ => from = at + 1,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAQ+D\nBAU+\n-----END CERTIFICATE-----\n";

    fn cleaned(text: &[u8]) -> (Vec<Vec<u8>>, Vec<Pasted>) {
        let parsed = crate::pem::parse(text).unwrap();
        (parsed.blocks.iter().map(|block| block.der.to_vec()).collect(), parsed.pasted)
    }

    #[test]
    fn what_was_pasted_is_understood_and_named() {
        let (expected, none) = cleaned(PEM.as_bytes());
        assert_eq!((expected.len(), none), (1, vec![]));
        let one_line = PEM.trim_end().replace('\n', "\\n");
        let c: String = PEM.lines().map(|line| format!("\"{line}\"\"\\n\"\n")).collect();
        let java = PEM.trim_end().replace('\n', "\\n\" +\n\"");
        let utf16: Vec<u8> =
            format!("\u{feff}{PEM}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let indented = |margin: &str| -> String {
            PEM.lines().map(|line| format!("{margin}{line}\n")).collect()
        };
        use Pasted::*;
        for (text, notes) in [
            (PEM.replace('\n', "\r\n").into_bytes(), vec![]),
            (format!("\u{feff}{PEM}").into_bytes(), vec![ByteOrderMark]),
            (utf16, vec![Utf16]),
            (one_line.clone().into_bytes(), vec![LiteralNewlines]),
            (format!("\"{one_line}\"").into_bytes(), vec![LiteralNewlines, Quotes]),
            (format!("'{}'", PEM.trim_end()).into_bytes(), vec![Quotes]),
            (c.into_bytes(), vec![LiteralNewlines, Quotes]),
            (format!("\"{java}\";").into_bytes(), vec![LiteralNewlines, Quotes]),
            (PEM.trim_end().replace('\n', " ").into_bytes(), vec![LostLineEnds]),
            (PEM.replace('\n', "").into_bytes(), vec![LostLineEnds]),
            (format!("cert: |\n{}", indented("  ")).into_bytes(), vec![Indented]),
            (indented("\t").replace('\n', "\r\n").into_bytes(), vec![Indented]),
            (format!("  {}", PEM.trim_end().replace('\n', " ")).into_bytes(), vec![LostLineEnds]),
        ] {
            let found = cleaned(&text);
            assert_eq!(found, (expected.clone(), notes), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn comments_with_dashes_and_quotes_are_no_pasting() {
        let text = format!("Bag \"Attributes\" ---------- x\n{PEM}-----BEGINNING\n");
        let parsed = crate::pem::parse(text.as_bytes()).unwrap();
        assert_eq!((parsed.blocks.len(), parsed.pasted), (1, vec![]));
    }
}
