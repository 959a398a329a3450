//! What is done once is done once, and only that: keys, credits and reversals against a naive list of all that was done,
//! over instances that are restarted, wallets that are evicted, and days that pass.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use ledger::marks::KEY_LIFETIME_MICROS;
use ledger::{TransactionId, WalletState};
use store::verify::Replayed;
use topology::wire::CreditOutcome;

use super::*;
use crate::sequencer::Sealing;

const SCHEDULES: u64 = 100;
const STEPS: usize = 250;
const NAMES: u8 = 6;
const MINUTE: i64 = 60_000_000;

/// A clock that the test moves.
#[derive(Clone)]
pub struct Hands(pub Arc<AtomicI64>);

impl Hands {
    /// Of another process each time: no two give the same ids.
    pub fn clock(&self, seed: u64) -> Clock {
        let hands = self.clone();
        Clock::new(seed, move || hands.now())
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// All that was done, as a client would write it down.
#[derive(Default)]
struct Done {
    keyed: BTreeMap<u8, (Timestamp, TransactionId)>,
    credits: BTreeMap<u8, (i64, CreditOutcome)>,
    reversed: Vec<TransactionId>,
    deposits: Vec<TransactionId>,
}

struct Schedule {
    random: fastrand::Rng,
    hands: Hands,
    store: MemoryStore,
    running: Running,
    limits: Limits,
    wallet: WalletId,
    done: Done,
}

impl Schedule {
    /// So few wallets are remembered that another one evicts this one, and so few marks are held exactly that most are
    /// sealed.
    async fn new(seed: u64, forgets: bool) -> Self {
        let hands = Hands(Arc::new(AtomicI64::new(NOW.micros())));
        let store = tables();
        let mut random = fastrand::Rng::with_seed(seed);
        let sealing = Sealing { marks: random.usize(1..=20), forgets };
        let limits = Limits { wallets: 1, sealing, ..Limits::default() };
        let running = Running::start(&store, hands.clock(random.u64(..)), limits.clone());
        let wallet = running.create("ann").await.expect("it may be created here");
        Self { random, hands, store, running, limits, wallet, done: Done::default() }
    }

    async fn step(&mut self) {
        match self.random.u32(0..20) {
            0 => {
                let clock = self.hands.clock(self.random.u64(..));
                self.running = Running::start(&self.store, clock, self.limits.clone());
            }
            // Another wallet takes the place of this one in memory.
            1 => drop(self.running.create(&format!("user-{}", self.random.u32(..))).await),
            2 => {
                let minutes = self.random.i64(0..48 * 60);
                self.pass(minutes * MINUTE);
            }
            // To the microsecond at which the oldest key is over, or just before.
            3 => {
                let oldest = self.done.keyed.values().map(|(at, _)| at.micros()).min();
                let over = oldest.map_or(0, |at| at + KEY_LIFETIME_MICROS - self.hands.now().micros());
                let before = self.random.i64(0..2);
                self.pass(over - before);
            }
            4..12 => self.deposit().await,
            12..17 => self.credit().await,
            _ => self.reverse().await,
        }
        let micros = self.random.i64(0..3) * self.random.i64(0..MINUTE);
        self.pass(micros);
    }

    fn pass(&mut self, micros: i64) {
        self.hands.0.fetch_add(micros.max(0), Ordering::Relaxed);
    }

    async fn deposit(&mut self) {
        let key = self.random.u8(..NAMES);
        let answer = self.running.deposit(self.wallet, Some(key)).await.expect("active");
        let id = answer.value.transaction.expect("a deposit is one");
        let now = self.hands.now();
        let counts = |at: Timestamp| at.plus_micros(KEY_LIFETIME_MICROS) > now;
        let first = self.done.keyed.get(&key).filter(|(at, _)| counts(*at));
        assert_eq!(answer.replayed, first.is_some(), "key {key} at {now}, used {:?}", self.done.keyed.get(&key));
        match first {
            Some((_, first)) => assert_eq!(id, *first),
            None => {
                self.done.keyed.insert(key, (now, id));
                self.done.deposits.push(id);
            }
        }
    }

    async fn credit(&mut self) {
        let name = self.random.u8(..NAMES * 4);
        let now = self.hands.now().micros();
        let age = self.random.i64(0..72 * 60) * MINUTE;
        let known = self.done.credits.get(&name).copied();
        let left_at_micros = known.map_or(now - age, |(left_at, _)| left_at);
        let credit = Credit {
            transfer_id: Uuid::from_u128(0xc0 + u128::from(name)),
            from_wallet_id: WalletId::from_uuid(Uuid::from_u128(1)),
            to_wallet_id: self.wallet,
            amount_minor: 1,
            left_at_micros,
            reference: String::new(),
            request_id: String::new(),
            actor: String::new(),
        };
        let outcome = self.running.instance.wallets.credit(&credit, context(None)).await.expect("it answers");
        let (_, first) = *self.done.credits.entry(name).or_insert((left_at_micros, outcome));
        assert_eq!(outcome, first, "a repetition gets the same answer");
    }

    async fn reverse(&mut self) {
        let Some(of) = self.random.choice(&self.done.deposits).copied() else { return };
        let answer = self.running.instance.wallets.reverse(self.wallet, of, context(None)).await;
        let expected = match self.done.reversed.contains(&of) {
            true => Err(Failure::AlreadyReversed),
            false => Ok(()),
        };
        assert_eq!(answer.map(|_| ()), expected, "reversal of {of}");
        if expected.is_ok() {
            self.done.reversed.push(of);
        }
    }

    /// The chain holds what was done, and nothing twice.
    fn check(&self) {
        let chain = chain(&self.store, self.wallet);
        let mut replayed = Replayed::default();
        for block in &chain {
            assert_eq!(replayed.take(block), Vec::<String>::new(), "block {}", block.number);
        }
        let done = self.done.deposits.len() + self.done.credits.len() + self.done.reversed.len();
        assert_eq!(chain.iter().map(|block| block.entries.len()).sum::<usize>(), done + 1);
        let state: &WalletState = &chain.last().expect("block 0").state;
        let (came, went) = (self.done.deposits.len() + self.done.credits.len(), self.done.reversed.len());
        assert_eq!(state.balance.minor(), (came - went) as u64);
    }
}

async fn run(seed: u64, forgets: bool) {
    let mut schedule = Schedule::new(seed, forgets).await;
    for _ in 0..STEPS {
        schedule.step().await;
    }
    schedule.check();
}

#[tokio::test(start_paused = true)]
async fn what_was_done_once_is_never_done_twice() {
    for seed in 0..SCHEDULES {
        run(seed, false).await;
    }
}

/// That sealed marks decide in these schedules.
#[tokio::test(start_paused = true)]
#[should_panic(expected = "assertion")]
async fn a_filter_that_forgets_is_found() {
    for seed in 0..SCHEDULES {
        run(seed, true).await;
    }
}
