//! Balances as a table, JSON, CSV or Parquet.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use archive::{Balance, Balances};
use ledger::Timestamp;

use super::parquet;
use super::views::{BalanceView, BalancesView};
use crate::flags::Common;
use crate::flags::archive::BalancesFormat;
use crate::output::show;
use crate::tables;

const COLUMNS: &str = "walletId,status,balance,onHold,inFlight,openTransfers,blockNumber,blockHash,blockTime";

pub fn write(
    common: &Common,
    balances: &Balances,
    at: Timestamp,
    format: Option<BalancesFormat>,
    to: Option<&Path>,
) -> Result<()> {
    let wallets = &balances.wallets;
    match (format, to) {
        (None, _) => show(common, &BalancesView::new(wallets, at), tables::archive::balances),
        (Some(BalancesFormat::Csv), None) => csv(wallets, std::io::stdout().lock()),
        (Some(BalancesFormat::Csv), Some(to)) => file(to, |out| csv(wallets, out)),
        (Some(BalancesFormat::Parquet), to) => {
            let to = to.context("--format parquet needs a file: --to")?;
            file(to, |out| parquet::write(wallets, out))
        }
    }
}

/// A file that gets its name once it is whole.
fn file(path: &Path, write: impl FnOnce(&mut BufWriter<std::fs::File>) -> Result<()>) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let next = path.with_extension("partial");
    let mut out = BufWriter::new(std::fs::File::create(&next).with_context(cannot)?);
    write(&mut out)?;
    out.into_inner().with_context(cannot)?.sync_all().with_context(cannot)?;
    std::fs::rename(&next, path).with_context(cannot)
}

/// No value needs quoting.
fn csv(wallets: &[Balance], out: impl Write) -> Result<()> {
    let mut out = BufWriter::new(out);
    write!(out, "{COLUMNS}\r\n")?;
    for view in wallets.iter().map(BalanceView::new) {
        let BalanceView { wallet_id, status, balance, on_hold, in_flight, .. } = &view;
        let BalanceView { open_transfers, block_number, block_hash, block_time, .. } = &view;
        write!(out, "{wallet_id},{status},{balance},{on_hold},{in_flight},")?;
        write!(out, "{open_transfers},{block_number},{block_hash},{block_time}\r\n")?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
pub(super) mod tests {
    use ledger::block::Hash;
    use ledger::{Money, Status};
    use topology::WalletId;
    use uuid::Uuid;

    use super::*;

    pub fn wallets(count: u64) -> Vec<Balance> {
        let wallet = |number: u64| Balance {
            wallet: WalletId::from_uuid(Uuid::from_u128(number.into())),
            balance: Money::from_minor(number * 100 + 1),
            on_hold: Money::from_minor(1),
            in_flight: Money::from_minor(number),
            open_transfers: 1,
            status: Status::Frozen,
            block: number,
            hash: Hash([7; 32]),
            at: Timestamp::from_micros(1_000_000),
        };
        (0..count).map(wallet).collect()
    }

    #[test]
    fn csv_has_a_line_for_each_wallet() {
        let mut bytes = Vec::new();
        csv(&wallets(3), &mut bytes).expect("memory");
        let text = String::from_utf8(bytes).expect("text");
        let golden = format!(
            "00000000-0000-0000-0000-000000000002,FROZEN,2.01,0.01,0.02,1,2,{},1970-01-01T00:00:01.000000Z\r\n",
            "07".repeat(32)
        );
        assert!(text.starts_with(&format!("{COLUMNS}\r\n")) && text.ends_with(&golden), "{text}");
        assert_eq!(text.lines().count(), 4);
    }
}
