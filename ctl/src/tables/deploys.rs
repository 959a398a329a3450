//! How deploys look to people.

use command_line::columns;
use control_api::{DeployPlan, DeployState, DeployView, Program, Tally, WaveView};
use serde_json::json;

/// Parts named of one wave; of more, their number.
const PARTS_SHOWN: usize = 4;

pub fn plan(plan: &DeployPlan) -> String {
    if plan.waves.is_empty() {
        return format!("all {} run {} already\n", plan.of, plan.version);
    }
    let rows = plan.waves.iter().zip(1..).map(|(wave, number): (_, u32)| {
        let parts: Vec<String> = wave.parts.iter().map(|part| part.part.to_string()).collect();
        let instances = wave.parts.iter().flat_map(|part| &part.instances);
        let mut before: Vec<String> = instances.clone().map(|instance| instance.before.to_string()).collect();
        before.sort();
        before.dedup();
        vec![
            number.to_string(),
            named(&parts),
            instances.count().to_string(),
            before.join(","),
            plan.version.to_string(),
        ]
    });
    let mut text = columns(&["WAVE", &heading(plan.of), "INSTANCES", "FROM", "TO"], &rows.collect::<Vec<_>>());
    let limits = &plan.limits;
    text.push_str(&format!(
        "each wave: watched {} s before, then at least {} s and at most {} s; taken back if {} % more of all requests fail, or \
         are {} ms slower, beyond doubt\n",
        limits.baseline_seconds,
        limits.bake_seconds,
        limits.bake_seconds + limits.wait_seconds,
        limits.rise_percent,
        limits.slower_by_ms,
    ));
    text
}

fn heading(of: Program) -> String {
    of.as_str().to_uppercase()
}

fn named(parts: &[String]) -> String {
    match parts.len() {
        0..=PARTS_SHOWN => parts.join(","),
        more => format!("{} and {} more", parts[..PARTS_SHOWN].join(","), more - PARTS_SHOWN),
    }
}

fn state(state: DeployState) -> String {
    state.as_str().replace('_', " ")
}

pub fn list(list: &[DeployView]) -> String {
    let row = |view: &DeployView| {
        vec![
            view.id.to_string(),
            view.of.to_string(),
            state(view.state),
            view.version.to_string(),
            format!("{}/{}", view.wave + 1, view.waves.len()),
            view.created_at.clone(),
            view.because.actor.clone(),
            view.why.clone().unwrap_or_default(),
        ]
    };
    let header = ["DEPLOY", "OF", "STATE", "VERSION", "WAVE", "CREATED", "ACTOR", "WHY"];
    columns(&header, &list.iter().map(row).collect::<Vec<_>>())
}

/// One line for what has changed.
pub fn progress(view: &DeployView) -> String {
    let Some(wave) = view.waves.get(usize::try_from(view.wave).unwrap_or(usize::MAX)) else { return String::new() };
    let mut text = format!("{} {}  wave {} of {}", view.id, state(view.state), view.wave + 1, view.waves.len());
    text.push_str(&format!("  {} of {} instances", wave.replaced, wave.instances));
    if let Some(verdict) = &wave.verdict
        && matches!(view.state, DeployState::Baking | DeployState::Undecided)
    {
        text.push_str(&format!("  {}: {}", verdict.says.as_str(), verdict.wanting()));
    }
    if let Some(why) = &view.why {
        text.push_str(&format!("  ! {why}"));
    }
    text
}

pub fn progress_json(view: &DeployView) -> String {
    let wave = view.waves.get(usize::try_from(view.wave).unwrap_or(usize::MAX));
    json!({
        "id": view.id,
        "state": view.state,
        "wave": view.wave,
        "replaced": wave.map(|wave| wave.replaced),
        "verdict": wave.and_then(|wave| wave.verdict.clone()),
        "why": view.why,
    })
    .to_string()
}

pub fn one(view: &DeployView) -> String {
    let mut text = format!("{} of {}: {}\n", view.id, view.version, state(view.state));
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:9} {value}\n"));
    if let Some(why) = &view.why {
        line("why", why);
    }
    line("by", &format!("{}, {}", view.because.actor, view.because.reason));
    line("created", &view.created_at);
    if let Some(at) = &view.finished_at {
        line("finished", at);
    }
    text.push('\n');
    let parts = heading(view.of);
    let header = ["WAVE", parts.as_str(), "REPLACED", "BEGAN", "BAKING", "ENDED", "SAYS", "REQUESTS", "NEEDS", "LOOKS"];
    text.push_str(&columns(&header, &view.waves.iter().zip(1..).map(wave_row).collect::<Vec<_>>()));
    let figures = view.waves.iter().zip(1..).flat_map(|(wave, number)| figure_rows(wave, number));
    let figures: Vec<Vec<String>> = figures.collect();
    if !figures.is_empty() {
        let header = ["WAVE", "OF", "REQUESTS", "FAILED", "RATE", "MEAN"];
        text.push_str(&format!("\n{}", columns(&header, &figures)));
    }
    let findings = view.waves.iter().filter_map(|wave| wave.verdict.as_ref()).flat_map(|verdict| &verdict.findings);
    for finding in findings {
        text.push_str(&format!("worse: {finding}\n"));
    }
    if let Some(touched) = &view.touched {
        let count =
            |count: Option<u64>| count.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
        text.push_str(&format!(
            "\n{} of {} customers could have met {}: it answered {} requests and failed {}\n",
            count(touched.customers),
            count(touched.of_customers),
            view.version,
            touched.requests,
            touched.errors
        ));
    }
    text
}

