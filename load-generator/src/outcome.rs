//! The answers that a load got, and what is computed from them: latencies and errors by phase, by
//! customer, over time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::latency::{Latencies, Percentiles};
use crate::operation::{Customer, Operation};

/// Requests due from here to the next phase belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Phase {
    pub name: &'static str,
    /// Microseconds since the load began.
    pub begin_us: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Idempotency keys and users of the load begin with it.
    pub run: String,
    pub began_at: String,
    pub customers: Vec<Customer>,
    /// What gave the customers their wallets and their first money.
    pub setup: Vec<Operation>,
    /// In the order in which they fell due.
    pub operations: Vec<Operation>,
    pub phases: Vec<Phase>,
    /// Requests that fell due, sent or not.
    pub due: u64,
    pub not_sent: u64,
    pub lasted_us: u64,
    /// By how much the load itself was late in sending.
    pub late: Option<Percentiles>,
}

/// From the first error that one customer saw to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Troubled {
    pub customer: usize,
    pub errors: u64,
    pub first_us: u64,
    pub last_us: u64,
}

/// A slice of time, for a chart.
#[derive(Debug, Clone, Serialize)]
pub struct Slice {
    pub begin_ms: u64,
    pub requests: u64,
    pub errors: u64,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Of customers without errors.
    pub unharmed_p99_ms: Option<f64>,
}

impl Outcome {
    /// Requests that fell due in a phase.
    pub fn in_phase<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Operation> {
        let position = self.phases.iter().position(|phase| phase.name == name);
        let begin = position.map_or(u64::MAX, |position| self.phases[position].begin_us);
        let next = position.and_then(|position| self.phases.get(position + 1));
        let end = next.map_or(u64::MAX, |phase| phase.begin_us);
        self.operations.iter().filter(move |operation| (begin..end).contains(&operation.due_us))
    }

    /// Customers with errors, those with the longest trouble first.
    pub fn troubled(&self) -> Vec<Troubled> {
        let mut all: BTreeMap<usize, Troubled> = BTreeMap::new();
        for operation in self.operations.iter().filter(|operation| operation.first.is_error()) {
            let fresh = Troubled { customer: operation.customer, errors: 0, first_us: operation.due_us, last_us: 0 };
            let one = all.entry(operation.customer).or_insert(fresh);
            one.errors += 1;
            one.last_us = one.last_us.max(operation.answered_us);
        }
        let mut all: Vec<Troubled> = all.into_values().collect();
        all.sort_by_key(|one| std::cmp::Reverse((one.last_us.saturating_sub(one.first_us), one.errors)));
        all
    }

    /// The load in slices of `width`.
    pub fn slices(&self, width: Duration) -> Vec<Slice> {
        let width_us = u64::try_from(width.as_micros()).unwrap_or(u64::MAX).max(1);
        let harmed: std::collections::BTreeSet<usize> = self.troubled().iter().map(|one| one.customer).collect();
        let mut slices = Vec::new();
        // Requests are in the order in which they fell due, so that those of a slice stand together.
        for together in self.operations.chunk_by(|a, b| a.due_us / width_us == b.due_us / width_us) {
            let all = latencies(together.iter()).percentiles();
            let unharmed = together.iter().filter(|operation| !harmed.contains(&operation.customer));
            slices.push(Slice {
                begin_ms: together[0].due_us / width_us * width_us / 1_000,
                requests: together.len() as u64,
                errors: together.iter().filter(|operation| operation.first.is_error()).count() as u64,
                p50_ms: all.map(|all| all.p50_ms),
                p99_ms: all.map(|all| all.p99_ms),
                unharmed_p99_ms: latencies(unharmed).percentiles().map(|all| all.p99_ms),
            });
        }
        slices
    }
}

/// Of answers that a customer can use: done or refused. An error has no latency, it has a count.
pub fn latencies<'a>(operations: impl Iterator<Item = &'a Operation>) -> Latencies {
    Latencies::of(operations.filter(|operation| !operation.last.is_error()).map(Operation::latency_us))
}

#[cfg(test)]
mod tests {
    use ledger::Money;
    use reconciliation::Reported;

    use super::super::mix::Kind;
    use super::*;

    fn operation(number: u64, customer: usize, due_ms: u64, took_ms: u64, failed: bool) -> Operation {
        let reported = if failed { Reported::Unknown("no_answer".into()) } else { Reported::Done(None) };
        Operation {
            number,
            kind: Kind::Deposits,
            customer,
            payee: None,
            amount: Money::MIN_AMOUNT,
            due_us: due_ms * 1_000,
            answered_us: (due_ms + took_ms) * 1_000,
            attempts: 1,
            first: reported.clone(),
            last: reported,
        }
    }

    fn outcome() -> Outcome {
        let phase = |name, begin_ms: u64| Phase { name, begin_us: begin_ms * 1_000 };
        Outcome {
            operations: vec![
                operation(0, 0, 0, 5, false),
                operation(1, 1, 100, 50, true),
                operation(2, 0, 150, 7, false),
                operation(3, 1, 900, 100, true),
                operation(4, 2, 1_000, 9, true),
            ],
            phases: vec![phase("before", 100), phase("during", 900)],
            ..Outcome::default()
        }
    }

    #[test]
    fn a_request_belongs_to_the_phase_it_fell_due_in() {
        let outcome = outcome();
        let numbers = |name| outcome.in_phase(name).map(|operation| operation.number).collect::<Vec<_>>();
        assert_eq!((numbers("before"), numbers("during"), numbers("after")), (vec![1, 2], vec![3, 4], vec![]));
    }

    #[test]
    fn trouble_lasts_from_the_first_error_to_the_last() {
        let troubled = outcome().troubled();
        let spans: Vec<_> = troubled.iter().map(|one| (one.customer, one.errors, one.last_us - one.first_us)).collect();
        assert_eq!(spans, vec![(1, 2, 900_000), (2, 1, 9_000)]);
    }

    #[test]
    fn slices_count_errors_apart_from_latencies() {
        let slices = outcome().slices(Duration::from_millis(500));
        let short: Vec<_> = slices.iter().map(|slice| (slice.begin_ms, slice.requests, slice.errors)).collect();
        assert_eq!(short, vec![(0, 3, 1), (500, 1, 1), (1_000, 1, 1)]);
        assert_eq!(slices[1].p99_ms, None);
        assert!(slices[0].p99_ms.is_some_and(|ms| (6.9..7.1).contains(&ms)));
    }
}
