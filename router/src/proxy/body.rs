//! Bodies in both directions. A request's is read whole before anything else is done: it can be sent again then, and a
//! slow sender holds no place. An answer's that is there already goes out in slices, and its connection goes back to the
//! pool at once; others stream through.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::failure::Failure;
use crate::limits::SLICE_MAX_BYTES;
use crate::proxy::client::{Client, Deadline};
use crate::proxy::worker::Ongoing;
use crate::upstream::Upstream;
use crate::upstream::answer::{Framing, Piece};
use crate::upstream::link::Link;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads a body of at most `most` bytes. What does not come in one piece counts in the worker's bound.
pub async fn collect(
    body: &mut Incoming,
    most: usize,
    ongoing: &mut Ongoing,
    deadline: Deadline,
) -> Result<Bytes, Failure> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = next_frame(body, &ongoing.client, deadline).await? else { break };
        let Ok(data) = frame.map_err(|_| Failure::BodyIncomplete)?.into_data() else { continue };
        if data.len() > most - first.len().max(more.len()) {
            return Err(Failure::BodyTooLarge(most));
        }
        if first.is_empty() && more.is_empty() {
            first = data;
            continue;
        }
        if more.is_empty() {
            ongoing.hold(first.len())?;
            more.extend_from_slice(&first);
        }
        ongoing.hold(data.len())?;
        more.extend_from_slice(&data);
    }
    ongoing.client.has_unread_body(false);
    Ok(if more.is_empty() { first } else { more.freeze() })
}

/// None at the end of the body.
async fn next_frame(
    body: &mut Incoming,
    client: &Client,
    deadline: Deadline,
) -> Result<Option<hyper::Result<Frame<Bytes>>>, Failure> {
    std::future::poll_fn(|cx| {
        let frame = Pin::new(&mut *body).poll_frame(cx);
        client.awaits_body(frame.is_pending());
        match frame {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending if client.body_stalled() => Poll::Ready(Err(Failure::BodyTimeout)),
            Poll::Pending if client.expired(cx, deadline) => Poll::Ready(Err(Failure::DeadlineUnsent)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// An answer's body on its way to the client. Dropped when the answer is written or given up: that ends the request.
pub struct AnswerBody {
    kind: Kind,
    pub ongoing: Option<Ongoing>,
}

enum Kind {
    Whole(Option<Bytes>),
    Stream(Box<Streaming>),
}

struct Streaming {
    first: Option<Bytes>,
    rest: Framing,
    /// None once the body is over or broken.
    link: Option<Box<Link>>,
    /// How it broke off, until the client gets to know it.
    broken: Option<io::Error>,
    upstream: Rc<Upstream>,
    client: Rc<Client>,
    /// What ends each event, if it is a stream of them, which may last: it ends between two when the router does.
    event_end: Option<&'static [u8]>,
    is_between: bool,
}

/// How each event of such a stream ends.
fn event_end(headers: &HeaderMap) -> Option<&'static [u8]> {
    let media = headers.get(CONTENT_TYPE)?.as_bytes();
    if media.starts_with(b"text/event-stream") {
        Some(b"\n\n")
    } else {
        media.starts_with(b"application/x-ndjson").then_some(b"\n")
    }
}

impl AnswerBody {
    pub fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())), ongoing: None }
    }

    /// Takes what has arrived already. A body that is complete gives its connection back to the pool at once.
    pub fn from_link(
        mut rest: Framing,
        mut link: Box<Link>,
        upstream: &Rc<Upstream>,
        client: &Rc<Client>,
        headers: &HeaderMap,
    ) -> Self {
        let mut first = Bytes::new();
        // A piece that is malformed is met again, and answered for, when the body is read on.
        while let Ok(piece @ (Piece::Data(_) | Piece::End)) = link.arrived(&mut rest) {
            match piece {
                Piece::Data(data) if first.is_empty() => first = data,
                Piece::Data(data) => first = [first, data].concat().into(),
                Piece::End | Piece::NotYet => {
                    upstream.give_back(link);
                    return Self::full(first);
                }
            }
        }
        let first = Some(first).filter(|first| !first.is_empty());
        let (upstream, client) = (Rc::clone(upstream), Rc::clone(client));
        let (event_end, link) = (event_end(headers), Some(link));
        let streaming = Streaming { first, rest, link, broken: None, upstream, client, event_end, is_between: true };
        Self { kind: Kind::Stream(Box::new(streaming)), ongoing: None }
    }
}

impl Streaming {
    fn passed(&mut self, data: Bytes) -> Frame<Bytes> {
        self.is_between = self.event_end.is_some_and(|end| data.ends_with(end));
        Frame::data(data)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(slice) = slice_of(&mut self.first) {
            return Poll::Ready(Some(Ok(self.passed(slice))));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        if self.is_between && self.event_end.is_some() && self.client.is_draining() {
            self.link = None;
        }
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        match ready!(link.poll_body(&mut self.rest, cx)) {
            Ok(Some(data)) => Poll::Ready(Some(Ok(self.passed(data)))),
            Ok(None) => {
                if let Some(link) = self.link.take() {
                    self.upstream.give_back(link);
                }
                Poll::Ready(None)
            }
            Err(error) => {
                self.link = None;
                self.broken = Some(error);
                // hyper drops what it has not written when a body fails: one more turn lets it write the head, and what
                // came before, so that the client learns that there was an answer.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// The next slice; None is left when all are taken.
fn slice_of(bytes: &mut Option<Bytes>) -> Option<Bytes> {
    let rest = bytes.as_mut()?;
    if rest.len() > SLICE_MAX_BYTES { Some(rest.split_to(SLICE_MAX_BYTES)) } else { bytes.take() }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().kind {
            Kind::Whole(bytes) => Poll::Ready(slice_of(bytes).map(|slice| Ok(Frame::data(slice)))),
            Kind::Stream(streaming) => streaming.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Stream(streaming) => {
                streaming.first.is_none() && streaming.link.is_none() && streaming.broken.is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Stream(streaming) => {
                let first = streaming.first.as_ref().map_or(0, |bytes| bytes.len() as u64);
                let rest = streaming.rest.left();
                rest.map_or_else(SizeHint::new, |rest| SizeHint::with_exact(first + rest))
            }
        }
    }
}
