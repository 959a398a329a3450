//! What operators ask of a job: it happens, has happened, or is refused.

use std::time::Duration;

use control_api::{Because, Refusal};

use super::table::Table;
use super::{Job, transition};
use crate::because::check_because;
use crate::error::{Error, Result, refused};

/// How often a change is decided again because another one came first.
pub const ATTEMPTS_MAX: u32 = 32;
const BACKOFF_MAX_MS: u64 = 40;

/// Lets it happen. Asked for again what has happened already, answers the same.
pub async fn ask<J: Job>(
    table: &Table<J>,
    number: u64,
    because: &Because,
    event: impl Fn(&J) -> J::Event,
) -> Result<J> {
    check_because(because)?;
    for attempt in 0..ATTEMPTS_MAX {
        let before = table.named(number).await?;
        let event = event(&before);
        let Some(change) = transition(&before, event, because) else {
            return if before.is_after(event) { Ok(before) } else { Err(not_now(&before, event)) };
        };
        if let Some(changed) = table.happen(&change).await? {
            return Ok(changed);
        }
        pause_between(attempt).await;
    }
    Err(kept_changing())
}

fn not_now<J: Job>(job: &J, event: J::Event) -> Error {
    let (id, event): (_, &str) = (J::id_of(job.key().number), event.into());
    refused(J::NOT_NOW, format!("{id} is {}: {event} is not possible", job.state()))
}

pub fn kept_changing() -> Error {
    refused(Refusal::TooManyChanges, "nothing was changed: try again")
}

pub async fn pause_between(attempt: u32) {
    let most = BACKOFF_MAX_MS.min(u64::from(attempt) * 4 + 2);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..most))).await;
}
