//! Capacity as people read it.

use command_line::columns;
use control_api::capacity::{Capacity, CellCapacity};

fn rate(of: Option<f64>) -> String {
    of.map_or_else(|| "unknown".to_owned(), |rate| format!("{rate:.0}"))
}

/// Part and whole.
fn used(part: Option<f64>, whole: u64) -> String {
    match (part, whole) {
        (_, 0) => format!("{} (no limit)", rate(part)),
        (None, whole) => format!("unknown of {whole}"),
        (Some(part), whole) => format!("{part:.0} of {whole} ({:.0} %)", part * 100.0 / whole as f64),
    }
}

fn bytes(of: Option<u64>) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let Some(bytes) = of else { return "unknown".to_owned() };
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1_000.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

pub fn capacity(capacity: &Capacity) -> String {
    let row = |cell: &CellCapacity| {
        vec![
            cell.cell.to_string(),
            format!("{:?}", cell.state).to_lowercase(),
            used(cell.writes_per_second, cell.max_tps.into()),
            rate(cell.requests_per_second),
            used(cell.customers.map(|customers| customers as f64), cell.max_customers),
            bytes(cell.bytes),
        ]
    };
    let header = ["CELL", "STATE", "WRITES A SECOND", "REQUESTS", "CUSTOMERS", "STORED"];
    let mut text = columns(&header, &capacity.cells.iter().map(row).collect::<Vec<_>>());
    let customers = capacity.customers.map(|customers| customers as f64);
    text.push_str(&format!(
        "all that serve: {} writes a second, {} customers\n",
        used(capacity.writes_per_second, capacity.max_tps),
        used(customers, capacity.max_customers)
    ));
    let hot: Vec<Vec<String>> = (capacity.cells.iter())
        .flat_map(|cell| cell.hot.iter().map(move |hot| (cell, hot)))
        .map(|(cell, hot)| vec![hot.wallet.to_string(), cell.cell.to_string(), format!("{:.1}", hot.writes_per_second)])
        .collect();
    if !hot.is_empty() {
        text.push_str(&format!("\n{}", columns(&["HOT WALLET", "CELL", "WRITES A SECOND"], &hot)));
    }
    for advice in &capacity.advice {
        text.push_str(&format!("\n{advice}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use topology::{CellId, CellState};

    use super::*;

    #[test]
    fn capacity_is_a_table_and_what_to_do_stands_below() {
        let cell = |name: &str, writes, customers| CellCapacity {
            cell: CellId::parse(name).expect("sound"),
            state: CellState::Active,
            max_tps: 1_000,
            writes_per_second: writes,
            requests_per_second: writes,
            max_customers: 200,
            customers,
            bytes: Some(1_234_567),
            hot: vec![],
        };
        let all = Capacity {
            cells: vec![cell("a", Some(250.0), Some(50)), cell("b", None, None)],
            max_tps: 2_000,
            writes_per_second: None,
            max_customers: 400,
            customers: None,
            advice: vec!["add a cell".into()],
        };
        let golden = "\
CELL  STATE   WRITES A SECOND     REQUESTS  CUSTOMERS         STORED
a     active  250 of 1000 (25 %)  250       50 of 200 (25 %)  1.2 MB
b     active  unknown of 1000     unknown   unknown of 200    1.2 MB
all that serve: unknown of 2000 writes a second, unknown of 400 customers

add a cell
";
        assert_eq!(capacity(&all), golden);
    }
}
