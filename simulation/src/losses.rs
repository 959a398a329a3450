//! What restores have lost, which the checks excuse, and nothing else.

use std::sync::Mutex;

use ledger::{Entry, EntryKind, TransactionId};
use topology::WalletId;

use super::world::guard;

/// What restores have lost for good, entry by entry.
#[derive(Default)]
pub struct Losses(Mutex<Lost>);

#[derive(Debug, Clone, Default)]
pub struct Lost {
    pub restores: usize,
    entries: Vec<(WalletId, Entry)>,
    /// Rights and chains are being put back: nothing holds at this moment.
    pub is_half: bool,
}

impl Losses {
    pub fn now(&self) -> Lost {
        guard(&self.0).clone()
    }

    pub fn begin(&self) {
        guard(&self.0).is_half = true;
    }

    /// One more restore is complete, and these entries are gone.
    pub fn end(&self, entries: Vec<(WalletId, Entry)>) {
        let mut lost = guard(&self.0);
        lost.entries.extend(entries);
        lost.restores += 1;
        lost.is_half = false;
    }
}

impl Lost {
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    pub fn has_key(&self, wallet: WalletId, key: ledger::block::Key) -> bool {
        self.entries.iter().any(|(of, entry)| *of == wallet && entry.key == Some(key))
    }

    /// Whether an entry about this transfer was lost that is of such a kind.
    pub fn has(&self, transfer: TransactionId, kind: impl Fn(&EntryKind) -> bool) -> bool {
        self.entries.iter().any(|(_, entry)| entry.transfer() == Some(transfer) && kind(&entry.kind))
    }
}
