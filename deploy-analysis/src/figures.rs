//! What cells and routers have counted, by route: requests, those that failed, and how long they took. Read out of a page
//! of metrics; added up and subtracted. Pure.
//!
//! It must never count a refusal as a failure: too small a balance is an answer, whatever version gives it.

use std::collections::BTreeMap;

use control_api::Tally;
use serde::{Deserialize, Serialize};
use topology::Version;

use super::statistics::Errors;

/// Requests by route, and their times: of a cell and of a router.
const COUNTED: [(&str, &str); 2] =
    [("cell_requests_total", "cell_request_seconds"), ("router_route_requests_total", "router_route_request_seconds")];
/// The version is a label of this.
const BUILD: &str = "_build_info";
const STARTED: &str = "process_start_time_seconds";
/// How a router calls what a cell tells by its status.
const FAILED: &str = "failed";
/// More routes than any version has: what comes beyond is not read.
const ROUTES_MAX: usize = 100;
/// Prefix of what replaces a route in counts by canaries, at the other end.
pub const CANARY: &str = "canary ";
/// Of the last class of a histogram.
const WITHOUT_END: u64 = u64::MAX;

/// A page of metrics in Prometheus' text form. All of it is of one process, also where several share an address.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub version: Version,
    /// In milliseconds since 1970: another number is another process.
    pub started_ms: u64,
    pub figures: Figures,
}

impl Page {
    /// `None`: it does not say what it runs, or when that was started.
    pub fn read(page: &str) -> Option<Self> {
        let value = |line: &str| line.rsplit_once(' ')?.1.parse::<f64>().ok();
        let started = page.lines().find(|line| line.starts_with(STARTED)).and_then(value)?;
        let build = page.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let (name, labels) = line.split_once('{')?;
            name.ends_with(BUILD).then(|| label(labels, "version"))?
        });
        let version = Version::parse(build?).ok()?;
        Some(Self { version, started_ms: (started * 1e3).round() as u64, figures: Figures::read(page) })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures(pub BTreeMap<String, Counts>);

/// Requests of one route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    pub requests: u64,
    /// Answered with 5xx.
    pub errors: u64,
    /// How many took up to so many microseconds, and longer than the class before.
    #[serde(default)]
    pub classes: BTreeMap<u64, u64>,
    #[serde(default)]
    pub seconds: f64,
}

impl Counts {
    pub fn errors(&self) -> Errors {
        Errors { errors: self.errors.min(self.requests), requests: self.requests }
    }

    /// Requests with a measured time.
    pub fn timed(&self) -> u64 {
        self.classes.values().sum()
    }

    /// Of those with a measured time, how many took longer: as far as their classes tell.
    pub fn slower_than(&self, micros: u64) -> Errors {
        let slower = self.classes.iter().filter(|(class, _)| **class > micros).map(|(_, count)| count).sum();
        Errors { errors: slower, requests: self.timed() }
    }

    pub fn mean_ms(&self) -> f64 {
        match self.timed() {
            0 => 0.0,
            timed => self.seconds * 1_000.0 / timed as f64,
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.seconds += other.seconds;
        for (&class, &count) in &other.classes {
            *self.classes.entry(class).or_default() += count;
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        let class = |(&class, &count): (&u64, &u64)| {
            (class, count.saturating_sub(earlier.classes.get(&class).copied().unwrap_or(0)))
        };
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            classes: self.classes.iter().map(class).collect(),
            seconds: (self.seconds - earlier.seconds).max(0.0),
        }
    }
}

impl Figures {
    /// Lines that are not understood are passed over.
    fn read(page: &str) -> Self {
        let mut figures = Self::default();
        for line in page.lines() {
            let Some((sample, labels, value)) = parts(line) else { continue };
            let Some(route) = label(labels, "route") else { continue };
            if !figures.0.contains_key(route) && figures.0.len() >= ROUTES_MAX {
                continue;
            }
            let counts = figures.0.entry(route.to_owned()).or_default();
            match sample {
                Sample::Requests => {
                    counts.requests += value as u64;
                    if label(labels, "status").is_some_and(|status| status.starts_with('5'))
                        || label(labels, "outcome") == Some(FAILED)
                    {
                        counts.errors += value as u64;
                    }
                }
                Sample::Seconds => counts.seconds += value,
                Sample::Class => {
                    let Some(class) = label(labels, "le").and_then(class) else { continue };
                    *counts.classes.entry(class).or_default() += value as u64;
                }
            }
        }
        for counts in figures.0.values_mut() {
            counts.classes = apart(&counts.classes);
        }
        figures
    }

