//! One request from its head to the head of its answer: which wallet is it about, and then forward it.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Instant;

use access::Denied;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use telemetry::trace::{self, Place, Span};
use topology::{CellId, WalletId, wire};

use crate::documents;
use crate::failure::{Failure, problem_answer};
use crate::peek;
use crate::proxy::body::{AnswerBody, collect};
use crate::proxy::client::{Client, Deadline};
use crate::proxy::forward::{Destination, Forwarded, forward, home_of};
use crate::proxy::headers::{self, Facts};
use crate::proxy::worker::{Ongoing, Worker};
use crate::rate::Weight;
use crate::route::Route;
use crate::target::{Side, Target, target};

pub async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let started = Instant::now();
    let mut ongoing = Ongoing::begin(&worker, &client);
    let (mut head, body) = request.into_parts();
    let request_id = headers::request_id(&head.headers);
    let route = Route::of(client.side, head.uri.path());
    let span = if trace::is_on() { traced(&mut head.headers, client.side, route) } else { None };
    let debug = tracing::enabled!(tracing::Level::DEBUG).then(|| (head.method.clone(), head.uri.clone()));
    let mut destination = None;
    let arrival = Arrival { route, request_id: &request_id, started };
    let outcome = answer(&worker, &mut ongoing, arrival, &mut head, body, &mut destination).await;
    let mut answer = outcome.unwrap_or_else(|failure| {
        worker.refused(&failure, &request_id);
        let mut answer = problem_answer(&failure, &request_id).map(AnswerBody::full);
        if let Failure::RateLimited(refused) = &failure {
            worker.shared.counters.rate_limited(refused.scope);
            worker.shared.limiter.describe_refusal(refused, answer.headers_mut());
        }
        answer
    });
    head.headers.clear();
    worker.spare.set(head.headers);
    answer.headers_mut().insert(headers::REQUEST_ID, request_id);
    if let Some(cell) = destination {
        answer.headers_mut().insert(wire::WALLET_CELL, cell);
    }
    worker.shared.counters.answered(client.side, route, answer.status(), started.elapsed());
    if let Some(span) = span {
        end(span, &answer);
    }
    if let Some((method, uri)) = debug {
        let took_us = started.elapsed().as_micros();
        tracing::debug!(%method, path = uri.path(), status = answer.status().as_u16(), took_us, "answered");
    }
    client.answer_begun();
    answer.body_mut().ongoing = Some(ongoing);
    Ok(answer)
}

/// The request's span, if it is traced; its header tells later processes its place in the trace.
#[cold]
fn traced(headers: &mut HeaderMap, side: Side, route: Route) -> Option<Span> {
    let said = headers.get(wire::TRACE_PARENT).and_then(|value| Place::parse(value.to_str().ok()?));
    let (place, mut span) = match side {
        Side::Public => trace::enter_from_outside(said, route.name()),
        Side::Internal => trace::enter(said, route.name()),
    };
    if let Some(place) = place {
        let value = HeaderValue::from_str(&place.to_string()).expect("digits and dashes");
        headers.insert(wire::TRACE_PARENT, value);
    }
    if let Some(span) = &mut span {
        span.note("listener", if side == Side::Public { "public" } else { "internal" });
    }
    span
}

#[cold]
fn end(mut span: Span, answer: &Response<AnswerBody>) {
    let status = answer.status().as_u16();
    span.note("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.failed();
    }
    if let Some(request) = answer.headers().get(&headers::REQUEST_ID).and_then(|value| value.to_str().ok()) {
        span.note("request_id", request.to_owned());
    }
}

/// What is known of a request before its headers are read.
struct Arrival<'a> {
    route: Route,
    request_id: &'a HeaderValue,
    started: Instant,
}

