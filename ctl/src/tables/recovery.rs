//! What became of a restored cell, as people read it.

use command_line::columns;
use control_api::restore::{Damage, Refilled};

use crate::recovery::Report;

pub fn report(report: &Report) -> String {
    let source = match (report.exported_at.as_str(), &report.archive) {
        (_, Some(_)) => "from the archive".to_owned(),
        ("", None) => "what the tables held".to_owned(),
        (at, None) => format!("as exported at {at}"),
    };
    let mut text = format!(
        "restored {} wallets, {} blocks, {source}; left to other cells: {}; completed from them: {}; pinned: {}\n",
        report.wallets, report.blocks, report.elsewhere, report.completed, report.pinned
    );
    if let Some(archive) = &report.archive {
        text.push_str(&archived(archive));
    }
    if !report.missing.is_empty() {
        text.push_str(&format!(
            "NOT SERVED: {} wallets, until another export or archive holds the rest of their chains; stop the cell and \
             run `ctl cell restore` again with it\n",
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

fn archived(read: &Refilled) -> String {
    let rate = (read.written + read.there).saturating_mul(1_000).checked_div(read.millis).unwrap_or(0);
    let mut text = format!(
        "archive: {} entries of {}; {} blocks written, {} were there; {rate} blocks/s; the newest is of {}\n",
        read.entries,
        read.last_entry,
        read.written,
        read.there,
        read.newest_at.as_deref().unwrap_or("-")
    );
    if read.damages > 0 {
        text.push_str(&format!("DAMAGED: {} entries of the archive; the blocks of each are lost\n", read.damages));
        let row = |damage: &Damage| {
            let lost = damage.segment.as_ref();
            let blocks = lost.map_or_else(|| "-".to_owned(), |lost| lost.blocks.to_string());
            let from_to = lost.map_or_else(|| "-".to_owned(), |lost| format!("{} to {}", lost.first_at, lost.last_at));
            vec![damage.entry.to_string(), blocks, from_to, damage.why.clone()]
        };
        let rows: Vec<_> = read.damaged.iter().map(row).collect();
        text.push_str(&columns(&["ENTRY", "BLOCKS", "WRITTEN", "WHY"], &rows));
    }
    text
}
