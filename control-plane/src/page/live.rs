//! The page as it changes: server-sent events, each with the fragments that are not as the follower has them.
//!
//! It must never keep anything for a follower: the id of the last event says what the follower has,
//! so it may come back after any break, to any control plane.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use control_api::Refusal;
use futures_util::stream;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::fragment::{changed, digest};
use super::limits::{FOLLOW_MAX, KEEP_ALIVE, LOOK_EVERY};
use super::visitor::Visitor;
use super::{Page, Shared, html, view};
use crate::clock::now_s;

const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Deserialize)]
pub struct Seen {
    #[serde(default)]
    seen: String,
}

struct Follower {
    page: Arc<Page>,
    visitor: Visitor,
    seen: String,
    next: Instant,
    until: Instant,
    closing: watch::Receiver<bool>,
    /// Given back when the stream is dropped.
    _place: OwnedSemaphorePermit,
}

/// `GET /page/events`.
pub async fn follow(
    State(page): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(Seen { seen }): Query<Seen>,
    headers: HeaderMap,
) -> Response {
    let Ok(place) = Arc::clone(&page.followers).try_acquire_owned() else {
        let problem = Refusal::TooManyFollowers.detail("").into();
        let mut response = html(StatusCode::SERVICE_UNAVAILABLE, view::refusal(&problem));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return response;
    };
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let (seen, closing) = (last.map_or(seen, str::to_owned), page.control.fleet.placements.releasing());
    let next = Instant::now();
    let follower = Follower { page, visitor, seen, next, until: next + FOLLOW_MAX, closing, _place: place };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next_event().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

impl Follower {
    /// Waits until something has changed. None: this stream is over.
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            let wake = self.next.min(self.until);
            let closed = pin!(self.closing.wait_for(|closing| *closing));
            tokio::select! {
                _ = closed => return None,
                () = sleep_until(wake) => {}
            }
            let is_expired = self.visitor.expires_s().is_some_and(|expires_s| expires_s <= now_s());
            if wake >= self.until || is_expired {
                return None;
            }
            self.next = Instant::now() + LOOK_EVERY;
            let snapshot = self.page.snapshots.now(&self.page.control).await;
            let fragments = view::fragments(&snapshot, &self.visitor);
            let changed = changed(&fragments, &self.seen);
            if changed.is_empty() {
                continue;
            }
            self.seen = digest(&fragments);
            return Some(Event::default().id(&self.seen).data(Value::Object(changed).to_string()));
        }
    }
}
