//! What the other cells hold of the wallets of a cell that is being restored, and what the cell
//! takes from them, over any store. Each wallet may be completed again, after any crash.

use std::time::Duration;

use control_api::restore::RESTORE_BLOCKS;
use ledger::fence::HEAD_LIFETIME;
use ledger::{Block, Head, Status, Timestamp, moving};
use mover::{Holds, MoveError, Moved, Mover, Order, Pace, Route, Side, last_departure};
use store::{BlockRange, Store};
use tokio::sync::watch;
use topology::{CellEntry, CellId, Placement, WalletId};

use super::chains::write;
use super::{holes, owner, tombstones};
use crate::{Error, Result, creation_rights};

const CONCURRENT: usize = 1;

/// The cell that is being restored.
pub struct Around<'a, S> {
    pub placement: &'a Placement,
    pub entry: &'a CellEntry,
    pub store: &'a S,
    pub others: &'a [Side<S>],
    pub clock: &'a (dyn Fn() -> Timestamp + Send + Sync),
}

/// What became of one wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completed {
    /// The other cell says nothing that the restored one lacks.
    Nothing,
    /// The other cell held more of it than the restored one, which has all of that now.
    Whole,
    /// It lives in the other cell, although the placement has it in the restored one: it has to be
    /// pinned.
    LivesThere,
    /// Blocks of it are missing: why.
    Missing(String),
}

