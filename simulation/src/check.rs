//! What must hold: at any moment, and at the end.

pub mod archives;
mod copies;
mod homes;
mod operations;

use std::collections::BTreeMap;

use ledger::flow::{Flow, Leg};
use ledger::{Block, Entry, EntryKind, Timestamp, TransactionId, chain};
use reconciliation::{Adding, Books, Legs, Reported, Running, Sums, Transfers, nothing_of, of_chain};
use store::Owners;
use store::verify::Replayed;
use topology::WalletId;

use super::client::{Log, Operation, What};
use super::losses::Lost;
use super::packing;
use super::report::{Report, Violation, violated};
use super::world::{Cell, World};
pub use copies::longest;

/// As many faults an audit tells word for word.
const FAULTS_NAMED: usize = 20;
/// Cuts at which the books of a run are compared, besides its end.
const CUTS: usize = 3;

/// Copies agree, rows follow from them, no transfer has happened twice, and no money was made or lost.
pub fn at_any_time(world: &World) -> Result<(), Violation> {
    if let Some(violation) = world.broken() {
        return Err(violation);
    }
    let lost = world.losses.now();
    if lost.is_half {
        return Ok(());
    }
    let chains = copies::longest(world)?;
    chains.values().try_for_each(|blocks| check_chain(blocks))?;
    let latest = world.latest_block_time();
    if let Some(block) = chains.values().flatten().find(|block| block.at > latest) {
        return violated(format!("wallet {}: block {} is dated in the future", block.wallet, block.number));
    }
    chains.values().try_for_each(|blocks| operations::check_reversals(blocks))?;
    homes::at_most_one_cell_creates(world)?;
    check_transfers(&chains, &lost)?;
    check_conservation(&chains, &lost)
}

