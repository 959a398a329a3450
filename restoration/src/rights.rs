//! The right to create wallets in a cell with lost or rewound tables: rebuilt from what the
//! other cells' rows say, and from the placement where they say nothing. A bucket's epoch rises
//! with every change, in whichever cell: the new rows are above all that others have.
//!
//! It must never give a bucket to two cells: a move that was not published has left the placement
//! behind the rows.

use std::collections::{BTreeMap, BTreeSet};

use control_api::Refusal;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use mover::Side;
use store::{Genesis, HomeChange, HomeKey, HomeRow, HomeState, MAX_HOME_CHANGES, Store};
use topology::{Bucket, CellEntry, CellId, Placement};

use crate::{Error, Result, creation_rights, refused};

/// Above what any other cell has: a move that was taken back raises the epoch by two at most after another cell's row.
const EPOCHS_ABOVE: u64 = 2;

/// Reads of rows that are under way at once: all buckets of a cell take a thousand.
const READS_AT_ONCE: usize = 16;
/// Transactions that write rows and are under way at once.
const WRITES_AT_ONCE: usize = 8;

/// What the other cells say of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Elsewhere {
    /// The highest of all rows; 0 where a cell has it from the start.
    epoch: u64,
    /// The cell of that row.
    cell: CellId,
    state: HomeState,
}

impl Elsewhere {
    /// The cell that has the bucket, or is to decide about it.
    fn owner(&self) -> &CellId {
        match &self.state {
            HomeState::Serving | HomeState::Closing { .. } => &self.cell,
            HomeState::Moved { to } => to,
        }
    }
}

/// Cells that exist and cannot be read. The placement is right about what they have: what moved between them and the
/// restored cell was published.
#[derive(Debug, Clone, Copy)]
pub struct Lost<'a> {
    pub cells: &'a [CellId],
    /// Above any that their rows may have.
    pub epoch: u64,
}

impl Lost<'_> {
    pub const NONE: Self = Self { cells: &[], epoch: u64::MAX };

    /// Whether rows have to be above theirs: also where this was begun while some were lost.
    async fn is_above<S: Store>(self, store: &S, owned: &BTreeSet<Bucket>) -> Result<bool> {
        let Some(first) = owned.first().filter(|_| self.cells.is_empty()) else { return Ok(!self.cells.is_empty()) };
        Ok(store.home(HomeKey::Bucket(*first)).await?.is_some_and(|row| row.epoch >= self.epoch))
    }
}

/// Writes genesis and rows. Done again, with the same placement, it writes the same.
pub async fn rebuild<S: Store>(
    placement: &Placement,
    cell: &CellEntry,
    store: &S,
    others: &[Side<S>],
    lost: Lost<'_>,
) -> Result<()> {
    let mut elsewhere = elsewhere(others).await?;
    // It may have left there again.
    elsewhere.retain(|_, row| !lost.cells.contains(row.owner()));
    let is_lost = |bucket| placement.cell(placement.owner_of(bucket)).is_some_and(|cell| lost.cells.contains(&cell.id));
    let is_ours = |bucket: &Bucket| !is_lost(*bucket) && is_ours(placement, cell, *bucket, &elsewhere);
    let owned: BTreeSet<Bucket> = Bucket::all().filter(is_ours).collect();
    let is_above = lost.is_above(store, &owned).await?;
    let is_from_start = |bucket: &Bucket| !is_above && !elsewhere.contains_key(bucket);
    if !store.put_genesis(&Genesis::of(owned.iter().copied().filter(is_from_start))).await? {
        let detail = "its tables hold the buckets of another placement; begin with empty tables";
        return Err(refused(Refusal::NotEmpty, detail));
    }
    let served = owned.iter().filter(|bucket| !is_from_start(bucket)).map(|bucket| {
        let known = elsewhere.get(bucket).map_or(0, |row| row.epoch.saturating_add(EPOCHS_ABOVE));
        served(*bucket, if is_above { known.max(lost.epoch) } else { known })
    });
    // By the placement, creations come here, and have to be sent on. Of others, it may have been this cell that said where
    // they went: if the cell that has them is lost one day, no other row says so.
    let sent_on = |bucket: &Bucket, row: &Elsewhere| {
        let is_of_other = row.epoch > 0 && *row.owner() != cell.id;
        !owned.contains(bucket) && (is_of_other || placement.owner_of(*bucket) == cell.index)
    };
    let moved = elsewhere.iter().filter(|(bucket, row)| sent_on(bucket, row)).map(|(bucket, row)| moved(*bucket, row));
    let changes: Vec<HomeChange> = served.chain(moved).collect();
    let written: Vec<_> = changes.chunks(MAX_HOME_CHANGES).map(|some| write(store, some)).collect();
    stream::iter(written).buffer_unordered(WRITES_AT_ONCE).try_collect::<()>().await?;
    pins(placement, cell, store, &owned).await
}

