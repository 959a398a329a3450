//! The paths under `/v1/zones`. It must never decide anything.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use control_api::Because;
use control_api::zones::EvacuateZone;
use topology::ZoneId;

use super::authentication::By;
use super::{Answer, Control};
use crate::service::ControlPlane;
use crate::zones;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/v1/zones", get(list))
        .route("/v1/zones/{zone}/evacuate", post(evacuate))
        .route("/v1/zones/{zone}/restore", post(restore))
}

async fn list(State(control): Control) -> Answer {
    Ok(Json(zones::list(&control.zones).await?).into_response())
}

async fn evacuate(State(control): Control, Path(zone): Path<String>, by: By, body: Bytes) -> Answer {
    let wanted: EvacuateZone = by.read(&body)?;
    Ok(Json(zones::evacuate(&control.zones, &ZoneId::parse(zone)?, &wanted).await?).into_response())
}

async fn restore(State(control): Control, Path(zone): Path<String>, by: By, body: Bytes) -> Answer {
    let because: Because = by.read(&body)?;
    Ok(Json(zones::restore(&control.zones, &ZoneId::parse(zone)?, &because).await?).into_response())
}
