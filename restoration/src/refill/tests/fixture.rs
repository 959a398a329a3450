//! A cell without its tables, its archive, and another cell.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use archive::{Draft, Entry as LogEntry, Segment};
use ledger::{Block, Entry, EntryKind, Key, Money, Owner, Timestamp, WalletKey, chain};
use mover::Side;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use store::Genesis;
use store::memory::MemoryStore;
use topology::placement::{BucketRun, PlacementUpdate};
use topology::{CellEntry, CellId, CellIndex, CellState, Placement, UserId};
use uuid::Uuid;

use super::super::*;

pub type Chains = BTreeMap<WalletId, Vec<Block>>;

const BEGAN: i64 = 1_760_000_000_000_000;
/// Blocks of a segment, at most.
const SEGMENT_BLOCKS: usize = 40;
const PACK_BLOCKS: u64 = 64;
/// A block comes at most about so many places after its own in the log.
const DISORDER: usize = 60;

pub fn cell(number: u16) -> CellId {
    CellId::parse(format!("cell-{number}")).expect("sound")
}

/// The upper half of the wallets belongs to the second cell.
pub fn wallet(number: u32) -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(u128::from(number) << 96))
}

pub fn owner(wallet: WalletId) -> Owner {
    Owner { user: UserId::parse(format!("user-{wallet}")).expect("sound"), key: WalletKey::from_bytes([7; 32]) }
}

fn next(before: &Block, amount: u64) -> Block {
    let mut state = before.state.clone();
    state.balance = state.balance.checked_add(Money::from_minor(amount)).expect("small");
    let id = Uuid::from_u128(u128::from(before.number) + 2);
    let key = Key { key: *Uuid::from_u128(u128::from(before.number)).as_bytes(), request: [1; 16] };
    let entry =
        Entry { key: Some(key), ..Entry::new(id, EntryKind::Deposit, Money::from_minor(amount), state.balance) };
    chain::next(&before.head(), state, vec![entry], before.at.plus_micros(1_000))
}

pub fn deposit(before: &Block) -> Block {
    next(before, 1)
}

/// Another block in place of the one after `before`.
pub fn fork(before: &Block) -> Block {
    next(before, 2)
}

