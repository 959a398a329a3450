//! What a load came to, for people and programs: counts, codes and percentiles of each kind of request.

use std::collections::BTreeMap;

use command_line::columns;
use reconciliation::Reported;
use serde::Serialize;

use crate::latency::Percentiles;
use crate::mix::{KINDS, Kind};
use crate::objectives::{self, Objective};
use crate::operation::Operation;
use crate::outcome::{Outcome, Slice, latencies};

/// How finely a report shows the course of time.
pub const SLICE: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    pub count: u64,
    pub ok: u64,
    /// By the code of the refusal.
    pub refused: BTreeMap<String, u64>,
    /// By code, as they were first seen.
    pub errors: BTreeMap<String, u64>,
    /// Those that repeating did not help, or that were not repeated.
    pub still_errors: u64,
    /// Of answers that were no error.
    pub latency: Option<Percentiles>,
}

#[derive(Debug, Serialize)]
pub struct Summary {
    pub run: String,
    pub began_at: String,
    pub wallets: usize,
    pub seconds: f64,
    /// Requests a second, and answers a second that were no error.
    pub rate_wanted: f64,
    pub rate_sent: f64,
    pub rate_served: f64,
    pub not_sent: u64,
    pub customers_with_errors: usize,
    /// By how much the load itself was late in sending: part of every latency.
    pub late: Option<Percentiles>,
    pub kinds: BTreeMap<Kind, Row>,
    pub all: Row,
    pub slices: Vec<Slice>,
    /// Each objective, if the load is judged by them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<Objective>,
}

pub fn row<'a>(operations: impl Iterator<Item = &'a Operation> + Clone) -> Row {
    let mut row = Row { latency: latencies(operations.clone()).percentiles(), ..Row::default() };
    for operation in operations {
        row.count += 1;
        let counted = if operation.first.is_error() { &operation.first } else { &operation.last };
        match (counted.code(), counted) {
            (Some(code), Reported::Refused(_) | Reported::Returned) => {
                *row.refused.entry(code.to_owned()).or_default() += 1
            }
            (Some(code), _) => *row.errors.entry(code.to_owned()).or_default() += 1,
            (None, _) => {}
        }
        row.ok += u64::from(operation.last.is_done());
        row.still_errors += u64::from(operation.last.is_error());
    }
    row
}

#[allow(clippy::cast_precision_loss)]
pub fn summary(outcome: &Outcome) -> Summary {
    let seconds = outcome.lasted_us.max(1) as f64 / 1_000_000.0;
    let of_kind = |kind| outcome.operations.iter().filter(move |operation| operation.kind == kind);
    let kinds = KINDS.map(|kind| (kind, row(of_kind(kind)))).into_iter().filter(|(_, row)| row.count > 0);
    let all = row(outcome.operations.iter());
    Summary {
        run: outcome.run.clone(),
        began_at: outcome.began_at.clone(),
        wallets: outcome.setup.len() / 2,
        seconds,
        rate_wanted: outcome.due as f64 / seconds,
        rate_sent: all.count as f64 / seconds,
        rate_served: (all.count - all.still_errors) as f64 / seconds,
        not_sent: outcome.not_sent,
        customers_with_errors: outcome.troubled().len(),
        late: outcome.late,
        kinds: kinds.collect(),
        all,
        slices: outcome.slices(SLICE),
        objectives: vec![],
    }
}

fn line(name: &str, row: &Row) -> Vec<String> {
    let latency = |of: fn(&Percentiles) -> f64| row.latency.as_ref().map_or_else(|| "-".to_owned(), |all| ms(of(all)));
    let sum = |codes: &BTreeMap<String, u64>| codes.values().sum::<u64>().to_string();
    vec![
        name.to_owned(),
        row.count.to_string(),
        row.ok.to_string(),
        sum(&row.refused),
        sum(&row.errors),
        latency(|all| all.p50_ms),
        latency(|all| all.p90_ms),
        latency(|all| all.p99_ms),
        latency(|all| all.p999_ms),
        latency(|all| all.max_ms),
    ]
}

pub fn ms(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

pub fn table(summary: &Summary) -> String {
    let mut rows: Vec<_> = summary.kinds.iter().map(|(kind, row)| line(kind.name(), row)).collect();
    rows.push(line("all", &summary.all));
    let header = ["KIND", "COUNT", "OK", "REFUSED", "ERRORS", "P50 MS", "P90 MS", "P99 MS", "P99.9 MS", "MAX MS"];
    let mut text = columns(&header, &rows);
    for (what, codes) in [("refused", &summary.all.refused), ("error", &summary.all.errors)] {
        text.extend(codes.iter().map(|(code, count)| format!("{what} {code}: {count}\n")));
    }
    text.push_str(&format!(
        "{:.1}/s asked for over {:.1} s, {:.1}/s sent, {:.1}/s served; {} not sent; {} of {} customers saw an error\n",
        summary.rate_wanted,
        summary.seconds,
        summary.rate_sent,
        summary.rate_served,
        summary.not_sent,
        summary.customers_with_errors,
        summary.wallets,
    ));
    if let Some(late) = &summary.late {
        text.push_str(&format!(
            "sent late by p50 {} ms, p99 {} ms, max {} ms (contained in the latencies)\n",
            ms(late.p50_ms),
            ms(late.p99_ms),
            ms(late.max_ms)
        ));
    }
    if !summary.objectives.is_empty() {
        text.push_str(&objectives::table(&summary.objectives));
    }
    text
}
