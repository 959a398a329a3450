//! What a restored cell lacks, derived from what is left: the part of the export after the moment
//! asked for, and records of the cell's events.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result};
use ledger::Block;
use serde::{Deserialize, Serialize};
use topology::{CellId, WalletId};
use uuid::Uuid;

use super::open;

/// An operation that was acknowledged and is in no chain any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostOperation {
    pub wallet: WalletId,
    pub block: u64,
    pub transaction: Uuid,
    #[serde(rename = "type")]
    pub kind: String,
    /// With two decimals.
    pub amount: String,
    pub at: String,
}

#[derive(Default)]
pub struct Evidence {
    /// The last block of each wallet that is there again.
    restored: BTreeMap<WalletId, u64>,
    /// Of which another cell had more than the export: nothing of them is lost.
    completed: BTreeSet<WalletId>,
    found: BTreeMap<(WalletId, u64, Uuid), LostOperation>,
}

/// A line of `GET /api/v1/events`; others are cursors.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    cell: CellId,
    wallet_id: WalletId,
    block_number: u64,
    timestamp: String,
    transactions: Vec<Transaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    transaction_id: Uuid,
    #[serde(rename = "type")]
    kind: String,
    amount: Box<serde_json::value::RawValue>,
}

/// Those of the cell.
fn events(path: &Path, cell: &CellId) -> Result<impl Iterator<Item = Result<Event>>> {
    let lines = (1_u64..).zip(open(path)?.lines());
    let event = |number: u64, line: std::io::Result<String>| -> Result<Option<Event>> {
        let line = line?;
        if line.is_empty() || line.starts_with("{\"cursor\"") {
            return Ok(None);
        }
        let event: Event =
            serde_json::from_str(&line).with_context(|| format!("{}, line {number}: no event", path.display()))?;
        Ok((event.cell == *cell).then_some(event))
    };
    Ok(lines.filter_map(move |(number, line)| event(number, line).transpose()))
}

/// The newest block of each wallet that the events name.
pub fn newest_blocks(path: &Path, cell: &CellId) -> Result<BTreeMap<WalletId, u64>> {
    let mut newest: BTreeMap<WalletId, u64> = BTreeMap::new();
    for event in events(path, cell)? {
        let Event { wallet_id, block_number, .. } = event?;
        newest.entry(wallet_id).and_modify(|known| *known = block_number.max(*known)).or_insert(block_number);
    }
    Ok(newest)
}

impl Evidence {
    pub fn restored(&mut self, wallet: WalletId, last: u64) {
        self.restored.insert(wallet, last);
    }

    pub fn completed(&mut self, wallet: WalletId) {
        self.completed.insert(wallet);
    }

    /// Blocks of the export that were left out.
    pub fn cut(&mut self, blocks: &[Block]) {
        for block in blocks {
            for entry in &block.entries {
                self.add(LostOperation {
                    wallet: block.wallet,
                    block: block.number,
                    transaction: entry.id,
                    kind: entry.kind.name().to_owned(),
                    amount: entry.amount.to_string(),
                    at: block.at.to_string(),
                });
            }
        }
    }

    /// What a follower of the cell's events wrote down.
    pub fn events(&mut self, path: &Path, cell: &CellId) -> Result<()> {
        for event in events(path, cell)? {
            let event = event?;
            if self.restored.get(&event.wallet_id).is_some_and(|last| event.block_number <= *last) {
                continue;
            }
            for Transaction { transaction_id, kind, amount } in event.transactions {
                self.add(LostOperation {
                    wallet: event.wallet_id,
                    block: event.block_number,
                    transaction: transaction_id,
                    kind,
                    amount: amount.get().trim_matches('"').to_owned(),
                    at: event.timestamp.clone(),
                });
            }
        }
        Ok(())
    }

    fn add(&mut self, lost: LostOperation) {
        self.found.entry((lost.wallet, lost.block, lost.transaction)).or_insert(lost);
    }

    /// In the order of wallets and blocks.
    pub fn lost(self) -> Vec<LostOperation> {
        let is_lost = |lost: &LostOperation| !self.completed.contains(&lost.wallet);
        self.found.into_values().filter(is_lost).collect()
    }
}
