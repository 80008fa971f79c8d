//! What this thread logs, for tests of warnings and retries.

use std::{fs, sync::Arc};

use tempfile::NamedTempFile;
use tracing::{Level, subscriber::DefaultGuard};

/// Everything that is logged on this thread while it lives.
pub(crate) struct Logged {
    file: NamedTempFile,
    _subscriber: DefaultGuard,
}

impl Logged {
    pub(crate) fn from_now_on() -> Self {
        let file = NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::WARN)
            .with_ansi(false)
            .with_writer(Arc::new(file.reopen().unwrap()))
            .finish();
        Self { file, _subscriber: tracing::subscriber::set_default(subscriber) }
    }

    /// The warnings of dps-core so far, a line each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file.path()).unwrap();
        text.lines().filter(|line| line.contains(" dps_core")).map(str::to_owned).collect()
    }
}
