//! Keeps an issuer's keys at hand: read from a file, or fetched from a URL, always in the background. A source that is
//! away, or gives something unusable, leaves the keys that are there in use.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Method, StatusCode};
use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::keys::{KeySet, KeySetError};
use crate::http::{Http, HttpError};
use crate::limits::{KEYS_FETCH_TIMEOUT, KEYS_REFRESH, KEYS_REFRESH_SPACING, WATCH_PERIOD};
use crate::watch::Watched;

/// Where keys come from.
#[derive(Clone)]
pub enum Source {
    File(PathBuf),
    Url { url: String, http: Box<Http> },
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Keys(#[from] KeySetError),
}

/// The keys in use, and the way to ask for newer ones.
#[derive(Clone)]
pub struct Keys {
    pub current: Arc<ArcSwap<KeySet>>,
    wanted: Arc<Notify>,
}

impl Keys {
    /// Keys that never change.
    pub fn fixed(keys: KeySet) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(keys)), wanted: Arc::default() }
    }

    /// Reads the keys and goes on reading them. A file has to be there; a URL may come later, and
    /// until it does every caller is refused. Called inside a runtime.
    pub async fn start(source: Source, algorithm: Algorithm) -> Result<Self, SourceError> {
        let watched = match &source {
            Source::File(path) => Watched::new([path.clone()]),
            Source::Url { .. } => Watched::new([]),
        };
        let first = match (&source, read(&source, algorithm).await) {
            (_, Ok(keys)) => keys,
            (Source::File(_), Err(error)) => return Err(error),
            (Source::Url { url, .. }, Err(error)) => {
                tracing::error!(url, %error, "no keys yet: every caller is refused until there are");
                KeySet::default()
            }
        };
        let keys = Self { current: Arc::new(ArcSwap::from_pointee(first)), wanted: Arc::default() };
        tokio::spawn(keep(keys.clone(), source, algorithm, watched));
        Ok(keys)
    }

    /// A token names a key that is not here: look for newer ones, soon. Never waits.
    pub fn want_newer(&self) {
        self.wanted.notify_one();
    }
}

async fn read(source: &Source, algorithm: Algorithm) -> Result<KeySet, SourceError> {
    let text = match source {
        Source::File(path) => tokio::fs::read(path).await?,
        Source::Url { url, http } => {
            let reply = http.ask(Method::GET, url, &[], vec![], KEYS_FETCH_TIMEOUT).await?;
            if reply.status != StatusCode::OK {
                return Err(SourceError::Status(reply.status));
            }
            reply.body.to_vec()
        }
    };
    Ok(KeySet::parse(&text, algorithm)?)
}

async fn keep(keys: Keys, source: Source, algorithm: Algorithm, mut watched: Watched) {
    let mut failures: u32 = 0;
    let mut last = Instant::now();
    loop {
        match &source {
            Source::File(_) => {
                sleep(WATCH_PERIOD).await;
                if !watched.changed() {
                    continue;
                }
            }
            Source::Url { .. } => {
                let usual = if keys.current.load().is_empty() { KEYS_REFRESH_SPACING } else { KEYS_REFRESH };
                until_due(&keys, last, usual).await;
            }
        }
        last = Instant::now();
        match read(&source, algorithm).await {
            Ok(fresh) => {
                failures = 0;
                metrics::counter!("access_keys_refreshed_total", "outcome" => "done").increment(1);
                // What was verified with the keys is forgotten when they are replaced.
                if !fresh.is_same(&keys.current.load()) {
                    keys.current.store(Arc::new(fresh));
                    tracing::info!("new keys of the tokens' issuer");
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                watched.again();
                metrics::counter!("access_keys_refreshed_total", "outcome" => "failed").increment(1);
                if failures == 1 {
                    tracing::warn!(%error, "the keys of the tokens' issuer: going on with those that are known");
                }
            }
        }
    }
}

/// Waits for the usual time, or until newer keys are wanted, but never less than the spacing since the last look.
async fn until_due(keys: &Keys, last: Instant, usual: Duration) {
    tokio::select! {
        () = sleep_until(last + usual) => {}
        () = keys.wanted.notified() => sleep_until(last + KEYS_REFRESH_SPACING).await,
    }
}

#[cfg(test)]
mod tests;
