//! The one way that a command prints its answer.

use anyhow::Result;
use serde::Serialize;

use crate::flags::{Common, Output};

/// Prints the answer as it came, or as a table.
pub fn show<T: Serialize>(common: &Common, answer: &T, table: impl Fn(&T) -> String) -> Result<()> {
    match common.output {
        Output::Table => print!("{}", printable(&table(answer))),
        Output::Json => println!("{}", serde_json::to_string_pretty(answer)?),
    }
    Ok(())
}

/// A table without what would move the cursor or change the terminal: its texts come from many callers.
fn printable(table: &str) -> String {
    table.chars().map(|c| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
