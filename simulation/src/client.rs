//! Clients: each does random things to random wallets, repeats with the same key what was not
//! answered, and writes down the answers.

mod attempts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cell::failure::Failure;
use cell::wallets::{Answer, Context, TransferStatus, Wallet};
use ledger::block::{Audit, Key, ShortText};
use ledger::{Intent, Money, Note, Timestamp, TransactionId};
use reconciliation::Reported;
use tokio::time::{Instant, sleep};
use topology::{UserId, WalletId};

use super::placement::{View, user};
use super::world::{NAMESPACE, Service, World};

/// Attempts at one operation, enough to outlast every fault.
const MAX_ATTEMPTS: usize = 400;
/// Attempts before a client gives up, or waits, because a cell is being restored.
const PATIENT_ATTEMPTS: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Create,
    Deposit(Money),
    Withdraw(Money),
    Transfer(WalletId, Money),
    Hold(Money),
    /// A hold of this client's, or a part of it.
    Capture(TransactionId, Option<Money>),
    Void(TransactionId),
    /// A transaction that this client knows from an answer.
    Reverse(TransactionId),
    Batch(Batch),
    /// Two payments in one request; what became of each is noted as a transfer.
    Payments([(WalletId, Money); 2]),
}

/// Operations in one request: what is above zero is deposited, what is below is withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    pub is_atomic: bool,
    pub minor: [i64; 4],
}

#[derive(Debug, Clone)]
pub struct Operation {
    pub wallet: WalletId,
    pub what: What,
    pub key: Key,
    pub reported: Reported,
}

#[derive(Default)]
pub struct Log {
    operations: Mutex<Vec<Operation>>,
    unanswered: Mutex<usize>,
    /// The latest acknowledged change of each wallet: no read that begins later may see an older state.
    acknowledged: Mutex<BTreeMap<WalletId, Timestamp>>,
    stale_reads: Mutex<Vec<String>>,
}

impl Log {
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn unanswered(&self) -> usize {
        *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stale_reads(&self) -> Vec<String> {
        self.stale_reads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn acknowledged(&self, wallet: WalletId) -> Option<Timestamp> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).get(&wallet).copied()
    }

    /// The wallet's chain ends at `head` again: what was acknowledged later is lost.
    pub fn rewind(&self, wallet: WalletId, head: Option<Timestamp>) {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(latest), Some(head)) = (acknowledged.remove(&wallet), head) {
            acknowledged.insert(wallet, latest.min(head));
        }
    }

    fn acknowledge(&self, wallet: WalletId, at: Timestamp) {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = acknowledged.entry(wallet).or_insert(at);
        *latest = at.max(*latest);
    }
}

pub struct Client {
    number: usize,
    wallets: usize,
    world: Arc<World>,
    log: Arc<Log>,
    random: fastrand::Rng,
    view: View,
    /// Holds that were placed, and transactions that might be reversed, as this client knows from
    /// answers.
    holds: Vec<(WalletId, TransactionId)>,
    transactions: Vec<(WalletId, TransactionId)>,
}

enum Outcome {
    Reported(Reported),
    /// `is_final`: no attempt under this key has been carried out, or can be any more.
    Refused {
        why: Box<str>,
        is_final: bool,
    },
    /// It is written down already, part by part.
    Noted,
    Again {
        unknown: bool,
        why: String,
    },
}

impl Client {
    pub fn new(number: usize, wallets: usize, world: Arc<World>, log: Arc<Log>, random: fastrand::Rng) -> Self {
        Self { number, wallets, world, log, random, view: View::default(), holds: vec![], transactions: vec![] }
    }

    pub async fn run(mut self, operations: usize) {
        for number in 0..operations {
            // New customers come all the time.
            let known = (2 + number * self.wallets / operations).min(self.wallets);
            let user = self.user(known);
            let wallet = WalletId::for_user(NAMESPACE, &user);
            let (wallet, what) = match self.random.u32(0..100) {
                _ if number < 2 => (wallet, What::Create),
                0..7 => (wallet, What::Create),
                7..29 => (wallet, What::Deposit(self.amount(80_00))),
                29..42 => (wallet, What::Withdraw(self.amount(60_00))),
                42..66 => (wallet, What::Transfer(self.payee(known), self.amount(40_00))),
                66..72 => (wallet, What::Hold(self.amount(40_00))),
                72..78 => self.end_of_hold(wallet),
                78..84 => self.reversal(wallet),
                84..89 => (wallet, What::Batch(self.batch())),
                89..93 => {
                    let payment = |client: &mut Self| (client.payee(known), client.amount(20_00));
                    (wallet, What::Payments([payment(&mut self), payment(&mut self)]))
                }
                93..96 => {
                    self.read(wallet).await;
                    continue;
                }
                _ => {
                    self.toggle_frozen(wallet).await;
                    continue;
                }
            };
            self.carry_out(number, user, wallet, what).await;
            sleep(Duration::from_micros(self.random.u64(1..30_000))).await;
        }
    }

