//! What tables, blocks and writes there are in the model, each kept once and named by a small number; and what the
//! store's own code makes of a write on tables, worked out once for each pair.
//!
//! Decides nothing: `Tables::append` and `Tables::forget` are the ones that the simulator's store runs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use ledger::{Append, Block, Head};
use store::memory::{Mutation, Tables};
use store::{AppendError, Forgotten};

use super::world::wallet;

/// Blocks deleted at once: small, so that others come in between.
const FORGET_BLOCKS: usize = 2;

/// Things by number, and the number of each.
type Numbered<T> = (Vec<Arc<T>>, HashMap<Arc<T>, u32>);

/// Things kept once, by number. Numbers are given in the order of discovery, which two threads may change from run to
/// run, but never within one.
struct Kept<T> {
    things: RwLock<Numbered<T>>,
}

impl<T: Hash + Eq> Kept<T> {
    fn new() -> Self {
        Self { things: RwLock::new((Vec::new(), HashMap::new())) }
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

    fn get(&self, number: u32) -> Arc<T> {
        self.things.read().unwrap_or_else(PoisonError::into_inner).0[number as usize].clone()
    }
}

/// Answers worked out before.
pub struct Known<K, V>(RwLock<HashMap<K, V>>);

impl<K: Hash + Eq + Copy, V: Clone> Known<K, V> {
    pub fn new() -> Self {
        Self(RwLock::new(HashMap::new()))
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
    tables: Kept<Tables>,
    blocks: Kept<Block>,
    appends: Kept<Append>,
    written: Known<(TablesId, AppendId, bool), Written>,
    forgotten: Known<(TablesId, u64), (TablesId, bool)>,
    heads: Known<TablesId, Option<BlockId>>,
}

impl Space {
    pub fn new() -> Self {
        Self {
            tables: Kept::new(),
            blocks: Kept::new(),
            appends: Kept::new(),
            written: Known::new(),
            forgotten: Known::new(),
            heads: Known::new(),
        }
    }

    pub fn keep_tables(&self, tables: Tables) -> TablesId {
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

    /// The newest block in these tables.
    pub fn newest(&self, tables: TablesId) -> Option<BlockId> {
        self.heads.get_or(tables, || self.tables(tables).head(wallet()).map(|block| self.keep_block(block.clone())))
    }

    /// The store's answer to a write. `mutation` is one and the same for each kind of writer in a run.
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
            match after.forget(wallet(), tombstone, FORGET_BLOCKS) {
                Forgotten::Some(_) => (self.keep_tables(after), false),
                Forgotten::All | Forgotten::Refused => (tables, true),
            }
        })
    }
}
