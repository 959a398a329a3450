//! What the sequencer remembers of one wallet: its head and the idempotency keys of the last 24 hours, as hints.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ledger::keys::{KEY_LIFETIME_MICROS, KeyHash, KeyRun, keys_in};
use ledger::{Block, Head, Timestamp};

use super::CommandId;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Busy {
    #[default]
    No,
    Loading {
        started: u64,
        /// The monotonic time then.
        at: Duration,
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
    /// The monotonic time then: what the head's lifetime counts from.
    pub confirmed_at: Duration,
    pub used: u64,
    keys: Keys,
}

/// What is known of the use of an idempotency key in the last 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUse {
    /// Its latest use was in this block, perhaps more than 24 hours ago.
    Block(u64),
    Never,
    /// More keys were used than are remembered: this one may be among the others.
    Unknown,
}

/// The keys used in the last 24 hours, with the block each was used in.
#[derive(Debug, Default)]
struct Keys {
    block_of: HashMap<KeyHash, u64>,
    oldest_first: VecDeque<(Timestamp, KeyHash, u64)>,
    /// What was used before this time may be missing.
    known_since: Timestamp,
    /// Because there were too many to be remembered: reading them again would not help.
    is_capped: bool,
}

/// What a load found of the keys of the last 24 hours.
pub struct RecordedKeys<'a> {
    pub runs: &'a [KeyRun],
    pub blocks: &'a [Block],
    /// What was used before this time may be missing.
    pub known_since: Timestamp,
    pub is_capped: bool,
}

impl Slot {
    pub fn learn_whole(&mut self, head: Head, keys: RecordedKeys<'_>, started: u64, at: Duration) {
        let RecordedKeys { runs, blocks, known_since, is_capped } = keys;
        self.keys = Keys { known_since, is_capped, ..Keys::default() };
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
        self.confirm(started, at);
    }

    pub fn learn_tail(&mut self, blocks: &[Block], started: u64, at: Duration) {
        for block in blocks {
            self.append(block);
        }
        self.confirm(started, at);
    }

    /// A block of our own was appended, which proves what it was appended to.
    pub fn learn_own(&mut self, block: &Block, started: u64, at: Duration) {
        self.append(block);
        self.confirm(started, at);
    }

    /// The head may be decided on: no other writer is known to be ahead, and it was confirmed after `oldest`.
    pub fn is_usable(&self, oldest: Duration) -> bool {
        self.head.is_some() && !self.stale && self.confirmed_at >= oldest
    }

    /// The keys were read by a clock that was ahead of this one: too few of them.
    pub fn is_short_of_keys(&self, now: Timestamp) -> bool {
        self.head.is_some() && !self.keys.is_capped && self.keys.known_since > now.plus_micros(-KEY_LIFETIME_MICROS)
    }

    /// Keys remembered.
    pub fn keys(&self) -> usize {
        self.keys.oldest_first.len()
    }

    fn append(&mut self, block: &Block) {
        for (key, number) in keys_in(std::slice::from_ref(block)) {
            self.keys.add(block.at, key, number);
        }
        self.head = Some(block.head());
    }

    fn confirm(&mut self, started: u64, at: Duration) {
        self.confirmed = self.confirmed.max(started);
        self.confirmed_at = self.confirmed_at.max(at);
        self.stale = false;
    }

    pub fn forget(&mut self) {
        self.head = None;
        self.stale = false;
        self.keys = Keys::default();
    }

    /// What is known of this key. At most `most` keys are remembered: with that many, no key counts as unused.
    pub fn use_of(&mut self, key: KeyHash, now: Timestamp, most: usize) -> KeyUse {
        let limit = now.plus_micros(-KEY_LIFETIME_MICROS);
        self.keys.forget_before(limit);
        match self.keys.block_of.get(&key) {
            Some(block) => KeyUse::Block(*block),
            None if self.keys.known_since > limit || self.keys.oldest_first.len() >= most => KeyUse::Unknown,
            None => KeyUse::Never,
        }
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
