//! Random chains of some wallets in two cells, and an archive of them in a random order.

use std::collections::BTreeMap;

use fastrand::Rng;
use ledger::decide::expiry;
use ledger::open::OpenTransfers;
use ledger::{
    Block, Entry as LedgerEntry, EntryKind, Money, Owner, Personal, PersonalPart, Timestamp, WalletKey, WalletState,
    chain,
};
use topology::wire::CreditRefusal;
use topology::{CellId, UserId, WalletId};
use uuid::Uuid;

use super::NAMESPACE;
use crate::{Archive, Draft, Entry, Segment};

const BEGIN: i64 = 1_760_000_000_000_000;
/// Times are of the first milliseconds, so that cuts hit between blocks.
pub const SPAN_MICROS: i64 = 2_000;

pub struct World {
    pub chains: BTreeMap<WalletId, Vec<Block>>,
    pub owners: BTreeMap<WalletId, Owner>,
}

pub fn cells() -> [CellId; 2] {
    ["cell-1", "cell-2"].map(|cell| CellId::parse(cell).expect("sound"))
}

pub fn time(rng: &mut Rng) -> Timestamp {
    Timestamp::from_micros(BEGIN + rng.i64(0..SPAN_MICROS))
}

impl World {
    pub fn new(rng: &mut Rng, wallets: usize, most_blocks: usize) -> Self {
        let (mut chains, mut owners) = (BTreeMap::new(), BTreeMap::new());
        for number in 0..wallets {
            let user = UserId::parse(format!("user-{number}")).expect("sound");
            let owner = Owner { user, key: WalletKey::from_bytes([u8::try_from(number).expect("few"); 32]) };
            let chain = chain(rng, &owner, most_blocks);
            owners.insert(chain[0].wallet, owner);
            chains.insert(chain[0].wallet, chain);
        }
        Self { chains, owners }
    }

    /// All blocks, those of a wallet nearly in order, and some of them twice.
    pub fn shuffled(&self, rng: &mut Rng) -> Vec<Block> {
        let mut lines: Vec<Vec<Block>> = self.chains.values().cloned().collect();
        for line in &mut lines {
            line.chunks_mut(5).for_each(|blocks| rng.shuffle(blocks));
            for _ in 0..rng.usize(0..3) {
                let block = line[rng.usize(0..line.len())].clone();
                line.insert(rng.usize(0..=line.len()), block);
            }
        }
        let mut all = Vec::new();
        while !lines.is_empty() {
            let line = rng.usize(0..lines.len());
            match lines[line].is_empty() {
                true => drop(lines.remove(line)),
                false => all.push(lines[line].remove(0)),
            }
        }
        all
    }

    pub async fn archive(&self, rng: &mut Rng, archive: &Archive) {
        for (wallet, owner) in &self.owners {
            archive.put_owner(*wallet, owner).await.expect("it answers");
        }
        let blocks = self.shuffled(rng);
        append(rng, archive, None, blocks).await;
    }
}

/// Appends blocks in segments of random length; the last entry.
pub async fn append(
    rng: &mut Rng,
    archive: &Archive,
    mut last: Option<Entry>,
    mut blocks: Vec<Block>,
) -> Option<Entry> {
    while !blocks.is_empty() {
        let rest = blocks.split_off(rng.usize(1..=blocks.len().min(9)));
        let draft = Draft { segment: Segment { blocks }, at: Timestamp::from_micros(BEGIN), position: "p".to_owned() };
        last = archive.append(last.as_ref(), &draft).await.expect("it answers");
        blocks = rest;
    }
    last
}

fn chain(rng: &mut Rng, owner: &Owner, most_blocks: usize) -> Vec<Block> {
    let wallet = WalletId::for_user(NAMESPACE, &owner.user);
    let opened = LedgerEntry::new(Uuid::from_u128(rng.u128(..)), EntryKind::Opened, Money::ZERO, Money::ZERO);
    let part = PersonalPart { user: Some(owner.user.clone()), entries: vec![Personal::default()] };
    let home = cells()[rng.usize(0..2)].clone();
    let mut blocks = vec![chain::open(wallet, home, time(rng), opened, owner.key.seal(wallet, 0, &part))];
    let mut open = OpenTransfers::default();
    for _ in 0..rng.usize(0..most_blocks) {
        let last = blocks.last().expect("block 0");
        let at = Timestamp::from_micros(last.at.micros() + rng.i64(0..100));
        let block = next(rng, last, &mut open, at);
        blocks.push(block);
    }
    blocks
}

fn next(rng: &mut Rng, last: &Block, open: &mut OpenTransfers, at: Timestamp) -> Block {
    let (mut state, mut entries, number) = (last.state.clone(), Vec::new(), last.number + 1);
    while let Some((kind, amount)) = expiry(&state, at) {
        apply(rng, &mut state, &mut entries, (kind, amount), (number, at));
    }
    if let Some(ended) = open.iter().next().filter(|_| rng.bool()) {
        let (transfer, reason) = (ended.transfer, CreditRefusal::WalletClosed);
        let ends = match rng.bool() {
            true => (EntryKind::TransferSettled { transfer }, Money::ZERO),
            false => (EntryKind::TransferReturned { transfer, reason }, ended.amount),
        };
        apply(rng, &mut state, &mut entries, ends, (number, at));
    }
    if rng.u8(0..6) == 0 {
        let to = cells().into_iter().find(|cell| *cell != last.home).expect("two cells");
        let moved = EntryKind::Moved { from: last.home.clone(), to, epoch: number };
        apply(rng, &mut state, &mut entries, (moved, Money::ZERO), (number, at));
    }
    while entries.is_empty() {
        let amount = Money::from_minor(rng.u64(1..1_000));
        let kind = match rng.u8(0..5) {
            0 => EntryKind::Withdrawal,
            1 => EntryKind::TransferOut { to: WalletId::from_uuid(Uuid::from_u128(9)), reverses: None },
            2 => EntryKind::HoldPlaced { expires_at: at.plus_micros(rng.i64(1..300)) },
            _ => EntryKind::Deposit,
        };
        apply(rng, &mut state, &mut entries, (kind, amount), (number, at));
    }
    state.open_since = open.since_after(number, &entries);
    let block = chain::next(&last.head(), state, entries, at);
    open.take(&block);
    block
}

fn apply(
    rng: &mut Rng,
    state: &mut WalletState,
    entries: &mut Vec<LedgerEntry>,
    (kind, amount): (EntryKind, Money),
    place: (u64, Timestamp),
) {
    let id = Uuid::from_u128(rng.u128(..));
    if state.apply(id, &kind, amount, place).is_ok() {
        entries.push(LedgerEntry::new(id, kind, amount, state.balance));
    }
}
