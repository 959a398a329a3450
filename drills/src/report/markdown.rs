//! A drill's report as people read it.

use std::fmt::Write as _;

use command_line::columns;
use load_generator::summary::{Row, ms};

use super::{PhaseReport, Report};
use crate::verdict::{Slowdown, seconds};

/// One sentence: how far the trouble reached.
pub fn blast_line(report: &Report) -> String {
    let (blast, victims) = (&report.blast_radius, &report.victims);
    let slower = |slowdown: &Option<Slowdown>| match slowdown {
        None => "not measured".to_owned(),
        Some(Slowdown { before_p99_ms, during_p99_ms, times }) => {
            format!("{times:.2} ({} ms during, {} ms before)", ms(*during_p99_ms), ms(*before_p99_ms))
        }
    };
    format!(
        "Blast radius: {:.1} % of customers saw an error ({} of {}; {} of them live in other cells and dealt with \
         {victims}). p99 during ÷ before: of customers without errors {}; of requests that do not need {victims} {}.",
        blast.harmed_percent,
        blast.harmed,
        blast.customers,
        blast.harmed_elsewhere,
        slower(&blast.unharmed),
        slower(&blast.others),
    )
}

fn mark(passed: bool) -> &'static str {
    if passed { "pass" } else { "FAIL" }
}

/// For a terminal.
pub fn checks_table(report: &Report) -> String {
    let rows = report.checks.iter().map(|check| {
        vec![
            mark(check.passed).to_owned(),
            format!("{:?}", check.about).to_lowercase(),
            check.name.clone(),
            check.found.clone(),
        ]
    });
    columns(&["RESULT", "ABOUT", "CHECK", "FOUND"], &rows.collect::<Vec<_>>())
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let failed = report.checks.iter().filter(|check| !check.passed).count();
    let verdict = if report.passed { "passed".to_owned() } else { format!("FAILED, {failed} checks") };
    let size = &report.size;
    let _ = write!(
        text,
        "# Drill `{}`: {verdict}\n\n{}.\n\n\
         {} cells with {} instances each, {} customers; {} requests a second asked for, {:.1} sent, {} not sent; seed {}; \
         began {}. An open loop: latency counts from the moment a request was due. No request was repeated by the \
         client.\n\n",
        report.drill,
        sentence(report.about),
        size.cells,
        size.instances,
        size.wallets,
        size.rate,
        report.rate_sent,
        report.not_sent,
        size.seed,
        report.began_at,
    );
    if let (Some(late), Some(load)) = (&report.late, report.machine_load) {
        let _ = write!(
            text,
            "The machine: load average {load:.1} on {} cores; requests left late by p99 {} ms, at most {} ms, which is \
             contained in the latencies.\n\n",
            report.cores,
            ms(late.p99_ms),
            ms(late.max_ms)
        );
    }
    let _ = write!(text, "**{}**\n\n![latency over time](latency.svg)\n\n", blast_line(report));
    done(&mut text, report);
    phases(&mut text, report);
    troubled(&mut text, report);
    checks(&mut text, report);
    text
}

fn done(text: &mut String, report: &Report) {
    text.push_str("## What was done\n\n| at | what | took |\n|---|---|---|\n");
    for step in &report.steps {
        let _ = writeln!(text, "| {:.2} s | {} | {} ms |", seconds(step.at_us), step.what, step.took_ms);
    }
    if let Some(operation) = &report.operation {
        let _ = write!(
            text,
            "\nOperation {}: {}, {} wallets, {} bytes, {:.1} s.\n",
            operation.operation, operation.state, operation.wallets, operation.bytes, operation.seconds
        );
    }
    let settled = report.settled_ms.map_or_else(|| "not in time".to_owned(), |ms| format!("{ms} ms after the load"));
    let _ = write!(text, "\nNo transfer in flight: {settled}.");
    if let Some(totals) = &report.totals {
        let homes: Vec<_> = report.homes.iter().map(|(cell, count)| format!("{cell} {count}")).collect();
        let _ = write!(
            text,
            " The books: {} wallets ({}; {} in more than one cell), {} blocks, {} entries.",
            totals.wallets,
            homes.join(", "),
            totals.moved_wallets,
            totals.blocks,
            totals.entries
        );
    }
    text.push_str("\n\n");
}

fn phases(text: &mut String, report: &Report) {
    let victims = &report.victims;
    let _ = write!(
        text,
        "## What customers saw\n\nLatencies in ms, of answers that were no error. \"{victims}\": requests of its customers or to them.\n\n\
         | phase | requests | refused | errors | p50 | p99 | max | {victims}: errors | p50 | p99 | others: errors | p50 | p99 |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for PhaseReport { name, seconds, all, victim, others } in &report.phases {
        let _ = writeln!(
            text,
            "| {name} ({seconds:.1} s) | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            all.count,
            all.refused.values().sum::<u64>(),
            errors(all),
            latency(all, |all| all.p50_ms),
            latency(all, |all| all.p99_ms),
            latency(all, |all| all.max_ms),
            errors(victim),
            latency(victim, |all| all.p50_ms),
            latency(victim, |all| all.p99_ms),
            errors(others),
            latency(others, |all| all.p50_ms),
            latency(others, |all| all.p99_ms),
        );
    }
    text.push('\n');
    for phase in report.phases.iter().filter(|phase| !phase.all.errors.is_empty()) {
        let codes: Vec<_> = phase.all.errors.iter().map(|(code, count)| format!("`{code}` {count}")).collect();
        let _ = write!(text, "Errors {}: {}.\n\n", phase.name, codes.join(", "));
    }
}

fn errors(row: &Row) -> u64 {
    row.errors.values().sum()
}

fn latency(row: &Row, of: fn(&load_generator::latency::Percentiles) -> f64) -> String {
    row.latency.as_ref().map_or_else(|| "-".to_owned(), |all| ms(of(all)))
}

fn troubled(text: &mut String, report: &Report) {
    if report.troubled.is_empty() {
        text.push_str("No customer saw an error.\n\n");
        return;
    }
    text.push_str("Customers with the longest trouble, from the first error to the last:\n\n");
    text.push_str("| customer | wallet | cell | errors | first at | lasted |\n|---|---|---|---|---|---|\n");
    for one in &report.troubled {
        // Users of one load differ in their ends only.
        let user = one.user.rsplit_once('-').map_or(one.user.as_str(), |(_, end)| end);
        let wallet = one.wallet.map_or_else(|| "?".to_owned(), |wallet| wallet.to_string());
        let cell = one.cell.as_ref().map_or("?", |cell| cell.as_str());
        let _ = writeln!(
            text,
            "| {user} | `{wallet}` | {cell} | {} | {:.2} s | {:.2} s |",
            one.errors, one.first_error_s, one.seconds
        );
    }
    text.push('\n');
}

fn checks(text: &mut String, report: &Report) {
    text.push_str("## What was expected, and what was found\n\n| | about | expected | found |\n|---|---|---|---|\n");
    for check in &report.checks {
        let about = format!("{:?}", check.about).to_lowercase();
        let found = check.found.replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(text, "| {} | {about} | {} | {found} |", mark(check.passed), check.name);
    }
}
