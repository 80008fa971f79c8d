//! Logs at the finest level, errors, and `Debug` output.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use dps_emulator::{Action, Cut, Fault, Step};
use tracing_subscriber::fmt::MakeWriter;

use crate::{flows::Stage, world::World};

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_logged_shown_or_told() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone());
    // Of this thread, on which everything here runs.
    let subscriber = tracing::subscriber::set_default(subscriber.finish());
    let world = World::new().await;
    let cut = Fault::new(Step::Telemetry, Action::Cut(Cut::After)).unwrap().nth(3);
    world.cloud.emulator().faults().add(cut);
    let mut stage = Stage::new(world.folder());
    let held = stage.succeed().await;
    stage.stumble().await;
    held.drop().await;
    drop(subscriber);

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for expected in ["DEBUG", "dps_core", "reconnecting", "connected", "dps_emulator"] {
        assert!(logged.contains(expected), "{expected} is not in the log:\n{logged}");
    }
    for expected in ["DPS_PASSPHRASE_WRONG", "DPS_UNAUTHORIZED", "DPS_SERVER_NOT_TRUSTED"] {
        assert!(stage.said.contains(expected), "{expected} was not said");
    }
    world.needles.assert_absent("the log", &logged);
    world.needles.assert_absent("what was said", &stage.said);
    world.end().await;
}
