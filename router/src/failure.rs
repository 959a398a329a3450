//! Why the router itself answers a request, and the one function that makes the answer of it.

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use topology::Problem;
use topology::problem::PROBLEM_JSON;
use topology::wire::{self, code};

use crate::limits;
use crate::rate::Refused;
use crate::telemetry::cells::Outcome;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("there is nothing at this path")]
    NotFound,
    #[error("this path takes only {0}")]
    MethodNotAllowed(&'static str),
    #[error("a wallet id is a UUID of 36 characters")]
    InvalidWalletId,
    #[error("exactly one userId of 1 to {max} bytes is needed, without control characters", max = topology::ids::USER_ID_MAX_BYTES)]
    InvalidUserId,
    #[error("the query names no cell, or more than one")]
    MissingCell,
    #[error("there is no such cell")]
    CellNotFound,
    #[error("the header X-Wallet-Id names another wallet than the request")]
    HeaderMismatch,
    #[error("the field {0} is missing")]
    MissingField(&'static str),
    #[error("the field {0} is not a string")]
    WrongType(&'static str),
    #[error("the body is not the JSON object it should be: {0}")]
    MalformedJson(String),
    #[error("the body is larger than the {0} bytes that this path takes")]
    BodyTooLarge(usize),
    #[error("the body has to be sent as Content-Type: application/json")]
    UnsupportedMediaType,
    #[error("{0}")]
    Foreign(access::origin::Foreign),
    #[error("the body ended or failed before its announced end")]
    BodyIncomplete,
    #[error("no byte of the body came for {} s", limits::BODY_STALL_TIMEOUT.as_secs())]
    BodyTimeout,
    #[error("Content-Length together with Transfer-Encoding, or a Transfer-Encoding other than chunked")]
    AmbiguousLength,
    #[error("the protocol cannot be changed here")]
    UpgradeRefused,
    #[error("more than {max} header lines", max = limits::HEADERS_MAX)]
    TooManyHeaders,
    #[error("the request is not HTTP/1.1 as it should be")]
    MalformedRequest,
    #[error("the request target is too long")]
    TargetTooLong,
    #[error("the request head is larger than {max} bytes or has too many lines", max = limits::HEAD_MAX_BYTES)]
    HeadTooLarge,
    #[error("the request head did not arrive within {} s", limits::HEAD_TIMEOUT.as_secs())]
    HeadTimeout,
    #[error("more requests than {} may send; nothing was done. Wait {} s", .0.scope.whose(), .0.wait_s())]
    RateLimited(Refused),
    #[error("too many requests are in flight; nothing was done")]
    Overloaded,
    #[error("the router has not learnt yet which cell owns which wallet; nothing was done")]
    NoPlacement,
    #[error("the wallet is being moved between cells; nothing was done")]
    WalletMoving,
    #[error("no instance of the wallet's cell could be reached; nothing was done")]
    UpstreamUnavailable,
    #[error(
        "the connection to the cell broke after the request was sent: it may or may not have been applied. Look before repeating it, or repeat requests that carry an Idempotency-Key"
    )]
    UpstreamUnknownOutcome,
    #[error("the connection to the cell broke before it answered")]
    UpstreamBroken,
    #[error("the deadline passed before the request was sent to a cell; nothing was done")]
    DeadlineUnsent,
    #[error("the deadline passed before the cell answered")]
    DeadlineExceeded,
    #[error("the deadline passed before the cell answered: the request may or may not have been applied")]
    DeadlineUnknownOutcome,
    #[error("{0}")]
    Denied(access::Denied),
}

impl Failure {
    /// What it says of the cell that the request was for; None where the cell has no part in it.
    pub fn seen_of_cell(&self) -> Option<Outcome> {
        use Failure::*;
        match self {
            WalletMoving
            | UpstreamUnavailable
            | UpstreamUnknownOutcome
            | UpstreamBroken
            | DeadlineExceeded
            | DeadlineUnknownOutcome => Some(Outcome::Unanswered),
            _ => None,
        }
    }

