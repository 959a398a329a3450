//! A cell that changed its Region, as people read it.

use command_line::columns;
use control_api::regions::Step;

use crate::regions::{Reconciled, Taken};

pub fn failed_over(Taken { id, state }: &Taken, to: &str) -> String {
    let does = match state.step {
        Step::Serving => "serves in",
        Step::Restore => "is being restored in",
        Step::Waiting { .. } => "waits to serve in",
    };
    let former = match state.fenced {
        true => "the former Region knows",
        false => {
            "the former Region was not reached: its processes go on for callers that reach them, until the control plane \
             reaches its tables"
        }
    };
    format!("{id} {does} {to}, epoch {}; {former}\n", state.epoch)
}

pub fn reconciled(found: &Reconciled) -> String {
    let head = format!("{} wallets of {} compared with {}", found.wallets, found.cell, found.region);
    if found.lost.is_empty() {
        return format!("{head}: nothing is lost\n");
    }
    let rows: Vec<_> = found
        .lost
        .iter()
        .flat_map(|block| block.entries.iter().map(move |entry| (block, entry)))
        .map(|(block, entry)| {
            let (number, hash) = (block.number.to_string(), block.hash.chars().take(16).collect());
            let (id, kind) = (entry.id.to_string(), entry.kind.clone());
            vec![
                block.wallet.to_string(),
                number,
                hash,
                block.at.clone(),
                id,
                kind,
                entry.amount.clone(),
                signed(entry.minor),
            ]
        })
        .collect();
    let columns = columns(&["WALLET", "BLOCK", "HASH", "AT", "TRANSACTION", "WHAT", "AMOUNT", "BALANCE"], &rows);
    format!("{head}: {} operations in {} blocks are lost\n{columns}", rows.len(), found.lost.len())
}

/// A change of a balance.
fn signed(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "+" };
    let minor = minor.unsigned_abs();
    format!("{sign}{}.{:02}", minor / 100, minor % 100)
}
