//! Sends a request to the cell that owns its wallet, and again where that is safe: to another instance when nothing
//! was done, to another cell when the first one says so, never twice when the first may have been applied.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use topology::{CellId, Duty, Endpoint, WalletId, wire};

use crate::failure::Failure;
use crate::limits;
use crate::proxy::body::AnswerBody;
use crate::proxy::client::{Client, Deadline};
use crate::proxy::headers::{self, Facts};
use crate::proxy::worker::{LocalRoutes, Worker};
use crate::routes::InstanceSlot;
use crate::target::Side;
use crate::telemetry::cells::Outcome;
use crate::upstream::link::{AnswerHead, Broken, Link};
use crate::upstream::request::Outgoing;
use crate::upstream::{NoLink, Upstream};

/// Whom a request is for.
#[derive(Clone, Copy)]
pub enum Destination<'a> {
    /// Whichever cell has it.
    Wallet(WalletId),
    Cell(&'a CellId),
}

impl Destination<'_> {
    /// By what instances are put in order.
    fn preference(self) -> WalletId {
        match self {
            Destination::Wallet(wallet) => wallet,
            Destination::Cell(_) => WalletId::from_uuid(uuid::Uuid::nil()),
        }
    }
}

/// A request whose header is clean.
pub struct Forwarded<'a> {
    pub head: &'a Parts,
    pub duty: Duty,
    pub to: Destination<'a>,
    pub deadline: Deadline,
    pub facts: &'a Facts,
    pub request_id: &'a HeaderValue,
    /// The caller, if authentication is on.
    pub actor: Option<&'a HeaderValue>,
}

/// What is the same in every send of one request.
struct Course<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<Client>,
    request: &'a Forwarded<'a>,
    /// Asks without changing anything: what became of it does not matter.
    is_read: bool,
    /// Repeating it does no harm even if the first was applied.
    is_repeatable: bool,
}

/// Where the request goes next, and what has become of it so far.
struct Progress {
    cell: usize,
    tried: Tried,
    hops: u32,
    /// Brought along from the cell that sent us on.
    moved: Option<HeaderValue>,
    was_sent: bool,
    /// Connections that broke under it.
    breaks: u32,
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
    Answer(AnswerHead, Box<Link>),
    NotConnected,
    Broken,
    /// Its deadline has passed.
    Expired,
    /// It may be repeated, and another instance may be faster.
    Late,
}

pub async fn forward(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: &Forwarded<'_>,
    body: &[u8],
) -> Result<Response<AnswerBody>, Failure> {
    let local = worker.routes().ok_or(Failure::NoPlacement)?;
    forward_to_cell(worker, client, &local, request, body).await.map(|(answer, _)| answer)
}

/// The cell where the wallet is, found by asking the cells whether it can receive: they know of a move before the
/// placement does.
pub async fn home_of(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    wallet: WalletId,
    deadline: Deadline,
    request_id: &HeaderValue,
) -> Result<CellId, Failure> {
    let endpoint = Endpoint::Receivable;
    let (head, ()) = Request::get(endpoint.of_wallet(wallet)).body(()).expect("a wallet id makes a path").into_parts();
    let facts = Facts::default();
    let to = Destination::Wallet(wallet);
    let asked = Forwarded { head: &head, duty: endpoint.duty(), to, deadline, facts: &facts, request_id, actor: None };
    let local = worker.routes().ok_or(Failure::NoPlacement)?;
    // Boxed because it is rare and large.
    match Box::pin(forward_to_cell(worker, client, &local, &asked, &[])).await? {
        (answer, cell) if answer.status().is_success() => Ok(local.routes.cells[cell].id.clone()),
        (answer, _) if answer.status().is_server_error() => Err(Failure::UpstreamUnavailable),
        _ => Err(access::Denied::Forbidden.into()),
    }
}

/// The answer, and the cell that gave it.
async fn forward_to_cell(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    local: &LocalRoutes,
    request: &Forwarded<'_>,
    body: &[u8],
) -> Result<(Response<AnswerBody>, usize), Failure> {
    let is_read = matches!(request.head.method, Method::GET | Method::HEAD);
    let has_key = request.head.method == Method::POST && request.facts.has_key;
    let is_repeatable = is_read || has_key;
    let course = Course { worker, client, request, is_read, is_repeatable };
    let cell = match request.to {
        Destination::Wallet(wallet) => local.routes.owner(wallet),
        Destination::Cell(cell) => local.routes.cell_named(cell.as_str()).ok_or(Failure::CellNotFound)?,
    };
    let mut progress =
        Progress { cell, tried: Tried::default(), hops: 0, moved: None, was_sent: false, breaks: 0, shed: None };
    let began = Instant::now();
    let outcome = course.run(local, body, &mut progress).await;
    let seen = outcome.as_ref().map_or_else(Failure::seen_of_cell, |answer| Some(Outcome::of(answer.status())));
    if let Some(seen) = seen {
        local.meters[progress.cell].answered(seen, began.elapsed());
    }
    match outcome {
        Ok(answer) => Ok((answer, progress.cell)),
        Err(failure) => Err(course.in_full(failure, &progress)),
    }
}

