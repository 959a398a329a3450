//! A client's socket as hyper reads it. It marks when bytes move, and counts `Content-Length`
//! lines: hyper silently drops that header when `Transfer-Encoding` is beside it, and we refuse
//! such a request instead of guessing what the sender, or a proxy before us, took for its end. A
//! line inside a body counts too; that can only refuse more.
//!
//! It also puts a problem in place of the empty answer that hyper gives by itself to what it cannot read.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use access::tls::Stream;
use bytes::{Buf, Bytes};
use http::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::AsyncWrite;

use topology::wire;

use crate::failure::{Failure, last_answer};
use crate::limits::{LINGER_MAX_BYTES, LINGER_TIMEOUT};
use crate::proxy::client::Client;
use crate::proxy::headers;
use crate::proxy::worker::Worker;
use crate::thread::Scratch;

const LENGTH_LINE: &[u8] = b"content-length";

pub struct ClientIo {
    stream: Stream,
    worker: Rc<Worker>,
    client: Rc<Client>,
    scratch: Scratch,
    lines: LengthLines,
    /// What is left of the problem that is written in place of hyper's answer: the last thing on this connection.
    instead: Option<Bytes>,
}

impl ClientIo {
    pub fn new(stream: Stream, worker: Rc<Worker>, client: Rc<Client>, scratch: Scratch) -> Self {
        Self { stream, worker, client, scratch, lines: LengthLines::default(), instead: None }
    }

    /// Says why the connection ends, as far as the socket takes it at once.
    pub fn last_words(&mut self, failure: &Failure) {
        let request_id = headers::new_request_id();
        self.worker.refused(failure, &request_id);
        self.stream.try_write(&last_answer(failure, &request_id));
    }

    /// Throws away what a client still sends after its answer: closed over unread bytes, the connection would be reset, and
    /// the answer lost with it.
    pub async fn linger(mut self) {
        let mut left = LINGER_MAX_BYTES;
        let discarding = std::future::poll_fn(|cx| {
            loop {
                match ready!(self.scratch.poll_read(&mut self.stream, usize::MAX, cx, |_| {})) {
                    Ok(count @ 1..) if count < left => left -= count,
                    Ok(_) | Err(_) => return Poll::Ready(()),
                }
            }
        });
        // A client that sends for longer may miss the answer.
        let _ = tokio::time::timeout(LINGER_TIMEOUT, discarding).await;
    }
}

impl Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<Result<(), std::io::Error>> {
        let this = self.get_mut();
        let (client, lines) = (&this.client, &mut this.lines);
        let read = this.scratch.poll_read(&mut this.stream, into.remaining(), cx, |bytes| {
            client.bytes_read();
            lines.scan(bytes, || client.length_line_read());
            into.put_slice(bytes);
        });
        read.map_ok(|_| ())
    }
}

impl Write for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        if this.client.is_unasked() && this.instead.is_none() {
            this.instead = own_answer(bytes).map(|status| {
                let (failure, request_id) = (Failure::of_head(status), headers::new_request_id());
                this.worker.refused(&failure, &request_id);
                last_answer(&failure, &request_id)
            });
        }
        let Some(instead) = &mut this.instead else {
            let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
            match &written {
                Poll::Ready(Ok(count)) => this.client.bytes_written(*count),
                Poll::Ready(Err(_)) => {}
                Poll::Pending => this.client.write_is_blocked(),
            }
            return written;
        };
        while !instead.is_empty() {
            let count = ready!(Pin::new(&mut this.stream).poll_write(cx, instead))?;
            instead.advance(count);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.client.all_written();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The status, if this is the whole of an answer that hyper gives by itself. Ours always name the request.
fn own_answer(bytes: &[u8]) -> Option<StatusCode> {
    let status = StatusCode::from_bytes(bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?).ok()?;
    let is_own = status.is_client_error()
        && bytes.ends_with(b"\r\n\r\n")
        && memchr::memmem::find(bytes, wire::REQUEST_ID.as_bytes()).is_none();
    is_own.then_some(status)
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
                let may = rest.first().is_none_or(|byte| byte.eq_ignore_ascii_case(&wanted[0]));
                if may && rest[..length].eq_ignore_ascii_case(&wanted[..length]) {
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
