//! Sealed keys at the bounds of their time: 24 hours to the microsecond, clocks that differ, a clock that jumps.

use std::sync::atomic::{AtomicI64, Ordering};

use ledger::marks::KEY_LIFETIME_MICROS;

use super::once::Hands;
use super::*;
use crate::sequencer::Sealing;

const KEYS: u8 = 150;
const SECOND: i64 = 1_000_000;

/// A wallet with a keyed deposit a second, of which the first one is at [`NOW`]. All but the newest are sealed.
struct Sealed {
    hands: Hands,
    store: MemoryStore,
    running: Running,
    wallet: WalletId,
}

impl Sealed {
    async fn new() -> Self {
        let hands = Hands(Arc::new(AtomicI64::new(NOW.micros())));
        let store = tables();
        let running = Running::start(&store, hands.clock(1), limits());
        let wallet = running.create("ann").await.expect("it may be created here");
        let sealed = Self { hands, store, running, wallet };
        for key in 0..KEYS {
            sealed.at(NOW.micros() + i64::from(key) * SECOND);
            assert!(!sealed.is_repeated(key).await);
        }
        sealed
    }

    fn at(&self, micros: i64) {
        self.hands.0.store(micros, Ordering::Relaxed);
    }

    async fn is_repeated(&self, key: u8) -> bool {
        self.running.deposit(self.wallet, Some(key)).await.expect("active").replayed
    }

    /// Another process, which has seen nothing.
    fn restart(&mut self, clock: Clock) {
        self.running = Running::start(&self.store, clock, limits());
    }

    fn length(&self) -> usize {
        chain(&self.store, self.wallet).len()
    }
}

fn limits() -> Limits {
    Limits { sealing: Sealing { marks: 10, forgets: false }, ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_key_counts_for_exactly_24_hours() {
    for is_restarted in [false, true] {
        let mut sealed = Sealed::new().await;
        if is_restarted {
            sealed.restart(sealed.hands.clock(2));
        }
        let last = NOW.micros() + KEY_LIFETIME_MICROS - 1;
        for key in [0, 1, 70] {
            sealed.at(last + i64::from(key) * SECOND);
            assert!(sealed.is_repeated(key).await, "key {key}");
            sealed.at(last + i64::from(key) * SECOND + 1);
            assert!(!sealed.is_repeated(key).await, "key {key} is over");
            assert!(sealed.is_repeated(key).await, "it was used a moment ago");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_key_is_found_by_a_clock_that_differs() {
    for skew in [-5 * SECOND, 5 * SECOND] {
        let mut sealed = Sealed::new().await;
        let hands = sealed.hands.clone();
        sealed.restart(Clock::new(2, move || hands.now().plus_micros(skew)));
        for key in [0, 70, KEYS - 1] {
            assert!(sealed.is_repeated(key).await, "key {key} by a clock {skew} off");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_forgets_no_sealed_key() {
    let sealed = Sealed::new().await;
    let (before, now) = (sealed.length(), sealed.hands.now().micros());
    sealed.at(now + 2 * KEY_LIFETIME_MICROS);
    // It is refused by a look at the head, which writes nothing, and all keys seem to be over.
    let too_much = Intent::Withdraw { amount: Money::from_minor(1_000_000) };
    let refused = sealed.running.instance.wallets.change(sealed.wallet, too_much, context(Some(KEYS + 1))).await;
    assert!(matches!(refused, Err(Failure::Refused { .. })), "{refused:?}");
    sealed.at(now);
    for key in 0..KEYS {
        assert!(sealed.is_repeated(key).await, "key {key}");
    }
    assert_eq!(sealed.length(), before);
}
