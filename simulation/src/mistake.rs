//! Deliberate mistakes of the code under test.

use cell::sequencer;
use store::memory::Mutation;

/// A deliberate mistake, for showing that a run would find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// All writes.
    Store(Mutation),
    /// Of all sequencers.
    Sequencers(sequencer::Mutation),
    /// The movers' writes.
    Movers(Mutation),
    /// Cells write although their clock is an hour off.
    ClockUnchecked,
    /// A cell with rewound or lost tables serves again without a look at what the others
    /// hold.
    RestoredAlone,
    /// Copies are purged while writes decided on an older head may still land.
    NoFence,
    /// A credit is answered as received although it was lost on its way.
    CreditAnsweredFirst,
    /// A credit is answered as refused although no refusal is recorded.
    RefusalUnrecorded,
    /// The filters of sealed marks lack a part of them.
    FilterForgets,
    /// Old blocks are deleted although their pack is not where it is looked for.
    PackLost,
    /// The newest blocks are packed as well.
    NewestPacked,
    /// Archivers read the change stream so.
    Archivers(Mutation),
    /// An entry of an archive's log takes the place of one that is there.
    EntryReplaced,
    /// The owners of wallets that have left stay in the archive.
    OwnersKept,
}

impl Mistake {
    pub fn in_stores(self) -> Mutation {
        match self {
            Mistake::Store(mutation) => mutation,
            _ => Mutation::None,
        }
    }

    pub fn in_sequencers(self) -> sequencer::Mutation {
        match self {
            Mistake::Sequencers(mutation) => mutation,
            _ => sequencer::Mutation::None,
        }
    }

    pub fn in_archivers(self) -> Mutation {
        match self {
            Mistake::Archivers(mutation) => mutation,
            other => other.in_stores(),
        }
    }

    pub fn in_movers(self) -> Option<Mutation> {
        match self {
            Mistake::Movers(mutation) => Some(mutation),
            _ => None,
        }
    }
}
