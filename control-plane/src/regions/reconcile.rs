//! What the Region that a cell has left holds beside what the cell became: a page of wallets at a time.

use std::time::Duration;

use control_api::Refusal;
use control_api::regions::ReconciledPage;
use restoration::diverged;
use store::Homes;
use tokio::time::Instant;
use topology::{Bucket, CellId, WalletId};

use crate::cells::fleet::Fleet;
use crate::error::{Result, refused, unknown_cell};

/// One answer comes after about this long; the caller continues from there.
const PAGE_TIME: Duration = Duration::from_secs(5);
const WALLETS: usize = 256;
/// Most blocks of one answer.
const LOST_MAX: usize = 1_000;

pub async fn reconcile(fleet: &Fleet, cell: &CellId, after: Option<WalletId>) -> Result<ReconciledPage> {
    let record = fleet.registry.get(cell).await?.ok_or_else(|| unknown_cell(cell))?;
    let left = record.spec.standby.filter(|_| record.spec.region_epoch > 0);
    let none = || refused(Refusal::NoStandby, format!("{cell} has left no Region"));
    let left = left.ok_or_else(none)?.dynamodb;
    let (former, now) = (fleet.store(&left).await, fleet.store(&record.spec.dynamodb).await);
    let mut page = ReconciledPage { region: left.region, ..ReconciledPage::default() };
    let (deadline, mut after) = (Instant::now() + PAGE_TIME, after);
    loop {
        let wallets = former.members((Bucket(0), Bucket(u16::MAX)), after, WALLETS).await?;
        if wallets.is_empty() {
            return Ok(page);
        }
        for wallet in wallets {
            page.lost.extend(diverged::lost(cell, &former, &now, wallet).await?);
            page.wallets += 1;
            after = Some(wallet);
            if Instant::now() >= deadline || page.lost.len() >= LOST_MAX {
                page.next = after;
                return Ok(page);
            }
        }
    }
}
