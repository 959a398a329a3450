//! Asks an instance whether it lives, beside the requests: when those wait for it in vain, and while it is ejected for
//! not having answered.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use access::descriptors;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Upstream;
use crate::limits::PROBE_TIMEOUT;

const QUESTION: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const YES: &[u8] = b"HTTP/1.1 200";

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    Lives,
    Hangs,
    /// This process could not ask.
    Unasked,
}

impl Upstream {
    /// Whether it is to be probed now; a yes is a probe begun, which ends with [`Upstream::probe`].
    pub fn begin_probe(&self, now: Instant) -> bool {
        let is_due = self.breaker.is_probe_due(now) || (self.is_silent(now) && !self.breaker.is_ejected());
        is_due && !self.is_probed.replace(true)
    }

    pub async fn probe(self: &Rc<Self>) -> Probed {
        let asked = tokio::time::timeout(PROBE_TIMEOUT, self.ask_livez()).await;
        self.is_probed.set(false);
        match asked {
            Ok(Ok(())) => {
                self.heard.set(Instant::now());
                Probed::Lives
            }
            Ok(Err(error)) if descriptors::is_exhausted(&error) => Probed::Unasked,
            // One that refuses connections is gone, which the next request finds out at once.
            Ok(Err(_)) | Err(_) => Probed::Hangs,
        }
    }

    async fn ask_livez(&self) -> io::Result<()> {
        let mut stream = self.stream(PROBE_TIMEOUT).await?;
        stream.write_all(QUESTION).await?;
        stream.flush().await?;
        let mut answer = [0; YES.len()];
        stream.read_exact(&mut answer).await?;
        if answer == YES { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}
