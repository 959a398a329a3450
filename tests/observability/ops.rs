//! What is in `ops/` fits what there is: runbook sections, metrics, unit tests of alerts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use telemetry::catalogue::{self, Kind};
use telemetry::metrics::SECONDS;
use topology::endpoint::Class;
use topology::slo::Slo;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above this crate").to_owned()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All of a folder, one after the other.
fn texts(folder: &str) -> String {
    let files = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut names: Vec<_> = files.flatten().map(|file| file.path()).filter(|path| path.is_file()).collect();
    names.sort();
    names.iter().map(|path| std::fs::read_to_string(path).expect("a text")).collect()
}

fn after<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.trim().trim_start_matches("- ").strip_prefix(word).map(str::trim)
}

/// As a heading's anchor is made.
fn anchor(heading: &str) -> String {
    let kept =
        heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-')).collect::<String>();
    kept.replace(' ', "-")
}

#[test]
fn every_alert_names_a_section_of_the_runbook_and_has_a_test() {
    let runbook = text("docs/runbook.md");
    let anchors: BTreeSet<String> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect();
    let (alerts, tests) = (text("ops/prometheus/alerts.yml"), texts("ops/prometheus/tests"));
    let names: Vec<_> = alerts.lines().filter_map(|line| after(line, "alert:")).collect();
    let sections: Vec<_> = alerts.lines().filter_map(|line| after(line, "runbook_url:")).collect();
    let severities = alerts.lines().filter_map(|line| after(line, "severity:")).collect::<Vec<_>>();
    assert!(names.len() > 20 && names.len() == sections.len() && names.len() == severities.len(), "{names:?}");
    assert!(severities.iter().all(|severity| ["page", "ticket"].contains(severity)), "{severities:?}");
    for (name, section) in names.iter().zip(sections) {
        let anchor = section.strip_prefix("docs/runbook.md#").unwrap_or_else(|| panic!("{name}: {section}"));
        assert!(anchors.contains(anchor), "{name}: the runbook has no section {anchor}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no unit test");
    }
}

#[test]
fn rules_and_documents_say_what_slo_toml_promises() {
    let slo = Slo::own();
    for (path, wanted) in [("ops/prometheus/recording.yml", slo.rules()), ("docs/objectives.md", slo.table())] {
        assert!(text(path).contains(&wanted), "{path} has to hold:\n{wanted}");
    }
    let alerts = text("ops/prometheus/alerts.yml");
    let burns: Vec<_> = alerts.lines().filter(|line| line.contains(" > ") && line.contains(" * 0.0")).collect();
    assert!(burns.len() >= 8, "{burns:?}");
    for line in burns {
        let budget = if line.contains("requests_late") { 0.01 } else { slo.budget() };
        assert!(line.ends_with(&format!(" * {budget}")), "not the budget of slo.toml, {budget}: {line}");
    }
    for class in Class::ALL {
        let Some(latency) = slo.latency(class) else { continue };
        let bound = f64::from(latency.p99_ms) / 1_000.0;
        assert!(SECONDS.contains(&bound), "{}: no histogram has a bound at {bound} s", class.name());
    }
}

#[test]
fn alerts_and_dashboards_ask_only_for_metrics_that_exist() {
    let list = catalogue::all();
    let known: BTreeSet<&str> = list.iter().map(|metric| metric.name).collect();
    let prefixes = ["router_", "cell_", "control_plane_", "store_", "process_", "access_", "log_", "trace_"];
    let mut asked = BTreeSet::new();
    let everything = texts("ops/prometheus") + &texts("ops/prometheus/tests") + &texts("ops/grafana/dashboards");
    for word in everything.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':') {
        let word = word.trim_end_matches(':');
        // A rule made what has a colon inside.
        if word.contains(':') || !prefixes.iter().any(|prefix| word.starts_with(prefix)) {
            continue;
        }
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part));
        let is_histogram =
            |name: &&str| list.iter().any(|metric| metric.name == *name && metric.kind == Kind::Histogram);
        let name = histogram.filter(is_histogram).unwrap_or(word);
        assert!(known.contains(name), "ops/ asks for {word}, which docs/metrics.md does not list");
        asked.insert(name);
    }
    assert!(asked.len() > 40, "{asked:?}");
}
