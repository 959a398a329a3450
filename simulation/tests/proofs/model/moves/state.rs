//! One moment of the model: the wallet in its cells, and what each instance remembers and has on
//! its way.

use super::requests::Request;
use crate::model::space::{AppendId, BlockId};
use crate::model::wallet::{Held, Step};

/// One instance in each cell, and one more in the first.
pub const INSTANCES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Instance {
    /// The head that it remembers, right or not.
    pub head: Option<BlockId>,
    pub write: Option<(Request, AppendId)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub wallet: Held,
    pub instances: [Instance; INSTANCES],
    /// The block that a request brings along from the cell that its wallet has left.
    pub carried: Option<BlockId>,
    /// A cell has found that it may append this block by itself, and has not done so yet.
    pub adopting: Option<(u8, AppendId)>,
    /// Requests that were answered as done.
    pub acknowledged: u16,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Wallet(Step),
    InstanceLoads(usize),
    InstanceServes(usize, Request),
    InstanceWrites(usize),
    InstanceGivesUp(usize),
    /// Restarted, or asked to let go of the wallet.
    InstanceForgets(usize),
    /// A request with a block from the old cell arrives at the new one.
    RequestArrives,
    RequestIsLost,
    CellAdopts,
    AdoptionIsLost,
}
