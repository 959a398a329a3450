//! A connection that ends when its client takes too little of an answer, and that outlives an answer which did not wait
//! for the request's body: closed over unread bytes it would be reset, and the answer lost with it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::{LINGER_MAX_BYTES, LINGER_TIMEOUT, WRITE_MIN_BYTES, WRITE_STALL_TIMEOUT};
use crate::tls::Stream;

const DISCARD_BYTES: usize = 4 * 1024;

pub struct Bounded {
    stream: Stream,
    body_is_unread: Arc<AtomicBool>,
    stall: Option<Stall>,
    linger: Option<Linger>,
}

/// Bytes wait for the client: until when, and how many it took meanwhile.
struct Stall {
    taken: usize,
    until: Pin<Box<Sleep>>,
}

struct Linger {
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl Bounded {
    /// With the mark that [`ReadBody`] sets.
    pub fn new(stream: Stream) -> (Self, Arc<AtomicBool>) {
        let body_is_unread = Arc::new(AtomicBool::new(false));
        (Self { stream, body_is_unread: Arc::clone(&body_is_unread), stall: None, linger: None }, body_is_unread)
    }

    /// Passes on what came of writing `length` bytes; an error if the client has taken too little for too long.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        length: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(count)) if *count == length => self.stall = None,
            Poll::Ready(Ok(count)) => {
                if let Some(stall) = &mut self.stall {
                    stall.taken += count;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let begin = || Stall { taken: 0, until: Box::pin(sleep(WRITE_STALL_TIMEOUT)) };
                let stall = self.stall.get_or_insert_with(begin);
                while stall.until.as_mut().poll(cx).is_ready() {
                    if stall.taken < WRITE_MIN_BYTES {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    stall.taken = 0;
                    stall.until.as_mut().reset(Instant::now() + WRITE_STALL_TIMEOUT);
                }
            }
        }
        written
    }

    /// Throws away what the client still sends, for a while.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begin = || Linger { left: LINGER_MAX_BYTES, until: Box::pin(sleep(LINGER_TIMEOUT)) };
        let linger = self.linger.get_or_insert_with(begin);
        if linger.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut bytes = [0; DISCARD_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            let count = buffer.filled().len();
            if read.is_err() || count == 0 || count >= linger.left {
                return Poll::Ready(());
            }
            linger.left -= count;
        }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, slices.iter().map(|slice| slice.len()).sum(), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.body_is_unread.load(Ordering::Relaxed) {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

/// A request's body; marks the connection as long as it is not read to its end.
pub struct ReadBody {
    body: Incoming,
    is_unread: Arc<AtomicBool>,
}

impl ReadBody {
    pub(super) fn new(body: Incoming, is_unread: Arc<AtomicBool>) -> Self {
        is_unread.store(!body.is_end_stream(), Ordering::Relaxed);
        Self { body, is_unread }
    }
}

impl Body for ReadBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_unread.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
