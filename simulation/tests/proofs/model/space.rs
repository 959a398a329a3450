//! What tables, blocks and writes of one wallet there are in a model, each kept once and named by a
//! small number; and what the store's own code makes of a write on tables, worked out once for each
//! pair.
//!
//! Decides nothing: `Tables::append` and `Tables::forget` are the ones that the simulator's store
//! runs.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use ledger::{Append, Block, Head};
use store::memory::{Mutation, Tables};
use store::{AppendError, Forgotten};
use topology::WalletId;

/// Blocks deleted at once: small, so that others come in between.
const FORGET_BLOCKS: usize = 2;

/// Of small numbers, as states are made of. Not for what comes from outside.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

type Table<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Things by number, and the number of each.
type Numbered<T> = (Vec<Arc<T>>, Table<Arc<T>, u32>);

/// Things kept once, by number. Numbers are given in the order of discovery, which two threads may
/// change from run to run, but never within one.
struct Kept<T> {
    things: RwLock<Numbered<T>>,
}

impl<T: Hash + Eq> Kept<T> {
    fn new() -> Self {
        Self { things: RwLock::new((Vec::new(), Table::default())) }
    }

    fn number(&self, thing: T) -> u32 {
        if let Some(number) = self.things.read().unwrap_or_else(PoisonError::into_inner).1.get(&thing) {
            return *number;
        }
        let mut things = self.things.write().unwrap_or_else(PoisonError::into_inner);
        let (all, numbers) = &mut *things;
        let next = u32::try_from(all.len()).expect("memory ends before");
        let thing = Arc::new(thing);
        let number = *numbers.entry(thing.clone()).or_insert(next);
        if number == next {
            all.push(thing);
        }
        number
    }

    fn find(&self, is_meant: impl Fn(&T) -> bool) -> Option<u32> {
        let things = self.things.read().unwrap_or_else(PoisonError::into_inner);
        let place = things.0.iter().position(|thing| is_meant(thing))?;
        u32::try_from(place).ok()
    }

    fn get(&self, number: u32) -> Arc<T> {
        self.things.read().unwrap_or_else(PoisonError::into_inner).0[number as usize].clone()
    }
}

/// Answers worked out before.
pub struct Known<K, V>(RwLock<Table<K, V>>);

impl<K: Hash + Eq + Copy, V: Clone> Known<K, V> {
    pub fn new() -> Self {
        Self(RwLock::new(Table::default()))
    }

    pub fn get_or(&self, key: K, work_out: impl FnOnce() -> V) -> V {
        if let Some(value) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return value.clone();
        }
        let value = work_out();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, value.clone());
        value
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TablesId(u32);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockId(u32);
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AppendId(u32);

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Yes(TablesId),
    /// A condition failed.
    No,
}

pub struct Space {
    wallet: WalletId,
    tables: Kept<Tables>,
    blocks: Kept<Block>,
    appends: Kept<Append>,
    written: Known<(TablesId, AppendId, bool), Written>,
    forgotten: Known<(TablesId, u64), (TablesId, bool)>,
    heads: Known<TablesId, Option<BlockId>>,
    chains: Known<BlockId, Arc<Vec<Block>>>,
}

impl Space {
    pub fn new(wallet: WalletId) -> Self {
        Self {
            wallet,
            tables: Kept::new(),
            blocks: Kept::new(),
            appends: Kept::new(),
            written: Known::new(),
            forgotten: Known::new(),
            heads: Known::new(),
            chains: Known::new(),
        }
    }

    pub fn keep_tables(&self, tables: Tables) -> TablesId {
        tables.chain(self.wallet).for_each(|block| {
            self.keep_block(block.clone());
        });
        TablesId(self.tables.number(tables))
    }

    pub fn keep_block(&self, block: Block) -> BlockId {
        BlockId(self.blocks.number(block))
    }

    pub fn keep_append(&self, append: Append) -> AppendId {
        AppendId(self.appends.number(append))
    }

    pub fn tables(&self, id: TablesId) -> Arc<Tables> {
        self.tables.get(id.0)
    }

    pub fn block(&self, id: BlockId) -> Arc<Block> {
        self.blocks.get(id.0)
    }

    pub fn append(&self, id: AppendId) -> Arc<Append> {
        self.appends.get(id.0)
    }

    pub fn head_of(&self, block: Option<BlockId>) -> Option<Head> {
        block.map(|block| self.block(block).head())
    }

    /// The chain up to this block, as far as its blocks name one another.
    pub fn chain(&self, last: BlockId) -> Arc<Vec<Block>> {
        self.chains.get_or(last, || {
            let last = self.block(last);
            let below = self.blocks.find(|block| block.hash == last.previous).map(BlockId);
            let mut chain = below.map_or_else(Vec::new, |below| self.chain(below).to_vec());
            chain.push(last.as_ref().clone());
            Arc::new(chain)
        })
    }

    /// The newest block in these tables.
    pub fn newest(&self, tables: TablesId) -> Option<BlockId> {
        self.heads.get_or(tables, || self.tables(tables).head(self.wallet).map(|block| self.keep_block(block.clone())))
    }

    /// The store's answer to a write. `mutation` is one and the same for each kind of writer in a
    /// run.
    pub fn write(&self, tables: TablesId, append: AppendId, mutation: Mutation) -> Written {
        self.written.get_or((tables, append, mutation == Mutation::None), || {
            let mut after = Tables::clone(&self.tables(tables));
            match after.append(&self.append(append), mutation) {
                Ok(()) => Written::Yes(self.keep_tables(after)),
                Err(AppendError::Conflict(_)) => Written::No,
                Err(other) => unreachable!("tables without faults say yes or no: {other}"),
            }
        })
    }

    /// One step of forgetting; whether it was the last.
    pub fn forget(&self, tables: TablesId, tombstone: u64) -> (TablesId, bool) {
        self.forgotten.get_or((tables, tombstone), || {
            let mut after = Tables::clone(&self.tables(tables));
            match after.forget(self.wallet, tombstone, FORGET_BLOCKS) {
                Forgotten::Some(_) => (self.keep_tables(after), false),
                Forgotten::All | Forgotten::Refused => (tables, true),
            }
        })
    }
}
