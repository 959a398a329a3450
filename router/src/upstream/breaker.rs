//! Ejection of an instance that cannot be reached, sheds, fails or hangs, for a time that doubles up to a bound. When the
//! time is up, one request is let through, and the next ones follow only if that one does well. To an instance that hangs
//! no request of a client is sent: a probe of the router's own takes it back.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::limits;

#[derive(Debug, Default)]
pub struct Breaker {
    failures: Cell<u32>,
    ejection: Cell<Duration>,
    until: Cell<Option<Instant>>,
    is_hung: Cell<bool>,
}

impl Breaker {
    /// Whether a request may go there. A yes to an ejected instance is the probe, and puts off the next one.
    pub fn admits(&self, now: impl FnOnce() -> Instant) -> bool {
        let Some(until) = self.until.get() else { return true };
        if self.is_hung.get() {
            return false;
        }
        let now = now();
        if now < until {
            return false;
        }
        self.until.set(Some(now + self.ejection.get()));
        true
    }

    pub fn is_ejected(&self) -> bool {
        self.until.get().is_some()
    }

    /// Not ejected, and its last request did not fail.
    pub fn is_sound(&self) -> bool {
        self.failures.get() == 0 && !self.is_ejected()
    }

    pub fn is_hung(&self) -> bool {
        self.is_hung.get()
    }

    /// Whether it is ejected because it hangs, and it is time to ask it again whether it lives.
    pub fn is_probe_due(&self, now: Instant) -> bool {
        self.is_hung.get() && self.until.get().is_none_or(|until| until <= now)
    }

    pub fn succeeded(&self) {
        if self.failures.replace(0) > 0 || self.is_hung.get() {
            self.is_hung.set(false);
            self.until.set(None);
            self.ejection.set(Duration::ZERO);
        }
    }

    pub fn could_not_connect(&self, now: Instant) -> bool {
        self.failed_before(now, limits::EJECT_AFTER_CONNECT_FAILURES, || true)
    }

    pub fn shed(&self, now: Instant) -> bool {
        self.failed_before(now, limits::EJECT_AFTER_SHEDS, || true)
    }

    /// A request failed there; `may` says whether the cell can do without the instance.
    pub fn failed(&self, now: Instant, may: impl FnOnce() -> bool) -> bool {
        self.failed_before(now, limits::EJECT_AFTER_FAILURES, may)
    }

    /// It did not answer a probe.
    pub fn hangs(&self, now: Instant) {
        self.is_hung.set(true);
        self.eject(now);
    }

    /// True if this ejects the instance.
    fn failed_before(&self, now: Instant, threshold: u32, may: impl FnOnce() -> bool) -> bool {
        self.failures.set(self.failures.get().saturating_add(1));
        let ejects = self.is_ejected() || (self.failures.get() >= threshold && may());
        if ejects {
            self.eject(now);
        }
        ejects
    }

    fn eject(&self, now: Instant) {
        let ejection = (self.ejection.get() * 2).clamp(limits::EJECTION_MIN, limits::EJECTION_MAX);
        self.ejection.set(ejection);
        self.until.set(Some(now + ejection));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ejected_instance_is_probed_once_before_it_returns() {
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

    #[test]
    fn failures_in_a_row_eject_where_the_cell_can_do_without() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 1..limits::EJECT_AFTER_FAILURES {
            assert!(!breaker.failed(now, || true));
        }
        breaker.succeeded();
        for _ in 0..3 * limits::EJECT_AFTER_FAILURES {
            assert!(!breaker.failed(now, || false), "nothing else is left");
        }
        assert!(breaker.failed(now, || true));
    }

    #[test]
    fn an_instance_that_hangs_gets_no_request_until_it_answers() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        breaker.hangs(now);
        assert!(!breaker.is_probe_due(now));
        let later = now + limits::EJECTION_MAX;
        assert!(breaker.is_probe_due(later) && !breaker.admits(|| later), "ours to probe");
        breaker.succeeded();
        assert!(breaker.admits(|| later) && breaker.is_sound());
    }
}