async fn answer(
    worker: &Rc<Worker>,
    ongoing: &mut Ongoing,
    Arrival { route, request_id, started }: Arrival<'_>,
    head: &mut Parts,
    mut body: Incoming,
    destination: &mut Option<HeaderValue>,
) -> Result<Response<AnswerBody>, Failure> {
    let client = &Rc::clone(&ongoing.client);
    client.has_unread_body(!hyper::body::Body::is_end_stream(&body));
    let source = source_of(worker, client, head);
    let facts = headers::clean_request(&mut head.headers, client.side);
    let (length, chunked) = facts.as_ref().map_or((false, false), |f| (f.content_length.is_some(), f.is_chunked));
    if client.ambiguous_length(length, chunked) {
        return Err(Failure::AmbiguousLength);
    }
    let mut facts = facts?;
    if let Some(header) = facts.forged.filter(|&header| source.is_none() || header != wire::FORWARDED_FOR) {
        worker.shared.counters.stripped(header);
    }
    facts.source = source;
    if head.method == Method::CONNECT {
        return Err(Failure::UpgradeRefused);
    }
    #[cfg(feature = "bad-requests")]
    crate::proxy::bad::fail(route)?;
    let deadline = started + facts.deadline();
    let target = match target(route, &head.method, head.uri.path(), head.uri.query())? {
        Target::Docs(None) => return Ok(documents::to_directory().map(AnswerBody::full)),
        Target::Docs(Some(path)) => return documents::page(&path).map(|page| page.map(AnswerBody::full)),
        Target::OpenApi => return Ok(documents::openapi().map(AnswerBody::full)),
        target => target,
    };
    access::origin::check(&head.headers, !worker.is_protected(client.side)).map_err(Failure::Foreign)?;
    worker.admit_process(client, route)?;
    let caller = worker.authenticate(client, &mut head.headers)?;
    let most = route.body_max_bytes();
    if facts.content_length.is_some_and(|length| length > most as u64) {
        return Err(Failure::BodyTooLarge(most));
    }
    let body = collect(&mut body, most, ongoing, deadline).await?;
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    if !is_read && !body.is_empty() && !access::origin::is_json(&head.headers) {
        return Err(Failure::UnsupportedMediaType);
    }
    // Only now, so that a slow sender holds no place.
    ongoing.enter()?;
    if let Target::Cell(cell) = &target {
        worker.authorize(caller.as_deref(), route.taking(&head.method), None)?;
        let actor = caller.as_ref().map(|caller| &caller.actor);
        let to = Destination::Cell(cell);
        let forwarded = Forwarded { head, duty: route.duty(), to, deadline, facts: &facts, request_id, actor };
        return forward(worker, client, &forwarded, &body).await;
    }
    let wallet = wallet_of(&target, &body, &facts, worker)?;
    worker.authorize(caller.as_deref(), route.taking(&head.method), Some(wallet))?;
    if client.side == Side::Internal {
        *destination = owner_of(worker, wallet);
    }
    if let Some(cell) = worker.crediting(client, route)? {
        check_payer(worker, client, cell, &body, deadline, request_id).await?;
    }
    // What cells ask of one another is money in flight: it is limited by what may leave a wallet in the first place.
    let left = match client.side {
        Side::Public => worker.shared.limiter.take(wallet, Weight::of(&head.method), started),
        Side::Internal => Ok(None),
    };
    let left = left.map_err(Failure::RateLimited)?;
    let actor = caller.as_ref().map(|caller| &caller.actor);
    let to = Destination::Wallet(wallet);
    let forwarded = Forwarded { head, duty: route.duty(), to, deadline, facts: &facts, request_id, actor };
    let mut answer = forward(worker, client, &forwarded, &body).await?;
    if let Some(left) = left {
        worker.shared.limiter.describe(left, answer.headers_mut());
    }
    Ok(answer)
}

/// The wallet's cell by the placement: cells are shown it with every answer, so that one that fails keeps nothing else
/// from being delivered.
fn owner_of(worker: &Worker, wallet: WalletId) -> Option<HeaderValue> {
    let local = worker.routes()?;
    let cell = &local.routes.cells[local.routes.owner(wallet)].id;
    Some(HeaderValue::from_str(cell.as_str()).expect("a cell id is visible ASCII"))
}

/// A credit comes from the payer's home: the cell that the placement names, or, while a move is under way, the one that
/// the cells themselves name.
async fn check_payer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    cell: &CellId,
    credit: &[u8],
    deadline: Deadline,
    request_id: &HeaderValue,
) -> Result<(), Failure> {
    let payer = peek::payer_of(credit)?;
    let is_home = |home: &CellId| if home == cell { Ok(()) } else { Err(Denied::Forbidden) };
    let local = worker.routes().ok_or(Failure::NoPlacement)?;
    if is_home(&local.routes.cells[local.routes.owner(payer)].id).is_ok() {
        return Ok(());
    }
    Ok(is_home(&home_of(worker, client, payer, deadline, request_id).await?)?)
}

/// The client's address behind trusted proxies; None where there are none, and the peer is all that is known.
fn source_of(worker: &Worker, client: &Client, head: &Parts) -> Option<HeaderValue> {
    let trusted = &worker.shared.trusted_proxies;
    if trusted.is_empty() || client.side == Side::Internal {
        return None;
    }
    let lines = head.headers.get_all(wire::FORWARDED_FOR).iter();
    // A line that is no text is no address either, and ends the search like one.
    let lines = lines.map(|line| line.to_str().unwrap_or("?"));
    let source = access::proxies::client_of(client.peer_ip, lines, trusted);
    Some(HeaderValue::from_str(&source.to_string()).expect("an address is visible ASCII"))
}

/// The wallet a request is about. All that name it have to agree.
fn wallet_of(target: &Target, body: &[u8], facts: &Facts, worker: &Worker) -> Result<WalletId, Failure> {
    let namespace = worker.shared.namespace;
    let wallet = match target {
        Target::Wallet(wallet) => *wallet,
        Target::User(user) => WalletId::for_user(namespace, user),
        Target::Create => WalletId::for_user(namespace, &peek::user_of(body)?),
        Target::Transfer => match facts.wallet {
            // The cell compares it with the body.
            Some(wallet) => wallet,
            None => peek::payer_of(body)?,
        },
        Target::Cell(_) | Target::Docs(_) | Target::OpenApi => return Err(Failure::NotFound),
    };
    if facts.wallet.is_some_and(|named| named != wallet) {
        return Err(Failure::HeaderMismatch);
    }
    Ok(wallet)
}