impl<S: Store> Around<'_, S> {
    /// Takes from `other` what it holds of a wallet.
    pub async fn complete(&self, other: &Side<S>, wallet: WalletId) -> Result<Completed> {
        let Some(head) = other.store.head(wallet).await? else { return Ok(Completed::Nothing) };
        if head.home == other.cell {
            // Lives there, since it moved after the export was made: the chain that was restored
            // has to say so.
            if self.lacks_departure(other, &head.head()).await? {
                self.copy_rest(other, wallet).await?;
            }
            tombstones::leave_if_born_here(&self.entry.id, self.store, other, &head.head()).await?;
            // Were its pin lost in a crash, the restored cell could give its user a second wallet.
            if owner(self.placement, wallet)?.id == self.entry.id {
                creation_rights::deny(self.store, wallet, &other.cell).await?;
                return Ok(Completed::LivesThere);
            }
            // A move of its bucket to the restored cell may be ahead of the placement.
            creation_rights::deny_while_served(self.store, wallet, &other.cell).await?;
            return Ok(Completed::Nothing);
        }
        if head.home != self.entry.id {
            return Ok(Completed::Nothing);
        }
        self.bring_owner(other, &head).await?;
        // It came to the restored cell from there, and has left again: the rest is for the cell
        // that has it now.
        if let Some(newer) = self.newer(&head).await? {
            tombstones::leave(&self.entry.id, self.store, newer.0, &newer.1.head()).await?;
            return Ok(Completed::Nothing);
        }
        let held = holes::held(self.store, wallet).await?;
        if let Some(newest) = held.newest.as_ref().filter(|newest| newest.number >= head.number) {
            // It says where the wallet went, and needs nothing below it.
            if newest.home != self.entry.id {
                return Ok(Completed::Nothing);
            }
            let why = format!("{} holds the rest: the blocks before {} are missing", other.cell, head.number);
            return Ok(held.whole().map_or(Completed::Missing(why), |_| Completed::Nothing));
        }
        // Also what a move from the restored cell has copied, and was lost there. Above a hole a
        // mover has to look first.
        if held.prefix == held.newest {
            self.copy_rest(other, wallet).await?;
        }
        let copied = holes::held(self.store, wallet).await?.whole();
        if copied.is_some_and(|copied| copied.number >= head.number) {
            return Ok(Completed::Whole);
        }
        match self.move_rest(other, wallet).await? {
            None => Ok(Completed::Whole),
            Some(why) => {
                holes::leave_open(self.store, &other.cell, &head).await?;
                Ok(Completed::Missing(why))
            }
        }
    }

    /// The owner of a wallet that lives in the restored cell, where that lacks it.
    async fn bring_owner(&self, other: &Side<S>, head: &Block) -> Result<()> {
        match other.store.owner(head.wallet).await? {
            Some(owner) if head.state.status != Status::Erased => Ok(self.store.put_owner(head.wallet, &owner).await?),
            _ => Ok(()),
        }
    }

    /// The end of the chain in the cell that knows most of what came after `head`, if any does.
    async fn newer(&self, head: &Block) -> Result<Option<(&Side<S>, Block)>> {
        let mut newest: Option<(&Side<S>, Block)> = None;
        for other in self.others {
            let Some(found) = other.store.head(head.wallet).await? else { continue };
            // Of two that end with the same block, the one that serves has all below it.
            let knows = |number: u64, home: &CellId, cell: &CellId| (number, home == cell);
            let known = newest.as_ref().map(|(side, newest)| knows(newest.number, &newest.home, &side.cell));
            if found.number > head.number && Some(knows(found.number, &found.home, &other.cell)) > known {
                newest = Some((other, found));
            }
        }
        Ok(newest)
    }

    /// Whether the restored cell holds something of a wallet that lives elsewhere, and not the
    /// block by which it left last: a mover that has seen it arrive would bring it there once more.
    async fn lacks_departure(&self, home: &Side<S>, head: &Head) -> Result<bool> {
        let held = holes::held(self.store, head.wallet).await?;
        let Some(newest) = &held.newest else { return Ok(false) };
        if held.prefix.as_ref() == Some(newest) {
            return Ok(true);
        }
        let left = last_departure(&home.store, &self.entry.id, head).await?;
        Ok(left.is_some_and(|left| left.number > newest.number))
    }

    /// What the other cell's chain has after the restored one's beginning, as far as nothing is
    /// missing or differs.
    pub(crate) async fn copy_rest(&self, other: &Side<S>, wallet: WalletId) -> Result<()> {
        loop {
            let held = holes::held(self.store, wallet).await?;
            let first = held.prefix.as_ref().map_or(0, |head| head.number + 1);
            let range = BlockRange { first, last: u64::MAX, newest_first: false };
            let page = other.store.blocks(wallet, range, RESTORE_BLOCKS).await?;
            let missing = held.missing(&page);
            let goes_on = missing.first().is_some_and(|block| block.number == first);
            if !goes_on || moving::check_links(held.prefix.as_ref(), missing).is_err() {
                return Ok(());
            }
            write(self.store, wallet, &held, missing).await?;
        }
    }

    /// The other cell's chain ends with the wallet's move to the restored one: the move is carried
    /// out again. `Some`: why it cannot be, because blocks are missing or differ.
    async fn move_rest(&self, other: &Side<S>, wallet: WalletId) -> Result<Option<String>> {
        let to = Side { cell: self.entry.id.clone(), store: self.store.clone() };
        let route = Route { from: other.clone(), to };
        let order = Order { operation: "restore".into(), epoch: self.placement.version() };
        let (_stopper, stop) = watch::channel(false);
        let pace = Pace::new(CONCURRENT, None);
        let (clock, head_lifetime): (_, Duration) = (self.clock, HEAD_LIFETIME);
        let mover =
            Mover { route: &route, order: &order, pace: &pace, holds: &NoInstances, stop, clock, head_lifetime };
        // Boxed: a restore is deep, and a thread that runs it has a stack of 2 MB.
        match Box::pin(mover.move_wallet(wallet)).await {
            Ok(Moved::Done | Moved::Absent | Moved::Elsewhere(_)) => Ok(None),
            Err(MoveError::Diverged { what, .. }) => Ok(Some(format!("{} holds the rest: {what}", other.cell))),
            Err(MoveError::Store(error)) => Err(error.into()),
            Err(error) => Err(Error::Unsound(error.to_string())),
        }
    }
}

/// No process serves the wallet: it has left the other cell, and the restored one is stopped.
struct NoInstances;

impl Holds for NoInstances {
    async fn hold(&self, _: WalletId) {}
    async fn release(&self, _: WalletId) {}
}
