//! Carries money that has left a wallet to its destination in another cell, and records the answer in the paying
//! chain. Resumes from the rows of transfers in flight; may be killed anywhere and run any number of times at once,
//! since both chains accept each step only once.
//!
//! A transfer in flight is never given up, only tried ever less often.

mod lanes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ledger::rows::OutRow;
use ledger::{Audit, Intent, Refusal, ShortText, Timestamp, TransactionId};
use metrics::{counter, gauge};
use store::Store;
use telemetry::trace::{self, Place};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};
use topology::CellId;
use topology::wire::{Credit, CreditOutcome};
use tracing::{error, warn};

use self::lanes::{Lanes, Met};
use crate::clock::Clock;
use crate::driver::Submitter;
use crate::peers::{Credited, PeerError, Peers};
use crate::reads::history::{self, Outcome};
use crate::sequencer::{Command, Reply, Work};

/// Requests handed over and not taken in yet; what does not fit is found by the next sweep.
const MAILBOX: usize = lanes::MAX_WAITING;
/// How often the rows in flight are looked through for what no courier carries.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long the row of a wallet that was found to have left is passed over: it stays until the wallet is forgotten.
const LEFT_FOR: Duration = Duration::from_secs(30);
const MAX_LEFT: usize = 65_536;
/// Rows younger than this are their own instance's to deliver.
const SWEEP_MIN_AGE_MICROS: i64 = 1_500_000;
const SWEEP_ROWS: usize = 256;
/// One question to another cell.
const CREDIT_TIMEOUT: Duration = Duration::from_secs(3);
/// In flight longer than this, a human has to look. The transfer is carried on nevertheless.
const STUCK_AFTER_MICROS: i64 = 60 * 60 * 1_000_000;
/// The actor in the entries that the courier causes.
const ACTOR: &str = "courier";

struct Request {
    row: OutRow,
    done: oneshot::Sender<Outcome>,
    /// The place in a trace of the request that caused it.
    place: Option<Place>,
}

/// A transfer that waits to be delivered.
struct Waiting {
    row: OutRow,
    /// Found among the rows, and perhaps left behind by a wallet that has moved away.
    swept: bool,
    /// The destination has answered; its word is still to be recorded.
    known: Option<CreditOutcome>,
    /// The caller that it is done for: known only in the process that took the request.
    place: Option<Place>,
}

/// Hands transfers to the courier of this instance.
#[derive(Clone)]
pub struct Courier(mpsc::Sender<Request>);

impl Courier {
    /// Delivers a transfer; its outcome if that is known by `deadline`, else in flight.
    pub async fn deliver(&self, row: OutRow, deadline: Instant) -> Outcome {
        let (done, answer) = oneshot::channel();
        // A full mailbox loses nothing: the row is there, and the sweep finds it.
        if self.0.try_send(Request { row, done, place: trace::current() }).is_err() {
            return Outcome::InFlight;
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            _ => Outcome::InFlight,
        }
    }
}

pub struct CourierTask<S, P> {
    cell: CellId,
    store: S,
    peers: P,
    submitter: Submitter,
    clock: Clock,
    inbox: mpsc::Receiver<Request>,
    waiting: Lanes<Waiting>,
    /// The requests that wait for the outcome of each transfer that is waiting or under way here.
    listeners: BTreeMap<TransactionId, Vec<oneshot::Sender<Outcome>>>,
    deliveries: JoinSet<Ended>,
    /// Transfers of wallets that live elsewhere now, and until when that is believed.
    left: HashMap<TransactionId, Instant>,
    /// Where the next sweep goes on, and what this pass over all rows has seen.
    sweep_from: Timestamp,
    pass: Pass,
}

/// What one pass over all rows in flight adds up.
#[derive(Default)]
struct Pass {
    rows: usize,
    stuck: usize,
    oldest_micros: i64,
}

/// How an attempt at a delivery ended.
enum Delivered {
    Outcome(Outcome),
    /// The wallet has left this cell: the courier of its new home carries on.
    NotHere,
    NotYet,
}

/// An attempt at a delivery that has ended, with its place.
struct Ended {
    transfer: Waiting,
    delivered: Delivered,
    met: Met,
    attempts: u32,
    place: lanes::Place,
}

/// A courier that is not running yet: the handle is needed before the task's own parts exist.
pub struct Mailbox(mpsc::Receiver<Request>);

pub fn mailbox() -> (Courier, Mailbox) {
    let (sender, inbox) = mpsc::channel(MAILBOX);
    (Courier(sender), Mailbox(inbox))
}

