//! What became of a restored cell, as people read it.

use command_line::columns;

use crate::recovery::Report;

pub fn report(report: &Report) -> String {
    let source = match report.exported_at.as_str() {
        "" => "what the tables held".to_owned(),
        at => format!("as exported at {at}"),
    };
    let mut text = format!(
        "restored {} wallets, {} blocks, {source}; left to other cells: {}; completed from them: {}; pinned: {}\n",
        report.wallets, report.blocks, report.elsewhere, report.completed, report.pinned
    );
    if !report.missing.is_empty() {
        text.push_str(&format!(
            "NOT SERVED: {} wallets, until another export holds the rest of their chains; stop the cell and run \
             `ctl cell restore` again with it\n",
            report.missing.len()
        ));
        let rows: Vec<_> =
            report.missing.iter().map(|missing| vec![missing.wallet.to_string(), missing.why.clone()]).collect();
        text.push_str(&columns(&["WALLET", "WHY"], &rows));
    }
    if report.lost.is_empty() {
        text.push_str("nothing is known to be lost; what no log recorded is not known: `ctl audit conservation`\n");
        return text;
    }
    let row = |lost: &crate::recovery::lost::LostOperation| {
        let number = lost.block.to_string();
        vec![lost.wallet.to_string(), number, lost.transaction.to_string(), lost.kind.clone(), lost.amount.clone()]
    };
    let rows: Vec<_> = report.lost.iter().map(row).collect();
    text.push_str(&format!("LOST: {} operations\n", rows.len()));
    text.push_str(&columns(&["WALLET", "BLOCK", "TRANSACTION", "WHAT", "AMOUNT"], &rows));
    text
}
