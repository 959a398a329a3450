//! `ctl cell failover` and `ctl cell reconcile`: a cell goes to its other Region, and what the former one has beside that
//! is named.

use std::time::Duration;

use anyhow::Result;
use command_line::{FAILED, MISMATCH, failure};
use control_api::Client;
use control_api::regions::{FailedOver, Failover, LostBlock, ReconciledPage, Step};
use http::Method;
use serde::Serialize;
use topology::{CellId, WalletId};

use crate::api::because;
use crate::flags::Common;
use crate::flags::recovery::{FailOver, RestoreCell, Source};
use crate::output::show;
use crate::{recovery, tables};

const POLL: Duration = Duration::from_millis(500);
/// How often the former Region is waited for: some minutes.
const WAITS_MAX: usize = 600;
const PAGES_MAX: usize = 10_000_000;

/// The former Region stops, if it answers; then the cell is restored in the new one, from its archive.
pub async fn fail_over(common: &Common, api: &Client, wanted: FailOver) -> Result<()> {
    let FailOver { id, to, events } = wanted;
    let mut state = ask(common, api, &id, &to).await?;
    if state.step == Step::Restore {
        let restore = RestoreCell { id: id.clone(), from: Some(Source::Archive), in_place: false, until: None, events };
        recovery::restore(common, api, &restore).await?;
        // The tables name the Region, if a crash came before that.
        state = ask(common, api, &id, &to).await?;
    }
    show(common, &state, |state| tables::regions::failed_over(&id, &to, state))
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
