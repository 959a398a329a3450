//! Asks before something is changed. It must never take silence for a yes.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use command_line::{FAILED, USAGE, failure};
use control_api::Wanted;

pub fn ask(wanted: &Wanted) -> Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(failure(USAGE, "no terminal to ask on: add --yes, or look at the plan with --dry-run"));
    }
    match expected(wanted) {
        Some(name) => eprint!("Everything leaves {name}. Type its name to go on: "),
        None => eprint!("Go on? [y/N] "),
    }
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if is_agreed(wanted, &answer) { Ok(()) } else { Err(failure(FAILED, "nothing was changed")) }
}

/// What empties a cell or deletes is agreed to by name.
fn expected(wanted: &Wanted) -> Option<String> {
    match wanted {
        Wanted::Evacuate { cell, .. } => Some(cell.to_string()),
        _ => None,
    }
}

fn is_agreed(wanted: &Wanted, answer: &str) -> bool {
    match expected(wanted) {
        Some(name) => answer.trim() == name,
        None => matches!(answer.trim(), "y" | "Y" | "yes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evacuation_is_agreed_to_by_the_cells_name_only() {
        let cell = topology::CellId::parse("cell-1").expect("sound");
        let evacuate = Wanted::Evacuate { cell, force: false };
        let rebalance = Wanted::Rebalance { max_moves: None };
        let cases = [
            (&evacuate, "cell-1\n", true),
            (&evacuate, "y\n", false),
            (&evacuate, "cell-2\n", false),
            (&rebalance, "y\n", true),
            (&rebalance, "\n", false),
            (&rebalance, "", false),
        ];
        for (wanted, answer, expected) in cases {
            assert_eq!(is_agreed(wanted, answer), expected, "{answer:?}");
        }
    }
}
