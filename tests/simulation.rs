//! A whole deployment in one thread under a seed: the real sequencer, driver, use cases and couriers of several cells
//! with two instances each, on the in-memory store, with time that only moves when everybody waits.
//!
//! The seed decides everything: who does what when, which calls fail, whose answer is lost, which write lands after
//! its sender is dead, which instance is killed. The same seed gives the same run.

mod check;
mod client;
mod faults;
mod world;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ledger::store::memory::Mutation;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use client::{Client, Log};
use world::World;

/// How much happens in one run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub wallets: usize,
    pub clients: usize,
    pub operations_per_client: usize,
    pub kills: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { wallets: 8, clients: 8, operations_per_client: 80, kills: 16 }
    }
}

/// Simulated time after which every transfer must have found its end once faults have stopped.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);

/// What one run did, for people who wonder whether it did anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub blocks: usize,
    pub entries: usize,
    pub acknowledged: usize,
    pub refused: usize,
    pub unknown: usize,
    pub transfers_across: usize,
    pub returned: usize,
    pub calls: u64,
    pub faults: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} blocks, {} entries, {} acknowledged, {} refused, {} attempts unanswered, {} transfers across ({} returned), {} of {} store calls faulted",
            self.blocks,
            self.entries,
            self.acknowledged,
            self.refused,
            self.unknown,
            self.transfers_across,
            self.returned,
            self.faults,
            self.calls
        )
    }
}

/// A broken invariant, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

/// Runs one seed to its end and checks everything.
pub fn run(seed: u64, size: Size, mutation: Mutation) -> Result<Report, Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a single-threaded runtime needs nothing");
    runtime.block_on(simulate(seed, size, mutation))
}

async fn simulate(seed: u64, size: Size, mutation: Mutation) -> Result<Report, Violation> {
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new(&mut random, mutation);
    let log = Arc::new(Log::default());
    let mut clients = JoinSet::new();
    for number in 0..size.clients {
        let client = Client::new(number, size.wallets, world.clone(), log.clone(), random.fork());
        clients.spawn(client.run(size.operations_per_client));
    }
    for _ in 0..size.kills {
        sleep(Duration::from_millis(random.u64(1..2_000))).await;
        world.kill_somebody(&mut random);
        check::at_any_time(&world)?;
    }
    world.heal();
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| Violation(format!("a client could not go on: {error}")))?;
    }
    let deadline = Instant::now() + SETTLE_WITHIN;
    while world.in_flight() > 0 {
        if Instant::now() > deadline {
            return Err(Violation(format!("{} transfers are still in flight", world.in_flight())));
        }
        sleep(Duration::from_millis(500)).await;
    }
    // What was on its way has landed or lost by now.
    sleep(faults::LONGEST_DELAY * 2).await;
    check::at_any_time(&world)?;
    check::at_the_end(&world, &log)
}
