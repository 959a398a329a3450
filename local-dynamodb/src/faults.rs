//! Faults that a test asks for: slow, throttled, conflicting, unavailable, or an answer lost after the commit.
//!
//! Seeded, so that a run can be repeated. It must never act unless asked: with no plan the cost is one atomic load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Body of `/_faults`. Percentages are 0 to 100; `operations` empty means all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    pub latency_ms: u64,
    /// Instead of `latency_ms`, for the operations that it names: a transaction takes longer than a put.
    pub latency_ms_by_operation: BTreeMap<String, u64>,
    pub throttle_percent: u8,
    /// `TransactionCanceledException` with reasons `TransactionConflict`; only `TransactWriteItems`.
    pub conflict_percent: u8,
    /// The call is carried out and then answered with 500.
    pub lost_answer_percent: u8,
    /// Everything is refused with 500.
    pub unavailable: bool,
    /// So many writes are carried out; the next one and all after it get no answer for as long as
    /// this plan is in force.
    pub hang_after_writes: Option<u64>,
    /// The first write that gets no answer is carried out all the same.
    pub hang_applied: bool,
    pub operations: Vec<String>,
    pub seed: u64,
}

impl Plan {
    fn is_nothing(&self) -> bool {
        self.latency_ms == 0
            && self.latency_ms_by_operation.is_empty()
            && self.throttle_percent == 0
            && self.conflict_percent == 0
            && self.lost_answer_percent == 0
            && !self.unavailable
            && self.hang_after_writes.is_none()
    }

    fn latency(&self, operation: &str) -> Option<Duration> {
        let millis = self.latency_ms_by_operation.get(operation).copied().unwrap_or(self.latency_ms);
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}

/// What befalls one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Unavailable,
    Throttle,
    Conflict,
    LoseAnswer,
    /// No answer; carried out all the same if `applied`.
    Hang {
        applied: bool,
    },
}

const WRITES: [&str; 5] = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];
/// A call that hangs is answered after this long even if the plan does not change.
const HANG_MAX: Duration = Duration::from_secs(120);

#[derive(Default)]
pub struct Faults {
    active: AtomicBool,
    plan: RwLock<Arc<Plan>>,
    dice: Mutex<Option<fastrand::Rng>>,
    /// Writes seen under this plan.
    writes: AtomicU64,
    changed: Notify,
}

impl Faults {
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, plan: Plan) {
        let active = !plan.is_nothing();
        *self.dice.lock().unwrap_or_else(PoisonError::into_inner) = Some(fastrand::Rng::with_seed(plan.seed));
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
        self.writes.store(0, Ordering::Release);
        self.active.store(active, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Writes that were let hang under this plan.
    pub fn hung(&self) -> u64 {
        let allowed = self.plan().hang_after_writes;
        allowed.map_or(0, |allowed| self.writes.load(Ordering::Acquire).saturating_sub(allowed))
    }

    /// Until the plan changes.
    pub async fn hang(&self) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if self.plan().hang_after_writes.is_some() {
            let _ = tokio::time::timeout(HANG_MAX, changed).await;
        }
    }

    /// The delay and the fault of the next call of `operation`.
    pub fn next(&self, operation: &str) -> (Option<Duration>, Option<Fault>) {
        if !self.active.load(Ordering::Acquire) {
            return (None, None);
        }
        let plan = self.plan();
        if !plan.operations.is_empty() && !plan.operations.iter().any(|name| name == operation) {
            return (None, None);
        }
        (plan.latency(operation), self.roll(&plan, operation))
    }

    fn roll(&self, plan: &Plan, operation: &str) -> Option<Fault> {
        if plan.unavailable {
            return Some(Fault::Unavailable);
        }
        if let Some(allowed) = plan.hang_after_writes
            && WRITES.contains(&operation)
        {
            let before = self.writes.fetch_add(1, Ordering::AcqRel);
            if before >= allowed {
                return Some(Fault::Hang { applied: plan.hang_applied && before == allowed });
            }
        }
        let mut guard = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let dice = guard.get_or_insert_with(|| fastrand::Rng::with_seed(plan.seed));
        let mut falls = |percent: u8| percent > 0 && dice.u8(0..100) < percent;
        if falls(plan.throttle_percent) {
            Some(Fault::Throttle)
        } else if operation == "TransactWriteItems" && falls(plan.conflict_percent) {
            Some(Fault::Conflict)
        } else if falls(plan.lost_answer_percent) {
            Some(Fault::LoseAnswer)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_gives_each_operation_its_own_latency() {
        let delays_ms = |plan: &str| {
            let faults = Faults::default();
            faults.set(serde_json::from_str(plan).expect("a plan"));
            ["PutItem", "TransactWriteItems", "GetItem"].map(|operation| {
                let (delay, fault) = faults.next(operation);
                assert_eq!(fault, None);
                delay.map_or(0, |delay| delay.as_millis())
            })
        };
        let by_operation = r#""latency_ms_by_operation": {"PutItem": 7, "TransactWriteItems": 25}"#;
        assert_eq!(delays_ms(&format!("{{{by_operation}}}")), [7, 25, 0]);
        assert_eq!(delays_ms(&format!(r#"{{"latency_ms": 2, {by_operation}}}"#)), [7, 25, 2]);
        assert_eq!(delays_ms(&format!(r#"{{"operations": ["PutItem"], {by_operation}}}"#)), [7, 0, 0]);
        assert_eq!(delays_ms(r#"{"latency_ms": 2, "operations": ["PutItem"]}"#), [2, 0, 0]);
    }
}
