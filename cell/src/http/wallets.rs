//! The handlers of the public wallet API.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::{Intent, Money, Note, Timestamp};
use serde::Serialize;
use store::Store;
use topology::{Endpoint, UserId, WalletId, wire};
use uuid::Uuid;

use super::problem::{Fault, Rejected, request_id};
use super::views::{BEGINNING, ReversalView, TransactionView, TransactionsView, TransferView, WalletView};
use super::{Edge, body, context, cursor, note};
use crate::peers::Peers;
use crate::wallets::{Answer, TransferStatus};

/// Page sizes of a listing.
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

type Shared<S, P> = State<Arc<Edge<S, P>>>;

/// Runs a handler's body and gives whatever it rejects the request's id.
pub(super) async fn answered(
    headers: &HeaderMap,
    handler: impl AsyncFnOnce(&str) -> Result<Response, Fault>,
) -> Result<Response, Rejected> {
    let request_id = request_id(headers);
    match handler(&request_id).await {
        Ok(mut response) => {
            if let Ok(id) = HeaderValue::from_str(&request_id) {
                response.headers_mut().insert(wire::REQUEST_ID, id);
            }
            Ok(response)
        }
        Err(fault) => Err(Rejected { fault, request_id }),
    }
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("a view holds only strings and numbers");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(super) fn answer<T>(status: StatusCode, answer: Answer<T>, view: impl Fn(T) -> Response) -> Response {
    let mut response = view(answer.value);
    *response.status_mut() = status;
    if answer.replayed {
        response.headers_mut().insert(wire::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

pub(super) fn wallet_in_path(headers: &HeaderMap, id: &str) -> Result<WalletId, Fault> {
    let wallet = id.parse().map_err(Fault::WalletId)?;
    context::check_wallet_header(headers, wallet)?;
    Ok(wallet)
}

/// Refuses parameters that this request does not have, and those that come twice: what is dropped may have been meant.
pub(super) fn only(query: Option<&str>, names: &[&str]) -> Result<(), Fault> {
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (name, _) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !names.contains(&name.as_ref()) {
            return Err(Fault::UnknownParameter(name.chars().take(body::NAME_SHOWN_CHARS).collect()));
        }
        if seen.contains(&name) {
            return Err(Fault::RepeatedParameter(name.into_owned()));
        }
        seen.push(name);
    }
    Ok(())
}

/// The value of a query parameter, percent-decoded; the last one if it is repeated.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    form_urlencoded::parse(query?.as_bytes()).filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
}

pub async fn create<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let bytes = body::read(&headers, body).await?;
        let user = body::Fields::parse(&bytes)?.only(&["userId"])?.user_id()?;
        context::check_wallet_header(&headers, edge.wallets.wallet_of(&user))?;
        // The chain keeps a hash of the meaning, so the user's id is not in it: the wallet's stands for it.
        let meaning = format!("create {}", edge.wallets.wallet_of(&user));
        let context = context::context(&headers, request_id, &meaning, Note::default())?;
        let created = edge.wallets.create(user, context).await?;
        let location = Endpoint::Show.of_wallet(created.value.id);
        let mut response =
            answer(StatusCode::CREATED, created, |wallet| json(StatusCode::CREATED, &WalletView::from(wallet)));
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&location).expect("plain ASCII"));
        Ok(response)
    })
    .await
}

pub async fn find<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        only(query.as_deref(), &["userId"])?;
        let user = parameter(query.as_deref(), "userId").ok_or(Fault::MissingField("userId"))?;
        let user = UserId::parse(user).map_err(Fault::UserId)?;
        let wallet = edge.wallets.wallet(edge.wallets.wallet_of(&user)).await?;
        Ok(json(StatusCode::OK, &WalletView::from(wallet)))
    })
    .await
}

pub async fn show<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let wallet = edge.wallets.wallet(wallet_in_path(&headers, &id)?).await?;
        Ok(json(StatusCode::OK, &WalletView::from(wallet)))
    })
    .await
}

pub async fn deposit<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Rejected> {
    change_balance(&edge, &headers, &id, body, "deposit", |amount| Intent::Deposit { amount }).await
}

pub async fn withdraw<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Rejected> {
    change_balance(&edge, &headers, &id, body, "withdraw", |amount| Intent::Withdraw { amount }).await
}

