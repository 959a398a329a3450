//! One moment of the model: what the cells hold, and what each process remembers, plans and has on
//! its way.

use super::space::{AppendId, BlockId, TablesId};
use super::world::{CELLS, Request};

pub const MOVERS: usize = 2;
/// One instance in each cell, and one more in the first.
pub const INSTANCES: usize = 3;

/// What a mover saw of both cells, perhaps long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    pub source: Option<BlockId>,
    pub copy: Copied,
}

/// [`ledger::moving::Copy`], by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Copied {
    pub prefix: Option<BlockId>,
    pub tombstone: Option<BlockId>,
}

/// Where a mover is; a crash leaves nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    SawTarget(Copied),
    Saw(Seen),
    /// Has read a page, and has written some of its blocks: a bit for each.
    Copying {
        seen: Seen,
        page: AppendId,
        written: u8,
    },
    /// About to append the block by which the wallet leaves.
    Cutting {
        seen: Seen,
        moved: BlockId,
    },
    /// It is appended at the source, and about to be at the target.
    Bringing {
        seen: Seen,
        moved: BlockId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance {
    /// The head that it remembers, right or not.
    pub head: Option<BlockId>,
    /// The requests that the chain up to that head carries out.
    pub done: u16,
    pub write: Option<(Request, AppendId)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub tables: [TablesId; CELLS],
    pub movers: [Phase; MOVERS],
    pub instances: [Instance; INSTANCES],
    /// A write that its sender has given up, or of a sender that is dead.
    pub zombie: Option<(u8, AppendId)>,
    /// The block that a request brings along from the cell that its wallet has left.
    pub carried: Option<BlockId>,
    /// A cell has found that it may append this block by itself, and has not done so yet.
    pub adopting: Option<(u8, AppendId)>,
    /// Requests that were answered as done.
    pub acknowledged: u16,
    /// A cell and the tombstone below which it forgets.
    pub forgetting: Option<(u8, u64)>,
    pub forgets_left: u8,
    /// A mover has said that the cells have different chains: no mover goes on before an operator
    /// has looked.
    pub alarm: bool,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    MoverSteps(usize),
    /// Of the blocks that it writes at once, the last one lands first.
    MoverWritesLast(usize),
    /// All that it remembers is gone.
    MoverDies(usize),
    /// And its write may still land.
    MoverDiesWriting(usize),
    InstanceLoads(usize),
    InstanceServes(usize, Request),
    InstanceWrites(usize),
    InstanceGivesUp(usize),
    /// Restarted, or asked to let go of the wallet.
    InstanceForgets(usize),
    ZombieLands,
    ZombieIsLost,
    /// A request with a block from the old cell arrives at the new one.
    RequestArrives,
    RequestIsLost,
    CellAdopts,
    AdoptionIsLost,
    ForgettingBegins(usize),
    ForgettingGoesOn,
    ForgettingStops,
}