impl<S: Store, P: Peers> CourierTask<S, P> {
    pub fn new(cell: CellId, mailbox: Mailbox, store: S, peers: P, submitter: Submitter, clock: Clock) -> Self {
        Self {
            cell,
            store,
            peers,
            submitter,
            clock,
            inbox: mailbox.0,
            waiting: Lanes::new(),
            listeners: BTreeMap::new(),
            deliveries: JoinSet::new(),
            left: HashMap::new(),
            sweep_from: Timestamp::from_micros(0),
            pass: Pass::default(),
        }
    }

    /// Runs until `stop` says so; then finishes the deliveries under way. What is left is in the rows.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut sweep = interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.waiting.next_due();
            tokio::select! {
                biased;
                () = crate::stop::stopped(&mut stop) => break,
                Some(done) = self.deliveries.join_next(), if !self.deliveries.is_empty() => {
                    self.ended(done.expect("a delivery neither panics nor is cancelled"));
                }
                Some(Request { row, done, place }) = self.inbox.recv() => {
                    let (transfer, payee) = (row.transfer, row.to.bucket());
                    // A request waits for it: one that is carried already is tried at once.
                    self.waiting.hurry(payee, |waiting| waiting.row.transfer == transfer, Instant::now());
                    self.enqueue(Waiting { row, swept: false, known: None, place });
                    if let Some(listeners) = self.listeners.get_mut(&transfer) {
                        listeners.push(done);
                    }
                }
                _ = sweep.tick() => self.sweep().await,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            self.start();
        }
        while let Some(done) = self.deliveries.join_next().await {
            if let Ok(ended) = done {
                self.ended(ended);
            }
        }
    }

    fn enqueue(&mut self, transfer: Waiting) {
        let (id, payee, is_fresh) = (transfer.row.transfer, transfer.row.to.bucket(), !transfer.swept);
        if !self.listeners.contains_key(&id) && self.waiting.push(transfer, payee, is_fresh) {
            self.listeners.insert(id, Vec::new());
        }
    }

    fn start(&mut self) {
        while let Some(started) = self.waiting.start(Instant::now()) {
            let (transfer, _, attempts, place) = started.into_parts();
            let delivery = Delivery {
                cell: self.cell.clone(),
                store: self.store.clone(),
                peers: self.peers.clone(),
                submitter: self.submitter.clone(),
                clock: self.clock.clone(),
            };
            self.deliveries.spawn(trace::at(transfer.place, delivery.attempt(transfer, attempts, place)));
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { transfer, delivered, met, attempts, place } = ended;
        let (id, payee, now) = (transfer.row.transfer, transfer.row.to.bucket(), Instant::now());
        self.waiting.ended(place, payee, &met, now);
        let label = match delivered {
            Delivered::Outcome(Outcome::Settled { .. }) => "settled",
            Delivered::Outcome(Outcome::Returned { .. }) => "returned",
            Delivered::Outcome(Outcome::InFlight | Outcome::Ended) | Delivered::NotYet => "not_yet",
            Delivered::NotHere => "elsewhere",
        };
        counter!("cell_deliveries_total", "outcome" => label).increment(1);
        let outcome = match delivered {
            Delivered::Outcome(outcome) => outcome,
            Delivered::NotYet => {
                let jitter = self.clock.random().f64();
                return self.waiting.again(transfer, payee, attempts, now, jitter);
            }
            Delivered::NotHere => {
                if self.left.len() >= MAX_LEFT {
                    self.left.clear();
                }
                self.left.insert(id, now + LEFT_FOR);
                Outcome::InFlight
            }
        };
        for listener in self.listeners.remove(&id).unwrap_or_default() {
            // A request that has stopped waiting reads the outcome later.
            let _ = listener.send(outcome);
        }
    }

    async fn sweep(&mut self) {
        let rows = match self.store.open_transfers(self.sweep_from, SWEEP_ROWS).await {
            Ok(rows) => rows,
            Err(error) => return warn!(%error, "the transfers in flight could not be read"),
        };
        let now = self.clock.now();
        let age = |row: &OutRow| now.micros().saturating_sub(row.at.micros());
        let (first, last) = (rows.first().map(|row| row.at), rows.last().map(|row| row.at));
        let is_last_page = rows.len() < SWEEP_ROWS;
        self.left.retain(|_, until| *until > Instant::now());
        for row in rows.into_iter().filter(|row| !self.left.contains_key(&row.transfer)).collect::<Vec<_>>() {
            let age = age(&row);
            self.pass.rows += 1;
            self.pass.oldest_micros = self.pass.oldest_micros.max(age);
            self.pass.stuck += usize::from(age > STUCK_AFTER_MICROS);
            if age >= SWEEP_MIN_AGE_MICROS {
                self.enqueue(Waiting { row, swept: true, known: None, place: None });
            }
        }
        // More rows of one microsecond than a page holds are not waited for: their own instances deliver them.
        self.sweep_from = match (first, last) {
            (Some(first), Some(last)) if !is_last_page => {
                if first == last {
                    last.plus_micros(1)
                } else {
                    last
                }
            }
            _ => {
                std::mem::take(&mut self.pass).publish();
                Timestamp::from_micros(0)
            }
        };
    }
}

