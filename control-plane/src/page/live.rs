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
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use topology::Problem;

use super::entry::Visitor;
use super::limits::{FOLLOW_MAX, KEEP_ALIVE, LOOK_EVERY};
use super::view::{self, Fragment};
use super::{Page, Shared, html};
use crate::zones::now_s;

const LAST_EVENT_ID: &str = "last-event-id";
/// Of a fragment's hash; two that differ look the same once in 2^48.
const HASH_BYTES: usize = 6;

/// Which fragments somebody has: a short hash of each, in their order.
pub fn digest(fragments: &[Fragment]) -> String {
    let hashes: Vec<String> = fragments.iter().map(hash).collect();
    hashes.join(".")
}

fn hash(fragment: &Fragment) -> String {
    let hash = Sha256::digest(fragment.html.as_bytes());
    hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// The fragments that are not as `seen` says, by their ids.
fn changed(fragments: &[Fragment], seen: &str) -> Map<String, Value> {
    let known: Vec<&str> = seen.split('.').collect();
    let changed = fragments.iter().enumerate().filter(|(at, one)| known.get(*at) != Some(&hash(one).as_str()));
    changed.map(|(_, one)| (one.id.to_owned(), Value::from(one.html.clone()))).collect()
}

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
        let problem = Problem::new(503, "too_many_followers", "Too many follow this page");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fragments(texts: [&str; 3]) -> Vec<Fragment> {
        let ids = ["one", "two", "three"];
        ids.into_iter().zip(texts).map(|(id, html)| Fragment { id, html: html.to_owned() }).collect()
    }

    #[test]
    fn who_comes_back_is_sent_what_he_lacks() {
        let (before, after) = (fragments(["a", "b", "c"]), fragments(["a", "B", "c"]));
        let seen = digest(&before);
        assert!(changed(&before, &seen).is_empty());
        let sent = changed(&after, &seen);
        assert_eq!((sent.len(), sent["two"].as_str()), (1, Some("B")));
        for strange in ["", "nonsense", "....", &seen[1..]] {
            assert!(!changed(&before, strange).is_empty(), "{strange}");
        }
        assert_eq!(changed(&before, "").len(), 3);
    }
}
