//! Where certificates or a key are kept.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{error::Result, pem};

/// Where certificates or a key are kept: a file, or memory. Text and bytes become the latter.
#[derive(Clone)]
pub enum Source {
    /// A file of at most 16 MiB, read when its content is needed.
    File(PathBuf),
    /// The content itself; wiped after use, never shown.
    Memory(Zeroizing<Vec<u8>>),
}

impl Source {
    /// The file of this path.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// The content. Fails with [`ErrorKind::FileNotReadable`](crate::ErrorKind), and names the file.
    pub fn read(&self) -> Result<Zeroizing<Vec<u8>>> {
        match self {
            Self::File(path) => pem::read(path),
            Self::Memory(bytes) => Ok(bytes.clone()),
        }
    }

    /// What `parse` makes of the content; errors name the file.
    pub fn parse<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        match self {
            Self::File(path) => {
                parse(&pem::read(path)?).map_err(|error| error.in_context(path.display()))
            }
            Self::Memory(bytes) => parse(bytes),
        }
    }
}

impl<T: Into<Vec<u8>>> From<T> for Source {
    fn from(content: T) -> Self {
        Self::Memory(Zeroizing::new(content.into()))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "Source({})", path.display()),
            Self::Memory(_) => f.write_str("Source(..)"),
        }
    }
}

/// A source, and what errors call it where it is no file.
pub(crate) struct Named {
    what: &'static str,
    source: Source,
}

impl Named {
    pub(crate) fn new(what: &'static str, source: impl Into<Source>) -> Self {
        Self { what, source: source.into() }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// What `parse` makes of the content; errors say of what.
    pub(crate) fn parse<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
        self.source.parse(parse).map_err(|error| match &self.source {
            // It names the file already.
            Source::File(_) => error,
            Source::Memory(_) => error.in_context(self.what),
        })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File(path) => Path::display(path).fmt(f),
            Source::Memory(_) => f.write_str(self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn memory_is_not_shown_and_a_file_is_named() {
        assert_eq!(format!("{:?}", Source::from("a key")), "Source(..)");
        assert_eq!(format!("{:?}", Source::file("a.pem")), "Source(a.pem)");
        assert_eq!(Source::from("a key").read().unwrap().as_slice(), b"a key");
        let error = Source::file("no/such.pem").read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileNotReadable);
        assert!(error.message().starts_with("no/such.pem: "), "{error}");
    }

    #[test]
    fn a_file_without_an_end_is_refused_by_its_size() {
        if let Ok(content) = Source::file("/dev/zero").read() {
            panic!("{} bytes were read", content.len());
        }
    }
}
