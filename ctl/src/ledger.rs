//! `ctl ledger`: asks page by page, and ends in [`MISMATCH`] where something is not as it must be.

use anyhow::Result;
use command_line::{FAILED, MISMATCH, failure, silent};
use control_api::Client;
use control_api::ledgers::{CheckpointView, ExportPage, VerifiedPage, VerifyCell};
use reqwest::Method;
use topology::{CellId, Finding, WalletId};

use crate::flags::Common;
use crate::flags::ledger::{Checkpoint, Ledger, Verify};
use crate::output::show;
use crate::tables;

/// Pages of one answer, some seconds each.
const PAGES_MAX: usize = 100_000;

pub async fn run(common: &Common, api: &Client, verb: Ledger) -> Result<()> {
    match verb {
        Ledger::Verify(Verify { wallet: Some(wallet), .. }) => {
            let path = ["v1", "ledger", "wallets", &wallet.to_string(), "verify"];
            let page: VerifiedPage = api.send(Method::POST, &path, None::<&()>).await?;
            show_page(common, &page, tables::ledger::verified)
        }
        Ledger::Verify(Verify { cell, .. }) => {
            let page = all(api, &["v1", "ledger", "verify"], cell).await?;
            show_page(common, &page, tables::ledger::verified)
        }
        Ledger::Export { wallet } => export(api, wallet).await,
        Ledger::Findings(of) => {
            let mut findings: Vec<Finding> = Vec::new();
            for cell in cells(api, of.cell).await? {
                let path = ["v1", "ledger", "findings", cell.as_str()];
                findings.extend(api.get::<Vec<Finding>>(&path).await?);
            }
            show(common, &findings, |findings| tables::ledger::findings(findings))
        }
        Ledger::Checkpoint(Checkpoint::List { cell, limit }) => {
            let mut checkpoints: Vec<CheckpointView> = Vec::new();
            for cell in cells(api, cell).await? {
                let path = ["v1", "ledger", "checkpoints", cell.as_str()];
                let of_cell: Vec<CheckpointView> = api.get_with(&path, &[("limit", limit.to_string())]).await?;
                checkpoints.extend(of_cell);
            }
            show(common, &checkpoints, |checkpoints| tables::ledger::checkpoints(checkpoints))
        }
        Ledger::Checkpoint(Checkpoint::Verify(of)) => {
            let page = all(api, &["v1", "ledger", "checkpoints", "verify"], of.cell).await?;
            show_page(common, &page, tables::ledger::checkpoints_verified)
        }
    }
}

/// The named cell, or all.
async fn cells(api: &Client, named: Option<CellId>) -> Result<Vec<CellId>> {
    match named {
        Some(cell) => Ok(vec![cell]),
        None => api.get(&["v1", "ledger", "cells"]).await,
    }
}

/// All pages of all cells as one.
async fn all(api: &Client, path: &[&str], named: Option<CellId>) -> Result<VerifiedPage> {
    let mut all = VerifiedPage::default();
    for cell in cells(api, named).await? {
        let mut body = VerifyCell { cell, after: None };
        for turn in 0.. {
            if turn == PAGES_MAX {
                return Err(failure(FAILED, "there is no end to it; verify one cell or wallet"));
            }
            let page: VerifiedPage = api.send(Method::POST, path, Some(&body)).await?;
            all.wallets += page.wallets;
            all.blocks += page.blocks;
            all.rows += page.rows;
            all.checkpoints += page.checkpoints;
            all.leaves += page.leaves;
            all.breaks.extend(page.breaks);
            body.after = page.next;
            if body.after.is_none() {
                break;
            }
        }
    }
    Ok(all)
}

fn show_page(common: &Common, page: &VerifiedPage, table: impl Fn(&VerifiedPage) -> String) -> Result<()> {
    show(common, page, table)?;
    if page.breaks.is_empty() { Ok(()) } else { Err(silent(MISMATCH)) }
}

/// One JSON object a line, whatever `--output` says: other programs read it.
async fn export(api: &Client, wallet: WalletId) -> Result<()> {
    let mut first = 0;
    for _ in 0..PAGES_MAX {
        let path = ["v1", "ledger", "wallets", &wallet.to_string(), "export"];
        let page: ExportPage = api.get_with(&path, &[("first", first.to_string())]).await?;
        for line in &page.lines {
            println!("{line}");
        }
        match page.next {
            Some(next) => first = next,
            None => return Ok(()),
        }
    }
    Err(failure(FAILED, "there is no end to the chain"))
}
