//! Bounded retries of reads: a read may be repeated at will, but not for ever.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

use super::StoreError;

/// Attempts at one read.
pub const MAX_READS: u32 = 4;
/// Longest pause before the second attempt; doubles with each, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer, at most [`MAX_READS`] times. What is corrupt is not asked for again.
pub async fn read<T, F>(mut random: impl FnMut() -> f64, mut ask: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..MAX_READS {
        match ask().await {
            Err(StoreError::Unavailable(_)) => {}
            answer => return answer,
        }
        metrics::counter!("store_retries_total", "what" => "read").increment(1);
        sleep(pause.mul_f64(random())).await;
        pause = pause.saturating_mul(2);
    }
    ask().await
}
