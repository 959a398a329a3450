//! The paths under `/v1/ledger`, and those of single wallets. It must never decide anything.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use control_api::Because;
use serde::Deserialize;
use topology::{CellId, WalletId};
use uuid::Uuid;

use super::authentication::By;
use super::body::{Query, parse};
use super::{Answer, Control};
use crate::audit::{chains, flows};
use crate::customers::owners;
use crate::customers::wallet_status::{self, Verb};
use crate::error::{Error, Result};
use crate::service::ControlPlane;

const LIST_DEFAULT: i32 = 20;
const LIST_MAX: i32 = 500;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/v1/ledger/cells", get(cells))
        .route("/v1/ledger/wallets/{id}/export", get(export))
        .route("/v1/ledger/wallets/{id}/verify", post(verify_wallet))
        .route("/v1/ledger/verify", post(verify_cell))
        .route("/v1/ledger/flows", post(flows))
        .route("/v1/wallets/{id}/{verb}", post(change_state))
        .route("/v1/owners/{id}/erase", post(erase_owner))
        .route("/v1/owners/{id}/export", post(export_owner))
        .route("/v1/wallets/{id}/transfers/{transfer}/deliver", post(deliver))
        .route("/v1/ledger/findings/{cell}", get(findings))
        .route("/v1/ledger/checkpoints/{cell}", get(checkpoints))
        .route("/v1/ledger/checkpoints/verify", post(verify_checkpoints))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    #[serde(default)]
    first: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: Option<i32>,
}

fn wallet(id: &str) -> Result<WalletId> {
    id.parse().map_err(Error::from)
}

async fn cells(control: Control) -> Answer {
    Ok(Json(chains::cells(&control.fleet).await?).into_response())
}

async fn export(control: Control, Path(id): Path<String>, Query(From { first }): Query<From>) -> Answer {
    Ok(Json(chains::export(&control.fleet, wallet(&id)?, first).await?).into_response())
}

async fn verify_wallet(control: Control, Path(id): Path<String>) -> Answer {
    Ok(Json(chains::verify_wallet(&control.fleet, wallet(&id)?).await?).into_response())
}

async fn verify_cell(control: Control, body: Bytes) -> Answer {
    Ok(Json(chains::verify_cell(&control.fleet, &parse(&body)?).await?).into_response())
}

async fn flows(control: Control, body: Bytes) -> Answer {
    Ok(Json(flows::read(&control.fleet, &parse(&body)?).await?).into_response())
}

async fn change_state(control: Control, by: By, Path((id, verb)): Path<(String, String)>, body: Bytes) -> Answer {
    let because: Because = by.read(&body)?;
    Ok(Json(wallet_status::change(&control.fleet, wallet(&id)?, Verb::parse(&verb)?, &because).await?).into_response())
}

async fn erase_owner(control: Control, by: By, Path(id): Path<String>, body: Bytes) -> Answer {
    let because: Because = by.read(&body)?;
    Ok(Json(wallet_status::change(&control.fleet, wallet(&id)?, Verb::Erase, &because).await?).into_response())
}

async fn export_owner(control: Control, by: By, Path(id): Path<String>, body: Bytes) -> Answer {
    let Because { actor, reason } = by.read(&body)?;
    let wallet = wallet(&id)?;
    tracing::info!(%wallet, actor, reason, "exports the owner of a wallet");
    Ok(Json(owners::export(&control.fleet, wallet).await?).into_response())
}

async fn deliver(control: Control, by: By, Path((id, transfer)): Path<(String, Uuid)>, body: Bytes) -> Answer {
    let because: Because = by.read(&body)?;
    Ok(Json(wallet_status::deliver(&control.fleet, wallet(&id)?, transfer, &because).await?).into_response())
}

async fn findings(control: Control, Path(cell): Path<String>) -> Answer {
    Ok(Json(chains::findings(&control.fleet, &control.witness, &CellId::parse(cell)?).await?).into_response())
}

async fn checkpoints(control: Control, Path(cell): Path<String>, Query(Limit { limit }): Query<Limit>) -> Answer {
    let limit = limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    Ok(Json(chains::checkpoints(&control.witness, &CellId::parse(cell)?, limit).await?).into_response())
}

async fn verify_checkpoints(control: Control, body: Bytes) -> Answer {
    Ok(Json(chains::verify_checkpoints(&control.fleet, &control.witness, &parse(&body)?).await?).into_response())
}
