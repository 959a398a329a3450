//! How many requests of one kind are worth having at once, found out from how long they take. Pure: the time comes in.
//!
//! Requests that only wait for one another make all slower and none done sooner. So the limit falls
//! while requests take more than a multiple of the shortest time seen lately, and rises while they
//! do not and the places are used: a gradient on latency, as in TCP Vegas. Group commit makes many
//! requests at once cheap on a hot wallet: there the time hardly rises, and the limit stays up.
//! Time outside counts as ours: a slow database is one that can do less at once.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// However slow it gets.
    pub least: u32,
    pub first: u32,
    pub most: u32,
}

/// The limit is reviewed after so much time and so many measured requests.
const WINDOW: Duration = Duration::from_millis(100);
const SAMPLES_MIN: u32 = 10;
/// Requests may take so many times the shortest time before the limit falls.
const TOLERANCE: f64 = 2.0;
/// How fast the shortest time is forgotten: it rises by a hundredth a second, so that a database that has become slower
/// for good is not fought for ever.
const FORGETTING_A_SECOND: f64 = 1.01;
/// Of one look: how far down at most, and how much of the way is gone down and up.
const GRADIENT_MIN: f64 = 0.5;
const DOWN: f64 = 0.5;
const UP: f64 = 0.2;
/// The limit rises only while at least this part of it is used.
const USED_MIN: f64 = 0.5;

#[derive(Debug, Clone)]
pub struct Limiter {
    bounds: Bounds,
    limit: f64,
    in_flight: u32,
    /// The shortest mean of a window, forgotten slowly; seconds.
    shortest: Option<f64>,
    window: Window,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    began: Duration,
    samples: u32,
    total: Duration,
    most_in_flight: u32,
}

impl Limiter {
    pub fn new(bounds: Bounds) -> Self {
        let limit = f64::from(bounds.first);
        Self { bounds, limit, in_flight: 0, shortest: None, window: Window::default() }
    }

