//! The movers of wallets between the cells, while all else works: the shipped mover, killed at
//! random moments, run twice at once, run against its own opposite, ordered to take back what it
//! began.
//!
//! They must change nothing themselves: only the mover writes, and the placement follows what it says it has done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mover::{MoveError, Moved, Mover, Order, Pace, Returned, Route, Side, settle};
use store::memory::MemoryStore;
use store::{HomeKey, HomeState};
use tokio::sync::{RwLock, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use topology::{CellId, WalletId};

use super::faults::{Faults, HEAD_LIFETIME};
use super::mistake::Mistake;
use super::network::AllInstances;
use super::placement::{GROUPS, USERS, group, user};
use super::report::Violation;
use super::world::{CELLS, LARGEST_SKEW, NAMESPACE, World, guard};

/// Wallets moved at once by one mover.
const CONCURRENT: usize = 2;
/// Of so many plans, one has a mover that is stopped for minutes.
const SLEEPERS_EVERY: u64 = 4;
/// How often a mover is killed and started again before its plan is left for later.
const LIVES_MAX: u32 = 4;
/// A mover that is killed has had at most this long.
const LONGEST_LIFE: Duration = Duration::from_millis(1_500);
/// Simulated time in which a plan must come to its end once nothing fails any more.
const FINISH_WITHIN: Duration = Duration::from_secs(60);

/// How often buckets that were left closed are settled until it is given up.
const SETTLINGS_MAX: usize = 200;

/// What is to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Wallet(WalletId),
    Group(usize),
}

/// One operation: what, from where, to where. Any number of movers may work on it.
#[derive(Debug)]
pub struct Plan {
    number: u64,
    what: What,
    from: usize,
    to: usize,
    /// The newest placement when it was made.
    epoch: usize,
    /// To be undone rather than finished.
    taking_back: AtomicBool,
    ended: AtomicBool,
}

/// All plans ever begun, and what became of them.
pub struct Moves {
    plans: Mutex<Vec<Arc<Plan>>>,
    faults: Arc<Faults>,
    /// Of movers that are stopped for minutes in front of a write.
    sleepers: Arc<Faults>,
    /// The movers that are asleep, or may be.
    asleep: Mutex<Vec<AbortHandle>>,
    /// Held by each mover and purger at work; all of it by an operator that restores a cell, when
    /// nothing may be under way.
    pub under_way: RwLock<()>,
    mistake: Mistake,
    adopted: AtomicU64,
    groups: AtomicU64,
    taken_back: AtomicU64,
    settled: AtomicU64,
    pub forgotten: AtomicU64,
}

