//! The paths by which a cell changes its Region. It must never decide anything.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use control_api::Because;
use control_api::regions::Failover;
use serde::Deserialize;
use topology::{CellId, WalletId};

use super::authentication::By;
use super::body::Query;
use super::{Answer, Control};
use crate::error::Error;
use crate::regions::failover::failover;
use crate::regions::reconcile::reconcile;
use crate::regions::standby;
use crate::service::ControlPlane;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/v1/cells/{id}/standby", put(set_standby))
        .route("/v1/cells/{id}/failover", post(fail_over))
        .route("/v1/cells/{id}/reconcile", get(compare))
}

async fn set_standby(State(control): Control, Path(id): Path<String>, by: By, body: Bytes) -> Answer {
    let because: Because = by.read(&body)?;
    let cell = CellId::parse(id)?;
    let shown = standby::as_configured(&control.fleet, &control.refills, &cell, &because).await?;
    Ok(Json(shown).into_response())
}

async fn fail_over(State(control): Control, Path(id): Path<String>, by: By, body: Bytes) -> Answer {
    let wanted: Failover = by.read(&body)?;
    let cell = CellId::parse(id)?;
    Ok(Json(failover(&control.operations, &control.refills, &cell, &wanted).await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<String>,
}

async fn compare(State(control): Control, Path(id): Path<String>, Query(After { after }): Query<After>) -> Answer {
    let after = after.map(|text| text.parse::<WalletId>().map_err(Error::from)).transpose()?;
    Ok(Json(reconcile(&control.fleet, &CellId::parse(id)?, after).await?).into_response())
}
