//! Hands over the right to create wallets: the `homes` rows of a group's buckets at the source and at the target.
//!
//! A bucket's epoch rises with every change, in whichever cell, and decides: the source is `closing` at epoch e, and
//! the *target's* row at e+1 is the point of no return. It is either `serving` (handed over) or, if the group was
//! taken back first, `moved` back to the source. Each is written only over a lower epoch, so only one can be.

use store::{Genesis, HomeChange, HomeKey, HomeRow, HomeState, Store, StoreError};
use topology::{Bucket, CellId};

use super::{Group, MoveError};

/// Attempts at one change of rows that others change at the same time.
const ATTEMPTS_MAX: usize = 16;

/// One cell's side of a group.
pub struct Buckets<'a, S> {
    pub cell: &'a CellId,
    pub store: &'a S,
    pub group: Group,
}

/// A bucket's row, or what replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    pub bucket: Bucket,
    /// `None`: the genesis speaks for it, or nothing does.
    pub row: Option<HomeRow>,
    from_genesis: bool,
}

impl Stand {
    pub fn is_serving(&self) -> bool {
        self.row.as_ref().map_or(self.from_genesis, |row| row.state == HomeState::Serving)
    }

    pub fn has_moved_to(&self, cell: &CellId) -> bool {
        self.row.as_ref().is_some_and(|row| row.state == HomeState::Moved { to: cell.clone() })
    }

    /// The epoch at which it was closed for a move to `cell`, and for no other.
    fn closing_for(&self, cell: &CellId) -> Option<u64> {
        let row = self.row.as_ref()?;
        (row.state == HomeState::Closing { to: cell.clone() }).then_some(row.epoch)
    }

    /// 0 where there is no row.
    pub fn epoch(&self) -> u64 {
        self.row.as_ref().map_or(0, |row| row.epoch)
    }

    fn change(&self, state: HomeState, epoch: u64) -> HomeChange {
        let row = HomeRow { state, epoch };
        HomeChange {
            key: HomeKey::Bucket(self.bucket),
            expected: self.row.clone(),
            row,
            unless_chain: false,
            while_served: None,
        }
    }
}

