//! What is in an archive, as people read it.

use command_line::columns;

use crate::archive::views::{BalanceView, BalancesView, FindingView, ReportView, StatusView};

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub fn status(status: &StatusView) -> String {
    let lag = status.lag_seconds.map(|lag| format!("{lag:.1} s"));
    let newest = status.hash.as_ref().map(|hash| format!("{}:{hash}", status.entry));
    let rows = [
        ("cell", status.cell.to_string()),
        ("newest entry", or_dash(newest)),
        ("written at", or_dash(status.written_at.as_ref())),
        ("newest block", or_dash(status.newest_block_at.as_ref())),
        ("lag", or_dash(lag)),
        ("its blocks", status.blocks.to_string()),
        ("segments", status.segments.to_string()),
        ("bytes", status.bytes.to_string()),
    ];
    rows.iter().map(|(name, value)| format!("{name:12}  {value}\n")).collect()
}

pub fn findings(findings: &[FindingView]) -> String {
    let row = |found: &FindingView| {
        vec![or_dash(found.entry), or_dash(found.wallet), or_dash(found.block), found.what.clone()]
    };
    columns(&["ENTRY", "WALLET", "BLOCK", "WHAT"], &findings.iter().map(row).collect::<Vec<_>>())
}

pub fn report(report: &ReportView) -> String {
    let mut text = if report.findings.is_empty() { String::new() } else { findings(&report.findings) };
    text.push_str(&format!(
        "{} entries, {} segments, {} bytes; {} segments that no entry names\n",
        report.entries, report.segments, report.bytes, report.unnamed_segments
    ));
    text.push_str(&format!("{} blocks, of which {} are repetitions\n", report.blocks, report.repeated_blocks));
    text.push_str(&format!(
        "{} wallets, of which {} lack blocks; copies that are not whole: {}; owners verified: {}\n",
        report.wallets, report.wallets_with_missing_blocks, report.partial_copies, report.owners
    ));
    text.push_str(&format!("newest entry: {}\n", or_dash(report.receipt.as_ref())));
    match report.found {
        0 => text.push_str("verified\n"),
        found => text.push_str(&format!("NOT VERIFIED: {found} findings\n")),
    }
    text
}

pub fn balances(balances: &BalancesView) -> String {
    let row = |wallet: &BalanceView| {
        vec![
            wallet.wallet_id.to_string(),
            wallet.status.to_owned(),
            wallet.balance.clone(),
            wallet.on_hold.clone(),
            wallet.in_flight.clone(),
            wallet.open_transfers.to_string(),
            wallet.block_number.to_string(),
            wallet.block_time.clone(),
        ]
    };
    let header = ["WALLET", "STATUS", "BALANCE", "ON HOLD", "IN FLIGHT", "OPEN", "BLOCK", "AT"];
    let mut text = columns(&header, &balances.wallets.iter().map(row).collect::<Vec<_>>());
    text.push_str(&format!(
        "{} wallets at {}: {}, of which {} is on hold; {} in flight\n",
        balances.wallets.len(),
        balances.at,
        balances.total,
        balances.total_on_hold,
        balances.total_in_flight
    ));
    text
}

#[cfg(test)]
mod tests {
    use archive::{Balance, Finding, Findings, Report, Size};
    use ledger::block::Hash;
    use ledger::{Money, Status, Timestamp};
    use topology::CellId;

    use super::*;

    fn cell() -> CellId {
        CellId::parse("cell-1").expect("sound")
    }

    #[test]
    fn an_empty_archive_has_a_status() {
        let golden = "\
cell          cell-1
newest entry  -
written at    -
newest block  -
lag           -
its blocks    0
segments      1
bytes         9
";
        let shown = StatusView::new(cell(), None, Size { segments: 1, bytes: 9 }, Timestamp::from_micros(0));
        assert_eq!(status(&shown), golden);
    }

    #[test]
    fn what_is_not_as_it_must_be_is_named_before_the_counts() {
        let found = Finding { entry: Some(7), wallet: None, block: None, what: "entry 7 is missing".to_owned() };
        let findings = Findings { listed: vec![found], count: 1 };
        let golden = "\
ENTRY  WALLET  BLOCK  WHAT
7      -       -      entry 7 is missing
9 entries, 8 segments, 100 bytes; 0 segments that no entry names
20 blocks, of which 2 are repetitions
3 wallets, of which 1 lack blocks; copies that are not whole: 0; owners verified: 0
newest entry: -
NOT VERIFIED: 1 findings
";
        let shown = Report {
            entries: 9,
            segments: 8,
            bytes: 100,
            blocks: 20,
            repeated_blocks: 2,
            wallets: 3,
            wallets_with_missing_blocks: 1,
            findings,
            ..Report::default()
        };
        assert_eq!(report(&ReportView::new(cell(), &shown)), golden);
    }

    #[test]
    fn balances_are_a_table_with_their_sum() {
        let balance = |minor| Balance {
            wallet: "6a836b5a-367e-4abc-8347-a2aaf56afd1c".parse().expect("a UUID"),
            balance: Money::from_minor(minor),
            on_hold: Money::from_minor(50),
            in_flight: Money::ZERO,
            open_transfers: 0,
            status: Status::Active,
            block: 4,
            hash: Hash::ZERO,
            at: Timestamp::from_micros(0),
        };
        let golden = "\
WALLET                                STATUS  BALANCE  ON HOLD  IN FLIGHT  OPEN  BLOCK  AT
6a836b5a-367e-4abc-8347-a2aaf56afd1c  ACTIVE  1.50     0.50     0.00       0     4      1970-01-01T00:00:00.000000Z
6a836b5a-367e-4abc-8347-a2aaf56afd1c  ACTIVE  2.00     0.50     0.00       0     4      1970-01-01T00:00:00.000000Z
2 wallets at 1970-01-01T00:00:01.000000Z: 3.50, of which 1.00 is on hold; 0.00 in flight
";
        let at = Timestamp::from_micros(1_000_000);
        assert_eq!(balances(&BalancesView::new(&[balance(150), balance(200)], at)), golden);
    }
}
