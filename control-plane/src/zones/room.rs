//! Whether what stays is enough when zones are left. Pure.
//!
//! The rule: every cell that owns something keeps, in the zones that stay, a ready process for each duty, and those that
//! move money may together take as much as the cell is being asked for now.

use topology::config::part_of;
use topology::{CellId, Duty, Role, ZoneId};

/// A cell's process as it was found.
#[derive(Debug, Clone)]
pub struct Process {
    pub role: Role,
    pub zone: Option<ZoneId>,
    pub ready: bool,
}

#[derive(Debug, Clone)]
pub struct CellRoom {
    pub cell: CellId,
    /// Writes a second that all of its processes take together; 0: no limit.
    pub max_tps: u32,
    /// What it is asked for now, writes a second; absent where it is not measured.
    pub writes_per_second: Option<f64>,
    pub processes: Vec<Process>,
}

/// What each cell would lack with these zones left; empty: it is enough.
pub fn lacking(cells: &[CellRoom], left: &[&ZoneId]) -> Vec<String> {
    cells.iter().filter_map(|cell| lacking_in(cell, left)).collect()
}

fn lacking_in(cell: &CellRoom, left: &[&ZoneId]) -> Option<String> {
    let stays = |one: &&Process| one.ready && one.zone.as_ref().is_none_or(|zone| !left.contains(&zone));
    let serves = |duty: Duty| move |one: &&Process| one.role.serves(duty);
    for (duty, what) in [(Duty::Transactions, "money"), (Duty::Accounts, "wallets")] {
        if cell.processes.iter().filter(stays).filter(serves(duty)).count() == 0 {
            return Some(format!("{} would have no ready process for {what}", cell.cell));
        }
    }
    let used = cell.writes_per_second.filter(|_| cell.max_tps > 0)?;
    let moving_money = || cell.processes.iter().filter(serves(Duty::Transactions));
    let part = part_of(cell.max_tps, u32::try_from(moving_money().count()).unwrap_or(u32::MAX));
    let stay = u32::try_from(moving_money().filter(stays).count()).unwrap_or(u32::MAX);
    let room = part.saturating_mul(stay);
    (used > f64::from(room))
        .then(|| format!("{} takes {used:.0} writes a second and would keep room for {room}", cell.cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> ZoneId {
        ZoneId::parse(name).expect("sound")
    }

    fn process(place: &str, role: Role, ready: bool) -> Process {
        Process { role, zone: (!place.is_empty()).then(|| zone(place)), ready }
    }

    fn cell(used: Option<f64>, processes: Vec<Process>) -> CellRoom {
        CellRoom { cell: CellId::parse("c").expect("sound"), max_tps: 900, writes_per_second: used, processes }
    }

    #[test]
    fn what_stays_serves_every_duty_and_the_load_of_now() {
        use Role::{Accounts, All, Transactions};
        let three = || ["a", "b", "d"].map(|zone| process(zone, All, true)).to_vec();
        let (a, b) = (zone("a"), zone("b"));
        for (what, cell, left, expected) in [
            ("two of three carry the load", cell(Some(600.0), three()), vec![&a], None),
            ("two of three do not", cell(Some(601.0), three()), vec![&a], Some("room for 600")),
            ("nothing is measured", cell(None, three()), vec![&a, &b], None),
            ("one of three does not", cell(Some(301.0), three()), vec![&a, &b], Some("room for 300")),
            (
                "all in one zone",
                cell(None, vec![process("a", All, true)]),
                vec![&a],
                Some("no ready process for money"),
            ),
            ("a process in no zone stays", cell(None, vec![process("", All, true)]), vec![&a], None),
            (
                "what stays is not ready",
                cell(None, vec![process("a", All, true), process("b", All, false)]),
                vec![&a],
                Some("no ready process"),
            ),
            (
                "no cell creates wallets",
                cell(None, vec![process("a", Accounts, true), process("b", Transactions, true)]),
                vec![&a],
                Some("no ready process for wallets"),
            ),
        ] {
            let found = lacking(&[cell], &left);
            match expected {
                None => assert!(found.is_empty(), "{what}: {found:?}"),
                Some(words) => assert!(found.iter().any(|one| one.contains(words)), "{what}: {found:?}"),
            }
        }
    }

    #[test]
    fn no_limit_is_never_exceeded() {
        let processes = vec![process("a", Role::All, true), process("b", Role::All, true)];
        let unlimited = CellRoom { max_tps: 0, ..cell(Some(1e9), processes) };
        assert!(lacking(&[unlimited], &[&zone("a")]).is_empty());
    }
}
