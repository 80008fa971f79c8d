//! The registration IDs of a batch: from a CSV, or a range.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufReader, Cursor, Read},
    path::PathBuf,
    sync::Arc,
};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{
    Certificate, Folder, certificates_from_file,
    folder::{FULL_CHAIN, file_stem},
};
use crate::{
    error::{Error, ErrorKind, Result},
    registration_id::RegistrationId,
};

/// The registration IDs of a CSV, one a row, in the order of the rows.
///
/// The column is the one headed `registrationId` (or `deviceId`, in any spelling of case, `_` and
/// `-`); one column alone needs no header. Empty rows and rows that begin with `#` are skipped. An
/// ID may stand twice; two that differ and would have the same files are an error.
pub fn registration_ids_from_csv(
    reader: impl Read,
) -> impl Iterator<Item = Result<RegistrationId>> {
    let rows = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .comment(Some(b'#'))
        .from_reader(reader)
        .into_records();
    let mut column = None;
    let mut failed = false;
    let mut names = Names::default();
    rows.filter_map(move |row| {
        if failed {
            return None;
        }
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                // What follows an unreadable row may be anything.
                failed = true;
                return Some(Err(Error::new(
                    ErrorKind::WrongFileContent,
                    format!("the CSV cannot be read: {error}"),
                )));
            }
        };
        let at = match column {
            Some(at) => at,
            None => match row.iter().position(is_heading) {
                Some(at) => {
                    column = Some(at);
                    return None;
                }
                // A heading that is not known would become a device.
                None if row.iter().filter(|field| !field.is_empty()).count() > 1 => {
                    failed = true;
                    return Some(Err(no_heading(&row)));
                }
                None => *column.insert(0),
            },
        };
        if row.iter().all(str::is_empty) {
            return None;
        }
        let id = RegistrationId::parse_common_name(row.get(at).unwrap_or_default());
        let id = id.and_then(|id| {
            check_stem(&id)?;
            match names.add(&id) {
                Name::Taken => Err(taken(&id)),
                Name::New | Name::Again => Ok(id),
            }
        });
        Some(id.map_err(|error| error.in_context(format_args!("line {}", line(&row)))))
    })
}

/// The registration IDs of a CSV that was read to its end once: a bad row cannot end a batch
/// half-way. Takes no more memory for a long file than for a short one, but for 16 bytes an ID.
pub struct CsvRegistrationIds {
    rows: Box<dyn Iterator<Item = Result<RegistrationId>> + Send>,
    remaining: u64,
}

impl CsvRegistrationIds {
    /// Reads the file, in the form of [`registration_ids_from_csv`]; errors name it. A pipe can be
    /// read but once: what comes out of it, at most 1 GiB, is kept in memory.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let unreadable = |error| Error::on_file(ErrorKind::FileNotReadable, &path, error);
        let file = File::open(&path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            let csv = read_once(file).map_err(unreadable)?;
            return Self::new(csv).map_err(|error| error.in_context(path.display()));
        }
        Self::checked(|| {
            let file = BufReader::new(File::open(&path).map_err(unreadable)?);
            Ok(Box::new(registration_ids_from_csv(file)))
        })
        .map(|ids| {
            let path = path.clone();
            let named = move |id: Result<_>| id.map_err(|error| error.in_context(path.display()));
            Self { rows: Box::new(ids.rows.map(named)), ..ids }
        })
        .map_err(|error| match error.path() {
            // It is named already.
            Some(_) => error,
            None => error.in_context(path.display()),
        })
    }

    /// As [`file`](Self::file), from memory.
    pub fn new(csv: impl Into<Vec<u8>>) -> Result<Self> {
        let csv = Arc::<[u8]>::from(csv.into());
        Self::checked(|| Ok(Box::new(registration_ids_from_csv(Cursor::new(Arc::clone(&csv))))))
    }

    fn checked(
        rows: impl Fn() -> Result<Box<dyn Iterator<Item = Result<RegistrationId>> + Send>>,
    ) -> Result<Self> {
        let mut remaining = 0;
        for id in rows()? {
            id?;
            remaining += 1;
        }
        match remaining {
            0 => Err(Error::new(ErrorKind::WrongFileContent, "no registration ID is in the CSV")),
            _ => Ok(Self { rows: rows()?, remaining }),
        }
    }

    /// How many are still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }
}

