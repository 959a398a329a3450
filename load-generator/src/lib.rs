//! The load generator. An open loop: requests fall due at fixed times, and latency counts from there.
//!
//! It must never touch the fleet other than as a customer does, through the router.

pub mod customers;
pub mod latency;
pub mod mix;
pub mod objectives;
pub mod operation;
pub mod outcome;
pub mod planner;
pub mod running;
pub mod summary;
pub mod wire;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use control_api::Client;
use serde_json::json;
use topology::{Placement, PlacementUpdate};

use operation::key;
use outcome::Outcome;
pub use running::{Load, Settings};

/// The placement in force.
pub async fn placement(api: &Client) -> Result<Arc<Placement>> {
    let update: PlacementUpdate = api.get(&["v1", "placement"]).await?;
    Ok(Arc::new(Placement::from_full(&update)?))
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes every request and its outcome, one JSON object a line.
pub fn journal(outcome: &Outcome, path: &Path) -> Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = std::io::BufWriter::new(file);
    for operation in outcome.setup.iter().chain(&outcome.operations) {
        let wallet = |position: usize| outcome.customers[position].wallet;
        let line = json!({
            "key": key(&outcome.run, operation.number),
            "kind": operation.kind,
            "wallet": wallet(operation.customer),
            "payee": operation.payee.and_then(wallet),
            "amount": operation.amount.to_string(),
            "due_us": operation.due_us,
            "answered_us": operation.answered_us,
            "attempts": operation.attempts,
            "first": operation.first,
            "last": operation.last,
        });
        writeln!(file, "{line}")?;
    }
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}
