//! The handlers of holds: authorize, list, capture, void.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use store::Store;
use uuid::Uuid;

use super::problem::{Fault, Rejected};
use super::views::{HoldChangeView, OpenHoldsView};
use super::wallets::{answer, answered, json, wallet_in_path};
use super::{Edge, body, context, note};
use crate::peers::Peers;

type Shared<S, P> = State<Arc<Edge<S, P>>>;

/// How long a hold is to be open, in seconds.
pub(super) fn lifetime(fields: &body::Fields<'_>) -> Result<u32, Fault> {
    let wanted = fields.expires_in_seconds()?.unwrap_or(ledger::limits::DEFAULT_HOLD_LIFETIME_S);
    if (1..=ledger::limits::MAX_HOLD_LIFETIME_S).contains(&wanted) { Ok(wanted) } else { Err(Fault::HoldLifetime) }
}

pub async fn place<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let wallet = wallet_in_path(&headers, &id)?;
        let bytes = body::read(&headers, body).await?;
        let fields = note::only(body::Fields::parse(&bytes)?, &["amount", "expiresInSeconds"])?;
        let (amount, seconds, note) = (fields.amount()?, lifetime(&fields)?, note::of(&fields)?);
        let context = context::context(&headers, request_id, &format!("hold {amount} {seconds}"), note)?;
        let placed = edge.wallets.place_hold(wallet, amount, i64::from(seconds) * 1_000_000, context).await?;
        Ok(answer(StatusCode::CREATED, placed, |hold| json(StatusCode::CREATED, &HoldChangeView::from(hold))))
    })
    .await
}

pub async fn list<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let open = edge.wallets.open_holds(wallet_in_path(&headers, &id)?).await?;
        Ok(json(StatusCode::OK, &OpenHoldsView::from(open)))
    })
    .await
}

pub async fn capture<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path((id, hold)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let wallet = wallet_in_path(&headers, &id)?;
        let hold = Uuid::try_parse(&hold).map_err(|_| Fault::HoldId)?;
        let bytes = body::read_optional(&headers, body).await?;
        let fields = note::only(body::Fields::parse(&bytes)?, &["amount"])?;
        let (amount, note) = (fields.amount_if_any()?, note::of(&fields)?);
        let wanted = amount.map_or_else(|| "all".to_owned(), |amount| amount.to_string());
        let context = context::context(&headers, request_id, &format!("capture {hold} {wanted}"), note)?;
        let captured = edge.wallets.capture_hold(wallet, hold, amount, context).await?;
        Ok(answer(StatusCode::OK, captured, |hold| json(StatusCode::OK, &HoldChangeView::from(hold))))
    })
    .await
}

pub async fn void<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path((id, hold)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let wallet = wallet_in_path(&headers, &id)?;
        let hold = Uuid::try_parse(&hold).map_err(|_| Fault::HoldId)?;
        let bytes = body::read_optional(&headers, body).await?;
        let note = note::of(&note::only(body::Fields::parse(&bytes)?, &[])?)?;
        let context = context::context(&headers, request_id, &format!("void {hold}"), note)?;
        let voided = edge.wallets.void_hold(wallet, hold, context).await?;
        Ok(answer(StatusCode::OK, voided, |hold| json(StatusCode::OK, &HoldChangeView::from(hold))))
    })
    .await
}
