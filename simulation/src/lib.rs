//! A whole deployment in one thread under a seed: the real sequencer, driver, use cases and couriers of several cells
//! with two instances each, and of the movers that carry wallets between them, on the in-memory store, with time that
//! only moves when all tasks wait.
//!
//! In some seeds the cells have archives: the real archivers write them, and a cell that lost its tables is refilled from
//! its own.
//!
//! The seed decides everything: the order of all steps, which calls fail, which answers are lost,
//! which write lands after its sender is dead, which instance is killed. The same seed gives the
//! same run.

mod archiving;
mod check;
mod client;
mod faults;
mod forgetting;
mod losses;
mod mistake;
mod movers;
mod network;
mod packing;
mod placement;
mod report;
mod restoring;
mod world;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use archiving::Archives;
use client::{Client, Log};
pub use mistake::Mistake;
pub use report::{Report, Violation};
use restoring::Disaster;
use world::World;

/// How much happens in one run.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// At most [`placement::USERS`].
    pub wallets: usize,
    pub clients: usize,
    pub operations_per_client: usize,
    pub kills: usize,
    /// Makes and carries out plans to move wallets, all the time.
    pub planners: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { wallets: 8, clients: 8, operations_per_client: 60, kills: 12, planners: 2 }
    }
}

impl Size {
    /// The same operations on few wallets.
    fn with_long_chains(self) -> Self {
        Self { wallets: self.wallets.min(3), ..self }
    }

    /// What comes after a part of the wallets' past was forgotten.
    fn second(self) -> Self {
        Self { operations_per_client: self.operations_per_client / 2, kills: self.kills / 2, ..self }
    }
}

/// After this long nothing sent before can land any more.
const BAKE: Duration = faults::LONGEST_DELAY.saturating_mul(2);
/// Simulated time after which every transfer must have found its end once faults have stopped, and the last process that
/// was stopped goes on.
const SETTLE_WITHIN: Duration = faults::LONGEST_STALL.saturating_add(Duration::from_secs(120));

/// Runs one seed to its end and checks everything.
pub fn run(seed: u64, size: Size, mistake: Mistake) -> Result<Report, Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a single-threaded runtime needs nothing");
    let words = Disaster::of(seed).map_or_else(String::new, |disaster| format!("; {disaster}"));
    runtime.block_on(simulate(seed, size, mistake)).map_err(|violation| Violation(violation.0 + &words))
}

async fn simulate(seed: u64, size: Size, mistake: Mistake) -> Result<Report, Violation> {
    let mut random = fastrand::Rng::with_seed(seed);
    let archives = Archives::of(seed);
    let packs = packing::packs(seed, archives.as_ref());
    let size = if packs.is_some() { size.with_long_chains() } else { size };
    let world = World::new(&mut random, mistake, packs, archives);
    let log = Arc::new(Log::default());
    let (first, second) = match Disaster::of(seed) {
        Some(disaster) if disaster.part == 0 => (Some(disaster), None),
        later => (None, later),
    };
    traffic(&world, &log, size, 0, first, &mut random).await?;
    // What old homes remember and hold is of no use any more, and dangerous if it is forgotten in the wrong order.
    world.move_unnoticed(size.wallets, &mut random).await?;
    let leftovers = world.leftovers(size.wallets).await;
    check::at_any_time(&world)?;
    let forgetter = tokio::spawn(world.clone().forget(leftovers, random.fork()));
    traffic(&world, &log, size.second(), size.clients, second, &mut random).await?;
    forgetter.await.map_err(|error| Violation(format!("a forgetter could not go on: {error}")))?;
    // A mover that slept until now may have closed buckets of a plan that was taken back.
    sleep(faults::LONGEST_STALL).await;
    world.finish_plans().await?;
    world.let_archive().await;
    check::archives::check(&world).await?;
    world.lose_what_is_archived(&log).await?;
    world.let_archive().await;
    let archived = check::archives::check(&world).await?;
    Ok(Report { archived, ..check::at_the_end(&world, &log).await? })
}

/// All clients at once, with faults and kills; then everything heals and comes to its end.
async fn traffic(
    world: &Arc<World>,
    log: &Arc<Log>,
    size: Size,
    first_client: usize,
    disaster: Option<Disaster>,
    random: &mut fastrand::Rng,
) -> Result<(), Violation> {
    world.sicken();
    let (mut clients, mut planners) = (JoinSet::new(), JoinSet::new());
    for number in first_client..first_client + size.clients {
        let client = Client::new(number, size.wallets, world.clone(), log.clone(), random.fork());
        clients.spawn(client.run(size.operations_per_client));
    }
    for _ in 0..size.planners {
        planners.spawn(world.clone().keep_moving(size.wallets, random.fork()));
    }
    planners.spawn(world.clone().keep_settling(random.fork()));
    // Draws nothing of the seed where there are no packs.
    let packers = fastrand::Rng::with_seed(random.clone().u64(..));
    planners.spawn(world.clone().keep_packing(size.wallets, packers));
    let disaster = disaster.map(|disaster| tokio::spawn(world.clone().suffer(disaster, log.clone())));
    kills(world, size.kills, random).await?;
    if let Some(disaster) = disaster {
        disaster.await.map_err(|error| Violation(format!("a restore could not go on: {error}")))??;
        kills(world, size.kills / 2, random).await?;
    }
    world.heal();
    while let Some(ended) = planners.join_next().await {
        ended.map_err(|error| Violation(format!("a mover could not go on: {error}")))?;
    }
    // Customers that wait for a bucket that is on its way can only go on when its move does.
    world.finish_plans().await?;
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| Violation(format!("a client could not go on: {error}")))?;
    }
    // What was on its way has landed or lost by now.
    sleep(BAKE).await;
    world.ask_for_all(size.wallets).await;
    let deadline = Instant::now() + SETTLE_WITHIN;
    while world.in_flight() > 0 {
        if Instant::now() > deadline {
            return Err(Violation(world.stuck().await));
        }
        sleep(Duration::from_millis(500)).await;
    }
    sleep(BAKE).await;
    check::at_any_time(world)
}

async fn kills(world: &Arc<World>, count: usize, random: &mut fastrand::Rng) -> Result<(), Violation> {
    for _ in 0..count {
        sleep(Duration::from_millis(random.u64(1..2_000))).await;
        world.kill_an_instance(random);
        check::at_any_time(world)?;
    }
    Ok(())
}
