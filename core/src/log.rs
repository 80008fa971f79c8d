//! What this crate says about itself, for a program that is no Rust program.
//!
//! A Rust program sees the same as events of `tracing`, by a subscriber of its own.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{Interest, set_global_default},
};

/// How important a line of the log is; the most important is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed for good.
    Error,
    /// Something is not as it should be, and goes on.
    Warn,
    /// What happens rarely and matters.
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

/// One line of the log. It never holds a key, a passphrase or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// How important it is.
    pub level: Level,
    /// Which part of the SDK says it, such as `dps_core::provisioning`.
    pub target: &'static str,
    /// What it says: words, then what belongs to them as ` name=value`.
    pub message: String,
}

/// Where the lines go.
pub trait Sink: Send + Sync + 'static {
    /// Whether lines of this level are wanted. Asked before each line: the answer may change.
    fn wants(&self, level: Level) -> bool;

    /// Takes a line. Called from any thread and from several at once.
    fn take(&self, line: Line);
}

/// Sends what this crate logs to the sink, for as long as the process lasts. `false` where the
/// program has a subscriber of `tracing` already, which then sees the log in its place.
#[must_use = "another subscriber may be there, and then the sink gets nothing"]
pub fn install(sink: impl Sink) -> bool {
    set_global_default(Lines(sink)).is_ok()
}

/// Passes events on; spans are not used by this crate.
struct Lines<S>(S);

impl<S: Sink> Subscriber for Lines<S> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_ours(metadata) {
            // What the sink wants may change: nothing is to be remembered.
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) && self.0.wants(Level::of(metadata))
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let (level, target) = (Level::of(event.metadata()), event.metadata().target());
        self.0.take(Line { level, target, message: text.words + &text.fields });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The libraries below speak of bytes and handshakes, for their own authors, and may name what this
/// crate takes care not to.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("dps_core")
}

impl Level {
    fn of(metadata: &Metadata<'_>) -> Self {
        match *metadata.level() {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }
}

#[derive(Default)]
struct Text {
    words: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text does not fail.
        let _ = match field.name() {
            "message" => write!(self.words, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Tell(Level, Sender<Line>);

    impl Sink for Tell {
        fn wants(&self, level: Level) -> bool {
            level <= self.0
        }

        fn take(&self, line: Line) {
            self.1.send(line).unwrap();
        }
    }

    #[test]
    fn a_sink_gets_the_lines_that_it_wants_and_nothing_of_other_crates() {
        let (sender, lines) = channel();
        tracing::subscriber::with_default(Lines(Tell(Level::Info, sender)), || {
            tracing::info!(target: "dps_core::hub", attempt = 2, "connected to {}", "a hub");
            tracing::debug!(target: "dps_core::hub", "not wanted");
            tracing::error!(target: "rustls::conn", "of another crate");
            tracing::warn!(target: "dps_core::hub", "lost");
        });
        let (target, lines) = ("dps_core::hub", lines.into_iter().collect::<Vec<_>>());
        let line = |level, message: &str| Line { level, target, message: message.into() };
        assert_eq!(
            lines,
            [line(Level::Info, "connected to a hub attempt=2"), line(Level::Warn, "lost")]
        );
    }
}
