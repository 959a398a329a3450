//! A strict reader of Prometheus's text format: what it does not understand, or what is not as it must be, fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// A metric with all its series.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Labels (without `le`), by name, and the value; of a histogram its count.
    pub series: Vec<(BTreeMap<String, String>, f64)>,
}

pub type Page = BTreeMap<String, Family>;

/// Reads a page. `who` is for the message.
pub fn read(who: &str, text: &str) -> Page {
    let mut page = Page::new();
    let mut current = String::new();
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut help: Option<(String, String)> = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').unwrap_or_else(|| panic!("{who}: no help: {line}"));
            help = Some((name.to_owned(), text.to_owned()));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{who}: no type: {line}"));
            assert!(is_name(name), "{who}: {name:?}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{who}: {line}");
            let (of, help) = help.take().unwrap_or_else(|| panic!("{who}: {name} has no help"));
            assert_eq!(of, name, "{who}: help of another");
            let family = Family { kind: kind.to_owned(), help, series: vec![] };
            assert!(page.insert(name.to_owned(), family).is_none(), "{who}: {name} twice");
            name.clone_into(&mut current);
        } else {
            assert!(seen.insert(line.rsplit_once(' ').map(|(series, _)| series.to_owned())), "{who}: twice: {line}");
            let (name, mut labels, value) = sample(who, line);
            let family = page.get_mut(&current).unwrap_or_else(|| panic!("{who}: no type before {line}"));
            let part = name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{who}: out of place: {line}"));
            match (family.kind.as_str(), part) {
                ("counter" | "gauge", "") => family.series.push((labels, value)),
                ("histogram", "_bucket") => {
                    let le = labels.remove("le").unwrap_or_else(|| panic!("{who}: {line}"));
                    let le = if le == "+Inf" { f64::INFINITY } else { le.parse().expect("a bound") };
                    buckets.entry(format!("{current}{labels:?}")).or_default().push((le, value));
                }
                ("histogram", "_sum") => assert!(value.is_finite() && value >= 0.0, "{who}: {line}"),
                ("histogram", "_count") => {
                    let own = &buckets[&format!("{current}{labels:?}")];
                    assert!(own.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{who}: {current}: {own:?}");
                    assert_eq!(own.last(), Some(&(f64::INFINITY, value)), "{who}: {line}");
                    family.series.push((labels, value));
                }
                _ => panic!("{who}: not of a {}: {line}", family.kind),
            }
            assert!(family.kind != "counter" || value >= 0.0, "{who}: {line}");
        }
    }
    page
}

fn is_name(text: &str) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    first && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn sample(who: &str, line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{who}: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("{who}: no number: {line}"));
    let Some((name, labels)) = series.split_once('{') else { return (series.to_owned(), BTreeMap::new(), value) };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{who}: {line}"));
    let pair = |text: &str| {
        let (name, value) = text.split_once('=')?;
        Some((name.to_owned(), value.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
    };
    // No value of ours holds a comma, a quote or a backslash; one that did would fail here.
    let pairs = labels.split(',').map(|text| pair(text).unwrap_or_else(|| panic!("{who}: {text:?} in {line}")));
    let pairs: Vec<_> = pairs.inspect(|(name, _)| assert!(is_name(name), "{who}: {line}")).collect();
    let count = pairs.len();
    let labels: BTreeMap<_, _> = pairs.into_iter().collect();
    assert_eq!(labels.len(), count, "{who}: a label twice: {line}");
    (name.to_owned(), labels, value)
}

#[test]
fn the_reader_is_strict() {
    let sound = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\n# HELP h H.\n# TYPE h histogram\n\
                 h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    let page = read("test", sound);
    assert_eq!((page["a_total"].series[0].1, page["h"].series[0].1), (1.0, 2.0));
    for (what, with) in [
        ("# HELP a_total A.\n", ""),
        ("a_total{b=\"c\"} 1", "a_total{b=\"c\"} x"),
        ("a_total{b=\"c\"} 1", "a_total{b=\"c\"} 1\na_total{b=\"c\"} 1"),
        ("a_total{b=\"c\"} 1", "b_total 1"),
        ("\"+Inf\"} 2", "\"+Inf\"} 1"),
        ("h_count 2", "h_count 3"),
        ("counter", "summary"),
    ] {
        let unsound = sound.replace(what, with);
        assert!(std::panic::catch_unwind(|| read("test", &unsound)).is_err(), "{unsound}");
    }
}
