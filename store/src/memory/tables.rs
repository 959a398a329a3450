//! The tables of one cell as plain data, with the conditions that every store puts on its writes: what the store in
//! memory holds, and what the model explores. No faults, no time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use ledger::block::Block;
use ledger::marks::{MarkRun, last_of, run_of};
use ledger::snapshots::Snapshot;
use ledger::time::Timestamp;
use ledger::{Append, Conflict, Guard, Owner};
use topology::WalletId;

use super::Mutation;
use crate::{AppendError, CellRow, Derived, Forgotten, Genesis, HomeChange, HomeKey, HomeRow, HomeState};

/// The tables of one cell, with the conditions that the store puts on every write: plain data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tables {
    pub(super) chains: BTreeMap<WalletId, BTreeMap<u64, Block>>,
    pub(super) members: BTreeSet<WalletId>,
    pub(super) mark_runs: BTreeMap<(WalletId, u64), MarkRun>,
    pub(super) snapshots: BTreeMap<(WalletId, Timestamp, u64), Snapshot>,
    pub(super) cell_rows: BTreeMap<(String, String), CellRow>,
    pub(super) homes: BTreeMap<HomeKey, HomeRow>,
    /// `None`: erased.
    pub(super) owners: BTreeMap<WalletId, Option<Owner>>,
    pub(super) genesis: Option<Genesis>,
}

impl Tables {
    /// Makes the append if its conditions hold.
    pub fn append(&mut self, append: &Append, mutation: Mutation) -> Result<(), AppendError> {
        let conflict = self.conflict(append);
        let void = mutation == Mutation::NoCondition && !conflict.guard;
        if conflict != Conflict::default() && !void {
            return Err(AppendError::Conflict(conflict));
        }
        for block in &append.blocks {
            let chain = self.chains.entry(block.wallet).or_default();
            if void {
                chain.split_off(&block.number);
            }
            chain.insert(block.number, block.clone());
            self.members.insert(block.wallet);
            if let Some(owner) = &append.owner {
                self.owners.insert(block.wallet, Some(owner.clone()));
            }
        }
        Ok(())
    }

    /// The blocks of a wallet, by number.
    pub fn chain(&self, wallet: WalletId) -> impl DoubleEndedIterator<Item = &Block> {
        self.chains.get(&wallet).into_iter().flat_map(|chain| chain.values())
    }

    /// The newest block of a wallet.
    pub fn head(&self, wallet: WalletId) -> Option<&Block> {
        self.chain(wallet).next_back()
    }

    /// Deletes what may be deleted of a moved wallet: see [`Store::forget`].
    pub fn forget(&mut self, wallet: WalletId, tombstone: u64, limit: usize) -> Forgotten {
        let Some(chain) = self.chains.get_mut(&wallet) else { return Forgotten::Refused };
        if chain.keys().next_back() != Some(&tombstone) {
            return Forgotten::Refused;
        }
        let below: Vec<u64> = chain.range(..tombstone).rev().map(|(number, _)| *number).take(limit).collect();
        if !below.is_empty() {
            chain.retain(|number, _| !below.contains(number));
            return Forgotten::Some(below.len());
        }
        let before = self.rows();
        self.mark_runs.retain(|(of, _), _| *of != wallet);
        self.snapshots.retain(|(of, _, _), _| *of != wallet);
        match before.saturating_sub(self.rows()) {
            0 if self.owners.get(&wallet).is_some_and(Option::is_some) => {
                self.owners.remove(&wallet);
                Forgotten::Some(1)
            }
            0 => Forgotten::All,
            deleted => Forgotten::Some(deleted),
        }
    }

    /// Deletes blocks that are in a pack: see [`Chains::drop_packed`](crate::Chains::drop_packed). Those that were there.
    pub(super) fn drop_packed(&mut self, packed: &[Block]) -> Vec<Block> {
        let mut dropped = Vec::new();
        for block in packed.iter().filter(|block| block.number > 0) {
            let Some(chain) = self.chains.get_mut(&block.wallet) else { continue };
            if chain.get(&block.number) == Some(block) {
                dropped.extend(chain.remove(&block.number));
            }
        }
        dropped
    }

