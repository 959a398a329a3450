//! What a wave's figures say of its version, against the same cells or routers before and the others meanwhile. Pure;
//! docs/adr/0017 says why it is done so.
//!
//! It must never call a version sound for want of requests, of the version or of what it is compared with: it says how many
//! it needs. Where the controls cannot show a rise, few or failing, the version's own errors have to rule it out.

use control_api::{DeployLimits, Says, Verdict};
use topology::slo::Slo;

use super::figures::{Counts, Figures};
use super::statistics::{Errors, NEEDED_MAX, errors_met, least_requests, more_errors, slower};

/// A version that is no worse is taken back by chance in one wave of so many, at most: 1 in 100.
const ALPHA: f64 = 0.01;
/// A rise as large as the limits say is noticed with this probability.
const POWER: f64 = 0.9;
/// Where only its own errors say it, a version that fails as often as the rise alone passes a look by chance: 1 in 1,000.
/// Looks follow one another, so this is far below what [`POWER`] leaves.
const SURE: f64 = 0.999;
/// The figures of one wave are looked at so often, at most.
pub const LOOKS_MAX: u32 = 200;
/// Routes, each compared in three ways with two controls: each look is so many tests at most.
const TESTS_MAX: f64 = 6.0 * 32.0;
/// Of two controls one has to show it beyond doubt, and the other one at least so much.
const AGREES: f64 = 0.1;
/// Of the rise that has to be noticed, a rise of a route below this part is ignored.
const RISE_PART: f64 = 0.1;
/// Of the answers to a route so many percent may be later than its objective, and a rise by as many is a rise.
const LATE_PERCENT: f64 = 1.0;
/// In the mean at least so many times as long, to be called slower.
const SLOWER_TIMES: f64 = 1.3;
/// Fewer measured times than this tell nothing.
const TIMED_MIN: u64 = 30;
/// What all requests together are called, beside the routes.
const ALL: &str = "all requests";

/// The version's figures, and what they are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub wave: &'a Figures,
    /// What runs the old version, meanwhile.
    pub others: &'a Figures,
    /// What is in the wave, before.
    pub before: &'a Figures,
}

/// Each test may err so often: neither looks nor routes have a rate of their own, so all of them
/// together keep to [`ALPHA`].
fn alpha() -> f64 {
    ALPHA / (f64::from(LOOKS_MAX) * TESTS_MAX)
}

pub fn judge(seen: Seen<'_>, limits: &DeployLimits, looks: u32) -> Verdict {
    let Seen { wave, others, before } = seen;
    let mut findings: Vec<String> = vec![];
    let wholes = (ALL, wave.whole(), others.whole(), before.whole());
    let nothing = Counts::default();
    for (route, counts) in &wave.0 {
        let of = |figures: &Figures| figures.0.get(route).unwrap_or(&nothing).clone();
        findings.extend(compared(route, counts, [&of(others), &of(before)], limits));
    }
    // Of all together only errors: their times differ by what is asked.
    if findings.is_empty() {
        findings.extend(errors(ALL, &wholes.1, [&wholes.2, &wholes.3], limits));
    }
    let controls = [wholes.2.errors(), wholes.3.errors()];
    let (tried, has) = (wholes.1.errors(), wholes.1.requests);
    let alone = || if fails_some_route(wave, limits) { None } else { needed_alone(tried, controls, limits) };
    let needed = needed(controls, limits).or_else(alone);
    let needs = needed.unwrap_or(NEEDED_MAX);
    let needs_of_each = if needed.is_none() { needed_of_each(controls, limits) } else { None };
    let says = match () {
        () if !findings.is_empty() => Says::Worse,
        () if has < needs => Says::TooFew,
        () => Says::Sound,
    };
    let (wave, others, before) = (wave.tally(), others.tally(), before.tally());
    Verdict { says, needs, has, needs_of_each, wave, others, before, findings, looks }
}

/// So many requests of the wave are enough: against these controls, as they are, a version that fails as much more often as
/// the limits say has, with probability [`POWER`], so many errors that the test of [`errors`] calls it worse. More errors
/// never save a version, so one test of the least of these numbers says it of all. `None`: the controls are too small.
fn needed(controls: [Errors; 2], limits: &DeployLimits) -> Option<u64> {
    let worse = worse_rate(controls, limits)?;
    least_requests(|requests| {
        let wave = Errors { errors: errors_met(requests, worse, POWER), requests };
        fails_more(wave, controls, limits)
    })
}

/// So many requests of the wave are enough whatever the controls met, if it goes on failing as seldom as until now: a version
/// that fails as often as the rise alone would have met more errors. What is usual only adds to that.
fn needed_alone(wave: Errors, controls: [Errors; 2], limits: &DeployLimits) -> Option<u64> {
    let rise = limits.rise_percent / 100.0;
    let is_compared = controls.iter().any(|control| control.requests > 0);
    if !is_compared || wave.requests == 0 || wave.rate() >= rise || rise >= 1.0 {
        return None;
    }
    least_requests(|requests| errors_met(requests, rise, SURE) > (wave.rate() * requests as f64).round() as u64)
}

/// Whether a route fails as often as the rise: among all requests a rare one does not show, and controls that are too small
/// for all requests are too small for it.
fn fails_some_route(wave: &Figures, limits: &DeployLimits) -> bool {
    wave.0.values().any(|counts| counts.errors().rate() >= limits.rise_percent / 100.0)
}

