//! The paths under `/v1/deploys`. It must never decide anything.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use control_api::{BadDeployId, DeployId, Refusal};
use serde::Deserialize;

use super::authentication::By;
use super::body::Query;
use super::{Answer, Control};
use crate::deploys::{self, LIST_MAX, Started};
use crate::error::{Result, refused};
use crate::service::ControlPlane;

const LIST_DEFAULT: i32 = 20;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/v1/deploys", get(list).post(start))
        .route("/v1/deploys/audit", get(audit))
        .route("/v1/deploys/{id}", get(show))
        .route("/v1/deploys/{id}/pause", post(pause))
        .route("/v1/deploys/{id}/resume", post(resume))
        .route("/v1/deploys/{id}/promote", post(promote))
        .route("/v1/deploys/{id}/rollback", post(rollback))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    limit: Option<i32>,
    deploy: Option<String>,
}

impl Listed {
    fn limit(&self) -> i32 {
        self.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX)
    }
}

fn id(text: &str) -> Result<DeployId> {
    text.parse().map_err(|error: BadDeployId| refused(Refusal::BadId, error.to_string()))
}

async fn start(State(control): Control, by: By, body: Bytes) -> Answer {
    match deploys::start(&control.deploys, &by.read(&body)?).await? {
        Started::Planned(plan) => Ok(Json(plan).into_response()),
        Started::Created(deploy) => Ok((StatusCode::CREATED, Json(deploy.view())).into_response()),
    }
}

async fn list(State(control): Control, Query(asked): Query<Listed>) -> Answer {
    Ok(Json(deploys::list(&control.deploys, asked.limit()).await?).into_response())
}

async fn audit(State(control): Control, Query(asked): Query<Listed>) -> Answer {
    let of = asked.deploy.as_deref().map(id).transpose()?;
    let limit = usize::try_from(asked.limit()).expect("at least one");
    Ok(Json(control.deploys.table.audit(limit, of).await?).into_response())
}

async fn show(State(control): Control, Path(text): Path<String>) -> Answer {
    Ok(Json(deploys::get(&control.deploys, id(&text)?).await?.view()).into_response())
}

async fn pause(State(control): Control, Path(text): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(deploys::pause(&control.deploys, id(&text)?, &by.read(&body)?).await?).into_response())
}

async fn resume(State(control): Control, Path(text): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(deploys::resume(&control.deploys, id(&text)?, &by.read(&body)?).await?).into_response())
}

async fn promote(State(control): Control, Path(text): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(deploys::promote(&control.deploys, id(&text)?, &by.read(&body)?).await?).into_response())
}

async fn rollback(State(control): Control, Path(text): Path<String>, by: By, body: Bytes) -> Answer {
    Ok(Json(deploys::rollback(&control.deploys, id(&text)?, &by.read(&body)?).await?).into_response())
}
