//! The handler of events: lines of JSON (or server-sent events), one for each block, and lines with a cursor to come back
//! with. Open-ended where it is asked to follow; within bounds, after which the client comes back.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use ledger::Block;
use serde::Serialize;
use store::Store;
use tokio::time::{Instant, sleep};
use topology::{CellId, WalletId};

use super::problem::{Fault, Rejected};
use super::views::{TransactionView, number, status_name};
use super::wallets::{answered, only, parameter};
use super::{Edge, callers, context};
use crate::failure::Failure;
use crate::peers::Peers;
use crate::reads::events::{Cursor, Events, Interrupted};
use crate::reads::personal::Opener;

/// Followers of an instance at a time, and those of one caller.
pub const MAX_FOLLOWERS: usize = 16;
pub const MAX_FOLLOWERS_OF_EACH: usize = 4;
/// By which a client of server-sent events says, by itself, where it was when its connection ended.
const LAST_EVENT_ID: &str = "last-event-id";
/// How often a follower looks for the next blocks, and how long nothing is said at most.
const POLL: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// After this long an answer ends, and the client comes back with its cursor.
const MAX_ANSWER: Duration = Duration::from_secs(300);

type Shared<S, P> = State<Arc<Edge<S, P>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Lines,
    ServerSent,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView {
    cell: CellId,
    wallet_id: WalletId,
    block_number: u64,
    block_hash: String,
    home: CellId,
    status: &'static str,
    balance: Box<serde_json::value::RawValue>,
    timestamp: String,
    transactions: Vec<TransactionView>,
}

pub async fn events<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let query = query.as_deref();
        only(query, &["cell", "cursor", "follow"])?;
        let cell = edge.wallets.cell().clone();
        let last = headers.get(LAST_EVENT_ID).filter(|last| !last.is_empty());
        let last = last.map(|last| String::from_utf8_lossy(last.as_bytes()).into_owned());
        // Such a client repeats the query that it began with: where it came to is newer.
        let cursor = match last.or_else(|| parameter(query, "cursor")) {
            None => Cursor::start(cell.clone()),
            Some(text) => Cursor::parse(&text).filter(|cursor| cursor.cell == cell).ok_or(Fault::EventCursor)?,
        };
        let follow = match parameter(query, "follow").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(Fault::Follow),
        };
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let format = if accept.starts_with("text/event-stream") { Format::ServerSent } else { Format::Lines };
        let tail = edge.events.clone().ok_or_else(|| Failure::Unavailable("this cell has no archive".into()))?;
        let place = edge.followers.enter(callers::caller(&headers)).ok_or(Fault::AtLimit)?;
        let media = match format {
            Format::Lines => "application/x-ndjson",
            Format::ServerSent => "text/event-stream",
        };
        let feed = Feed {
            cell,
            events: Events::new(edge.store.clone(), tail, cursor),
            format,
            follow,
            with_audit: context::is_operator(&headers),
            until: Instant::now() + MAX_ANSWER,
            draining: edge.draining.clone(),
            is_over: false,
            _place: place,
        };
        let body = Body::from_stream(stream::try_unfold(feed, |mut feed| async move {
            Ok::<_, Interrupted>(feed.next().await?.map(|text| (Bytes::from(text), feed)))
        }));
        Ok((StatusCode::OK, [(header::CONTENT_TYPE, media)], body).into_response())
    })
    .await
}

struct Feed<S> {
    cell: CellId,
    events: Events<S>,
    format: Format,
    follow: bool,
    /// Whether the actor of each entry is shown: to operators only, as everywhere.
    with_audit: bool,
    until: Instant,
    draining: tokio::sync::watch::Receiver<bool>,
    is_over: bool,
    _place: callers::CallerPlace,
}

impl<S: Store> Feed<S> {
    /// The next part of the answer: blocks, and the cursor after them.
    async fn next(&mut self) -> Result<Option<String>, Interrupted> {
        if self.is_over {
            return Ok(None);
        }
        let silent_until = Instant::now() + HEARTBEAT;
        loop {
            let blocks = self.events.page().await?;
            let ends = !self.follow || Instant::now() >= self.until || *self.draining.borrow();
            if !blocks.is_empty() {
                let mut text: String = blocks.iter().map(|(block, opener)| self.event(block, opener)).collect();
                text.push_str(&self.cursor());
                self.is_over = ends && self.follow;
                return Ok(Some(text));
            }
            if ends || Instant::now() >= silent_until {
                self.is_over = ends;
                return Ok(Some(self.cursor()));
            }
            // An instance that stops ends the answer here, between two events.
            tokio::select! {
                () = sleep(POLL) => {}
                _ = self.draining.wait_for(|draining| *draining) => {}
            }
        }
    }

    fn event(&self, block: &Block, opener: &Opener) -> String {
        let view = EventView {
            cell: self.cell.clone(),
            wallet_id: block.wallet,
            block_number: block.number,
            block_hash: block.hash.to_string(),
            home: block.home.clone(),
            status: status_name(block.state.status),
            balance: number(block.state.balance),
            timestamp: block.at.to_string(),
            transactions: opener.lines(block).map(|line| TransactionView::new(line, self.with_audit)).collect(),
        };
        let json = serde_json::to_string(&view).expect("a view holds only strings and numbers");
        match self.format {
            Format::Lines => format!("{json}\n"),
            Format::ServerSent => format!("event: block\ndata: {json}\n\n"),
        }
    }

    fn cursor(&self) -> String {
        let cursor = &self.events.cursor;
        match self.format {
            Format::Lines => format!("{{\"cursor\":\"{cursor}\"}}\n"),
            Format::ServerSent => format!("event: cursor\nid: {cursor}\ndata: {{\"cursor\":\"{cursor}\"}}\n\n"),
        }
    }
}
