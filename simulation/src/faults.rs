//! Which calls fail, and how: drawn from the seed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ledger::store::memory::{Fate, Fault, FaultPlan};

/// A write on its way lands at most this long after its sender was told nothing.
pub const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// Faults of one store or network, until they are switched off for good.
pub struct Faults {
    random: Mutex<fastrand::Rng>,
    healed: Arc<AtomicBool>,
    /// Of a thousand calls, how many fail. Differs by seed: a run with few faults goes other ways than one with many.
    per_mille: u32,
    pub calls: AtomicU64,
    pub faults: AtomicU64,
}

impl Faults {
    pub fn new(mut random: fastrand::Rng, healed: Arc<AtomicBool>) -> Self {
        let per_mille = random.u32(0..150);
        Self { random: Mutex::new(random), healed, per_mille, calls: AtomicU64::new(0), faults: AtomicU64::new(0) }
    }
}

impl FaultPlan for Faults {
    fn next(&self, write: bool) -> Fate {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut micros = |most: u64| Duration::from_micros(random.u64(1..most));
        let (before, after) = (micros(4_000), micros(4_000));
        if self.healed.load(Ordering::Relaxed) || random.u32(0..1_000) >= self.per_mille {
            return Fate { before, fault: Fault::None, after };
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        let fault = match random.u32(0..4) {
            0 => Fault::Refused,
            1 | 2 if write => Fault::AnswerLost,
            3 if write => {
                let longest = if random.bool() { 20_000 } else { LONGEST_DELAY.as_micros() as u64 };
                Fault::LandsLater(Duration::from_micros(random.u64(1..longest)))
            }
            // A slow call is no failed one, but everybody else overtakes it.
            _ => return Fate { before: before * 200, fault: Fault::None, after: after * 200 },
        };
        Fate { before, fault, after }
    }
}
