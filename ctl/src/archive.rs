//! `ctl archive`: reads a cell's archive where it is. It never writes to it.

mod balances;
mod lines;
mod parquet;
pub mod views;

use anyhow::{Context, Result};
use archive::{Archive, Findings, Verify};
use command_line::{MISMATCH, PRECONDITION, USAGE, failure, silent};
use ledger::Timestamp;
use time::OffsetDateTime;
use topology::WalletId;

use self::views::{ReportView, StatusView};
use crate::flags::Common;
use crate::flags::archive::{ArchiveVerb, Of};
use crate::output::show;
use crate::tables;

pub async fn run(common: &Common, verb: ArchiveVerb) -> Result<()> {
    match verb {
        ArchiveVerb::Status { of } => {
            let archive = open(&of)?;
            let (newest, size) = (archive.newest(0).await?, archive.size().await?);
            let status = StatusView::new(of.cell, newest.as_ref(), size, now()?);
            show(common, &status, tables::archive::status)
        }
        ArchiveVerb::Verify { of, receipt, owners } => {
            let report = open(&of)?.verify(Verify { receipt, owners }).await?;
            if report.entries == 0 && report.findings.is_empty() {
                return Err(nothing(&of));
            }
            show(common, &ReportView::new(of.cell, &report), tables::archive::report)?;
            if report.findings.is_empty() { Ok(()) } else { Err(silent(MISMATCH)) }
        }
        ArchiveVerb::Read { of, wallet, until, with_personal } => {
            read(&open(&of)?, wallet, until.unwrap_or(Timestamp::MAX), with_personal).await
        }
        ArchiveVerb::Balances { of, at, format, to } => {
            let balances = open(&of)?.balances(at).await?;
            let newest = balances.newest.as_ref().ok_or_else(|| nothing(&of))?;
            if newest.at < at {
                eprintln!("the newest entry is of {}: later blocks may not be in the archive yet", newest.at);
            }
            balances::write(common, &balances, at, format, to.as_deref())?;
            refuse(&balances.findings)
        }
    }
}

fn open(of: &Of) -> Result<Archive> {
    Archive::open_to_read(&of.archive, of.cell.clone()).map_err(|error| failure(USAGE, error.to_string()))
}

fn nothing(of: &Of) -> anyhow::Error {
    failure(PRECONDITION, format!("nothing of {} is archived in {}", of.cell, of.archive))
}

fn now() -> Result<Timestamp> {
    let micros = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    Ok(Timestamp::from_micros(i64::try_from(micros)?))
}

/// One JSON object a line, whatever `--output` says: other programs read it.
async fn read(archive: &Archive, wallet: WalletId, until: Timestamp, with_personal: bool) -> Result<()> {
    let history = archive.history(wallet, until).await?;
    let owner = if with_personal { archive.owner(wallet).await? } else { None };
    if with_personal && owner.is_none() {
        eprintln!("the owner of wallet {wallet} is erased or was never archived: nothing personal can be shown");
    }
    for block in &history.blocks {
        let line = lines::line(block, owner.as_ref()).with_context(|| format!("block {}", block.number))?;
        println!("{line}");
    }
    refuse(&history.findings)
}

/// Names what is not as it must be; it may be what is missing in the answer.
fn refuse(findings: &Findings) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    eprint!("{}", tables::archive::findings(&views::findings(findings)));
    Err(failure(MISMATCH, format!("the archive is not sound: {} findings", findings.count)))
}
