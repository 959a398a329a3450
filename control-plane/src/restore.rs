//! A cell that lost its tables gets its chains back from its archive or an export, into empty tables and under its
//! own name: begin, chain by chain, finish. In place, the tables were rewound to an earlier time,
//! and an export is not needed. Each part may be asked for again, by any operator, after any crash.
//!
//! It must never make a second home for a wallet: what belongs to another cell by now, by the placement or by a longer
//! chain, is left there, and the cell gets the block by which it left as a tombstone. No process of the cell may serve
//! meanwhile: half a chain looks like a whole one. A wallet of which blocks are missing gets its newest block alone, over
//! the hole: the cell then refuses to serve it until a further export fills the hole.

pub mod archived;
pub(crate) mod others;

use std::time::Duration;

use control_api::ledgers::ExportedOwner;
use control_api::restore::{
    BeginRestore, FinishFrom, FinishRestore, FinishedPage, MissingWallet, RESTORE_BLOCKS, RestoreChain, RestoredChain,
    WalletsPage,
};
use control_api::{Because, Refusal, now_rfc3339};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use ledger::{Block, Owner, Timestamp, WalletKey, canonical};
use mover::Side;
use restoration::around::{Around, Completed};
use restoration::rights::Lost;
use restoration::{bad_chain, chains, owner, owners, refill, rights, try_again};
use store::dynamodb::DynamoStore;
use store::{CellRow, CellRows, Homes};
use tokio::time::Instant;
use topology::restoring::{KEY, LIST, Restoring};
use topology::{Bucket, CellEntry, CellId, Placement, WalletId};

use crate::audit::witness::Witness;
use crate::because::check_meant;
use crate::cells::fleet::Fleet;
use crate::clock;
use crate::customers::onboarding;
use crate::error::{Error, Result, no_placement, refused, unknown_cell};
use crate::operations;
use crate::operations::service::Operations;
use crate::placement::placements::Delta;
use crate::regions;
use archived::Refills;
use others::Others;

/// One answer comes after about this long; the caller continues from there.
const PAGE_TIME: Duration = Duration::from_secs(5);
const WALLETS: usize = 256;
const WALLETS_AT_ONCE: usize = 32;

/// Wallets of which a cell's tables hold anything, in the order of their ids.
pub async fn wallets(fleet: &Fleet, cell: &CellId, after: Option<WalletId>) -> Result<WalletsPage> {
    let side = fleet.side(cell).await?;
    let wallets = side.store.members((Bucket(0), Bucket(u16::MAX)), after, WALLETS).await?;
    let next = wallets.last().copied().filter(|_| wallets.len() == WALLETS);
    Ok(WalletsPage { wallets, next })
}

/// Checks that the cell is dead, and empty or meant to be rewound, says in its tables that it is being restored, and gives
/// it its rights back.
pub async fn begin(
    operations: &Operations,
    refills: &Refills,
    cell: &CellId,
    wanted: &BeginRestore,
) -> Result<Restoring> {
    let fleet = &*operations.fleet;
    let BeginRestore { in_place, because } = wanted;
    check_meant(because)?;
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let entry = now.placement.cell_named(cell).ok_or_else(|| unknown_cell(cell))?;
    operations::check_nothing_moves(operations, cell).await?;
    check_stopped(fleet, entry).await?;
    let side = fleet.side(cell).await?;
    let before = stand(&side.store).await?;
    // Tables that were restored before take further exports while a wallet is not whole.
    if before.as_ref().is_none_or(|(_, before)| before.done && !before.incomplete) && !in_place {
        let members = side.store.members((Bucket(0), Bucket(u16::MAX)), None, 1).await?;
        if !members.is_empty() || side.store.genesis().await?.is_some() {
            let detail = format!(
                "the tables of {cell} hold wallets or rights already: a cell is restored into empty ones, or --in-place"
            );
            return Err(refused(Refusal::NotEmpty, detail));
        }
    }
    let state = match before {
        Some((_, under_way)) if !under_way.done => under_way,
        before => {
            let Because { actor, reason } = because.clone();
            let again = before.is_some() && !in_place;
            let state = Restoring {
                done: false,
                again,
                incomplete: false,
                mirror: false,
                in_place: *in_place,
                since: now_rfc3339(),
                actor,
                reason,
            };
            put_stand(&side.store, before.map(|(version, _)| version), &state).await?;
            state
        }
    };
    // One that began between the first look and the row has not seen the row.
    check_stopped(fleet, entry).await?;
    match (state.in_place, state.again) {
        (true, _) => {
            let others = others::all(fleet, &now.placement, cell).await?;
            rights::reconcile(&now.placement, entry, &side.store, &others).await?;
        }
        (false, false) => {
            let Others { sides, lost } =
                Box::pin(others::within_reach(operations, refills, &now.placement, cell)).await?;
            let lost = Lost { cells: &lost, epoch: millis(&state.since)? };
            rights::rebuild(&now.placement, entry, &side.store, &sides, lost).await?;
        }
        (false, true) => {}
    }
    Ok(state)
}