/// So many requests of the wave are enough, against one control of as many with the usual rate.
fn needed_of_each(controls: [Errors; 2], limits: &DeployLimits) -> Option<u64> {
    let (usual, worse) = (usual_rate(controls), worse_rate(controls, limits)?);
    least_requests(|requests| {
        let control = Errors { errors: (usual * requests as f64).round() as u64, requests };
        let wave = Errors { errors: errors_met(requests, worse, POWER), requests };
        fails_more(wave, [control, Errors { errors: 0, requests: 0 }], limits)
    })
}

/// At which requests failed without the version: of both controls together, unless they differ. Then of the one that fails
/// more often, since the version has to be worse than both.
fn usual_rate(controls: [Errors; 2]) -> f64 {
    let [low, high] = if controls[0].rate() > controls[1].rate() { [controls[1], controls[0]] } else { controls };
    let both = Errors { errors: low.errors + high.errors, requests: low.requests + high.requests };
    match more_errors(high, low) < AGREES {
        true => high.rate(),
        false => both.rate(),
    }
}

/// At which a version has to be noticed; `None` if that is more than all requests.
fn worse_rate(controls: [Errors; 2], limits: &DeployLimits) -> Option<f64> {
    Some(usual_rate(controls) + limits.rise_percent / 100.0).filter(|worse| *worse < 1.0)
}

/// Whether the wave fails more often than its controls, beyond doubt.
fn fails_more(wave: Errors, controls: [Errors; 2], limits: &DeployLimits) -> bool {
    let least = limits.rise_percent / 100.0 * RISE_PART;
    beyond_doubt(controls.map(|control| {
        (control.requests > 0).then(|| match wave.rate() - control.rate() >= least {
            true => more_errors(wave, control),
            false => 1.0,
        })
    }))
}

fn compared(route: &str, wave: &Counts, controls: [&Counts; 2], limits: &DeployLimits) -> Vec<String> {
    let found = [
        errors(route, wave, controls, limits),
        times(route, wave, controls, limits),
        late(route, wave, controls, limits),
    ];
    found.into_iter().flatten().collect()
}

fn errors(what: &str, wave: &Counts, controls: [&Counts; 2], limits: &DeployLimits) -> Option<String> {
    let (tried, controls) = (wave.errors(), controls.map(Counts::errors));
    fails_more(tried, controls, limits).then(|| {
        let percent = |counts: Errors| {
            if counts.requests == 0 { "no requests".to_owned() } else { format!("{:.2} %", counts.rate() * 100.0) }
        };
        let [others, before] = controls.map(percent);
        let Errors { errors, requests } = tried;
        format!("{what}: {errors} of {requests} failed ({}); others {others}, before {before}", percent(tried))
    })
}

fn times(route: &str, wave: &Counts, controls: [&Counts; 2], limits: &DeployLimits) -> Option<String> {
    if wave.timed() < TIMED_MIN {
        return None;
    }
    let tests = controls.map(|control| {
        let is_alike = control.classes.keys().eq(wave.classes.keys());
        (control.timed() >= TIMED_MIN && is_alike).then(|| {
            let (tried, usual) = (wave.mean_ms(), control.mean_ms());
            match tried - usual >= limits.slower_by_ms as f64 && tried >= usual * SLOWER_TIMES {
                true => slower(&values(wave), &values(control)),
                false => 1.0,
            }
        })
    });
    beyond_doubt(tests).then(|| {
        let mean = |counts: &Counts| {
            if counts.timed() == 0 { "no requests".to_owned() } else { format!("{:.1} ms", counts.mean_ms()) }
        };
        let [others, before] = controls.map(mean);
        format!("{route}: {} in the mean of {}; others {others}, before {before}", mean(wave), wave.timed())
    })
}

/// Answers later than the objective of the route, and than what counts as slower at all: more of them than before, and
/// more than the objective leaves room for.
fn late(route: &str, wave: &Counts, controls: [&Counts; 2], limits: &DeployLimits) -> Option<String> {
    let after_ms = u64::from(Slo::own().late_after_ms(route)?).max(limits.slower_by_ms);
    let late = |counts: &Counts| counts.slower_than(after_ms.saturating_mul(1_000));
    let percent = |counts: &Counts| {
        let Errors { errors, requests } = late(counts);
        if requests == 0 { 0.0 } else { errors as f64 * 100.0 / requests as f64 }
    };
    if wave.timed() < TIMED_MIN || percent(wave) <= LATE_PERCENT {
        return None;
    }
    let tests = controls.map(|control| {
        (control.timed() >= TIMED_MIN).then(|| match percent(wave) - percent(control) >= LATE_PERCENT {
            true => more_errors(late(wave), late(control)),
            false => 1.0,
        })
    });
    beyond_doubt(tests).then(|| {
        let [others, before] = controls.map(percent);
        let found = percent(wave);
        format!("{route}: {found:.2} % took longer than {after_ms} ms; others {others:.2} %, before {before:.2} %")
    })
}

fn values(counts: &Counts) -> Vec<u64> {
    counts.classes.values().copied().collect()
}

/// One control shows it and the other one, if there is any, does not speak against it: a fault that all cells share is no
/// version's, and a cell that was always worse is not worse now.
fn beyond_doubt(tests: [Option<f64>; 2]) -> bool {
    match tests {
        [Some(others), Some(before)] => others.min(before) < alpha() && others.max(before) < AGREES,
        [Some(one), None] | [None, Some(one)] => one < alpha(),
        [None, None] => false,
    }
}

#[cfg(test)]
mod tests;
