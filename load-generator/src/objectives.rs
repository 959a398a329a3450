//! Whether a load was served as `slo.toml` promises. Pure.
//!
//! It must never call an objective kept of which nothing was measured.

use command_line::columns;
use serde::Serialize;
use topology::endpoint::Class;
use topology::slo::Slo;

use crate::mix::Kind;
use crate::summary::{Row, Summary, ms};

/// Fewer answers tell nothing of a hundredth.
const MEASURED_MIN: u64 = 100;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Objective {
    pub what: String,
    pub wanted: String,
    pub found: String,
    /// None: there was too little to tell.
    pub kept: Option<bool>,
}

/// The class that the requests of a kind are of.
fn class(kind: Kind) -> Class {
    match kind {
        Kind::Creates => Class::Accounts,
        Kind::Deposits | Kind::Withdrawals => Class::Movement,
        Kind::Transfers => Class::Transfers,
        Kind::Reads => Class::Reads,
    }
}

pub fn judged(summary: &Summary, slo: &Slo) -> Vec<Objective> {
    let mut all = vec![good(&summary.all, slo)];
    for (kind, row) in &summary.kinds {
        let (Some(promised), Some(found)) = (slo.latency(class(*kind)), &row.latency) else { continue };
        let percentiles = [
            ("p50", promised.p50_ms, found.p50_ms),
            ("p90", promised.p90_ms, found.p90_ms),
            ("p99", promised.p99_ms, found.p99_ms),
        ];
        all.extend(percentiles.map(|(name, wanted, found)| Objective {
            what: format!("{} {name}", kind.name()),
            wanted: format!("{wanted} ms"),
            found: format!("{} ms", ms(found)),
            kept: (row.count - row.still_errors >= MEASURED_MIN).then_some(found <= f64::from(wanted)),
        }));
    }
    all
}

/// Refusals are answers.
#[allow(clippy::cast_precision_loss)]
fn good(row: &Row, slo: &Slo) -> Objective {
    let bad: u64 = row.errors.values().sum();
    let percent = (row.count.saturating_sub(bad)) as f64 * 100.0 / row.count.max(1) as f64;
    let wanted = slo.availability.good_percent;
    Objective {
        what: "good answers".to_owned(),
        wanted: format!("{wanted} %"),
        found: format!("{percent:.3} %"),
        kept: (row.count >= MEASURED_MIN).then_some(percent >= wanted),
    }
}

pub fn are_kept(objectives: &[Objective]) -> bool {
    objectives.iter().all(|objective| objective.kept == Some(true))
}

pub fn table(objectives: &[Objective]) -> String {
    let row = |one: &Objective| {
        let kept = match one.kept {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "too few requests",
        };
        vec![one.what.clone(), one.wanted.clone(), one.found.clone(), kept.to_owned()]
    };
    columns(&["OBJECTIVE", "WANTED", "FOUND", "KEPT"], &objectives.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::latency::Percentiles;

    fn row(count: u64, errors: u64, p99_ms: f64) -> Row {
        let latency = Percentiles { p50_ms: 5.0, p90_ms: 9.0, p99_ms, p999_ms: 200.0, max_ms: 200.0 };
        let errors_by_code = BTreeMap::from([("no_answer".to_owned(), errors)]);
        Row {
            count,
            ok: count - errors,
            errors: errors_by_code,
            still_errors: errors,
            latency: Some(latency),
            ..Row::default()
        }
    }

    fn summary(count: u64, errors: u64, p99_ms: f64) -> Summary {
        Summary {
            run: "r".into(),
            began_at: String::new(),
            wallets: 1,
            seconds: 1.0,
            rate_wanted: 1.0,
            rate_sent: 1.0,
            rate_served: 1.0,
            not_sent: 0,
            customers_with_errors: 0,
            late: None,
            kinds: BTreeMap::from([(Kind::Deposits, row(count, errors, p99_ms))]),
            all: row(count, errors, p99_ms),
            slices: vec![],
            objectives: vec![],
        }
    }

    #[test]
    fn a_load_is_judged_by_each_objective() {
        for (count, errors, p99_ms, kept) in [
            (1_000, 1, 100.0, [Some(true), Some(true), Some(true), Some(true)]),
            (1_000, 2, 100.1, [Some(false), Some(true), Some(true), Some(false)]),
            (99, 0, 1.0, [None; 4]),
        ] {
            let judged = judged(&summary(count, errors, p99_ms), Slo::own());
            assert_eq!(judged.iter().map(|one| one.kept).collect::<Vec<_>>(), kept, "{judged:?}");
            assert_eq!(are_kept(&judged), kept == [Some(true); 4]);
        }
        let golden = "\
OBJECTIVE     WANTED  FOUND     KEPT
good answers  99.9 %  99.800 %  NO
deposits p50  25 ms   5.0 ms    yes
deposits p90  50 ms   9.0 ms    yes
deposits p99  100 ms  150 ms    NO
";
        assert_eq!(table(&judged(&summary(1_000, 2, 150.0), Slo::own())), golden);
    }
}
