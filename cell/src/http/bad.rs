//! Faults that a version of this service might have, so that deploys can be tested against them: built only with a
//! feature of its own, which is never on by default.
//!
//! It must never do anything to a wallet: what it fails was not begun.

#[cfg(not(debug_assertions))]
compile_error!("a version that is bad on purpose is for tests only: no release may be built of it");

use std::sync::OnceLock;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;

/// With `bad-withdrawals` every 20th withdrawal fails; with `bad-latency` every request takes this much longer. A build
/// with both has the one that CELL_BAD names, `withdrawals` or `latency`, so that tests need but one more build.
pub async fn worse(request: Request, next: Next) -> Response {
    #[cfg(feature = "bad-latency")]
    if is_chosen("latency") {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    #[cfg(feature = "bad-withdrawals")]
    if is_chosen("withdrawals") && withdrawals::fails(&request) {
        use axum::response::IntoResponse;
        return (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "a version that is bad on purpose\n").into_response();
    }
    next.run(request).await
}

fn is_chosen(fault: &str) -> bool {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("CELL_BAD").ok()).as_ref().is_none_or(|chosen| chosen == fault)
}

#[cfg(feature = "bad-withdrawals")]
mod withdrawals {
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::extract::{MatchedPath, Request};
    use topology::Endpoint;

    /// 5 %.
    const ONE_IN: u64 = 20;

    static SEEN: AtomicU64 = AtomicU64::new(0);

    pub fn fails(request: &Request) -> bool {
        let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        path == Endpoint::Withdraw.template() && SEEN.fetch_add(1, Ordering::Relaxed) % ONE_IN == 0
    }
}
