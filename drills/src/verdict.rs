//! What is checked after a drill, and what was found: the expectations of the drill, and those of every drill.
//!
//! It must never pass a check for want of anything to look at.

use std::time::Duration;

use load_generator::latency::Percentiles;
use load_generator::mix::Kind;
use load_generator::operation::Operation;
use load_generator::outcome::{Outcome, latencies};
use reconciliation::Reported;
use serde::Serialize;
use topology::wire::code;

use crate::books::Audit;
use crate::check::Check;
use crate::table::Expectation;
use crate::victims::Victims;

/// Phases of a drill's load. What is due before the first is there to warm the fleet up.
pub const BEFORE: &str = "before";
pub const DURING: &str = "during";
pub const AFTER: &str = "after";

/// No customer may see an error in this last part of the load.
const QUIET_END: Duration = Duration::from_secs(1);
/// Slower by this much, or with errors: else the event did not take place.
const FELT_TIMES: f64 = 2.0;
/// One answer this late was held up by the event.
const FELT_MS: f64 = 500.0;
/// What a healthy service may refuse the load, which sometimes asks for more than there is.
const USUAL_REFUSALS: [&str; 1] = [code::INSUFFICIENT_BALANCE];

/// p99 before and during an event, of the same customers.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Slowdown {
    pub before_p99_ms: f64,
    pub during_p99_ms: f64,
    pub times: f64,
}

/// `None`: one of the two phases has no answer to measure.
pub fn slowdown(outcome: &Outcome, of: impl Fn(&Operation) -> bool) -> Option<Slowdown> {
    let p99 = |phase| -> Option<f64> {
        let all: Option<Percentiles> = latencies(outcome.in_phase(phase).filter(|one| of(one))).percentiles();
        Some(all?.p99_ms)
    };
    let (before_p99_ms, during_p99_ms) = (p99(BEFORE)?, p99(DURING)?);
    Some(Slowdown { before_p99_ms, during_p99_ms, times: during_p99_ms / before_p99_ms.max(0.001) })
}

/// What holds in every drill, whatever is done to the fleet.
pub fn always(outcome: &Outcome) -> Vec<Check> {
    let sent = outcome.operations.len();
    let strange = |operation: &&Operation| match &operation.last {
        Reported::Refused(code) => !USUAL_REFUSALS.contains(&&**code),
        Reported::Returned => true,
        _ => false,
    };
    let refused = outcome.operations.iter().filter(|one| matches!(one.last, Reported::Refused(_))).count();
    let odd: Vec<&Operation> = outcome.operations.iter().filter(strange).collect();
    let found = match odd.first() {
        None => format!("{refused} refused, all for want of money"),
        Some(first) => format!("{} others, the first one {:?}", odd.len(), first.last),
    };
    vec![
        Check::drill(
            "the whole load was sent",
            outcome.not_sent == 0 && sent > 0,
            format!("{sent} requests, {} not sent", outcome.not_sent),
        ),
        Check::expectation("no permitted request was refused", odd.is_empty(), found),
    ]
}

pub fn judge(expectation: Expectation, victims: &Victims, outcome: &Outcome, audit: Option<&Audit>) -> Check {
    let errors = || outcome.operations.iter().filter(|operation| operation.first.is_error());
    match expectation {
        Expectation::NobodySeesAnError => {
            let count = errors().count();
            Check::expectation("no customer sees an error", count == 0, summed_up(count, errors().next()))
        }
        Expectation::OnlyTheVictim => {
            let outside: Vec<&Operation> = errors().filter(|one| !victims.are_needed(outcome, one)).collect();
            let found = format!(
                "{} errors, elsewhere: {}",
                errors().count(),
                summed_up(outside.len(), outside.first().copied())
            );
            Check::expectation(
                format!("only customers of {victims}, and their payers, may see errors"),
                outside.is_empty(),
                found,
            )
        }
        Expectation::VictimFelt => {
            let of_victim = |phase| outcome.in_phase(phase).filter(|one| victims.are_needed(outcome, one));
            let times =
                |phase| latencies(of_victim(phase)).percentiles().map_or((0.0, 0.0), |all| (all.p50_ms, all.max_ms));
            let failed = of_victim(DURING).filter(|one| one.first.is_error()).count();
            let ((before, _), (during, slowest)) = (times(BEFORE), times(DURING));
            let found = format!(
                "{failed} errors; p50 {before:.1} ms before, {during:.1} ms during; the slowest {slowest:.1} ms"
            );
            // An instance that hangs is soon left out: then only the first requests are slow.
            let felt = failed > 0 || during > before * FELT_TIMES || slowest > FELT_MS;
            Check::drill(&format!("the event was felt in {victims}"), felt, found)
        }
        Expectation::OthersAsFast { times, floor_ms } => {
            let name = format!(
                "p99 of customers of other cells during the event: at most {times} times that before, or {floor_ms} ms"
            );
            match slowdown(outcome, |one| !victims.are_needed(outcome, one)) {
                None => Check::expectation(name, false, "nothing to measure".to_owned()),
                Some(Slowdown { before_p99_ms, during_p99_ms, times: measured }) => {
                    let found =
                        format!("{before_p99_ms:.1} ms before, {during_p99_ms:.1} ms during: {measured:.2} times");
                    Check::expectation(name, measured <= times || during_p99_ms <= floor_ms, found)
                }
            }
        }
        Expectation::NewcomersServed => {
            let asked: Vec<_> = outcome.in_phase(DURING).filter(|one| one.kind == Kind::Creates).collect();
            let done = asked.iter().filter(|one| one.last.is_done()).count();
            let found = format!("{done} of {} creations during the event", asked.len());
            Check::expectation("new customers get their wallets", done > 0 && done == asked.len(), found)
        }
        Expectation::Recovered => {
            let quiet_us = u64::try_from(QUIET_END.as_micros()).unwrap_or(u64::MAX);
            let from = outcome.lasted_us.saturating_sub(quiet_us);
            let (mut late, last) = (errors().filter(|one| one.due_us >= from), errors().next_back());
            let found = match last {
                None => "no error at all".to_owned(),
                Some(last) => format!(
                    "last error due {:.1} s before the end",
                    seconds(outcome.lasted_us - last.due_us.min(outcome.lasted_us))
                ),
            };
            let asked = outcome.operations.iter().any(|one| one.due_us >= from);
            Check::expectation("no customer sees an error in the last second", asked && late.next().is_none(), found)
        }
        Expectation::VictimEmpty => {
            let left = audit
                .map(|audit| audit.homes.iter().filter(|(cell, _)| victims.have(cell)).map(|(_, n)| n).sum::<u64>());
            let found =
                left.map_or_else(|| "the books could not be read".to_owned(), |left| format!("{left} wallets left"));
            Check::expectation(format!("no wallet lives in {victims} any more"), left == Some(0), found)
        }
        Expectation::SomeMoved => {
            let moved = audit.map_or(0, |audit| audit.totals.moved_wallets);
            Check::expectation("wallets were moved", moved > 0, format!("{moved} moved"))
        }
    }
}

fn summed_up(count: usize, first: Option<&Operation>) -> String {
    match first {
        None => "none".to_owned(),
        Some(first) => {
            let code = first.first.code().unwrap_or_default();
            format!("{count}, the first at {:.1} s ({}, {code})", seconds(first.due_us), first.kind.name())
        }
    }
}

#[allow(clippy::cast_precision_loss)]
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}
