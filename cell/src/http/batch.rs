//! The handlers of requests that ask for many things at once: operations on one wallet, and payments out of one.

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use ledger::block::Key;
use ledger::limits::MAX_BATCH_OPERATIONS;
use ledger::{Intent, Note, Timestamp};
use store::Store;

use super::body::Fields;
use super::problem::{Fault, Rejected};
use super::views::{BatchView, PaymentsView};
use super::wallets::{answer, answered, json, wallet_in_path};
use super::{Edge, body, context, holds, note};
use crate::peers::Peers;
use crate::wallets::{Operation, PaymentOrder};

/// Largest body of a request for many things.
pub const MAX_BATCH_BYTES: usize = topology::wire::BATCH_BODY_MAX_BYTES;
/// Most payments in one request: their answers have to be there within its deadline.
pub const MAX_PAYMENTS: usize = 500;

type Shared<S, P> = State<Arc<Edge<S, P>>>;

/// Operations on one wallet, in one block.
pub async fn operations<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let wallet = wallet_in_path(&headers, &id)?;
        let bytes = body::read_up_to(MAX_BATCH_BYTES, &headers, body).await?;
        let fields = Fields::parse(&bytes)?.only(&["mode", "operations"])?;
        let is_atomic = match fields.mode()?.as_deref() {
            None | Some("atomic") => true,
            Some("independent") => false,
            Some(_) => return Err(Fault::BatchMode),
        };
        let now = edge.wallets.now();
        let listed = sized(fields.operations()?, MAX_BATCH_OPERATIONS)?;
        let parsed: Vec<_> = each(&listed, |fields| operation(&headers, fields, now))?;
        let parts = parsed.iter().map(|(operation, meaning)| part(meaning, operation.key.as_ref()));
        let meaning = format!("batch atomic={is_atomic}{}", parts.collect::<String>());
        let context = context::context(&headers, request_id, &meaning, Note::default())?;
        distinct(context.key.as_ref(), parsed.iter().map(|(operation, _)| operation.key.as_ref()))?;
        let operations = parsed.into_iter().map(|(operation, _)| operation).collect();
        let done = edge.wallets.batch(wallet, is_atomic, operations, context).await?;
        Ok(answer(StatusCode::OK, done, |batch| json(StatusCode::OK, &BatchView::from(batch))))
    })
    .await
}

/// Payments out of one wallet, to any cell.
pub async fn payments<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Rejected> {
    answered(&headers, async |request_id| {
        let from = wallet_in_path(&headers, &id)?;
        let bytes = body::read_up_to(MAX_BATCH_BYTES, &headers, body).await?;
        let listed = sized(Fields::parse(&bytes)?.only(&["payments"])?.payments()?, MAX_PAYMENTS)?;
        let parsed: Vec<_> = each(&listed, |fields| {
            note::check_only(fields, &["toWalletId", "amount", "idempotencyKey"])?;
            let (to, amount, note) = (fields.payee()?, fields.amount()?, note::of(fields)?);
            // As a single transfer says it: a payment may be repeated as one.
            let meaning = note::meaning(format!("transfer {to} {amount}"), &note);
            let key = own_key(&headers, fields, &meaning)?;
            Ok((PaymentOrder { to, amount, key, note }, meaning))
        })?;
        let whole: String = parsed.iter().map(|(order, meaning)| part(meaning, order.key.as_ref())).collect();
        let context = context::context(&headers, request_id, &format!("payments{whole}"), Note::default())?;
        let whole_key = context.key.ok_or(Fault::KeyRequired)?;
        distinct(Some(&whole_key), parsed.iter().map(|(order, _)| order.key.as_ref()))?;
        let orders = parsed.into_iter().enumerate().map(|(index, (order, meaning))| {
            let key = order.key.unwrap_or_else(|| context::key_of_part(&whole_key, index, &meaning));
            PaymentOrder { key: Some(key), ..order }
        });
        let done = edge.wallets.pay_many(from, orders.collect(), context).await?;
        Ok(answer(StatusCode::OK, done, |payments| json(StatusCode::OK, &PaymentsView::from(payments))))
    })
    .await
}

fn sized<T>(list: Vec<T>, most: usize) -> Result<Vec<T>, Fault> {
    if (1..=most).contains(&list.len()) { Ok(list) } else { Err(Fault::BatchSize(most)) }
}

/// Reads every element; a fault says in which one it is.
fn each<'a, T>(list: &[Fields<'a>], read: impl Fn(&Fields<'a>) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    let read = |(index, fields)| read(fields).map_err(|fault| Fault::Operation(index, Box::new(fault)));
    list.iter().enumerate().map(read).collect()
}

/// An operation, and its meaning for telling requests apart.
fn operation(headers: &HeaderMap, fields: &Fields<'_>, now: Timestamp) -> Result<(Operation, String), Fault> {
    let kind = fields.kind()?;
    let own: &[&str] = match kind.as_str() {
        "deposit" | "withdraw" => &["type", "amount", "idempotencyKey"],
        "hold" => &["type", "amount", "expiresInSeconds", "idempotencyKey"],
        "capture" => &["type", "holdId", "amount", "idempotencyKey"],
        "void" => &["type", "holdId", "idempotencyKey"],
        _ => return Err(Fault::OperationKind),
    };
    note::check_only(fields, own)?;
    let note = note::of(fields)?;
    let (intent, meaning) = match kind.as_str() {
        "deposit" => {
            let amount = fields.amount()?;
            (Intent::Deposit { amount }, format!("deposit {amount}"))
        }
        "withdraw" => {
            let amount = fields.amount()?;
            (Intent::Withdraw { amount }, format!("withdraw {amount}"))
        }
        "hold" => {
            let (amount, seconds) = (fields.amount()?, holds::lifetime(fields)?);
            let expires_at = now.plus_micros(i64::from(seconds) * 1_000_000);
            (Intent::Hold { amount, expires_at }, format!("hold {amount} {seconds}"))
        }
        "capture" => {
            let (hold, amount) = (fields.hold()?, fields.amount_if_any()?);
            let wanted = amount.map_or_else(|| "all".to_owned(), |amount| amount.to_string());
            (Intent::Capture { hold, amount }, format!("capture {hold} {wanted}"))
        }
        "void" => {
            let hold = fields.hold()?;
            (Intent::Void { hold }, format!("void {hold}"))
        }
        _ => return Err(Fault::OperationKind),
    };
    let meaning = note::meaning(meaning, &note);
    let key = own_key(headers, fields, &meaning)?;
    Ok((Operation { intent, key, note }, meaning))
}

fn own_key(headers: &HeaderMap, fields: &Fields<'_>, meaning: &str) -> Result<Option<Key>, Fault> {
    let caller = context::actor(headers);
    fields.idempotency_key()?.map(|key| context::key_of(&caller, key.as_bytes(), meaning)).transpose()
}

/// A part of the whole request's meaning. Its key belongs to that: a part that comes with another key is another one.
fn part(meaning: &str, key: Option<&Key>) -> String {
    match key {
        Some(key) => format!("; {meaning} key={:032x}", u128::from_be_bytes(key.key)),
        None => format!("; {meaning}"),
    }
}

/// No key is used twice, by two parts or by a part and the whole.
fn distinct<'a>(whole: Option<&Key>, keys: impl Iterator<Item = Option<&'a Key>>) -> Result<(), Fault> {
    let mut seen: HashSet<_> = whole.iter().map(|key| key.key).collect();
    for (index, key) in keys.enumerate() {
        if key.is_some_and(|key| !seen.insert(key.key)) {
            return Err(Fault::KeyRepeated(index));
        }
    }
    Ok(())
}
