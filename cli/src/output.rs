//! What the command prints, and where.

use std::io::{self, Write};

use comfy_table::{Table, presets::NOTHING};
use dps_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// Text for people, or JSON for programs. Results go to standard output, the rest to standard error:
/// as JSON one object a line, `{"warning": …}` or at the end `{"error": …}`.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A line of text; nothing where JSON is asked for.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Error> {
        if self.json { Ok(()) } else { print(text.as_ref()) }
    }

    /// A result as JSON, pretty; nothing where text is asked for.
    pub(crate) fn json(&self, value: &Value) -> Result<(), Error> {
        if self.json { print_json(value) } else { Ok(()) }
    }

    /// What went wrong, on standard error.
    pub(crate) fn error(&self, error: &Error) {
        if nobody_reads(error) {
            return;
        }
        let text = if self.json {
            describe(error).to_string()
        } else {
            let mut text = format!("Error: {error}");
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text.push_str(&format!("\n  caused by: {cause_text}"));
                }
                source = cause.source();
            }
            text
        };
        // Nothing is left to report to when standard error is gone.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// What there is to say instead of a result for people, on standard error.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// Something to know that is no failure, on standard error.
    pub(crate) fn warning(&self, text: impl AsRef<str>) {
        let _ = match self.json {
            true => writeln!(io::stderr(), "{}", json!({ "warning": text.as_ref() })),
            false => writeln!(io::stderr(), "Warning: {}", text.as_ref()),
        };
    }

    /// Shows what core and the emulator tolerate or try again, as warnings are shown.
    pub(crate) fn show_log(&self) {
        let log = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_target(false)
            .without_time();
        if self.json {
            log.with_level(false).with_ansi(false).with_writer(|| JsonLines).init();
        } else {
            log.with_writer(io::stderr).init();
        }
    }
}

/// Standard error, with each event of the log, which is written in one piece, as JSON.
struct JsonLines;

impl Write for JsonLines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        writeln!(io::stderr(), "{}", json!({ "warning": text.trim() }))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// One line to standard output.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    writeln!(io::stdout(), "{text}")
        .map_err(|error| io_error("standard output", &error).with_source(error))
}

/// Whether whoever read the results has had enough of them, as `head` has.
fn nobody_reads(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    source.is_some_and(|source: &io::Error| source.kind() == io::ErrorKind::BrokenPipe)
        && error.kind() == ErrorKind::FileNotWritable
}

/// One JSON document to standard output.
pub(crate) fn print_json(value: &Value) -> Result<(), Error> {
    print(&format!("{value:#}"))
}

/// A table as `az … -o table` prints it: a header, a rule below it, columns two spaces apart.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header);
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
                .max(header[column].chars().count())
        })
        .collect();
    table.add_row(widths.iter().map(|width| "-".repeat(*width)));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A mistake on the command line, whatever it would be called elsewhere.
pub(crate) fn typed(error: Error) -> Error {
    let told = Error::new(ErrorKind::InvalidArgument, error.message());
    match error.hint() {
        Some(hint) => told.with_hint(hint.to_owned()),
        None => told,
    }
}

/// An I/O failure of the command itself, with what it happened to.
pub(crate) fn io_error(what: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::FileNotWritable, format!("{what}: {error}"))
}

fn describe(error: &Error) -> Value {
    let kind = error.kind();
    let mut value = json!({
        "code": kind.code(),
        "name": kind.name(),
        "retryable": error.retryable(),
        "operation": error.operation(),
        "message": error.message(),
        "hint": error.hint(),
    });
    if let Some(service) = error.service() {
        value["service"] = json!({
            "status": service.status,
            "errorCode": service.error_code,
            "message": service.message,
            "trackingId": service.tracking_id,
            "retryAfterSeconds": service.retry_after.map(|wait| wait.as_secs()),
        });
    }
    json!({ "error": value })
}
