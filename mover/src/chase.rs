//! Catching up with a wallet that is written to while it is copied. Where the distance shrinks from round to round,
//! nothing is asked of the source. Where it does not, its instances are asked to hold the wallet's writes, again and
//! again, so that what waits goes into few blocks; for a bounded time.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use topology::WalletId;

use super::Holds;

/// Cutovers tried without slowing the wallet's writes, and in all.
const POLITE_CUTOVERS: u32 = 2;
const CUTOVERS_MAX: u32 = 64;
/// A distance that is copied at once, so that it does not say which side is faster.
const SHORT_DISTANCE: u64 = 256;
/// A hold lasts 200 ms: it is renewed before it ends.
const RENEW_HOLD: Duration = Duration::from_millis(100);
/// How long a wallet's writes are slowed in one attempt to move it. What was copied by then stays copied.
const SLOW_MAX: Duration = Duration::from_secs(60);

/// How one attempt to move a wallet has gone so far.
#[derive(Default)]
pub struct Chase {
    /// The source's last block in this round, and how many blocks were missing when the round began.
    round: Option<(u64, u64)>,
    cutovers: u32,
    slow_since: Option<Instant>,
}

impl Chase {
    /// Blocks up to `last`, the source's last one when it was looked at, are to be copied.
    pub fn copies(&mut self, first: u64, last: u64) {
        let distance = last.saturating_sub(first).saturating_add(1);
        match self.round {
            Some((same, _)) if same == last => return,
            Some((_, before)) if distance > SHORT_DISTANCE.max(before / 2) => self.slow(),
            _ => {}
        }
        self.round = Some((last, distance));
    }

    /// A cutover is to be tried; `true`: the wallet's writes are slowed from now on, so that a look comes first.
    pub fn cuts_over(&mut self) -> bool {
        self.cutovers += 1;
        let begins = self.cutovers > POLITE_CUTOVERS && self.slow_since.is_none();
        if begins {
            self.slow();
        }
        begins
    }

    pub fn is_over(&self) -> bool {
        self.cutovers > CUTOVERS_MAX || self.slow_since.is_some_and(|since| since.elapsed() > SLOW_MAX)
    }

    pub fn is_slow(&self) -> bool {
        self.slow_since.is_some()
    }

    fn slow(&mut self) {
        if self.slow_since.is_none() {
            self.slow_since = Some(Instant::now());
            metrics::counter!("control_plane_wallets_slowed_total").increment(1);
        }
    }

    /// Does `work`, with the wallet's writes held meanwhile if they are to be slow.
    pub async fn run<T>(&self, holds: &impl Holds, wallet: WalletId, work: impl Future<Output = T>) -> T {
        if !self.is_slow() {
            return work.await;
        }
        let renewing = async {
            loop {
                holds.hold(wallet).await;
                sleep(RENEW_HOLD).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = renewing => unreachable!("it is renewed for ever"),
        }
    }
}
