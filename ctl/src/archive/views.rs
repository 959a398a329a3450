//! What the commands answer, as JSON.

use archive::{Balance, Entry, Findings, Report, Size};
use ledger::{Money, Status, Timestamp};
use serde::Serialize;
use topology::{CellId, WalletId};

const MICROS: f64 = 1_000_000.0;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    pub cell: CellId,
    /// The number of the newest entry; 0: nothing is archived.
    pub entry: u64,
    pub hash: Option<String>,
    pub written_at: Option<String>,
    /// The time of the newest block of that entry, and how long ago that was.
    pub newest_block_at: Option<String>,
    pub lag_seconds: Option<f64>,
    /// Blocks of that entry.
    pub blocks: u64,
    /// All segments, and their bytes.
    pub segments: u64,
    pub bytes: u64,
}

impl StatusView {
    pub fn new(cell: CellId, newest: Option<&Entry>, size: Size, now: Timestamp) -> Self {
        let lag = |entry: &Entry| now.micros().saturating_sub(entry.last_at.micros()) as f64 / MICROS;
        Self {
            cell,
            entry: newest.map_or(0, |entry| entry.number),
            hash: newest.map(|entry| entry.hash.to_string()),
            written_at: newest.map(|entry| entry.at.to_string()),
            newest_block_at: newest.map(|entry| entry.last_at.to_string()),
            lag_seconds: newest.map(lag),
            blocks: newest.map_or(0, |entry| entry.blocks),
            segments: size.segments,
            bytes: size.bytes,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportView {
    pub cell: CellId,
    pub entries: u64,
    /// The newest entry, as `--receipt` takes it.
    pub receipt: Option<String>,
    pub segments: u64,
    pub bytes: u64,
    pub unnamed_segments: u64,
    pub blocks: u64,
    pub repeated_blocks: u64,
    pub wallets: u64,
    pub wallets_with_missing_blocks: u64,
    pub partial_copies: u64,
    pub owners: u64,
    /// Of all findings; the first ones are listed.
    pub found: u64,
    pub findings: Vec<FindingView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    pub entry: Option<u64>,
    pub wallet: Option<WalletId>,
    pub block: Option<u64>,
    pub what: String,
}

pub fn findings(findings: &Findings) -> Vec<FindingView> {
    let view = |found: &archive::Finding| FindingView {
        entry: found.entry,
        wallet: found.wallet,
        block: found.block,
        what: found.what.clone(),
    };
    findings.listed.iter().map(view).collect()
}

impl ReportView {
    pub fn new(cell: CellId, report: &Report) -> Self {
        Self {
            cell,
            entries: report.entries,
            receipt: report.newest.as_ref().map(|newest| format!("{}:{}", newest.number, newest.hash)),
            segments: report.segments,
            bytes: report.bytes,
            unnamed_segments: report.unnamed_segments,
            blocks: report.blocks,
            repeated_blocks: report.repeated_blocks,
            wallets: report.wallets,
            wallets_with_missing_blocks: report.wallets_with_missing_blocks,
            partial_copies: report.partial_copies,
            owners: report.owners,
            found: report.findings.count,
            findings: findings(&report.findings),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancesView {
    pub at: String,
    pub wallets: Vec<BalanceView>,
    pub total: String,
    pub total_on_hold: String,
    pub total_in_flight: String,
}

/// Amounts with two decimals.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BalanceView {
    pub wallet_id: WalletId,
    pub status: &'static str,
    pub balance: String,
    pub on_hold: String,
    pub in_flight: String,
    pub open_transfers: u32,
    pub block_number: u64,
    pub block_hash: String,
    pub block_time: String,
}

impl BalancesView {
    pub fn new(balances: &[Balance], at: Timestamp) -> Self {
        Self {
            at: at.to_string(),
            wallets: balances.iter().map(BalanceView::new).collect(),
            total: sum(balances, |balance| balance.balance),
            total_on_hold: sum(balances, |balance| balance.on_hold),
            total_in_flight: sum(balances, |balance| balance.in_flight),
        }
    }
}

impl BalanceView {
    pub fn new(balance: &Balance) -> Self {
        Self {
            wallet_id: balance.wallet,
            status: status(balance.status),
            balance: balance.balance.to_string(),
            on_hold: balance.on_hold.to_string(),
            in_flight: balance.in_flight.to_string(),
            open_transfers: balance.open_transfers,
            block_number: balance.block,
            block_hash: balance.hash.to_string(),
            block_time: balance.at.to_string(),
        }
    }
}

fn sum(balances: &[Balance], of: impl Fn(&Balance) -> Money) -> String {
    let minor: u128 = balances.iter().map(|balance| u128::from(of(balance).minor())).sum();
    format!("{}.{:02}", minor / 100, minor % 100)
}

pub fn status(status: Status) -> &'static str {
    match status {
        Status::Active => "ACTIVE",
        Status::Frozen => "FROZEN",
        Status::Closed => "CLOSED",
        Status::Erased => "ERASED",
    }
}