    pub fn add(&mut self, other: &Self) {
        for (route, counts) in &other.0 {
            self.0.entry(route.clone()).or_default().add(counts);
        }
    }

    /// What was counted since `earlier`. A process that started again counts from nothing: then all
    /// of it is new.
    pub fn since(&self, earlier: &Self) -> Self {
        if self.began_after(earlier) {
            return self.clone();
        }
        let nothing = Counts::default();
        let since = |(route, counts): (&String, &Counts)| {
            (route.clone(), counts.since(earlier.0.get(route).unwrap_or(&nothing)))
        };
        Self(self.0.iter().map(since).collect())
    }

    /// Whether these are of a process that began after `earlier` was read: what is counted never falls.
    pub fn began_after(&self, earlier: &Self) -> bool {
        earlier.0.iter().any(|(route, before)| {
            self.0.get(route).map_or(before.requests > 0, |counts| counts.requests < before.requests)
        })
    }

    /// Of all routes together. What canaries asked has been counted where it was answered.
    pub fn whole(&self) -> Counts {
        let mut whole = Counts::default();
        self.0.iter().filter(|(route, _)| !route.starts_with(CANARY)).for_each(|(_, counts)| whole.add(counts));
        whole
    }

    pub fn tally(&self) -> Tally {
        let whole = self.whole();
        Tally { requests: whole.requests, errors: whole.errors, mean_ms: whole.mean_ms() }
    }
}

/// What a line counts.
enum Sample {
    Requests,
    Seconds,
    /// Of the histogram of times.
    Class,
}

fn sample(name: &str) -> Option<Sample> {
    COUNTED.iter().find_map(|(requests, seconds)| match name.strip_prefix(seconds) {
        _ if name == *requests => Some(Sample::Requests),
        Some("_sum") => Some(Sample::Seconds),
        Some("_bucket") => Some(Sample::Class),
        _ => None,
    })
}

/// A sample that counts for us, its labels and its value.
fn parts(line: &str) -> Option<(Sample, &str, f64)> {
    let (name, rest) = line.split_once('{')?;
    let sample = sample(name)?;
    let (labels, value) = rest.rsplit_once('}')?;
    // An exemplar may follow the value.
    Some((sample, labels, value.split_whitespace().next()?.parse().ok()?))
}

/// A label's value as it is written: no route, status or bound holds a quote. `{}` in it are a route's.
fn label<'l>(labels: &'l str, name: &str) -> Option<&'l str> {
    let mut rest = labels;
    loop {
        let (own, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        if own.trim_start_matches(',') == name {
            return Some(value);
        }
        rest = after;
    }
}

fn class(bound: &str) -> Option<u64> {
    if bound == "+Inf" {
        return Some(WITHOUT_END);
    }
    let seconds: f64 = bound.parse().ok()?;
    Some((seconds * 1e6).round() as u64)
}

