//! Refuses to send a request that was signed too late: see [`ledger::fence`].
//!
//! The look at the clock comes after the signature. A process that is stopped before it finds that it is late; one that
//! is stopped after it sends a signature that the database refuses as too old.

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use tokio::time::Instant;

/// By when this one request has to be signed; `None`: at any time.
#[derive(Debug)]
pub struct Signed {
    pub by: Option<Instant>,
}

/// Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("the head that the write was decided on is too old")]
pub struct TooLate;

#[dyn_dispatch_hint]
impl Intercept for Signed {
    fn name(&self) -> &'static str {
        "Signed"
    }

    fn read_after_signing(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match self.by {
            Some(by) if Instant::now() > by => Err(TooLate.into()),
            _ => Ok(()),
        }
    }
}
