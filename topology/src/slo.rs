//! `slo.toml`: the service level objectives. The one parser of the file; what it says is in every program.
//!
//! It must never measure anything.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::endpoint::{Callers, Class, Endpoint};

/// The file as it was built in.
pub const FILE: &str = include_str!("../../slo.toml");

static OWN: LazyLock<Slo> = LazyLock::new(|| Slo::parse(FILE).expect("a test reads the file"));

#[derive(Debug, thiserror::Error)]
pub enum SloError {
    #[error("slo.toml: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("slo.toml: {0}")]
    Rule(String),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    pub availability: Availability,
    /// By the name of the class.
    latency: BTreeMap<String, Latency>,
    #[serde(default)]
    pub recovery: Vec<Recovery>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Availability {
    pub good_percent: f64,
    pub window_days: u32,
}

/// In so many milliseconds, that part of the requests is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    pub p50_ms: u32,
    pub p90_ms: u32,
    pub p99_ms: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    pub loss: String,
    pub rpo_seconds: u32,
    pub rto_seconds: u32,
}

impl Slo {
    /// What this build promises.
    pub fn own() -> &'static Self {
        &OWN
    }

    /// Parses and checks the text of `slo.toml`.
    pub fn parse(text: &str) -> Result<Self, SloError> {
        let slo: Self = toml::from_str(text)?;
        slo.broken().map_or(Ok(slo), |what| Err(SloError::Rule(what)))
    }

    /// The first rule that is broken, and by what.
    fn broken(&self) -> Option<String> {
        let percent = self.availability.good_percent;
        if !(percent > 0.0 && percent < 100.0) {
            return Some(format!("good_percent is {percent}: above 0 and below 100"));
        }
        if let Some(class) = promised().find(|class| !self.latency.contains_key(class.name())) {
            return Some(format!("[latency.{}] is missing", class.name()));
        }
        let is_promised = |name: &&String| promised().any(|class| class.name() == name.as_str());
        if let Some(name) = self.latency.keys().find(|name| !is_promised(name)) {
            return Some(format!("[latency.{name}] is no class of requests by clients"));
        }
        let falls = |latency: &Latency| latency.p50_ms > latency.p90_ms || latency.p90_ms > latency.p99_ms;
        let falling = self.latency.iter().find(|(_, latency)| falls(latency));
        falling.map(|(name, _)| format!("[latency.{name}] has a percentile below a lower one"))
    }

    /// The part of all requests that may be bad.
    pub fn budget(&self) -> f64 {
        // Without what a binary fraction adds to a decimal one.
        ((100.0 - self.availability.good_percent) * 1e6).round() / 1e8
    }

    /// None of what clients do not ask.
    pub fn latency(&self, class: Class) -> Option<Latency> {
        self.latency.get(class.name()).copied()
    }

    /// When an answer to this route, a template, is late: one in a hundred may be.
    pub fn late_after_ms(&self, route: &str) -> Option<u32> {
        let endpoint = Endpoint::of_template(route).filter(|endpoint| endpoint.callers() == Callers::Clients)?;
        Some(self.latency(endpoint.class())?.p99_ms)
    }

    /// As documents show it.
    pub fn table(&self) -> String {
        let Availability { good_percent, window_days } = self.availability;
        let mut text =
            format!("| objective | |\n|---|---|\n| good answers, in {window_days} days | {good_percent} % |\n");
        text.push_str("\n| class | p50 ms | p90 ms | p99 ms |\n|---|---|---|---|\n");
        for (class, Latency { p50_ms, p90_ms, p99_ms }) in
            promised().filter_map(|class| Some((class, self.latency(class)?)))
        {
            let _ = writeln!(text, "| {} | {p50_ms} | {p90_ms} | {p99_ms} |", class.name());
        }
        text.push_str("\n| loss of | RPO s | RTO s |\n|---|---|---|\n");
        for Recovery { loss, rpo_seconds, rto_seconds } in &self.recovery {
            let _ = writeln!(text, "| {loss} | {rpo_seconds} | {rto_seconds} |");
        }
        text
    }

    /// The recording rules of late answers, as Prometheus reads them: by class, over the windows of its alert.
    pub fn rules(&self) -> String {
        let mut text = "  - name: latency\n    rules:\n".to_owned();
        for (class, latency) in promised().filter_map(|class| Some((class, self.latency(class)?))) {
            let (name, le) = (class.name(), f64::from(latency.p99_ms) / 1_000.0);
            let routes = routes(class).join("|");
            let head = |record: &str| {
                format!(
                    "      - record: cell_class:{record}\n        labels:\n          class: {name}\n        expr: |\n"
                )
            };
            for window in ["5m", "1h"] {
                text += &head(&format!("requests_late:ratio_rate{window}"));
                let _ = writeln!(
                    text,
                    "          1 - sum by (cell) (rate(cell_request_seconds_bucket{{le=\"{le}\",route=~\"{routes}\"}}[{window}]))"
                );
                let _ = writeln!(
                    text,
                    "          / sum by (cell) (rate(cell_request_seconds_count{{route=~\"{routes}\"}}[{window}]))"
                );
            }
            text += &head("requests:rate5m");
            let _ =
                writeln!(text, "          sum by (cell) (rate(cell_request_seconds_count{{route=~\"{routes}\"}}[5m]))");
        }
        text
    }
}

/// Classes of what clients ask.
fn promised() -> impl Iterator<Item = Class> {
    Class::ALL.into_iter().filter(|class| *class != Class::Internal)
}

/// Templates of the class; of those with several methods, by the first.
fn routes(class: Class) -> Vec<&'static str> {
    let own = Endpoint::ALL.iter().filter(|endpoint| endpoint.callers() == Callers::Clients);
    let mut routes: Vec<&str> = own.map(|endpoint| endpoint.template()).collect();
    routes.dedup();
    let is_of = |route: &&str| Endpoint::of_template(route).is_some_and(|endpoint| endpoint.class() == class);
    routes.into_iter().filter(is_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_sound_and_every_route_of_clients_has_an_objective() {
        let slo = Slo::own();
        assert!((slo.budget() - 0.001).abs() < 1e-12);
        for endpoint in Endpoint::ALL {
            let is_promised = slo.late_after_ms(endpoint.template()).is_some();
            assert_eq!(is_promised, endpoint.callers() == Callers::Clients, "{endpoint:?}");
        }
        assert_eq!(slo.late_after_ms("/api/v1/wallets/{id}/deposit"), Some(100));
    }

    #[test]
    fn a_file_that_breaks_a_rule_is_refused_for_it() {
        for (from, to, words) in [
            ("good_percent = 99.9", "good_percent = 100", "below 100"),
            ("[latency.reads]", "[latency.internal]", "[latency.reads] is missing"),
            ("[availability]", "[latency.internal]\np50_ms=1\np90_ms=1\np99_ms=1\n[availability]", "is no class"),
            ("p50_ms = 10\n", "p50_ms = 30\n", "below a lower one"),
            ("window_days", "window_weeks", "unknown field"),
        ] {
            let error = Slo::parse(&FILE.replacen(from, to, 1)).expect_err(words).to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
