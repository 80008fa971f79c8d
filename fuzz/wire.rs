//! The transport, whatever pieces the packets arrive in and however slowly the peer reads.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use dps_core::{
    ErrorKind,
    sans_io::{
        hub::Packet,
        mqtt::{Stream, Wire},
    },
    transport::Host,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest packet that the client takes.
const LARGEST_PACKET: usize = 1024 * 1024;

/// The first byte says how many bytes follow that say into which pieces the rest is cut. What is
/// read in pieces is what is read in one, and nothing that is written is lost or overtaken.
pub(crate) fn wire(data: &[u8]) {
    let (count, rest) = data.split_first().unwrap_or((&0, &[]));
    let (cuts, packets) = rest.split_at(usize::from(*count).min(rest.len()));
    let written = Arc::<Mutex<Vec<u8>>>::default();
    let peer = Peer::new(cuts, packets, &written);
    let mut wire = Wire::new(peer, &Host::parse("hub.example.net").unwrap());
    let mut whole = packets.into();
    let mut answers = Vec::new();
    loop {
        match Packet::read(&mut whole, LARGEST_PACKET) {
            Ok(expected) => {
                assert_eq!(next(&mut wire).unwrap(), Some(expected));
                wire.put(&Packet::PingReq).unwrap();
                answers.extend([0xc0, 0]);
            }
            Err(error) if format!("{error:?}").starts_with("InsufficientBytes") => {
                assert_eq!(next(&mut wire).unwrap(), None, "a packet out of a part of one");
                // Everything that was asked for before the peer left.
                assert_eq!(*written.lock().unwrap(), answers[..answers.len() - wire.backlog()]);
                return;
            }
            Err(_) => {
                let error = next(&mut wire).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ProtocolViolation, "{error}");
                assert!(error.to_string().contains("hub.example.net"), "{error}");
                return;
            }
        }
    }
}

/// The next packet, or nothing once the peer has left. Whoever waits gives up again and again.
fn next(wire: &mut Wire<Peer>) -> dps_core::Result<Option<Packet>> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Some(packet) = wire.take()? {
            return Ok(Some(packet));
        }
        let progress = pin!(wire.progress()).poll(&mut context);
        if let Poll::Ready(Err(error)) = progress {
            assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
            // A peer's last words come before the error that follows them.
            return wire.take();
        }
    }
}

/// A peer that says everything, piece by piece, and leaves.
struct Peer {
    pieces: VecDeque<Option<Vec<u8>>>,
    /// How many bytes it takes at once, in turn; none is for a peer that is not ready.
    takes: VecDeque<usize>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Peer {
    /// Each cut is the length of a piece, or, every fourth, a wait.
    fn new(cuts: &[u8], mut data: &[u8], written: &Arc<Mutex<Vec<u8>>>) -> Self {
        let mut pieces = VecDeque::new();
        for cut in cuts {
            let length = usize::from(cut / 4).min(data.len());
            if cut % 4 == 0 || length == 0 {
                pieces.push_back(None);
            } else {
                let (piece, rest) = data.split_at(length);
                pieces.push_back(Some(piece.to_vec()));
                data = rest;
            }
        }
        pieces.extend((!data.is_empty()).then(|| Some(data.to_vec())));
        let takes = cuts.iter().map(|cut| usize::from(cut % 4)).collect();
        Self { pieces, takes, written: Arc::clone(written) }
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.pieces.pop_front() {
            Some(Some(mut piece)) => {
                let rest = piece.split_off(piece.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                if !rest.is_empty() {
                    self.pieces.push_front(Some(rest));
                }
                Poll::Ready(Ok(()))
            }
            Some(None) => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.takes.pop_front().unwrap_or(bytes.len()).min(bytes.len()) {
            0 => Poll::Pending,
            taken => {
                self.written.lock().unwrap().extend_from_slice(&bytes[..taken]);
                Poll::Ready(Ok(taken))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Stream for Peer {
    fn put_last(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }
}