/// A bucket changes its cell far less often than once in a millisecond.
fn millis(since: &str) -> Result<u64> {
    let unsound = |_| Error::Unsound(format!("{LIST}: {since} is no time"));
    let micros = Timestamp::parse(since).map_err(unsound)?.micros();
    Ok(u64::try_from(micros).unwrap_or(0) / 1_000)
}

/// Writes a part of one chain, checked link by link, with the rows that follow from it.
pub async fn take(fleet: &Fleet, cell: &CellId, wanted: &RestoreChain) -> Result<RestoredChain> {
    let store = under_way(fleet, cell).await?;
    let blocks = decoded(wanted)?;
    let now = fleet.placements.known().ok_or_else(no_placement)?;
    let owner = owner(&now.placement, wanted.wallet)?;
    if owner.id != *cell {
        let other = fleet.side(&owner.id).await?;
        return Ok(chains::leave_elsewhere(cell, &store, &other, wanted.wallet).await?);
    }
    if let Some(owner) = &wanted.owner {
        let others = others::all(fleet, &now.placement, cell).await?;
        owners::put(&store, &others, wanted.wallet, &exported(owner)?).await?;
    }
    Ok(chains::put(&store, wanted.wallet, &blocks).await?)
}

/// Looks through the other cells for what they hold of the cell's wallets, a page at a time; at the end lets the cell serve.
pub async fn finish(
    operations: &Operations,
    refills: &Refills,
    witness: &Witness,
    cell: &CellId,
    wanted: &FinishRestore,
) -> Result<FinishedPage> {
    check_meant(&wanted.because)?;
    let fleet = &*operations.fleet;
    let store = under_way(fleet, cell).await?;
    let since = stand(&store).await?.map(|(_, state)| state.since).ok_or_else(|| not_under_way(cell))?;
    if refill::is_half_read(&store, &since).await? {
        let detail =
            format!("the archive of {cell} was not read to its end: run `ctl cell restore {cell} --from archive`");
        return Err(refused(Refusal::HalfRead, detail));
    }
    let now = fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let entry = now.placement.cell_named(cell).ok_or_else(|| unknown_cell(cell))?;
    check_stopped(fleet, entry).await?;
    let others = Box::pin(others::within_reach(operations, refills, &now.placement, cell)).await?.sides;
    let around =
        Around { placement: &now.placement, entry, store: &store, others: &others, clock: &clock::beside(&store) };
    let mut page = FinishedPage::default();
    let deadline = Instant::now() + PAGE_TIME;
    let begin = wanted.from.as_ref();
    // The one where it stopped may be left out by now.
    let place = |id: &CellId| now.placement.cells().iter().position(|other| other.id == *id);
    let skipped = |side: &&Side<DynamoStore>| begin.is_some_and(|from| place(&side.cell) < place(&from.cell));
    for other in others.iter().skip_while(skipped) {
        let mut after = begin.filter(|from| from.cell == other.cell).and_then(|from| from.after);
        loop {
            let wallets = other.store.members((Bucket(0), Bucket(u16::MAX)), after, WALLETS).await?;
            let Some(last) = wallets.last().copied() else { break };
            let completed = wallets.into_iter().map(|wallet| {
                let around = &around;
                async move { around.complete(other, wallet).await.map(|completed| (wallet, completed)) }
            });
            let completed = stream::iter(completed).buffer_unordered(WALLETS_AT_ONCE).try_collect::<Vec<_>>();
            for (wallet, completed) in Box::pin(completed).await? {
                match completed {
                    Completed::Nothing => {}
                    Completed::Whole => page.completed.push(wallet),
                    Completed::LivesThere => {
                        let id = &other.cell;
                        let target = now.placement.cell_named(id).ok_or_else(|| unknown_cell(id))?;
                        onboarding::pin(fleet, wallet, target, &wanted.because).await?;
                        page.pinned.push(wallet);
                    }
                    Completed::Missing(why) => page.missing.push(MissingWallet { wallet, why }),
                }
            }
            after = Some(last);
            if Instant::now() >= deadline {
                page.next = Some(FinishFrom { cell: other.cell.clone(), after });
                remember_lack(&store, !page.missing.is_empty()).await?;
                return Ok(page);
            }
        }
    }
    remember_lack(&store, !page.missing.is_empty()).await?;
    let (version, state) = stand(&store).await?.ok_or_else(|| not_under_way(cell))?;
    if !state.again {
        witness.begin_anew(cell, &state.since).await?;
    }
    let published = |_: &Placement| Ok(Some(Delta::default()));
    fleet.placements.change("cell_restored", &wanted.because, published).await?;
    // Before it may serve: a process that starts compares them.
    store.adopt_tables().await?;
    put_stand(&store, Some(version), &Restoring { done: true, ..state }).await?;
    regions::says_home(fleet, cell, &wanted.because).await?;
    Ok(page)
}

