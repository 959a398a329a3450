//! A load on its way: requests fall due at fixed times, whatever the answers do, and every one is remembered.
//!
//! It must never wait for an answer before the next request is sent, nor forget one that was sent.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use control_api::client::Credentials;
use reconciliation::Reported;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use topology::{Placement, UserId, WalletId};
use uuid::Uuid;

use crate::customers::{Opened, open};
use crate::latency::Latencies;
use crate::mix::{Kind, Mix};
use crate::operation::{Customer, Operation, key};
use crate::outcome::{Outcome, Phase};
use crate::planner::Planner;
use crate::wire::{Answer, Call, Wire};

/// Requests under way at once; what falls due beyond is counted as not sent.
pub const IN_FLIGHT_MAX: usize = 4_096;
/// Requests that one load remembers: some 150 bytes each.
pub const OPERATIONS_MAX: u64 = 5_000_000;
/// A good client's repetitions: how long it insists, and its pauses.
const RETRY_PATIENCE: Duration = Duration::from_secs(30);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Settings {
    /// `http://` or `https://host:port` of a router.
    pub router: String,
    /// What it is shown, and how it is known.
    pub credentials: Credentials,
    /// Requests a second.
    pub rate: u32,
    /// It ends by itself after this long.
    pub duration: Duration,
    pub wallets: usize,
    /// Customers that there may be in the end; what would be one more creation is a read.
    pub customers_max: usize,
    /// What the first customers are called; any names if there are none.
    pub users: Vec<String>,
    /// Of another load: this one shares them, and creates none of its own.
    pub customers: Option<Vec<Customer>>,
    pub mix: Mix,
    pub cross_percent: Option<u8>,
    pub seed: u64,
    /// Repeat what failed, under the same key.
    pub retry: bool,
    /// Of one attempt.
    pub patience: Duration,
    /// Which wallets are in which cell.
    pub placement: Option<Arc<Placement>>,
    /// With it the wallet of a creation is known even without an answer.
    pub namespace: Option<Uuid>,
}

pub struct Load;

/// A load that runs in the background. Dropped, it stops.
pub struct Running {
    task: JoinSet<Outcome>,
    stop: watch::Sender<bool>,
    began: Instant,
    phases: Vec<Phase>,
    /// Those that had wallets when it began.
    pub customers: Vec<Customer>,
}

impl Load {
    /// Creates and funds the wallets, then starts the clock.
    pub async fn start(settings: Settings) -> Result<Running> {
        let wire = Arc::new(Wire::new(&settings.router, &settings.credentials, settings.patience)?);
        let run = format!("load-{}", Uuid::new_v4().simple());
        let opened = match settings.customers.clone() {
            Some(customers) => Opened { customers, operations: vec![], next_number: 0 },
            None => {
                let named = |position| format!("{run}-{position}");
                let users = settings.users.iter().cloned().chain((settings.users.len()..).map(named));
                open(&wire, &run, users.take(settings.wallets)).await?
            }
        };
        let mut customers = opened.customers;
        for customer in &mut customers {
            customer.cell = customer.wallet.and_then(|wallet| cell_of(&settings, wallet));
        }
        let planner = Planner::new(settings.mix, settings.cross_percent, settings.seed, &customers);
        let (stop, stopped) = watch::channel(false);
        let (began, shared) = (Instant::now(), customers.clone());
        let generator = Generator {
            wallets: customers.len(),
            outcome: Outcome {
                run,
                began_at: control_api::now_rfc3339(),
                customers,
                setup: opened.operations,
                ..Outcome::default()
            },
            next_number: opened.next_number,
            settings,
            wire,
            planner,
            began,
            flights: JoinSet::new(),
            late: Latencies::default(),
        };
        let mut task = JoinSet::new();
        task.spawn(generator.run(stopped));
        Ok(Running { task, stop, began, phases: vec![], customers: shared })
    }
}

fn cell_of(settings: &Settings, wallet: WalletId) -> Option<topology::CellId> {
    let placement = settings.placement.as_ref()?;
    placement.cell(placement.cell_of(wallet)).map(|cell| cell.id.clone())
}

