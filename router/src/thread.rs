//! What all connections of one thread share: a clock, and a buffer to read into.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use access::tls::Stream;
use tokio::io::{AsyncRead, ReadBuf};

const SCRATCH_BYTES: usize = 16 * 1024;

/// A thread's clock, as coarse as the sweep that sets it.
pub struct Clock(Cell<Instant>);

impl Clock {
    pub fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self(Cell::new(now)))
    }

    pub fn now(&self) -> Instant {
        self.0.get()
    }

    pub fn set(&self, now: Instant) {
        self.0.set(now);
    }
}

/// What all of a thread's connections read into before their own buffers; saves unsafe code for a short copy.
#[derive(Clone)]
pub struct Scratch(Rc<RefCell<Box<[u8]>>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice())))
    }
}

impl Scratch {
    /// Reads once, at most `room` bytes, and hands on what came; zero bytes are the end of the stream.
    pub fn poll_read(
        &self,
        stream: &mut Stream,
        room: usize,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8]),
    ) -> Poll<std::io::Result<usize>> {
        let mut scratch = self.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch[..room.min(SCRATCH_BYTES)]);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        if !bytes.is_empty() {
            take(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }
}
