//! The proof of a wallet as JSON, and the cell's findings. Everything that is hashed or signed is
//! given as its own bytes, in hexadecimal, so that no reader has to rebuild it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use store::Store;
use store::log::Proof;
use topology::{CellId, WalletId};

use super::Edge;
use super::problem::Rejected;
use super::wallets::{answered, json, wallet_in_path};
use crate::failure::Failure;
use crate::integrity;
use crate::peers::Peers;

type Shared<S, P> = State<Arc<Edge<S, P>>>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProofView {
    wallet_id: WalletId,
    checkpoint: CheckpointView,
    leaf: LeafView,
    /// From the leaf up.
    path: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckpointView {
    cell: CellId,
    number: u64,
    tree_size: u64,
    root_hash: String,
    timestamp: String,
    bytes: String,
    signature: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LeafView {
    index: u64,
    block_number: u64,
    block_hash: String,
    timestamp: String,
    bytes: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<Proof> for ProofView {
    fn from(proof: Proof) -> Self {
        let Proof { signed, leaf, index, path } = proof;
        let checkpoint = &signed.checkpoint;
        Self {
            wallet_id: leaf.wallet,
            checkpoint: CheckpointView {
                cell: checkpoint.cell.clone(),
                number: checkpoint.number,
                tree_size: checkpoint.size,
                root_hash: checkpoint.root.to_string(),
                timestamp: checkpoint.at.to_string(),
                bytes: hex(&checkpoint.to_bytes()),
                signature: hex(&signed.signature),
            },
            leaf: LeafView {
                index,
                block_number: leaf.block,
                block_hash: leaf.hash.to_string(),
                timestamp: leaf.at.to_string(),
                bytes: hex(&leaf.to_bytes()),
            },
            path: path.iter().map(ToString::to_string).collect(),
        }
    }
}

pub async fn proof<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let proof = edge.wallets.proof(wallet_in_path(&headers, &id)?).await?;
        Ok(json(StatusCode::OK, &ProofView::from(proof)))
    })
    .await
}

/// Which wallets of the cell are written to most, for operators; not behind the router. Only the process that follows the
/// cell's changes names any.
pub async fn hot_wallets<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| Ok(json(StatusCode::OK, &edge.hot.hottest(edge.clock.now())))).await
}

/// What the cell's integrity jobs have found, for operators; not behind the router.
pub async fn findings<S: Store, P: Peers>(State(edge): Shared<S, P>, headers: HeaderMap) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let findings = integrity::list(&edge.store).await.map_err(Failure::from)?;
        Ok(json(StatusCode::OK, &findings))
    })
    .await
}
