//! The auditor: reads every chain of every cell straight from the tables, wallet by wallet, and
//! holds them against the rules of the ledger and against the answers that clients got. Trusts no
//! process but the databases, and changes nothing.
//!
//! What it keeps is bounded by the number of wallets, of transfers still open and of remembered requests; never by the
//! length of a chain.

pub mod branches;
mod copies;
mod halves;
mod journal;

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use ledger::Block;
use load_generator::outcome::Outcome;
use reconciliation::{Sums, Transfers};
use serde::Serialize;
use store::Chains;
use store::dynamodb::DynamoStore;
use topology::{CellId, WalletId};

use crate::check::Check;
use crate::losses::LostOperation;
use crate::victims::Victims;
use copies::Copies;
use halves::Halves;
use journal::Journal;

/// Pages of one listing, of up to 1 MB each.
const PAGES_MAX: usize = 10_000;
/// Faults kept word for word of each kind; the others are counted.
const FAULTS_KEPT: usize = 5;

/// The tables of one cell.
pub struct Tables<S = DynamoStore> {
    pub cell: CellId,
    pub store: S,
}

/// What an audit found wrong of one kind.
#[derive(Debug, Default)]
pub struct Faults {
    count: u64,
    kept: Vec<String>,
}

impl Faults {
    pub fn add(&mut self, what: impl Into<String>) {
        self.count += 1;
        if self.kept.len() < FAULTS_KEPT {
            self.kept.push(what.into());
        }
    }

    /// A check that passes if there are none.
    pub fn check(self, name: &str, sound: String) -> Check {
        match self.count {
            0 => Check::books(name, true, sound),
            count => Check::books(name, false, format!("{count} faults: {}", self.kept.join("; "))),
        }
    }
}

/// What an audit adds up. Sums in minor units.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Totals {
    pub wallets: u64,
    pub moved_wallets: u64,
    pub blocks: u64,
    pub entries: u64,
    pub deposits: u64,
    pub withdrawals: u64,
    pub balances: u64,
    pub in_flight: u64,
}

pub struct Audit {
    pub totals: Totals,
    /// Wallets by their home.
    pub homes: BTreeMap<CellId, u64>,
    /// Acknowledged, and in no chain.
    pub lost: Vec<LostOperation>,
    /// Transfers of which one half was lost.
    pub halves: Halves,
    pub checks: Vec<Check>,
}

/// No client may send money meanwhile, and nothing may be in flight (see [`open_transfers`]). `bereft`: cells that may have
/// lost what they wrote last.
pub async fn audit(tables: &[Tables], outcomes: &[&Outcome], bereft: Option<&Victims>) -> Result<Audit> {
    let mut journal = Journal::new(outcomes);
    let mut places = HashMap::new();
    let (mut transfers, mut totals, mut homes) = (Transfers::default(), Totals::default(), BTreeMap::new());
    let mut sums = Sums::default();
    let (mut broken, mut homeless) = (Faults::default(), Faults::default());
    for (wallet, holders) in wallets(tables).await? {
        let mut copies = Copies::open(wallet, &holders, tables).await.context("the tables do not answer")?;
        match copies.home() {
            Ok(home) => {
                places.insert(wallet, home.clone());
                *homes.entry(home.clone()).or_default() += 1;
            }
            Err(what) => homeless.add(what),
        }
        totals.wallets += 1;
        totals.moved_wallets += u64::from(holders.len() > 1);
        let mut balance = 0;
        while let Some(block) = copies.next(&mut broken).await.context("the tables do not answer")? {
            balance = block.state.balance.minor();
            count(&block, &mut totals);
            for entry in &block.entries {
                journal.entry(wallet, entry);
                transfers.take(wallet, entry);
                sums.take(entry);
            }
        }
        totals.balances += balance;
    }
    totals.in_flight = transfers.in_flight();
    (totals.deposits, totals.withdrawals) = (sums.came_in, sums.went_out);
    (sums.balances, sums.in_flight) = (totals.balances, totals.in_flight.into());
    let mut checks = vec![
        broken.check(
            "every chain is whole, block by block, and every copy of it is its beginning",
            format!("{} blocks of {} wallets, {} of which moved", totals.blocks, totals.wallets, totals.moved_wallets),
        ),
        homeless.check("every wallet has exactly one home", counts(&homes)),
    ];
    let mut halves = Halves::default();
    if let Some(victims) = bereft {
        halves = Halves::of(&transfers, |wallet| places.get(&wallet).is_none_or(|cell| victims.have(cell)));
    }
    checks.push(conserved(&sums, &halves));
    checks.push(complete(&transfers, &halves));
    let (of_answers, lost) = journal.checks(bereft);
    checks.extend(of_answers);
    Ok(Audit { totals, homes, lost, halves, checks })
}

