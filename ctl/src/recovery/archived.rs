//! A restore from the cell's archive: the control plane reads it, some seconds for each request.

use std::path::Path;

use anyhow::Result;
use command_line::{FAILED, failure};
use control_api::Client;
use control_api::ledgers::ExportPage;
use control_api::restore::{FromArchive, Refilled};
use http::Method;
use topology::CellId;

use super::lost::{self, Evidence};
use super::{PAGES_MAX, Report};
use crate::api::because;
use crate::flags::Common;

/// Asks until all is done. An interrupted restore goes on where it was.
pub async fn refill(common: &Common, api: &Client, cell: &CellId) -> Result<Refilled> {
    let path = ["v1", "cells", cell.as_str(), "restore", "archive"];
    for _ in 0..PAGES_MAX {
        let body = FromArchive { because: because(common) };
        let page: Refilled = api.send(Method::POST, &path, Some(&body)).await?;
        if page.done {
            return Ok(page);
        }
        eprintln!("{} of {} entries, {} blocks", page.entries, page.last_entry, page.written + page.there);
    }
    Err(failure(FAILED, "there is no end to the archive"))
}

/// Up to which block each wallet is there again that the events name.
pub async fn look_up(api: &Client, events: &Path, cell: &CellId, evidence: &mut Evidence) -> Result<()> {
    for (wallet, newest) in lost::newest_blocks(events, cell)? {
        // The newest block that the events name is there, or what comes before it tells where the chain ends.
        for first in [newest, 0] {
            let path = ["v1", "ledger", "wallets", &wallet.to_string(), "export"];
            let mut next = Some(first);
            let mut last = None;
            while let Some(first) = next {
                let Ok(page) = api.get_with::<ExportPage>(&path, &[("first", first.to_string())]).await else { break };
                last = page.lines.last().and_then(|line| line["number"].as_u64()).or(last);
                next = page.next;
            }
            if let Some(last) = last {
                evidence.restored(wallet, last);
                break;
            }
        }
    }
    Ok(())
}

/// Exit code 1 where the archive lacks something.
pub fn check(report: &Report) -> Result<()> {
    let Some(archive) = &report.archive else { return Ok(()) };
    match (archive.damages, report.missing.len()) {
        (0, 0) => Ok(()),
        (damages, wallets) => Err(failure(
            FAILED,
            format!("the archive is damaged in {damages} places, and {wallets} wallets are not whole"),
        )),
    }
}
