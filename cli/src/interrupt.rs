//! The signals by which a user ends a command.

use dps_core::Error;
use tokio::signal;

use crate::output::io_error;

/// The number of `SIGINT`, which is Ctrl-C.
const INTERRUPT: u8 = 2;

/// Catches Ctrl-C, and `SIGTERM` where there is one, from now on. The future is done when one has
/// come, with its number.
pub(crate) fn caught() -> Result<impl Future<Output = Result<u8, Error>>, Error> {
    let failed = |error: std::io::Error| io_error("the signal handler", &error);
    #[cfg(unix)]
    {
        use signal::unix::{SignalKind, signal};

        const TERMINATE: u8 = 15;

        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => Ok(INTERRUPT),
                _ = terminate.recv() => Ok(TERMINATE),
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async move { signal::ctrl_c().await.map(|()| INTERRUPT).map_err(failed) })
}
