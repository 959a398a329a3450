//! Archives all cells, in a part of the seeds: the real archivers, two for each cell, over objects in memory. They are
//! killed at any await, sleep while the other one takes over, and have stores that fail.
//!
//! Draws nothing of the seed's own dice: a seed without archives does what it did before there were any.

mod objects;
mod suspended;
mod touched;

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use archive::Archive;
use cell::archiver::{Archiver, QUEUE};
use cell::clock::Clock;
use object_store::memory::InMemory;
use object_store::path::Path;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use topology::WalletId;

use self::objects::Objects;
use self::suspended::Suspended;
use self::touched::Touched;
use super::faults::Faults;
use super::mistake::Mistake;
use super::packing::PACK_BLOCKS;
use super::world::{CELLS, INSTANCES, LARGEST_SKEW, World, cell_id, guard};

/// Seeds with archives, of so many in a row: one with nothing else, one with packs, one in which a cell loses its tables.
const ARCHIVED: [u64; 3] = [3, 5, 12];
const IN_A_ROW: u64 = 16;
/// An archiver lives so long, at most, before it is killed.
const LONGEST_LIFE: Duration = Duration::from_secs(30);
const LONGEST_ABSENCE: Duration = Duration::from_secs(3);
/// Once nothing fails any more, all is archived after this long: an archiver that does not answer has lost its job, and
/// the other one has walked all wallets, or has rested after a failure.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(40);

/// The archives of all cells of a run.
pub struct Archives {
    objects: Arc<InMemory>,
    touched: Arc<Touched>,
    random: Mutex<fastrand::Rng>,
    /// The archivers of each cell.
    processes: Vec<Mutex<JoinSet<()>>>,
}

impl Archives {
    /// `None`: nothing is archived in this seed.
    pub fn of(seed: u64) -> Option<Self> {
        let random = Mutex::new(fastrand::Rng::with_seed(seed.reverse_bits()));
        let processes = (0..CELLS).map(|_| Mutex::default()).collect();
        ARCHIVED.contains(&(seed % IN_A_ROW)).then(|| Self {
            objects: Arc::default(),
            touched: Arc::default(),
            random,
            processes,
        })
    }

    /// Of a cell, without faults.
    pub fn archive(&self, cell: usize) -> Archive {
        Archive::new(self.objects.clone(), cell_id(cell)).with_packs_of(PACK_BLOCKS)
    }

    /// Of a cell, as a process has it.
    pub fn archive_through(&self, cell: usize, faults: Arc<Faults>, mistake: Mistake) -> Archive {
        let (inner, touched) = (self.objects.clone(), self.touched.clone());
        let objects = Objects { inner, faults, mistake, process: self.fork_random().u64(..), touched };
        Archive::new(Arc::new(objects), cell_id(cell)).with_packs_of(PACK_BLOCKS)
    }

    /// Whether it is not known if the owner must be there.
    pub fn is_owner_in_doubt(&self, cell: usize, wallet: WalletId) -> bool {
        let owner = Path::from_iter([cell_id(cell).as_str(), "owners", &wallet.to_string()]);
        self.touched.is_by_a_process_without_the_job(&owner)
    }

    pub fn fork_random(&self) -> fastrand::Rng {
        guard(&self.random).fork()
    }

    /// Kills the archivers of a cell.
    pub fn stop(&self, cell: usize) {
        *guard(&self.processes[cell]) = JoinSet::new();
    }
}

impl World {
    /// Starts the archivers of a cell, if it has any, in place of those that run.
    pub fn start_archiving(self: &Arc<Self>, cell: usize) {
        let Some(archives) = &self.archives else { return };
        archives.stop(cell);
        for number in 0..INSTANCES {
            let archiving = self.clone().keep_archiving(cell, number, archives.fork_random());
            guard(&archives.processes[cell]).spawn(archiving);
        }
    }

    /// One archiver after another, each of them killed; but for the one that lives when everything has healed.
    async fn keep_archiving(self: Arc<Self>, cell: usize, number: usize, mut random: fastrand::Rng) {
        loop {
            sleep(LONGEST_ABSENCE.mul_f64(random.f64())).await;
            let Some(archiver) = self.archiver(cell, number, &mut random) else { return };
            let (_stopper, stop) = watch::channel(false);
            let mut archiving = pin!(Suspended::new(archiver.run(stop), random.fork(), self.healed.clone()));
            let life = LONGEST_LIFE.mul_f64(random.f64());
            while timeout(life, &mut archiving).await.is_err() && self.is_healed() {}
        }
    }

    fn archiver(
        &self,
        cell: usize,
        number: usize,
        random: &mut fastrand::Rng,
    ) -> Option<Archiver<store::memory::MemoryStore>> {
        let mistake = self.moves.mistake();
        let mut faults = || Arc::new(Faults::new(random.fork(), self.healed.clone()));
        let store = self.cells[cell].store.with_faults(faults()).with_mutation(mistake.in_archivers());
        let archive = self.archives.as_ref()?.archive_through(cell, faults(), mistake);
        let clock = Clock::new(random.u64(..), self.clock(random.i64(-LARGEST_SKEW..LARGEST_SKEW)));
        let owner = format!("{}-{number}-{}", cell_id(cell), random.u64(..));
        let (doubtful, _) = mpsc::channel(QUEUE);
        Some(Archiver { store, archive, clock, epoch: 0, owner, doubtful })
    }

    /// Waits until all that was written is archived.
    pub async fn let_archive(&self) {
        if self.archives.is_some() {
            sleep(ARCHIVED_WITHIN).await;
        }
    }
}
