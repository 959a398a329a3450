//! A process that is stopped now and then between two of its steps, whatever these are, and goes on later as if nothing
//! had happened.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Of so many steps, one comes late.
const LATE_EVERY: u32 = 400;
/// Many times the lease of an archiver.
const LONGEST_SLEEP: Duration = Duration::from_secs(40);

pub struct Suspended<F> {
    process: Pin<Box<F>>,
    random: fastrand::Rng,
    /// From then on it is stopped no more.
    healed: Arc<AtomicBool>,
    asleep: Option<Pin<Box<Sleep>>>,
}

impl<F: Future> Suspended<F> {
    pub fn new(process: F, random: fastrand::Rng, healed: Arc<AtomicBool>) -> Self {
        Self { process: Box::pin(process), random, healed, asleep: None }
    }
}

impl<F: Future> Future for Suspended<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.asleep.is_none() && !self.healed.load(Ordering::Relaxed) && self.random.u32(0..LATE_EVERY) == 0 {
            let late = LONGEST_SLEEP.mul_f64(self.random.f64());
            self.asleep = Some(Box::pin(sleep(late)));
        }
        if let Some(asleep) = &mut self.asleep {
            ready!(asleep.as_mut().poll(context));
            self.asleep = None;
        }
        self.process.as_mut().poll(context)
    }
}
