//! `ctl cell failover` and `ctl cell reconcile`: a cell goes to its other Region, and what the former one has beside that
//! is named.

use std::time::Duration;

use anyhow::Result;
use command_line::{FAILED, MISMATCH, USAGE, failure};
use control_api::regions::{FailedOver, Failover, LostBlock, ReconciledPage, Step};
use control_api::{CellView, Client};
use http::Method;
use serde::Serialize;
use topology::{CellId, WalletId};

use crate::api::because;
use crate::flags::Common;
use crate::flags::recovery::FailOver;
use crate::output::show;
use crate::recovery::left_behind::LeftBehind;
use crate::{recovery, tables};

const POLL: Duration = Duration::from_millis(500);
/// How often the former Region is waited for: some minutes.
const WAITS_MAX: usize = 600;
const PAGES_MAX: usize = 10_000_000;

/// The former Region stops, if it answers; then the cells are restored in the new one, from their archives.
pub async fn fail_over(common: &Common, api: &Client, wanted: FailOver) -> Result<()> {
    let FailOver { ids, all_of, to, events } = wanted;
    let ids = match &all_of {
        None => ids,
        Some(region) => cells_of(api, region, &to).await?,
    };
    // A cell that is refused holds up no other; all that are left behind are named at the end.
    let mut left = LeftBehind::default();
    let fence = async |id: CellId| ask(common, api, &id, &to).await;
    let fenced = left.each(ids.into_iter().map(|id| (id.clone(), fence(id)))).await;
    let (restored, others): (Vec<_>, Vec<_>) = fenced.into_iter().partition(|(_, state)| state.step == Step::Restore);
    let restored = restored.into_iter().map(|(id, _)| id).collect();
    let restored = recovery::restore_all(common, api, restored, &events, &mut left).await;
    let ids = restored.into_iter().chain(others.into_iter().map(|(id, _)| id));
    // The tables name the Region, if a crash came before that.
    let taken = left.each(ids.map(|id| (id.clone(), fence(id)))).await;
    let cells: Vec<_> = taken.into_iter().map(|(id, state)| Taken { id, state }).collect();
    show(common, &cells, |cells| cells.iter().map(|cell| tables::regions::failed_over(cell, &to)).collect())?;
    left.check()
}

#[derive(Debug, Serialize)]
pub struct Taken {
    pub id: CellId,
    #[serde(flatten)]
    pub state: FailedOver,
}

/// The cells of a Region that can go to another one, or have gone there: the command may be repeated.
async fn cells_of(api: &Client, region: &str, to: &str) -> Result<Vec<CellId>> {
    let cells: Vec<CellView> = api.get(&["v1", "cells"]).await?;
    let goes = |cell: &CellView| {
        let Some(standby) = &cell.standby else { return false };
        let [here, there] = [&cell.dynamodb.region, &standby.dynamodb.region];
        [here, there] == [region, to] || (cell.region_epoch > 0 && [there, here] == [region, to])
    };
    let found: Vec<CellId> = cells.iter().filter(|cell| goes(cell)).map(|cell| cell.id.clone()).collect();
    match found.is_empty() {
        true => Err(failure(USAGE, format!("no cell of {region} has its standby in {to}: `ctl cell list`"))),
        false => Ok(found),
    }
}

async fn ask(common: &Common, api: &Client, id: &CellId, to: &str) -> Result<FailedOver> {
    let body = Failover { to: to.to_owned(), because: because(common) };
    let mut said = String::new();
    for _ in 0..WAITS_MAX {
        let state: FailedOver = api.send(Method::POST, &["v1", "cells", id.as_str(), "failover"], Some(&body)).await?;
        let Step::Waiting { why } = &state.step else { return Ok(state) };
        if *why != said {
            eprintln!("waiting: {why}");
            said.clone_from(why);
        }
        tokio::time::sleep(POLL).await;
    }
    Err(failure(FAILED, format!("the former Region does not stop: {said}; stop its processes, or cut it off")))
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconciled {
    pub cell: String,
    /// The Region that the cell has left.
    pub region: String,
    pub wallets: u64,
    /// What the lost operations did to all balances together, in the smallest unit of money.
    pub minor: i64,
    pub lost: Vec<LostBlock>,
}

pub async fn reconcile(common: &Common, api: &Client, id: &CellId) -> Result<()> {
    let mut all = Reconciled { cell: id.to_string(), ..Reconciled::default() };
    let mut after: Option<WalletId> = None;
    for _ in 0..PAGES_MAX {
        let query: Vec<_> = after.iter().map(|wallet| ("after", wallet.to_string())).collect();
        let page: ReconciledPage = api.get_with(&["v1", "cells", id.as_str(), "reconcile"], &query).await?;
        all.region = page.region;
        all.wallets += page.wallets;
        all.minor += page.lost.iter().flat_map(|block| &block.entries).map(|entry| entry.minor).sum::<i64>();
        all.lost.extend(page.lost);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    show(common, &all, tables::regions::reconciled)?;
    match all.lost.len() {
        0 => Ok(()),
        lost => Err(failure(MISMATCH, format!("{lost} blocks are in no table of the Region that serves {id}"))),
    }
}