async fn change_balance<S: Store, P: Peers>(
    edge: &Edge<S, P>,
    headers: &HeaderMap,
    id: &str,
    body: Body,
    operation: &str,
    intent: impl FnOnce(Money) -> Intent,
) -> Result<Response, Rejected> {
    answered(headers, async |request_id| {
        let wallet = wallet_in_path(headers, id)?;
        let bytes = body::read(headers, body).await?;
        let fields = note::only(body::Fields::parse(&bytes)?, &["amount"])?;
        let (amount, note) = (fields.amount()?, note::of(&fields)?);
        let context = context::context(headers, request_id, &format!("{operation} {amount}"), note)?;
        let done = edge.wallets.change(wallet, intent(amount), context).await?;
        Ok(answer(StatusCode::OK, done, |wallet| json(StatusCode::OK, &WalletView::from(wallet))))
    })
    .await
}

pub async fn transfer<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let bytes = body::read(&headers, body).await?;
        let fields = note::only(body::Fields::parse(&bytes)?, &["fromWalletId", "toWalletId", "amount"])?;
        let (from, to) = (fields.payer()?, fields.payee()?);
        let (amount, note) = (fields.amount()?, note::of(&fields)?);
        context::check_wallet_header(&headers, from)?;
        let context = context::context(&headers, request_id, &format!("transfer {to} {amount}"), note)?;
        let done = edge.wallets.transfer(from, to, amount, context).await?;
        let location = Endpoint::ShowTransfer.path(&[from.as_uuid(), done.value.id]);
        let in_flight = done.value.status == TransferStatus::InFlight;
        let status = if in_flight { StatusCode::ACCEPTED } else { StatusCode::OK };
        let mut response = answer(status, done, |transfer| json(status, &TransferView::from(&transfer)));
        if in_flight {
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&location).expect("plain ASCII"));
        }
        Ok(response)
    })
    .await
}

pub async fn transfer_status<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path((id, transfer)): Path<(String, String)>,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let wallet = wallet_in_path(&headers, &id)?;
        let transfer = Uuid::try_parse(&transfer).map_err(|_| Fault::TransferId)?;
        let transfer = edge.wallets.transfer_status(wallet, transfer).await?;
        Ok(json(StatusCode::OK, &TransferView::from(&transfer)))
    })
    .await
}

/// Writes a compensating entry for an earlier transaction, once.
pub async fn reverse<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path((id, transaction)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let wallet = wallet_in_path(&headers, &id)?;
        let bytes = body::read_optional(&headers, body).await?;
        let note = note::of(&note::only(body::Fields::parse(&bytes)?, &[])?)?;
        let transaction = Uuid::try_parse(&transaction).map_err(|_| Fault::TransactionId)?;
        let context = context::context(&headers, request_id, &format!("reverse {transaction}"), note)?;
        let done = edge.wallets.reverse(wallet, transaction, context).await?;
        let status = if done.value.is_settled { StatusCode::OK } else { StatusCode::ACCEPTED };
        Ok(answer(status, done, |reversal| json(status, &ReversalView::from(reversal))))
    })
    .await
}

pub async fn historical<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let wallet = wallet_in_path(&headers, &id)?;
        only(query.as_deref(), &["timestamp"])?;
        let at = timestamp(query.as_deref(), "timestamp")?.ok_or(Fault::MissingField("timestamp"))?;
        if at > edge.wallets.now() {
            return Err(Fault::TimestampInFuture);
        }
        let wallet = edge.wallets.wallet_at(wallet, at).await?;
        Ok(json(StatusCode::OK, &WalletView::from(wallet)))
    })
    .await
}

pub async fn transactions<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let wallet = wallet_in_path(&headers, &id)?;
        let query = query.as_deref();
        only(query, &["from", "to", "limit", "cursor"])?;
        let from = timestamp(query, "from")?.unwrap_or(BEGINNING);
        let to = timestamp(query, "to")?.unwrap_or(Timestamp::from_micros(i64::MAX));
        let limit = match parameter(query, "limit") {
            None => DEFAULT_LIMIT,
            Some(text) => {
                text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or(Fault::Limit(MAX_LIMIT))?
            }
        };
        let start = match parameter(query, "cursor") {
            None => None,
            Some(text) => Some(cursor::decode(wallet, &text).ok_or(Fault::Cursor)?),
        };
        let (lines, next) = edge.wallets.transactions(wallet, from, to, start, limit).await?;
        let with_audit = context::is_operator(&headers);
        let page = TransactionsView {
            transactions: lines.into_iter().map(|line| TransactionView::new(line, with_audit)).collect(),
            next_cursor: next.map(|position| cursor::encode(wallet, position)),
        };
        Ok(json(StatusCode::OK, &page))
    })
    .await
}

pub(super) fn timestamp(query: Option<&str>, name: &'static str) -> Result<Option<Timestamp>, Fault> {
    let Some(text) = parameter(query, name) else { return Ok(None) };
    Timestamp::parse(&text).map(Some).map_err(|_| Fault::Timestamp(name))
}
