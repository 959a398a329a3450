//! TLS from PEM files: a [`Server`] and a [`Client`] that new connections take their configuration from, and that is
//! swapped whole when the files change. What cannot be used changes nothing but a metric and the log: a file that cannot
//! be read, a certificate that does not count now, another process's certificate.
//!
//! Between our own processes both sides show certificates of one authority, only TLS 1.3 is spoken, and no session is
//! resumed: a certificate or an authority that has been replaced counts from the next connection on.

mod certificate;
mod client;
mod files;
mod server;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::time::sleep;

pub use certificate::{Facts, NotUsable, days_left};
pub use client::Client;
pub use files::{Identity, TlsError, facts_of};
pub use server::{Accepted, Acceptor, Server, tune};
pub use stream::Stream;

use crate::limits::{CERTIFICATE_WARN_S, DAY_S, HOUR_S, WATCH_PERIOD};
use crate::watch::Watched;

/// The PEM files of one of our own processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshFiles {
    /// Authorities whose certificates are believed.
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl MeshFiles {
    pub fn paths(&self) -> [PathBuf; 3] {
        [self.authority.clone(), self.certificate.clone(), self.key.clone()]
    }
}

/// What files were made into, with what their certificate says of itself.
pub(crate) struct Loaded<T> {
    pub value: T,
    pub facts: Facts,
}

/// What is in use of files that may change.
pub(crate) struct Fresh<T> {
    what: &'static str,
    current: Arc<ArcSwap<T>>,
    facts: Facts,
    ending: Ending,
}

impl<T> Fresh<T> {
    /// A certificate that does not count now is taken at the start: it is replaced while the process runs.
    pub(crate) fn new(what: &'static str, loaded: Loaded<T>) -> Self {
        let current = Arc::new(ArcSwap::from_pointee(loaded.value));
        let mut fresh = Self { what, current, facts: loaded.facts, ending: Ending::default() };
        fresh.tell(now_s());
        fresh
    }

    pub(crate) fn current(&self) -> Arc<ArcSwap<T>> {
        Arc::clone(&self.current)
    }

    fn take(&mut self, loaded: Loaded<T>) -> Result<(), TlsError> {
        self.facts.check_next(&loaded.facts, now_s())?;
        self.current.store(Arc::new(loaded.value));
        self.facts = loaded.facts;
        self.ending = Ending::default();
        Ok(())
    }

    /// Publishes when the certificate ends, and logs that it is about to, or has.
    fn tell(&mut self, now_s: i64) {
        let Facts { not_before_s, not_after_s, .. } = self.facts;
        metrics::gauge!("access_certificate_not_after_timestamp_seconds", "what" => self.what).set(not_after_s as f64);
        let (what, days_left) = (self.what, (not_after_s - now_s).div_euclid(DAY_S));
        match self.ending.due(&self.facts, now_s) {
            None => {}
            Some(Told::Soon) => tracing::warn!(what, days_left, not_after_s, "a certificate ends soon: replace it"),
            Some(Told::NotUsable) => {
                let mend = "other processes refuse it: replace it";
                tracing::error!(what, not_before_s, not_after_s, mend, "a certificate in use is not valid now");
            }
        }
    }

    /// Looks at the files for ever and loads them again when they have changed.
    pub(crate) async fn keep(
        mut self,
        paths: Vec<PathBuf>,
        mut watched: Watched,
        load: impl Fn() -> Result<Loaded<T>, TlsError> + Send + 'static,
    ) {
        let what = self.what;
        let mut failures: u32 = 0;
        loop {
            sleep(WATCH_PERIOD).await;
            self.tell(now_s());
            if !watched.changed() {
                continue;
            }
            match load().and_then(|loaded| self.take(loaded)) {
                Ok(()) => {
                    failures = 0;
                    metrics::counter!("access_reloads_total", "what" => what, "outcome" => "done").increment(1);
                    tracing::info!(what, ?paths, not_after_s = self.facts.not_after_s, "read again");
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    watched.again();
                    metrics::counter!("access_reloads_total", "what" => what, "outcome" => "failed").increment(1);
                    // The first failure may be a look between two files of one change; of a lasting one, once is enough.
                    if failures == 2 {
                        tracing::warn!(what, %error, "cannot be used; going on with what was read before");
                    }
                }
            }
        }
    }
}

/// What has to be logged of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Soon,
    NotUsable,
}

/// When something was logged last: of one that ends soon once a day, of one that does not count
/// once an hour.
#[derive(Debug, Default)]
struct Ending {
    last: Option<(Told, i64)>,
}

impl Ending {
    fn due(&mut self, facts: &Facts, now_s: i64) -> Option<Told> {
        let (told, every_s) = match facts.check_time(now_s) {
            Err(_) => (Told::NotUsable, HOUR_S),
            Ok(()) if facts.not_after_s - now_s < CERTIFICATE_WARN_S => (Told::Soon, DAY_S),
            Ok(()) => return None,
        };
        let is_due = self.last.is_none_or(|(last, at)| last != told || now_s - at >= every_s);
        if is_due {
            self.last = Some((told, now_s));
        }
        is_due.then_some(told)
    }
}

/// The wall clock at the edge: certificates count by it.
#[allow(clippy::disallowed_methods)]
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_certificate_is_told_daily_and_an_ended_one_hourly() {
        let facts = Facts { names: vec![], not_before_s: 0, not_after_s: 100 * DAY_S };
        let mut ending = Ending::default();
        for (now_s, expected) in [
            (DAY_S, None),
            (79 * DAY_S, None),
            (80 * DAY_S, Some(Told::Soon)),
            (80 * DAY_S + 1, None),
            (81 * DAY_S, Some(Told::Soon)),
            (100 * DAY_S + 1, Some(Told::NotUsable)),
            (100 * DAY_S + 2, None),
            (100 * DAY_S + HOUR_S + 1, Some(Told::NotUsable)),
        ] {
            assert_eq!(ending.due(&facts, now_s), expected, "{now_s}");
        }
    }
}
