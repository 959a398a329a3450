//! Carries money that has left a wallet to its payee, in this cell or through the router, and records the answer in the
//! paying chain. May be killed anywhere and run any number of times at once, since both chains accept each step only
//! once: what a process leaves behind is handed over again when the wallet is loaded, and by the feed.
//!
//! An open transfer is never given up, only tried ever less often.

mod delivery;
mod lanes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use ledger::{OpenTransfer, TransactionId};
use metrics::counter;
use store::Store;
use telemetry::trace::{self, Place};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use topology::CellId;
use topology::wire::CreditOutcome;

use self::delivery::{Delivery, Recorded};
use self::lanes::{Lanes, Met};
use crate::clock::Clock;
use crate::driver::Submitter;
use crate::peers::Peers;
use crate::reads::history::Outcome;
use crate::receiving::Receiver;

/// Requests handed over and not taken in yet. What does not fit is found by the feed.
const MAILBOX: usize = lanes::MAX_WAITING;

enum Request {
    /// A request waits for the outcome.
    Deliver {
        open: OpenTransfer,
        /// Whether the payee's wallet is in this cell, as far as is known.
        is_here: Option<bool>,
        done: oneshot::Sender<Outcome>,
        /// The place in a trace of the request that caused it.
        place: Option<Place>,
    },
    /// Left behind, perhaps.
    CarryOn(OpenTransfer),
}

/// A transfer that waits to be delivered.
struct Waiting {
    open: OpenTransfer,
    /// Another instance may have delivered it.
    carried_on: bool,
    is_here: Option<bool>,
    /// The payee has answered; its word is still to be recorded.
    known: Option<CreditOutcome>,
    place: Option<Place>,
}

/// A transfer that this courier carries, until its outcome is recorded.
#[derive(Default)]
struct Carried {
    /// The requests that wait for its outcome.
    listeners: Vec<oneshot::Sender<Outcome>>,
    /// Once requests may be answered with it.
    outcome: Option<Outcome>,
}

/// Hands transfers to the courier of this instance.
#[derive(Clone)]
pub struct Courier(mpsc::Sender<Request>);

impl Courier {
    /// Delivers a transfer; its outcome if that is known by `deadline`, else in flight.
    pub async fn deliver(&self, open: OpenTransfer, is_here: Option<bool>, deadline: Instant) -> Outcome {
        let (done, answer) = oneshot::channel();
        let place = trace::current().filter(|place| place.sampled && trace::is_on());
        // A full mailbox loses nothing: the chain says that the transfer is open.
        if self.0.try_send(Request::Deliver { open, is_here, done, place }).is_err() {
            return Outcome::InFlight;
        }
        timeout_at(deadline, answer).await.ok().and_then(Result::ok).unwrap_or(Outcome::InFlight)
    }

    /// Delivers what another instance may have left behind.
    pub fn carry_on(&self, transfers: Vec<OpenTransfer>) {
        for open in transfers {
            if self.0.try_send(Request::CarryOn(open)).is_err() {
                return;
            }
        }
    }
}

pub struct CourierTask<S, P> {
    delivery: Delivery<S, P>,
    clock: Clock,
    inbox: mpsc::Receiver<Request>,
    waiting: Lanes<Waiting>,
    carried: HashMap<TransactionId, Carried>,
    deliveries: JoinSet<Delivered>,
    recordings: JoinSet<(Waiting, CreditOutcome, Recorded)>,
}

/// An attempt at a delivery that has ended, with its place.
struct Delivered {
    transfer: Waiting,
    end: End,
    met: Met,
    attempts: u32,
    place: lanes::Place,
}

/// How an attempt ended.
enum End {
    Answered(CreditOutcome),
    /// The transfer is concluded, or its wallet has left this cell.
    Over,
    NotYet,
}

/// A courier that is not running yet: the handle is needed before the task's own parts exist.
pub struct Mailbox(mpsc::Receiver<Request>);

pub fn mailbox() -> (Courier, Mailbox) {
    let (sender, inbox) = mpsc::channel(MAILBOX);
    (Courier(sender), Mailbox(inbox))
}

impl<S: Store, P: Peers> CourierTask<S, P> {
    pub fn new(cell: CellId, mailbox: Mailbox, store: S, peers: P, submitter: Submitter, clock: Clock) -> Self {
        let receiver = Receiver::new(cell.clone(), store.clone(), submitter.clone(), clock.clone());
        Self {
            delivery: Delivery { cell, store, peers, receiver, submitter, clock: clock.clone() },
            clock,
            inbox: mailbox.0,
            waiting: Lanes::new(),
            carried: HashMap::new(),
            deliveries: JoinSet::new(),
            recordings: JoinSet::new(),
        }
    }

