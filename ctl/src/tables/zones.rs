//! Zones as people read them.

use command_line::columns;
use control_api::zones::{Dns, ZoneView};

pub fn zones(zones: &[ZoneView]) -> String {
    let row = |zone: &ZoneView| {
        let state = zone.left_until.as_ref().map_or_else(|| "in use".to_owned(), |until| format!("left until {until}"));
        let cell = |one: &control_api::zones::ZoneCell| format!("{} {}/{}", one.cell, one.ready, one.instances);
        let cells: Vec<String> = zone.cells.iter().map(cell).collect();
        let dns = match &zone.dns {
            None => "-".to_owned(),
            Some(Dns::Unknown) => "unknown".to_owned(),
            Some(Dns::Answers) => "answers".to_owned(),
            Some(Dns::Left) => "left".to_owned(),
            Some(Dns::Failing { why }) => format!("FAILING: {why}"),
        };
        vec![zone.zone.to_string(), state, cells.join(", "), dns]
    };
    columns(&["ZONE", "STATE", "CELLS (READY)", "DNS"], &zones.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use topology::{CellId, ZoneId};

    use super::*;
    use control_api::zones::ZoneCell;

    #[test]
    fn zones_are_a_table() {
        let zone = |name: &str, left: Option<&str>, dns| ZoneView {
            zone: ZoneId::parse(name).expect("sound"),
            left_until: left.map(str::to_owned),
            cells: vec![ZoneCell { cell: CellId::parse("cell-1").expect("sound"), instances: 2, ready: 1 }],
            dns,
        };
        let all = [zone("z-a", None, None), zone("z-b", Some("2026-01-02T03:04:05Z"), Some(Dns::Left))];
        let golden = "\
ZONE  STATE                            CELLS (READY)  DNS
z-a   in use                           cell-1 1/2     -
z-b   left until 2026-01-02T03:04:05Z  cell-1 1/2     left
";
        assert_eq!(zones(&all), golden);
    }
}
