//! Sends a request to the cell that owns its wallet, and again where that is safe: to another instance when nothing
//! was done, to another cell when the first one says so, never twice when the first may have been applied.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use topology::{WalletId, wire};

use crate::failure::Failure;
use crate::limits;
use crate::proxy::body::{AnswerBody, ForwardBody};
use crate::proxy::client::{Client, Deadline};
use crate::proxy::headers::{self, Facts};
use crate::proxy::worker::{LocalRoutes, Worker};
use crate::routes::InstanceSlot;
use crate::target::Side;
use crate::upstream::Upstream;
use crate::upstream::link::{Broken, Link};

/// What is the same in every send of one request.
struct Course<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<Client>,
    wallet: WalletId,
    deadline: Deadline,
    method: Method,
    /// None if the body cannot be sent again.
    body: Option<Bytes>,
    /// Repeating it does no harm even if the first was applied.
    is_repeatable: bool,
}

/// Where the request goes next, and what has become of it so far.
struct Progress {
    cell: usize,
    tried: Tried,
    hops: u32,
    was_sent: bool,
    /// Not sent yet, or given back unsent; None when it has to be built again.
    request: Option<Box<Request<ForwardBody>>>,
    /// What the last instance said that did nothing: the answer, if no other one does better.
    shed: Option<Response<AnswerBody>>,
}

/// Which instances of a cell were tried, by slot; those past the 64th are tried without being remembered.
#[derive(Default, Clone, Copy)]
struct Tried(u64);

impl Tried {
    fn has(self, slot: usize) -> bool {
        slot < 64 && self.0 & (1 << slot) != 0
    }

    fn add(&mut self, slot: usize) {
        if slot < 64 {
            self.0 |= 1 << slot;
        }
    }
}

enum Sent {
    Answer(Response<Incoming>, Box<Link>),
    NotConnected(Box<Request<ForwardBody>>),
    Broken,
    Expired,
}

/// Forwards a request whose header is clean and complete but for the deadline.
pub async fn forward(
    (worker, client): (&Rc<Worker>, &Rc<Client>),
    head: Parts,
    body: ForwardBody,
    wallet: WalletId,
    deadline: Deadline,
    facts: &Facts,
) -> Result<Response<AnswerBody>, Failure> {
    let local = worker.routes().ok_or(Failure::NoPlacement)?;
    let again = body.again();
    let is_safe = matches!(head.method, Method::GET | Method::HEAD) || (head.method == Method::POST && facts.has_key);
    let course = Course {
        worker,
        client,
        wallet,
        deadline,
        method: head.method,
        is_repeatable: again.is_some() && is_safe,
        body: again,
    };
    let cell = local.routes.owner(wallet);
    let mut headers = head.headers;
    headers.insert(headers::DEADLINE_MS, remaining(deadline).ok_or(Failure::DeadlineUnsent)?);
    if !facts.has_host {
        headers.insert(header::HOST, HeaderValue::from_static(NO_HOST));
    }
    let uri = origin_form(head.uri);
    if course.body.is_some() {
        client.saved.borrow_mut().save(&uri, &headers);
    }
    let request = Some(Box::new(course.request(uri, headers, body)));
    course.run(&local, Progress { cell, tried: Tried::default(), hops: 0, was_sent: false, request, shed: None }).await
}

/// What an HTTP/1.0 request without a `Host` is given, since HTTP/1.1 needs one.
const NO_HOST: &str = "router";

