//! TLS from PEM files: a [`Server`] and a [`Client`] that new connections take their configuration from, and that is
//! swapped whole when the files change. A file that cannot be used changes nothing but a metric and the log.
//!
//! Between our own processes both sides show certificates of one authority, only TLS 1.3 is spoken, and no session is
//! resumed: a certificate or an authority that has been replaced counts from the next connection on.

mod client;
mod files;
mod server;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::sleep;

pub use client::Client;
pub use files::{Identity, TlsError};
pub use server::{Accepted, Acceptor, Server};
pub use stream::Stream;

use crate::limits::WATCH_PERIOD;
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

/// Looks at the files for ever and loads them again when they have changed.
pub(crate) async fn keep_fresh<T>(
    what: &'static str,
    paths: Vec<PathBuf>,
    mut watched: Watched,
    current: Arc<ArcSwap<T>>,
    load: impl Fn() -> Result<T, TlsError> + Send + 'static,
) {
    let mut failures: u32 = 0;
    loop {
        sleep(WATCH_PERIOD).await;
        if !watched.changed() {
            continue;
        }
        match load() {
            Ok(fresh) => {
                failures = 0;
                current.store(Arc::new(fresh));
                metrics::counter!("access_reloads_total", "what" => what, "outcome" => "done").increment(1);
                tracing::info!(what, ?paths, "read again");
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
