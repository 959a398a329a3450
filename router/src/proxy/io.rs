//! A client's socket as hyper reads it. It marks when bytes move, and counts `Content-Length` lines: hyper silently
//! drops that header when `Transfer-Encoding` stands beside it, and we refuse such a request instead of guessing what
//! the sender, or a proxy before us, took for its end. A line inside a body counts too; that can only refuse more.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::proxy::client::Client;

const SCRATCH_BYTES: usize = 16 * 1024;
const LENGTH_LINE: &[u8] = b"content-length";

/// What a thread's connections read into before hyper's own buffers; saves unsafe code for a short copy.
#[derive(Clone)]
pub struct Scratch(Rc<RefCell<Box<[u8]>>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice())))
    }
}

pub struct ClientIo {
    stream: TcpStream,
    client: Rc<Client>,
    scratch: Scratch,
    lines: LengthLines,
}

impl ClientIo {
    pub fn new(stream: TcpStream, client: Rc<Client>, scratch: Scratch) -> Self {
        Self { stream, client, scratch, lines: LengthLines::default() }
    }
}

impl Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<Result<(), std::io::Error>> {
        let this = self.get_mut();
        let mut scratch = this.scratch.0.borrow_mut();
        let room = into.remaining().min(SCRATCH_BYTES);
        let mut buffer = ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        if !bytes.is_empty() {
            this.client.bytes_read();
            this.lines.scan(bytes, || this.client.length_line_read());
            into.put_slice(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.client.bytes_written();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Finds lines that start with the header's name, across reads.
#[derive(Default)]
struct LengthLines {
    /// Bytes of the name that the line so far consists of; None in the middle of another line.
    matched: Option<usize>,
}

impl LengthLines {
    fn scan(&mut self, bytes: &[u8], mut found: impl FnMut()) {
        let mut rest = bytes;
        loop {
            if let Some(matched) = self.matched {
                let wanted = &LENGTH_LINE[matched..];
                let length = wanted.len().min(rest.len());
                if rest[..length].eq_ignore_ascii_case(&wanted[..length]) {
                    if length < wanted.len() {
                        self.matched = Some(matched + length);
                        return;
                    }
                    found();
                }
                self.matched = None;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else { return };
            rest = &rest[end + 1..];
            self.matched = Some(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_line_is_found_however_it_is_cut() {
        let text = b"POST / HTTP/1.1\r\nHost: x\r\ncontent-lengt: 1\r\nCONTENT-Length: 5\r\nx: content-length\r\n\r\n";
        for cut in 0..text.len() {
            let (mut lines, mut count) = (LengthLines::default(), 0);
            lines.scan(&text[..cut], || count += 1);
            lines.scan(&text[cut..], || count += 1);
            assert_eq!(count, 1, "cut at {cut}");
        }
    }
}
