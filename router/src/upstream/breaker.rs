//! Ejection of an instance that cannot be reached or sheds, for a time that doubles up to a bound. When the time is
//! up, one request is let through; the next ones follow only if that one does well.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits;

#[derive(Debug, Default)]
pub struct Breaker {
    failures: Cell<u32>,
    ejection: Cell<Duration>,
    until: Cell<Option<Instant>>,
}

impl Breaker {
    /// Whether a request may go there. A yes to an ejected instance is the probe, and puts off the next one.
    pub fn admits(&self, now: impl FnOnce() -> Instant) -> bool {
        let Some(until) = self.until.get() else { return true };
        let now = now();
        if now < until {
            return false;
        }
        self.until.set(Some(now + self.ejection.get()));
        true
    }

    pub fn succeeded(&self) {
        if self.failures.replace(0) > 0 {
            self.until.set(None);
            self.ejection.set(Duration::ZERO);
        }
    }

    pub fn could_not_connect(&self, now: Instant) -> bool {
        self.failed(now, limits::EJECT_AFTER_CONNECT_FAILURES)
    }

    pub fn shed(&self, now: Instant) -> bool {
        self.failed(now, limits::EJECT_AFTER_SHEDS)
    }

    /// True if this ejects the instance.
    fn failed(&self, now: Instant, threshold: u32) -> bool {
        self.failures.set(self.failures.get().saturating_add(1));
        let ejects = self.failures.get() >= threshold || self.until.get().is_some();
        if ejects {
            let ejection = (self.ejection.get() * 2).clamp(limits::EJECTION_MIN, limits::EJECTION_MAX);
            self.ejection.set(ejection);
            self.until.set(Some(now + ejection));
        }
        ejects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ejected_instance_is_probed_once_and_comes_back_when_it_does_well() {
        let (breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.admits(|| start));
        assert!(breaker.could_not_connect(start));
        assert!(!breaker.admits(|| start));
        let later = start + limits::EJECTION_MIN;
        assert!(breaker.admits(|| later), "the probe");
        assert!(!breaker.admits(|| later), "only one probe at a time");
        breaker.succeeded();
        assert!(breaker.admits(|| later));
    }

    #[test]
    fn ejections_grow_up_to_a_bound_and_single_sheds_do_not_eject() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        assert!(!breaker.shed(now));
        breaker.succeeded();
        for _ in 0..20 {
            breaker.could_not_connect(now);
        }
        assert!(!breaker.admits(|| now + limits::EJECTION_MAX - Duration::from_millis(1)));
        assert!(breaker.admits(|| now + limits::EJECTION_MAX));
    }
}