impl Course<'_> {
    async fn run(&self, local: &LocalRoutes, mut at: Progress) -> Result<Response<AnswerBody>, Failure> {
        let counters = &self.worker.shared.counters;
        for attempt in 0..limits::ATTEMPTS_MAX {
            let Some((slot, upstream)) = self.pick(local, at.cell, at.tried) else { break };
            let request = match at.request.take() {
                Some(request) => request,
                None => Box::new(self.rebuilt(at.hops)?),
            };
            if attempt > 0 {
                counters.resent.increment(1);
            }
            match self.send(upstream, request).await? {
                Sent::Answer(answer, link) => match self.judge(answer, link, upstream, local, &mut at, slot)? {
                    Some(answer) => return Ok(answer),
                    None if self.body.is_none() => return at.shed.ok_or(Failure::WalletMoving),
                    None => {}
                },
                Sent::NotConnected(request) => {
                    counters.connect_failures.increment(1);
                    if upstream.breaker.could_not_connect(Instant::now()) {
                        counters.ejections.increment(1);
                    }
                    at.tried.add(slot);
                    at.request = Some(request);
                }
                Sent::Broken if self.client.body_stalled() => return Err(Failure::BodyTimeout),
                Sent::Broken if self.is_repeatable => at.was_sent = true,
                Sent::Broken => return Err(self.lost()),
                Sent::Expired if self.method == Method::GET => return Err(Failure::DeadlineExceeded),
                Sent::Expired => return Err(Failure::DeadlineUnknownOutcome),
            }
        }
        match at.shed {
            _ if at.was_sent => Err(self.lost()),
            Some(answer) => Ok(answer),
            None => Err(Failure::UpstreamUnavailable),
        }
    }

    /// An answer for the client, or None if another send is called for.
    fn judge(
        &self,
        answer: Response<Incoming>,
        link: Box<Link>,
        upstream: &Rc<Upstream>,
        local: &LocalRoutes,
        at: &mut Progress,
        slot: InstanceSlot,
    ) -> Result<Option<Response<AnswerBody>>, Failure> {
        let (mut head, body) = answer.into_parts();
        let body = AnswerBody::from_link(body, link, upstream);
        head.version = Version::HTTP_11;
        let was_shed = head.status == StatusCode::SERVICE_UNAVAILABLE
            && head.headers.get(wire::NOT_PROCESSED).is_some_and(|value| value == "true");
        if head.status == StatusCode::MISDIRECTED_REQUEST {
            self.follow(&head.headers, local, at)?;
            return Ok(None);
        }
        headers::clean_answer(&mut head.headers, self.client.side == Side::Public);
        let answer = Response::from_parts(head, body);
        if !was_shed {
            upstream.breaker.succeeded();
            return Ok(Some(answer));
        }
        if upstream.breaker.shed(Instant::now()) {
            self.worker.shared.counters.ejections.increment(1);
        }
        at.tried.add(slot);
        at.shed = Some(answer);
        Ok(None)
    }

    /// Goes where a 421 points to. Every 421 also says that our placement is old.
    fn follow(&self, headers: &HeaderMap, local: &LocalRoutes, at: &mut Progress) -> Result<(), Failure> {
        self.worker.shared.poll_now.notify_one();
        self.worker.shared.counters.misdirected.increment(1);
        let hint = headers.get(wire::WALLET_CELL).and_then(|value| value.to_str().ok());
        let cell = hint.and_then(|id| local.routes.cell_named(id)).ok_or(Failure::WalletMoving)?;
        if at.hops == limits::HOPS_MAX {
            return Err(Failure::WalletMoving);
        }
        at.hops += 1;
        at.cell = cell;
        at.tried = Tried::default();
        at.shed = None;
        Ok(())
    }

    /// The instance that the wallet prefers among those not tried and not ejected; if all are ejected, one of them
    /// anyway: an ejection is a guess.
    fn pick<'l>(&self, local: &'l LocalRoutes, cell: usize, tried: Tried) -> Option<(InstanceSlot, &'l Rc<Upstream>)> {
        let upstreams = &local.upstreams[cell];
        let mut fallback = None;
        for slot in local.routes.cells[cell].candidates(self.wallet).filter(|&slot| !tried.has(slot)) {
            if upstreams[slot].breaker.admits(Instant::now) {
                return Some((slot, &upstreams[slot]));
            }
            fallback = fallback.or(Some(slot));
        }
        fallback.map(|slot| (slot, &upstreams[slot]))
    }

    async fn send(&self, upstream: &Rc<Upstream>, mut request: Box<Request<ForwardBody>>) -> Result<Sent, Failure> {
        let expired = |cx: &mut std::task::Context<'_>| self.client.expired(cx, self.deadline);
        if let Some(mut link) = upstream.take_idle() {
            match link.exchange(*request, expired).await {
                Ok(answer) => return Ok(Sent::Answer(answer, link)),
                // Closed while it was idle; so are probably the others of the pool.
                Err(Broken::Unsent(unsent)) => request = unsent,
                Err(Broken::Sent) => return Ok(Sent::Broken),
                Err(Broken::Expired) => return Ok(Sent::Expired),
            }
        }
        // Boxed because it is rare and large: every request would carry its size around.
        Box::pin(self.send_fresh(upstream, request)).await
    }

    async fn send_fresh(&self, upstream: &Rc<Upstream>, request: Box<Request<ForwardBody>>) -> Result<Sent, Failure> {
        let expired = |cx: &mut std::task::Context<'_>| self.client.expired(cx, self.deadline);
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::DeadlineUnsent);
        }
        let Some(mut link) = upstream.connect(left).await else { return Ok(Sent::NotConnected(request)) };
        Ok(match link.exchange(*request, expired).await {
            Ok(answer) => Sent::Answer(answer, link),
            Err(Broken::Unsent(request)) => Sent::NotConnected(request),
            Err(Broken::Sent) => Sent::Broken,
            Err(Broken::Expired) => Sent::Expired,
        })
    }

    fn lost(&self) -> Failure {
        if self.method == Method::GET { Failure::UpstreamBroken } else { Failure::UpstreamUnknownOutcome }
    }

    fn request(&self, uri: Uri, headers: HeaderMap, body: ForwardBody) -> Request<ForwardBody> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }

    fn rebuilt(&self, hops: u32) -> Result<Request<ForwardBody>, Failure> {
        let body = self.body.clone().ok_or(Failure::WalletMoving)?;
        let (uri, mut headers) = self.client.saved.borrow().restore();
        headers.insert(headers::DEADLINE_MS, remaining(self.deadline).ok_or(Failure::DeadlineUnsent)?);
        if hops > 0 {
            headers.insert(headers::HOPS, HeaderValue::from(hops));
        }
        Ok(self.request(uri, headers, ForwardBody::whole(body)))
    }
}

/// Whole milliseconds until `deadline`; None once it has passed.
fn remaining(deadline: Deadline) -> Option<HeaderValue> {
    const DEFAULT: HeaderValue = HeaderValue::from_static("10000");
    const JUST_BEGUN: Duration = Duration::from_millis(limits::DEADLINE_DEFAULT_MS - 1);
    let left = deadline.saturating_duration_since(Instant::now());
    if left > JUST_BEGUN && left.as_millis() < u128::from(limits::DEADLINE_DEFAULT_MS) {
        return Some(DEFAULT);
    }
    let left_ms = u64::try_from(left.as_millis()).ok().filter(|&left_ms| left_ms > 0)?;
    Some(HeaderValue::from(left_ms))
}

/// What stands on the request line to an origin server, whatever the client wrote.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    Uri::from(uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")))
}
