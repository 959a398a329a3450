//! A connection to a cell instance, one exchange at a time. HTTP/1.1 is spoken by hand here: a general client's channels,
//! futures and copies cost more than all else that the router does for a request. No task of its own: the request that
//! uses a link polls it, which makes "was it sent?" a question with an answer.
//!
//! It never guesses where an answer ends: what does not plainly say so breaks the link.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use access::tls::Stream;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::io::AsyncWrite;

use super::answer::{self, Framing, Piece};
use super::request::Outgoing;
use crate::limits;
use crate::thread::Scratch;

pub struct Link {
    stream: Stream,
    scratch: Scratch,
    /// What has come and is not taken yet.
    input: Bytes,
    output: Vec<u8>,
    /// Whether another request may follow once this one's answer is taken.
    is_kept: bool,
}

/// An answer's head, and how its body ends.
pub struct AnswerHead {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub framing: Framing,
}

/// Why an exchange brought no answer.
pub enum Broken {
    /// Nothing was written.
    Unsent,
    /// Some or all of it was written. Whether it was processed is unknown.
    Sent,
    /// The caller's patience ended after it was written.
    Expired,
}

impl Link {
    pub fn new(stream: Stream, scratch: Scratch) -> Box<Self> {
        Box::new(Self { stream, scratch, input: Bytes::new(), output: Vec::new(), is_kept: true })
    }

    /// Sends a request and waits for the head of its answer, or until `expired` says so. The answer's header gets the
    /// capacity of `spare`, which is empty.
    pub async fn exchange(
        &mut self,
        request: &Outgoing<'_>,
        body: &[u8],
        spare: &Cell<HeaderMap>,
        mut expired: impl FnMut(&mut Context<'_>) -> bool,
    ) -> Result<AnswerHead, Broken> {
        self.output.clear();
        request.write(&mut self.output, body);
        let (mut written, mut is_closed) = (0, false);
        let answer = poll_fn(|cx| {
            // A cell that answers before it has read everything may close its side for more: its answer is still to come.
            is_closed = is_closed || self.poll_send(cx, &mut written).is_err();
            match self.poll_head(cx, request, spare) {
                Poll::Ready(Some(head)) => Poll::Ready(Ok(head)),
                Poll::Ready(None) if written == 0 => Poll::Ready(Err(Broken::Unsent)),
                Poll::Ready(None) => Poll::Ready(Err(Broken::Sent)),
                Poll::Pending if expired(cx) => Poll::Ready(Err(Broken::Expired)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        // An answer that did not wait for the whole request leaves the rest of it unsent.
        self.is_kept &= written == self.output.len();
        Ok(answer)
    }

    /// Writes what can be written now.
    fn poll_send(&mut self, cx: &mut Context<'_>, written: &mut usize) -> io::Result<()> {
        while *written < self.output.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output[*written..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => *written += count,
                Poll::Pending => return Ok(()),
            }
        }
        // TLS may hold back what it has taken; a plain socket holds back nothing.
        if !self.stream.is_plain()
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
        }
        Ok(())
    }

    /// Reads until the head of an answer is there; None when the link is broken.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        request: &Outgoing<'_>,
        spare: &Cell<HeaderMap>,
    ) -> Poll<Option<AnswerHead>> {
        loop {
            if !matches!(ready!(self.poll_fill(cx)), Ok(1..)) {
                return Poll::Ready(None);
            }
            let mut headers = spare.take();
            loop {
                match answer::take_head(&mut self.input, &mut headers, &request.head.method) {
                    Ok(Some(head)) if head.status.is_informational() => headers.clear(),
                    Ok(Some(head)) => {
                        self.is_kept = head.is_kept;
                        return Poll::Ready(Some(AnswerHead { status: head.status, headers, framing: head.framing }));
                    }
                    Ok(None) if self.input.len() < limits::ANSWER_HEAD_MAX_BYTES => break,
                    Ok(None) | Err(_) => return Poll::Ready(None),
                }
            }
            spare.set(headers);
        }
    }

    /// What has arrived of an answer's body and not been taken.
    pub fn arrived(&mut self, framing: &mut Framing) -> Result<Piece, answer::Malformed> {
        framing.take(&mut self.input)
    }

    /// The next piece of an answer's body; None at its end.
    pub fn poll_body(&mut self, framing: &mut Framing, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            match framing.take(&mut self.input) {
                Ok(Piece::Data(data)) => return Poll::Ready(Ok(Some(data))),
                Ok(Piece::End) => return Poll::Ready(Ok(None)),
                Ok(Piece::NotYet) => {}
                Err(malformed) => return Poll::Ready(Err(io::Error::other(malformed))),
            }
            if ready!(self.poll_fill(cx))? == 0 {
                let ends = matches!(framing, Framing::UntilClose);
                return Poll::Ready(if ends { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
            }
        }
    }

    /// Reads once; zero bytes are the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let input = &mut self.input;
        self.scratch.poll_read(&mut self.stream, usize::MAX, cx, |bytes| {
            if input.is_empty() {
                *input = Bytes::copy_from_slice(bytes);
            } else {
                let mut both = BytesMut::with_capacity(input.len() + bytes.len());
                both.extend_from_slice(input);
                both.extend_from_slice(bytes);
                *input = both.freeze();
            }
        })
    }

    /// Whether an idle link is still open, as far as is known here. Costs no system call while nothing has come.
    pub fn is_quiet(&mut self) -> bool {
        self.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// True if it can take another request: its answer was taken to the end, and nothing follows.
    pub fn rest(&mut self) -> bool {
        self.output.clear();
        self.output.shrink_to(limits::LINK_OUTPUT_KEPT_BYTES);
        self.is_kept && self.input.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_does_not_wait_for_the_request_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let socket = TcpSocket::new_v4().expect("a socket");
        // So that the request is still being sent when the other side closes.
        socket.set_send_buffer_size(4 * 1024).expect("a socket");
        let stream = socket.connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let mut link = Link::new(Stream::Plain(stream), Scratch::default());
        let hasty = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.read_exact(&mut [0; 64]).await.expect("a head");
            stream.write_all(b"HTTP/1.1 429 Some\r\ncontent-length: 0\r\n\r\n").await.expect("it reads");
            // Over bytes that it has not read: the connection is reset.
        });
        let (head, ()) = http::Request::post("/").body(()).expect("sound").into_parts();
        let request_id = http::HeaderValue::from_static("r");
        let request = Outgoing {
            head: &head,
            request_id: &request_id,
            forwarded_for: None,
            actor: None,
            has_host: false,
            deadline_ms: 1_000,
            hops: 0,
            moved: None,
        };
        let body = vec![b'x'; 16 << 20];
        let answer = link.exchange(&request, &body, &Cell::default(), |_| false).await;
        hasty.await.expect("it ended");
        let Ok(answer) = answer else { panic!("no answer") };
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(!link.rest(), "a part of the request is not sent");
    }
}
