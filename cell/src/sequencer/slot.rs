//! What the sequencer remembers of one wallet: its head and the idempotency keys of the last 24 hours, as hints.

use std::collections::{HashMap, VecDeque};

use ledger::keys::{KEY_LIFETIME_MICROS, KeyHash, KeyRun, keys_in};
use ledger::{Block, Head, Timestamp};

use super::CommandId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Busy {
    #[default]
    No,
    Loading {
        started: u64,
    },
    Committing,
}

#[derive(Debug, Default)]
pub struct Slot {
    pub head: Option<Head>,
    /// Another instance has appended: reload before deciding again.
    pub stale: bool,
    pub busy: Busy,
    /// The wallet is about to leave this cell: nothing is started for a moment.
    pub held: bool,
    pub queue: VecDeque<CommandId>,
    /// When the load or commit began that last proved `head` to be the head.
    pub confirmed: u64,
    pub used: u64,
    keys: Keys,
}

/// The keys used in the last 24 hours, with the block each was used in.
#[derive(Debug, Default)]
struct Keys {
    block_of: HashMap<KeyHash, u64>,
    oldest_first: VecDeque<(Timestamp, KeyHash, u64)>,
}

impl Slot {
    pub fn learn_whole(&mut self, head: Head, runs: &[KeyRun], blocks: &[Block], started: u64) {
        self.keys = Keys::default();
        let mut known: Vec<_> = Vec::new();
        for run in runs {
            known.extend(run.keys.iter().map(|(key, number)| (run.last_at, *key, *number)));
        }
        for block in blocks {
            known.extend(keys_in(std::slice::from_ref(block)).map(|(key, number)| (block.at, key, number)));
        }
        known.sort_unstable_by_key(|(_, _, number)| *number);
        for (at, key, number) in known {
            self.keys.add(at, key, number);
        }
        self.head = Some(head);
        self.confirm(started);
    }

    pub fn learn_tail(&mut self, blocks: &[Block], started: u64) {
        for block in blocks {
            self.append(block);
        }
        self.confirm(started);
    }

    /// A block of our own was appended, which proves what it was appended to.
    pub fn learn_own(&mut self, block: &Block, started: u64) {
        self.append(block);
        self.confirm(started);
    }

    fn append(&mut self, block: &Block) {
        for (key, number) in keys_in(std::slice::from_ref(block)) {
            self.keys.add(block.at, key, number);
        }
        self.head = Some(block.head());
    }

    fn confirm(&mut self, started: u64) {
        self.confirmed = self.confirmed.max(started);
        self.stale = false;
    }

    pub fn forget(&mut self) {
        self.head = None;
        self.stale = false;
        self.keys = Keys::default();
    }

    /// The latest block in which this key was used, if that may have been within the last 24 hours.
    pub fn block_with_key(&mut self, key: KeyHash, now: Timestamp) -> Option<u64> {
        self.keys.forget_before(now.plus_micros(-KEY_LIFETIME_MICROS));
        self.keys.block_of.get(&key).copied()
    }
}

impl Keys {
    fn add(&mut self, at: Timestamp, key: KeyHash, number: u64) {
        self.block_of.insert(key, number);
        self.oldest_first.push_back((at, key, number));
    }

    fn forget_before(&mut self, limit: Timestamp) {
        while let Some(&(at, key, number)) = self.oldest_first.front() {
            if at >= limit {
                return;
            }
            self.oldest_first.pop_front();
            if self.block_of.get(&key) == Some(&number) {
                self.block_of.remove(&key);
            }
        }
    }
}
