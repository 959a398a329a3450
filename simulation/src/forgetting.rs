//! Purging what moved wallets left behind, as an operator would: no write that was decided before they left can land any
//! more, then the copies go; while customers and movers are back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mover::{MoveError, Mover, Order, Pace, Route};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use topology::WalletId;

use super::faults::{HEAD_LIFETIME, LONGEST_DELAY};
use super::mistake::Mistake;
use super::movers::What;
use super::network::AllInstances;
use super::placement::user;
use super::report::Violation;
use super::world::{CELLS, NAMESPACE, World};

/// How old tombstones are before anything below them goes: a head's lifetime, and the time that a write may be on its
/// way. Nothing compares clocks here.
pub const PURGE_AFTER: Duration = HEAD_LIFETIME.saturating_add(LONGEST_DELAY);
/// How often a killed forgetter is started again before the rest is left where it is.
const LIVES_MAX: u32 = 3;

/// What a wallet left behind in a cell: everything below this block may go.
#[derive(Debug, Clone, Copy)]
pub struct Leftover {
    wallet: WalletId,
    cell: usize,
    tombstone: u64,
}

impl World {
    pub fn wallets(&self, count: usize) -> impl Iterator<Item = WalletId> + use<> {
        (0..count).map(|number| WalletId::for_user(NAMESPACE, &user(number)))
    }

    /// Moves wallets while no request asks for them, so that the instances of their old cells do
    /// not notice.
    pub async fn move_unnoticed(self: &Arc<Self>, wallets: usize, random: &mut fastrand::Rng) -> Result<(), Violation> {
        for wallet in self.wallets(wallets) {
            if let Some(home) = self.home_of(wallet).await.filter(|_| random.u32(0..3) > 0) {
                let plan = self.begin(What::Wallet(wallet), home, (home + random.usize(1..CELLS)) % CELLS);
                self.finish(&plan).await?;
            }
        }
        Ok(())
    }

    /// What may be purged once no write that was decided before can land any more.
    pub async fn leftovers(&self, wallets: usize) -> Vec<Leftover> {
        let mut leftovers = Vec::new();
        for wallet in self.wallets(wallets) {
            for cell in 0..CELLS {
                let Some(head) = self.cells[cell].head(wallet).await else { continue };
                if head.home != self.cells[cell].id {
                    leftovers.push(Leftover { wallet, cell, tombstone: head.number });
                }
            }
        }
        if self.moves.mistake() != Mistake::NoFence {
            sleep(PURGE_AFTER).await;
        }
        leftovers
    }

    /// Forgets, with kills; what a killed forgetter has left stays, as it would until an operator looks.
    pub async fn forget(self: Arc<Self>, leftovers: Vec<Leftover>, mut random: fastrand::Rng) {
        for leftover in leftovers {
            let _under_way = self.moves.under_way.read().await;
            for _ in 0..LIVES_MAX {
                let life = Duration::from_millis(random.u64(1..400));
                // Nothing is forgotten of a wallet that is on its way on, or back.
                if let Ok(Ok(())) = timeout(life, self.forget_one(leftover)).await {
                    break;
                }
                sleep(Duration::from_millis(random.u64(1..200))).await;
            }
        }
    }

    async fn forget_one(self: &Arc<Self>, leftover: Leftover) -> Result<(), MoveError> {
        let Leftover { wallet, cell, tombstone } = leftover;
        let Some(home) = self.home_of(wallet).await.filter(|home| *home != cell) else { return Ok(()) };
        let route = Route { from: self.side(cell), to: self.side(home) };
        let order = Order { operation: "forget".into(), epoch: 0 };
        let (pace, holds, clock) = (Pace::new(1, None), AllInstances(self.clone()), self.clock(0));
        let (_stopper, stop) = watch::channel(false);
        let head_lifetime = HEAD_LIFETIME;
        let mover =
            Mover { route: &route, order: &order, pace: &pace, holds: &holds, stop, clock: &clock, head_lifetime };
        if mover.forget_wallet(wallet, tombstone).await? > 0 {
            self.moves.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
