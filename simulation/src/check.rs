//! What must hold: at any moment, and at the end.

mod copies;
mod homes;
mod operations;

use std::collections::BTreeMap;

use ledger::{Block, Entry, EntryKind, External, Money, Route, TransactionId, chain};
use topology::WalletId;

use super::client::{Log, Operation, Told, What};
use super::world::World;
use super::{Report, Violation};

fn violated<T>(words: String) -> Result<T, Violation> {
    Err(Violation(words))
}

/// Copies agree, rows follow from them, no transfer has happened twice, and no money was made or lost.
pub fn at_any_time(world: &World) -> Result<(), Violation> {
    if let Some(violation) = world.broken() {
        return Err(violation);
    }
    let chains = copies::longest(world)?;
    chains.values().try_for_each(|blocks| check_chain(blocks))?;
    let latest = world.latest_block_time();
    if let Some(block) = chains.values().flatten().find(|block| block.at > latest) {
        return violated(format!("wallet {}: block {} is dated in the future", block.wallet, block.number));
    }
    chains.values().try_for_each(|blocks| operations::check_reversals(blocks))?;
    homes::at_most_one_cell_creates(world)?;
    check_transfers(&chains)?;
    check_conservation(&chains)
}

fn check_chain(blocks: &[Block]) -> Result<(), Violation> {
    let mut head = None;
    let mut ids = BTreeMap::new();
    for block in blocks {
        chain::verify(head.as_ref(), block).map_err(|fault| Violation(format!("wallet {}: {fault}", block.wallet)))?;
        head = Some(block.head());
        for entry in &block.entries {
            if ids.insert(entry.id, block.number).is_some() {
                return violated(format!("wallet {}: entry {} is there twice", block.wallet, entry.id));
            }
        }
    }
    Ok(())
}

/// Where each transfer stands, by all the entries about it in all chains.
#[derive(Default)]
struct Story {
    out: Vec<(Money, Route)>,
    received: Vec<Money>,
    refused: usize,
    settled: usize,
    returned: Vec<Money>,
}

fn stories(chains: &BTreeMap<WalletId, Vec<Block>>) -> BTreeMap<TransactionId, Story> {
    let mut stories: BTreeMap<TransactionId, Story> = BTreeMap::new();
    for entry in chains.values().flatten().flat_map(|block| &block.entries) {
        let Some(transfer) = entry.transfer() else { continue };
        let story = stories.entry(transfer).or_default();
        match &entry.kind {
            EntryKind::TransferOut { route, .. } => story.out.push((entry.amount, *route)),
            EntryKind::TransferIn { .. } => story.received.push(entry.amount),
            EntryKind::TransferRefused { .. } => story.refused += 1,
            EntryKind::TransferSettled { .. } => story.settled += 1,
            EntryKind::TransferReturned { .. } => story.returned.push(entry.amount),
            _ => {}
        }
    }
    stories
}

fn check_transfers(chains: &BTreeMap<WalletId, Vec<Block>>) -> Result<(), Violation> {
    for (transfer, story) in stories(chains) {
        let wrong = |what: &str| violated(format!("transfer {transfer} {what}"));
        let [(amount, route)] = story.out[..] else { return wrong("did not leave exactly once") };
        if story.received.len() + story.refused > 1 {
            return wrong("was answered more than once");
        }
        if story.settled + story.returned.len() > 1 {
            return wrong("was concluded more than once");
        }
        if story.received.iter().chain(&story.returned).any(|other| *other != amount) {
            return wrong("changed its amount");
        }
        if story.settled > 0 && story.received.is_empty() {
            return wrong("was settled but never received: money lost");
        }
        if !story.returned.is_empty() && story.refused == 0 {
            return wrong("came back without having been refused");
        }
        if route == Route::Inside && story.received.len() != 1 {
            return wrong("left a wallet of its own cell without arriving");
        }
    }
    Ok(())
}

/// Σ balances + Σ in flight = Σ deposits − Σ withdrawals.
fn check_conservation(chains: &BTreeMap<WalletId, Vec<Block>>) -> Result<(), Violation> {
    let balances: u64 = chains.values().filter_map(|blocks| blocks.last()).map(|b| b.state.balance.minor()).sum();
    let in_flight: u64 = stories(chains)
        .values()
        .filter(|story| story.received.is_empty() && story.returned.is_empty())
        .flat_map(|story| &story.out)
        .map(|(amount, _)| amount.minor())
        .sum();
    let sum = |wanted: External| -> u64 {
        let entries = chains.values().flatten().flat_map(|block| &block.entries);
        entries.filter(|entry| entry.kind.external() == Some(wanted)).map(|entry| entry.amount.minor()).sum()
    };
    let (deposited, withdrawn) = (sum(External::In), sum(External::Out));
    if balances + in_flight + withdrawn == deposited {
        Ok(())
    } else {
        violated(format!("{balances} + {in_flight} in flight ≠ {deposited} − {withdrawn}"))
    }
}

