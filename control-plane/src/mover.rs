//! Moves wallets from the tables of one cell to those of another, storage to storage: the cells' compute need not be
//! alive. Keeps nothing between calls: everything may be called again, by anybody, at any time.

use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ledger::store::{Store, StoreError};
use tokio::sync::watch;
use topology::{Bucket, CellId, WalletId};

/// Most buckets of one group: their `homes` rows change in one transaction.
pub const GROUP_BUCKETS: usize = 64;

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

/// Who moves and why: written into every `Moved` block.
#[derive(Debug, Clone)]
pub struct Order {
    /// The operation's id.
    pub operation: String,
    pub actor: String,
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

/// Asks the source's compute to hold a wallet's writes for the moment of its cutover. A courtesy, never needed for
/// safety: whoever does not answer is moved without.
pub trait Holds: Send + Sync {
    fn hold(&self, wallet: WalletId) -> impl Future<Output = ()> + Send;
    fn release(&self, wallet: WalletId) -> impl Future<Output = ()> + Send;
}

/// How fast a mover may go, and how far it has come. One for an operation; shared by all its wallets.
pub struct Pace {
    pub max_concurrent: usize,
    pub max_bytes_per_sec: Option<u64>,
    pub progress: Progress,
}

/// Counted since this process began to work on the operation.
#[derive(Default)]
pub struct Progress {
    pub wallets: AtomicU64,
    pub blocks: AtomicU64,
    pub bytes: AtomicU64,
    /// Longest time between the last copied block and the cutover, of all wallets.
    pub longest_cutover_micros: AtomicU64,
    /// Wallets allowed at once now: lowered while the source answers slowly.
    pub concurrent_now: AtomicU64,
}

impl Pace {
    pub fn new(max_concurrent: usize, max_bytes_per_sec: Option<u64>) -> Self {
        Self { max_concurrent, max_bytes_per_sec, progress: Progress::default() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Told to stop: what was begun is whole or not begun.
    #[error("stopped")]
    Stopped,
    /// The buckets' rows say something else than the plan: somebody else moves them, or moved them.
    #[error("{0}")]
    NotOurs(String),
    /// The two cells hold different chains of one wallet. Needs a human.
    #[error("wallet {wallet}: {what}")]
    Diverged { wallet: WalletId, what: String },
    #[error("wallet {0} kept being written to")]
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

/// Everything a mover needs beside the route.
pub struct Mover<'a, S, H> {
    pub route: &'a Route<S>,
    pub order: &'a Order,
    pub pace: &'a Pace,
    pub holds: &'a H,
    pub stop: watch::Receiver<bool>,
}

/// Where wallets of a group ended up other than at the target: they need pins.
pub type Strays = Vec<(WalletId, CellId)>;

impl<S: Store, H: Holds> Mover<'_, S, H> {
    /// Copies one wallet and cuts it over.
    pub async fn move_wallet(&self, _wallet: WalletId) -> Result<Moved, MoveError> {
        Err(MoveError::Stopped)
    }

    /// Moves every wallet of the buckets, then the right to create wallets in them. Afterwards the placement may be
    /// published. `known_elsewhere`: the placement's pins of wallets of these buckets, which are left where they are.
    pub async fn move_group(&self, _group: Group, _pins: &[(WalletId, CellId)]) -> Result<Strays, MoveError> {
        Err(MoveError::Stopped)
    }

    /// Takes back a group whose move was begun and not finished: wallets that were cut over return to the source, and
    /// the source may create wallets again.
    pub async fn return_group(&self, _group: Group) -> Result<(), MoveError> {
        Err(MoveError::Stopped)
    }

    /// Deletes at the source what was moved away, but for each chain's last block; returns the number of blocks.
    pub async fn forget_wallet(&self, _wallet: WalletId) -> Result<u64, MoveError> {
        Err(MoveError::Stopped)
    }

    /// Wallets of the group, page by page, that have a chain or a row of their own at the source.
    pub async fn wallets_at_source(
        &self,
        _group: Group,
        _after: Option<WalletId>,
    ) -> Result<Vec<WalletId>, MoveError> {
        Err(MoveError::Stopped)
    }

    /// Wallet by wallet: the target's chain begins with the source's, hash by hash at the source's head.
    pub async fn verify_wallet(&self, _wallet: WalletId) -> Result<(), MoveError> {
        Err(MoveError::Stopped)
    }
}

/// How long a source may hold a wallet's writes at most.
pub const HOLD_MAX: Duration = Duration::from_millis(200);
