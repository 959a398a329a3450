//! Where a customer is: the placement's answer, and how it came about.
//!
//! It must never show a balance.

use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use topology::{PlacementUpdate, WalletId};

use super::limits::CHANGES_SEARCHED;
use super::view::{self, Found, Touched};
use super::visitor::Visitor;
use super::{Shared, html};
use crate::api::problem;
use crate::customers::whereabouts;
use crate::error::{Result, no_placement};
use crate::service::ControlPlane;

#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    id: String,
}

/// `GET /page/where?id=`.
pub async fn show(
    State(page): Shared,
    Extension(visitor): Extension<Visitor>,
    Query(Asked { id }): Query<Asked>,
) -> Response {
    let id = id.trim();
    match find(&page.control, id).await {
        Ok(found) => html(StatusCode::OK, view::place(&visitor, id, Ok(&found))),
        Err(error) => {
            let problem = problem::of(error);
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            html(status, view::place(&visitor, id, Err(&problem)))
        }
    }
}

async fn find(control: &ControlPlane, id: &str) -> Result<Found> {
    let now = control.fleet.placements.refresh().await?.ok_or_else(no_placement)?;
    let place = whereabouts::find(&control.fleet, &now.placement, id, None).await?;
    let rows = control.fleet.placements.history(CHANGES_SEARCHED).await?;
    let touched = rows.into_iter().filter_map(|row| {
        let to = given_to(&row.update, place.wallet_id)?;
        Some(Touched { change: row.change, to })
    });
    let takes = |cell: &&topology::CellEntry| {
        matches!(cell.state, topology::CellState::Active | topology::CellState::Joining) && cell.id != place.cell
    };
    let others = now.placement.cells().iter().filter(takes).map(|cell| cell.id.clone()).collect();
    Ok(Found { changes: touched.collect(), others, place })
}

/// The cell that a change names for this wallet, by its bucket or by a pin of its own.
fn given_to(update: &PlacementUpdate, wallet: WalletId) -> Option<String> {
    let name = |index| {
        let found = update.cells.iter().find(|cell| cell.index == index);
        found.map_or_else(|| format!("cell number {}", index.0), |cell| cell.id.to_string())
    };
    if let Some(pin) = update.pins.iter().rev().find(|pin| pin.wallet == wallet) {
        return Some(pin.cell.map_or_else(|| "its bucket's cell".to_owned(), name));
    }
    let bucket = wallet.bucket().0;
    let run = update.buckets.iter().rev().find(|run| (run.first..=run.last).contains(&bucket))?;
    Some(name(run.cell))
}
