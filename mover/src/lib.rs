//! Moves wallets from the tables of one cell to those of another, storage to storage: the cells' compute need not be
//! alive. What comes next for a wallet is decided by [`ledger::moving`]; this carries it out.
//!
//! Keeps nothing between calls, and must never need to: everything may be called again, by any
//! process, at any time.

mod chase;
mod forget;
mod group;
mod homes;
mod pace;
mod settle;
#[cfg(test)]
mod tests;
mod wallet;

use std::future::Future;
use std::time::Duration;

use ledger::Timestamp;
use store::{Store, StoreError};
use tokio::sync::watch;
use topology::{Bucket, CellId, WalletId};

pub use homes::{Buckets, Stand};
pub use pace::{Pace, Place, Progress};
pub use settle::{Settled, settle};
pub use wallet::{last_departure, newest_blocks, random};

/// Most buckets of one group: their `homes` rows change in one transaction.
pub const GROUP_BUCKETS: usize = store::MAX_HOME_CHANGES;

/// A cell and its tables.
#[derive(Clone)]
pub struct Side<S> {
    pub cell: CellId,
    pub store: S,
}

/// From where to where.
#[derive(Clone)]
pub struct Route<S> {
    pub from: Side<S>,
    pub to: Side<S>,
}

impl<S: Clone> Route<S> {
    /// The way back.
    pub fn reversed(&self) -> Self {
        Self { from: self.to.clone(), to: self.from.clone() }
    }
}

/// What a move is for.
#[derive(Debug, Clone)]
pub struct Order {
    /// The operation's id: every `Moved` block names it.
    pub operation: String,
    /// Version of the placement that the move was planned on.
    pub epoch: u64,
}

/// Neighbouring buckets that change their home together; at most [`GROUP_BUCKETS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub first: Bucket,
    /// Inclusive.
    pub last: Bucket,
}

impl Group {
    pub fn buckets(self) -> impl Iterator<Item = Bucket> {
        (self.first.0..=self.last.0).map(Bucket)
    }
}

/// Asks the source's compute to hold a wallet's writes for the moment of its cutover. A courtesy,
/// never needed for safety: a source that does not answer is not waited for.
pub trait Holds: Send + Sync {
    fn hold(&self, wallet: WalletId) -> impl Future<Output = ()> + Send;
    fn release(&self, wallet: WalletId) -> impl Future<Output = ()> + Send;
}

#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Ordered to stop: what was begun can be gone on with, or taken back.
    #[error("stopped")]
    Stopped,
    /// The cells' rows say something else than the plan: another mover moves this, or moved it.
    #[error("{0}")]
    NotOurs(String),
    /// The two cells hold different chains of one wallet. Needs a human.
    #[error("wallet {wallet}: {what}")]
    Diverged { wallet: WalletId, what: String },
    #[error("wallet {0} was written to at every attempt to move it")]
    Contended(WalletId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// The wallet is at the target (now, or was already).
    Done,
    /// The wallet's chain says that a third cell has it.
    Elsewhere(CellId),
    /// The source has no chain for it.
    Absent,
}

/// What became of a group that was to be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    TakenBack,
    /// The target had the right to create wallets already, or another process has begun again to
    /// hand it over: the group has to be finished, and moved back as a whole.
    TooLate,
}

/// Wallets of a group that live in a third cell: the placement should pin them there.
pub type Strays = Vec<(WalletId, CellId)>;

/// Everything needed to move beside the wallets' names.
pub struct Mover<'a, S, H> {
    pub route: &'a Route<S>,
    pub order: &'a Order,
    pub pace: &'a Pace,
    pub holds: &'a H,
    /// Becomes true: stop between two wallets.
    pub stop: watch::Receiver<bool>,
    pub clock: &'a (dyn Fn() -> Timestamp + Send + Sync),
    /// How old a head may be that a cutover is decided on: [`ledger::fence::HEAD_LIFETIME`] but in simulations.
    pub head_lifetime: Duration,
}

impl<S: Store, H: Holds> Mover<'_, S, H> {
    fn check_stop(&self) -> Result<(), MoveError> {
        if *self.stop.borrow() { Err(MoveError::Stopped) } else { Ok(()) }
    }

    /// The same mover on the way back.
    fn reversed<'b>(&'b self, route: &'b Route<S>) -> Mover<'b, S, H> {
        let Mover { order, pace, holds, clock, head_lifetime, .. } = *self;
        Mover { route, order, pace, holds, stop: self.stop.clone(), clock, head_lifetime }
    }
}

/// What a deployment's movers tell the time by.
pub fn wall_clock() -> Timestamp {
    let micros = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    Timestamp::from_micros(i64::try_from(micros).expect("this age fits"))
}