    pub fn limit(&self) -> u32 {
        // Between the bounds, which are whole numbers of 32 bits.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let limit = self.limit as u32;
        limit
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub fn has_room(&self) -> bool {
        self.in_flight < self.limit()
    }

    pub fn enter(&mut self) {
        self.in_flight += 1;
        self.window.most_in_flight = self.window.most_in_flight.max(self.in_flight);
    }

    /// `took`: how long it took, if that tells something.
    pub fn leave(&mut self, now: Duration, took: Option<Duration>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(took) = took {
            self.window.samples += 1;
            self.window.total += took;
        }
        if self.window.samples >= SAMPLES_MIN && now.saturating_sub(self.window.began) >= WINDOW {
            let window = std::mem::replace(&mut self.window, Window { began: now, ..Window::default() });
            self.window.most_in_flight = self.in_flight;
            self.adjust(window, now.saturating_sub(window.began));
        }
    }

    fn adjust(&mut self, window: Window, lasted: Duration) {
        let mean = window.total.as_secs_f64() / f64::from(window.samples);
        let aged = self.shortest.map(|shortest| shortest * FORGETTING_A_SECOND.powf(lasted.as_secs_f64()));
        let shortest = aged.map_or(mean, |aged| aged.min(mean));
        self.shortest = Some(shortest);
        let gradient = if mean > 0.0 { (TOLERANCE * shortest / mean).clamp(GRADIENT_MIN, 1.0) } else { 1.0 };
        let wanted = self.limit * gradient + self.limit.sqrt();
        if wanted < self.limit {
            self.limit += (wanted - self.limit) * DOWN;
        } else if f64::from(window.most_in_flight) >= self.limit * USED_MIN {
            self.limit += (wanted - self.limit) * UP;
        }
        self.limit = self.limit.clamp(f64::from(self.bounds.least), f64::from(self.bounds.most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const BOUNDS: Bounds = Bounds { least: 8, first: 128, most: 512 };

    proptest! {
        #[test]
        fn the_limit_stays_in_its_bounds_and_no_place_is_lost(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..200_000, proptest::option::of(0_u64..10_000_000)), 1..3_000),
        ) {
            let mut limiter = Limiter::new(BOUNDS);
            let (mut now, mut inside) = (Duration::ZERO, 0_u32);
            for (comes, gap_us, took_us) in steps {
                now += Duration::from_micros(gap_us);
                if comes && limiter.has_room() {
                    limiter.enter();
                    inside += 1;
                } else if inside > 0 {
                    limiter.leave(now, took_us.map(Duration::from_micros));
                    inside -= 1;
                }
                prop_assert_eq!(limiter.in_flight(), inside);
                prop_assert!((BOUNDS.least..=BOUNDS.most).contains(&limiter.limit()));
                prop_assert!(inside <= BOUNDS.most);
            }
        }
    }

    /// One server that does `batch` requests at a time, each batch taking `service`; requests come every `every`.
    struct Outcome {
        done: u64,
        slowest: Duration,
        limit: u32,
    }

    fn run(
        limiter: &mut Limiter,
        from: Duration,
        seconds: u64,
        every: Duration,
        service: Duration,
        batch: usize,
    ) -> Outcome {
        let (end, mut next, mut free_at) = (from + Duration::from_secs(seconds), from, from);
        let mut queue: VecDeque<Duration> = VecDeque::new();
        let mut serving: Vec<Duration> = Vec::new();
        let (mut done, mut slowest) = (0, Duration::ZERO);
        while next < end {
            if !serving.is_empty() && free_at <= next {
                for came in serving.drain(..) {
                    limiter.leave(free_at, Some(free_at - came));
                    done += 1;
                    if free_at > from + Duration::from_secs(seconds / 2) {
                        slowest = slowest.max(free_at - came);
                    }
                }
            }
            if serving.is_empty() && !queue.is_empty() {
                free_at = free_at.max(queue[0]) + service;
                serving.extend(queue.drain(..batch.min(queue.len())));
                continue;
            }
            if limiter.has_room() {
                limiter.enter();
                queue.push_back(next);
            }
            next += every;
        }
        for _ in 0..serving.len() + queue.len() {
            limiter.leave(end, None);
        }
        Outcome { done, slowest, limit: limiter.limit() }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn five_times_the_load_is_served_at_full_rate_and_soon() {
        let mut limiter = Limiter::new(BOUNDS);
        run(&mut limiter, Duration::ZERO, 10, MS * 2, MS, 1);
        let Outcome { done, slowest, limit } = run(&mut limiter, MS * 10_000, 60, MS / 5, MS, 1);
        assert!(done > 59_000, "{done} of 60,000 possible");
        assert!(limit <= 16 && slowest <= MS * 20, "{limit} at once, the slowest took {slowest:?}");
        let calm = run(&mut limiter, MS * 70_000, 5, MS * 2, MS, 1);
        assert!(calm.done >= 2_490, "all are served right after: {}", calm.done);
    }

    #[test]
    fn a_hot_wallet_with_large_commits_keeps_its_places() {
        let mut limiter = Limiter::new(BOUNDS);
        run(&mut limiter, Duration::ZERO, 10, MS * 2, MS, 100);
        // Fifty come in the time of one commit, and all of them fit into the next one.
        let Outcome { done, limit, .. } = run(&mut limiter, MS * 10_000, 20, MS / 50, MS, 100);
        assert!(done > 990_000, "{done} of 1,000,000");
        assert!(limit >= 100, "{limit}");
    }

    #[test]
    fn a_slow_database_lowers_the_limit_and_a_sound_one_raises_it() {
        let mut limiter = Limiter::new(BOUNDS);
        run(&mut limiter, Duration::ZERO, 5, MS, MS, 4);
        let slow = run(&mut limiter, MS * 5_000, 10, MS, MS * 100, 4);
        assert_eq!(slow.limit, BOUNDS.least);
        let well = run(&mut limiter, MS * 15_000, 30, MS / 3, MS, 4);
        assert!(well.limit > BOUNDS.least, "{}", well.limit);
    }
}
