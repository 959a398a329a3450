//! A mover, step by step, as `mover` goes: between any two steps others may act, and after any it
//! may die. What comes next is decided by `ledger::moving`, on what it saw, perhaps long ago.

use ledger::moving::{self, Copy, NEWEST_BLOCKS, Step};
use ledger::{Append, Block, Trace};
use store::memory::Tables;
use uuid::Uuid;

use super::space::{AppendId, BlockId, Written};
use super::wallet::{Held, Wallet};
use super::{Mistake, cell};

/// Blocks that a mover reads at once; the store may always return fewer than it is asked for.
const PAGE_BLOCKS: usize = 2;

/// What a mover saw of both cells, perhaps long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    pub source: Option<BlockId>,
    pub copy: Copied,
}

/// [`ledger::moving::Copy`], by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Copied {
    pub prefix: Option<BlockId>,
    pub tombstone: Option<BlockId>,
}

/// Where a mover is; a crash leaves nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    SawTarget(Copied),
    Saw(Seen),
    /// Has read a page, and has written some of its blocks: a bit for each.
    Copying {
        seen: Seen,
        page: AppendId,
        written: u8,
    },
    /// About to append the block by which the wallet leaves.
    Cutting {
        seen: Seen,
        moved: BlockId,
    },
    /// It is appended at the source, and about to be at the target.
    Bringing {
        seen: Seen,
        moved: BlockId,
    },
}

/// What a step of a mover came to.
pub enum Stepped {
    To(Held),
    /// The plan has come to its end.
    Ended,
    /// It says that the two cells have different chains.
    Diverged,
}

impl Wallet {
    fn copy_of(&self, copied: Copied) -> Copy {
        Copy { prefix: self.space.head_of(copied.prefix), tombstone: self.space.head_of(copied.tombstone) }
    }

    fn look_at(&self, tables: &Tables, target: usize) -> Copied {
        let newest: Vec<_> = tables.chain(self.id).rev().take(NEWEST_BLOCKS).cloned().collect();
        let copy = Copy::of(&cell(target), &newest);
        let named = |head: Option<ledger::Head>| {
            let block = head.and_then(|head| newest.iter().find(|block| block.number == head.number));
            block.map(|block| self.space.keep_block(block.clone()))
        };
        Copied { prefix: named(copy.prefix), tombstone: named(copy.tombstone) }
    }

    /// What a mover sends, perhaps long after it looked.
    fn onto(&self, blocks: Vec<Block>) -> Append {
        let append = Append::onto(blocks);
        let guard = append.guard.filter(|_| self.mistake != Mistake::MoversUnguarded);
        Append { guard, ..append }
    }

    fn decide(&self, held: &Held, mover: usize, seen: Seen) -> Result<Phase, Stepped> {
        let (from, to) = self.plans[mover];
        let source = self.space.head_of(seen.source);
        match moving::next(&cell(from), &cell(to), source.as_ref(), &self.copy_of(seen.copy)) {
            Step::Done | Step::Elsewhere { .. } | Step::Absent => Err(Stepped::Ended),
            Step::Diverged { .. } => Err(Stepped::Diverged),
            Step::CutOver { after } => {
                let id = Uuid::from_u128(1_000 + 10 * u128::from(after.number) + mover as u128);
                let moved = moving::moved_block(&after, &cell(to), mover as u64, id, Trace::default(), after.at);
                Ok(Phase::Cutting { seen, moved: self.space.keep_block(moved) })
            }
            Step::Copy { first, last } => {
                let tables = self.space.tables(held.tables[from]);
                let within = tables.chain(self.id).filter(|block| (first..=last).contains(&block.number));
                let blocks: Vec<_> = within.take(PAGE_BLOCKS).cloned().collect();
                if blocks.is_empty() {
                    return Ok(Phase::Idle);
                }
                let prefix = self.space.head_of(seen.copy.prefix);
                if moving::check_links(prefix.as_ref(), &blocks).is_err() {
                    return if self.is_as_seen(held, mover, seen) { Err(Stepped::Diverged) } else { Ok(Phase::Idle) };
                }
                let page = self.space.keep_append(self.onto(blocks));
                Ok(Phase::Copying { seen, page, written: 0 })
            }
        }
    }

    /// A mover looks again before it calls two views of a wallet two chains.
    fn is_as_seen(&self, held: &Held, mover: usize, seen: Seen) -> bool {
        let (from, to) = self.plans[mover];
        let copy = self.look_at(&self.space.tables(held.tables[to]), to);
        (copy.prefix, copy.tombstone) == (seen.copy.prefix, seen.copy.tombstone)
            && self.newest(held, from) == seen.source
    }

