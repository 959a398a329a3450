//! A rate of writes a second, kept as the time at which its bucket will be full again (GCRA). Pure: the time comes in.

use std::time::Duration;

/// A burst is what comes in so long, and at least so many.
const WINDOW: Duration = Duration::from_millis(250);
const BURST_MIN: u32 = 16;
const SECOND: Duration = Duration::from_secs(1);

/// Too soon: how long until there is room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSoon(pub Duration);

#[derive(Debug, Clone)]
pub struct Bucket {
    /// What one write takes; zero: there is no limit.
    price: Duration,
    /// What the whole bucket takes to fill.
    whole: Duration,
    full_at: Duration,
}

impl Bucket {
    /// `a_second`: 0 is without limit.
    pub fn new(a_second: u32) -> Self {
        let price = SECOND.checked_div(a_second).unwrap_or_default();
        Self { price, whole: WINDOW.max(price * BURST_MIN), full_at: Duration::ZERO }
    }

    fn used(&self, now: Duration) -> Duration {
        self.full_at.saturating_sub(now)
    }

    pub fn take(&mut self, now: Duration) -> Result<(), TooSoon> {
        let used = self.used(now) + self.price;
        if let Some(over) = used.checked_sub(self.whole).filter(|over| !over.is_zero()) {
            return Err(TooSoon(over));
        }
        self.full_at = now + used;
        Ok(())
    }

    /// Takes one without asking: what must not be refused still uses up what others may do. The bucket remembers no more
    /// debt than it holds.
    pub fn charge(&mut self, now: Duration) {
        self.full_at = now + (self.used(now) + self.price).min(self.whole);
    }

    /// Whether more than one part in `parts` of the bucket is there.
    pub fn has_left(&self, now: Duration, parts: u32) -> bool {
        self.price.is_zero() || self.whole.saturating_sub(self.used(now)) > self.whole / parts.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_a_burst(
            rate in 1_u32..20_000,
            gaps_us in proptest::collection::vec(0_u64..20_000, 1..2_000),
        ) {
            let mut bucket = Bucket::new(rate);
            let (mut now, mut taken) = (Duration::ZERO, 0_u32);
            for gap in gaps_us {
                now += Duration::from_micros(gap);
                taken += u32::from(bucket.take(now).is_ok());
            }
            let burst = f64::from(rate).mul_add(WINDOW.as_secs_f64(), f64::from(BURST_MIN));
            prop_assert!(f64::from(taken) <= f64::from(rate).mul_add(now.as_secs_f64(), burst) + 1.0);
        }

        #[test]
        fn what_is_refused_is_allowed_when_it_was_said(rate in 1_u32..20_000) {
            let mut bucket = Bucket::new(rate);
            let wait = loop {
                if let Err(TooSoon(wait)) = bucket.take(Duration::ZERO) {
                    break wait;
                }
            };
            prop_assert!(bucket.take(wait.saturating_sub(Duration::from_nanos(1))).is_err());
            prop_assert!(bucket.take(wait).is_ok());
        }
    }

    #[test]
    fn a_steady_rate_or_no_rate_refuses_nothing() {
        let mut bucket = Bucket::new(1_000);
        assert!((0..5_000).all(|ms| bucket.take(Duration::from_millis(ms)).is_ok()));
        let mut free = Bucket::new(0);
        assert!((0..5_000).all(|_| free.take(Duration::ZERO).is_ok()) && free.has_left(Duration::ZERO, 2));
    }
}