/// The time of day; the date is that of the deploy.
fn clock(at: Option<&String>) -> String {
    let time = at.and_then(|at| at.split_once('T')).map(|(_, time)| time.chars().take(8).collect());
    time.unwrap_or_else(|| "-".to_owned())
}

fn wave_row((wave, number): (&WaveView, u32)) -> Vec<String> {
    let parts: Vec<String> = wave.parts.iter().map(ToString::to_string).collect();
    let verdict = wave.verdict.as_ref();
    let of = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        number.to_string(),
        named(&parts),
        format!("{}/{}", wave.replaced, wave.instances),
        clock(wave.began_at.as_ref()),
        clock(wave.replaced_at.as_ref()),
        clock(wave.ended_at.as_ref()),
        of(verdict.map(|verdict| verdict.says.as_str().to_owned())),
        of(verdict.map(|verdict| verdict.has.to_string())),
        of(verdict.filter(|verdict| verdict.needs_of_each.is_none()).map(|verdict| verdict.needs.to_string())),
        of(verdict.map(|verdict| verdict.looks.to_string())),
    ]
}

fn figure_rows(wave: &WaveView, number: u32) -> Vec<Vec<String>> {
    let Some(verdict) = &wave.verdict else { return vec![] };
    let row = |what: &str, tally: Tally| {
        let rate = tally.errors as f64 * 100.0 / tally.requests.max(1) as f64;
        vec![
            number.to_string(),
            what.to_owned(),
            tally.requests.to_string(),
            tally.errors.to_string(),
            format!("{rate:.2} %"),
            format!("{:.1} ms", tally.mean_ms),
        ]
    };
    vec![row("this wave", verdict.wave), row("others", verdict.others), row("before", verdict.before)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deploy_that_was_rolled_back_says_why_and_whom_it_touched() {
        let view: DeployView = serde_json::from_value(json!({
            "id": "deploy-2", "version": "v2", "state": "rolled_back",
            "why": "/withdraw: 30 of 600 failed (5.00 %); others 0.00 %, before 0.00 %",
            "actor": "", "because": { "actor": "joe", "reason": "release" },
            "limits": { "baselineSeconds": 5, "bakeSeconds": 30, "waitSeconds": 60, "risePercent": 1.0, "slowerByMs": 10 },
            "createdAt": "2026-03-01T10:00:00Z", "updatedAt": "2026-03-01T10:01:00Z",
            "finishedAt": "2026-03-01T10:01:00Z", "wave": 0,
            "waves": [{ "cells": ["cell-1"], "instances": 2, "replaced": 2, "beganAt": "2026-03-01T10:00:05.123Z",
                "replacedAt": "2026-03-01T10:00:09Z", "endedAt": "2026-03-01T10:01:00Z", "verdict": {
                    "says": "worse", "needs": 1_400, "has": 900, "looks": 7,
                    "wave": { "requests": 900, "errors": 30, "meanMs": 4.25 },
                    "others": { "requests": 1_800, "errors": 0, "meanMs": 4.0 },
                    "before": { "requests": 400, "errors": 0, "meanMs": 4.1 },
                    "findings": ["/withdraw: 30 of 600 failed (5.00 %); others 0.00 %, before 0.00 %"] } }],
            "touched": { "customers": 40, "ofCustomers": 120, "requests": 950, "errors": 31 },
        }))
        .expect("a view");
        let golden = "\
deploy-2 of v2: rolled back
why       /withdraw: 30 of 600 failed (5.00 %); others 0.00 %, before 0.00 %
by        joe, release
created   2026-03-01T10:00:00Z
finished  2026-03-01T10:01:00Z

WAVE  CELLS   REPLACED  BEGAN     BAKING    ENDED     SAYS   REQUESTS  NEEDS  LOOKS
1     cell-1  2/2       10:00:05  10:00:09  10:01:00  worse  900       1400   7

WAVE  OF         REQUESTS  FAILED  RATE    MEAN
1     this wave  900       30      3.33 %  4.2 ms
1     others     1800      0       0.00 %  4.0 ms
1     before     400       0       0.00 %  4.1 ms
worse: /withdraw: 30 of 600 failed (5.00 %); others 0.00 %, before 0.00 %

40 of 120 customers could have met v2: it answered 950 requests and failed 31
";
        assert_eq!(one(&view), golden);
    }
}
