//! The handler of statements: JSON or CSV, sent while it is read. If the store fails on the way, the answer breaks off:
//! one that is whole ends with its closing balance.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use ledger::Timestamp;
use ledger::store::{Store, StoreError};
use topology::WalletId;

use super::problem::{Fault, Rejected};
use super::views::{BEGINNING, TransactionView};
use super::wallets::{answered, parameter, timestamp, wallet_in_path};
use super::{Edge, context};
use crate::history::Line;
use crate::peers::Peers;
use crate::statement::Statement;

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
        let format = Format::wanted(query, &headers)?;
        let from = timestamp(query, "from")?.unwrap_or(BEGINNING);
        let to = timestamp(query, "to")?.unwrap_or(edge.wallets.now());
        if from > to {
            return Err(Fault::Timestamp("from is later than to"));
        }
        let statement = edge.wallets.statement(wallet, from, to).await?;
        let writer = Writer { format, with_audit: context::is_operator(&headers), is_first: true };
        let kind = [(header::CONTENT_TYPE, format.media_type())];
        Ok((StatusCode::OK, kind, body(edge.store.clone(), statement, writer)).into_response())
    })
    .await
}

/// Where the sending stands.
enum Part {
    Beginning,
    Lines,
    Over,
}

fn body<S: Store>(store: S, statement: Statement, writer: Writer) -> Body {
    let start = (store, statement, writer, Part::Beginning);
    Body::from_stream(stream::try_unfold(start, |(store, mut statement, mut writer, part)| async move {
        let (text, part) = match part {
            Part::Over => return Ok::<_, StoreError>(None),
            Part::Beginning => (writer.beginning(&statement), Part::Lines),
            Part::Lines => match statement.page(&store).await? {
                lines if lines.is_empty() => (writer.end(&statement), Part::Over),
                lines => (writer.lines(lines), Part::Lines),
            },
        };
        Ok(Some((Bytes::from(text), (store, statement, writer, part))))
    }))
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
                let columns = "timestamp,type,transactionId,amount,balanceAfter,relatedWalletId,blockNumber\r\n";
                let from = if *from == BEGINNING { String::new() } else { from.to_string() };
                format!("{columns}{from},OPENING_BALANCE,,,{opening},,\r\n")
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
            Format::Csv => format!("{to},CLOSING_BALANCE,,,{balance},,\r\n"),
        }
    }
}

/// No field holds what a client wrote, so that none needs quoting, and none is a formula to a spreadsheet.
fn csv(line: &Line) -> String {
    let entry = &line.entry;
    let related = entry.kind.related_wallet().as_ref().map(WalletId::to_string).unwrap_or_default();
    let at: Timestamp = line.at;
    format!(
        "{at},{},{},{},{},{related},{}\r\n",
        entry.kind.name(),
        entry.id,
        entry.amount,
        entry.balance_after,
        line.block
    )
}
