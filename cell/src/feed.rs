//! Follows the change stream of the cell and knows by it which wallets have open transfers, so that these are carried on
//! after the process that sent them has died, and after a move. One instance of the cell does this at a time.
//!
//! What it knows is a hint for those who carry transfers on: it never decides what becomes of one. It walks all wallets
//! only where the stream cannot tell: at its very start, and after it was away for longer than the stream keeps.

mod following;
pub mod open_wallets;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use ledger::Timestamp;
use metrics::gauge;
use serde::{Deserialize, Serialize};
use store::{Position, Store, StoreError};
use tokio::sync::{mpsc, watch};
use topology::{CellId, WalletId};
use tracing::warn;

use self::following::Following;
use self::open_wallets::{Figures, Open, OpenWallets};
use crate::clock::Clock;
use crate::hot::Hot;
use crate::jobs::{self, Watch};

const JOB: &str = "feed";
/// How often an instance looks whether the job is free.
const POLL: Duration = Duration::from_secs(1);
/// How long an instance keeps the job without a change of its row: short, since two at once do no harm, and what a dead
/// process has left behind waits for it.
const LEASE: Duration = Duration::from_secs(4);
/// Most wallets in the row of the job, which is at most [`store::MAX_CELL_ROW_BYTES`]. If there are more, the next
/// instance to take the job walks all wallets.
pub const MAX_SAVED_WALLETS: usize = 2_500;
/// Wallets that are found and not taken yet. What does not fit is found again a second later.
pub const MAILBOX: usize = 1_024;

/// How far the job is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    position: Position,
    walk: Walk,
    /// Each with the number of its newest block, its open transfers, the block of the oldest, and since when that is the
    /// oldest, in microseconds.
    wallets: Vec<(WalletId, u64, u32, u64, i64)>,
}

/// A walk over all wallets of the cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Walk {
    #[default]
    Due,
    /// Under way; up to this wallet.
    After(WalletId),
    Done,
}

impl Progress {
    fn of(position: &Position, walk: Walk, wallets: &OpenWallets) -> Self {
        let saved = wallets.iter().take(MAX_SAVED_WALLETS);
        let saved = saved.map(|(wallet, open)| (wallet, open.number, open.transfers, open.block, open.since.micros()));
        let walk = if wallets.len() > MAX_SAVED_WALLETS { Walk::Due } else { walk };
        Self { position: position.clone(), walk, wallets: saved.collect() }
    }
}

/// The job of one instance.
pub struct Feed<S> {
    pub cell: CellId,
    pub store: S,
    pub clock: Clock,
    /// Of this process alone.
    pub owner: String,
    /// Which wallets are written to most, by what comes out of the stream.
    pub hot: Hot,
    /// Gets every second each wallet that has had open transfers for a while, with the number of its newest block.
    pub found: mpsc::Sender<(WalletId, u64)>,
}

#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another instance has taken it over")]
    Lost,
}

fn held(held: bool) -> Result<(), Stopped> {
    if held { Ok(()) } else { Err(Stopped::Lost) }
}

impl<S: Store> Feed<S> {
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        publish_not_following();
        let mut watch = Watch::with_lease(LEASE);
        while jobs::pause(POLL, &mut stop).await {
            match self.turn(&mut watch, &mut stop).await {
                Ok(()) | Err(Stopped::Lost) => {}
                Err(Stopped::Store(error)) => warn!(%error, "the feed was interrupted; it goes on from its row"),
            }
        }
    }

    /// Follows the stream for as long as the job is this instance's.
    async fn turn(&self, watch: &mut Watch, stop: &mut watch::Receiver<bool>) -> Result<(), Stopped> {
        let seen = jobs::look::<S, Progress>(&self.store, &self.clock, JOB, watch).await?;
        let Some(lease) = seen.take(&self.owner).await? else { return Ok(()) };
        let ended = Following::new(self, lease).run(stop).await;
        publish_not_following();
        ended
    }
}

/// How far the feed is behind, and up to which time it has read.
fn publish_read(until: Timestamp, lag: Duration) {
    gauge!("cell_feed_lag_seconds").set(lag.as_secs_f64());
    gauge!("cell_feed_read_until_timestamp_seconds").set(until.micros() as f64 / 1_000_000.0);
}

fn publish_not_following() {
    gauge!("cell_feed_lag_seconds").set(0.0);
    gauge!("cell_feed_read_until_timestamp_seconds").set(0.0);
}

impl Figures {
    pub fn publish(&self) {
        gauge!("cell_transfers_in_flight").set(self.transfers as f64);
        gauge!("cell_transfer_in_flight_oldest_seconds").set(self.oldest_micros as f64 / 1_000_000.0);
        gauge!("cell_transfers_stuck").set(self.stuck as f64);
    }
}