impl Course<'_> {
    async fn run(&self, local: &LocalRoutes, body: &[u8], at: &mut Progress) -> Result<Response<AnswerBody>, Failure> {
        let counters = &self.worker.shared.counters;
        for attempt in 0..limits::ATTEMPTS_MAX {
            let Some((slot, upstream)) = self.pick(local, at.cell, at.tried) else { break };
            if attempt > 0 {
                counters.resent.increment(1);
            }
            match self.send(local, (slot, upstream), body, at).await? {
                Sent::Answer(answer, link) => {
                    if let Some(answer) = self.judge(answer, link, upstream, local, at, slot)? {
                        return Ok(answer);
                    }
                }
                Sent::NotConnected => {
                    counters.connect_failures.increment(1);
                    if upstream.breaker.could_not_connect(Instant::now()) {
                        counters.ejections.increment(1);
                    }
                    at.tried.add(slot);
                }
                Sent::Broken => {
                    self.failed(local, at.cell, upstream);
                    at.was_sent = true;
                    at.breaks += 1;
                    if !self.is_repeatable || at.breaks == limits::BREAKS_MAX {
                        return Err(self.lost());
                    }
                    self.avoid(local, at, slot, upstream);
                }
                Sent::Late => {
                    at.was_sent = true;
                    at.tried.add(slot);
                }
                Sent::Expired if self.is_read => return Err(Failure::DeadlineExceeded),
                Sent::Expired => return Err(Failure::DeadlineUnknownOutcome),
            }
        }
        match at.shed.take() {
            _ if at.was_sent => Err(self.lost()),
            Some(answer) => Ok(answer),
            None => Err(Failure::UpstreamUnavailable),
        }
    }

    /// An instance that broke off one request is about to break off more: its connections die one after the other.
    /// Another instance is asked next; where there is none, a new connection tells whether it is still there.
    fn avoid(&self, local: &LocalRoutes, at: &mut Progress, slot: InstanceSlot, upstream: &Upstream) {
        upstream.close_idle();
        at.tried.add(slot);
        if self.pick(local, at.cell, at.tried).is_none() {
            at.tried = Tried::default();
        }
    }

    /// Counts what an instance that is well does not do. It is ejected if it goes on and the others do not do it too.
    fn failed(&self, local: &LocalRoutes, cell: usize, upstream: &Rc<Upstream>) {
        let now = Instant::now();
        if upstream.breaker.failed(now, || local.can_spare(cell, upstream, now)) {
            self.worker.shared.counters.ejections.increment(1);
        }
    }

    /// Whether an instance that does well has not been tried.
    fn has_another(&self, local: &LocalRoutes, at: &Progress, slot: InstanceSlot) -> bool {
        let mut tried = at.tried;
        tried.add(slot);
        let now = Instant::now();
        self.candidates(local, at.cell, tried).any(|slot| local.upstreams[at.cell][slot].is_sound(now))
    }

    fn candidates<'l>(
        &self,
        local: &'l LocalRoutes,
        cell: usize,
        tried: Tried,
    ) -> impl Iterator<Item = InstanceSlot> + use<'l> {
        let candidates = local.routes.cells[cell].candidates(self.request.to.preference(), self.request.duty);
        candidates.filter(move |&slot| !tried.has(slot))
    }

    fn lost(&self) -> Failure {
        if self.is_read { Failure::UpstreamBroken } else { Failure::UpstreamUnknownOutcome }
    }

    /// What says that nothing was done is true of the last send only: an earlier one may have been applied.
    fn in_full(&self, failure: Failure, at: &Progress) -> Failure {
        match failure {
            _ if self.is_read || !at.was_sent => failure,
            Failure::DeadlineUnsent => Failure::DeadlineUnknownOutcome,
            Failure::WalletMoving | Failure::UpstreamUnavailable | Failure::Overloaded => {
                Failure::UpstreamUnknownOutcome
            }
            failure => failure,
        }
    }

    /// An answer for the client, or None if another send is called for.
    fn judge(
        &self,
        answer: AnswerHead,
        link: Box<Link>,
        upstream: &Rc<Upstream>,
        local: &LocalRoutes,
        at: &mut Progress,
        slot: InstanceSlot,
    ) -> Result<Option<Response<AnswerBody>>, Failure> {
        let AnswerHead { status, mut headers, framing } = answer;
        let body = AnswerBody::from_link(framing, link, upstream, self.client, &headers);
        // An instance at its own limits says so in another way: it is sound, and to carry what is too much for it to the
        // others, or to take it for broken, would spread the overload.
        let did_nothing = headers.get(wire::NOT_PROCESSED).is_some_and(|value| value == "true");
        let was_shed = status == StatusCode::SERVICE_UNAVAILABLE && did_nothing;
        if status == StatusCode::MISDIRECTED_REQUEST && did_nothing {
            // Its role has changed since our placement.
            self.worker.shared.poll_now.notify_one();
            self.worker.shared.counters.wrong_role.increment(1);
            at.tried.add(slot);
            return Ok(None);
        }
        if status == StatusCode::MISDIRECTED_REQUEST {
            self.follow(&headers, local, at)?;
            return Ok(None);
        }
        headers::clean_answer(&mut headers, self.client.side == Side::Public);
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        if !was_shed {
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
        at.moved = headers.get(wire::MOVED_BLOCK).cloned();
        at.tried = Tried::default();
        at.shed = None;
        Ok(())
    }

    /// The instance that the wallet prefers among those not tried and not ejected; if all are ejected, one of them
    /// anyway: an ejection is a guess.
    fn pick<'l>(&self, local: &'l LocalRoutes, cell: usize, tried: Tried) -> Option<(InstanceSlot, &'l Rc<Upstream>)> {
        let upstreams = &local.upstreams[cell];
        let mut chosen = None;
        for slot in self.candidates(local, cell, tried) {
            if upstreams[slot].breaker.admits(Instant::now) {
                chosen = Some(slot);
                break;
            }
            chosen = chosen.or(Some(slot));
        }
        let slot = chosen?;
        if upstreams[slot].has_waiting() {
            self.worker.look_after(&upstreams[slot], Instant::now());
        }
        Some((slot, &upstreams[slot]))
    }

    async fn send(
        &self,
        local: &LocalRoutes,
        to: (InstanceSlot, &Rc<Upstream>),
        body: &[u8],
        at: &Progress,
    ) -> Result<Sent, Failure> {
        if let Some(link) = to.1.take_idle()
            && let Some(sent) = self.exchange(link, local, to, body, at).await?
        {
            return Ok(sent);
        }
        // Boxed because it is rare and large: every request would carry its size around.
        Box::pin(self.send_fresh(local, to, body, at)).await
    }

    async fn send_fresh(
        &self,
        local: &LocalRoutes,
        to: (InstanceSlot, &Rc<Upstream>),
        body: &[u8],
        at: &Progress,
    ) -> Result<Sent, Failure> {
        let left = self.request.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::DeadlineUnsent);
        }
        let link = match to.1.connect(left).await {
            Ok(link) => link,
            Err(NoLink::Unreachable) => return Ok(Sent::NotConnected),
            Err(NoLink::Exhausted) => return Err(Failure::Overloaded),
        };
        local.meters[at.cell].connections_opened.increment(1);
        Ok(self.exchange(link, local, to, body, at).await?.unwrap_or(Sent::NotConnected))
    }

    /// None if nothing was sent.
    async fn exchange(
        &self,
        mut link: Box<Link>,
        local: &LocalRoutes,
        (slot, upstream): (InstanceSlot, &Rc<Upstream>),
        body: &[u8],
        at: &Progress,
    ) -> Result<Option<Sent>, Failure> {
        let &Forwarded { head, deadline, facts, request_id, actor, .. } = self.request;
        let outgoing = Outgoing {
            head,
            request_id,
            forwarded_for: (!facts.has_forwarded_for).then(|| facts.source.as_ref().unwrap_or(&self.client.peer)),
            actor,
            has_host: facts.has_host,
            deadline_ms: remaining_ms(deadline).ok_or(Failure::DeadlineUnsent)?,
            hops: at.hops,
            moved: at.moved.as_ref(),
        };
        let waiting = upstream.wait();
        let left = deadline.saturating_duration_since(waiting.since);
        let soon = waiting.since + limits::ATTEMPT_PATIENCE.min(left / 2);
        let (is_late, leaves) = (Cell::new(false), Cell::new(false));
        let expired = |cx: &mut std::task::Context<'_>| {
            if !is_late.get() && self.client.expired(cx, soon) {
                is_late.set(true);
                self.failed(local, at.cell, upstream);
                leaves.set(self.is_repeatable && self.has_another(local, at, slot));
            }
            leaves.get() || (is_late.get() && self.client.expired(cx, deadline))
        };
        Ok(match link.exchange(&outgoing, body, &self.worker.spare, expired).await {
            Ok(answer) => {
                waiting.answered();
                let refused = answer.headers.get(wire::NOT_PROCESSED);
                // What is late was counted when it became so; what an instance did not do is looked at by `judge`.
                if !is_late.get() && refused.is_none_or(|value| value != "true") {
                    match answer.status.is_server_error() && refused.is_none() {
                        true => self.failed(local, at.cell, upstream),
                        false => upstream.breaker.succeeded(),
                    }
                }
                Some(Sent::Answer(answer, link))
            }
            Err(Broken::Unsent) => None,
            Err(Broken::Sent) => Some(Sent::Broken),
            Err(Broken::Expired) if leaves.get() => Some(Sent::Late),
            Err(Broken::Expired) => Some(Sent::Expired),
        })
    }
}

/// Whole milliseconds until `deadline`; None once it has passed. One that was hardly begun is still whole.
fn remaining_ms(deadline: Deadline) -> Option<u64> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left_ms = u64::try_from(left.as_micros().div_ceil(1_000)).ok()?;
    (!left.is_zero()).then_some(left_ms)
}
