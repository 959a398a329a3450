//! Batches as they were asked for, and reversals of what may be reversed, once.

use std::collections::{BTreeMap, BTreeSet};

use ledger::block::item_id;
use ledger::{Block, EntryKind, ItemOutcome, TransactionId};

use crate::client::Batch;
use crate::report::{Violation, violated};

/// What is reversed is there before, with the same amount, of a kind that can be; and only once.
pub fn check_reversals(blocks: &[Block]) -> Result<(), Violation> {
    let (mut earlier, mut reversed) = (BTreeMap::new(), BTreeSet::new());
    for entry in blocks.iter().flat_map(|block| &block.entries) {
        if let Some(of) = entry.kind.reverses() {
            let undone = earlier.get(&of).map(|(kind, amount)| (kind, *amount == entry.amount));
            let fits = match (&entry.kind, undone) {
                (EntryKind::DepositReversed { .. }, Some((EntryKind::Deposit, same))) => same,
                (
                    EntryKind::WithdrawalReversed { .. },
                    Some((EntryKind::Withdrawal | EntryKind::HoldCaptured { .. }, same)),
                ) => same,
                (EntryKind::TransferOut { to, .. }, Some((EntryKind::TransferIn { from, .. }, same))) => {
                    same && from == to
                }
                _ => false,
            };
            if !fits {
                return violated(format!("{entry:?} reverses {undone:?}"));
            }
            if !reversed.insert(of) {
                return violated(format!("transaction {of} was reversed twice"));
            }
        }
        // What came back is not reversed after all.
        if let EntryKind::TransferReturned { transfer, .. } = &entry.kind
            && let Some((EntryKind::TransferOut { reverses: Some(of), .. }, _)) = earlier.get(transfer)
        {
            reversed.remove(of);
        }
        earlier.insert(entry.id, (entry.kind.clone(), entry.amount));
    }
    Ok(())
}

/// The block holds, behind the batch's own entry, exactly what its outcomes say was done.
pub fn is_as_asked(batch: Batch, block: &Block, id: TransactionId, outcomes: &[ItemOutcome]) -> bool {
    let as_asked = |place: usize| {
        let (minor, entry) = (batch.minor[place], block.entry(item_id(id, place)));
        match (outcomes[place], entry) {
            (ItemOutcome::Done, Some(entry)) => {
                let kind = if minor > 0 { EntryKind::Deposit } else { EntryKind::Withdrawal };
                entry.kind == kind && entry.amount.minor() == minor.unsigned_abs().max(1)
            }
            (ItemOutcome::InsufficientBalance, None) => minor <= 0 && !batch.is_atomic,
            _ => false,
        }
    };
    outcomes.len() == batch.minor.len() && (0..outcomes.len()).all(as_asked)
}
