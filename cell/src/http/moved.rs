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
    let digits: String = canonical::encode(block).iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&digits).expect("hexadecimal digits are visible ASCII")
}

/// `None` for what is no block: the caller gets the same answer as without it.
fn parse(value: &HeaderValue) -> Option<Block> {
    let digits = value.as_bytes();
    if digits.len() > 2 * MAX_BLOCK_BYTES || !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?)).collect();
    canonical::decode(&bytes?).ok()
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
