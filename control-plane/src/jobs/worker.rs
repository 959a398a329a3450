//! What the workers of all jobs do alike.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use control_api::Because;
use futures_util::FutureExt;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// What to do after one advance.
#[derive(Debug, PartialEq, Eq)]
pub enum Advanced {
    Again,
    After(Duration),
    /// Nothing to do here, until something is changed.
    Rest,
}

/// The actor and the reason of what a worker finds out.
pub fn by_itself(reason: String) -> Because {
    Because { actor: "control-plane".to_owned(), reason }
}

/// Drives `work` to its end. The error says why it panicked: the job shows it, and is not started again and again.
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

/// Work that takes its time, and beside which something else is done every so often.
pub struct Watched<F> {
    work: Pin<Box<F>>,
    ticks: Interval,
}

impl<F: Future> Watched<F> {
    pub fn new(work: F, every: Duration) -> Self {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { work: Box::pin(work), ticks }
    }

    /// What came of the work; `None`: it is time for something else, and the work waits until the next call.
    pub async fn done_or_tick(&mut self) -> Option<F::Output> {
        tokio::select! {
            done = &mut self.work => Some(done),
            _ = self.ticks.tick() => None,
        }
    }
}