impl Pass {
    fn publish(self) {
        gauge!("cell_transfers_in_flight").set(self.rows as f64);
        gauge!("cell_transfer_in_flight_oldest_seconds").set(self.oldest_micros as f64 / 1_000_000.0);
        gauge!("cell_transfers_stuck").set(self.stuck as f64);
        if self.stuck > 0 {
            error!(stuck = self.stuck, "transfers have been in flight for more than an hour; they are still carried");
        }
    }
}

struct Delivery<S, P> {
    cell: CellId,
    store: S,
    peers: P,
    submitter: Submitter,
    clock: Clock,
}

impl<S: Store, P: Peers> Delivery<S, P> {
    /// Whether the paying wallet lives in this cell; believed where the store does not say.
    async fn is_here(&self, row: &OutRow) -> bool {
        match self.store.head(row.wallet).await {
            Ok(Some(head)) => head.home == self.cell,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Asks the destination once, unless it has answered before, and records the answer.
    async fn attempt(self, mut transfer: Waiting, attempts: u32, place: lanes::Place) -> Ended {
        let mut met = Met { cell: None, answered: true };
        let delivered = if transfer.swept && !self.is_here(&transfer.row).await {
            Delivered::NotHere
        } else {
            if transfer.known.is_none() {
                let Credited { cell, outcome } = self.ask(&transfer.row).await;
                met = Met { cell, answered: !matches!(outcome, Err(PeerError::Unreachable(_))) };
                // Also "unknown wallet": wallets never vanish, so it is a routing fault.
                transfer.known = outcome
                    .inspect_err(|error| warn!(transfer = %transfer.row.transfer, %error, "a credit was not answered"))
                    .ok();
            }
            match transfer.known {
                Some(outcome) => self.record(&transfer.row, outcome).await,
                None => Delivered::NotYet,
            }
        };
        Ended { transfer, delivered, met, attempts, place }
    }

    async fn ask(&self, row: &OutRow) -> Credited {
        let credit = Credit {
            transfer_id: row.transfer,
            from_wallet_id: row.wallet,
            to_wallet_id: row.to,
            amount_minor: row.amount.minor(),
            request_id: row.transfer.to_string(),
            actor: ACTOR.into(),
        };
        self.peers.credit(&credit, Instant::now() + CREDIT_TIMEOUT).await
    }

    async fn record(&self, row: &OutRow, outcome: CreditOutcome) -> Delivered {
        let work = match outcome {
            CreditOutcome::Received => Work::Alone(Intent::Settle { transfer: row.transfer }),
            CreditOutcome::Refused { reason } => {
                Work::Alone(Intent::TakeBack { transfer: row.transfer, amount: row.amount, reason })
            }
        };
        let command = Command {
            id: self.clock.transaction_id(),
            wallet: row.wallet,
            work,
            key: None,
            audit: Audit { request_id: short(&row.transfer.to_string()), actor: short(ACTOR), ..Audit::default() },
            expires_at: Timestamp::from_micros(i64::MAX),
            expired_key: None,
        };
        match self.submitter.submit(command).await {
            Reply::Done { block, .. } => Delivered::Outcome(outcome_at(outcome, Some(block.at))),
            // Another courier was faster; the destination's word is the same for both.
            Reply::RowConflict | Reply::Refused { refusal: Refusal::NothingInFlight, .. } => {
                self.recorded_by_another(row, outcome).await
            }
            // The wallet has moved, and its rows with it: the courier of its new cell carries on.
            Reply::Elsewhere { .. } | Reply::NoChain(_) => Delivered::NotHere,
            _ => Delivered::NotYet,
        }
    }

    async fn recorded_by_another(&self, row: &OutRow, outcome: CreditOutcome) -> Delivered {
        let Ok(Some(head)) = self.store.head(row.wallet).await else { return Delivered::NotYet };
        match history::transfer(&self.store, &head, row.transfer).await {
            Ok(Some(record)) => match record.outcome {
                Outcome::InFlight => Delivered::NotYet,
                Outcome::Ended => Delivered::Outcome(outcome_at(outcome, None)),
                recorded => Delivered::Outcome(recorded),
            },
            _ => Delivered::NotYet,
        }
    }
}

fn short(text: &str) -> ShortText {
    ShortText::cut(text, ShortText::MAX_BYTES)
}

fn outcome_at(outcome: CreditOutcome, at: Option<Timestamp>) -> Outcome {
    match outcome {
        CreditOutcome::Received => Outcome::Settled { at },
        CreditOutcome::Refused { reason } => Outcome::Returned { at, reason },
    }
}
