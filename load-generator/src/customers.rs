//! The customers of a load: each gets a wallet and a first deposit before the clock starts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ledger::Money;
use reconciliation::Reported;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::mix::Kind;
use crate::operation::{Customer, Operation, key};
use crate::wire::{Call, Wire};

/// Customers that are made ready at once.
const CONCURRENT_MAX: usize = 16;
/// Attempts at one step; a fleet that has just come up may shed at first.
const ATTEMPTS_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
const FIRST_DEPOSIT: Money = Money::from_minor(1_000_000);
/// A creation and a deposit for each.
const STEPS: u64 = 2;

/// Customers with wallets, in order, and the requests that gave them.
pub struct Opened {
    pub customers: Vec<Customer>,
    pub operations: Vec<Operation>,
    /// First number that is still free.
    pub next_number: u64,
}

pub async fn open(wire: &Arc<Wire>, run: &str, users: impl Iterator<Item = String>) -> Result<Opened> {
    let (mut opened, mut count) = (Vec::new(), 0);
    let mut working = JoinSet::new();
    for (position, user) in users.enumerate() {
        count += 1;
        if working.len() == CONCURRENT_MAX {
            opened.extend(working.join_next().await.expect("there are some").context("a task broke")?);
        }
        let (wire, run) = (Arc::clone(wire), run.to_owned());
        working.spawn(async move { open_one(&wire, &run, user, position).await });
    }
    while let Some(done) = working.join_next().await {
        opened.extend(done.context("a task broke")?);
    }
    if opened.len() < count {
        bail!("only {} of {count} wallets could be created and funded: is the fleet healthy?", opened.len());
    }
    opened.sort_by_key(|(position, ..)| *position);
    let operations = opened.iter().flat_map(|(_, _, operations)| operations.clone()).collect();
    let customers = opened.into_iter().map(|(_, customer, _)| customer).collect();
    Ok(Opened { customers, operations, next_number: count as u64 * STEPS })
}

/// `None`: it could not be done.
async fn open_one(wire: &Wire, run: &str, user: String, position: usize) -> Option<(usize, Customer, Vec<Operation>)> {
    let first = position as u64 * STEPS;
    let (created, wallet) = insist(wire, &Call::create(&user, key(run, first))).await?;
    let wallet = wallet?;
    let (funded, _) = insist(wire, &Call::deposit(wallet, FIRST_DEPOSIT, key(run, first + 1))).await?;
    let operation = |number, kind, amount, reported: Reported| Operation {
        number,
        kind,
        customer: position,
        payee: None,
        amount,
        due_us: 0,
        answered_us: 0,
        attempts: 1,
        first: reported.clone(),
        last: reported,
    };
    let operations = vec![
        operation(first, Kind::Creates, Money::ZERO, created),
        operation(first + 1, Kind::Deposits, FIRST_DEPOSIT, funded),
    ];
    Some((position, Customer { user, wallet: Some(wallet), cell: None }, operations))
}

async fn insist(wire: &Wire, call: &Call) -> Option<(Reported, Option<topology::WalletId>)> {
    for _ in 0..ATTEMPTS_MAX {
        let answer = wire.send(call).await;
        if answer.outcome.is_done() {
            return Some((answer.outcome, answer.wallet));
        }
        sleep(PAUSE).await;
    }
    None
}
