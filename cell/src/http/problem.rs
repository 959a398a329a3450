//! Turns whatever went wrong into `application/problem+json`: the one place of this binary that does.

use access::origin::Foreign;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ledger::Refusal;
use ledger::limits::MAX_HOLD_LIFETIME_S;
use ledger::money::AmountError;
use ledger::personal::MAX_REFERENCE_BYTES;
use ledger::personal::{MAX_DESCRIPTION_BYTES, MAX_METADATA_BYTES, MAX_METADATA_NAME_BYTES, MAX_METADATA_PAIRS};
use topology::wire::{self, CreditRefusal, code};
use topology::{IdError, Problem, problem::PROBLEM_JSON};
use tracing::{error, warn};
use uuid::Uuid;

use crate::failure::Failure;

/// Longest request id that is taken over, in bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Seconds after which a client may try again what was refused for the moment.
const RETRY_AFTER_SECONDS: u16 = 1;

/// The stable code of a failure, where it is one part of an answer.
pub fn code_of(failure: &Failure) -> (String, String) {
    let problem = problem_of_failure(failure);
    (problem.code, problem.detail)
}

/// What the edge itself finds wrong with a request, or a failure of the use case.
#[derive(Debug)]
pub enum Fault {
    NotFound,
    /// Not for this of our own processes.
    Forbidden,
    MethodNotAllowed,
    BodyTooLarge,
    BodyTimeout,
    UnsupportedMediaType,
    MalformedJson(String),
    MissingField(&'static str),
    WrongType(&'static str, &'static str),
    WalletId(IdError),
    TransferId,
    TransactionId,
    HoldId,
    HoldLifetime,
    Operation(usize, Box<Fault>),
    OperationKind,
    BatchSize(usize),
    BatchMode,
    KeyRequired,
    KeyRepeated(usize),
    UserId(IdError),
    Amount(AmountError),
    Reference,
    Description,
    Metadata,
    IdempotencyKey,
    Timestamp(&'static str),
    UnknownField(String),
    UnknownParameter(String),
    RepeatedParameter(String),
    /// A handler panicked: a fault of ours.
    Panicked,
    TimestampInFuture,
    StatementFormat,
    EventCursor,
    Follow,
    Limit(usize),
    Cursor,
    WalletHeader,
    /// More of its kind than this process takes on.
    AtLimit,
    /// Another site caused it.
    Foreign(Foreign),
    /// For processes of another role.
    WrongRole,
    /// This process is about to stop.
    Draining,
    Standby,
    Failure(Failure),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Fault::Failure(failure)
    }
}

/// A fault on its way out, with the request's id.
pub struct Rejected {
    pub fault: Fault,
    pub request_id: String,
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let Self { fault, request_id } = self;
        let problem = problem_of(&fault).request_id(request_id.clone());
        log(&fault, &problem);
        metrics::counter!("cell_problems_total", "code" => problem.code.clone()).increment(1);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            headers.insert(wire::REQUEST_ID, id);
        }
        if matches!(problem.status, 429 | 503) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        match &fault {
            Fault::Failure(Failure::Misdirected { to: Some(cell), moved }) => {
                let cell = HeaderValue::from_str(cell.as_str()).expect("a cell id is plain ASCII");
                headers.insert(wire::WALLET_CELL, cell);
                if let Some(block) = moved {
                    headers.insert(wire::MOVED_BLOCK, super::moved::header(block));
                }
            }
            Fault::AtLimit => {
                headers.insert(wire::NOT_PROCESSED, HeaderValue::from_static(wire::AT_LIMIT));
            }
            Fault::WrongRole
            | Fault::Draining
            | Fault::Standby
            | Fault::Failure(Failure::Overloaded | Failure::Expired) => {
                headers.insert(wire::NOT_PROCESSED, HeaderValue::from_static("true"));
            }
            _ => {}
        }
        (status, headers, problem.to_json()).into_response()
    }
}

fn log(fault: &Fault, problem: &Problem) {
    match fault {
        Fault::Failure(Failure::Corrupt(what)) => error!(what, request_id = problem.request_id, "corrupt ledger"),
        // Counted where it is decided; a line for each would be one more load.
        Fault::AtLimit | Fault::Draining | Fault::Standby => {}
        _ if problem.status >= 500 => {
            warn!(code = problem.code, detail = problem.detail, request_id = problem.request_id, "request failed");
        }
        _ => {}
    }
}

