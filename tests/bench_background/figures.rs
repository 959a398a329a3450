//! What was counted and timed, and the table of it.

use serde_json::Value;

/// What the database counted in a second.
#[derive(Clone, Copy, Default)]
pub struct Units {
    pub read: f64,
    pub write: f64,
    /// Calls of the change stream, which has a price of its own.
    pub stream_calls: f64,
}

impl Units {
    pub fn of(consumed: &Value, seconds: f64) -> Self {
        let each = |value: &Value| value.as_f64().unwrap_or(0.0) / seconds;
        Self {
            read: each(&consumed["read_units"]),
            write: each(&consumed["write_units"]),
            stream_calls: each(&consumed["operations"]["GetRecords"]["calls"]),
        }
    }

    pub fn without(self, other: Self) -> Self {
        Self {
            read: self.read - other.read,
            write: self.write - other.write,
            stream_calls: self.stream_calls - other.stream_calls,
        }
    }
}

/// Values of which the median, the 99th percentile and the greatest are of interest.
#[derive(Clone, Default)]
pub struct Spread(Vec<f64>);

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub fn at(&self, percent: usize) -> f64 {
        self.0.get(self.0.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
    }
}

/// A row of the table: its name, and a value of each column.
pub fn row(name: &str, values: &[f64], decimals: usize) {
    let shown: Vec<String> = values.iter().map(|value| format!("{value:.decimals$}")).collect();
    let ratio = match values {
        [first, .., last] if *first > 0.0 => format!("{:.2}", last / first),
        _ => String::new(),
    };
    println!("| {name} | {} | {ratio} |", shown.join(" | "));
}
