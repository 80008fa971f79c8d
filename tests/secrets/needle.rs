//! A secret in all the spellings in which it could slip out.

use std::{collections::HashMap, fmt::Write as _};

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// So many bytes of a spelling in a row are a find: a piece of a secret is as good as a beginning.
const PIECE: usize = 12;

/// What a token begins with, and what comes before its signature. A token is made anew for each
/// connection, so there is no other way to know one.
const TOKEN: [(&str, &str); 2] =
    [("a token", "SharedAccessSignature sr="), ("the signature of a token", "&sig=")];

/// What is looked for.
#[derive(Default)]
pub(crate) struct Needles {
    names: Vec<String>,
    /// The pieces by their first two bytes, each with the index of its name.
    pieces: HashMap<[u8; 2], Vec<(Vec<u8>, usize)>>,
    /// Whether any piece begins so: a table, since every byte of a process is looked up.
    beginnings: Vec<bool>,
}

/// A needle and where it lies.
#[derive(Debug)]
pub(crate) struct Find<'a> {
    pub(crate) name: &'a str,
    pub(crate) at: usize,
}

impl Needles {
    /// Looks for tokens, and for nothing else yet.
    pub(crate) fn new() -> Self {
        let mut needles = Self { beginnings: vec![false; 1 << 16], ..Self::default() };
        for (name, text) in TOKEN {
            needles.piece(name, text.as_bytes());
        }
        needles
    }

    /// Adds a key.
    pub(crate) fn key(&mut self, name: &str, bytes: &[u8]) {
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        // Big numbers are kept with the least byte first.
        self.spelling(name, &reversed);
        for bytes in [bytes, &reversed] {
            let hex = |upper: bool, separator: &str| {
                let write = |byte: &u8| {
                    if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }
                };
                bytes.iter().map(write).collect::<Vec<_>>().join(separator)
            };
            for separator in ["", ":", " "] {
                self.spelling(name, hex(false, separator).as_bytes());
                self.spelling(name, hex(true, separator).as_bytes());
            }
            let decimals: Vec<_> = bytes.iter().map(u8::to_string).collect();
            self.spelling(name, decimals.join(", ").as_bytes());
        }
        self.text(name, bytes);
    }

    /// Adds a secret that may be read as it is.
    pub(crate) fn text(&mut self, name: &str, bytes: &[u8]) {
        self.spelling(name, bytes);
        self.spelling(name, bytes.escape_ascii().to_string().as_bytes());
        // A PKCS#12 passphrase is a BMPString.
        let wide: Vec<u8> = bytes.iter().flat_map(|byte| [0, *byte]).collect();
        self.spelling(name, &wide);
        for alphabet in [alphabet::STANDARD, alphabet::URL_SAFE] {
            let engine = GeneralPurpose::new(&alphabet, GeneralPurposeConfig::new());
            // A secret in the middle of something starts at any of three places of a group, and
            // shares its first and last characters with its neighbours.
            for shift in 0..3 {
                let mut padded = vec![0; shift];
                padded.extend_from_slice(bytes);
                let encoded = engine.encode(&padded);
                let own = &encoded[[0, 2, 3][shift]..(padded.len() * 8) / 6];
                self.spelling(name, own.as_bytes());
                let mut quoted = String::new();
                for character in own.chars() {
                    match character {
                        '+' | '/' => write!(quoted, "%{:02X}", character as u8).unwrap(),
                        plain => quoted.push(plain),
                    }
                }
                self.spelling(name, quoted.as_bytes());
            }
        }
    }

    fn spelling(&mut self, name: &str, spelling: &[u8]) {
        if spelling.len() < PIECE {
            self.piece(name, spelling);
        }
        for piece in spelling.windows(PIECE) {
            self.piece(name, piece);
        }
    }

    fn piece(&mut self, name: &str, piece: &[u8]) {
        assert!(piece.len() >= 5, "{name} would be found anywhere");
        let index = match self.names.iter().position(|known| known == name) {
            Some(index) => index,
            None => {
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        let beginning = [piece[0], piece[1]];
        self.beginnings[usize::from(u16::from_be_bytes(beginning))] = true;
        let pieces = self.pieces.entry(beginning).or_default();
        if !pieces.iter().any(|(known, _)| known == piece) {
            pieces.push((piece.to_owned(), index));
        }
    }

    /// Every place where a secret is.
    pub(crate) fn find<'a>(&'a self, hay: &'a [u8]) -> impl Iterator<Item = Find<'a>> {
        (0..hay.len().saturating_sub(1)).filter_map(|at| {
            let beginning = [hay[at], hay[at + 1]];
            if !self.beginnings[usize::from(u16::from_be_bytes(beginning))] {
                return None;
            }
            let pieces = &self.pieces[&beginning];
            let (_, name) = pieces.iter().find(|(piece, _)| hay[at..].starts_with(piece))?;
            Some(Find { name: &self.names[*name], at })
        })
    }

    /// Fails if a secret is in the text, also across line ends.
    #[track_caller]
    pub(crate) fn assert_absent(&self, what: &str, text: &str) {
        let joined: String = text.split_whitespace().collect();
        for text in [text, joined.as_str()] {
            if let Some(find) = self.find(text.as_bytes()).next() {
                let from = find.at.saturating_sub(200);
                let shown = &text.as_bytes()[from..text.len().min(find.at + 100)];
                panic!("{} is in {what}: …{}…", find.name, shown.escape_ascii());
            }
        }
    }
}

#[test]
fn a_secret_is_found_in_each_spelling() {
    let secret: Vec<u8> = (0..32_u8).map(|number| number.wrapping_mul(167)).collect();
    let mut needles = Needles::new();
    needles.key("the key", &secret);
    needles.text("the passphrase", b"tr0ub4dor&3");
    let base64 = base64::prelude::BASE64_STANDARD.encode([b"before".as_slice(), &secret].concat());
    let wrapped = format!("{}\n{}", &base64[..20], &base64[20..]);
    let token = "SharedAccessSignature sr=x&sig=y";
    for said in [
        format!("{secret:?}"),
        format!("{:02x?}", secret).replace(", ", ""),
        wrapped,
        token.to_owned(),
        "Passphrase(\"tr0ub4dor&3\")".to_owned(),
    ] {
        let found = std::panic::catch_unwind(|| needles.assert_absent("it", &said));
        assert!(found.is_err(), "not found: {said}");
    }
    needles.assert_absent("it", "nothing of interest");
    assert!(needles.find(&secret).any(|find| find.name == "the key"));
}
