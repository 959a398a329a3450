//! One running instance of a cell: the tasks, their owners, and in which order they stop.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use store::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;
use topology::CellId;
use uuid::Uuid;

use crate::clock::Clock;
use crate::courier::{CourierTask, mailbox};
use crate::driver::Driver;
use crate::peers::Peers;
use crate::sequencer::Limits;
use crate::wallets::Wallets;

/// The parts of an instance beside its HTTP edge. Dropping `tasks` kills it, as SIGKILL would.
pub struct Instance<S, P> {
    pub wallets: Arc<Wallets<S, P>>,
    pub tasks: JoinSet<()>,
}

/// Starts the driver and the courier. When `stop` becomes true the courier finishes its deliveries
/// and ends; the driver ends when no task can submit any more and every submitted command is
/// answered.
pub fn start<S: Store, P: Peers>(
    cell: CellId,
    namespace: Uuid,
    store: S,
    peers: P,
    clock: Clock,
    limits: Limits,
    stop: watch::Receiver<bool>,
) -> Instance<S, P> {
    let mut tasks = JoinSet::new();
    let (courier, inbox) = mailbox();
    let (submitter, driver) = Driver::new(cell.clone(), store.clone(), clock.clone(), limits, courier.clone());
    tasks.spawn(driver.run());
    let task = CourierTask::new(cell.clone(), inbox, store.clone(), peers.clone(), submitter.clone(), clock.clone());
    tasks.spawn(task.run(stop));
    let wallets = Wallets::new(cell, namespace, store, submitter, courier, peers, clock);
    Instance { wallets: Arc::new(wallets), tasks }
}
