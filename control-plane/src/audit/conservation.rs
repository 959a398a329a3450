//! Adds up the books of all cells again and again, if a flag says so, and shows what came of it as
//! metrics. What `ctl audit conservation` says of one moment, alerts say of every one.
//!
//! It reads every chain from its beginning and keeps a line for each wallet and transfer: for fleets that this is small
//! for. It must never change anything, nor be waited for.

use std::time::Duration;

use control_api::flows::ReadFlows;
use metrics::{counter, gauge};
use mover::wall_clock;
use reconciliation::{Adding, Books, CUT_LAG_MICROS, PAGES_MAX};
use topology::CellId;

use crate::audit::{chains, flows};
use crate::cells::fleet::Fleet;
use crate::error::{Error, Result};

/// For ever, so often; never where no time is given.
pub async fn keep_auditing(fleet: &Fleet, every: Option<Duration>) {
    let Some(every) = every else { return };
    gauge!("control_plane_conservation_period_seconds").set(every.as_secs_f64());
    loop {
        tokio::time::sleep(every).await;
        match audit(fleet).await {
            Ok(books) => publish(&books),
            Err(error) => {
                counter!("control_plane_conservation_audits_total", "outcome" => "failed").increment(1);
                tracing::warn!(%error, "the books were not added up; trying again");
            }
        }
    }
}

/// The books of a moment shortly before now.
pub async fn audit(fleet: &Fleet) -> Result<Books> {
    let until = wall_clock().plus_micros(-CUT_LAG_MICROS);
    let mut adding = Adding::default();
    for cell in chains::cells(fleet).await? {
        read(fleet, &cell, until.micros(), &mut adding).await?;
    }
    Ok(adding.close(until.to_string()))
}

async fn read(fleet: &Fleet, cell: &CellId, until_micros: i64, adding: &mut Adding) -> Result<()> {
    let mut wanted = ReadFlows { cell: cell.clone(), until_micros, from: None };
    for _ in 0..PAGES_MAX {
        let page = flows::read(fleet, &wanted).await?;
        page.wallets.into_iter().for_each(|flows| adding.take(cell, flows));
        wanted.from = page.next;
        if wanted.from.is_none() {
            return Ok(());
        }
    }
    Err(Error::Unsound(format!("there is no end to the chains of {cell}")))
}

fn publish(books: &Books) {
    counter!("control_plane_conservation_audits_total", "outcome" => "done").increment(1);
    gauge!("control_plane_conservation_difference").set(books.difference as f64);
    gauge!("control_plane_conservation_faults").set(books.faults.len() as f64);
    gauge!("control_plane_conservation_in_flight").set(books.in_flight as f64);
    gauge!("control_plane_conservation_balances").set(books.balances as f64);
    gauge!("control_plane_conservation_completed_timestamp_seconds").set(wall_clock().micros() as f64 / 1e6);
    if books.difference != 0 {
        tracing::error!(difference = %books.difference, until = books.until, "money was made or lost");
    }
}
