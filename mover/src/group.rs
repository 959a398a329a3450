//! A group of buckets: all its wallets, then the right to create wallets in it.
//!
//! Order matters: most wallets first, while the source still creates new ones; then the source
//! closes, and the wallets that came meanwhile follow; only then the target opens, and last the
//! source sends creations on. A wallet that is to be created waits meanwhile, and is never created
//! twice.

use std::collections::BTreeSet;
use std::pin::pin;

use futures_util::stream::{self, StreamExt};
use ledger::EntryKind;
use store::{HomeChange, HomeKey, HomeRow, HomeState, Store};
use topology::{CellId, WalletId};

use super::homes::{Buckets, Stand};
use super::{Group, Holds, MoveError, Moved, Mover, Returned, Strays};

/// Wallets listed in one page.
const PAGE: usize = 500;
/// Rounds of listing and moving after the source has closed: nothing new can come, but a wallet may be contended.
const ROW_ATTEMPTS_MAX: usize = 8;

impl<S: Store, H: Holds> Mover<'_, S, H> {
    /// Moves every wallet of the buckets, then the right to create wallets in them. Afterwards the placement may be
    /// published. `pins`: wallets of these buckets that the placement has elsewhere; they stay where they are.
    pub async fn move_group(&self, group: Group, pins: &[(WalletId, CellId)]) -> Result<Strays, MoveError> {
        let (from, to) = (&self.route.from.cell, &self.route.to.cell);
        let mut done = BTreeSet::new();
        let mut strays = Strays::new();
        let begun = self.source(group).read().await?;
        self.move_listed(group, &mut done, &mut strays).await?;
        let closed = self.source(group).close(to, &begun).await?;
        self.move_listed(group, &mut done, &mut strays).await?;
        for (wallet, cell) in pins {
            if cell != to && !done.contains(wallet) {
                self.deny_at_target(*wallet, cell).await?;
            }
        }
        self.target(group).open(from, &closed).await?;
        self.source(group).hand_over(to, &closed).await?;
        strays.retain(|(_, cell)| cell != to);
        Ok(strays)
    }

    /// Takes back a group after a move that was begun and not finished: wallets that were cut over
    /// by this operation return to the source, and the source creates wallets again.
    pub async fn return_group(&self, group: Group) -> Result<Returned, MoveError> {
        let (from, to) = (&self.route.from.cell, &self.route.to.cell);
        let begun = self.source(group).read().await?;
        if begun.iter().any(|stand| stand.has_moved_to(to)) {
            return Ok(Returned::TooLate);
        }
        let closed = self.source(group).keep(to).await?;
        if !self.target(group).refuse(from, &closed).await? {
            return Ok(Returned::TooLate);
        }
        let back = self.route.reversed();
        let back = self.reversed(&back);
        let mut after = None;
        loop {
            let page = self.route.from.store.members((group.first, group.last), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            for wallet in page {
                if self.left_by_this_operation(wallet).await? {
                    // There first: one that has left and not arrived is served by neither, and only the way on leads back.
                    self.move_wallet(wallet).await?;
                    back.move_wallet(wallet).await?;
                }
            }
        }
        self.source(group).reopen(&closed).await?;
        // Closed again meanwhile, by a process that began to move it again: that is another move,
        // and may have come to its end.
        match self.source(group).read().await?.iter().all(Stand::is_serving) {
            true => Ok(Returned::TakenBack),
            false => Ok(Returned::TooLate),
        }
    }

    async fn left_by_this_operation(&self, wallet: WalletId) -> Result<bool, MoveError> {
        let Some(head) = self.route.from.store.head(wallet).await? else { return Ok(false) };
        let last = head.entries.last();
        Ok(head.home == self.route.to.cell
            && last.is_some_and(|entry| {
                matches!(entry.kind, EntryKind::Moved { .. }) && entry.trace.request_id.as_str() == self.order.operation
            }))
    }

    /// Wallets of the group, page by page, that have a chain or a row of their own at the source.
    pub async fn wallets_at_source(&self, group: Group, after: Option<WalletId>) -> Result<Vec<WalletId>, MoveError> {
        Ok(self.route.from.store.members((group.first, group.last), after, PAGE).await?)
    }

    /// Moves all that is listed at the source and not in `done` yet.
    async fn move_listed(
        &self,
        group: Group,
        done: &mut BTreeSet<WalletId>,
        strays: &mut Strays,
    ) -> Result<(), MoveError> {
        let mut after = None;
        loop {
            let page = self.wallets_at_source(group, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let mut new: Vec<WalletId> = page.into_iter().filter(|wallet| !done.contains(wallet)).collect();
            for _ in 0..ROW_ATTEMPTS_MAX {
                for (wallet, moved) in self.move_all(std::mem::take(&mut new)).await? {
                    match moved {
                        Moved::Done => {}
                        Moved::Elsewhere(cell) => {
                            self.deny_at_target(wallet, &cell).await?;
                            strays.push((wallet, cell));
                        }
                        // Not created yet, and promised to some cell.
                        Moved::Absent if self.settle_promise(wallet).await? => {}
                        Moved::Absent => {
                            new.push(wallet);
                            continue;
                        }
                    }
                    done.insert(wallet);
                }
            }
            if let Some(wallet) = new.first() {
                return Err(MoveError::Contended(*wallet));
            }
        }
    }

    /// At most as many at once as the pace allows to all groups together.
    async fn move_all(&self, wallets: Vec<WalletId>) -> Result<Vec<(WalletId, Moved)>, MoveError> {
        let moving = wallets.into_iter().map(|wallet| async move { (wallet, self.move_wallet(wallet).await) });
        let mut moving = pin!(stream::iter(moving).buffer_unordered(self.pace.max_concurrent()));
        let mut moved = Vec::new();
        while let Some((wallet, outcome)) = moving.next().await {
            moved.push((wallet, outcome?));
        }
        Ok(moved)
    }

    /// A wallet that has a row at the source and no chain. Whatever the row promises has to hold after the bucket has
    /// moved. `false`: a chain has come into being meanwhile; look again.
    async fn settle_promise(&self, wallet: WalletId) -> Result<bool, MoveError> {
        let key = HomeKey::Wallet(wallet);
        for _ in 0..ROW_ATTEMPTS_MAX {
            let Some(row) = self.route.from.store.home(key).await? else { return Ok(false) };
            match &row.state {
                HomeState::Moved { to } => {
                    self.deny_at_target(wallet, to).await?;
                    return Ok(true);
                }
                // Granted to the source, which would create it although the bucket has moved: take that back.
                HomeState::Serving | HomeState::Closing { .. } => {
                    let state = HomeState::Moved { to: self.route.to.cell.clone() };
                    let change = HomeChange {
                        key,
                        row: HomeRow { state, epoch: row.epoch.saturating_add(1) },
                        expected: Some(row),
                        unless_chain: true,
                        while_served: None,
                    };
                    if self.route.from.store.change_homes(&[change]).await? {
                        return Ok(true);
                    }
                    if self.route.from.store.head(wallet).await?.is_some() {
                        return Ok(false);
                    }
                }
            }
        }
        Err(MoveError::Contended(wallet))
    }

    /// The target must not create this wallet, of a bucket that it is about to get.
    async fn deny_at_target(&self, wallet: WalletId, home: &CellId) -> Result<(), MoveError> {
        let target = &self.route.to;
        let key = HomeKey::Wallet(wallet);
        if *home == target.cell || target.store.home(key).await?.is_some() {
            return Ok(());
        }
        let row = HomeRow { state: HomeState::Moved { to: home.clone() }, epoch: 1 };
        // Refused where there is a chain, or another row by now: either denies it as well.
        target
            .store
            .change_homes(&[HomeChange { key, expected: None, row, unless_chain: true, while_served: None }])
            .await?;
        Ok(())
    }

    fn source(&self, group: Group) -> Buckets<'_, S> {
        Buckets { cell: &self.route.from.cell, store: &self.route.from.store, group }
    }

    fn target(&self, group: Group) -> Buckets<'_, S> {
        Buckets { cell: &self.route.to.cell, store: &self.route.to.store, group }
    }
}