fn problem_of(fault: &Fault) -> Problem {
    let bad = |code, title| Problem::new(400, code, title);
    match fault {
        Fault::Forbidden => Problem::new(403, "forbidden", "Not for a caller of this role"),
        Fault::NotFound => Problem::new(404, "not_found", "There is nothing at this path"),
        Fault::MethodNotAllowed => Problem::new(405, "method_not_allowed", "This path has no such method"),
        Fault::BodyTooLarge => Problem::new(413, "body_too_large", "The request body is too large"),
        Fault::BodyTimeout => Problem::new(408, "body_timeout", "The request body came too slowly"),
        Fault::UnsupportedMediaType => {
            Problem::new(415, "unsupported_media_type", "The request body must be application/json")
        }
        Fault::MalformedJson(why) => bad("malformed_json", "The request body is not valid JSON").detail(why.clone()),
        Fault::MissingField(name) => bad("missing_field", "A required field is missing").detail(*name),
        Fault::UnknownParameter(name) => {
            bad("unknown_parameter", "A query parameter that this request does not have").detail(name.clone())
        }
        Fault::RepeatedParameter(name) => {
            bad("repeated_parameter", "A query parameter comes twice").detail(name.clone())
        }
        Fault::UnknownField(name) => {
            bad("unknown_field", "A field that this request does not have").detail(name.clone())
        }
        Fault::WrongType(name, wanted) => {
            bad("wrong_type", "A field has the wrong type").detail(format!("{name} must be {wanted}"))
        }
        Fault::WalletId(error) => bad("invalid_wallet_id", "Not a wallet id").detail(error.to_string()),
        Fault::TransferId => bad("invalid_transfer_id", "Not a transfer id").detail("a transfer id is a UUID"),
        Fault::TransactionId => {
            bad("invalid_transaction_id", "Not a transaction id").detail("a transaction id is a UUID")
        }
        Fault::HoldId => bad("invalid_hold_id", "Not a hold id").detail("a hold id is a UUID"),
        Fault::HoldLifetime => bad("invalid_hold_lifetime", "Not a time that a hold may last")
            .detail(format!("expiresInSeconds is 1 to {}", MAX_HOLD_LIFETIME_S)),
        // The code of what is wrong, and which operation it is in.
        Fault::Operation(index, fault) => {
            let problem = problem_of(fault);
            let detail = format!("operation {index}: {}", problem.detail);
            problem.detail(detail)
        }
        Fault::OperationKind => bad("invalid_operation", "Not an operation of a batch")
            .detail("type is deposit, withdraw, hold, capture or void"),
        Fault::BatchSize(most) => {
            bad("invalid_batch_size", "Not a number of operations that a batch may have").detail(format!("1 to {most}"))
        }
        Fault::BatchMode => {
            bad("invalid_batch_mode", "Not a way to carry out a batch").detail("mode is atomic or independent")
        }
        Fault::KeyRequired => bad("idempotency_key_required", "This request needs an Idempotency-Key")
            .detail("without one, a client could not safely repeat it"),
        Fault::KeyRepeated(index) => {
            bad("idempotency_key_repeated", "A request cannot use the same Idempotency-Key twice")
                .detail(format!("the key of operation {index} is also that of another one, or of the whole"))
        }
        Fault::UserId(error) => bad("invalid_user_id", "Not a user id").detail(error.to_string()),
        Fault::Amount(error) => {
            let code = match error {
                AmountError::NotExact => "invalid_amount",
                AmountError::BelowMinimum => "amount_below_minimum",
                AmountError::AboveMaximum => "amount_above_maximum",
            };
            bad(code, "The amount cannot be accepted").detail(error.to_string())
        }
        Fault::Reference => bad("invalid_reference", "The reference cannot be accepted").detail(format!(
            "1 to {MAX_REFERENCE_BYTES} letters, digits and - . _ / : #, the first one a letter or a digit"
        )),
        Fault::Description => bad("invalid_description", "The description cannot be accepted")
            .detail(format!("at most {MAX_DESCRIPTION_BYTES} bytes without control characters")),
        Fault::Metadata => bad("invalid_metadata", "The metadata cannot be accepted").detail(format!(
            "at most {MAX_METADATA_PAIRS} strings and {MAX_METADATA_BYTES} bytes; a name is 1 to {MAX_METADATA_NAME_BYTES} letters, digits and - . _"
        )),
        Fault::IdempotencyKey => bad("invalid_idempotency_key", "The Idempotency-Key cannot be accepted")
            .detail("one header of 1 to 128 visible ASCII characters"),
        Fault::Panicked => Problem::new(500, "internal_error", "The request met a fault of the service")
            .detail("it may have been done: repeat it with the same Idempotency-Key, or read the wallet first"),
        Fault::Timestamp(name) => bad("invalid_timestamp", "Not an ISO-8601 timestamp").detail(*name),
        Fault::TimestampInFuture => bad("timestamp_in_future", "The timestamp lies in the future"),
        Fault::EventCursor => bad("invalid_cursor", "Not a cursor of this cell's events")
            .detail("pass the last cursor of the answer before, unchanged, to the same cell"),
        Fault::Follow => bad("invalid_follow", "Not a way to follow events").detail("follow is true or false"),
        Fault::StatementFormat => bad("invalid_format", "Not a form of a statement").detail("format is json or csv"),
        Fault::Limit(most) => bad("invalid_limit", "Not a page size").detail(format!("1 to {most}")),
        Fault::Cursor => {
            bad("invalid_cursor", "Not a cursor of this wallet").detail("pass nextCursor of the page before, unchanged")
        }
        Fault::WalletHeader => bad("wallet_header_mismatch", "X-Wallet-Id names another wallet than the request"),
        Fault::Foreign(foreign) => {
            Problem::new(Foreign::STATUS.as_u16(), foreign.code(), foreign.title()).detail(foreign.to_string())
        }
        Fault::AtLimit => Problem::new(503, code::OVERLOADED, "More than this cell takes at once; nothing was done"),
        Fault::Draining => Problem::new(503, code::DRAINING, "This process is about to stop; nothing was done"),
        Fault::Standby => Problem::new(503, "standby", "This process waits until its Region serves the cell; nothing was done"),
        Fault::WrongRole => Problem::new(421, "wrong_role", "This process of the cell is not there for this"),
        Fault::Failure(failure) => problem_of_failure(failure),
    }
}

