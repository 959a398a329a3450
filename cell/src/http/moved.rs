//! The block that a request brings along from the cell its wallet has just left.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use ledger::{Block, canonical};
use store::Store;
use topology::wire;

use super::Edge;
use crate::peers::Peers;

/// Longest block taken from a header; one that holds only a move is far shorter.
const MAX_BLOCK_BYTES: usize = 4 * 1024;

/// The block as it travels in a header.
pub fn header(block: &Block) -> HeaderValue {
    HeaderValue::from_str(&canonical::to_text(block)).expect("hexadecimal digits are visible ASCII")
}

/// `None` for what is no block: the caller gets the same answer as without it.
fn parse(value: &HeaderValue) -> Option<Block> {
    let text = value.to_str().ok().filter(|text| text.len() <= 2 * MAX_BLOCK_BYTES)?;
    canonical::from_text(text).ok()
}

/// Completes the move first, then lets the request go on.
pub async fn adopt<S: Store, P: Peers>(State(edge): State<Arc<Edge<S, P>>>, request: Request, next: Next) -> Response {
    if let Some(block) = request.headers().get(wire::MOVED_BLOCK).and_then(parse) {
        edge.wallets.adopt(&block).await;
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_block_is_none() {
        for text in ["", "0", "zz", "00", "é"] {
            let value = HeaderValue::from_bytes(text.as_bytes()).expect("a header value");
            assert_eq!(parse(&value), None, "{text:?}");
        }
    }
}
