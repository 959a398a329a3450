//! Every metric of every process, as `docs/metrics.md` lists them: the one list, compiled in. From
//! it come the help texts, and the zero of each counter with a closed set of labels, so that a rate
//! is known from the first event on.
//!
//! A metric that is not in the list is a fault, which a test on a real fleet finds.

/// The page itself.
pub const PAGE: &str = include_str!("../../docs/metrics.md");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// These and no others.
    Closed(Vec<&'static str>),
    /// Not known here, at most so many.
    AtMost(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: Vec<Label>,
    /// The processes that expose it.
    pub processes: Vec<&'static str>,
    pub meaning: &'static str,
}

pub const ROUTER: &str = "router";
pub const CELL: &str = "cell";
pub const CONTROL_PLANE: &str = "control-plane";

/// All rows of the page, in its order.
pub fn all() -> Vec<Metric> {
    PAGE.lines().filter_map(row).collect()
}

/// Those of one kind of process.
pub fn of(process: &str) -> Vec<Metric> {
    all().into_iter().filter(|metric| metric.processes.contains(&process)).collect()
}

/// `| `name` | kind | labels | processes | meaning |`; None for other lines.
fn row(line: &'static str) -> Option<Metric> {
    let mut cells = line.strip_prefix("| `")?.strip_suffix('|')?.split('|').map(str::trim);
    let name = cells.next()?.strip_suffix('`')?;
    let kind = match cells.next()? {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        _ => return None,
    };
    let labels = cells.next()?.split(';').filter_map(label).collect();
    let processes = cells.next()?.split(", ").collect();
    Some(Metric { name, kind, labels, processes, meaning: cells.next()? })
}

/// `` `outcome`: done, failed `` or `` `route` ≤ 40 ``.
fn label(text: &'static str) -> Option<Label> {
    let (name, rest) = text.trim().strip_prefix('`')?.split_once('`')?;
    let values = match rest.trim().strip_prefix('≤') {
        Some(most) => Values::AtMost(most.trim().parse().ok()?),
        None => Values::Closed(rest.trim().strip_prefix(':')?.split(',').map(str::trim).collect()),
    };
    Some(Label { name, values })
}

impl Metric {
    /// Every combination of its labels' values, if they are closed.
    pub fn series(&self) -> Option<Vec<Vec<(&'static str, &'static str)>>> {
        let mut series = vec![vec![]];
        for label in &self.labels {
            let Values::Closed(values) = &label.values else { return None };
            let with = |known: Vec<_>, value: &&'static str| [known, vec![(label.name, *value)]].concat();
            series = series.iter().flat_map(|known| values.iter().map(|value| with(known.clone(), value))).collect();
        }
        Some(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_a_metric_is() {
        let line = "| `a_total` | counter | `b`: c, d; `e`: f | router, cell | What it is. |";
        let metric = row(line).expect("a row");
        assert_eq!((metric.name, metric.kind, metric.meaning), ("a_total", Kind::Counter, "What it is."));
        assert_eq!(metric.processes, ["router", "cell"]);
        let expected = vec![vec![("b", "c"), ("e", "f")], vec![("b", "d"), ("e", "f")]];
        assert_eq!(metric.series(), Some(expected));
        let open = row("| `x_seconds` | histogram | `route` ≤ 40 | cell | Time. |").expect("a row");
        assert_eq!((open.labels[0].values.clone(), open.series()), (Values::AtMost(40), None));
        let bare = row("| `y_total` | counter | | cell | Bare. |").expect("a row");
        assert_eq!((bare.processes.clone(), bare.series()), (vec!["cell"], Some(vec![vec![]])));
        assert_eq!(row("| name | type | labels | processes | meaning |"), None);
    }

    #[test]
    fn the_page_is_sound() {
        let all = all();
        let rows = PAGE.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(all.len(), rows, "a row that cannot be read");
        let mut names: Vec<_> = all.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len(), "a metric twice");
        for metric in &all {
            assert!(!metric.meaning.is_empty() && !metric.processes.is_empty(), "{}", metric.name);
            let known = |process: &&str| [ROUTER, CELL, CONTROL_PLANE].contains(process);
            assert!(metric.processes.iter().all(known), "{}: {:?}", metric.name, metric.processes);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            let personal = |label: &Label| ["wallet", "user", "trace", "request", "transfer"].contains(&label.name);
            assert!(!metric.labels.iter().any(personal), "{}", metric.name);
        }
    }
}
