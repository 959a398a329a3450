//! Chains as they are stored, read past the cells' processes: verified, exported, and held against what the cells have
//! committed to and the witness has seen.
//!
//! It must never change anything in a cell's tables: what is broken may be evidence.

use std::time::Duration;

use control_api::Refusal;
use control_api::ledgers::{BreakView, CheckpointView, ExportPage, VerifiedPage, VerifyCell};
use ledger::{canonical, moving};
use mover::Side;
use serde_json::json;
use store::dynamodb::DynamoStore;
use store::log::Log;
use store::verify::{Committed, FullSpeed, verify};
use store::{BlockRange, CellRows, Chains, Homes, StoreError};
use tokio::time::Instant;
use topology::finding::FINDINGS;
use topology::{Bucket, CellId, CellState, Finding, WalletId};

use crate::audit::witness::Witness;
use crate::cells::fleet::Fleet;
use crate::error::{Error, Result, no_placement, refused};

/// One answer comes after about this long; the caller continues from there.
const PAGE_TIME: Duration = Duration::from_secs(5);
/// Breaks in one answer.
const BREAKS_MAX: usize = 200;
const BLOCKS: usize = 256;
const WALLETS: usize = 64;
const FINDINGS_PAGE: usize = 256;
const FINDINGS_MAX: usize = 10_000;
/// Cells that a wallet is followed through.
const HOMES_MAX: usize = 8;

/// The cells that have ledgers.
pub async fn cells(fleet: &Fleet) -> Result<Vec<CellId>> {
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let cells = now.placement.cells().iter().filter(|cell| cell.state != CellState::Removed);
    Ok(cells.map(|cell| cell.id.clone()).collect())
}

