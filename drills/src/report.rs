//! The report of a drill: `report.md` for people, `report.json` for programs, `latency.svg` to look at.
//!
//! It must say what was expected and what was measured, also where they differ.

mod chart;
mod markdown;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use load_generator::latency::Percentiles;
use load_generator::outcome::{Outcome, Phase, Slice};
use load_generator::summary::{Row, row};
use load_generator::write;
use serde::Serialize;

use crate::books::Totals;
use crate::check::Check;
use crate::evacuation::EvacuationReport;
use crate::losses::LostOperation;
use crate::runner::{Played, Size, StepTaken};
use crate::table::Drill;
use crate::verdict::{AFTER, BEFORE, DURING, Slowdown, seconds, slowdown};
use crate::victims::Victims;

/// Width of the slices of the chart.
const SLICE: Duration = Duration::from_millis(250);
/// How many of the customers with the longest trouble are named.
const TROUBLED_SHOWN: usize = 10;

#[derive(Debug, Serialize)]
pub struct Report {
    pub drill: &'static str,
    pub about: &'static str,
    pub passed: bool,
    pub began_at: String,
    pub size: Size,
    pub victims: Victims,
    pub rate_sent: f64,
    pub not_sent: u64,
    /// By how much the load was late in sending: how busy the machine was with other things.
    pub late: Option<Percentiles>,
    /// Of the last minute, at the end, on so many cores.
    pub machine_load: Option<f64>,
    pub cores: usize,
    #[serde(rename = "deeds")]
    pub steps: Vec<StepTaken>,
    pub phases: Vec<PhaseReport>,
    pub blast_radius: BlastRadius,
    pub troubled: Vec<TroubledReport>,
    pub operation: Option<EvacuationReport>,
    pub settled_ms: Option<u64>,
    pub totals: Option<Totals>,
    /// Acknowledged, and lost with a Region.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostOperation>,
    pub homes: BTreeMap<String, u64>,
    pub checks: Vec<Check>,
    pub marks: Vec<Phase>,
    pub slices: Vec<Slice>,
}

#[derive(Debug, Serialize)]
pub struct PhaseReport {
    pub name: &'static str,
    pub seconds: f64,
    pub all: Row,
    /// Requests that need the victim, and those that do not.
    pub victim: Row,
    pub others: Row,
}

/// How far the trouble reached.
#[derive(Debug, Serialize)]
pub struct BlastRadius {
    pub customers: usize,
    /// Customers with at least one error.
    pub harmed: usize,
    /// Of these, customers of other cells, which paid a wallet in the victim.
    pub harmed_elsewhere: usize,
    pub harmed_percent: f64,
    /// p99 of customers without errors.
    pub unharmed: Option<Slowdown>,
    /// p99 of requests that do not need the victim.
    pub others: Option<Slowdown>,
}

#[derive(Debug, Serialize)]
pub struct TroubledReport {
    pub user: String,
    pub wallet: Option<topology::WalletId>,
    pub cell: Option<topology::CellId>,
    pub errors: u64,
    pub first_error_s: f64,
    pub seconds: f64,
}

#[allow(clippy::cast_precision_loss)]
pub fn report(drill: &Drill, size: Size, played: Played) -> Report {
    let Played { outcome, victims, steps, operation, settled_ms, audit, lost, checks } = played;
    let troubled = outcome.troubled().into_iter().take(TROUBLED_SHOWN).map(|one| {
        let customer = &outcome.customers[one.customer];
        TroubledReport {
            user: customer.user.clone(),
            wallet: customer.wallet,
            cell: customer.cell.clone(),
            errors: one.errors,
            first_error_s: seconds(one.first_us),
            seconds: seconds(one.last_us.saturating_sub(one.first_us)),
        }
    });
    let homes = audit.iter().flat_map(|audit| audit.homes.iter().map(|(cell, count)| (cell.to_string(), *count)));
    Report {
        drill: drill.name,
        about: drill.about,
        passed: checks.iter().all(|check| check.passed),
        began_at: outcome.began_at.clone(),
        size,
        rate_sent: outcome.operations.len() as f64 / seconds(outcome.lasted_us.max(1)),
        not_sent: outcome.not_sent,
        late: outcome.late,
        machine_load: machine_load(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        steps,
        phases: [BEFORE, DURING, AFTER].map(|name| phase(&outcome, &victims, name)).into(),
        blast_radius: blast_radius(&outcome, &victims),
        victims,
        troubled: troubled.collect(),
        operation,
        settled_ms,
        totals: audit.as_ref().map(|audit| audit.totals),
        homes: homes.collect(),
        lost,
        checks,
        marks: outcome.phases.clone(),
        slices: outcome.slices(SLICE),
    }
}

fn machine_load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn phase(outcome: &Outcome, victims: &Victims, name: &'static str) -> PhaseReport {
    let position = outcome.phases.iter().position(|phase| phase.name == name);
    let begin = position.map_or(0, |position| outcome.phases[position].begin_us);
    let next = position.and_then(|position| outcome.phases.get(position + 1));
    let end = next.map_or(outcome.lasted_us, |phase| phase.begin_us);
    let all: Vec<_> = outcome.in_phase(name).collect();
    let (victim, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| victims.are_needed(outcome, one));
    PhaseReport {
        name,
        seconds: seconds(end.saturating_sub(begin)),
        all: row(all.iter().copied()),
        victim: row(victim.iter().copied()),
        others: row(others.iter().copied()),
    }
}

#[allow(clippy::cast_precision_loss)]
fn blast_radius(outcome: &Outcome, victims: &Victims) -> BlastRadius {
    let harmed: std::collections::BTreeSet<usize> = outcome.troubled().iter().map(|one| one.customer).collect();
    let elsewhere =
        |position: &&usize| !outcome.customers[**position].cell.as_ref().is_some_and(|cell| victims.have(cell));
    BlastRadius {
        customers: outcome.customers.len(),
        harmed: harmed.len(),
        harmed_elsewhere: harmed.iter().filter(elsewhere).count(),
        harmed_percent: harmed.len() as f64 * 100.0 / outcome.customers.len().max(1) as f64,
        unharmed: slowdown(outcome, |one| !harmed.contains(&one.customer)),
        others: slowdown(outcome, |one| !victims.are_needed(outcome, one)),
    }
}

/// Writes the three files into `out`, which is created.
pub fn save(report: &Report, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    write(&out.join("report.md"), markdown::markdown(report).as_bytes())?;
    write(&out.join("report.json"), &serde_json::to_vec_pretty(report)?)?;
    write(&out.join("latency.svg"), chart::chart(report).as_bytes())
}

pub use markdown::{blast_line, checks_table};
