//! The purge of what a wallet left behind in a cell, a few blocks at a time.

use ledger::{Append, moving};

use super::mover::Phase;
use super::wallet::{Held, Remembered, Wallet};
use super::{CELLS, Mistake, cell};

/// Whether a mover in this phase writes to its target without a guard: it saw no tombstone there.
fn copies_freely(phase: &Phase) -> bool {
    match phase {
        Phase::Idle | Phase::Cutting { .. } | Phase::Bringing { .. } => false,
        Phase::SawTarget(copied) => copied.tombstone.is_none(),
        Phase::Saw(seen) | Phase::Copying { seen, .. } => seen.copy.tombstone.is_none(),
    }
}

impl Wallet {
    /// Only what the wallet has left, and after a wait that every instance's old head and write is
    /// too old to survive. Movers may have been stopped anywhere, and what they sent may be on its
    /// way.
    pub fn begin_purge(&self, held: &Held, at: usize, remembered: Remembered) -> Option<Held> {
        let tombstone = self.space.block(self.newest(held, at)?);
        let fenced = !remembered.heads || self.mistake == Mistake::NoFence;
        let whole_elsewhere = (0..CELLS).any(|other| other != at && self.served(held, other).is_some());
        let may = self.is_quiet(held, at) && !remembered.writes && whole_elsewhere && fenced;
        if !may || !moving::is_tombstone(&cell(at), &tombstone) {
            return None;
        }
        let purging = Some((u8::try_from(at).expect("few cells"), tombstone.number));
        Some(Held { purging, purges_left: held.purges_left - 1, ..*held })
    }

    pub fn go_on_purging(&self, held: &Held) -> Option<Held> {
        let (at, tombstone) = held.purging?;
        let (after, ended) = self.space.forget(held.tables[usize::from(at)], tombstone);
        let mut next = *held;
        next.tables[usize::from(at)] = after;
        next.purging = held.purging.filter(|_| !ended);
        Some(next)
    }

    /// No mover, and nothing that one sent, is about to write here by an old look.
    fn is_quiet(&self, held: &Held, at: usize) -> bool {
        if self.mistake == Mistake::MoversUnguarded {
            return true;
        }
        let is_new = |append: &Append| {
            let block = &append.blocks[0];
            block.number > 0 && (append.guard.is_none() || moving::is_tombstone(&cell(at), block))
        };
        let on_its_way = held.late.is_some_and(|(_, append)| is_new(&self.space.append(append)));
        // A mover that looked at this cell decides on what it saw, as an instance does.
        let leaves = |(plan, phase): (&(usize, usize), &Phase)| {
            let is_source = plan.0 == at && !matches!(phase, Phase::Idle | Phase::SawTarget(_));
            is_source || (plan.1 == at && copies_freely(phase))
        };
        !on_its_way && !self.plans.iter().zip(&held.movers).any(leaves)
    }
}