/// Nothing in flight; everything that clients were told is so.
pub async fn at_the_end(world: &World, log: &Log) -> Result<Report, Violation> {
    at_any_time(world)?;
    homes::every_bucket_has_a_cell_that_creates(world)?;
    if let Some(stale) = log.stale_reads().first() {
        return violated(format!("a read was stale: {stale}"));
    }
    let chains = copies::longest(world)?;
    for wallet in chains.keys() {
        let mut homes = 0;
        for cell in &world.cells {
            homes += usize::from(cell.serves(*wallet).await);
        }
        if homes != 1 {
            let whereabouts = world.whereabouts(*wallet).await;
            return violated(format!("wallet {wallet} is served by {homes} cells: {whereabouts}"));
        }
    }
    let operations = log.operations();
    for operation in &operations {
        check_operation(&chains, operation)?;
    }
    let (calls, faults) = world.calls();
    let [adopted, groups, taken_back, forgotten] = world.moves.counts();
    let stories = stories(&chains);
    let told = |wanted: fn(&Told) -> bool| operations.iter().filter(|operation| wanted(&operation.told)).count();
    Ok(Report {
        blocks: chains.values().map(Vec::len).sum(),
        entries: chains.values().flatten().map(|block| block.entries.len()).sum(),
        acknowledged: told(|told| *told == Told::Done),
        refused: told(|told| matches!(told, Told::Refused { .. })),
        unknown: log.unanswered(),
        transfers_across: stories.values().filter(|story| story.out.iter().any(|(_, r)| *r == Route::Across)).count(),
        returned: stories.values().filter(|story| !story.returned.is_empty()).count(),
        holds: [
            entries(&chains, |kind| matches!(kind, EntryKind::HoldPlaced { .. })),
            entries(&chains, |kind| matches!(kind, EntryKind::HoldExpired { .. })),
        ],
        reversals: entries(&chains, |kind| kind.reverses().is_some()),
        batches: entries(&chains, |kind| matches!(kind, EntryKind::Batch { .. })),
        calls,
        faults,
        moves: chains.values().flatten().filter(|block| is_move(block)).count(),
        adopted,
        groups,
        taken_back,
        forgotten,
    })
}

fn entries(chains: &BTreeMap<WalletId, Vec<Block>>, wanted: impl Fn(&EntryKind) -> bool) -> usize {
    chains.values().flatten().flat_map(|block| &block.entries).filter(|entry| wanted(&entry.kind)).count()
}

fn is_move(block: &Block) -> bool {
    matches!(block.entries[..], [Entry { kind: EntryKind::Moved { .. }, .. }])
}

/// An acknowledged operation is in its chain once, a refused one not at all (at most once, if an earlier attempt went
/// unanswered: that one may have been carried out after the later one was refused).
fn check_operation(chains: &BTreeMap<WalletId, Vec<Block>>, operation: &Operation) -> Result<(), Violation> {
    let Operation { wallet, what, key, told } = operation;
    let blocks = chains.get(wallet).map_or(&[][..], Vec::as_slice);
    let entries: Vec<&Entry> =
        blocks.iter().flat_map(|block| &block.entries).filter(|entry| entry.key == Some(*key)).collect();
    let possible = match told {
        Told::Done | Told::Returned => 1..=1,
        Told::Refused { sure: true } => 0..=0,
        Told::Refused { sure: false } => 0..=1,
    };
    if !possible.contains(&entries.len()) {
        return violated(format!("{what:?} of {wallet}, told {told:?}, is in the chain {} times", entries.len()));
    }
    let Some(entry) = entries.first() else { return Ok(()) };
    let block = || blocks.iter().find(|block| block.entry(entry.id).is_some());
    let as_asked = match (*what, &entry.kind) {
        (What::Create, EntryKind::Opened) => true,
        (What::Deposit(amount), EntryKind::Deposit) | (What::Withdraw(amount), EntryKind::Withdrawal) => {
            entry.amount == amount
        }
        (What::Transfer(wanted, amount), EntryKind::TransferOut { to, reverses: None, .. }) => {
            *to == wanted && entry.amount == amount
        }
        (What::Hold(amount), EntryKind::HoldPlaced { .. }) => entry.amount == amount,
        (What::Capture(wanted, amount), EntryKind::HoldCaptured { hold }) => {
            *hold == wanted && amount.is_none_or(|amount| entry.amount == amount)
        }
        (What::Void(wanted), EntryKind::HoldVoided { hold }) => *hold == wanted,
        (What::Reverse(wanted), kind) => kind.reverses() == Some(wanted),
        (What::Batch(batch), EntryKind::Batch { outcomes }) => {
            block().is_some_and(|block| operations::is_as_asked(batch, block, entry.id, outcomes))
        }
        // The whole is put on record before the first payment leaves.
        (What::Payments(_), EntryKind::Batch { outcomes }) => outcomes.is_empty(),
        _ => false,
    };
    if !as_asked {
        return violated(format!("{what:?} of {wallet} is in the chain as {entry:?}"));
    }
    let transfer = stories(chains).remove(&entry.id);
    match (told, transfer) {
        (Told::Returned, Some(story)) if story.returned.is_empty() => {
            violated(format!("{what:?} of {wallet} was said to have come back, and has not"))
        }
        _ => Ok(()),
    }
}