impl fmt::Debug for CsvRegistrationIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvRegistrationIds")
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}

impl Iterator for CsvRegistrationIds {
    type Item = Result<RegistrationId>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.rows.next();
        self.remaining = self.remaining.saturating_sub(1);
        next
    }
}

/// All that comes out of a pipe; a device such as `/dev/zero` has no end.
fn read_once(pipe: File) -> io::Result<Vec<u8>> {
    const MOST: u64 = 1 << 30;

    let mut csv = Vec::new();
    match pipe.take(MOST + 1).read_to_end(&mut csv)? as u64 {
        0..=MOST => Ok(csv),
        _ => Err(io::Error::other("more than 1 GiB came out of it")),
    }
}

fn is_heading(field: &str) -> bool {
    let letters: String = field.chars().filter(char::is_ascii_alphanumeric).collect();
    letters.eq_ignore_ascii_case("registrationid") || letters.eq_ignore_ascii_case("deviceid")
}

fn no_heading(row: &StringRecord) -> Error {
    let message = format!(
        "line {}: there are several columns, and none is headed registrationId or deviceId",
        line(row)
    );
    Error::new(ErrorKind::WrongFileContent, message)
        .with_hint("Name the column of the registration IDs in the first row.")
}

fn line(row: &StringRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}

/// Fails where two of the registration IDs are the same, or would have the same files, or where one
/// would have those of a CA or of a full chain.
pub fn check_distinct(ids: &[RegistrationId]) -> Result<()> {
    let mut names = Names::default();
    ids.iter().try_for_each(|id| {
        check_stem(id)?;
        match names.add(id) {
            Name::New => Ok(()),
            Name::Taken => Err(taken(id)),
            Name::Again => Err(Error::new(
                ErrorKind::RegistrationIdInvalid,
                format!("the registration ID {:?} stands twice", id.as_str()),
            )),
        }
    })
}

impl Folder {
    /// Fails where the files of this device would be those of something else: another device's full
    /// chain, a CA, the proof of possession. Asked before anything is written.
    pub fn check_device(&self, id: &RegistrationId) -> Result<()> {
        check_stem(id)?;
        let is_authority = || {
            certificates_from_file(self.certificate(id.as_str()), None)
                .is_ok_and(|found| found.iter().any(Certificate::is_ca))
        };
        // What may not be overwritten is found where it is read.
        match self.overwrites() && is_authority() {
            true => Err(not_free(id, "a CA")),
            false => Ok(()),
        }
    }
}

/// Fails for a registration ID whose files have another meaning.
fn check_stem(id: &RegistrationId) -> Result<()> {
    match file_stem(id.as_str()).to_ascii_lowercase().as_str() {
        Folder::ROOT | Folder::INTERMEDIATE => Err(not_free(id, "a CA")),
        Folder::VERIFICATION => Err(not_free(id, "the proof of possession")),
        stem if format!("{stem}.cert.pem").ends_with(FULL_CHAIN) => {
            Err(not_free(id, "another device's full chain"))
        }
        _ => Ok(()),
    }
}

fn not_free(id: &RegistrationId, owner: &str) -> Error {
    Error::new(
        ErrorKind::RegistrationIdInvalid,
        format!("the registration ID {:?} would have the files of {owner}", id.as_str()),
    )
}

/// The file names that registration IDs stand for: 16 bytes for each, so that a batch of any
/// length fits. `:` becomes `_`, and case does not tell two files apart on every system, nor two
/// devices in DPS.
#[derive(Default)]
struct Names(HashMap<u64, u64>);

enum Name {
    New,
    Again,
    Taken,
}

