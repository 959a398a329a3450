//! What is found in an archive that is not as it must be.

use ledger::Block;
use topology::WalletId;

/// Most findings that are listed; the rest is counted.
const LISTED_MAX: usize = 1_000;

/// One thing that is not as it must be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The number in the log.
    pub entry: Option<u64>,
    pub wallet: Option<WalletId>,
    pub block: Option<u64>,
    pub what: String,
}

impl Finding {
    pub(crate) fn of_entry(entry: u64, what: impl Into<String>) -> Self {
        Self { entry: Some(entry), ..Self::of_object(what) }
    }

    pub(crate) fn of_object(what: impl Into<String>) -> Self {
        Self { entry: None, wallet: None, block: None, what: what.into() }
    }

    pub(crate) fn of_wallet(wallet: WalletId, block: Option<u64>, what: impl Into<String>) -> Self {
        Self { entry: None, wallet: Some(wallet), block, what: what.into() }
    }

    pub(crate) fn of_block(entry: u64, wallet: WalletId, block: u64, what: impl Into<String>) -> Self {
        Self { entry: Some(entry), ..Self::of_wallet(wallet, Some(block), what) }
    }

    /// `block` is not the block of its number that came before.
    pub(crate) fn fork(entry: u64, block: &Block) -> Self {
        let what = "another block of this number is in the archive too: the chain is forked";
        Self::of_block(entry, block.wallet, block.number, what)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// The first ones.
    pub listed: Vec<Finding>,
    pub count: u64,
}

impl Findings {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        self.count = self.count.saturating_add(1);
        if self.listed.len() < LISTED_MAX {
            self.listed.push(finding);
        }
    }
}