pub fn a_chain(wallet: WalletId, length: usize) -> Vec<Block> {
    let opened = Entry::new(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
    let mut blocks = vec![chain::open(wallet, cell(1), Timestamp::from_micros(BEGAN), opened, None)];
    while blocks.len() < length {
        blocks.push(deposit(&blocks[blocks.len() - 1]));
    }
    blocks
}

pub struct World {
    pub random: fastrand::Rng,
    pub store: MemoryStore,
    pub others: Vec<Side<MemoryStore>>,
    pub archive: Archive,
    /// Whether blocks are archived out of order, and some twice.
    pub shuffles: bool,
    pub bytes_max: Option<usize>,
    objects: Arc<InMemory>,
    placement: Placement,
    log: Vec<(LogEntry, Vec<Block>)>,
    taken: Vec<(Path, Vec<u8>)>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let entry = |index: u16| CellEntry {
            index: CellIndex(index),
            id: cell(index + 1),
            state: CellState::Active,
            weight: 1,
            instances: vec![],
        };
        let run = |first, last, cell| BucketRun { first, last, cell: CellIndex(cell) };
        let buckets = vec![run(0, 0x7fff, 0), run(0x8000, 0xffff, 1)];
        let cells = vec![entry(0), entry(1)];
        let update =
            PlacementUpdate { version: 1, base: None, intended: false, cells, buckets, pins: vec![], avoided: vec![] };
        let objects = Arc::new(InMemory::new());
        Self {
            random: fastrand::Rng::with_seed(seed),
            store: MemoryStore::new(Genesis::of([])),
            others: vec![Side { cell: cell(2), store: MemoryStore::new(Genesis::of([])) }],
            archive: Archive::new(objects.clone(), cell(1)),
            shuffles: true,
            bytes_max: None,
            objects,
            placement: Placement::from_full(&update).expect("sound"),
            log: vec![],
            taken: vec![],
        }
    }

    /// Chains of the cell that is restored.
    pub fn chains(&mut self, wallets: Range<u32>, lengths: Range<usize>) -> Chains {
        let count = self.random.u32(wallets);
        (0..count).map(|number| (wallet(number), a_chain(wallet(number), self.random.usize(lengths.clone())))).collect()
    }

    /// The number of segments.
    pub async fn archive_all(&mut self, chains: &Chains) -> u64 {
        let mut blocks: Vec<(usize, &Block)> = Vec::new();
        for chain in chains.values() {
            // Chains begin and grow side by side.
            let (start, step) = (self.random.usize(0..400), self.random.usize(1..20));
            for block in chain {
                let disorder = if self.shuffles { self.random.usize(0..DISORDER) } else { 0 };
                blocks.push((start + block.number as usize * step + disorder, block));
                if self.shuffles && self.random.u32(0..20) == 0 {
                    blocks.push((start + block.number as usize * step + self.random.usize(0..500), block));
                }
            }
        }
        blocks.sort_by_key(|(place, _)| *place);
        let mut rest = &blocks[..];
        while !rest.is_empty() {
            let (some, after) = rest.split_at(self.random.usize(1..=SEGMENT_BLOCKS).min(rest.len()));
            self.append(&some.iter().map(|(_, block)| (*block).clone()).collect::<Vec<_>>()).await;
            rest = after;
        }
        for wallet in chains.keys() {
            self.archive.put_owner(*wallet, &owner(*wallet)).await.expect("put");
        }
        self.log.len() as u64
    }

    pub async fn append(&mut self, blocks: &[Block]) {
        let draft = Draft { segment: Segment { blocks: blocks.to_vec() }, at: blocks[0].at, position: String::new() };
        let last = self.log.last().map(|(entry, _)| entry);
        let entry = self.archive.append(last, &draft).await.expect("it answers").expect("nothing else writes");
        self.log.push((entry, blocks.to_vec()));
    }

    /// Puts the beginning of each long chain into packs; what is left for the log. As if the wallets had moved here
    /// after that.
    pub async fn pack(&mut self, chains: &Chains) -> Chains {
        self.archive = self.archive.clone().with_packs_of(PACK_BLOCKS);
        self.store = self.store.with_packs(self.archive.clone());
        let mut rest = chains.clone();
        for blocks in rest.values_mut() {
            let packed = self.random.usize(0..=blocks.len() / PACK_BLOCKS as usize) * PACK_BLOCKS as usize;
            for pack in blocks[..packed].chunks(PACK_BLOCKS as usize) {
                self.archive.put_pack(pack).await.expect("put");
            }
            if packed > 0 && packed < blocks.len() {
                drop(blocks.drain(1..packed));
            }
        }
        rest
    }

    /// The blocks that are in no other segment.
    pub async fn damage(&mut self, number: u64, how: u64) -> BTreeSet<(WalletId, u64)> {
        let place = |block: &Block| (block.wallet, block.number);
        let others = self.log.iter().filter(|(entry, _)| entry.number != number).flat_map(|(_, blocks)| blocks);
        let kept: BTreeSet<_> = others.map(place).collect();
        let (entry, blocks) = self.log[number as usize - 1].clone();
        let path = match how {
            0 | 1 => format!("cell-1/segments/{}", entry.segment),
            _ => format!("cell-1/log/{number:020}"),
        };
        let path = Path::from(path);
        let bytes = self.objects.get(&path).await.expect("there").bytes().await.expect("read").to_vec();
        match how {
            0 | 2 => self.objects.delete(&path).await.expect("deleted"),
            _ => drop(self.objects.put(&path, bytes[..bytes.len() - 1].to_vec().into()).await.expect("changed")),
        }
        self.taken.push((path, bytes));
        blocks.iter().map(place).filter(|place| !kept.contains(place)).collect()
    }

    pub async fn repair(&mut self) {
        for (path, bytes) in std::mem::take(&mut self.taken) {
            self.objects.put(&path, bytes.into()).await.expect("put");
        }
    }

    pub async fn refill(&self, restore: &str) -> Result<Refilled> {
        self.refill_through(&self.store, restore, false).await
    }

    pub async fn refill_through(&self, store: &MemoryStore, restore: &str, in_place: bool) -> Result<Refilled> {
        self.refill_into(store, &restoring(restore, in_place, false)).await
    }

    pub async fn refill_as(&self, restoring: &Restoring) -> Result<Refilled> {
        self.refill_into(&self.store, restoring).await
    }

    async fn refill_into(&self, store: &MemoryStore, restoring: &Restoring) -> Result<Refilled> {
        let clock = || Timestamp::from_micros(BEGAN * 2);
        let around = self.around(store, &clock);
        let mut refill = Refill::resume(self.archive.clone(), store, restoring).await?;
        refill.ahead.bytes_max = self.bytes_max;
        while !refill.report().done {
            refill.run(&around, Instant::now()).await?;
        }
        Ok(refill.report().clone())
    }

    /// As a process that ends afterwards.
    pub async fn follow(&self, deadline: Instant) -> Result<bool> {
        let clock = || Timestamp::from_micros(BEGAN * 2);
        let around = Around { others: &[], ..self.around(&self.store, &clock) };
        let restoring = restoring("first", false, true);
        let mut refill = Refill::resume(self.archive.clone(), &self.store, &restoring).await?;
        refill.ahead.bytes_max = self.bytes_max;
        refill.follow(&around, deadline).await
    }

    fn around<'a>(
        &'a self,
        store: &'a MemoryStore,
        clock: &'a (dyn Fn() -> Timestamp + Send + Sync),
    ) -> Around<'a, MemoryStore> {
        let entry = &self.placement.cells()[0];
        Around { placement: &self.placement, entry, store, others: &self.others, clock }
    }
}

/// A restore that began at `since`.
pub fn restoring(since: &str, in_place: bool, mirror: bool) -> Restoring {
    Restoring {
        done: false,
        again: false,
        incomplete: false,
        mirror,
        in_place,
        since: since.to_owned(),
        actor: String::new(),
        reason: String::new(),
    }
}
