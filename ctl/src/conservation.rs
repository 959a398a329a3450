//! `ctl audit conservation`: adds up the books of all cells, and says whether money was made or lost.

use anyhow::Result;
use command_line::{FAILED, MISMATCH, failure, silent};
use control_api::Client;
use control_api::flows::{FlowsPage, ReadFlows};
use ledger::Timestamp;
use reconciliation::{Adding, CUT_LAG_MICROS, PAGES_MAX};
use reqwest::Method;
use time::OffsetDateTime;
use topology::CellId;

use crate::flags::Common;
use crate::output::show;
use crate::tables;

pub async fn run(common: &Common, api: &Client) -> Result<()> {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    let now = Timestamp::from_micros(i64::try_from(now)?);
    let until = now.plus_micros(-CUT_LAG_MICROS);
    let mut ledger = Adding::default();
    let cells: Vec<CellId> = api.get(&["v1", "ledger", "cells"]).await?;
    for cell in &cells {
        let mut body = ReadFlows { cell: cell.clone(), until_micros: until.micros(), from: None };
        for turn in 0.. {
            if turn == PAGES_MAX {
                return Err(failure(FAILED, format!("there is no end to the chains of {cell}")));
            }
            let page: FlowsPage = api.send(Method::POST, &["v1", "ledger", "flows"], Some(&body)).await?;
            page.wallets.into_iter().for_each(|flows| ledger.take(cell, flows));
            body.from = page.next;
            if body.from.is_none() {
                break;
            }
        }
    }
    let books = ledger.close(until.to_string());
    show(common, &books, tables::conservation::books)?;
    if books.difference == 0 && books.faults.is_empty() { Ok(()) } else { Err(silent(MISMATCH)) }
}
