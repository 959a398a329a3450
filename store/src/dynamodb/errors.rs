//! What a failed call means for the data: certainly nothing, with or without use in repeating it; a
//! failed condition; or an unknown outcome.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use ledger::Conflict;

use super::signed::TooLate;
use crate::{AppendError, StoreError};

/// Answers that a repetition would only bring again: about the caller, the request, or the
/// account's limits.
const REJECTED: [&str; 19] = [
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "ItemCollectionSizeLimitExceededException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "OptInRequired",
    "RequestExpired",
    // The account's quota; a table's or a partition's passes sooner and has other names.
    "RequestLimitExceeded",
    "ResourceNotFoundException",
    "SerializationException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "ValidationException",
];
/// The only refusals (4xx) of requests that may have been carried out, by an attempt before.
const PERHAPS_APPLIED: [&str; 2] = ["IdempotentParameterMismatchException", "TransactionInProgressException"];

/// Which part of an append an item of a transaction is.
pub enum Source {
    Block,
    Guard,
    /// A write without a condition.
    Nothing,
}

pub fn put_failed(error: &SdkError<PutItemError>) -> AppendError {
    if let Some(PutItemError::ConditionalCheckFailedException(_)) = error.as_service_error() {
        return AppendError::Conflict(Conflict { taken: true, guard: false });
    }
    unknown_or_not_applied(error)
}

pub fn transaction_failed(sources: &[Source], error: &SdkError<TransactWriteItemsError>) -> AppendError {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
        return unknown_or_not_applied(error);
    };
    let codes = cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None"));
    match conflict_of(sources, codes) {
        // TransactionConflict, throttling of a part, …: a cancelled transaction has done nothing.
        None => AppendError::NotApplied(describe(error)),
        Some(conflict) => AppendError::Conflict(conflict),
    }
}

/// Which conditions do not hold, if any.
fn conflict_of<'a>(sources: &[Source], codes: impl Iterator<Item = &'a str>) -> Option<Conflict> {
    let mut conflict = Conflict::default();
    for (source, code) in sources.iter().zip(codes) {
        let failed = code == "ConditionalCheckFailed";
        match source {
            Source::Block => conflict.taken |= failed,
            Source::Guard => conflict.guard |= failed,
            Source::Nothing => {}
        }
    }
    (conflict != Conflict::default()).then_some(conflict)
}

pub fn read_failed<E>(error: &SdkError<E>) -> StoreError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match reached(error) {
        Reached::Rejected => StoreError::Rejected(describe(error)),
        Reached::NotApplied | Reached::Unknown => StoreError::Unavailable(describe(error)),
    }
}

pub fn write_failed<E>(error: &SdkError<E>) -> StoreError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    read_failed(error)
}

fn unknown_or_not_applied<E>(error: &SdkError<E>) -> AppendError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match reached(error) {
        Reached::Rejected => AppendError::Rejected(describe(error)),
        Reached::NotApplied => AppendError::NotApplied(describe(error)),
        Reached::Unknown => AppendError::Unknown(describe(error)),
    }
}

/// How far a call came that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Nothing was done, and a repetition would be refused as well.
    Rejected,
    /// Nothing was done; a repetition may be taken.
    NotApplied,
    /// It may have been done, or may still be.
    Unknown,
}

fn reached<E>(error: &SdkError<E>) -> Reached
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => Reached::Rejected,
        // Signing comes before sending.
        _ if causes(error).any(|cause| cause.is::<CredentialsError>()) => Reached::Rejected,
        // Not sent: another write, on a newer head, will be.
        _ if causes(error).any(|cause| cause.is::<TooLate>()) => Reached::NotApplied,
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) if not_connected(error) => Reached::NotApplied,
        SdkError::ServiceError(answered) => {
            let code = answered.err().code().unwrap_or_default();
            match answered.raw().status() {
                _ if REJECTED.contains(&code) => Reached::Rejected,
                status if status.is_client_error() && !PERHAPS_APPLIED.contains(&code) => Reached::NotApplied,
                _ => Reached::Unknown,
            }
        }
        _ => Reached::Unknown,
    }
}

/// A connection that did not come about carried nothing; one that broke may have.
fn not_connected(error: &(dyn Error + 'static)) -> bool {
    let refused = |cause: &io::Error| cause.kind() == io::ErrorKind::ConnectionRefused;
    causes(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(refused)
            || cause.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|hyper| hyper.is_connect())
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause: &&'a (dyn Error + 'static)| (*cause).source())
}

