//! Whether what a process depends on answers, for `/readyz`: looked at once for all requests at
//! about the same time, so that asking costs the database nothing more.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// How old an answer may be.
pub const ANSWER_MAX_AGE: Duration = Duration::from_secs(1);

/// The last answer.
pub struct Readiness<T>(Mutex<Option<(Instant, T)>>);

impl<T> Default for Readiness<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Readiness<T> {
    /// The last answer if it is young; else that of `look`, which others wait for meanwhile.
    pub async fn ask(&self, look: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < ANSWER_MAX_AGE
        {
            return answer.clone();
        }
        let answer = look.await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_cost_one_look() {
        let (readiness, looks) = (Readiness::default(), AtomicU32::new(0));
        let ask = || {
            readiness.ask(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                looks.fetch_add(1, Ordering::Relaxed)
            })
        };
        assert_eq!(tokio::join!(ask(), ask(), ask()), (0, 0, 0));
        tokio::time::advance(ANSWER_MAX_AGE).await;
        assert_eq!(ask().await, 1, "an old answer is looked up again");
    }
}