impl Running {
    /// From now on requests belong to the phase `name`. Those before the first mark belong to none.
    pub fn mark(&mut self, name: &'static str) {
        self.phases.push(Phase { name, begin_us: micros_since(self.began) });
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sends nothing more, waits for what is under way, and tells what happened.
    pub async fn finish(self) -> Result<Outcome> {
        self.stop.send_replace(true);
        self.until_end().await
    }

    /// Waits for the end of the load's duration.
    pub async fn until_end(mut self) -> Result<Outcome> {
        let outcome = self.task.join_next().await.context("a load has one task")?;
        Ok(Outcome { phases: self.phases, ..outcome.context("the load broke")? })
    }
}

struct Generator {
    settings: Settings,
    wire: Arc<Wire>,
    planner: Planner,
    began: Instant,
    /// Customers that had wallets when the clock started.
    wallets: usize,
    outcome: Outcome,
    next_number: u64,
    flights: JoinSet<Landed>,
    /// How late the load itself was in sending.
    late: Latencies,
}

/// A request that is over.
struct Landed {
    operation: Operation,
    created: Option<WalletId>,
}

impl Generator {
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Outcome {
        let mut sent: u64 = 0;
        loop {
            let due = self.due(sent);
            if due >= self.settings.duration {
                break;
            }
            tokio::select! {
                biased;
                // An error: the handle is gone, and the outcome is not needed.
                _ = stop.wait_for(|stop| *stop) => break,
                () = sleep_until(self.began + due) => {
                    while self.due(sent) <= self.began.elapsed() && self.due(sent) < self.settings.duration {
                        self.send(self.due(sent));
                        sent += 1;
                    }
                }
                Some(landed) = self.flights.join_next(), if !self.flights.is_empty() => self.land(landed),
            }
        }
        self.outcome.due = sent;
        self.outcome.lasted_us = micros_since(self.began);
        while let Some(landed) = self.flights.join_next().await {
            self.land(landed);
        }
        self.outcome.operations.sort_unstable_by_key(|operation| operation.number);
        self.outcome.late = self.late.percentiles();
        self.outcome
    }

    /// When the request `number` falls due, from the beginning. Multiplied out, so that no error adds up.
    fn due(&self, number: u64) -> Duration {
        Duration::from_nanos(number.saturating_mul(1_000_000_000) / u64::from(self.settings.rate))
    }

    fn send(&mut self, due: Duration) {
        if self.flights.len() >= IN_FLIGHT_MAX {
            self.outcome.not_sent += 1;
            return;
        }
        self.late.add(micros(self.began.elapsed().saturating_sub(due)));
        let may_create = self.outcome.customers.len() < self.settings.customers_max;
        let intent = self.planner.next(&self.outcome.customers, self.wallets, may_create);
        let number = self.next_number;
        self.next_number += 1;
        let customer = intent.customer.unwrap_or_else(|| self.newcomer(number));
        let operation = Operation {
            number,
            kind: intent.kind,
            customer,
            payee: intent.payee,
            amount: intent.amount,
            due_us: micros(due),
            answered_us: 0,
            attempts: 0,
            first: Reported::Unknown("never_sent".into()),
            last: Reported::Unknown("never_sent".into()),
        };
        let call = self.call(&operation);
        let (wire, began, retry) = (Arc::clone(&self.wire), self.began, self.settings.retry);
        self.flights.spawn(async move { fly(&wire, call, operation, began, retry).await });
    }

    fn newcomer(&mut self, number: u64) -> usize {
        let user = format!("{}-new-{number}", self.outcome.run);
        let named = self.settings.namespace.zip(UserId::parse(user.clone()).ok());
        let wallet = named.map(|(namespace, user)| WalletId::for_user(namespace, &user));
        let cell = wallet.and_then(|wallet| cell_of(&self.settings, wallet));
        self.outcome.customers.push(Customer { user, wallet, cell });
        self.outcome.customers.len() - 1
    }

    fn call(&self, operation: &Operation) -> Call {
        let customers = &self.outcome.customers;
        let key = key(&self.outcome.run, operation.number);
        let wallet = |position: usize| customers[position].wallet.expect("only customers with wallets are asked");
        match operation.kind {
            Kind::Creates => Call::create(&customers[operation.customer].user, key),
            Kind::Deposits => Call::deposit(wallet(operation.customer), operation.amount, key),
            Kind::Withdrawals => Call::withdraw(wallet(operation.customer), operation.amount, key),
            Kind::Transfers => {
                let payee = wallet(operation.payee.expect("a transfer has a payee"));
                Call::transfer(wallet(operation.customer), payee, operation.amount, key)
            }
            Kind::Reads => Call::show(wallet(operation.customer)),
        }
    }

    fn land(&mut self, landed: Result<Landed, tokio::task::JoinError>) {
        let Landed { operation, created } = landed.expect("a request's task neither panics nor is aborted");
        if let Some(wallet) = created.filter(|_| operation.kind == Kind::Creates) {
            let customer = &mut self.outcome.customers[operation.customer];
            customer.wallet = Some(wallet);
            customer.cell = cell_of(&self.settings, wallet);
        }
        self.outcome.operations.push(operation);
    }
}

/// One attempt, or as many as a good client makes.
async fn fly(wire: &Wire, call: Call, mut operation: Operation, began: Instant, retry: bool) -> Landed {
    let Answer { outcome, wallet: mut created } = wire.send(&call).await;
    operation.attempts = 1;
    operation.first = outcome.clone();
    operation.last = outcome;
    let give_up = Instant::now() + RETRY_PATIENCE;
    let mut pause = RETRY_PAUSE_MIN;
    while retry && operation.last.is_error() && Instant::now() < give_up {
        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
        let answer = wire.send(&call).await;
        operation.attempts += 1;
        operation.last = answer.outcome.after(&operation.last);
        created = answer.wallet;
    }
    operation.answered_us = micros_since(began);
    Landed { operation, created }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn micros_since(began: Instant) -> u64 {
    micros(began.elapsed())
}
