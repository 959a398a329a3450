//! Wallets that live in a cell although the placement has neither their bucket nor a pin there: their onboarding was
//! broken off before its last step. A plan that is made of the placement alone would leave them behind.

use control_api::Because;
use futures_util::{StreamExt, stream};
use mover::Side;
use store::dynamodb::DynamoStore;
use store::{Chains, Homes, StoreError};
use topology::placement::Pin;
use topology::{Bucket, CellId, Placement, WalletId};

use crate::cells::fleet::Fleet;
use crate::error::{Result, no_placement};
use crate::placement::placements::Delta;

/// Chains that are looked at: those of a cell that has purged nothing for long may be many.
const CHAINS_MAX: usize = 50_000;
const PAGE: usize = 500;
const AT_ONCE: usize = 32;

/// Pins them where they live. While the cell's tables do not answer, nothing is known of them and nothing is done.
pub async fn pin(fleet: &Fleet, cell: &CellId, because: &Because) -> Result<()> {
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let side = fleet.side(cell).await?;
    let wallets = match find(&now.placement, &side).await {
        Ok(wallets) => wallets,
        Err(error) => {
            tracing::warn!(%cell, %error, "wallets without a pin are not known");
            return Ok(());
        }
    };
    let decide = |placement: &Placement| {
        let Some(index) = placement.cell_named(cell).map(|cell| cell.index) else { return Ok(None) };
        let missing = wallets.iter().filter(|wallet| placement.cell_of(**wallet) != index);
        let pins: Vec<Pin> = missing.map(|&wallet| Pin { wallet, cell: Some(index) }).collect();
        Ok((!pins.is_empty()).then(|| Delta { pins, ..Delta::default() }))
    };
    match wallets.is_empty() {
        true => Ok(()),
        false => fleet.placements.change("customers_pinned", because, decide).await.map(|_| ()),
    }
}

async fn find(placement: &Placement, side: &Side<DynamoStore>) -> std::result::Result<Vec<WalletId>, StoreError> {
    let index = placement.cell_named(&side.cell).map(|cell| cell.index);
    let (mut found, mut looked_at, mut after) = (Vec::new(), 0, None);
    while looked_at < CHAINS_MAX {
        let page = side.store.members((Bucket(0), Bucket(u16::MAX)), after, PAGE).await?;
        let Some(&last) = page.last() else { return Ok(found) };
        after = Some(last);
        let strangers: Vec<_> = page.into_iter().filter(|wallet| Some(placement.cell_of(*wallet)) != index).collect();
        looked_at += strangers.len();
        let heads = strangers.into_iter().map(async |wallet| (wallet, side.store.head(wallet).await));
        let mut heads = stream::iter(heads).buffer_unordered(AT_ONCE);
        while let Some((wallet, head)) = heads.next().await {
            if head?.is_some_and(|head| head.home == side.cell) {
                found.push(wallet);
            }
        }
    }
    tracing::warn!(cell = %side.cell, looked_at, "not all wallets were looked at for a missing pin");
    Ok(found)
}
