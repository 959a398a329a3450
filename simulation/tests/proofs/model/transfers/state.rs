//! One moment of the model: both wallets in their cells, and what each courier and each receiver
//! remembers and has on its way.

use super::work::{Customer, Word};
use crate::model::space::{AppendId, BlockId};
use crate::model::wallet::{Held, Step};

pub const COURIERS: usize = 2;
pub const RECEIVERS: usize = 3;

/// An instance that carries the transfer on, with what its sequencer knows of the payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Courier {
    /// The head that it remembers, right or not.
    pub head: Option<BlockId>,
    /// What it was answered, which is still to be recorded.
    pub word: Option<Word>,
    pub write: Option<AppendId>,
}

/// What the sequencer of an instance knows of the payee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receiver {
    pub head: Option<BlockId>,
    pub write: Option<AppendId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub payer: Held,
    pub payee: Held,
    pub couriers: [Courier; COURIERS],
    pub receivers: [Receiver; RECEIVERS],
    /// A courier was answered that the money was received, or refused; what it has heard, the
    /// client may have.
    pub answered: [bool; 2],
    /// Requests of the payee's customer that were not made yet: a bit for each.
    pub customers: u8,
}

/// What may happen next. The credit has been sent before, so that a copy of it may arrive at any
/// time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Payer(Step),
    Payee(Step),
    CourierLoads(usize),
    /// It gets the answer of a receiver, which may have waited for long.
    CourierHears(usize, usize),
    CourierRecords(usize),
    CourierWrites(usize),
    /// The outcome is unknown: the write may still land.
    CourierGivesUp(usize),
    CourierDies(usize),
    ReceiverLoads(usize),
    CreditArrives(usize),
    CustomerAsks(usize, Customer),
    ReceiverWrites(usize),
    ReceiverGivesUp(usize),
    ReceiverForgets(usize),
}
