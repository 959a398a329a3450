//! Which owners of wallets were changed by a process that had the job: only of these it is known what must be there.
//!
//! A process that lost the job, and does not know yet, may change an owner after the one that has it. It looks again when it
//! is done; if it ends before that, what it did stays.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use object_store::path::Path;
use tokio::time::Instant;

use crate::world::guard;

/// A process that lost the job has it again after that long, at the earliest: the lease.
const LEASE: Duration = Duration::from_secs(4);

/// By which process each owner was changed last, and when, and whether that appended to the log soon afterwards.
#[derive(Default)]
pub struct Touched(Mutex<BTreeMap<Path, Touch>>);

struct Touch {
    process: u64,
    at: Instant,
    had_job: bool,
}

impl Touched {
    pub fn owner(&self, process: u64, owner: &Path) {
        guard(&self.0).insert(owner.clone(), Touch { process, at: Instant::now(), had_job: false });
    }

    /// What a process did to owners before it appended an entry was right.
    pub fn appended(&self, process: u64) {
        let mut touches = guard(&self.0);
        let of_process = touches.values_mut().filter(|touch| touch.process == process);
        of_process.filter(|touch| touch.at.elapsed() < LEASE).for_each(|touch| touch.had_job = true);
    }

    pub fn is_by_a_process_without_the_job(&self, owner: &Path) -> bool {
        guard(&self.0).get(owner).is_some_and(|touch| !touch.had_job)
    }
}
