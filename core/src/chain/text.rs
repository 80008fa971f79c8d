//! PEM as a string constant of a source file: the tutorial's `sed` steps.

use zeroize::Zeroizing;

use crate::{
    error::{Error, ErrorKind, Result},
    pem,
};

/// The PEM text as a C string constant, one source line for each line of the text.
///
/// The same bytes as the tutorial's `sed -e 's/^/"/;$ !s/$/""\\n"/;$ s/$/"/'`.
pub fn c_string(text: &[u8]) -> Result<Zeroizing<String>> {
    constant(text, "\"\"\\n\"")
}

/// The PEM text as a Java string constant, one source line for each line of the text. Python
/// reads it too, between parentheses.
///
/// The same bytes as the tutorial's `sed 's/^/"/;$ !s/$/\\n" +/;$ s/$/"/'`.
pub fn java_string(text: &[u8]) -> Result<Zeroizing<String>> {
    constant(text, "\\n\" +")
}

fn constant(text: &[u8], line_end: &str) -> Result<Zeroizing<String>> {
    if !pem::parse(text).is_ok_and(|parsed| !parsed.blocks.is_empty()) {
        return Err(Error::new(
            ErrorKind::WrongFileContent,
            format!("a PEM text was expected, but this is {}", pem::describe(text)),
        ));
    }
    let text = pem::cleaned(text);
    let mut lines = text.lines().peekable();
    // Sized in advance: a reallocation would leave a copy of a key behind.
    let escaped = text.matches(['\\', '"']).count();
    let size = text.len() + escaped + text.lines().count() * (line_end.len() + 2);
    let mut constant = Zeroizing::new(String::with_capacity(size));
    while let Some(line) = lines.next() {
        constant.push('"');
        // Comments between the blocks may hold what a constant must not.
        for c in line.chars() {
            if matches!(c, '\\' | '"') {
                constant.push('\\');
            }
            constant.push(c);
        }
        constant.push_str(if lines.peek().is_some() { line_end } else { "\"" });
        constant.push('\n');
    }
    Ok(constant)
}
