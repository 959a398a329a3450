//! Bodies in both directions. Small ones are held in one piece, so that they can be sent again and their connection
//! goes back to the pool at once; large ones stream through.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::failure::Failure;
use crate::limits::{BODY_BUFFER_MAX_BYTES, DRAIN_MAX_BYTES};
use crate::proxy::client::{Client, Deadline};
use crate::proxy::worker::Admitted;
use crate::upstream::Upstream;
use crate::upstream::answer::{Framing, Piece};
use crate::upstream::link::Link;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way to a cell.
pub enum ForwardBody {
    /// All of it, so that it can be sent again; empty if there is none.
    Whole(Bytes),
    Stream {
        first: Option<Bytes>,
        rest: Incoming,
        /// As the client announced it; None if it comes in chunks.
        length: Option<u64>,
        client: Rc<Client>,
    },
}

impl ForwardBody {
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// The next piece of a body that streams; None at its end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let Self::Stream { first, rest, client, .. } = self else { return Poll::Ready(None) };
        if let Some(bytes) = first.take() {
            return Poll::Ready(Some(Ok(bytes)));
        }
        let frame = Pin::new(rest).poll_frame(cx);
        client.awaits_body(frame.is_pending());
        match frame {
            Poll::Pending if client.body_stalled() => Poll::Ready(Some(Err(Failure::BodyTimeout.into()))),
            Poll::Pending => Poll::Pending,
            // Trailers are announced by a header that is not passed on.
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(frame.into_data().unwrap_or_default()))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    /// Reads on for a while without keeping it: a connection closed over unread bytes is reset, and the answer that
    /// says why the body is refused is lost with it.
    pub async fn drain(&mut self, client: &Client, deadline: Deadline) {
        let Self::Stream { rest, .. } = self else { return };
        for _ in 0..DRAIN_MAX_BYTES / BODY_BUFFER_MAX_BYTES {
            let Ok(Collected::Longer(_)) = collect(rest, client, deadline).await else { return };
        }
    }
}

/// What reading up to the limit came to.
pub enum Collected {
    Whole(Bytes),
    /// Larger than [`BODY_BUFFER_MAX_BYTES`]; this is how it starts.
    Longer(Bytes),
}

/// Reads a body up to [`BODY_BUFFER_MAX_BYTES`].
pub async fn collect(body: &mut Incoming, client: &Client, deadline: Deadline) -> Result<Collected, Failure> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    loop {
        if body.is_end_stream() {
            return Ok(Collected::Whole(if more.is_empty() { first } else { more.freeze() }));
        }
        let frame = std::future::poll_fn(|cx| {
            let frame = Pin::new(&mut *body).poll_frame(cx);
            client.awaits_body(frame.is_pending());
            match frame {
                Poll::Ready(frame) => Poll::Ready(Ok(frame)),
                Poll::Pending if client.body_stalled() => Poll::Ready(Err(Failure::BodyTimeout)),
                Poll::Pending if client.expired(cx, deadline) => Poll::Ready(Err(Failure::DeadlineUnsent)),
                Poll::Pending => Poll::Pending,
            }
        });
        let Some(frame) = frame.await? else {
            return Ok(Collected::Whole(if more.is_empty() { first } else { more.freeze() }));
        };
        let Ok(data) = frame.map_err(|_| Failure::BodyIncomplete)?.into_data() else { continue };
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
        if first.len().max(more.len()) > BODY_BUFFER_MAX_BYTES {
            return Ok(Collected::Longer(if more.is_empty() { first } else { more.freeze() }));
        }
    }
}

/// An answer's body on its way to the client. Dropped when the answer is written or given up: that ends the request.
pub struct AnswerBody {
    kind: Kind,
    pub admitted: Option<Admitted>,
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
    upstream: Rc<Upstream>,
}

impl AnswerBody {
    pub fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())), admitted: None }
    }

    /// Takes what has arrived already. A body that is complete gives its connection back to the pool at once.
    pub fn from_link(mut rest: Framing, mut link: Box<Link>, upstream: &Rc<Upstream>) -> Self {
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
        let streaming = Streaming { first, rest, link: Some(link), upstream: Rc::clone(upstream) };
        Self { kind: Kind::Stream(Box::new(streaming)), admitted: None }
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(bytes) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        match ready!(link.poll_body(&mut self.rest, cx)) {
            Ok(Some(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(None) => {
                if let Some(link) = self.link.take() {
                    self.upstream.give_back(link);
                }
                Poll::Ready(None)
            }
            Err(error) => {
                self.link = None;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(streaming) => streaming.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Stream(streaming) => streaming.first.is_none() && streaming.link.is_none(),
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
