//! What the sequencer remembers of one wallet, as hints: its head, what it must not do twice, its open transfers.

use std::collections::VecDeque;
use std::time::Duration;

use ledger::open::OpenTransfers;
use ledger::{Block, Head, Owner, Status, Timestamp};

use super::CommandId;
use super::seen::Seen;

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
    /// Its open transfers are to be handed to the courier.
    pub carries_on: bool,
    pub queue: VecDeque<CommandId>,
    /// When the load or commit began that last proved `head` to be the head.
    pub confirmed: u64,
    /// The monotonic time then: what the head's lifetime counts from.
    pub confirmed_at: Duration,
    pub used: u64,
    pub seen: Seen,
    pub open: OpenTransfers,
    /// Under the key of which personal data is encrypted; `None` if it was erased.
    pub owner: Option<Owner>,
}

impl Slot {
    /// The wallet as it was loaded; [`Slot::confirm`] follows.
    pub fn learn_whole(&mut self, head: Head, seen: Seen, open: OpenTransfers, owner: Option<Owner>) {
        self.seen = seen;
        self.carries_on |= !open.is_empty();
        self.open = open;
        self.owner = owner;
        self.head = Some(head);
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

    pub fn is_short_of_marks(&self, now: Timestamp) -> bool {
        self.head.is_some() && self.seen.is_short(now)
    }

    fn append(&mut self, block: &Block) {
        self.seen.take(block);
        self.open.take(block);
        if block.state.status == Status::Erased {
            self.owner = None;
        }
        self.head = Some(block.head());
    }

    /// The head was found to be the head by what began then.
    pub fn confirm(&mut self, started: u64, at: Duration) {
        self.confirmed = self.confirmed.max(started);
        self.confirmed_at = self.confirmed_at.max(at);
        self.stale = false;
    }

    pub fn forget(&mut self) {
        self.head = None;
        self.stale = false;
        self.carries_on = false;
        self.seen = Seen::default();
        self.owner = None;
        self.open = OpenTransfers::default();
    }
}
