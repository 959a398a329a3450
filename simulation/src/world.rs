//! The simulated deployment: cells and their instances, which live and die.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use archive::Archive;
use cell::clock::Clock;
use cell::feed::{self, Feed};
use cell::hot::Hot;
use cell::instance::{self, Instance};
use cell::sequencer::{Limits, Sealing};
use cell::wallets::Wallets;
use ledger::Timestamp;
use ledger::open::OpenTransfers;
use store::memory::MemoryStore;
use store::{Chains, Genesis, HomeKey};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use topology::{Bucket, CellId, WalletId};
use uuid::Uuid;

use super::archiving::Archives;
use super::faults::{Faults, HEAD_LIFETIME};
use super::losses::Losses;
use super::mistake::Mistake;
use super::movers::Moves;
use super::network::Network;
use super::placement::{Placements, first_owner};
use super::report::Violation;

pub const CELLS: usize = 3;
pub const INSTANCES: usize = 2;
pub const NAMESPACE: Uuid = Uuid::from_u128(0x51);
/// Simulated noon, so that timestamps look like timestamps.
const START_MICROS: i64 = 1_800_000_000_000_000;
/// How long a caller waits for an instance that may have been stopped; the request goes on without it.
const CALLER_PATIENCE: Duration = Duration::from_secs(20);
/// How wrong a clock may be that is trusted, in microseconds.
pub const LARGEST_SKEW: i64 = 1_500_000;
const HOUR_MICROS: i64 = 3_600_000_000;

pub type Service = Wallets<MemoryStore, Network>;

/// One instance, alive or dead; what runs in it dies with it.
struct Process {
    service: Arc<Service>,
    tasks: JoinSet<()>,
    _stop: watch::Sender<bool>,
}

pub struct Cell {
    pub id: CellId,
    pub store: MemoryStore,
    faults: Arc<Faults>,
    /// By an operator, to restore the cell: no instance is started.
    is_stopped: AtomicBool,
    processes: Vec<Mutex<Option<Process>>>,
}

pub struct World {
    pub cells: Vec<Cell>,
    pub placements: Placements,
    pub moves: Moves,
    seeds: Mutex<fastrand::Rng>,
    pub healed: Arc<AtomicBool>,
    network: OnceLock<Network>,
    started: Instant,
    broken: Mutex<Option<Violation>>,
    pub losses: Losses,
    /// In some seeds.
    pub archives: Option<Archives>,
}

/// A request to an instance that is dead, or died before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnswer;

pub fn cell_id(number: usize) -> CellId {
    CellId::parse(format!("cell-{number}")).expect("sound")
}

pub fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All cells have the same packs.
fn tables_of(cell: usize, packs: Option<Archive>, all: &MemoryStore) -> MemoryStore {
    let store = MemoryStore::new(Genesis::of(Bucket::all().filter(|bucket| first_owner(*bucket) == cell)));
    match packs {
        Some(packs) => store.with_packs(packs).with_dropped_of(all),
        None => store,
    }
}

impl Cell {
    /// The last block of a wallet's chain here, seen by no process in the simulation.
    pub async fn head(&self, wallet: WalletId) -> Option<ledger::Block> {
        // The tables' own handle has no faults and no delays.
        self.store.head(wallet).await.expect("a handle without faults answers")
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Wallets of this cell with transfers that are open, and how many.
    fn open_wallets(&self) -> Vec<(WalletId, u32)> {
        let chains = self.store.chains();
        let heads = chains.values().filter_map(|blocks| blocks.last()).filter(|head| head.home == self.id);
        heads.map(|head| (head.wallet, head.state.open_count)).filter(|(_, open)| *open > 0).collect()
    }

    pub async fn serves(&self, wallet: WalletId) -> bool {
        self.head(wallet).await.is_some_and(|head| head.home == self.id)
    }
}

impl World {
    pub fn new(
        random: &mut fastrand::Rng,
        mistake: Mistake,
        packs: Option<Archive>,
        archives: Option<Archives>,
    ) -> Arc<World> {
        let healed = Arc::new(AtomicBool::new(false));
        let all = MemoryStore::default();
        let cells = (0..CELLS)
            .map(|number| Cell {
                id: cell_id(number),
                is_stopped: AtomicBool::new(false),
                store: tables_of(number, packs.clone(), &all).with_mutation(mistake.in_stores()),
                faults: Arc::new(Faults::new(random.fork(), healed.clone()).with_stalls()),
                processes: (0..INSTANCES).map(|_| Mutex::new(None)).collect(),
            })
            .collect();
        let world = Arc::new(World {
            cells,
            placements: Placements::new(),
            moves: Moves::new(random, healed.clone(), mistake),
            seeds: Mutex::new(random.fork()),
            healed: healed.clone(),
            network: OnceLock::new(),
            started: Instant::now(),
            broken: Mutex::new(None),
            losses: Losses::default(),
            archives,
        });
        let network = Network::new(&world, Arc::new(Faults::new(random.fork(), healed)));
        world.network.set(network).unwrap_or_else(|_| unreachable!("set once"));
        for cell in 0..CELLS {
            for instance in 0..INSTANCES {
                world.start(cell, instance);
            }
            world.start_archiving(cell);
        }
        world
    }

