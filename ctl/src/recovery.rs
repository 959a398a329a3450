//! `ctl cell export` and `ctl cell restore`: all chains of a cell as one file, and back into empty tables, from that file or
//! from the cell's archive. What was lost on the way is named, operation by operation, as far as any record of it is left.

mod archived;
mod file;
pub mod left_behind;
pub mod lost;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use command_line::{FAILED, USAGE, failure};
use control_api::Client;
use control_api::ledgers::{ExportPage, ExportedOwner};
use control_api::restore::{
    BeginRestore, FinishFrom, FinishRestore, FinishedPage, MissingWallet, RESTORE_BLOCKS, Refilled, RestoreChain,
    RestoredChain, WalletsPage,
};
use http::Method;
use ledger::{Block, Timestamp, canonical};
use serde::Serialize;
use topology::restoring::Restoring;
use topology::{CellId, WalletId};

use self::file::{Export, Exporting};
use self::left_behind::LeftBehind;
use self::lost::{Evidence, LostOperation};
use crate::api::because;
use crate::flags::Common;
use crate::flags::recovery::{ExportCell, RestoreCell, Source};
use crate::output::show;
use crate::tables;

/// Pages of one answer.
const PAGES_MAX: usize = 10_000_000;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    pub wallets: u64,
    pub blocks: u64,
}

/// Writes every chain that is served in the cell. The cell serves on: each chain is whole up to where it was read.
pub async fn export(common: &Common, api: &Client, wanted: &ExportCell) -> Result<()> {
    let mut out = Exporting::create(&wanted.to, &wanted.id)?;
    let mut after: Option<WalletId> = None;
    for _ in 0..PAGES_MAX {
        let query: Vec<_> = after.iter().map(|wallet| ("after", wallet.to_string())).collect();
        let path = ["v1", "ledger", "cells", wanted.id.as_str(), "wallets"];
        let page: WalletsPage = api.get_with(&path, &query).await?;
        for wallet in page.wallets {
            chain(common, api, &wanted.id, wallet, &mut out).await?;
        }
        after = page.next;
        if after.is_none() {
            let done = out.finish()?;
            return show(common, &done, |done| format!("{} wallets, {} blocks\n", done.wallets, done.blocks));
        }
    }
    Err(failure(FAILED, "there is no end to the wallets"))
}

/// What the personal data of a wallet can be read with; `None` if that is erased.
async fn owner(common: &Common, api: &Client, wallet: WalletId) -> Result<Option<ExportedOwner>> {
    api.send(Method::POST, &["v1", "owners", &wallet.to_string(), "export"], Some(&because(common))).await
}

async fn chain(common: &Common, api: &Client, cell: &CellId, wallet: WalletId, out: &mut Exporting) -> Result<()> {
    let mut first = 0;
    for _ in 0..PAGES_MAX {
        let path = ["v1", "ledger", "wallets", &wallet.to_string(), "export"];
        let page: ExportPage = api.get_with(&path, &[("first", first.to_string())]).await?;
        // It lives elsewhere, or has just moved there: it is in that cell's export.
        if page.cell != *cell {
            return Ok(());
        }
        let owner = if first == 0 { owner(common, api, wallet).await? } else { None };
        out.blocks(&page.lines, owner)?;
        match page.next {
            Some(next) => first = next,
            None => return Ok(()),
        }
    }
    Err(failure(FAILED, format!("there is no end to the chain of {wallet}")))
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub exported_at: String,
    pub wallets: u64,
    pub blocks: u64,
    /// Of the export, that belong to other cells by now.
    pub elsewhere: u64,
    /// That another cell held more of.
    pub completed: u64,
    pub pinned: u64,
    /// That the cell does not serve until a further export holds the rest of their chains.
    pub missing: Vec<MissingWallet>,
    /// What was read of the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Refilled>,
    pub lost: Vec<LostOperation>,
}

pub async fn restore(common: &Common, api: &Client, wanted: &RestoreCell) -> Result<()> {
    let cell = wanted.id.as_str();
    // All of the file is looked at before anything is written.
    let export = match &wanted.from {
        Some(Source::File(from)) => Some(Export::read(from, &wanted.id)?),
        Some(Source::Archive) if wanted.until.is_some() => {
            return Err(failure(USAGE, "--until is for an export: an archive is restored to its end"));
        }
        Some(Source::Archive) | None => None,
    };
    let until = wanted.until.as_deref().map(timestamp).transpose()?;
    let mut evidence = Evidence::default();
    begin(common, api, &wanted.id, wanted.in_place).await?;
    let exported_at = export.as_ref().map_or_else(String::new, |export| export.exported_at.clone());
    let mut report = Report { exported_at, ..Report::default() };
    for chain in export.iter().flat_map(Export::chains) {
        let file::Chain { owner, blocks: chain } = chain?;
        let kept = chain.iter().take_while(|block| until.is_none_or(|until| block.at <= until)).count();
        let (kept, cut) = chain.split_at(kept);
        let Some(last) = kept.last() else {
            evidence.cut(cut);
            continue;
        };
        match write(api, cell, owner, kept).await? {
            RestoredChain::Written { .. } => {
                report.wallets += 1;
                report.blocks += kept.len() as u64;
                evidence.restored(last.wallet, last.number);
                evidence.cut(cut);
            }
            RestoredChain::Elsewhere { .. } => report.elsewhere += 1,
            RestoredChain::Differs { block } => {
                let why = format!("the cell holds another block {block} than the export");
                report.missing.push(MissingWallet { wallet: last.wallet, why });
            }
        }
    }
    if wanted.from == Some(Source::Archive) {
        report.read(archived::refill(common, api, &wanted.id).await?);
    }
    finish(common, api, &wanted.id, &mut report, &mut evidence).await?;
    name_lost(api, &wanted.id, &wanted.events, &mut report, evidence).await?;
    show(common, &report, tables::recovery::report)?;
    archived::check(&report)
}

