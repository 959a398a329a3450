//! The edge's clock and randomness. Everything else gets them as values; a simulation hands in its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::Timestamp;

/// Where "now" and every random choice of one process come from. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    seed: Arc<AtomicU64>,
}

impl Clock {
    /// The machine's clock, and a seed that nobody chose.
    #[allow(clippy::disallowed_methods, reason = "the edge: the one place that reads the clock")]
    pub fn system() -> Self {
        Self::new(fastrand::u64(..), || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        })
    }

    pub fn new(seed: u64, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), seed: Arc::new(AtomicU64::new(seed)) }
    }

    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// A generator of its own for each caller, in a fixed order from the seed.
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    /// A transaction id whose leading bits are the time, as UUIDv7 has it: what happened later sorts later, and a
    /// transfer's block can be found from its id.
    pub fn transaction_id(&self) -> uuid::Uuid {
        let millis = u64::try_from(self.now().micros() / 1_000).unwrap_or(0);
        let mut random = self.random();
        let mut bytes = [0_u8; 10];
        bytes.fill_with(|| random.u8(..));
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }
}

/// The time a transaction id was made, in whole milliseconds; `None` if it is not one of ours.
pub fn time_of(id: uuid::Uuid) -> Option<Timestamp> {
    if id.get_version_num() != 7 {
        return None;
    }
    let millis = id.as_u128() >> 80;
    Some(Timestamp::from_micros(i64::try_from(millis).ok()?.checked_mul(1_000)?))
}