    /// What is written at once next of a page: the places of its blocks.
    fn at_once(&self, to: usize, seen: Seen, page: &Append, written: u8) -> Vec<usize> {
        let is_open = |place: &usize| written & (1 << place) == 0;
        let mut first = 0;
        while first < page.blocks.len() {
            let rest = &page.blocks[first..];
            let count =
                if seen.copy.tombstone.is_some() { moving::chunk(rest) } else { moving::at_once(&cell(to), rest) };
            let open: Vec<usize> = (first..first + count).filter(is_open).collect();
            if !open.is_empty() {
                return open;
            }
            first += count;
        }
        Vec::new()
    }

    /// The next write of a page: single blocks in any order, or, above a tombstone, in one guarded
    /// append.
    fn next_write(&self, to: usize, seen: Seen, page: &Append, written: u8, last: bool) -> Option<(Append, u8)> {
        let open = self.at_once(to, seen, page, written);
        let bits = |places: &[usize]| places.iter().fold(0, |bits, place| bits | 1 << place);
        if seen.copy.tombstone.is_some() {
            let blocks = open.iter().map(|place| page.blocks[*place].clone()).collect();
            return Some((self.onto(blocks), bits(&open)));
        }
        let place = if last { *open.last()? } else { *open.first()? };
        Some((Append::next(page.blocks[place].clone()), bits(&[place])))
    }

    fn copy(&self, next: &mut Held, to: usize, (seen, page, written): (Seen, AppendId, u8), last: bool) -> Phase {
        let all = self.space.append(page);
        let Some((append, bits)) = self.next_write(to, seen, &all, written, last) else { return Phase::Idle };
        let written = written | bits;
        match self.write(next, to, self.space.keep_append(append)) {
            Written::Yes(_) if !self.at_once(to, seen, &all, written).is_empty() => {
                Phase::Copying { seen, page, written }
            }
            Written::Yes(_) if seen.copy.tombstone.is_some() => Phase::Idle,
            Written::Yes(_) => {
                let last = all.blocks.last().expect("it is not empty").clone();
                let prefix = Some(self.space.keep_block(last));
                Phase::Saw(Seen { copy: Copied { prefix, ..seen.copy }, ..seen })
            }
            Written::No => Phase::Idle,
        }
    }

    /// Of the blocks that a mover writes at once, the last one lands first.
    pub fn write_last(&self, held: &Held, mover: usize) -> Option<Held> {
        let Phase::Copying { seen, page, written } = held.movers[mover] else { return None };
        let to = self.plans[mover].1;
        if seen.copy.tombstone.is_some() || self.at_once(to, seen, &self.space.append(page), written).len() < 2 {
            return None;
        }
        let mut next = *held;
        next.movers[mover] = self.copy(&mut next, to, (seen, page, written), true);
        Some(next)
    }

    /// One step of a mover: between any two of them others may act.
    pub fn step_mover(&self, held: &Held, mover: usize) -> Stepped {
        let (from, to) = self.plans[mover];
        let mut next = *held;
        next.movers[mover] = match held.movers[mover] {
            Phase::Idle => Phase::SawTarget(self.look_at(&self.space.tables(held.tables[to]), to)),
            Phase::SawTarget(copy) => Phase::Saw(Seen { source: self.newest(held, from), copy }),
            Phase::Saw(seen) => match self.decide(held, mover, seen) {
                Ok(phase) => phase,
                Err(end) => return end,
            },
            Phase::Copying { seen, page, written } => self.copy(&mut next, to, (seen, page, written), false),
            Phase::Cutting { seen, moved } => {
                let block = self.space.block(moved).as_ref().clone();
                match self.write(&mut next, from, self.space.keep_append(self.onto(vec![block]))) {
                    Written::Yes(_) => Phase::Bringing { seen, moved },
                    Written::No => Phase::Idle,
                }
            }
            Phase::Bringing { moved, .. } => {
                let block = self.space.block(moved).as_ref().clone();
                // Written or not, the next look tells.
                self.write(&mut next, to, self.space.keep_append(self.onto(vec![block])));
                Phase::Idle
            }
        };
        Stepped::To(next)
    }

    /// The write that a mover is about to send, and to which cell.
    pub fn write_of(&self, held: &Held, mover: usize) -> Option<(usize, AppendId)> {
        let (from, to) = self.plans[mover];
        let one = |moved| vec![self.space.block(moved).as_ref().clone()];
        let (at, append) = match held.movers[mover] {
            Phase::Copying { seen, page, written } => {
                let all = self.space.append(page);
                (to, self.next_write(to, seen, &all, written, false)?.0)
            }
            Phase::Cutting { moved, .. } => (from, self.onto(one(moved))),
            Phase::Bringing { moved, .. } => (to, self.onto(one(moved))),
            Phase::Idle | Phase::SawTarget(_) | Phase::Saw(_) => return None,
        };
        Some((at, self.space.keep_append(append)))
    }
}
