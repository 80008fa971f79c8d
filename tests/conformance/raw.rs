//! Servers that are no DPS and no hub: what a device may run into before it speaks MQTT, and
//! while it does.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dps_emulator::Recorded;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    case::{Script, Server},
    password::Password,
    script,
    tls::Certificates,
    tunnel::{Count, ended},
};

/// A server, until it is dropped.
pub(crate) struct Raw {
    pub(crate) address: String,
    pub(crate) root_pem: String,
    /// How many connections it has accepted.
    pub(crate) accepted: watch::Receiver<u32>,
    open: watch::Receiver<usize>,
    heard: Arc<Heard>,
    serving: Serving,
}

/// What the clients of a script have said.
#[derive(Default)]
pub(crate) struct Heard(Mutex<(Vec<Recorded>, Vec<Password>)>);

impl Heard {
    pub(crate) fn all(&self) -> MutexGuard<'_, (Vec<Recorded>, Vec<Password>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Serving {
    Task(JoinHandle<()>),
    /// A command, and the files that it reads.
    Command(Child, #[expect(dead_code, reason = "kept until the command ends")] TempDir),
}

impl Drop for Raw {
    fn drop(&mut self) {
        match &mut self.serving {
            Serving::Task(task) => task.abort(),
            Serving::Command(child, _) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// A fatal alert `handshake_failure` (RFC 5246, section 7.2).
const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];

impl Raw {
    pub(crate) async fn start(kind: Server, script: &Script) -> Self {
        let certificates = Certificates::new(kind == Server::Expired);
        let root_pem = certificates.root_pem.clone();
        let (count, accepted) = watch::channel(0);
        let (closing, open) = watch::channel(0);
        let heard = Arc::<Heard>::default();
        if kind == Server::Old {
            let (address, serving) = old(&certificates);
            return Self { address, root_pem, accepted, open, heard, serving };
        }
        // Nothing else of this suite listens on the second address.
        let address = if kind == Server::Closed { "127.0.0.2:0" } else { "127.0.0.1:0" };
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let acceptor = match kind {
            Server::Mistrustful => certificates.mistrustful_acceptor(),
            _ => certificates.acceptor(),
        };
        let (script, ears) = (Arc::new(script.clone()), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            if kind == Server::Closed {
                return;
            }
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                connection += 1;
                let (acceptor, guard) = (acceptor.clone(), Count::one_more(&closing));
                let (script, ears) = (Arc::clone(&script), Arc::clone(&ears));
                count.send_modify(|count| *count += 1);
                // Ends with the client, which closes the connection.
                tokio::spawn(async move {
                    let _guard = guard;
                    match kind {
                        Server::Scripted => {
                            let stream = acceptor.accept(stream).await?;
                            script::follow(stream, connection, &script, &ears).await
                        }
                        _ => serve(kind, stream, acceptor).await,
                    }
                });
            }
        });
        Self { address, root_pem, accepted, open, heard, serving: Serving::Task(task) }
    }

    /// Waits until every connection has ended, for a while.
    pub(crate) async fn settled(&self) {
        ended(&self.open).await;
    }

    /// What the clients of a script have said so far.
    pub(crate) fn heard(&self) -> MutexGuard<'_, (Vec<Recorded>, Vec<Password>)> {
        self.heard.all()
    }
}

async fn serve(kind: Server, mut stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let farewell: &[u8] = match kind {
        Server::Plain => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        Server::Refusing => ALERT,
        _ => b"",
    };
    if !farewell.is_empty() {
        let _ = stream.read(&mut buffer).await?;
        stream.write_all(farewell).await?;
    }
    if matches!(kind, Server::Silent | Server::Plain | Server::Refusing) {
        while stream.read(&mut buffer).await? > 0 {}
        return Ok(());
    }
    let mut stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        // Its alert has been sent; what is closed before all is read would take it back.
        Err((_, mut stream)) => {
            while stream.read(&mut buffer).await? > 0 {}
            return Ok(());
        }
    };
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A server of OpenSSL that speaks TLS 1.1 and nothing later, and where it listens.
fn old(certificates: &Certificates) -> (String, Serving) {
    let folder = tempfile::tempdir().expect("a folder");
    let [chain, key] = ["chain.pem", "key.pem"].map(|name| folder.path().join(name));
    fs::write(&chain, &certificates.leaf_pem).expect("a file is written");
    fs::write(&key, &certificates.key_pem).expect("a file is written");
    let mut child = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"])
        .arg("-cert")
        .arg(&chain)
        .arg("-key")
        .arg(&key)
        // It ends with its input.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the openssl command");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let address = output
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned))
        .expect("openssl says where it listens");
    (address, Serving::Command(child, folder))
}
