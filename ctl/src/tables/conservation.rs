//! The books, added up.

use command_line::columns;
use ledger::Money;
use reconciliation::Books;

fn money(minor: u64) -> String {
    Money::from_minor(minor).to_string()
}

pub fn books(books: &Books) -> String {
    let cells = books.cells.iter().map(|(cell, sums)| {
        let figures = [sums.balances, sums.came_in, sums.went_out, sums.sent, sums.received, sums.returned];
        let counts = [cell.to_string(), sums.wallets.to_string(), sums.blocks.to_string()];
        counts.into_iter().chain(figures.map(money)).collect::<Vec<_>>()
    });
    let names = ["CELL", "WALLETS", "BLOCKS", "BALANCES", "CAME IN", "WENT OUT", "SENT", "RECEIVED", "RETURNED"];
    let mut text = columns(&names, &cells.collect::<Vec<_>>());
    let pairs = books.pairs.iter().map(|pair| {
        let figures = [pair.sent, pair.received, pair.returned, pair.in_flight].map(money);
        [pair.from.clone(), pair.to.clone()].into_iter().chain(figures).collect::<Vec<_>>()
    });
    text.push('\n');
    text.push_str(&columns(&["FROM", "TO", "SENT", "RECEIVED", "RETURNED", "IN FLIGHT"], &pairs.collect::<Vec<_>>()));
    let [balances, in_flight, came_in, went_out] =
        [books.balances, books.in_flight, books.came_in, books.went_out].map(money);
    let off = money(u64::try_from(books.difference.unsigned_abs()).unwrap_or(u64::MAX));
    let verdict = match books.difference {
        0 => "conserved".to_owned(),
        ..0 => format!("OFF BY -{off}"),
        _ => format!("OFF BY {off}"),
    };
    text.push_str(&format!(
        "\nuntil {}: balances {balances} + in flight {in_flight} = came in {came_in} - went out {went_out}: {verdict}\n",
        books.until
    ));
    for fault in &books.faults {
        text.push_str(&format!("FAULT  {fault}\n"));
    }
    text
}
