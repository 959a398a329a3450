//! How fast a mover goes: so many wallets at once, so many bytes a second, and slower by itself while the source's
//! tables answer slowly: customers are served from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Slower than the best by this factor and this much means that the source is under strain.
const STRAIN_FACTOR: u32 = 4;
const STRAIN_MIN: Duration = Duration::from_millis(15);
/// Weight of one answer in the running mean, as a power of two.
const MEAN_SHIFT: u32 = 4;
/// Between two changes of the number of wallets moved at once.
const ADJUST_EVERY: Duration = Duration::from_millis(200);

/// One for an operation; shared by all its groups and wallets, which may move side by side.
pub struct Pace {
    max_concurrent: usize,
    max_bytes_per_sec: Option<u64>,
    pub progress: Progress,
    meter: Mutex<Meter>,
    /// A wallet may move that could not before.
    freed: Notify,
}

struct Meter {
    best: Duration,
    mean: Duration,
    adjusted: Instant,
    concurrent: usize,
    /// Wallets that move now.
    moving: usize,
    /// When the bytes taken so far are paid for.
    paid_until: Instant,
}

/// Counted since this process began to work on the operation.
#[derive(Default)]
pub struct Progress {
    pub wallets: AtomicU64,
    pub blocks: AtomicU64,
    pub bytes: AtomicU64,
    /// Longest time from the `Moved` block in the source to the same block in the target, of all wallets.
    pub longest_cutover_micros: AtomicU64,
}

impl Progress {
    pub(super) fn moved_one(&self, cutover: Duration) {
        self.wallets.fetch_add(1, Ordering::Relaxed);
        metrics::histogram!("control_plane_cutover_seconds").record(cutover);
        let micros = u64::try_from(cutover.as_micros()).unwrap_or(u64::MAX);
        self.longest_cutover_micros.fetch_max(micros, Ordering::Relaxed);
    }

    pub(super) fn copied(&self, blocks: u64, bytes: u64) {
        self.blocks.fetch_add(blocks, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Pace {
    /// At most so many wallets at once, at least one, and so many bytes of blocks a second.
    pub fn new(max_concurrent: usize, max_bytes_per_sec: Option<u64>) -> Self {
        let now = Instant::now();
        let max_concurrent = max_concurrent.max(1);
        let meter = Meter {
            best: Duration::MAX,
            mean: Duration::ZERO,
            adjusted: now,
            concurrent: max_concurrent,
            moving: 0,
            paid_until: now,
        };
        let (progress, meter, freed) = (Progress::default(), Mutex::new(meter), Notify::new());
        Self { max_concurrent, max_bytes_per_sec, progress, meter, freed }
    }

    /// Wallets allowed at once now.
    pub fn concurrent(&self) -> usize {
        self.meter().concurrent
    }

    /// Wallets allowed at once while nothing is under strain.
    pub(super) fn max_concurrent(&self) -> usize {
        self.max_concurrent
    }

    /// Waits until one more wallet may move. It may for as long as the place is held.
    pub async fn place(&self) -> Place<'_> {
        while !self.meter().takes_one() {
            self.freed.notified().await;
        }
        Place(self)
    }

    /// Halves the wallets at once while the tables that answer are under strain, and gives back one at a time when it is not.
    pub fn source_answered(&self, after: Duration) {
        let mut meter = self.meter();
        meter.best = meter.best.min(after);
        meter.mean = meter.mean - meter.mean / (1 << MEAN_SHIFT) + after / (1 << MEAN_SHIFT);
        if meter.adjusted.elapsed() < ADJUST_EVERY {
            return;
        }
        meter.adjusted = Instant::now();
        let limit = STRAIN_MIN.max(meter.best * STRAIN_FACTOR);
        meter.concurrent = match meter.mean > limit {
            true => (meter.concurrent / 2).max(1),
            false => (meter.concurrent + 1).min(self.max_concurrent),
        };
        self.freed.notify_one();
    }

    /// Waits until these bytes are paid for.
    pub(super) async fn take_bytes(&self, bytes: u64) {
        let Some(rate) = self.max_bytes_per_sec.filter(|rate| *rate > 0) else { return };
        let wait = {
            let mut meter = self.meter();
            let begin = meter.paid_until.max(Instant::now());
            meter.paid_until = begin + Duration::from_secs_f64(bytes as f64 / rate as f64);
            begin.saturating_duration_since(Instant::now())
        };
        tokio::time::sleep(wait).await;
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    fn takes_one(&mut self) -> bool {
        let is_free = self.moving < self.concurrent;
        self.moving += usize::from(is_free);
        is_free
    }
}

/// The right of one wallet to move.
pub struct Place<'a>(&'a Pace);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.meter().moving -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_under_strain_gets_less_to_do_until_it_recovers() {
        let pace = Pace::new(8, None);
        let answer = |after: Duration| {
            pace.meter().adjusted = Instant::now() - ADJUST_EVERY;
            pace.source_answered(after);
        };
        answer(Duration::from_millis(1));
        assert_eq!(pace.concurrent(), 8);
        for _ in 0..64 {
            answer(Duration::from_millis(200));
        }
        assert_eq!(pace.concurrent(), 1);
        for _ in 0..128 {
            answer(Duration::from_millis(1));
        }
        assert_eq!(pace.concurrent(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_wallets_move_than_may_however_many_groups_do() {
        let pace = Pace::new(2, None);
        let most = std::sync::atomic::AtomicUsize::new(0);
        let wallets = (0..10).map(|number| {
            let (pace, most) = (&pace, &most);
            async move {
                let _place = pace.place().await;
                most.fetch_max(pace.meter().moving, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(number)).await;
            }
        });
        futures_util::future::join_all(wallets).await;
        assert_eq!((most.into_inner(), pace.meter().moving), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_paid_for_in_advance_of_the_next_ones() {
        let pace = Pace::new(1, Some(1_000));
        let began = Instant::now();
        pace.take_bytes(100).await;
        assert!(began.elapsed() < Duration::from_millis(50), "the first bytes do not wait");
        let paid = pace.meter().paid_until;
        assert!(paid > began + Duration::from_millis(90));
    }
}
