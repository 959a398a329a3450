//! The internal API: what cells ask of one another through the router, and operators through the control plane. The
//! router serves it on its internal address only.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ledger::money::AmountError;
use ledger::{Intent, Money, Note, ShortText};
use store::Store;
use tokio::time::Instant;
use topology::wire::Credit;

use super::problem::{Fault, Rejected};
use super::views::{TransferView, WalletView};
use super::wallets::{answered, json, wallet_in_path};
use super::{Edge, body, context};
use crate::failure::Failure;
use crate::peers::Peers;

/// How long an operator waits for a delivery: less than the control plane waits for the answer.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(3);

type Shared<S, P> = State<Arc<Edge<S, P>>>;

pub async fn receivable<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let receivable = edge.wallets.receivable(wallet_in_path(&headers, &id)?).await?;
        Ok(json(StatusCode::OK, &receivable))
    })
    .await
}

pub async fn credit<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let wallet = wallet_in_path(&headers, &id)?;
        let bytes = body::read(&headers, body).await?;
        let credit: Credit = serde_json::from_slice(&bytes).map_err(|error| Fault::MalformedJson(error.to_string()))?;
        if credit.to_wallet_id != wallet {
            return Err(Fault::WalletHeader);
        }
        if credit.from_wallet_id == wallet {
            return Err(Fault::Failure(Failure::SameWallet));
        }
        if credit.amount_minor < Money::MIN_AMOUNT.minor() {
            return Err(Fault::Amount(AmountError::BelowMinimum));
        }
        if credit.amount_minor > Money::MAX_AMOUNT.minor() {
            return Err(Fault::Amount(AmountError::AboveMaximum));
        }
        let mut context = context::context(&headers, &credit.request_id, "credit", Note::default())?;
        // The transfer's id is what makes a repetition harmless, not a client's key.
        context.key = None;
        context.audit.actor = ShortText::cut(&credit.actor, context::MAX_ACTOR_BYTES);
        let outcome = edge.wallets.credit(&credit, context).await?;
        Ok(json(StatusCode::OK, &outcome))
    })
    .await
}

/// An operator has a transfer in flight tried at once.
pub async fn deliver<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path((id, transfer)): Path<(String, String)>,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let wallet = wallet_in_path(&headers, &id)?;
        let transfer = transfer.parse().map_err(|_| Fault::TransferId)?;
        let deadline = context::context(&headers, request_id, "deliver", Note::default())?.deadline;
        let done = edge.wallets.deliver(wallet, transfer, deadline.min(Instant::now() + DELIVERY_PATIENCE)).await?;
        Ok(json(StatusCode::OK, &TransferView::from(&done)))
    })
    .await
}

/// The wallet is about to leave: hold its writes for a moment.
pub async fn hold<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        edge.wallets.hold(wallet_in_path(&headers, &id)?).await;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

pub async fn release<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        edge.wallets.release(wallet_in_path(&headers, &id)?).await;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

pub async fn freeze<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    change_status(&edge, &headers, &id, "freeze", Intent::Freeze).await
}

pub async fn unfreeze<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    change_status(&edge, &headers, &id, "unfreeze", Intent::Unfreeze).await
}

/// Refused while there is money in the wallet or on its way out of it.
pub async fn close<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    change_status(&edge, &headers, &id, "close", Intent::Close).await
}

/// Records that the personal data of a closed wallet is erased; its owner is destroyed by the control plane.
pub async fn erase<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    change_status(&edge, &headers, &id, "erase", Intent::Erase).await
}

async fn change_status<S: Store, P: Peers>(
    edge: &Edge<S, P>,
    headers: &HeaderMap,
    id: &str,
    operation: &str,
    intent: Intent,
) -> Result<Response, Rejected> {
    answered(headers, async |request_id| {
        let wallet = wallet_in_path(headers, id)?;
        let context = context::context(headers, request_id, operation, Note::default())?;
        let done = edge.wallets.change(wallet, intent, context).await?;
        Ok(json(StatusCode::OK, &WalletView::from(done.value)))
    })
    .await
}
