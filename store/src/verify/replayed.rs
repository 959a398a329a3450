//! What no single link of a chain shows: that a transfer which ends here was open, and that no credit and no reversal is
//! there twice.

use std::collections::{BTreeSet, HashSet};

use ledger::OpenTransfer;
use ledger::block::{Block, Entry};
use ledger::flow::{Flow, Leg};
use ledger::marks::Mark;
use ledger::open::OpenTransfers;

/// What the blocks of a chain have done so far.
#[derive(Default)]
pub struct Replayed {
    open: OpenTransfers,
    /// Of credits and reversals. An idempotency key may be used again after its lifetime.
    marks: HashSet<Mark>,
}

impl Replayed {
    /// Takes the next block in; what of it cannot follow on the blocks before.
    pub fn take(&mut self, block: &Block) -> Vec<String> {
        let mut faults: Vec<String> = block.entries.iter().filter_map(|entry| self.twice(entry)).collect();
        faults.extend(self.not_open(block));
        self.open.take(block);
        let state = &block.state;
        if usize::try_from(state.open_count) != Ok(self.open.len()) {
            faults.push(format!("{} transfers are open, its state says {}", self.open.len(), state.open_count));
        }
        let lowest = self.open.since();
        if lowest != state.open_since {
            faults.push(format!("transfers are open since block {lowest}, its state says {}", state.open_since));
        }
        faults
    }

    fn twice(&mut self, entry: &Entry) -> Option<String> {
        let key = entry.key.as_ref().map(|key| key.mark());
        let mut marks = Mark::all_of(entry).filter(|mark| Some(*mark) != key);
        let is_twice = marks.any(|mark| !self.marks.insert(mark));
        is_twice.then(|| format!("entry {} does what an earlier one did", entry.id))
    }

    /// A transfer that left in this very block cannot end in it: it has not been delivered yet.
    fn not_open(&mut self, block: &Block) -> Option<String> {
        let mut ended = BTreeSet::new();
        block.entries.iter().find_map(|entry| {
            let (transfer, amount) = match entry.flow() {
                Flow::Transfer { id, leg: Leg::Settled } => (id, None),
                Flow::Transfer { id, leg: Leg::Returned } => (id, Some(entry.amount)),
                Flow::Transfer { leg: Leg::Sent { .. } | Leg::Received { .. } | Leg::Refused { .. }, .. }
                | Flow::None
                | Flow::In
                | Flow::Out => return None,
            };
            let open = self.open.get(transfer).filter(|_| ended.insert(transfer));
            match open {
                None => Some(format!("transfer {transfer} ends here and was not open")),
                Some(open) if amount.is_some_and(|amount| amount != open.amount) => {
                    Some(format!("transfer {transfer} returns another amount than left"))
                }
                // What it was to reverse is not reversed after all.
                Some(OpenTransfer { reverses: Some(of), .. }) if amount.is_some() => {
                    self.marks.remove(&Mark::of_reversal(*of));
                    None
                }
                Some(_) => None,
            }
        })
    }
}
