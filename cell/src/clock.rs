//! The edge's clock and randomness. Everything else gets them as values; a simulation hands in its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::fence::CLOCK_SKEW_MAX;
use ledger::{Timestamp, WalletKey};
use ring::rand::{SecureRandom, SystemRandom};

/// The earliest and the latest time that it may be now by another clock; `None` where that is not known.
type Reference = dyn Fn() -> Option<(Timestamp, Timestamp)> + Send + Sync;

/// Where "now" and every random choice of one process come from. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    reference: Option<Arc<Reference>>,
    seed: Arc<AtomicU64>,
    /// Of a process: secrets come from the machine's generator, not from the seed.
    is_secret: bool,
}

/// The clock of this process, or a block, is too far from the time of the database for a write to be dated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clock is {:.1} s from the database's time", *.micros as f64 / 1_000_000.0)]
pub struct ClockSkew {
    /// Positive: ahead of the database.
    pub micros: i64,
}

impl Clock {
    /// The machine's clock, and a random seed.
    #[allow(clippy::disallowed_methods, reason = "the edge: the one place that reads the clock")]
    pub fn system() -> Self {
        let clock = Self::new(fastrand::u64(..), || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        });
        Self { is_secret: true, ..clock }
    }

    pub fn new(seed: u64, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now), reference: None, seed: Arc::new(AtomicU64::new(seed)), is_secret: false }
    }

    /// The same clock, compared with the time of a database: see [`Clock::check`].
    pub fn with_reference(
        self,
        reference: impl Fn() -> Option<(Timestamp, Timestamp)> + Send + Sync + 'static,
    ) -> Self {
        Self { reference: Some(Arc::new(reference)), ..self }
    }

    /// How far this clock is from the reference, in microseconds; positive: ahead of it.
    pub fn skew_micros(&self) -> i64 {
        self.skew_of(self.now())
    }

    /// Whether this clock, and a new block that bears `at`, can be trusted to about [`CLOCK_SKEW_MAX`]. A write dated
    /// otherwise would end holds and keys at a wrong time, and pull every later block of its chain along; one that is
    /// dated too early would be missed by all that looks for what was done since a time.
    pub fn check(&self, at: Timestamp) -> Result<(), ClockSkew> {
        let most = i64::try_from(CLOCK_SKEW_MAX.as_micros()).unwrap_or(i64::MAX);
        let (clock, block) = (self.skew_micros(), self.skew_of(at));
        // The clock may have been set right since the block was made.
        let found = [clock, block].into_iter().find(|micros| micros.abs() > most);
        found.map_or(Ok(()), |micros| Err(ClockSkew { micros }))
    }

    fn skew_of(&self, at: Timestamp) -> i64 {
        let Some((earliest, latest)) = self.reference.as_ref().and_then(|reference| reference()) else { return 0 };
        let (at, earliest, latest) = (at.micros(), earliest.micros(), latest.micros());
        (at - latest).max(0) + (at - earliest).min(0)
    }

    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// A generator of its own for each caller, in a fixed order from the seed.
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    /// The key of a new wallet.
    pub fn wallet_key(&self) -> WalletKey {
        let mut bytes = [0; WalletKey::BYTES];
        if self.is_secret {
            SystemRandom::new().fill(&mut bytes).expect("the machine has a source of randomness");
        } else {
            self.random().fill(&mut bytes);
        }
        WalletKey::from_bytes(bytes)
    }

    /// A transaction id with the time in its leading bits, as UUIDv7 has it: what happened later
    /// sorts later, and a transfer's block can be found from its id.
    ///
    /// A clock that is far from the database's gives an id the time of the database: the entry may be committed after
    /// the clock has been set right, and is looked for around the time in its id.
    pub fn transaction_id(&self) -> uuid::Uuid {
        let now = self.now();
        let trusted = now.plus_micros(self.skew_of(now).saturating_neg());
        let millis = u64::try_from(trusted.micros() / 1_000).unwrap_or(0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_seconds_away_from_the_database_is_not_trusted() {
        const SECOND: i64 = 1_000_000;
        let noon = Timestamp::from_micros(1_800_000_000 * SECOND);
        let clock = |ahead: i64| Clock::new(1, move || noon.plus_micros(ahead * SECOND));
        let compared = |ahead| clock(ahead).with_reference(move || Some((noon, noon.plus_micros(SECOND))));
        assert_eq!(clock(3_600).check(noon), Ok(()), "nothing to compare it with");
        for ahead in [-5, 0, 5, 6] {
            assert_eq!(compared(ahead).check(noon), Ok(()), "{ahead} s ahead");
        }
        let minted = time_of(compared(3_600).transaction_id()).expect("one of ours");
        assert_eq!(minted, noon.plus_micros(SECOND), "the database's time, not that of a clock an hour ahead");
        assert_eq!(compared(3_600).check(noon), Err(ClockSkew { micros: 3_599 * SECOND }));
        assert_eq!(compared(-6).check(noon), Err(ClockSkew { micros: -6 * SECOND }));
        let tomorrow = noon.plus_micros(86_400 * SECOND);
        assert_eq!(compared(0).check(tomorrow), Err(ClockSkew { micros: 86_399 * SECOND }), "the newest block is");
        let yesterday = noon.plus_micros(-86_400 * SECOND);
        assert_eq!(
            compared(0).check(yesterday),
            Err(ClockSkew { micros: -86_400 * SECOND }),
            "made before the clock was set right"
        );
    }
}
