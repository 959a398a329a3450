//! Bounded retries of reads: a read may be repeated at will, but not for ever.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

use super::StoreError;

/// Attempts at one read.
pub const MAX_READS: u32 = 4;
/// Longest pause before the second attempt; doubles with each, with full jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer, at most [`MAX_READS`] times. What is corrupt or rejected is not asked for again.
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_asked_for_again() {
        let unavailable = || StoreError::Unavailable("away".into());
        let rejected = || StoreError::Rejected("no right".into());
        let cases: [(&dyn Fn() -> StoreError, u32); 2] = [(&unavailable, MAX_READS), (&rejected, 1)];
        for (error, expected) in cases {
            let asked = Cell::new(0);
            let ask = || {
                asked.set(asked.get() + 1);
                std::future::ready(Err::<(), _>(error()))
            };
            assert_eq!(read(|| 1.0, ask).await, Err(error()));
            assert_eq!(asked.get(), expected);
        }
    }
}
