//! What a failed call means for the data: certainly nothing, a failed condition, or nobody knows.

use std::error::Error;
use std::io;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use topology::WalletId;

use super::signed::TooLate;
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
    let codes = cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None"));
    match conflict_of(sources, codes) {
        // TransactionConflict, throttling of a part, …: a cancelled transaction has done nothing.
        None => AppendError::NotApplied(describe(error)),
        Some(conflict) => AppendError::Conflict(conflict),
    }
}

/// Which conditions do not hold, if any. A block that was not judged, because somebody else was writing it, counts as taken
/// where a row is there: the row alone would say that another request was first, and it may be this very one.
fn conflict_of<'a>(sources: &[Source], codes: impl Iterator<Item = &'a str>) -> Option<Conflict> {
    let (mut conflict, mut not_judged) = (Conflict::default(), Vec::new());
    for (source, code) in sources.iter().zip(codes) {
        match (source, code) {
            (_, "None") | (Source::Nothing, _) => {}
            (Source::Block(wallet), "ConditionalCheckFailed") => conflict.wallets.push(*wallet),
            (Source::Block(wallet), _) => not_judged.push(*wallet),
            (Source::Row(transfer), "ConditionalCheckFailed") => conflict.transfers.push(*transfer),
            (Source::Guard, "ConditionalCheckFailed") => conflict.guard = true,
            (Source::Row(_) | Source::Guard, _) => {}
        }
    }
    if !conflict.transfers.is_empty() {
        conflict.wallets.extend(not_judged);
    }
    conflict.wallets.dedup();
    (conflict != Conflict::default()).then_some(conflict)
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
    let not_sent =
        matches!(error, SdkError::ConstructionFailure(_)) || connection_refused(error) || signed_too_late(error);
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

fn signed_too_late(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<TooLate>())
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
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_row_is_no_answer_while_its_block_is_being_written() {
        let (wallet, row) = (WalletId::from_uuid(Uuid::from_u128(1)), Uuid::from_u128(2));
        let sources = [Source::Block(wallet), Source::Row(row)];
        let found = |codes: [&'static str; 2]| conflict_of(&sources, codes.into_iter());
        let conflict = |wallets: &[WalletId], transfers: &[Uuid]| {
            Some(Conflict { wallets: wallets.to_vec(), transfers: transfers.to_vec(), guard: false })
        };
        let failed = "ConditionalCheckFailed";
        assert_eq!(found(["None", failed]), conflict(&[], &[row]));
        assert_eq!(found([failed, failed]), conflict(&[wallet], &[row]));
        assert_eq!(found(["TransactionConflict", failed]), conflict(&[wallet], &[row]));
        assert_eq!(found([failed, "None"]), conflict(&[wallet], &[]));
        assert_eq!(found(["TransactionConflict", "None"]), None);
    }
}
