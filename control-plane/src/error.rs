//! What can go wrong: a refusal, which tells the caller what to do, or a fault of something we depend on.
//!
//! It must never carry a secret or a request's body: refusals are shown to the caller.

use archive::ArchiveError;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use control_api::{Refusal, Refused};
use store::StoreError;
use topology::{IdError, PlacementError, Problem};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Refused(Refused),
    /// What a cell refused, or the last look at the tables said, passed on as it is.
    #[error("{}: {}", .0.code, .0.detail)]
    Relayed(Box<Problem>),
    /// Another site had a browser send the request.
    #[error("{0}")]
    Foreign(access::origin::Foreign),
    /// The caller is not authenticated, or not permitted.
    #[error("{0}")]
    Denied(access::Denied),
    /// DynamoDB did not do what was asked; `code` is its own name for the reason, where it gave one.
    #[error("{what}: {message}")]
    Storage { what: &'static str, code: Option<String>, message: String },
    /// A stored row that this program cannot have written.
    #[error("stored data is unsound: {0}")]
    Unsound(String),
}

pub type Result<T> = std::result::Result<T, Error>;

/// `detail` says what to do.
pub fn refused(refusal: Refusal, detail: impl Into<String>) -> Error {
    Error::Refused(refusal.detail(detail))
}

pub fn no_placement() -> Error {
    let todo = "run `control-plane bootstrap`, or `ctl up` for a local fleet";
    refused(Refusal::NoPlacement, todo)
}

pub fn unknown_cell(id: impl std::fmt::Display) -> Error {
    refused(Refusal::UnknownCell, format!("{id} is not registered; `ctl cell list` shows which are"))
}

impl Error {
    /// For `map_err` on a DynamoDB call; `what` says what was being done.
    pub fn storage<E, R>(what: &'static str) -> impl Fn(SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug + 'static,
    {
        move |error| Self::Storage {
            what,
            code: error.as_service_error().and_then(|e| e.code()).map(str::to_owned),
            message: DisplayErrorContext(&error).to_string(),
        }
    }

    pub fn is_condition_failed(&self) -> bool {
        matches!(self, Self::Storage { code: Some(code), .. } if code == "ConditionalCheckFailedException")
    }
}

impl From<IdError> for Error {
    fn from(error: IdError) -> Self {
        refused(Refusal::BadId, error.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(message) | StoreError::Rejected(message) => {
                Self::Storage { what: "a cell's tables", code: None, message }
            }
            StoreError::Corrupt(what) => Self::Unsound(what),
        }
    }
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Unavailable(_) => {
                refused(Refusal::ArchiveUnavailable, format!("{error}; run the command again when it does"))
            }
            ArchiveError::Unsound(what) => Self::Unsound(what),
        }
    }
}

impl From<restoration::Error> for Error {
    fn from(error: restoration::Error) -> Self {
        match error {
            restoration::Error::Refused(refused) => Self::Refused(refused),
            restoration::Error::Store(error) => error.into(),
            restoration::Error::Archive(error) => error.into(),
            restoration::Error::Unsound(what) => Self::Unsound(what),
        }
    }
}

impl From<PlacementError> for Error {
    fn from(error: PlacementError) -> Self {
        Self::Unsound(error.to_string())
    }
}