    /// Status, code and title; the detail is the error's own text. A code tells what became of the request: with one
    /// that ends in `unknown_outcome` it may or may not have been applied, with any other nothing was changed.
    /// `upstream_broken` and `deadline_exceeded` are for requests that only read.
    fn facts(&self) -> (StatusCode, &'static str, &'static str) {
        use Failure::*;
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const AWAY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        const LATE: StatusCode = StatusCode::GATEWAY_TIMEOUT;
        match self {
            NotFound => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed"),
            InvalidWalletId => (BAD, "invalid_wallet_id", "Invalid wallet id"),
            InvalidUserId => (BAD, "invalid_user_id", "Invalid user id"),
            MissingCell => (BAD, "missing_cell", "Missing cell"),
            CellNotFound => (StatusCode::NOT_FOUND, "cell_not_found", "Cell not found"),
            HeaderMismatch => (BAD, "wallet_header_mismatch", "X-Wallet-Id does not match"),
            MissingField(_) => (BAD, "missing_field", "Missing field"),
            WrongType(_) => (BAD, "wrong_type", "Wrong type"),
            MalformedJson(_) => (BAD, "malformed_json", "Malformed JSON"),
            BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large"),
            UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type")
            }
            Foreign(foreign) => (access::origin::Foreign::STATUS, foreign.code(), foreign.title()),
            BodyIncomplete => (BAD, "body_incomplete", "Body incomplete"),
            BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "Body too slow"),
            AmbiguousLength => (BAD, "ambiguous_length", "Ambiguous body length"),
            UpgradeRefused => (BAD, "upgrade_refused", "Upgrade refused"),
            TooManyHeaders => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers", "Too many headers"),
            MalformedRequest => (BAD, "malformed_request", "Malformed request"),
            TargetTooLong => (StatusCode::URI_TOO_LONG, "target_too_long", "Request target too long"),
            HeadTooLarge => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "Request head too large"),
            HeadTimeout => (StatusCode::REQUEST_TIMEOUT, "head_timeout", "Request head too slow"),
            RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, code::RATE_LIMITED, "Too many requests"),
            Overloaded => (AWAY, code::OVERLOADED, "Overloaded"),
            NoPlacement => (AWAY, code::NO_PLACEMENT, "Not ready"),
            WalletMoving => (AWAY, code::WALLET_MOVING, "Wallet is moving"),
            UpstreamUnavailable => (AWAY, code::UPSTREAM_UNAVAILABLE, "Cell unavailable"),
            UpstreamUnknownOutcome => (StatusCode::BAD_GATEWAY, "upstream_unknown_outcome", "Outcome unknown"),
            UpstreamBroken => (StatusCode::BAD_GATEWAY, "upstream_broken", "Cell did not answer"),
            DeadlineUnsent => (LATE, code::DEADLINE_UNSENT, "Deadline exceeded before sending"),
            DeadlineExceeded => (LATE, "deadline_exceeded", "Deadline exceeded"),
            Denied(denied) => {
                let status = StatusCode::from_u16(denied.status()).expect("it is one of three");
                (status, denied.code(), denied.title())
            }
            DeadlineUnknownOutcome => (LATE, "deadline_unknown_outcome", "Deadline exceeded, outcome unknown"),
        }
    }

    /// Answered where hyper would answer by itself, or would not answer at all.
    pub fn of_head(status: StatusCode) -> Self {
        match status {
            StatusCode::URI_TOO_LONG => Self::TargetTooLong,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::HeadTooLarge,
            _ => Self::MalformedRequest,
        }
    }

    /// What a sound client of ours does not do: worth a line in the log beside the metric.
    pub fn is_suspect(&self) -> bool {
        use Failure::*;
        matches!(
            self,
            Denied(_)
                | Foreign(_)
                | AmbiguousLength
                | UpgradeRefused
                | TooManyHeaders
                | MalformedRequest
                | TargetTooLong
                | HeadTooLarge
                | HeadTimeout
                | BodyTimeout
        )
    }

    pub fn code(&self) -> &'static str {
        self.facts().1
    }

    pub fn status(&self) -> StatusCode {
        self.facts().0
    }
}

fn problem_of(failure: &Failure, request_id: &HeaderValue) -> Vec<u8> {
    let (status, code, title) = failure.facts();
    let mut problem = Problem::new(status.as_u16(), code, title).detail(failure.to_string());
    problem.request_id = request_id.to_str().ok().map(str::to_owned);
    problem.to_json()
}

/// The bytes of the last answer on a connection, where no request came about that hyper could answer.
pub fn last_answer(failure: &Failure, request_id: &HeaderValue) -> Bytes {
    let body = problem_of(failure, request_id);
    let (status, id) = (failure.status(), request_id.to_str().unwrap_or_default());
    let (request_id, length) = (wire::REQUEST_ID, body.len());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\n{request_id}: {id}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    [head.into_bytes(), body].concat().into()
}

/// The only place where a failure becomes an answer, but for [`last_answer`].
pub fn problem_answer(failure: &Failure, request_id: &HeaderValue) -> Response<Bytes> {
    let status = failure.status();
    let mut answer = Response::new(Bytes::from(problem_of(failure, request_id)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(wire::REQUEST_ID, request_id.clone());
    if let Failure::MethodNotAllowed(allow) = failure {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Failure::Denied(denied) = failure
        && let Some(challenge) = denied.challenge()
    {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    // Where the body ends is unknown, or not worth waiting for: nothing after it can be trusted to be a request.
    use Failure::{AmbiguousLength, BodyIncomplete, BodyTimeout, BodyTooLarge};
    if matches!(failure, AmbiguousLength | BodyTimeout | BodyIncomplete | BodyTooLarge(_)) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from(limits::RETRY_AFTER_S));
    }
    if let Failure::RateLimited(refused) = failure {
        headers.insert(RETRY_AFTER, HeaderValue::from(refused.wait_s()));
    }
    answer
}

impl From<access::Denied> for Failure {
    fn from(denied: access::Denied) -> Self {
        Self::Denied(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_tells_whether_anything_may_have_been_done() {
        use Failure::*;
        let of_the_router = [
            Overloaded,
            NoPlacement,
            WalletMoving,
            UpstreamUnavailable,
            UpstreamUnknownOutcome,
            UpstreamBroken,
            DeadlineUnsent,
            DeadlineExceeded,
            DeadlineUnknownOutcome,
        ];
        let mut codes = std::collections::HashSet::new();
        for failure in of_the_router {
            let (text, code) = (failure.to_string(), failure.code());
            assert!(codes.insert(code), "{code} means one thing");
            assert_eq!(text.contains("may or may not"), code.ends_with("unknown_outcome"), "{text}");
            let only_read = ["upstream_broken", "deadline_exceeded"].contains(&code);
            assert!(only_read || text.contains("may or may not") != text.contains("nothing was done"), "{text}");
        }
    }
}