    /// The place of a cell that something in a chain or a row names.
    pub fn index_of(&self, cell: &CellId) -> usize {
        self.cells.iter().position(|own| own.id == *cell).expect("no other cell was ever named")
    }

    /// The clock of a process that is so many microseconds wrong.
    pub fn clock(&self, skew: i64) -> impl Fn() -> Timestamp + Send + Sync + use<> {
        let started = self.started;
        move || {
            let elapsed = i64::try_from(started.elapsed().as_micros()).expect("a simulation is short");
            Timestamp::from_micros(START_MICROS + elapsed + skew)
        }
    }

    /// What the cells and the placement say of a wallet, for people.
    pub async fn whereabouts(&self, wallet: WalletId) -> String {
        let mut words = format!("placed in cell-{}", self.placements.newest_cell_of(wallet));
        for cell in &self.cells {
            let rows = cell.store.home_rows();
            let bucket = rows.get(&HomeKey::Bucket(wallet.bucket()));
            words += &format!("; {} says {bucket:?}, {:?}", cell.id, rows.get(&HomeKey::Wallet(wallet)));
            if let Some(head) = cell.head(wallet).await {
                let count = cell.store.chains().get(&wallet).map_or(0, Vec::len);
                words += &format!(" and has {count} blocks to number {}, home {}", head.number, head.home);
            }
        }
        words
    }

    /// No block bears a later time, but for the skew of a clock that is trusted.
    pub fn latest_block_time(&self) -> Timestamp {
        self.clock(2 * LARGEST_SKEW)()
    }

    /// Notes a broken invariant that a task met on the way; the first one counts.
    pub fn broke(&self, violation: Violation) {
        guard(&self.broken).get_or_insert(violation);
    }

    pub fn broken(&self) -> Option<Violation> {
        guard(&self.broken).clone()
    }

    fn start(&self, cell: usize, number: usize) {
        let Cell { id, store, faults, processes, .. } = &self.cells[cell];
        let mut seeds = guard(&self.seeds);
        let skew = seeds.i64(-LARGEST_SKEW..LARGEST_SKEW);
        // Now and then a machine is an hour off, until everything heals.
        let far_off = if seeds.u32(0..8) == 0 { seeds.choice([-HOUR_MICROS, HOUR_MICROS]).unwrap_or(0) } else { 0 };
        let (right, healed) = (self.clock(skew), self.healed.clone());
        let clock = Clock::new(seeds.u64(..), move || {
            right().plus_micros(if healed.load(Ordering::Relaxed) { 0 } else { far_off })
        });
        let database = self.clock(0);
        let clock = match self.moves.mistake() {
            Mistake::ClockUnchecked => clock,
            _ => clock.with_reference(move || Some((database(), database()))),
        };
        let limits = Limits {
            entries_per_block: seeds.usize(1..=6),
            head_lifetime: HEAD_LIFETIME,
            mutation: self.moves.mistake().in_sequencers(),
            settle_within: Duration::from_millis(seeds.u64(0..2_000)),
            // So few that the marks of an ordinary wallet are sealed.
            sealing: Sealing { marks: seeds.usize(1..=24), forgets: self.moves.mistake() == Mistake::FilterForgets },
            ..Limits::default()
        };
        let store = store.with_faults(faults.clone());
        let network = self.network.get().expect("set before anything starts").clone();
        let (stopper, stop) = watch::channel(false);
        let (found, mut wallets) = mpsc::channel(feed::MAILBOX);
        let owner = format!("{id}-{number}-{}", seeds.u64(..));
        let feed =
            Feed { cell: id.clone(), store: store.clone(), clock: clock.clone(), owner, hot: Hot::default(), found };
        let Instance { wallets: service, mut tasks } =
            instance::start(id.clone(), NAMESPACE, store, network, clock, limits, stop.clone());
        tasks.spawn(feed.run(stop));
        let carrier = service.clone();
        tasks.spawn(async move {
            while let Some((wallet, number)) = wallets.recv().await {
                carrier.carry_on(wallet, number).await;
            }
        });
        let process = Process { service, tasks, _stop: stopper };
        *guard(&processes[number]) = Some(process);
    }

