//! The paths under `/v1/operations`, `/v1/audit`, and a cell's changes of state. It must never decide anything.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use control_api::{OperationId, Refusal, VerifyFrom};
use serde::Deserialize;
use topology::CellId;

use super::authentication::By;
use super::body::{Query, parse};
use super::{Answer, Control};
use crate::error::{Error, Result};
use crate::lifecycle::life;
use crate::operations::{self, LIST_MAX, Started};
use crate::service::ControlPlane;

const LIST_DEFAULT: usize = 20;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/v1/operations", get(list).post(start))
        .route("/v1/operations/{id}", get(show))
        .route("/v1/operations/{id}/plan", get(plan))
        .route("/v1/operations/{id}/pause", post(pause))
        .route("/v1/operations/{id}/resume", post(resume))
        .route("/v1/operations/{id}/abort", post(abort))
        .route("/v1/operations/{id}/verify", post(verify))
        .route("/v1/audit", get(audit))
        .route("/v1/cells/{id}/drain", post(drain))
        .route("/v1/cells/{id}/undrain", post(undrain))
        .route("/v1/cells/{id}/remove", post(remove))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    limit: Option<usize>,
    operation: Option<String>,
}

impl Listed {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX)
    }
}

fn id(text: &str) -> Result<OperationId> {
    text.parse().map_err(|error: control_api::BadOperationId| crate::error::refused(Refusal::BadId, error.to_string()))
}

async fn start(control: Control, by: By, body: Bytes) -> Answer {
    match operations::start(&control.operations, &by.read(&body)?).await? {
        Started::Planned(plan) => Ok(Json(plan).into_response()),
        Started::Created(operation) => Ok((StatusCode::CREATED, Json(operation.view())).into_response()),
    }
}

async fn list(control: Control, Query(asked): Query<Listed>) -> Answer {
    let limit = i32::try_from(asked.limit()).expect("a list is short");
    Ok(Json(operations::list(&control.operations, limit).await?).into_response())
}

async fn show(control: Control, Path(text): Path<String>) -> Answer {
    Ok(Json(operations::get(&control.operations, id(&text)?).await?.view()).into_response())
}

async fn plan(control: Control, Path(text): Path<String>) -> Answer {
    Ok(Json(operations::plan_of(&control.operations, id(&text)?).await?).into_response())
}

async fn pause(control: Control, Path(text): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(operations::pause(&control.operations, id(&text)?, &by.read(&body)?).await?).into_response())
}

async fn resume(control: Control, Path(text): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(operations::resume(&control.operations, id(&text)?, &by.read(&body)?).await?).into_response())
}

async fn abort(control: Control, Path(text): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(operations::abort(&control.operations, id(&text)?, &by.read(&body)?).await?).into_response())
}

async fn verify(control: Control, Path(text): Path<String>, body: Bytes) -> Answer {
    let from: VerifyFrom = if body.is_empty() { VerifyFrom::default() } else { parse(&body)? };
    Ok(Json(operations::verify::verify(&control.operations, id(&text)?, &from).await?).into_response())
}

async fn audit(control: Control, Query(asked): Query<Listed>) -> Answer {
    let of = asked.operation.as_deref().map(id).transpose()?;
    Ok(Json(control.operations.table.audit(asked.limit(), of).await?).into_response())
}

async fn drain(control: Control, Path(cell): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(life::drain(&control.fleet, &CellId::parse(cell)?, &by.read(&body)?).await?).into_response())
}

async fn undrain(control: Control, Path(cell): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(life::undrain(&control.fleet, &CellId::parse(cell)?, &by.read(&body)?).await?).into_response())
}

async fn remove(control: Control, Path(cell): Path<String>, by: By, body: Bytes) -> Answer {
    Ok::<_, Error>(
        Json(life::remove(&control.operations, &CellId::parse(cell)?, &by.read(&body)?).await?).into_response(),
    )
}