impl<S: Store> Buckets<'_, S> {
    pub async fn read(&self) -> Result<Vec<Stand>, MoveError> {
        let keys: Vec<HomeKey> = self.group.buckets().map(HomeKey::Bucket).collect();
        let rows = self.store.homes(&keys).await?;
        let genesis = match rows.iter().all(Option::is_some) {
            true => None,
            false => self.store.genesis().await?,
        };
        let in_genesis = |bucket| genesis.as_ref().is_some_and(|genesis: &Genesis| genesis.contains(bucket));
        Ok(self
            .group
            .buckets()
            .zip(rows)
            .map(|(bucket, row)| Stand { bucket, row, from_genesis: in_genesis(bucket) })
            .collect())
    }

    /// Makes the changes that `decide` finds right for what the rows say now, all at once; decides
    /// again when another process was faster. Rows for which it finds none stay.
    pub async fn change(
        &self,
        decide: impl Fn(&Stand) -> Result<Option<(HomeState, u64)>, MoveError>,
    ) -> Result<(), MoveError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut changes = Vec::new();
            for stand in self.read().await? {
                if let Some((state, epoch)) = decide(&stand)? {
                    changes.push(stand.change(state, epoch));
                }
            }
            if changes.is_empty() || self.store.change_homes(&changes).await? {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable(format!("the rows of {}'s buckets kept changing", self.cell)).into())
    }

    /// The source creates no more wallets, until the group is handed over or taken back. `seen`: how its rows stood when
    /// this move began; what was handed over or taken back since is not closed again. The epochs at which it closed;
    /// `None` for buckets that it has handed over already.
    pub async fn close(&self, to: &CellId, seen: &[Stand]) -> Result<Vec<Option<u64>>, MoveError> {
        self.change(|stand| match stand.row.as_ref().map(|row| &row.state) {
            Some(HomeState::Closing { to: other } | HomeState::Moved { to: other }) if other == to => Ok(None),
            _ if stand.is_serving() && seen.contains(stand) => {
                Ok(Some((HomeState::Closing { to: to.clone() }, stand.epoch().saturating_add(1))))
            }
            _ if stand.is_serving() => Err(not_ours(stand, format!("{} was given it back meanwhile", self.cell))),
            Some(HomeState::Closing { to: other }) => {
                Err(not_ours(stand, format!("{} is handing it to {other}", self.cell)))
            }
            Some(HomeState::Moved { to: other }) => {
                Err(not_ours(stand, format!("{} has handed it to {other}", self.cell)))
            }
            _ => Err(not_ours(stand, format!("{} does not have it", self.cell))),
        })
        .await?;
        let lost = |stand: &Stand| stand.closing_for(to).is_none() && !stand.has_moved_to(to);
        let rows = self.read().await?;
        match rows.iter().find(|stand| lost(stand)) {
            Some(stand) => Err(not_ours(stand, format!("{} was given it back meanwhile", self.cell))),
            None => Ok(rows.iter().map(|stand| stand.closing_for(to)).collect()),
        }
    }

    /// At the source, of a move that is to be taken back: a process that has seen its rows and
    /// would close them finds them changed. What is closed for this move already stays so. As
    /// [`Self::close`], the epochs of what is closed.
    ///
    /// Never closes: one of several that take a group back may be the last at work, and die, when it is long open again.
    pub async fn keep(&self, to: &CellId) -> Result<Vec<Option<u64>>, MoveError> {
        self.change(|stand| match stand.row.as_ref().map(|row| &row.state) {
            Some(HomeState::Closing { to: other }) if other == to => Ok(None),
            _ if stand.is_serving() => Ok(Some((HomeState::Serving, stand.epoch().saturating_add(1)))),
            _ => Err(not_ours(stand, format!("{} does not have it", self.cell))),
        })
        .await?;
        Ok(self.read().await?.iter().map(|stand| stand.closing_for(to)).collect())
    }

    /// The target may create wallets, for each bucket that the source closed at the given epoch.
    pub async fn open(&self, from: &CellId, closed: &[Option<u64>]) -> Result<(), MoveError> {
        self.change(|stand| {
            let Some(epoch) = self.after_closing(stand.bucket, closed) else { return Ok(None) };
            if stand.epoch() < epoch && !(stand.row.is_none() && stand.from_genesis) {
                return Ok(Some((HomeState::Serving, epoch)));
            }
            match stand.row.as_ref().map(|row| &row.state) {
                Some(HomeState::Moved { to }) if stand.epoch() == epoch && to == from => {
                    Err(not_ours(stand, format!("its move from {from} was taken back")))
                }
                None => Err(not_ours(stand, format!("{} has had it from the start", self.cell))),
                // Opened already, or even moved on.
                _ => Ok(None),
            }
        })
        .await
    }

    /// The source sends creations on.
    pub async fn hand_over(&self, to: &CellId, closed: &[Option<u64>]) -> Result<(), MoveError> {
        self.change(|stand| {
            let after = self.after_closing(stand.bucket, closed);
            let next = after.filter(|epoch| stand.epoch() < *epoch);
            Ok(next.map(|epoch| (HomeState::Moved { to: to.clone() }, epoch)))
        })
        .await
    }

    /// At the target: this group will not be opened. `false` for a bucket that is open.
    pub async fn refuse(&self, from: &CellId, closed: &[Option<u64>]) -> Result<bool, MoveError> {
        self.change(|stand| {
            let after = self.after_closing(stand.bucket, closed);
            let next = after.filter(|epoch| stand.epoch() < *epoch);
            Ok(next.map(|epoch| (HomeState::Moved { to: from.clone() }, epoch)))
        })
        .await?;
        let refused = |stand: &Stand| match self.after_closing(stand.bucket, closed) {
            None => true,
            Some(epoch) => {
                let back = HomeRow { state: HomeState::Moved { to: from.clone() }, epoch };
                stand.row.as_ref() == Some(&back)
            }
        };
        Ok(self.read().await?.iter().all(refused))
    }

    /// At the source, after the target refused what was closed at these epochs: it creates wallets again.
    pub async fn reopen(&self, closed: &[Option<u64>]) -> Result<(), MoveError> {
        self.change(|stand| {
            let after = self.after_closing(stand.bucket, closed);
            let is_refused = after.is_some_and(|after| stand.epoch().checked_add(1) == Some(after));
            Ok(is_refused.then(|| (HomeState::Serving, stand.epoch().saturating_add(2))))
        })
        .await
    }

    /// At the source: what was closed for a move to a cell that is no more is served again. The removed cell's rows may
    /// say that it was opened; they count for nothing, and what is written here is above them.
    pub async fn reopen_for_lost(&self, to: &CellId) -> Result<(), MoveError> {
        self.change(|stand| Ok(stand.closing_for(to).map(|epoch| (HomeState::Serving, epoch.saturating_add(2))))).await
    }

    /// For which cell, and since which epoch, each bucket of the group is closed that is.
    pub async fn closing(&self) -> Result<Vec<(Bucket, CellId, u64)>, MoveError> {
        let closing = |stand: Stand| match stand.row {
            Some(HomeRow { state: HomeState::Closing { to }, epoch }) => Some((stand.bucket, to, epoch)),
            _ => None,
        };
        Ok(self.read().await?.into_iter().filter_map(closing).collect())
    }

    /// At the target, of what the source closed at these epochs: what was refused, and what was
    /// taken, or even moved on.
    pub async fn decided(&self, from: &CellId, closed: &[Option<u64>]) -> Result<[Vec<Option<u64>>; 2], MoveError> {
        let back = HomeState::Moved { to: from.clone() };
        let rows = self.read().await?;
        let of = |is_wanted: fn(bool) -> bool| {
            let decided = |(stand, epoch): (&Stand, &Option<u64>)| {
                let row = stand.row.as_ref().filter(|row| epoch.is_some_and(|epoch| epoch < row.epoch))?;
                let is_refused = row.state == back && Some(row.epoch) == epoch.map(|epoch| epoch.saturating_add(1));
                epoch.filter(|_| is_wanted(is_refused))
            };
            rows.iter().zip(closed).map(decided).collect()
        };
        Ok([of(|is_refused| is_refused), of(|is_refused| !is_refused)])
    }

    fn after_closing(&self, bucket: Bucket, closed: &[Option<u64>]) -> Option<u64> {
        let place = usize::from(bucket.0.checked_sub(self.group.first.0)?);
        Some(closed.get(place).copied().flatten()?.saturating_add(1))
    }
}

fn not_ours(stand: &Stand, why: String) -> MoveError {
    MoveError::NotOurs(format!("bucket {}: {why}", stand.bucket))
}