fn problem_of_failure(failure: &Failure) -> Problem {
    let problem = match failure {
        Failure::Refused { refusal, .. } | Failure::ItemRefused { refusal, .. } => match refusal {
            Refusal::InsufficientBalance { .. } => {
                Problem::new(400, code::INSUFFICIENT_BALANCE, "The balance is too small")
            }
            Refusal::BalanceLimit => Problem::new(400, "balance_limit", "The balance would become too large"),
            Refusal::Frozen => Problem::new(409, code::WALLET_FROZEN, "The wallet is frozen"),
            Refusal::Closed => Problem::new(409, code::WALLET_CLOSED, "The wallet is closed"),
            Refusal::NotClosed => Problem::new(409, "wallet_not_closed", "The wallet is not closed"),
            Refusal::Erased => Problem::new(409, code::WALLET_ERASED, "The personal data of the wallet is erased"),
            Refusal::NotFrozen => Problem::new(409, code::WALLET_NOT_FROZEN, "The wallet is not frozen"),
            Refusal::NotEmpty { .. } => Problem::new(409, "wallet_not_empty", "The wallet still holds money"),
            Refusal::InFlight { .. } => Problem::new(409, "transfers_in_flight", "Transfers are still in flight"),
            Refusal::TooManyInFlight => {
                Problem::new(429, "too_many_transfers_in_flight", "Too many transfers out of the wallet are in flight")
            }
            Refusal::NothingInFlight => Problem::new(409, "nothing_in_flight", "No transfer is in flight"),
            Refusal::NoOpenHold => Problem::new(409, "hold_not_open", "The wallet has no such open hold"),
            Refusal::AboveHold { .. } => Problem::new(400, "amount_above_hold", "More than the hold's amount"),
            Refusal::TooManyHolds => Problem::new(409, "too_many_holds", "The wallet has too many open holds"),
            Refusal::ExpiryPassed => Problem::new(400, "hold_expired", "The hold would be over already"),
        },
        Failure::WalletNotFound(_) => Problem::new(404, code::WALLET_NOT_FOUND, "There is no such wallet"),
        Failure::TransferNotFound(_) => {
            Problem::new(404, "transfer_not_found", "There is no such transfer out of this wallet")
        }
        Failure::TransactionNotFound(_) => {
            Problem::new(404, "transaction_not_found", "There is no such transaction in this wallet")
        }
        Failure::NotReversible(_) => {
            Problem::new(409, "not_reversible", "This transaction is of a kind that cannot be reversed")
        }
        Failure::AlreadyReversed => Problem::new(409, "already_reversed", "The transaction was reversed before"),
        Failure::DoneOnce { .. } => unreachable!("only reversals are done once, and say so"),
        Failure::NoCheckpointYet(_) => Problem::new(404, "no_checkpoint_yet", "No checkpoint covers this wallet yet"),
        Failure::WalletExists(_) => Problem::new(409, "wallet_exists", "The user already has a wallet"),
        Failure::KeyReused => {
            Problem::new(422, "idempotency_key_reused", "The Idempotency-Key was used with another request")
        }
        Failure::KeyWindowFull => Problem::new(
            429,
            "idempotency_window_full",
            "This wallet's idempotency keys of the last 24 hours are more than are remembered; nothing was done",
        ),
        Failure::SameWallet => Problem::new(400, "same_wallet", "A wallet cannot pay itself"),
        Failure::CannotReceive(CreditRefusal::WalletFrozen) => {
            Problem::new(409, code::WALLET_FROZEN, "The receiving wallet is frozen")
        }
        Failure::CannotReceive(CreditRefusal::WalletClosed) => {
            Problem::new(409, code::WALLET_CLOSED, "The receiving wallet is closed")
        }
        Failure::CannotReceive(CreditRefusal::BalanceLimit) => {
            Problem::new(400, "balance_limit", "The receiving wallet's balance would become too large")
        }
        Failure::ReceiverUnavailable(_) => {
            Problem::new(503, code::RECEIVER_UNAVAILABLE, "The receiving wallet cannot be reached; nothing was done")
        }
        Failure::Returned { .. } => {
            Problem::new(400, code::TRANSFER_RETURNED, "The receiving wallet refused; the money is back")
        }
        Failure::Misdirected { .. } => Problem::new(421, code::MISDIRECTED, "The wallet is not served by this cell"),
        Failure::Moving => Problem::new(503, code::WALLET_MOVING, "The wallet's bucket is moving; nothing was done"),
        Failure::Overloaded => Problem::new(503, code::OVERLOADED, "Too much is waiting; nothing was done"),
        Failure::Expired => Problem::new(503, code::OVERLOADED, "The deadline passed while waiting; nothing was done"),
        Failure::Contended => Problem::new(503, code::CONTENDED, "Other writers kept winning; nothing was done"),
        Failure::Unavailable(_) => {
            Problem::new(503, code::STORAGE_UNAVAILABLE, "The store does not answer; nothing was done")
        }
        Failure::OutcomeUnknown(_) => Problem::new(503, "outcome_unknown", "It is not known whether this was done"),
        Failure::Corrupt(_) => Problem::new(500, "ledger_corrupt", "The wallet's ledger needs an operator"),
    };
    let detail = match failure {
        Failure::OutcomeUnknown(_) => {
            "repeat the request with the same Idempotency-Key; without one, read the wallet first".to_owned()
        }
        // What the store said is for the log, not for clients.
        Failure::Unavailable(_) | Failure::ReceiverUnavailable(_) | Failure::Corrupt(_) => String::new(),
        other => other.to_string(),
    };
    problem.detail(detail)
}

/// The router's request id, or a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    match headers.get(wire::REQUEST_ID).and_then(|value| value.to_str().ok()) {
        Some(id) if !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES => id.to_owned(),
        _ => Uuid::new_v4().to_string(),
    }
}

pub fn rejected(fault: Fault, headers: &HeaderMap) -> Rejected {
    Rejected { fault, request_id: request_id(headers) }
}

pub async fn not_found(headers: HeaderMap) -> Rejected {
    Rejected { fault: Fault::NotFound, request_id: request_id(&headers) }
}

pub async fn method_not_allowed(headers: HeaderMap) -> Rejected {
    Rejected { fault: Fault::MethodNotAllowed, request_id: request_id(&headers) }
}
