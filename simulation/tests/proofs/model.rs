//! Small deployments of two cells, explored by `stateright`: every order of steps, every death,
//! every late write. What is decided, is decided by `ledger`; the tables are those of the
//! simulator's store. `moves` goes every way that the move of one wallet can go, `transfers` every
//! way that a transfer can go while both its wallets move.
//!
//! It must not describe a protocol a second time: only which process acts next is its own.

mod explore;
mod mover;
mod moves;
mod purge;
mod space;
mod transfers;
mod wallet;

use store::memory::Mutation;
use topology::CellId;

pub const CELLS: usize = 2;

pub fn cell(number: usize) -> CellId {
    CellId::parse(["cell-a", "cell-b"][number]).expect("sound")
}

/// A deliberate mistake, for showing that it would be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// An append overwrites what is there.
    NoCondition,
    /// A cell forgets although an instance may remember an older head.
    NoFence,
    /// A cell appends the last block that a request brings without asking whether those below it
    /// are there.
    AdoptUnguarded,
    /// A mover that was stopped writes without asking whether what is below is still there.
    MoversUnguarded,
    /// An instance that loads a wallet does not look for what was done before.
    ForgetsWhatWasDone,
    /// A cell takes a credit although its chain says that the wallet lives elsewhere.
    HomeIgnored,
    /// A credit is answered before it is written.
    AnsweredFirst,
    /// A refusal is answered and not written.
    RefusalUnrecorded,
    /// The end of a transfer is written without asking whether the transfer is open.
    SettledTwice,
}

impl Mistake {
    fn in_stores(self) -> Mutation {
        if self == Mistake::NoCondition { Mutation::NoCondition } else { Mutation::None }
    }
}