/// The same in tables that were rewound. A bucket that left since is not created in any more, one that came is; of each,
/// the epoch is above, or that of the row by which the other cell has it.
pub async fn reconcile<S: Store>(placement: &Placement, cell: &CellEntry, store: &S, others: &[Side<S>]) -> Result<()> {
    let all: Vec<Bucket> = Bucket::all().collect();
    let elsewhere = elsewhere(others).await?;
    let owned: BTreeSet<Bucket> =
        all.iter().copied().filter(|bucket| is_ours(placement, cell, *bucket, &elsewhere)).collect();
    let genesis = store.genesis().await?;
    let from_start = |bucket: Bucket| genesis.as_ref().is_some_and(|genesis| genesis.contains(bucket));
    for some in all.chunks(MAX_HOME_CHANGES) {
        let keys: Vec<HomeKey> = some.iter().copied().map(HomeKey::Bucket).collect();
        let mut changes = Vec::new();
        for (&bucket, held) in some.iter().zip(store.homes(&keys).await?) {
            let serves = held.as_ref().map_or(from_start(bucket), |row| row.state == HomeState::Serving);
            let ours = held.as_ref().map_or(0, |row| row.epoch);
            let theirs = elsewhere.get(&bucket).map_or(0, |row| row.epoch);
            let row = match owned.contains(&bucket) {
                true if serves && ours >= theirs => continue,
                true => HomeRow { state: HomeState::Serving, epoch: ours.max(theirs).saturating_add(EPOCHS_ABOVE) },
                false => {
                    let to = match elsewhere.get(&bucket) {
                        Some(row) => row.owner().clone(),
                        None => placed(placement, bucket)?.id.clone(),
                    };
                    let state = HomeState::Moved { to };
                    // A row that sends customers on sends them where the bucket is by now; so does one where there is
                    // none, if by the placement creations come here.
                    let comes_here = serves || placement.owner_of(bucket) == cell.index;
                    if held.as_ref().map_or(!comes_here, |row| row.state == state) {
                        continue;
                    }
                    HomeRow { state, epoch: ours.max(theirs) }
                }
            };
            let key = HomeKey::Bucket(bucket);
            changes.push(HomeChange { key, expected: held, row, unless_chain: false, while_served: None });
        }
        if !changes.is_empty() && !store.change_homes(&changes).await? {
            return Err(Error::Unsound("rows of a cell that is being restored were changed".into()));
        }
    }
    pins(placement, cell, store, &owned).await
}

/// The newest row decides, as in a move: the row of the cell that gave a bucket away names the new
/// owner.
fn is_ours(placement: &Placement, cell: &CellEntry, bucket: Bucket, elsewhere: &BTreeMap<Bucket, Elsewhere>) -> bool {
    match elsewhere.get(&bucket) {
        Some(row) => *row.owner() == cell.id,
        None => placement.owner_of(bucket) == cell.index,
    }
}

fn placed(placement: &Placement, bucket: Bucket) -> Result<&CellEntry> {
    let owner = placement.owner_of(bucket);
    placement.cell(owner).ok_or_else(|| Error::Unsound(format!("no cell {owner:?}")))
}

fn served(bucket: Bucket, epoch: u64) -> HomeChange {
    let row = HomeRow { state: HomeState::Serving, epoch };
    HomeChange { key: HomeKey::Bucket(bucket), expected: None, row, unless_chain: false, while_served: None }
}

fn moved(bucket: Bucket, row: &Elsewhere) -> HomeChange {
    let row = HomeRow { state: HomeState::Moved { to: row.owner().clone() }, epoch: row.epoch };
    HomeChange { key: HomeKey::Bucket(bucket), expected: None, row, unless_chain: false, while_served: None }
}

/// The newest row of any other cell for each bucket of which any has one, or has it from the start.
async fn elsewhere<S: Store>(others: &[Side<S>]) -> Result<BTreeMap<Bucket, Elsewhere>> {
    let all: Vec<Bucket> = Bucket::all().collect();
    let mut newest: BTreeMap<Bucket, Elsewhere> = BTreeMap::new();
    for side in others {
        let genesis = side.store.genesis().await?;
        let from_start = |bucket: Bucket| genesis.as_ref().is_some_and(|genesis| genesis.contains(bucket));
        for some in all.chunks(MAX_HOME_CHANGES * READS_AT_ONCE) {
            let keys: Vec<HomeKey> = some.iter().copied().map(HomeKey::Bucket).collect();
            let pages = try_join_all(keys.chunks(MAX_HOME_CHANGES).map(|keys| side.store.homes(keys))).await?;
            for (&bucket, row) in some.iter().zip(pages.into_iter().flatten()) {
                let start = || from_start(bucket).then_some(HomeRow { state: HomeState::Serving, epoch: 0 });
                let Some(HomeRow { state, epoch }) = row.or_else(start) else { continue };
                let said = Elsewhere { epoch, cell: side.cell.clone(), state };
                // Of two of one move, the one that serves.
                let is_newer = |known: &Elsewhere| {
                    (epoch, said.state == HomeState::Serving) > (known.epoch, known.state == HomeState::Serving)
                };
                if newest.get(&bucket).is_none_or(is_newer) {
                    newest.insert(bucket, said);
                }
            }
        }
    }
    Ok(newest)
}

