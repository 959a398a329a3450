//! Takes old blocks out of the tables of the cells of which cells.toml says so (`history_days`), once they are in packs of
//! the archive.
//!
//! What is old, the archives' logs say: they are in the order of time. A row of each cell says up to which entry of its log
//! the packs were written. A control plane claims an entry before it looks at the wallets in it, so that two of them do not
//! do the same. What a claim that was not carried out leaves in the table goes with the wallet's next pack.

use std::collections::BTreeSet;
use std::time::Duration;

use archive::{Archive, Entry};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use metrics::counter;
use store::dynamodb::DynamoStore;
use store::packing::{KEPT_BLOCKS, Packing};
use store::{CellRow, CellRows, Chains};
use topology::{CellConfig, CellId, Config, WalletId};

use crate::cells::fleet::Fleet;
use crate::error::Result;
use crate::{clock, restore};

/// Between two looks at the archives; less where blocks stay for less.
const EVERY: Duration = Duration::from_secs(60);
const EVERY_LEAST: Duration = Duration::from_secs(1);
/// Wallets of one entry that are looked at at the same time.
const AT_ONCE: usize = 16;
/// The row of a cell, in a list of its own.
const ROWS: &str = "packing";
const ROW: &str = "entry";

/// How long the blocks of a cell stay in its table, of the cells that do not keep them for ever.
pub type Bounds = Vec<(CellId, Duration)>;

/// As the configuration says, or for all cells the same.
pub fn bounds(config: &Config, same: Option<Duration>) -> Bounds {
    let days = |days: u32| Duration::from_secs(u64::from(days).saturating_mul(24 * 60 * 60));
    let of = |cell: &CellConfig| Some((cell.id.clone(), same.or(cell.history_days.map(days))?));
    config.cells.iter().filter_map(of).collect()
}

/// For ever, if there is anything to do.
pub async fn keep_packing(fleet: &Fleet, bounds: Bounds) {
    let Some(shortest) = bounds.iter().map(|(_, bound)| *bound).min() else { return };
    loop {
        tokio::time::sleep(shortest.clamp(EVERY_LEAST, EVERY)).await;
        // Side by side: each has to keep up with what is written in its cell.
        join_all(bounds.iter().map(async |(cell, bound)| {
            if let Err(error) = pack_old(fleet, cell, *bound).await {
                counter!("control_plane_packing_failures_total").increment(1);
                tracing::warn!(%cell, %error, "old blocks stay in the table; it is tried again");
            }
        }))
        .await;
    }
}

async fn pack_old(fleet: &Fleet, cell: &CellId, bound: Duration) -> Result<()> {
    let store = fleet.side(cell).await?.store;
    let Some(packs) = store.packs().cloned() else { return Ok(()) };
    let archive = packs.of(cell.clone());
    let (now, bound) = (clock::beside(&store), i64::try_from(bound.as_micros()).unwrap_or(i64::MAX));
    // After an answer, so that the time is the database's.
    while let Some(entry) = next(&store, &archive).await? {
        let before = now().plus_micros(-bound);
        if entry.at >= before {
            break;
        }
        if claim(&store, entry.number).await? {
            let packing = Packing { cell, packs: &packs, before, kept: KEPT_BLOCKS };
            pack_of_entry(&store, &archive, &entry, packing).await?;
        }
    }
    Ok(())
}

/// The entry after those that were claimed. None while the cell is being restored: what is in its table is not whole.
async fn next(store: &DynamoStore, archive: &Archive) -> Result<Option<Entry>> {
    let is_restored = restore::stand(store).await?.is_none_or(|(_, state)| state.done);
    if !is_restored {
        return Ok(None);
    }
    let claimed = store.cell_row(ROWS, ROW).await?.map_or(0, |row| row.version);
    Ok(archive.entry(claimed.saturating_add(1)).await?)
}

/// `false`: another process has claimed it.
async fn claim(store: &DynamoStore, entry: u64) -> Result<bool> {
    let expected = entry.checked_sub(1).filter(|before| *before > 0);
    Ok(store.put_cell_row(ROWS, ROW, expected, &CellRow { version: entry, bytes: vec![] }).await?)
}

/// Packs what may be packed of each wallet with the last block of a pack in this entry.
async fn pack_of_entry(store: &DynamoStore, archive: &Archive, entry: &Entry, packing: Packing<'_>) -> Result<()> {
    let segment = archive.segment(entry).await?;
    let ends = |number: u64| *archive.numbers_of(archive.pack_of(number)).end() == number;
    let wallets: BTreeSet<WalletId> =
        segment.blocks.iter().filter(|block| ends(block.number)).map(|block| block.wallet).collect();
    let pack = |wallet| async move { (wallet, packing.pack(store, wallet).await) };
    let mut packed = stream::iter(wallets).map(pack).buffer_unordered(AT_ONCE);
    while let Some((wallet, packed)) = packed.next().await {
        match packed {
            Ok(packs) => counter!("control_plane_packs_total").increment(packs),
            Err(error) => {
                counter!("control_plane_packing_failures_total").increment(1);
                tracing::warn!(%wallet, %error, "old blocks of a wallet stay in the table until its next pack");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_without_a_bound_keep_their_blocks() {
        let text = "[deployment]\nname='t'\nnamespace='6f1a0c52-9f35-4d0e-8a3d-3c1c6a6b1f10'\nregion='us-east-1'\n\
                    [[cells]]\nid='a'\n[[cells]]\nid='b'\nhistory_days=35\n";
        let config = Config::parse(text).expect("sound");
        let cell = |id: &str| CellId::parse(id).expect("sound");
        assert_eq!(bounds(&config, None), [(cell("b"), Duration::from_secs(35 * 24 * 60 * 60))]);
        let second = Duration::from_secs(1);
        assert_eq!(bounds(&config, Some(second)), [(cell("a"), second), (cell("b"), second)]);
    }
}