/// So that the cell takes further exports after this restore.
async fn remember_lack(store: &DynamoStore, is_incomplete: bool) -> Result<()> {
    match stand(store).await? {
        Some((version, state)) if is_incomplete && !state.incomplete => {
            put_stand(store, Some(version), &Restoring { incomplete: true, ..state }).await
        }
        _ => Ok(()),
    }
}

/// A process remembers heads that the restored chains may lack, and could append above a hole.
async fn check_stopped(fleet: &Fleet, entry: &CellEntry) -> Result<()> {
    for instance in &entry.instances {
        if fleet.instances.may_write(instance).await {
            let detail = format!("{} answers: stop all processes of {} first", instance.id, entry.id);
            return Err(refused(Refusal::CellRunning, detail));
        }
    }
    Ok(())
}

/// Whether the cell's rows are being rebuilt.
pub async fn is_under_way(store: &DynamoStore) -> Result<bool> {
    Ok(stand(store).await?.is_some_and(|(_, state)| !state.done))
}

pub(crate) async fn stand(store: &DynamoStore) -> Result<Option<(u64, Restoring)>> {
    let Some(row) = store.cell_row(LIST, KEY).await? else { return Ok(None) };
    let state = serde_json::from_slice(&row.bytes).map_err(|error| Error::Unsound(format!("{LIST}: {error}")))?;
    Ok(Some((row.version, state)))
}

pub(crate) async fn put_stand(store: &DynamoStore, version: Option<u64>, state: &Restoring) -> Result<()> {
    let bytes = serde_json::to_vec(state).expect("plain data");
    let row = CellRow { version: version.unwrap_or(0) + 1, bytes };
    match store.put_cell_row(LIST, KEY, version, &row).await? {
        true => Ok(()),
        false => Err(try_again("another request restores this cell".into()).into()),
    }
}

async fn under_way(fleet: &Fleet, cell: &CellId) -> Result<DynamoStore> {
    let side = fleet.side(cell).await?;
    match stand(&side.store).await? {
        Some((_, state)) if !state.done => Ok(side.store),
        _ => Err(not_under_way(cell)),
    }
}

fn decoded(wanted: &RestoreChain) -> Result<Vec<Block>> {
    if wanted.blocks.is_empty() || wanted.blocks.len() > RESTORE_BLOCKS {
        return Err(bad_chain(format!("1 to {RESTORE_BLOCKS} blocks in one request")).into());
    }
    let one = |text: &String| {
        let block = canonical::from_text(text).map_err(|error| bad_chain(error.to_string()))?;
        let is_its = block.wallet == wanted.wallet;
        is_its.then_some(block).ok_or_else(|| bad_chain(format!("a block that is not of wallet {}", wanted.wallet)))
    };
    let blocks: Vec<Block> = wanted.blocks.iter().map(one).collect::<restoration::Result<_>>()?;
    let begins = blocks[0].number.is_multiple_of(RESTORE_BLOCKS as u64);
    let consecutive = blocks.windows(2).all(|pair| pair[0].number.checked_add(1) == Some(pair[1].number));
    if !begins || !consecutive {
        return Err(bad_chain(format!("blocks come in order, {RESTORE_BLOCKS} at a time")).into());
    }
    Ok(blocks)
}

fn exported(owner: &ExportedOwner) -> Result<Owner> {
    let key = canonical::from_hex(&owner.key).ok().and_then(|bytes| bytes.try_into().ok());
    let key = key.ok_or_else(|| bad_chain("a wallet's key is 32 bytes".into()))?;
    Ok(Owner { user: owner.user.clone(), key: WalletKey::from_bytes(key) })
}

fn not_under_way(cell: &CellId) -> Error {
    refused(Refusal::NoRestore, format!("begin with `ctl cell restore {cell}`"))
}
