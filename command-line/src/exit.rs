//! Exit codes, and errors that carry one.

/// The command failed.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A dry run would change something.
pub const CHANGES: u8 = 3;
/// A precondition does not hold.
pub const PRECONDITION: u8 = 4;
/// The operation still runs after the wait.
pub const STILL_RUNNING: u8 = 5;
/// What was verified differs.
pub const MISMATCH: u8 = 6;

/// An error with the exit code of the process. Any other error ends in [`FAILED`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: u8,
    /// Empty: the reason has been printed already.
    pub message: String,
}

pub fn failure(code: u8, message: impl Into<String>) -> anyhow::Error {
    Failure { code, message: message.into() }.into()
}

/// An exit code after its reason has been printed.
pub fn silent(code: u8) -> anyhow::Error {
    failure(code, "")
}
