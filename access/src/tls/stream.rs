//! A connection that is plain or not. What is plain costs one comparison more than without this type.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::certificate::Facts;

pub enum Stream {
    Plain(TcpStream),
    /// Boxed because it is some kilobytes, and the other is not.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// When the peer's certificate ends, in seconds since 1970, where it showed one.
    pub fn peer_ends_s(&self) -> Option<i64> {
        let Self::Tls(stream) = self else { return None };
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(Facts::of_chain(chain)?.not_after_s)
    }

    /// Writes what the socket takes at once; for last words to a client that may be gone.
    pub fn try_write(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let this = Pin::new(self);
        if this.poll_write_now(&mut cx, bytes).is_err() {
            tracing::trace!("the client is gone");
        }
    }

    fn poll_write_now(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if let Poll::Ready(written) = self.as_mut().poll_write(cx, bytes) {
            written?;
        }
        match self.poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