    /// Recorded runs, newest first.
    pub(super) fn runs(&self, wallet: WalletId, runs: RangeInclusive<u64>, mutation: Mutation) -> Vec<MarkRun> {
        let of_wallet = (wallet, *runs.start())..=(wallet, *runs.end());
        let mut found: BTreeMap<u64, MarkRun> =
            self.mark_runs.range(of_wallet).map(|((_, number), run)| (*number, run.clone())).collect();
        let empty = |run: u64, last_at: Timestamp| MarkRun { run, last_at, marks: vec![] };
        match mutation {
            Mutation::EmptyRuns => found.values_mut().for_each(|run| run.marks.clear()),
            Mutation::EarlyRuns => {
                let full = self.chain(wallet).filter(|block| block.number == last_of(run_of(block.number)));
                let full = full.map(|block| (run_of(block.number), block.at)).filter(|(run, _)| runs.contains(run));
                for (run, last_at) in full {
                    found.entry(run).or_insert_with(|| empty(run, last_at));
                }
            }
            Mutation::None
            | Mutation::NoCondition
            | Mutation::AnswerFirst
            | Mutation::NoSignBy
            | Mutation::PositionAhead => {}
        }
        found.into_values().rev().collect()
    }

    /// The rows that follow from a wallet's blocks, in no order.
    pub(super) fn derived(&self, wallet: WalletId) -> Vec<Derived> {
        let runs = self.mark_runs.iter().filter(|((of, _), _)| *of == wallet);
        let runs = runs.map(|(_, run)| Derived::Marks(run.clone()));
        let snapshots = self.snapshots.iter().filter(|((of, _, _), _)| *of == wallet);
        runs.chain(snapshots.map(|(_, snapshot)| Derived::Snapshot(*snapshot))).collect()
    }

    fn rows(&self) -> usize {
        self.mark_runs.len().saturating_add(self.snapshots.len())
    }

    /// Makes all changes if each finds what it expects.
    pub fn change_homes(&mut self, changes: &[HomeChange]) -> bool {
        let holds = |change: &HomeChange| {
            let chain = match change.key {
                HomeKey::Wallet(wallet) => self.chains.get(&wallet).is_some_and(|chain| chain.contains_key(&0)),
                HomeKey::Bucket(_) => false,
            };
            let served = match (change.key, change.while_served) {
                (HomeKey::Wallet(wallet), Some(from_start)) => {
                    let row = self.homes.get(&HomeKey::Bucket(wallet.bucket()));
                    row.map_or(from_start, |row| row.state == HomeState::Serving)
                }
                _ => true,
            };
            self.homes.get(&change.key) == change.expected.as_ref() && !(change.unless_chain && chain) && served
        };
        if !changes.iter().all(holds) {
            return false;
        }
        for HomeChange { key, row, .. } in changes {
            self.homes.insert(*key, row.clone());
            if let HomeKey::Wallet(wallet) = key {
                self.members.insert(*wallet);
            }
        }
        true
    }

    fn conflict(&self, append: &Append) -> Conflict {
        let taken =
            |block: &Block| self.chains.get(&block.wallet).is_some_and(|chain| chain.contains_key(&block.number));
        let admitted = match (append.guard, append.blocks.first()) {
            (Some(guard), Some(block)) => self.admits(block, guard),
            _ => true,
        };
        Conflict { taken: append.blocks.iter().any(taken), guard: !admitted }
    }

    fn admits(&self, block: &Block, guard: Guard) -> bool {
        let wallet = block.wallet;
        let serving = |key| self.homes.get(&key).map(|row| row.state == HomeState::Serving);
        let chain = self.chains.get(&wallet);
        let there = |number| chain.and_then(|chain| chain.get(&number));
        let below = |distance| block.number.checked_sub(distance);
        match guard {
            Guard::Unbroken => {
                below(1).is_none_or(|number| there(number).is_some_and(|found| found.hash == block.previous))
                    && below(2).is_none_or(|number| there(number).is_some())
            }
            Guard::Granted => serving(HomeKey::Wallet(wallet)) == Some(true),
            Guard::Bucket { genesis } => {
                serving(HomeKey::Bucket(wallet.bucket())).unwrap_or(genesis)
                    && serving(HomeKey::Wallet(wallet)).is_none()
            }
        }
    }
}