fn describe<E>(error: &SdkError<E>) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error.as_service_error() {
        Some(service) => {
            format!("{}: {}", service.code().unwrap_or("unknown error"), service.message().unwrap_or("no message"))
        }
        None => causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": "),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_runtime_api::http::Response;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn answer(status: u16, code: &str) -> SdkError<PutItemError> {
        let status = status.try_into().expect("a status");
        let metadata = aws_sdk_dynamodb::error::ErrorMetadata::builder().code(code).build();
        SdkError::service_error(PutItemError::generic(metadata), Response::new(status, SdkBody::empty()))
    }

    fn dispatch(error: ConnectorError) -> SdkError<PutItemError> {
        SdkError::dispatch_failure(error)
    }

    fn broken(kind: io::ErrorKind) -> SdkError<PutItemError> {
        dispatch(ConnectorError::io(io::Error::from(kind).into()))
    }

    #[test]
    fn an_error_says_whether_anything_was_done() {
        use Reached::{NotApplied, Rejected, Unknown};
        let no_answer = || Response::new(200_u16.try_into().expect("a status"), SdkBody::empty());
        for (error, expected) in [
            // The caller.
            (dispatch(ConnectorError::other(CredentialsError::not_loaded("none").into(), None)), Rejected),
            (
                dispatch(ConnectorError::other(CredentialsError::provider_timed_out(Duration::ZERO).into(), None)),
                Rejected,
            ),
            (answer(400, "ExpiredTokenException"), Rejected),
            (answer(400, "UnrecognizedClientException"), Rejected),
            (answer(400, "InvalidSignatureException"), Rejected),
            (answer(403, "SignatureDoesNotMatch"), Rejected),
            (answer(400, "MissingAuthenticationTokenException"), Rejected),
            (answer(400, "AccessDeniedException"), Rejected),
            // What for, and how much.
            (answer(400, "ResourceNotFoundException"), Rejected),
            (answer(400, "ValidationException"), Rejected),
            (answer(400, "RequestLimitExceeded"), Rejected),
            (SdkError::construction_failure("no such endpoint"), Rejected),
            // It passes.
            (dispatch(ConnectorError::other(TooLate.into(), None)), NotApplied),
            (answer(400, "ThrottlingException"), NotApplied),
            (answer(400, "ProvisionedThroughputExceededException"), NotApplied),
            (answer(400, "TransactionConflictException"), NotApplied),
            (answer(400, "AnythingNewException"), NotApplied),
            (broken(io::ErrorKind::ConnectionRefused), NotApplied),
            // It may have been done.
            (answer(400, "TransactionInProgressException"), Unknown),
            (answer(500, "InternalServerError"), Unknown),
            (answer(503, "ServiceUnavailable"), Unknown),
            (broken(io::ErrorKind::ConnectionReset), Unknown),
            (dispatch(ConnectorError::timeout("no answer".into())), Unknown),
            (SdkError::timeout_error("no answer"), Unknown),
            (SdkError::response_error("no JSON", no_answer()), Unknown),
        ] {
            assert_eq!(reached(&error), expected, "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_does_not_come_about_carried_nothing() {
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
        let client = client.build::<_, String>(connector);
        // No name ends in a dot twice: it is not asked for.
        let uri = "http://wallet..invalid/".parse().expect("a URI");
        let error = client.get(uri).await.expect_err("there is nothing");
        assert!(error.is_connect(), "{error:?}");
        assert_eq!(reached(&dispatch(ConnectorError::io(error.into()))), Reached::NotApplied);
    }

    #[test]
    fn a_cancelled_transaction_says_which_conditions_failed() {
        let sources = [Source::Block, Source::Nothing, Source::Guard];
        let found = |codes: [&'static str; 3]| conflict_of(&sources, codes.into_iter());
        let (ok, failed) = ("None", "ConditionalCheckFailed");
        assert_eq!(found([failed, ok, ok]), Some(Conflict { taken: true, guard: false }));
        assert_eq!(found([ok, ok, failed]), Some(Conflict { taken: false, guard: true }));
        assert_eq!(found(["TransactionConflict", ok, ok]), None);
    }
}
