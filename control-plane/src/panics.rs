//! A panic of a worker becomes an error that its operation shows. Without this the reconciler would start the worker
//! again and again, and the operation would run for ever.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Drives `work` to its end. The error says why it panicked.
///
/// Workers keep what matters in tables, and their mutexes are used after a panic too, so unwinding leaves nothing torn.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let why = message(panic.as_ref());
        tracing::error!(why, "a worker panicked");
        format!("the worker panicked, which is a bug of the control plane: {why}")
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
