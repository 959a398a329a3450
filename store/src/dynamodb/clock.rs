//! What time it is by the database: its answers carry it (`Date`), so that a process with a wrong clock notices before it
//! dates a block with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use aws_smithy_types::date_time::Format;
use ledger::block::Block;
use ledger::fence::CLOCK_SKEW_MAX;
use ledger::time::Timestamp;

use crate::AppendError;

/// An answer that took longer says too little about the time.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(2);
/// What the seconds of `Date` leave open.
const DATE_STEP: Duration = Duration::from_secs(1);

/// The time of the database as its last quick answer gave it, carried on by a monotonic clock. Shared by all clones.
#[derive(Debug, Clone, Default)]
pub struct DatabaseClock(Arc<Mutex<Option<Reading>>>);

#[derive(Debug, Clone, Copy)]
struct Reading {
    date: Timestamp,
    sent: Instant,
    received: Instant,
}

#[derive(Debug)]
struct Sent(Instant);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

impl DatabaseClock {
    /// The earliest and the latest time that it may be now; `None` before the first answer.
    pub fn now(&self) -> Option<(Timestamp, Timestamp)> {
        let reading = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let earliest = reading.date.plus_micros(micros(reading.received.elapsed()));
        let latest = reading.date.plus_micros(micros(reading.sent.elapsed().saturating_add(DATE_STEP)));
        Some((earliest, latest))
    }

    /// The time of a clock that may be wrong, moved to what the time may be by the database; unchanged before the first
    /// answer.
    pub fn corrected(&self, wall: Timestamp) -> Timestamp {
        self.now().map_or(wall, |(earliest, latest)| wall.clamp(earliest, latest))
    }

    /// No block may be dated in the future: all that follow in its chain would have to be.
    pub(super) fn check(&self, blocks: &[Block]) -> Result<(), AppendError> {
        let Some((_, latest)) = self.now() else { return Ok(()) };
        let bound = latest.plus_micros(micros(CLOCK_SKEW_MAX));
        match blocks.iter().find(|block| block.at > bound) {
            None => Ok(()),
            Some(block) => Err(AppendError::NotApplied(format!(
                "block {} of wallet {} is dated {}, but the database's clock is at {latest}",
                block.number, block.wallet, block.at
            ))),
        }
    }

    fn learn(&self, date: Timestamp, sent: Instant) {
        let received = Instant::now();
        if received.saturating_duration_since(sent) <= ROUND_TRIP_MAX {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Reading { date, sent, received });
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[dyn_dispatch_hint]
impl Intercept for DatabaseClock {
    fn name(&self) -> &'static str {
        "DatabaseClock"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        cfg.interceptor_state().store_put(Sent(Instant::now()));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        if let (Some(date), Some(Sent(sent))) = (date, cfg.load::<Sent>()) {
            self.learn(Timestamp::from_micros(date.secs().saturating_mul(1_000_000)), *sent);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_goes_on_from_the_last_quick_answer() {
        let clock = DatabaseClock::default();
        assert_eq!(clock.now(), None);
        let (now, date) = (Instant::now(), Timestamp::from_micros(5_000_000));
        let slow = now.checked_sub(Duration::from_secs(3)).expect("the machine is up for longer");
        clock.learn(date, slow);
        assert_eq!(clock.now(), None, "a slow answer says nothing");
        clock.learn(date, now);
        let (earliest, latest) = clock.now().expect("there was an answer");
        assert!(date <= earliest && latest >= date.plus_micros(1_000_000), "{earliest} to {latest}");
        assert!(latest < date.plus_micros(3_000_000), "{latest}");
    }

    #[test]
    fn a_clock_that_is_an_hour_off_is_corrected() {
        let (clock, hour) = (DatabaseClock::default(), 3_600_000_000);
        let date = Timestamp::from_micros(2 * hour);
        assert_eq!(clock.corrected(date), date, "nothing is known yet");
        clock.learn(date, Instant::now());
        for wrong in [-hour, hour] {
            let corrected = clock.corrected(date.plus_micros(wrong)).micros();
            assert!((corrected - date.micros()).abs() < 3_000_000, "{corrected}");
        }
    }
}