impl Names {
    fn add(&mut self, id: &RegistrationId) -> Name {
        let hash = |text: &str| {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        };
        let own = hash(id.as_str());
        match self.0.entry(hash(&file_stem(id.as_str()).to_ascii_lowercase())) {
            Entry::Vacant(free) => {
                free.insert(own);
                Name::New
            }
            Entry::Occupied(other) if *other.get() == own => Name::Again,
            Entry::Occupied(_) => Name::Taken,
        }
    }
}

fn taken(id: &RegistrationId) -> Error {
    Error::new(
        ErrorKind::RegistrationIdInvalid,
        format!(
            "the registration ID {:?} would have the files of one before it: the two differ in no \
             more than case, ':' and '_'",
            id.as_str()
        ),
    )
}

/// Registration IDs that differ in a number: `device-0001..device-1000`.
#[derive(Clone, Debug)]
pub struct RegistrationIdRange {
    prefix: String,
    width: usize,
    next: u64,
    last: u64,
}

impl RegistrationIdRange {
    /// Reads `FIRST..LAST`, both included. Both end in a number; what stands before it is the
    /// same, and a number that begins with a zero keeps its width.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = |reason: &str| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("{text:?} is no range of registration IDs: {reason}"),
            )
            .with_hint("Write it like device-0001..device-1000.")
        };
        let (first, last) =
            text.split_once("..").ok_or_else(|| malformed("it has no two dots in it"))?;
        let (prefix, first_number) = split(first);
        let (last_prefix, last_number) = split(last);
        if prefix != last_prefix {
            return Err(malformed("its two ends differ in more than their number"));
        }
        if first_number.len() > last_number.len()
            || (first_number.starts_with('0') && first_number.len() != last_number.len())
        {
            return Err(malformed("the numbers of its two ends differ in width"));
        }
        let number = |text: &str| -> Result<u64> {
            text.parse().map_err(|_| malformed("an end of it has no number, or too large a one"))
        };
        let (next, end) = (number(first_number)?, number(last_number)?);
        if next > end {
            return Err(malformed("it ends before it begins"));
        }
        // The longest; the others differ from it in their digits only.
        RegistrationId::parse_common_name(last)?;
        RegistrationId::parse_common_name(first)?;
        Ok(Self { prefix: prefix.to_owned(), width: first_number.len(), next, last: end })
    }

    /// How many are still to come.
    pub fn remaining(&self) -> u64 {
        match self.last.checked_sub(self.next) {
            Some(more) => more.saturating_add(1),
            None => 0,
        }
    }
}

impl Iterator for RegistrationIdRange {
    type Item = Result<RegistrationId>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        let id = format!("{}{:0width$}", self.prefix, self.next, width = self.width);
        // Leaves the range behind at its end, even where that is the largest number.
        match self.next.checked_add(1) {
            Some(next) => self.next = next,
            None => (self.next, self.last) = (1, 0),
        }
        Some(RegistrationId::parse_common_name(&id))
    }
}

