//! What a failed call means for the data: certainly nothing, a failed condition, or nobody knows.

use std::error::Error;
use std::io;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use topology::WalletId;

use crate::block::TransactionId;
use crate::store::{AppendError, Conflict, StoreError};

/// Answers by which DynamoDB says that it did nothing.
const SURELY_NOT_APPLIED: [&str; 8] = [
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "TransactionConflictException",
    "ResourceNotFoundException",
    "ValidationException",
    "AccessDeniedException",
    "UnrecognizedClientException",
];

/// Which part of an append an item of a transaction stands for.
pub enum Source {
    Block(WalletId),
    Row(TransactionId),
    Guard,
    /// A write without a condition.
    Nothing,
}

pub fn put_failed(wallet: WalletId, error: &SdkError<PutItemError>) -> AppendError {
    if let Some(PutItemError::ConditionalCheckFailedException(_)) = error.as_service_error() {
        return AppendError::Conflict(Conflict { wallets: vec![wallet], ..Conflict::default() });
    }
    unknown_or_not_applied(error)
}

pub fn transaction_failed(sources: &[Source], error: &SdkError<TransactWriteItemsError>) -> AppendError {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
        return unknown_or_not_applied(error);
    };
    let mut conflict = Conflict::default();
    for (source, reason) in sources.iter().zip(cancelled.cancellation_reasons()) {
        if reason.code() != Some("ConditionalCheckFailed") {
            continue;
        }
        match source {
            Source::Block(wallet) if conflict.wallets.last() == Some(wallet) => {}
            Source::Block(wallet) => conflict.wallets.push(*wallet),
            Source::Row(transfer) => conflict.transfers.push(*transfer),
            Source::Guard => conflict.guard = true,
            Source::Nothing => {}
        }
    }
    if conflict == Conflict::default() {
        // TransactionConflict, throttling of a part, …: a cancelled transaction has done nothing.
        return AppendError::NotApplied(describe(error));
    }
    AppendError::Conflict(conflict)
}

pub fn read_failed<E>(error: &SdkError<E>) -> StoreError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    StoreError::Unavailable(describe(error))
}

pub fn write_failed<E>(error: &SdkError<E>) -> StoreError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    StoreError::Unavailable(describe(error))
}

fn unknown_or_not_applied<E>(error: &SdkError<E>) -> AppendError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let answered = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let not_sent = matches!(error, SdkError::ConstructionFailure(_)) || connection_refused(error);
    if not_sent || answered.is_some_and(|code| SURELY_NOT_APPLIED.contains(&code)) {
        AppendError::NotApplied(describe(error))
    } else {
        AppendError::Unknown(describe(error))
    }
}

/// A refused connection carried nothing; any other broken one may have.
fn connection_refused(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused))
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