    fn payee(&mut self, known: usize) -> WalletId {
        WalletId::for_user(NAMESPACE, &self.user(known))
    }

    /// Of a hold of its own, or else a new one.
    fn end_of_hold(&mut self, otherwise: WalletId) -> (WalletId, What) {
        let Some((wallet, hold)) = self.random.choice(self.holds.clone()) else {
            return (otherwise, What::Hold(self.amount(40_00)));
        };
        match self.random.u32(0..3) {
            0 => (wallet, What::Void(hold)),
            1 => (wallet, What::Capture(hold, None)),
            _ => (wallet, What::Capture(hold, Some(self.amount(20_00)))),
        }
    }

    fn reversal(&mut self, otherwise: WalletId) -> (WalletId, What) {
        match self.random.choice(self.transactions.clone()) {
            Some((wallet, transaction)) => (wallet, What::Reverse(transaction)),
            None => (otherwise, What::Deposit(self.amount(80_00))),
        }
    }

    fn batch(&mut self) -> Batch {
        Batch { is_atomic: self.random.bool(), minor: std::array::from_fn(|_| self.random.i64(-20_00..30_00)) }
    }

    fn user(&mut self, known: usize) -> UserId {
        user(self.random.usize(..known))
    }

    /// The lookup of a wallet learns of some newer placement now and then.
    fn look_around(&mut self) {
        if self.random.u32(0..5) == 0 {
            self.view.advance(&self.world.placements, self.random.usize(..));
        }
    }

    fn amount(&mut self, most: u64) -> Money {
        Money::from_minor(self.random.u64(1..most))
    }

    async fn carry_out(&mut self, number: usize, user: UserId, wallet: WalletId, what: What) {
        let mut half = [0_u8; 16];
        // All of it in the bytes that the index of keys goes by, as a real hash has it.
        half[..8].copy_from_slice(&((self.number as u64) << 32 | number as u64).to_be_bytes());
        let key = Key { key: half, request: half };
        let (mut unanswered, mut last) = (false, String::new());
        for attempt in 0..MAX_ATTEMPTS {
            match self.attempt(&user, wallet, what, key, unanswered).await {
                Outcome::Noted => return,
                Outcome::Refused { why, is_final } => {
                    return self.note(wallet, what, key, after_refusal(why, is_final, unanswered));
                }
                Outcome::Reported(reported) => return self.note(wallet, what, key, reported),
                Outcome::Again { unknown, why } => {
                    unanswered |= unknown;
                    last = why;
                }
            }
            *self.log.unanswered.lock().unwrap_or_else(PoisonError::into_inner) += usize::from(unanswered);
            if attempt >= PATIENT_ATTEMPTS && self.world.is_restoring() {
                // What became of it, this client will never ask.
                if self.random.u32(0..4) == 0 {
                    return;
                }
                while self.world.is_restoring() {
                    sleep(Duration::from_secs(1)).await;
                }
            }
            sleep(Duration::from_millis(self.random.u64(1..200))).await;
        }
        let mut whereabouts = self.world.whereabouts(wallet).await;
        if let What::Transfer(to, _) = what {
            whereabouts += &format!("; the other is {}", self.world.whereabouts(to).await);
        }
        panic!("{what:?} of {wallet} was not answered in {MAX_ATTEMPTS} attempts: {last}; {whereabouts}");
    }