/// Where the wallet lives, by the placement and then by what its chain says.
pub async fn home(fleet: &Fleet, wallet: WalletId) -> Result<Side<DynamoStore>> {
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let owner = now.placement.cell_of(wallet);
    let entry = now.placement.cells().iter().find(|cell| cell.index == owner);
    let mut cell = entry.ok_or_else(|| Error::Unsound(format!("{wallet} has no cell")))?.id.clone();
    for _ in 0..HOMES_MAX {
        let side = fleet.side(&cell).await?;
        match side.store.head(wallet).await {
            Ok(Some(head)) if head.home != cell && moving::is_tombstone(&cell, &head) => cell = head.home,
            // A verification reports a head that cannot be read.
            Ok(Some(_)) | Err(StoreError::Corrupt(_)) => return Ok(side),
            Ok(None) => {
                let detail = format!("the tables of {cell} hold no chain of wallet {wallet}");
                return Err(refused(Refusal::NoChain, detail));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Unsound(format!("wallet {wallet} moves in a circle")))
}

/// One page of a wallet's chain, from block `first` on.
pub async fn export(fleet: &Fleet, wallet: WalletId, first: u64) -> Result<ExportPage> {
    let side = home(fleet, wallet).await?;
    let range = BlockRange { first, last: u64::MAX, newest_first: false };
    let page = side.store.page(wallet, range, BLOCKS).await?;
    let line = |block: &ledger::Block| {
        let bytes = canonical::hex(&canonical::encode(block));
        let mut line = json!({
            "wallet": block.wallet, "number": block.number, "hash": block.hash.to_string(), "canonical": bytes
        });
        if let Some(sealed) = &block.sealed {
            line["sealed"] = canonical::hex(sealed.as_bytes()).into();
        }
        line
    };
    let last = page.blocks.last().map(|block| block.number + 1).filter(|_| page.more);
    Ok(ExportPage { cell: side.cell, lines: page.blocks.iter().map(line).collect(), next: last })
}

fn broken(cell: &CellId, wallet: Option<WalletId>, found: store::verify::Break) -> BreakView {
    BreakView { cell: cell.clone(), wallet, place: found.place, what: found.what }
}

pub async fn verify_wallet(fleet: &Fleet, wallet: WalletId) -> Result<VerifiedPage> {
    let side = home(fleet, wallet).await?;
    let mut page = VerifiedPage::default();
    take_in(&side, wallet, &mut page).await?;
    Ok(page)
}

async fn take_in(side: &Side<DynamoStore>, wallet: WalletId, page: &mut VerifiedPage) -> Result<()> {
    let report = verify(&side.store, &side.cell, wallet, &[], &mut FullSpeed).await?;
    page.wallets += 1;
    page.blocks += report.blocks;
    page.rows += report.rows;
    page.breaks.extend(report.breaks.into_iter().map(|found| broken(&side.cell, Some(wallet), found)));
    Ok(())
}

/// Verifies wallets of a cell for a while.
pub async fn verify_cell(fleet: &Fleet, wanted: &VerifyCell) -> Result<VerifiedPage> {
    let side = fleet.side(&wanted.cell).await?;
    let deadline = Instant::now() + PAGE_TIME;
    let (mut page, mut after) = (VerifiedPage::default(), wanted.after);
    loop {
        let wallets = side.store.members((Bucket(0), Bucket(u16::MAX)), after, WALLETS).await?;
        if wallets.is_empty() {
            return Ok(page);
        }
        for wallet in wallets {
            take_in(&side, wallet, &mut page).await?;
            after = Some(wallet);
            if Instant::now() >= deadline || page.breaks.len() >= BREAKS_MAX {
                page.next = after;
                return Ok(page);
            }
        }
    }
}

/// What the cell itself has found, and what the witness has found about the cell.
pub async fn findings(fleet: &Fleet, witness: &Witness, cell: &CellId) -> Result<Vec<Finding>> {
    let side = fleet.side(cell).await?;
    let mut findings = witness.violations(cell).await?;
    let mut after: Option<String> = None;
    while findings.len() < FINDINGS_MAX {
        let rows = side.store.cell_rows(FINDINGS, after.as_deref(), false, FINDINGS_PAGE).await?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        for (key, row) in rows {
            let finding = serde_json::from_slice(&row.bytes);
            findings.push(finding.map_err(|error| Error::Unsound(format!("finding {key} of {cell}: {error}")))?);
        }
    }
    Ok(findings)
}

/// The checkpoints of a cell that the witness keeps, newest first.
pub async fn checkpoints(witness: &Witness, cell: &CellId, limit: i32) -> Result<Vec<CheckpointView>> {
    let keys = witness.keys(cell)?;
    let kept = witness.list(cell, limit).await?;
    let view = |signed: ledger::checkpoint::Signed| CheckpointView {
        cell: cell.clone(),
        number: signed.checkpoint.number,
        leaves: signed.checkpoint.size,
        root_hash: signed.checkpoint.root.to_string(),
        at: signed.checkpoint.at.to_string(),
        signed: (!keys.is_empty()).then(|| keys.iter().any(|key| key.verifies(&signed))),
    };
    Ok(kept.into_iter().map(view).collect())
}

/// Audits a cell's log, and then, wallet by wallet for a while, holds the chains against all that it commits to.
pub async fn verify_checkpoints(fleet: &Fleet, witness: &Witness, wanted: &VerifyCell) -> Result<VerifiedPage> {
    let side = fleet.side(&wanted.cell).await?;
    let keys = witness.keys(&wanted.cell)?;
    if keys.is_empty() {
        let detail = format!("give the control plane a folder with {}.pub: --checkpoint-keys", wanted.cell);
        return Err(refused(Refusal::NoCheckpointKey, detail));
    }
    // First what the witness has: what comes later is in the log too.
    let witnessed = witness.kept(&wanted.cell).await?;
    let audit = Log::new(side.store.clone(), side.cell.clone()).audit(&keys, &witnessed).await?;
    let deadline = Instant::now() + PAGE_TIME;
    let mut page = VerifiedPage::default();
    if wanted.after.is_none() {
        (page.checkpoints, page.leaves) = (audit.checkpoints, audit.leaves);
        page.breaks.extend(audit.breaks.into_iter().map(|found| broken(&side.cell, None, found)));
    }
    for (wallet, committed) in audit.committed.into_iter().filter(|(wallet, _)| Some(*wallet) > wanted.after) {
        for leaf in committed {
            page.blocks += 1;
            if let Some(what) = differs(fleet, &side, wallet, leaf).await? {
                let place = format!("block {}", leaf.block);
                page.breaks.push(BreakView { cell: side.cell.clone(), wallet: Some(wallet), place, what });
            }
        }
        page.wallets += 1;
        if Instant::now() >= deadline || page.breaks.len() >= BREAKS_MAX {
            page.next = Some(wallet);
            break;
        }
    }
    Ok(page)
}

/// How a block differs from what was committed to. What has been forgotten here is looked for where the wallet lives.
async fn differs(fleet: &Fleet, side: &Side<DynamoStore>, wallet: WalletId, leaf: Committed) -> Result<Option<String>> {
    if let Some(found) = compare(&side.store, wallet, leaf).await? {
        return Ok(found);
    }
    let missing = Some(format!("the cell has committed to it (hash {}), and it is missing", leaf.hash));
    match home(fleet, wallet).await {
        Ok(home) if home.cell != side.cell => Ok(compare(&home.store, wallet, leaf).await?.unwrap_or(missing)),
        Ok(_) | Err(Error::Refused(_)) => Ok(missing),
        Err(error) => Err(error),
    }
}

/// `None`: there is no such block.
async fn compare(store: &DynamoStore, wallet: WalletId, leaf: Committed) -> Result<Option<Option<String>>> {
    let page = store.stored_blocks(wallet, leaf.block, 1).await?;
    let Some(stored) = page.items.into_iter().next().filter(|stored| stored.key == leaf.block.to_string()) else {
        return Ok(None);
    };
    Ok(Some(match stored.value {
        Ok(block) if block.hash == leaf.hash => None,
        Ok(block) => Some(format!("the cell has committed to hash {}, stored is {}", leaf.hash, block.hash)),
        Err(what) => Some(what),
    }))
}