/// What stands before the number at the end, and the number.
fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    text.split_at(text.len() - digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::{Authority, Validity},
        key::{KeyType, PrivateKey},
    };

    fn csv(text: &str) -> Result<Vec<String>> {
        registration_ids_from_csv(text.as_bytes()).map(|id| id.map(|id| id.to_string())).collect()
    }

    #[test]
    fn a_csv_with_and_without_a_header() {
        for text in [
            "a\nb\n",
            "\u{feff}a\r\n\r\nb",
            "registrationId\na\nb\n",
            "line,Device_ID,note\n1,a,x\n2,b,\"y, z\"\n",
            "# made by hand\n a \nb\n",
        ] {
            assert_eq!(csv(text).unwrap(), ["a", "b"], "{text:?}");
        }
        assert!(csv("").unwrap().is_empty());
    }

    #[test]
    fn a_csv_without_a_registration_id_or_a_column_for_it_makes_no_device() {
        let error = csv("Serial,Model\nm-1,x\n").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongFileContent);
        let message = error.message();
        assert!(message.starts_with("line 1: ") && message.contains("registrationId"), "{error}");
        for empty in ["", "\n# none\n", "registrationId\n\n"] {
            let error = CsvRegistrationIds::new(empty).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WrongFileContent, "{empty:?}");
        }
    }

    /// A pipe has an end only once.
    #[cfg(unix)]
    #[test]
    fn a_pipe_is_read_as_a_file_is() {
        use std::{io::Write as _, os::fd::AsRawFd as _};

        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"a\nb\n").unwrap();
        drop(writer);
        let ids = CsvRegistrationIds::file(format!("/dev/fd/{}", reader.as_raw_fd())).unwrap();
        assert_eq!(ids.remaining(), 2);
        let ids: Vec<_> = ids.map(|id| id.unwrap().to_string()).collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn a_device_never_gets_the_files_of_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Folder::new(folder.path());
        let key = Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap());
        let line = Authority::create_root("Line 1", key, Validity::days(1)).unwrap();
        kept.write_public(&kept.certificate("line-1"), line.certificate().to_pem()).unwrap();
        for (id, owner) in [
            ("azure-iot-test-only.root.ca", "a CA"),
            ("Azure-IoT-test-only.intermediate", "a CA"),
            ("verification-code", "the proof of possession"),
            ("device-01-full-chain", "full chain"),
            ("device-01-FULL-chain", "full chain"),
            ("line-1", "a CA"),
        ] {
            let id = RegistrationId::parse(id).unwrap();
            let error = kept.clone().overwrite(true).check_device(&id).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RegistrationIdInvalid);
            assert!(error.message().contains(owner), "{error}");
            assert_eq!(
                check_distinct(&[id]).is_ok(),
                owner == "a CA" && error.message().contains("line-1")
            );
        }
        let error = csv("a\nb-full-chain\n").unwrap_err();
        assert!(error.message().contains("line 2"), "{error}");
        let free = RegistrationId::parse("full-chain").unwrap();
        kept.overwrite(true).check_device(&free).unwrap();
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        for (text, words) in [
            ("a\nb c\n", ["line 2", "' '"]),
            ("note,registrationId\nx,a\ny\n", ["line 3", "empty"]),
            ("a;b\n", ["line 1", "';'"]),
        ] {
            let error = csv(text).unwrap_err();
            assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
        }
        for text in ["a_1\na:1\n", "b\nD9\nb\nd9\n"] {
            let error = csv(text).unwrap_err();
            assert!(error.message().contains("would have the files"), "{error}");
        }
        assert_eq!(csv("a\nb\na\n").unwrap(), ["a", "b", "a"], "one that stands twice is one");
        let mut rows = registration_ids_from_csv(&b"a\n\xff\xfe\nb\n"[..]);
        assert!(rows.next().unwrap().is_ok());
        assert_eq!(rows.next().unwrap().unwrap_err().kind(), ErrorKind::WrongFileContent);
        assert!(rows.next().is_none(), "what follows may be anything");
    }

    #[test]
    fn a_range_keeps_its_width() {
        let all = |text: &str| -> Vec<String> {
            let mut range = RegistrationIdRange::parse(text).unwrap();
            let count = range.remaining();
            let ids: Vec<_> = range.by_ref().map(|id| id.unwrap().to_string()).collect();
            assert_eq!((ids.len() as u64, range.remaining()), (count, 0));
            ids
        };
        assert_eq!(all("d-008..d-011"), ["d-008", "d-009", "d-010", "d-011"]);
        assert_eq!(all("9..11"), ["9", "10", "11"]);
        assert_eq!(all("x18446744073709551615..x18446744073709551615").len(), 1);
        for bad in ["a..b", "a1..b2", "a2..a1", "a01..a100", "a1", "a1..a99999999999999999999"] {
            let error = RegistrationIdRange::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        let error = RegistrationIdRange::parse("a 1..a 2").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RegistrationIdInvalid);
    }
}
