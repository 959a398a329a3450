//! The simulated deployment: cells, their instances, and the network between them.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use cell::clock::Clock;
use cell::failure::Failure;
use cell::instance;
use cell::peers::{PeerError, Peers};
use cell::sequencer::Limits;
use cell::wallets::{Context, Wallets};
use ledger::store::Genesis;
use ledger::store::memory::{FaultPlan, MemoryStore, Mutation};
use ledger::{Audit, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use topology::wire::{Credit, CreditOutcome, Receivable};
use topology::{Bucket, CellId, WalletId};
use uuid::Uuid;

use super::faults::Faults;

const CELLS: usize = 3;
const INSTANCES: usize = 2;
pub const NAMESPACE: Uuid = Uuid::from_u128(0x51);
/// Simulated noon, so that timestamps look like timestamps.
const START_MICROS: i64 = 1_800_000_000_000_000;

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
    processes: Vec<Mutex<Option<Process>>>,
}

pub struct World {
    pub cells: Vec<Cell>,
    seeds: Mutex<fastrand::Rng>,
    healed: Arc<AtomicBool>,
    network: OnceLock<Network>,
    started: Instant,
}

/// A request to an instance that is dead, or died before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAnswer;

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(random: &mut fastrand::Rng, mutation: Mutation) -> Arc<World> {
        let healed = Arc::new(AtomicBool::new(false));
        let cells = (0..CELLS)
            .map(|number| Cell {
                id: CellId::parse(format!("cell-{number}")).expect("sound"),
                store: MemoryStore::new(Genesis::of(Bucket::all().filter(|bucket| bucket.index() % CELLS == number)))
                    .with_mutation(mutation),
                faults: Arc::new(Faults::new(random.fork(), healed.clone())),
                processes: (0..INSTANCES).map(|_| Mutex::new(None)).collect(),
            })
            .collect();
        let world = Arc::new(World {
            cells,
            seeds: Mutex::new(random.fork()),
            healed: healed.clone(),
            network: OnceLock::new(),
            started: Instant::now(),
        });
        let network = Network { world: world.clone(), faults: Arc::new(Faults::new(random.fork(), healed)) };
        world.network.set(network).unwrap_or_else(|_| unreachable!("set once"));
        for cell in 0..CELLS {
            for instance in 0..INSTANCES {
                world.start(cell, instance);
            }
        }
        world
    }

    pub fn cell_of(&self, wallet: WalletId) -> &Cell {
        &self.cells[wallet.bucket().index() % CELLS]
    }

    fn start(&self, cell: usize, number: usize) {
        let Cell { id, store, faults, processes } = &self.cells[cell];
        let mut seeds = guard(&self.seeds);
        let (started, skew) = (self.started, seeds.i64(-1_500_000..1_500_000));
        let clock = Clock::new(seeds.u64(..), move || {
            let elapsed = i64::try_from(started.elapsed().as_micros()).expect("a simulation is short");
            Timestamp::from_micros(START_MICROS + elapsed + skew)
        });
        let limits = Limits { entries_per_block: seeds.usize(1..=6), ..Limits::default() };
        let store = store.with_faults(faults.clone());
        let network = self.network.get().expect("set before anything starts").clone();
        let (stopper, stop) = watch::channel(false);
        let started = instance::start(id.clone(), NAMESPACE, store, network, clock, limits, stop);
        let process = Process { service: started.wallets, tasks: started.tasks, _stop: stopper };
        *guard(&processes[number]) = Some(process);
    }

    /// Kills an instance as SIGKILL would: whatever it was doing stops between two steps. It comes back later.
    pub fn kill_somebody(self: &Arc<Self>, random: &mut fastrand::Rng) {
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
        if guard(&self.cells[cell].processes[instance]).is_none() {
            self.start(cell, instance);
        }
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

    pub fn in_flight(&self) -> usize {
        self.cells.iter().map(|cell| cell.store.transfer_rows().0.len()).sum()
    }

    /// (store calls, faulted ones) of the whole run.
    pub fn calls(&self) -> (u64, u64) {
        let sum = |count: fn(&Faults) -> u64| self.cells.iter().map(|cell| count(&cell.faults)).sum();
        (sum(|faults| faults.calls.load(Ordering::Relaxed)), sum(|faults| faults.faults.load(Ordering::Relaxed)))
    }

    /// Runs a request inside some instance of a cell. It ends with the instance.
    pub async fn ask<T, F>(
        &self,
        cell: &Cell,
        choice: usize,
        request: impl FnOnce(Arc<Service>) -> F,
    ) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        {
            let mut process = guard(&cell.processes[choice % INSTANCES]);
            let Some(process) = process.as_mut() else { return Err(NoAnswer) };
            let request = request(process.service.clone());
            process.tasks.spawn(async move {
                // Whoever has stopped waiting does not change what was done.
                let _ = answer.send(request.await);
            });
        }
        answered.await.map_err(|_| NoAnswer)
    }
}

/// Between the cells: requests and answers get lost, come late, come twice.
#[derive(Clone)]
pub struct Network {
    world: Arc<World>,
    faults: Arc<Faults>,
}

impl Network {
    async fn carry<T, F>(
        &self,
        wallet: WalletId,
        deadline: Instant,
        request: impl Fn(Arc<Service>) -> F,
    ) -> Result<T, PeerError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        use ledger::store::memory::Fault;
        let lost = || PeerError::Unreachable("lost".into());
        let fate = self.faults.next(true);
        let choice = usize::from(wallet.as_bytes()[7]) + usize::try_from(fate.before.as_micros()).unwrap_or(0);
        let exchange = async {
            sleep(fate.before).await;
            if fate.fault == Fault::Refused {
                return Err(lost());
            }
            let cell = self.world.cell_of(wallet);
            if let Fault::LandsLater(delay) = fate.fault {
                // A duplicate of the request arrives much later, whatever becomes of this one.
                let (world, late) = (self.world.clone(), request(self.service_now(cell, choice).ok_or_else(lost)?));
                tokio::spawn(async move {
                    sleep(delay).await;
                    drop(late.await);
                    drop(world);
                });
            }
            let answer = self.world.ask(cell, choice, &request).await;
            sleep(fate.after).await;
            match (fate.fault, answer) {
                (Fault::AnswerLost, _) | (_, Err(NoAnswer)) => Err(lost()),
                (_, Ok(Ok(answer))) => Ok(answer),
                (_, Ok(Err(Failure::WalletNotFound(_)))) => Err(PeerError::UnknownWallet),
                (_, Ok(Err(failure))) => Err(PeerError::Unreachable(failure.to_string())),
            }
        };
        timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err(lost()))
    }

    fn service_now(&self, cell: &Cell, choice: usize) -> Option<Arc<Service>> {
        guard(&cell.processes[choice % INSTANCES]).as_ref().map(|process| process.service.clone())
    }
}

impl Peers for Network {
    async fn receivable(&self, wallet: WalletId, deadline: Instant) -> Result<Receivable, PeerError> {
        self.carry(wallet, deadline, move |service| async move { service.receivable(wallet).await }).await
    }

    async fn credit(&self, credit: &Credit, deadline: Instant) -> Result<CreditOutcome, PeerError> {
        let credit = credit.clone();
        self.carry(credit.to_wallet_id, deadline, move |service| {
            let credit = credit.clone();
            let context = Context { key: None, audit: Audit::default(), deadline };
            async move { service.credit(&credit, context).await }
        })
        .await
    }
}