fn counts(homes: &BTreeMap<CellId, u64>) -> String {
    homes.iter().map(|(cell, count)| format!("{cell} {count}")).collect::<Vec<_>>().join(", ")
}

fn count(block: &Block, totals: &mut Totals) {
    totals.blocks += 1;
    totals.entries += block.entries.len() as u64;
}

/// What arrived of transfers without their paying half has been made; nothing else may have been.
fn conserved(sums: &Sums, halves: &Halves) -> Check {
    let &Sums { balances, in_flight, came_in, went_out } = sums;
    let mut text =
        format!("in cents: balances {balances} + in flight {in_flight}, deposits {came_in} - withdrawals {went_out}");
    let made = halves.made();
    if !halves.is_empty() {
        text = format!("{text}; lost with their paying half: {made}; never to arrive: {}", halves.stuck());
    }
    Check::books(
        "balances and money in flight are what was paid in less what was paid out",
        sums.difference() == i128::from(made),
        text,
    )
}

/// Passes if every transfer is complete: none may be in flight when the books are read.
fn complete(transfers: &Transfers, halves: &Halves) -> Check {
    let mut wrong = Faults::default();
    for (transfer, legs) in transfers.open.iter().filter(|(transfer, _)| !halves.have(transfer)) {
        let what = legs.fault().unwrap_or_else(|| format!("is open: {legs:?}"));
        wrong.add(format!("transfer {transfer} {what}"));
    }
    let lost =
        if halves.is_empty() { String::new() } else { format!(", {} of which one half is lost", halves.count()) };
    let sound = format!("{} transfers, none in flight{lost}", transfers.complete);
    wrong.check("every transfer left once and arrived or came back once", sound)
}

/// Every wallet that has a chain anywhere, and in which cells.
async fn wallets(tables: &[Tables]) -> Result<BTreeMap<WalletId, Vec<usize>>> {
    let mut all: BTreeMap<WalletId, Vec<usize>> = BTreeMap::new();
    for (position, tables) in tables.iter().enumerate() {
        for wallet in listed(tables).await? {
            all.entry(wallet).or_default().push(position);
        }
    }
    Ok(all)
}

/// Transfers that are open, as the heads of the wallets that live in each cell say.
pub async fn open_transfers(tables: &[Tables]) -> Result<u64> {
    let mut open = 0;
    for tables in tables {
        for wallet in listed(tables).await? {
            let head = tables.store.head(wallet).await?.filter(|head| head.home == tables.cell);
            open += head.map_or(0, |head| u64::from(head.state.open_count));
        }
    }
    Ok(open)
}

/// Every wallet that has a chain in the cell.
async fn listed(tables: &Tables) -> Result<Vec<WalletId>> {
    let mut all = Vec::new();
    let mut start = None;
    for _ in 0..PAGES_MAX {
        let scan = tables.store.client().scan().table_name(format!("{}-ledger", tables.cell)).index_name("buckets");
        let answer = scan.set_exclusive_start_key(start).send().await.context("the tables do not answer")?;
        for item in answer.items() {
            let wallet = item.get("w").and_then(|value| value.as_s().ok()).and_then(|text| text.parse().ok());
            all.push(wallet.context("a key is no wallet id")?);
        }
        start = answer.last_evaluated_key;
        if start.is_none() {
            return Ok(all);
        }
    }
    bail!("{}: more than {PAGES_MAX} pages of wallets", tables.cell)
}