    /// Kills an instance as SIGKILL would: whatever it was doing stops between two steps. It comes back later.
    pub fn kill_an_instance(self: &Arc<Self>, random: &mut fastrand::Rng) {
        let (cell, instance) = (random.usize(..CELLS), random.usize(..INSTANCES));
        let down_for = Duration::from_millis(random.u64(1..3_000));
        drop(guard(&self.cells[cell].processes[instance]).take());
        let world = self.clone();
        tokio::spawn(async move {
            sleep(down_for).await;
            world.start_if_down(cell, instance);
        });
    }

    fn start_if_down(&self, cell: usize, instance: usize) {
        let Cell { is_stopped, processes, .. } = &self.cells[cell];
        if !is_stopped.load(Ordering::Relaxed) && guard(&processes[instance]).is_none() {
            self.start(cell, instance);
        }
    }

    /// Kills all instances of a cell, which do not come back by themselves.
    pub fn stop(&self, cell: usize) {
        self.cells[cell].is_stopped.store(true, Ordering::Relaxed);
        for process in &self.cells[cell].processes {
            drop(guard(process).take());
        }
        if let Some(archives) = &self.archives {
            archives.stop(cell);
        }
    }

    /// The cell serves again.
    pub fn restart(self: &Arc<Self>, cell: usize) {
        self.cells[cell].is_stopped.store(false, Ordering::Relaxed);
        for instance in 0..INSTANCES {
            self.start_if_down(cell, instance);
        }
        self.start_archiving(cell);
    }

    /// Whether some cell is stopped while it is restored.
    pub fn is_restoring(&self) -> bool {
        self.cells.iter().any(Cell::is_stopped)
    }

    /// From now on nothing fails any more.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
        for cell in 0..CELLS {
            for instance in 0..INSTANCES {
                self.start_if_down(cell, instance);
            }
        }
    }

    /// From now on calls fail again.
    pub fn sicken(&self) {
        self.healed.store(false, Ordering::Relaxed);
    }

    pub fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// Open transfers out of wallets where these live.
    pub fn in_flight(&self) -> u32 {
        self.cells.iter().flat_map(|cell| cell.open_wallets()).map(|(_, open_count)| open_count).sum()
    }

    /// What is still in flight, for people.
    pub async fn stuck(&self) -> String {
        let mut words = format!("{} transfers are still in flight", self.in_flight());
        for (wallet, open_count) in self.cells.iter().flat_map(|cell| cell.open_wallets()) {
            words += &format!("; {open_count} of {wallet}, {}", self.whereabouts(wallet).await);
            let chains = self.cells.iter().filter_map(|cell| cell.store.chains().remove(&wallet));
            let mut open = OpenTransfers::default();
            chains.max_by_key(Vec::len).iter().flatten().for_each(|block| open.take(block));
            for transfer in open.iter() {
                words += &format!("; to {}: {}", transfer.payee, self.whereabouts(transfer.payee).await);
            }
        }
        words
    }

    /// All live instances of a cell.
    pub fn services(&self, cell: usize) -> Vec<Arc<Service>> {
        let live = |process: &Mutex<Option<Process>>| guard(process).as_ref().map(|live| live.service.clone());
        self.cells[cell].processes.iter().filter_map(live).collect()
    }

    /// The instance that a request with this choice meets.
    pub fn service(&self, cell: usize, choice: usize) -> Option<Arc<Service>> {
        guard(&self.cells[cell].processes[choice % INSTANCES]).as_ref().map(|process| process.service.clone())
    }

    /// (store calls, faulted ones) of the whole run.
    pub fn calls(&self) -> (u64, u64) {
        let all = || self.cells.iter().map(|cell| &cell.faults).chain([self.moves.faults()]);
        let sum = |count: fn(&Faults) -> u64| all().map(|faults| count(faults)).sum();
        (sum(|faults| faults.calls.load(Ordering::Relaxed)), sum(|faults| faults.faults.load(Ordering::Relaxed)))
    }

    /// Runs a request inside some instance of a cell. It ends with the instance.
    pub async fn ask<T, F>(
        &self,
        cell: usize,
        choice: usize,
        request: impl FnOnce(Arc<Service>) -> F,
    ) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        {
            let mut process = guard(&self.cells[cell].processes[choice % INSTANCES]);
            let Some(process) = process.as_mut() else { return Err(NoAnswer) };
            let request = request(process.service.clone());
            process.tasks.spawn(async move {
                // A caller that has stopped waiting does not change what was done.
                let _ = answer.send(request.await);
            });
        }
        timeout(CALLER_PATIENCE, answered).await.map_err(|_| NoAnswer)?.map_err(|_| NoAnswer)
    }
}