impl Report {
    /// Takes in what was read of the archive.
    fn read(&mut self, refilled: Refilled) {
        self.missing.extend(refilled.missing.iter().cloned());
        (self.wallets, self.elsewhere) = (refilled.wallets, refilled.elsewhere);
        self.blocks = refilled.written + refilled.there;
        self.archive = Some(refilled);
    }
}

async fn begin(common: &Common, api: &Client, cell: &CellId, in_place: bool) -> Result<()> {
    let begin = BeginRestore { in_place, because: because(common) };
    let path = ["v1", "cells", cell.as_str(), "restore", "begin"];
    api.send(Method::POST, &path, Some(&begin)).await.map(|_: Restoring| ())
}

/// Takes from the other cells what they hold of this one's wallets. Then it serves.
async fn finish(
    common: &Common,
    api: &Client,
    cell: &CellId,
    report: &mut Report,
    evidence: &mut Evidence,
) -> Result<()> {
    let mut from: Option<FinishFrom> = None;
    for _ in 0..PAGES_MAX {
        let body = FinishRestore { from, because: because(common) };
        let path = ["v1", "cells", cell.as_str(), "restore", "finish"];
        let page: FinishedPage = api.send(Method::POST, &path, Some(&body)).await?;
        report.completed += page.completed.len() as u64;
        report.pinned += page.pinned.len() as u64;
        report.missing.extend(page.missing);
        page.completed.iter().for_each(|wallet| evidence.completed(*wallet));
        from = page.next;
        if from.is_none() {
            return Ok(());
        }
    }
    Err(failure(FAILED, "there is no end to the wallets of the other cells"))
}

async fn name_lost(
    api: &Client,
    cell: &CellId,
    all: &[PathBuf],
    report: &mut Report,
    mut evidence: Evidence,
) -> Result<()> {
    for events in all {
        if report.archive.is_some() {
            archived::look_up(api, events, cell, &mut evidence).await?;
        }
        evidence.events(events, cell)?;
    }
    report.lost = evidence.lost();
    report.missing.sort_by_key(|missing| missing.wallet);
    report.missing.dedup_by_key(|missing| missing.wallet);
    Ok(())
}

/// Restores cells from their archives, each step for all of them before the next: a cell needs the tables of the others.
/// A cell of which a step fails is left behind, and holds up no other. Those that are restored.
pub async fn restore_all(
    common: &Common,
    api: &Client,
    cells: Vec<CellId>,
    events: &[PathBuf],
    left: &mut LeftBehind,
) -> Vec<CellId> {
    let begin = async |cell: CellId| begin(common, api, &cell, false).await;
    let begun = left.each(cells.into_iter().map(|cell| (cell.clone(), begin(cell)))).await;
    let refill = async |cell: CellId| archived::refill(common, api, &cell).await;
    let refilled = left.each(begun.into_iter().map(|(cell, ())| (cell.clone(), refill(cell)))).await;
    let finish = async |cell: CellId, refilled| {
        let (mut report, mut evidence) = (Report::default(), Evidence::default());
        report.read(refilled);
        finish(common, api, &cell, &mut report, &mut evidence).await?;
        name_lost(api, &cell, events, &mut report, evidence).await?;
        show(common, &report, tables::recovery::report)?;
        archived::check(&report)
    };
    let finished = left.each(refilled.into_iter().map(|(cell, refilled)| (cell.clone(), finish(cell, refilled)))).await;
    finished.into_iter().map(|(cell, ())| cell).collect()
}

/// The whole chain, page by page; what was written before is there already.
async fn write(api: &Client, cell: &str, mut owner: Option<ExportedOwner>, chain: &[Block]) -> Result<RestoredChain> {
    let mut last = RestoredChain::Written { last: 0 };
    for blocks in chain.chunks(RESTORE_BLOCKS) {
        let text = blocks.iter().map(canonical::to_text).collect();
        let body = RestoreChain { wallet: blocks[0].wallet, owner: owner.take(), blocks: text };
        last = api.send(Method::POST, &["v1", "cells", cell, "restore", "chains"], Some(&body)).await?;
        if !matches!(last, RestoredChain::Written { .. }) {
            break;
        }
    }
    Ok(last)
}

fn timestamp(text: &str) -> Result<Timestamp> {
    Timestamp::parse(text).map_err(|error| failure(USAGE, format!("--until {text:?}: {error}")))
}

fn open(path: &Path) -> Result<std::io::BufReader<std::fs::File>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(std::io::BufReader::new(file))
}