fn check_chain(blocks: &[Block]) -> Result<(), Violation> {
    let (mut head, mut replayed) = (None, Replayed::default());
    let mut ids = BTreeMap::new();
    for block in blocks {
        if let Some(fault) = replayed.take(block).first() {
            return violated(format!("wallet {}: block {}: {fault}", block.wallet, block.number));
        }
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

fn transfers(chains: &BTreeMap<WalletId, Vec<Block>>) -> Transfers {
    let mut transfers = Transfers::default();
    for (wallet, blocks) in chains {
        blocks.iter().flat_map(|block| &block.entries).for_each(|entry| transfers.take(*wallet, entry));
    }
    transfers
}

/// The half of a transfer that a restore has left alone: how much money that made (+) or lost (−).
fn half(transfer: TransactionId, legs: &Legs, lost: &Lost) -> Option<i128> {
    let left = |kind: &EntryKind| matches!(kind, EntryKind::TransferOut { .. });
    let arrived = |kind: &EntryKind| matches!(kind, EntryKind::TransferIn { .. });
    match (legs.sent, legs.received) {
        // It arrived, and what it left by is lost.
        (None, Some((_, _, amount))) if !legs.is_concluded() && lost.has(transfer, left) => Some(amount.minor().into()),
        // Its payer knows that it arrived, and what it arrived by is lost.
        (Some((_, _, amount)), None) if legs.has_arrived_for_payer() && lost.has(transfer, arrived) => {
            Some(-i128::from(amount.minor()))
        }
        _ => None,
    }
}

/// What restores made and lost, by the halves of transfers that are left alone.
fn halves(transfers: &Transfers, lost: &Lost) -> BTreeMap<TransactionId, i128> {
    transfers.open.iter().filter_map(|(id, legs)| Some((*id, half(*id, legs, lost)?))).collect()
}

/// Of what a restore has lost, the other half may be left alone; nothing else is excused.
fn check_transfers(chains: &BTreeMap<WalletId, Vec<Block>>, lost: &Lost) -> Result<(), Violation> {
    let refused = |kind: &EntryKind| matches!(kind, EntryKind::TransferRefused { .. });
    let left = |kind: &EntryKind| matches!(kind, EntryKind::TransferOut { .. });
    for (id, legs) in transfers(chains).open {
        let Some(fault) = legs.fault() else { continue };
        let lacks_refusal = legs.is_returned() && legs.received.is_none() && lost.has(id, refused);
        // Refused by a payee, and what it left by is lost with what it came back by.
        let is_refusal_alone = legs.is_refused() && legs.sent.is_none() && !legs.is_concluded() && lost.has(id, left);
        if half(id, &legs, lost).is_none() && !lacks_refusal && !is_refusal_alone {
            return violated(format!("transfer {id} {fault}"));
        }
    }
    Ok(())
}

/// The equation of all money, but for what a restore has made or lost.
fn check_conservation(chains: &BTreeMap<WalletId, Vec<Block>>, lost: &Lost) -> Result<(), Violation> {
    let mut sums = Sums::default();
    chains.values().flatten().flat_map(|block| &block.entries).for_each(|entry| sums.take(entry));
    sums.balances = chains.values().filter_map(|blocks| blocks.last()).map(|b| b.state.balance.minor()).sum();
    let transfers = transfers(chains);
    let halves = halves(&transfers, lost);
    let travels = transfers.open.iter().filter(|(id, _)| !halves.contains_key(*id));
    sums.in_flight = travels.filter_map(|(_, legs)| legs.in_flight()).map(|amount| i128::from(amount.minor())).sum();
    let by_restores: i128 = halves.values().sum();
    match sums.difference() == by_restores {
        true => Ok(()),
        false => violated(format!("money was made or lost: {sums:?}, {by_restores} of it by restores")),
    }
}

/// The operators' audit says the same of the money: it names each half of a transfer that a restore
/// left alone, and nothing else.
pub fn books(world: &World) -> Result<(), Violation> {
    let mut adding = Adding::default();
    for cell in &world.cells {
        for (wallet, blocks) in cell.store.chains() {
            let Some(head) = blocks.last() else { continue };
            adding.take(&cell.id, of_chain(wallet, head.home == cell.id, &blocks));
        }
    }
    let books = adding.close(String::new());
    let halves = halves(&transfers(&copies::longest(world)?), &world.losses.now());
    let difference: i128 = halves.values().sum();
    let is_named = |transfer: &TransactionId| books.faults.iter().any(|fault| fault.contains(&transfer.to_string()));
    let names_all = halves.len() > FAULTS_NAMED || halves.keys().all(is_named);
    if books.difference == difference && names_all && books.faults.len() == halves.len().min(FAULTS_NAMED + 1) {
        Ok(())
    } else {
        let (says, faults) = (books.difference, books.faults);
        violated(format!("the audit says {says} and {faults:?}, where restores left {halves:?}"))
    }
}

/// The books that follow what is written say the same at any cut as those that are added up from all chains, in whatever
/// order blocks come.
fn running_books(world: &World) -> Result<(), Violation> {
    let chains: Vec<_> = world.cells.iter().map(|cell| (&cell.id, cell.store.chains())).collect();
    let mut blocks: Vec<&Block> = chains.iter().flat_map(|(_, chains)| chains.values().flatten()).collect();
    let mut random = fastrand::Rng::with_seed(blocks.len() as u64);
    random.shuffle(&mut blocks);
    let mut running = Running::default();
    blocks.iter().for_each(|block| running.take(block));
    let mut cuts: Vec<Timestamp> = (0..CUTS).filter_map(|_| random.choice(&blocks)).map(|block| block.at).collect();
    cuts.push(Timestamp::from_micros(i64::MAX));
    cuts.sort();
    for cut in cuts {
        let mut adding = Adding::default();
        for (cell, chains) in &chains {
            for (wallet, blocks) in chains {
                let is_home = blocks.last().is_some_and(|head| head.home == **cell);
                let mut flows = nothing_of(*wallet, is_home);
                blocks.iter().for_each(|block| reconciliation::count(block, cut, &mut flows));
                adding.take(cell, flows);
            }
        }
        let (added, running) = (adding.close(cut.to_string()), running.close(cut));
        let said = |books: &Books| {
            let sums = (books.balances, books.in_flight, books.came_in, books.went_out);
            // What did not arrive goes to where its payee lives: at the cut, or now.
            let mut sent: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
            for pair in books.pairs.iter().filter(|pair| pair.sent + pair.returned + pair.in_flight > 0) {
                let sums = sent.entry(&pair.from).or_default();
                sums.iter_mut().zip([pair.sent, pair.returned, pair.in_flight]).for_each(|(sum, more)| *sum += more);
            }
            let arrived = books.pairs.iter().filter(|pair| pair.received > 0);
            let arrived: Vec<_> = arrived.map(|pair| (&pair.from, &pair.to, pair.received)).collect();
            format!("{sums:?} {} {} {sent:?} {arrived:?}", books.difference, books.faults.len())
        };
        if said(&added) != said(&running) {
            let (running, added) = (said(&running), said(&added));
            return violated(format!("at {cut} the running books say {running}, and the audit {added}"));
        }
    }
    Ok(())
}

/// Nothing in flight; every answer that clients got is true.
pub async fn at_the_end(world: &World, log: &Log) -> Result<Report, Violation> {
    at_any_time(world)?;
    books(world)?;
    running_books(world)?;
    homes::every_bucket_has_a_cell_that_creates(world)?;
    if let Some(stale) = log.stale_reads().first() {
        return violated(format!("a read was stale: {stale}"));
    }
    let chains = copies::longest(world)?;
    for wallet in chains.keys() {
        let mut homes = 0;
        for cell in &world.cells {
            if cell.serves(*wallet).await {
                homes += 1;
                check_owner(cell, *wallet, &chains[wallet]).await?;
            }
        }
        packing::check(world, *wallet, &chains[wallet]).await?;
        if homes != 1 {
            let whereabouts = world.whereabouts(*wallet).await;
            return violated(format!("wallet {wallet} is served by {homes} cells: {whereabouts}"));
        }
    }
    let lost = world.losses.now();
    let operations = log.operations();
    for operation in &operations {
        check_operation(&chains, operation, &lost)?;
    }
    let (calls, faults) = world.calls();
    let [adopted, groups, taken_back, forgotten, settled] = world.moves.counts();
    let transfers = transfers(&chains);
    let reported = |like: fn(&Reported) -> bool| operations.iter().filter(|one| like(&one.reported)).count();
    Ok(Report {
        blocks: chains.values().map(Vec::len).sum(),
        entries: chains.values().flatten().map(|block| block.entries.len()).sum(),
        acknowledged: reported(Reported::is_done),
        refused: reported(|one| matches!(one, Reported::Refused(_) | Reported::Unknown(_))),
        unknown: log.unanswered(),
        transfers: count(transfers.complete),
        returned: count(transfers.returned),
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
        settled,
        packed: world.cells[0].store.dropped(),
        restores: lost.restores,
        lost: lost.count(),
        archived: 0,
    })
}

/// The cell that serves a wallet can read all personal data of it.
async fn check_owner(cell: &Cell, wallet: WalletId, blocks: &[Block]) -> Result<(), Violation> {
    let Ok(Some(owner)) = cell.store.owner(wallet).await else {
        return violated(format!("wallet {wallet} has no owner in {}, which serves it", cell.id));
    };
    match blocks.iter().find(|block| owner.key.open(block).is_err()) {
        None => Ok(()),
        Some(block) => violated(format!("wallet {wallet}: its key does not open block {}", block.number)),
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).expect("a short run")
}

fn entries(chains: &BTreeMap<WalletId, Vec<Block>>, wanted: impl Fn(&EntryKind) -> bool) -> usize {
    chains.values().flatten().flat_map(|block| &block.entries).filter(|entry| wanted(&entry.kind)).count()
}

fn is_move(block: &Block) -> bool {
    matches!(block.entries[..], [Entry { kind: EntryKind::Moved { .. }, .. }])
}

/// An acknowledged operation is in its chain once, a refused one not at all (at most once, if an
/// earlier attempt went unanswered: that one may have been carried out after the later one was
/// refused). What a restore has lost may be there once more, if it was repeated, and not at all.
fn check_operation(
    chains: &BTreeMap<WalletId, Vec<Block>>,
    operation: &Operation,
    lost: &Lost,
) -> Result<(), Violation> {
    let Operation { wallet, what, key, reported } = operation;
    let blocks = chains.get(wallet).map_or(&[][..], Vec::as_slice);
    let entries: Vec<&Entry> =
        blocks.iter().flat_map(|block| &block.entries).filter(|entry| entry.key == Some(*key)).collect();
    let possible = match reported {
        Reported::Done(_) | Reported::Returned if lost.has_key(*wallet, *key) => 0..=1,
        other => other.entries(),
    };
    if !possible.contains(&entries.len()) {
        return violated(format!(
            "{what:?} of {wallet}, answered {reported:?}, is in the chain {} times",
            entries.len()
        ));
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
    let back = Flow::Transfer { id: entry.id, leg: Leg::Returned };
    let came_back = || chains.values().flatten().flat_map(|block| &block.entries).any(|other| other.flow() == back);
    if *reported == Reported::Returned && entry.transfer().is_some() && !lost.has_key(*wallet, *key) && !came_back() {
        return violated(format!("{what:?} of {wallet} was said to have come back, and has not"));
    }
    Ok(())
}