/// The rows may stand there already, from a restore that was interrupted.
async fn write<S: Store>(store: &S, wanted: &[HomeChange]) -> Result<()> {
    if store.change_homes(wanted).await? {
        return Ok(());
    }
    let keys: Vec<HomeKey> = wanted.iter().map(|change| change.key).collect();
    let rows = store.homes(&keys).await?;
    let differs = wanted.iter().zip(rows).find(|(change, row)| row.as_ref() != Some(&change.row));
    differs.map_or(Ok(()), |(change, _)| Err(Error::Unsound(format!("{:?} has another row already", change.key))))
}

/// Single customers that are not where their bucket is.
async fn pins(placement: &Placement, cell: &CellEntry, store: &impl Store, owned: &BTreeSet<Bucket>) -> Result<()> {
    for (&wallet, &pinned) in placement.pins() {
        match (pinned == cell.index, owned.contains(&wallet.bucket())) {
            (true, false) => drop(creation_rights::grant(store, wallet).await?),
            (false, true) => {
                let target = placement.cell(pinned).ok_or_else(|| Error::Unsound(format!("no cell {pinned:?}")))?;
                creation_rights::deny(store, wallet, &target.id).await?;
            }
            (true, true) | (false, false) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use store::Homes;
    use store::memory::MemoryStore;
    use topology::placement::{BucketRun, PlacementUpdate};
    use topology::{CellIndex, CellState};

    use super::*;

    fn id(number: u16) -> CellId {
        CellId::parse(format!("cell-{number}")).expect("sound")
    }

    /// Three cells, of which each has a third of the buckets.
    fn placed_in_thirds() -> Placement {
        let entry = |number: u16| CellEntry {
            index: CellIndex(number - 1),
            id: id(number),
            state: CellState::Active,
            weight: 1,
            instances: vec![],
        };
        let run = |first, last, cell| BucketRun { first, last, cell: CellIndex(cell) };
        let buckets = vec![run(0, 0x4fff, 0), run(0x5000, 0x9fff, 1), run(0xa000, 0xffff, 2)];
        let (cells, pins) = (vec![entry(1), entry(2), entry(3)], vec![]);
        let update = PlacementUpdate { version: 1, base: None, intended: false, cells, buckets, pins, avoided: vec![] };
        Placement::from_full(&update).expect("sound")
    }

    /// The first cell is restored, the second one answers, and the third one is lost.
    #[tokio::test]
    async fn the_placement_decides_about_lost_cells() {
        const EPOCH: u64 = 1_000;
        let serving = |epoch| Some(HomeRow { state: HomeState::Serving, epoch });
        let to = |number| HomeState::Moved { to: id(number) };
        let moved = |number| Some(HomeRow { state: to(number), epoch: 4 });
        // A bucket, what the second cell says of it, and what the first one says afterwards.
        let cases = [
            (0x0000, None, serving(EPOCH)),
            (0x0001, moved(1), serving(EPOCH)),
            // It came back from the lost cell; it was published too late; it left for the lost cell, once it was here.
            (0x0002, moved(3), serving(EPOCH)),
            (0x0003, serving(4), moved(2)),
            (0xa000, moved(1), None),
            (0xa001, None, None),
            (0x5000, None, None),
            // If the second one is lost later, this row alone says that the bucket is there.
            (0x5001, serving(4), moved(2)),
        ];
        let placement = placed_in_thirds();
        let (first, second) = (MemoryStore::default(), MemoryStore::default());
        for (bucket, row, _) in cases.clone() {
            let Some(row) = row else { continue };
            let key = HomeKey::Bucket(Bucket(bucket));
            let change = HomeChange { key, expected: None, row, unless_chain: false, while_served: None };
            assert!(second.change_homes(&[change]).await.expect("answers"));
        }
        let others = [Side { cell: id(2), store: second }];
        let lost = [id(3)];
        // Done again, it writes the same.
        for cells in [&lost[..], &lost[..]] {
            let lost = Lost { cells, epoch: EPOCH };
            rebuild(&placement, &placement.cells()[0], &first, &others, lost).await.expect("rebuilt");
            for (bucket, _, expected) in cases.clone() {
                let row = first.home(HomeKey::Bucket(Bucket(bucket))).await.expect("answers");
                assert_eq!(row, expected, "{bucket:#x}");
            }
            assert_eq!(first.genesis().await.expect("answers"), Some(Genesis::of([])));
        }
    }
}
