//! What the emulator must do with any bytes: answer or close, and serve the next client.

use std::{cell::Cell, panic, sync::LazyLock, time::Duration};

use dps_core::{
    tls::Roots,
    transport::{Host, Network},
};
use dps_emulator::Emulator;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::timeout,
};

const HOST: &str = "global.azure-devices-provisioning.net";

/// Longer than any of the emulator's own limits on a client that has left.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a client stays for an answer: one that leaves at once is not answered over HTTP.
const STAY: Duration = Duration::from_millis(10);

thread_local! {
    /// tokio keeps a panic inside of its task, so that only this tells of one. The emulator's
    /// tasks run on the thread of its client.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

struct World {
    runtime: Runtime,
    emulator: Emulator,
    network: Network,
}

/// Bytes in place of a TLS handshake, and the same bytes inside of TLS.
pub(crate) fn listener(data: &[u8]) {
    let world = &*WORLD;
    PANICKED.set(false);
    world.runtime.block_on(async {
        let bare = TcpStream::connect(world.emulator.connect_to()).await.unwrap();
        talk(bare, data, Duration::ZERO).await;
        talk(world.connect().await, data, STAY).await;
        let question = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        let answer = talk(world.connect().await, question.as_bytes(), PATIENCE).await;
        assert!(answer.starts_with(b"HTTP/1.1 "), "{:?}", String::from_utf8_lossy(&answer));
    });
    assert!(!PANICKED.get(), "the emulator panicked");
}

impl World {
    fn new() -> Self {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICKED.set(true);
            before(info);
        }));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let emulator = Emulator::builder().id_scope("0ne00000A0A").retry_after(0);
        let emulator = runtime.block_on(emulator.start()).unwrap();
        let network = Network::default()
            .connect_to(emulator.connect_to())
            .roots(Roots::pem(emulator.root_pem()));
        Self { runtime, emulator, network }
    }

    async fn connect(&self) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        self.network.open_tls(&Host::parse(HOST).unwrap(), 443).await.unwrap()
    }
}

/// Says everything, listens for a while, leaves, and listens until the emulator has closed.
async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    data: &[u8],
    stay: Duration,
) -> Vec<u8> {
    let mut answer = Vec::new();
    let conversation = async {
        // It may have heard enough, and closed.
        if stream.write_all(data).await.is_err() {
            return;
        }
        if timeout(stay, stream.read_to_end(&mut answer)).await.is_err()
            && stream.shutdown().await.is_ok()
        {
            let _ = stream.read_to_end(&mut answer).await;
        }
    };
    timeout(PATIENCE, conversation).await.expect("the emulator closes the connection");
    answer
}