impl Moves {
    pub fn new(random: &mut fastrand::Rng, healed: Arc<AtomicBool>, mistake: Mistake) -> Self {
        Self {
            plans: Mutex::default(),
            faults: Arc::new(Faults::new(random.fork(), healed.clone())),
            sleepers: Arc::new(Faults::new(random.clone().fork(), healed).with_stalls()),
            asleep: Mutex::default(),
            under_way: RwLock::default(),
            mistake,
            adopted: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            taken_back: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    pub fn mistake(&self) -> Mistake {
        self.mistake
    }

    /// A request completed a cutover.
    pub fn adopted(&self) {
        self.adopted.fetch_add(1, Ordering::Relaxed);
    }

    /// (completed by adoption, groups moved, groups taken back, copies forgotten, buckets left
    /// closed and settled).
    pub fn counts(&self) -> [u64; 5] {
        [&self.adopted, &self.groups, &self.taken_back, &self.forgotten, &self.settled]
            .map(|count| count.load(Ordering::Relaxed))
    }

    fn unfinished(&self) -> Vec<Arc<Plan>> {
        guard(&self.plans).iter().filter(|plan| !plan.ended.load(Ordering::Relaxed)).cloned().collect()
    }
}

impl World {
    /// A cell as movers see it: through faults of their own.
    pub fn side(&self, cell: usize) -> Side<MemoryStore> {
        self.side_through(&self.moves.faults, cell)
    }

    pub fn side_through(&self, faults: &Arc<Faults>, cell: usize) -> Side<MemoryStore> {
        let cell = &self.cells[cell];
        let store = cell.store.with_faults(faults.clone());
        let store = match self.moves.mistake.in_movers() {
            Some(mutation) => store.with_mutation(mutation),
            None => store,
        };
        Side { cell: cell.id.clone(), store }
    }

    pub fn begin(&self, what: What, from: usize, to: usize) -> Arc<Plan> {
        let mut plans = guard(&self.moves.plans);
        let plan = Arc::new(Plan {
            number: plans.len() as u64,
            what,
            from,
            to,
            epoch: self.placements.newest(),
            taking_back: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        plans.push(plan.clone());
        plan
    }

    /// One mover's work on a plan, to its end or to its first error; whether the plan has ended.
    async fn work_on(self: &Arc<Self>, plan: &Plan, stop: watch::Receiver<bool>) -> Result<bool, Violation> {
        self.work_through(&self.moves.faults, plan, stop).await
    }

    async fn work_through(
        self: &Arc<Self>,
        faults: &Arc<Faults>,
        plan: &Plan,
        stop: watch::Receiver<bool>,
    ) -> Result<bool, Violation> {
        let route = Route { from: self.side_through(faults, plan.from), to: self.side_through(faults, plan.to) };
        let order = Order { operation: format!("operation-{}", plan.number), epoch: plan.epoch as u64 };
        let (pace, holds) = (Pace::new(CONCURRENT, None), AllInstances(self.clone()));
        let clock = self.clock((plan.number as i64 * 777_777) % LARGEST_SKEW);
        let head_lifetime = HEAD_LIFETIME;
        let mover =
            Mover { route: &route, order: &order, pace: &pace, holds: &holds, stop, clock: &clock, head_lifetime };
        let takes_back = plan.taking_back.load(Ordering::Relaxed);
        let outcome = match plan.what {
            What::Wallet(wallet) => match mover.move_wallet(wallet).await {
                Ok(Moved::Done) => Ok(plan.end_with(|| self.placements.move_wallet(wallet, plan.to))),
                Ok(Moved::Elsewhere(cell)) => {
                    Ok(plan.end_with(|| self.placements.move_wallet(wallet, self.index_of(&cell))))
                }
                Ok(Moved::Absent) => Ok(plan.end_with(|| {})),
                Err(error) => Err(error),
            },
            What::Group(number) if takes_back => {
                mover.return_group(group(number)).await.map(|returned| match returned {
                    Returned::TakenBack => plan.end_with(|| count(&self.moves.taken_back)),
                    Returned::TooLate => {
                        plan.taking_back.store(false, Ordering::Relaxed);
                        false
                    }
                })
            }
            What::Group(number) => {
                let named = |(wallet, cell): (WalletId, usize)| (wallet, self.cells[cell].id.clone());
                let pins: Vec<(WalletId, CellId)> = self.placements.pins(number).into_iter().map(named).collect();
                mover.move_group(group(number), &pins).await.map(|strays| {
                    let placed = |(wallet, cell): &(WalletId, CellId)| (*wallet, self.index_of(cell));
                    let strays: Vec<_> = strays.iter().map(placed).collect();
                    plan.end_with(|| {
                        count(&self.moves.groups);
                        self.placements.move_group(number, plan.to, &strays);
                    })
                })
            }
        };
        match outcome {
            Ok(ended) => Ok(ended),
            Err(MoveError::Diverged { wallet, what }) => {
                Err(Violation(format!("wallet {wallet} has two chains, says {plan:?}: {what}")))
            }
            // The movers that are taking it back caused this, and have to finish.
            Err(MoveError::NotOurs(_)) if !takes_back && plan.taking_back.load(Ordering::Relaxed) => Ok(false),
            Err(MoveError::NotOurs(_)) => Ok(plan.end_with(|| {})),
            Err(MoveError::Store(_) | MoveError::Stopped | MoveError::Contended(_)) => Ok(false),
        }
    }

    /// One more mover on the plan, which is stopped now and then and goes on when much has changed: nothing waits for it.
    fn leave_asleep(self: &Arc<Self>, plan: &Arc<Plan>) {
        let (world, plan) = (self.clone(), plan.clone());
        let sleeper = tokio::spawn(async move {
            let (_stopper, stop) = watch::channel(false);
            if let Err(violation) = world.work_through(&world.moves.sleepers, &plan, stop).await {
                world.broke(violation);
            }
        });
        guard(&self.moves.asleep).push(sleeper.abort_handle());
    }

    /// Kills every mover that is asleep.
    pub fn kill_sleepers(&self) {
        guard(&self.moves.asleep).drain(..).for_each(|sleeper| sleeper.abort());
    }

    /// Works on a plan as long as movers live: each is killed, or ordered to stop, after a random
    /// time.
    pub async fn work_with_kills(self: Arc<Self>, plan: Arc<Plan>, mut random: fastrand::Rng) {
        for _ in 0..LIVES_MAX {
            if plan.ended.load(Ordering::Relaxed) {
                return;
            }
            // Most die young, some live long enough for anything.
            let longest = LONGEST_LIFE.mul_f64(random.f64() * random.f64());
            let (stopper, stop) = watch::channel(false);
            let work = self.work_on(&plan, stop);
            tokio::pin!(work);
            let ended = match timeout(longest, &mut work).await {
                Ok(ended) => ended,
                Err(_) if random.u32(0..3) == 0 => {
                    // The receiver is gone only if the mover has ended.
                    let _ = stopper.send(true);
                    work.await
                }
                // Killed: dropped between two of its steps.
                Err(_) => Ok(false),
            };
            match ended {
                Ok(true) => return,
                Ok(false) => {}
                Err(violation) => return self.broke(violation),
            }
            if random.u32(0..5) == 0 && matches!(plan.what, What::Group(_)) {
                plan.taking_back.store(true, Ordering::Relaxed);
            }
            sleep(LONGEST_LIFE.mul_f64(random.f64() / 4.0)).await;
        }
    }

    /// Makes one plan after the other until everything has healed.
    pub async fn keep_moving(self: Arc<Self>, wallets: usize, mut random: fastrand::Rng) {
        while !self.is_healed() && self.broken().is_none() {
            let under_way = self.moves.under_way.read().await;
            let (what, home) = match random.u32(0..3) {
                0 => {
                    let number = random.usize(..GROUPS);
                    (What::Group(number), self.placements.owner(number))
                }
                _ => {
                    let wallet = WalletId::for_user(NAMESPACE, &user(random.usize(..wallets)));
                    (What::Wallet(wallet), self.placements.newest_cell_of(wallet))
                }
            };
            let other = (home + random.usize(1..CELLS)) % CELLS;
            let plan = self.begin(what, home, other);
            if plan.number.is_multiple_of(SLEEPERS_EVERY) {
                self.leave_asleep(&plan);
            }
            let first = self.clone().work_with_kills(plan.clone(), random.fork());
            match random.u32(0..4) {
                0 => {
                    tokio::join!(first, self.clone().work_with_kills(plan, random.fork()));
                }
                1 => {
                    let back = self.begin(what, other, home);
                    tokio::join!(first, self.clone().work_with_kills(back, random.fork()));
                }
                _ => first.await,
            }
            drop(under_way);
            sleep(Duration::from_millis(random.u64(1..400))).await;
        }
    }

    /// Runs every plan that was begun and not finished to its end, one after the other.
    pub async fn finish_plans(self: &Arc<Self>) -> Result<(), Violation> {
        for plan in self.moves.unfinished() {
            self.finish(&plan).await?;
        }
        // A mover that began again just when its plan was taken back, and died, or slept past its
        // plan's end: no plan is about these buckets.
        for _ in 0..SETTLINGS_MAX {
            if self.settle_closed().await? {
                break;
            }
        }
        self.publish_truth().await;
        Ok(())
    }

    /// Settles the groups that a cell has closed and that no plan is about, as control planes do.
    /// Whether none is left.
    async fn settle_closed(&self) -> Result<bool, Violation> {
        let mut is_all = true;
        for (number, from) in (0..GROUPS).flat_map(|number| (0..CELLS).map(move |from| (number, from))) {
            let row = self.cells[from].store.home_rows().remove(&HomeKey::Bucket(group(number).first));
            let Some(HomeState::Closing { to }) = row.map(|row| row.state) else { continue };
            if self.is_claimed(number) {
                continue;
            }
            match settle(&self.side(from), &self.side(self.index_of(&to)), group(number)).await {
                Ok(settled) => add(&self.moves.settled, settled.handed_over + settled.reopened),
                Err(MoveError::Store(_)) => is_all = false,
                Err(error) => return Err(Violation(format!("buckets left closed were not settled: {error}"))),
            }
        }
        Ok(is_all)
    }

    fn is_claimed(&self, number: usize) -> bool {
        self.moves.unfinished().iter().any(|plan| match plan.what {
            What::Group(of) => of == number,
            What::Wallet(wallet) => group(number).buckets().any(|bucket| bucket == wallet.bucket()),
        })
    }

    /// Settles now and then what movers leave closed, while others move.
    pub async fn keep_settling(self: Arc<Self>, mut random: fastrand::Rng) {
        while !self.is_healed() && self.broken().is_none() {
            sleep(Duration::from_millis(random.u64(1..2_000))).await;
            let _under_way = self.moves.under_way.read().await;
            // Killed, as others are.
            let looked = timeout(LONGEST_LIFE.mul_f64(random.f64()), self.settle_closed()).await;
            if let Ok(Err(violation)) = looked {
                self.broke(violation);
            }
        }
    }

    pub async fn finish(self: &Arc<Self>, plan: &Plan) -> Result<(), Violation> {
        let deadline = Instant::now() + FINISH_WITHIN;
        let (_stopper, stop) = watch::channel(false);
        while !plan.ended.load(Ordering::Relaxed) {
            match timeout(FINISH_WITHIN, self.work_on(plan, stop.clone())).await {
                Ok(ended) if Instant::now() < deadline => drop(ended?),
                _ => {
                    let mut words = String::new();
                    for wallet in self.wallets(USERS) {
                        words += &format!("\n{wallet} is {}", self.whereabouts(wallet).await);
                    }
                    return Err(Violation(format!("{plan:?} could not be finished{words}")));
                }
            }
        }
        Ok(())
    }

    /// Plans that met one another have left wallets where the placement does not have them: it learns of these.
    async fn publish_truth(&self) {
        for wallet in self.wallets(USERS) {
            for (place, cell) in self.cells.iter().enumerate() {
                if cell.serves(wallet).await && self.placements.newest_cell_of(wallet) != place {
                    self.placements.move_wallet(wallet, place);
                }
            }
        }
    }

    /// The cell that serves a wallet.
    pub async fn home_of(&self, wallet: WalletId) -> Option<usize> {
        for (place, cell) in self.cells.iter().enumerate() {
            if cell.serves(wallet).await {
                return Some(place);
            }
        }
        None
    }
}

impl Plan {
    /// Only the first of several movers that come to the end tells of it.
    fn end_with(&self, tell: impl FnOnce()) -> bool {
        if !self.ended.swap(true, Ordering::Relaxed) {
            tell();
        }
        true
    }
}

fn count(counter: &AtomicU64) {
    add(counter, 1);
}

fn add(counter: &AtomicU64, some: usize) {
    counter.fetch_add(some as u64, Ordering::Relaxed);
}
