//! Reads what a process tells of itself in Prometheus' text format, as far as this program asks for it.

/// The samples of one process at one moment.
#[derive(Debug, Default)]
pub struct Samples {
    /// Series as written, `name{labels}`, and value.
    all: Vec<(String, f64)>,
}

impl Samples {
    /// Lines that are not samples are passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        Self { all: lines.filter_map(sample).collect() }
    }

    /// The sum of all series of the metric `name` that carry each of `labels`, written `key="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let is_it = |series: &str| {
            let rest = series.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
                && labels.iter().all(|label| series.contains(label))
        };
        self.all.iter().filter(|(series, _)| is_it(series)).map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_of_one_metric_and_of_the_labels_asked_for() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\na{x=\"2\"} 5\nab 7\na_sum 0.5\nnot a sample\n";
        let samples = Samples::parse(text);
        assert!((samples.sum("a", &[]) - 12.0).abs() < 1e-9);
        assert!((samples.sum("a", &["x=\"1\""]) - 7.0).abs() < 1e-9);
        assert!((samples.sum("a", &["x=\"1\"", "y=\"3\""]) - 4.0).abs() < 1e-9);
        assert!((samples.sum("a_sum", &[]) - 0.5).abs() < 1e-9);
        assert!(samples.sum("b", &[]).abs() < 1e-9);
    }
}
