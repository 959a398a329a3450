//! The handler of statements: JSON or CSV, sent while it is read. If the store fails on the way, the answer breaks off:
//! one that is whole ends with its closing balance.

use std::future::ready;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use ledger::Timestamp;
use store::{Store, StoreError};
use topology::WalletId;

use super::problem::{Fault, Rejected};
use super::views::{BEGINNING, TransactionView};
use super::wallets::{answered, only, parameter, timestamp, wallet_in_path};
use super::{Edge, callers, context};
use crate::peers::Peers;
use crate::reads::history::Line;
use crate::reads::statement::Statement;

/// Statements that one caller may read from an instance at a time, and all callers: no fewer than
/// there are places for readers of histories, so that only the former keeps a caller out.
pub const MAX_STATEMENTS_OF_EACH: usize = 4;
pub const MAX_STATEMENTS: usize = 256;

type Shared<S, P> = State<Arc<Edge<S, P>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Format {
    /// By the query, or by what the client accepts; JSON if it does not say.
    fn wanted(query: Option<&str>, headers: &HeaderMap) -> Result<Self, Fault> {
        match parameter(query, "format").as_deref() {
            Some("json") => Ok(Format::Json),
            Some("csv") => Ok(Format::Csv),
            Some(_) => Err(Fault::StatementFormat),
            None => {
                let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
                Ok(if accepts.trim_start().starts_with("text/csv") { Format::Csv } else { Format::Json })
            }
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Csv => "text/csv; charset=utf-8",
        }
    }
}

pub async fn statement<S: Store, P: Peers>(
    State(edge): Shared<S, P>,
    headers: HeaderMap,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Rejected> {
    answered(&headers, async |_| {
        let wallet = wallet_in_path(&headers, &id)?;
        let query = query.as_deref();
        only(query, &["from", "to", "format"])?;
        let format = Format::wanted(query, &headers)?;
        let from = timestamp(query, "from")?.unwrap_or(BEGINNING);
        let to = timestamp(query, "to")?.unwrap_or(edge.wallets.now());
        if from > to {
            return Err(Fault::Timestamp("from is later than to"));
        }
        let place = edge.statements.enter(callers::caller(&headers)).ok_or(Fault::AtLimit)?;
        let statement = edge.wallets.statement(wallet, from, to).await?;
        let writer = Writer { format, with_audit: context::is_operator(&headers), is_first: true };
        let kind = [(header::CONTENT_TYPE, format.media_type())];
        Ok((StatusCode::OK, kind, body(edge.store.clone(), statement, writer, place)).into_response())
    })
    .await
}

/// The beginning is written before the answer begins, where a fault of ours is still a 500. The
/// caller's place is free again when the body is dropped.
fn body<S: Store>(store: S, statement: Statement, writer: Writer, place: callers::CallerPlace) -> Body {
    let beginning = Bytes::from(writer.beginning(&statement));
    let start = (store, statement, writer, place, false);
    let rest = stream::try_unfold(start, |(store, mut statement, mut writer, place, is_over)| async move {
        if is_over {
            return Ok::<_, StoreError>(None);
        }
        let lines = statement.page(&store).await?;
        let is_over = lines.is_empty();
        let text = if is_over { writer.end(&statement) } else { writer.lines(lines) };
        Ok(Some((Bytes::from(text), (store, statement, writer, place, is_over))))
    });
    Body::from_stream(stream::once(ready(Ok(beginning))).chain(rest))
}

/// Turns a statement into text, part by part.
struct Writer {
    format: Format,
    with_audit: bool,
    is_first: bool,
}

impl Writer {
    fn beginning(&self, statement: &Statement) -> String {
        let Statement { wallet, from, to, opening, .. } = statement;
        match self.format {
            Format::Json => {
                let from = if *from == BEGINNING { String::new() } else { format!("\"from\":\"{from}\",") };
                format!(
                    "{{\"walletId\":\"{wallet}\",{from}\"to\":\"{to}\",\"openingBalance\":{opening},\"transactions\":["
                )
            }
            Format::Csv => {
                let columns =
                    "timestamp,type,transactionId,amount,balanceAfter,relatedWalletId,blockNumber,reference\r\n";
                let from = if *from == BEGINNING { String::new() } else { from.to_string() };
                format!("{columns}{from},OPENING_BALANCE,,,{opening},,,\r\n")
            }
        }
    }

    fn lines(&mut self, lines: Vec<Line>) -> String {
        let mut text = String::new();
        for line in lines {
            match self.format {
                Format::Json => {
                    if !std::mem::take(&mut self.is_first) {
                        text.push(',');
                    }
                    let view = TransactionView::new(line, self.with_audit);
                    text.push_str(&serde_json::to_string(&view).expect("a view holds only strings and numbers"));
                }
                Format::Csv => text.push_str(&csv(&line)),
            }
        }
        text
    }

    fn end(&self, statement: &Statement) -> String {
        let Statement { to, balance, .. } = statement;
        match self.format {
            Format::Json => format!("],\"closingBalance\":{balance}}}"),
            Format::Csv => format!("{to},CLOSING_BALANCE,,,{balance},,,\r\n"),
        }
    }
}

/// Of what a client wrote there is only the reference, which needs no quoting and is no formula to a spreadsheet.
fn csv(line: &Line) -> String {
    let entry = &line.entry;
    let related = entry.related_wallet().as_ref().map(WalletId::to_string).unwrap_or_default();
    let at: Timestamp = line.at;
    format!(
        "{at},{},{},{},{},{related},{},{}\r\n",
        entry.kind.name(),
        entry.id,
        entry.amount,
        entry.balance_after,
        line.block,
        entry.reference.as_str()
    )
}

#[cfg(test)]
mod tests;
