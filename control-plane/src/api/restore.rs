//! The paths by which a cell is exported and restored. It must never decide anything.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use control_api::restore::{BeginRestore, FinishRestore, FromArchive};
use serde::Deserialize;
use topology::{CellId, WalletId};

use super::authentication::By;
use super::body::{Query, parse};
use super::{Answer, Control};
use crate::error::{Error, Result};
use crate::restore;
use crate::service::ControlPlane;

/// A page of blocks as hexadecimal digits: each may have 400 KB, and pages of them are 1 MB.
const CHAIN_BODY_MAX_BYTES: usize = 16 * 1024 * 1024;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/v1/ledger/cells/{id}/wallets", get(wallets))
        .route("/v1/cells/{id}/restore/begin", post(begin))
        .route("/v1/cells/{id}/restore/chains", post(take).layer(DefaultBodyLimit::max(CHAIN_BODY_MAX_BYTES)))
        .route("/v1/cells/{id}/restore/archive", post(from_archive))
        .route("/v1/cells/{id}/restore/finish", post(finish))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    after: Option<String>,
}

fn cell(id: String) -> Result<CellId> {
    Ok(CellId::parse(id)?)
}

async fn wallets(State(control): Control, Path(id): Path<String>, Query(After { after }): Query<After>) -> Answer {
    let after = after.map(|text| text.parse::<WalletId>().map_err(Error::from)).transpose()?;
    Ok(Json(restore::wallets(&control.fleet, &cell(id)?, after).await?).into_response())
}

async fn begin(State(control): Control, Path(id): Path<String>, by: By, body: Bytes) -> Answer {
    let wanted: BeginRestore = by.read(&body)?;
    Ok(Json(restore::begin(&control.operations, &control.refills, &cell(id)?, &wanted).await?).into_response())
}

async fn take(State(control): Control, Path(id): Path<String>, body: Bytes) -> Answer {
    Ok(Json(restore::take(&control.fleet, &cell(id)?, &parse(&body)?).await?).into_response())
}

async fn from_archive(State(control): Control, Path(id): Path<String>, by: By, body: Bytes) -> Answer {
    let wanted: FromArchive = by.read(&body)?;
    Ok(Json(control.refills.go_on(&control.operations, &cell(id)?, &wanted).await?).into_response())
}

async fn finish(State(control): Control, Path(id): Path<String>, by: By, body: Bytes) -> Answer {
    let wanted: FinishRestore = by.read(&body)?;
    let ControlPlane { operations, refills, witness, .. } = &*control;
    Ok(Json(restore::finish(operations, refills, witness, &cell(id)?, &wanted).await?).into_response())
}