    /// Runs until `stop` says so; then finishes what is under way. What is left, the chains say.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let due = self.waiting.next_due();
            tokio::select! {
                biased;
                () = crate::stop::stopped(&mut stop) => break,
                Some(done) = self.deliveries.join_next(), if !self.deliveries.is_empty() => {
                    self.delivered(done.expect("a delivery neither panics nor is cancelled"));
                }
                Some(done) = self.recordings.join_next(), if !self.recordings.is_empty() => {
                    self.recorded(done.expect("a recording neither panics nor is cancelled"));
                }
                Some(request) = self.inbox.recv() => self.take_in(request),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            self.start();
        }
        while let Some(done) = self.deliveries.join_next().await {
            self.delivered(done.expect("a delivery neither panics nor is cancelled"));
        }
        while let Some(done) = self.recordings.join_next().await {
            self.recorded(done.expect("a recording neither panics nor is cancelled"));
        }
    }

    fn take_in(&mut self, request: Request) {
        match request {
            Request::Deliver { open, is_here, done, place } => {
                let (transfer, payee) = (open.transfer, open.payee.bucket());
                // A request waits for it: one that is carried already is tried at once.
                self.waiting.hurry(payee, |waiting| waiting.open.transfer == transfer, Instant::now());
                self.enqueue(Waiting { open, carried_on: false, is_here, known: None, place });
                let Some(carried) = self.carried.get_mut(&transfer) else { return };
                match carried.outcome {
                    Some(outcome) => drop(done.send(outcome)),
                    None => carried.listeners.push(done),
                }
            }
            Request::CarryOn(open) => {
                self.enqueue(Waiting { open, carried_on: true, is_here: None, known: None, place: None });
            }
        }
    }

    fn enqueue(&mut self, transfer: Waiting) {
        let (id, payee) = (transfer.open.transfer, transfer.open.payee.bucket());
        if self.carried.contains_key(&id) {
            return;
        }
        let is_fresh = !transfer.carried_on;
        let is_taken = self.waiting.push(transfer, payee, is_fresh);
        if is_taken {
            self.carried.insert(id, Carried::default());
        }
    }

    fn start(&mut self) {
        while let Some(started) = self.waiting.start(Instant::now()) {
            let (transfer, _, attempts, place) = started.into_parts();
            let (delivery, trace) = (self.delivery.clone(), transfer.place);
            self.deliveries.spawn(trace::at(trace, async move {
                let (transfer, end, met) = delivery.attempt(transfer).await;
                Delivered { transfer, end, met, attempts, place }
            }));
        }
    }

    fn delivered(&mut self, delivered: Delivered) {
        let Delivered { mut transfer, end, met, attempts, place } = delivered;
        let (payee, now) = (transfer.open.payee.bucket(), Instant::now());
        self.waiting.ended(place, payee, &met, now);
        let label = match end {
            End::Answered(CreditOutcome::Received) => "settled",
            End::Answered(CreditOutcome::Refused { .. }) => "returned",
            End::NotYet => "not_yet",
            End::Over => "elsewhere",
        };
        counter!("cell_deliveries_total", "outcome" => label).increment(1);
        match end {
            End::NotYet => {
                let jitter = self.clock.random().f64();
                self.waiting.again(transfer, payee, attempts, now, jitter);
            }
            End::Over => self.end(transfer.open.transfer, Outcome::InFlight),
            End::Answered(outcome) => {
                transfer.known = Some(outcome);
                // The money arrived: settling it is bookkeeping. What comes back is answered once it is back.
                if outcome == CreditOutcome::Received {
                    self.answer(transfer.open.transfer, Outcome::Settled { at: None });
                }
                let delivery = self.delivery.clone();
                self.recordings.spawn(trace::at(transfer.place, async move {
                    let recorded = delivery.record(&transfer.open, outcome).await;
                    (transfer, outcome, recorded)
                }));
            }
        }
    }

    fn recorded(&mut self, (transfer, outcome, recorded): (Waiting, CreditOutcome, Recorded)) {
        let (id, payee) = (transfer.open.transfer, transfer.open.payee.bucket());
        match (recorded, outcome) {
            (Recorded::At(at), CreditOutcome::Received) => self.end(id, Outcome::Settled { at }),
            (Recorded::At(at), CreditOutcome::Refused { reason }) => self.end(id, Outcome::Returned { at, reason }),
            (Recorded::NotHere, CreditOutcome::Received) => self.end(id, Outcome::Settled { at: None }),
            // It comes back in the cell that has the wallet now.
            (Recorded::NotHere, CreditOutcome::Refused { .. }) => self.end(id, Outcome::InFlight),
            (Recorded::NotYet, _) => {
                let jitter = self.clock.random().f64();
                self.waiting.again(transfer, payee, 0, Instant::now(), jitter);
            }
        }
    }

    /// Requests for this transfer are answered so from now on.
    fn answer(&mut self, transfer: TransactionId, outcome: Outcome) {
        let Some(carried) = self.carried.get_mut(&transfer) else { return };
        carried.outcome = Some(outcome);
        for listener in carried.listeners.drain(..) {
            // A request that has stopped waiting reads the outcome later.
            let _ = listener.send(outcome);
        }
    }

    fn end(&mut self, transfer: TransactionId, outcome: Outcome) {
        self.answer(transfer, outcome);
        self.carried.remove(&transfer);
    }
}