    fn note(&self, wallet: WalletId, what: What, key: Key, reported: Reported) {
        let operation = Operation { wallet, what, key, reported };
        self.log.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    async fn attempt(&mut self, user: &UserId, wallet: WalletId, what: What, key: Key, unanswered: bool) -> Outcome {
        let choice = self.random.usize(..);
        let patience = Duration::from_millis(self.random.u64(50..4_000));
        let context = Context {
            key: Some(key),
            audit: Audit { source_ip: ShortText::cut("192.0.2.1", 45), ..Audit::default() },
            note: Note::default(),
            deadline: Instant::now() + patience,
        };
        self.look_around();
        let (world, view) = (&self.world, &self.view);
        let intent = match what {
            What::Create => None,
            What::Deposit(amount) => Some(Intent::Deposit { amount }),
            What::Withdraw(amount) => Some(Intent::Withdraw { amount }),
            What::Transfer(to, amount) => return self.attempt_transfer(wallet, to, amount, choice, context).await,
            What::Hold(_) | What::Capture(..) | What::Void(_) => {
                return self.attempt_hold(wallet, what, choice, context).await;
            }
            What::Reverse(of) => return self.attempt_reversal(wallet, of, choice, context).await,
            What::Batch(batch) => return self.attempt_batch(wallet, batch, choice, context).await,
            What::Payments(payments) => {
                return self.attempt_payments(wallet, payments, choice, context, unanswered).await;
            }
        };
        let answer = world.route(view, wallet, choice, |service| {
            let (user, intent, context) = (user.clone(), intent.clone(), context.clone());
            async move {
                match intent {
                    None => service.create(user, context).await,
                    Some(intent) => service.change(wallet, intent, context).await,
                }
            }
        });
        match answer.await {
            Ok(Ok(Answer { value, .. })) => {
                self.log.acknowledge(wallet, value.updated_at);
                self.transactions.extend(value.transaction.map(|transaction| (wallet, transaction)));
                Outcome::Reported(Reported::Done(None))
            }
            Ok(Err(failure)) => outcome_of(&failure),
            Err(_) => Outcome::Again { unknown: true, why: "no answer".into() },
        }
    }

    async fn attempt_transfer(
        &mut self,
        from: WalletId,
        to: WalletId,
        amount: Money,
        choice: usize,
        context: Context,
    ) -> Outcome {
        let answer = self.world.route(&self.view, from, choice, |service| {
            let context = context.clone();
            async move { service.transfer(from, to, amount, context).await }
        });
        match answer.await {
            Ok(Ok(Answer { value, .. })) => {
                self.log.acknowledge(from, value.created_at);
                if value.status == TransferStatus::Settled {
                    self.log.acknowledge(from, value.updated_at.unwrap_or(value.created_at));
                }
                self.transactions.push((to, value.id));
                Outcome::Reported(Reported::Done(None))
            }
            Ok(Err(Failure::Returned { .. })) => Outcome::Reported(Reported::Returned),
            Ok(Err(failure)) => outcome_of(&failure),
            Err(_) => Outcome::Again { unknown: true, why: "no answer".into() },
        }
    }

    async fn read(&mut self, wallet: WalletId) {
        let known = self.log.acknowledged(wallet);
        let choice = self.random.usize(..);
        self.look_around();
        let read = |service: Arc<Service>| async move { service.wallet(wallet).await };
        let answer = self.world.route(&self.view, wallet, choice, read).await;
        let stale = match (answer, known) {
            (Ok(Ok(Wallet { updated_at, .. })), Some(known)) if updated_at < known => format!("{updated_at} < {known}"),
            (Ok(Err(Failure::WalletNotFound(_))), Some(known)) => format!("not found after {known}"),
            _ => return,
        };
        let stale = format!("wallet {wallet}: {stale}");
        self.log.stale_reads.lock().unwrap_or_else(PoisonError::into_inner).push(stale);
    }

    async fn toggle_frozen(&mut self, wallet: WalletId) {
        let choice = self.random.usize(..);
        let intent = if self.random.u32(0..3) == 0 { Intent::Freeze } else { Intent::Unfreeze };
        let context = Context {
            key: None,
            audit: Audit::default(),
            note: Note::default(),
            deadline: Instant::now() + Duration::from_secs(1),
        };
        // Nothing relies on the answer.
        let change = |service: Arc<Service>| {
            let (intent, context) = (intent.clone(), context.clone());
            async move { service.change(wallet, intent, context).await }
        };
        let _ = self.world.route(&self.view, wallet, choice, change).await;
    }
}

/// What is known after a refusal: an attempt that went unanswered before may be carried out after it.
fn after_refusal(why: Box<str>, is_final: bool, unanswered: bool) -> Reported {
    if is_final || !unanswered { Reported::Refused(why) } else { Reported::Unknown(why) }
}

fn outcome_of(failure: &Failure) -> Outcome {
    match failure {
        Failure::Refused { .. }
        | Failure::CannotReceive(_)
        | Failure::WalletNotFound(_)
        | Failure::WalletExists(_)
        | Failure::ItemRefused { .. }
        | Failure::NotReversible(_)
        | Failure::TransactionNotFound(_)
        | Failure::SameWallet => Outcome::Refused { why: format!("{failure:?}").into(), is_final: false },
        // By another request: one of this key would have been found, and none can land now.
        Failure::AlreadyReversed => Outcome::Refused { why: format!("{failure:?}").into(), is_final: true },
        Failure::OutcomeUnknown(why) => Outcome::Again { unknown: true, why: why.clone() },
        Failure::Overloaded
        | Failure::Moving
        | Failure::Expired
        | Failure::Contended
        | Failure::ReceiverUnavailable(_)
        | Failure::Unavailable(_)
        | Failure::Misdirected { .. } => Outcome::Again { unknown: false, why: format!("{failure:?}") },
        other => panic!("a sound deployment never answers: {other:?}"),
    }
}