/// Each class without the ones below it.
fn apart(cumulative: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let mut below = 0;
    let each = |(&class, &count): (&u64, &u64)| {
        let own = count.saturating_sub(below);
        below = count.max(below);
        (class, own)
    };
    cumulative.iter().map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# TYPE cell_requests_total counter
cell_requests_total{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw",status="200"} 90
cell_requests_total{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw",status="400"} 5
cell_requests_total{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw",status="500"} 4
cell_requests_total{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw",status="503"} 1
cell_requests_total{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets",status="201"} 7
cell_request_seconds_bucket{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw",le="0.005"} 20
cell_request_seconds_bucket{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw",le="0.01"} 90
cell_request_seconds_bucket{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw",le="+Inf"} 100
cell_request_seconds_sum{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw"} 0.8
cell_request_seconds_count{cell="cell-1",instance="cell-1-a",route="/api/v1/wallets/{id}/withdraw"} 100
cell_admission_in_flight{cell="cell-1",class="movement"} 3
nonsense
"#;

    #[test]
    fn a_page_is_read_by_route_and_a_refusal_is_no_error() {
        let figures = Figures::read(PAGE);
        let withdraw = &figures.0["/api/v1/wallets/{id}/withdraw"];
        assert_eq!((withdraw.requests, withdraw.errors), (100, 5));
        assert_eq!(withdraw.classes, BTreeMap::from([(5_000, 20), (10_000, 70), (WITHOUT_END, 10)]));
        assert!((withdraw.mean_ms() - 8.0).abs() < 1e-9);
        assert_eq!(figures.0["/api/v1/wallets"].requests, 7);
        let tally = figures.tally();
        assert_eq!((tally.requests, tally.errors, figures.0.len()), (107, 5, 2));
    }

    #[test]
    fn a_routers_page_is_read_like_a_cells() {
        let page = r#"router_route_requests_total{route="/api/v1/wallets/{id}/withdraw",outcome="ok"} 90
router_route_requests_total{route="/api/v1/wallets/{id}/withdraw",outcome="refused"} 5
router_route_requests_total{route="/api/v1/wallets/{id}/withdraw",outcome="failed"} 5
router_requests_total{listener="public",status="5xx"} 5
router_route_request_seconds_bucket{route="/api/v1/wallets/{id}/withdraw",le="0.005"} 20
router_route_request_seconds_bucket{route="/api/v1/wallets/{id}/withdraw",le="+Inf"} 100
router_route_request_seconds_sum{route="/api/v1/wallets/{id}/withdraw"} 0.8
router_request_seconds_sum 7
# TYPE router_build_info gauge
router_build_info{version="2.0.0"} 1
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1796040732.125
"#;
        let page = Page::read(page).expect("a page");
        assert_eq!((page.version.as_str(), page.started_ms), ("2.0.0", 1_796_040_732_125));
        let withdraw = &page.figures.0["/api/v1/wallets/{id}/withdraw"];
        assert_eq!((withdraw.requests, withdraw.errors, page.figures.0.len()), (100, 5, 1));
        assert_eq!(withdraw.classes, BTreeMap::from([(5_000, 20), (WITHOUT_END, 80)]));
        assert!((withdraw.mean_ms() - 8.0).abs() < 1e-9);
        let of_cell = r#"cell_build_info{cell="cell-1",instance="cell-1-a",version="next"} 1
process_start_time_seconds{cell="cell-1",instance="cell-1-a"} 12.5
"#;
        let page = Page::read(of_cell).expect("a page");
        assert_eq!((page.version.as_str(), page.started_ms), ("next", 12_500));
        assert_eq!(Page::read("upstream connect error"), None, "no page of ours");
    }

    #[test]
    fn what_was_counted_since_does_not_fall_below_nothing() {
        let earlier = Figures::read(PAGE);
        let later = Figures::read(&PAGE.replace("status=\"200\"} 90", "status=\"200\"} 120"));
        assert_eq!((later.since(&earlier).tally().requests, later.since(&earlier).tally().errors), (30, 0));
        let mut both = later.since(&earlier);
        both.add(&earlier);
        assert_eq!(both.tally().requests, later.tally().requests);

        let restarted = Figures::read(&PAGE.replace("status=\"200\"} 90", "status=\"200\"} 2"));
        assert!(restarted.began_after(&earlier) && !later.began_after(&earlier));
        assert_eq!(restarted.since(&earlier), restarted, "another process: all of it is new");
    }
}
