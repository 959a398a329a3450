//! Which calls fail, and how: drawn from the seed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::memory::{Fate, Fault, FaultPlan};

/// A write on its way lands at most this long after its sender gave up.
pub const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// How old a head may be when a write that was decided on it is sent.
pub const HEAD_LIFETIME: Duration = Duration::from_secs(120);
/// A process is stopped for at most this long just before it sends a write: many times the head's lifetime.
pub const LONGEST_STALL: Duration = Duration::from_secs(600);

/// Faults of one store or network, until they are switched off for good.
pub struct Faults {
    random: Mutex<fastrand::Rng>,
    healed: Arc<AtomicBool>,
    /// Of a thousand calls, how many fail. Differs by seed: a run with few faults goes other ways than one with many.
    per_mille: u32,
    /// Whether writes are stalled before they are sent, too.
    stalls: bool,
    pub calls: AtomicU64,
    pub faults: AtomicU64,
}

impl Faults {
    pub fn new(mut random: fastrand::Rng, healed: Arc<AtomicBool>) -> Self {
        let per_mille = random.u32(0..150);
        let (calls, faults) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { random: Mutex::new(random), healed, per_mille, stalls: false, calls, faults }
    }

    /// Of calls that take their time and never fail.
    pub fn none(random: fastrand::Rng) -> Self {
        Self { per_mille: 0, ..Self::new(random, Arc::default()) }
    }

    /// The same, of a process that is stopped now and then, and woken when much has changed.
    pub fn with_stalls(self) -> Self {
        Self { stalls: true, ..self }
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
        if write && self.stalls && random.u32(0..5) == 0 {
            let stall = Duration::from_micros(random.u64(1..LONGEST_STALL.as_micros() as u64));
            return Fate { before: stall, fault: Fault::None, after };
        }
        let fault = match random.u32(0..4) {
            0 => Fault::Refused,
            1 | 2 if write => Fault::AnswerLost,
            3 if write => {
                let longest = if random.bool() { 20_000 } else { LONGEST_DELAY.as_micros() as u64 };
                Fault::LandsLater(Duration::from_micros(random.u64(1..longest)))
            }
            // A slow call is no failed one, but all others overtake it.
            _ => return Fate { before: before * 200, fault: Fault::None, after: after * 200 },
        };
        Fate { before, fault, after }
    }
}
