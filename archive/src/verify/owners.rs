//! Whether each owner is the one of its wallet: the key opens the personal part of block 0, and that names the user.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use ledger::{Block, Status};
use topology::WalletId;

use crate::chains::Chains;
use crate::findings::Findings;
use crate::{Archive, ArchiveError, FETCHED_AT_ONCE, Fetched, Finding};

#[derive(Default)]
pub(super) struct Owners {
    there: HashSet<WalletId>,
    /// Of these, block 0 names an owner.
    missing: HashSet<WalletId>,
}

impl Owners {
    /// The owners of the wallets that begin in this segment.
    pub async fn check(
        &mut self,
        archive: &Archive,
        fetched: &Fetched,
        findings: &mut Findings,
    ) -> Result<(), ArchiveError> {
        let blocks = fetched.segment.iter().flat_map(|segment| &segment.blocks);
        let first: Vec<Block> = blocks.filter(|block| block.number == 0 && block.sealed.is_some()).cloned().collect();
        let mut found = stream::iter(first).map(|block| look(archive, block)).buffered(FETCHED_AT_ONCE);
        while let Some((wallet, found)) = found.try_next().await? {
            match found {
                Found::Sound => drop(self.there.insert(wallet)),
                Found::Missing => drop(self.missing.insert(wallet)),
                Found::Unsound(what) => findings.add(Finding::of_wallet(wallet, None, what)),
            }
        }
        Ok(())
    }

    /// Holds them against the chains; how many there are. The owner of a wallet that lives elsewhere may have been erased
    /// there.
    pub fn end(self, chains: &Chains, findings: &mut Findings) -> u64 {
        let head = |wallet: &WalletId| chains.rows.get(wallet).and_then(|row| row.head.as_ref());
        let is_erased = |wallet: &&WalletId| head(wallet).is_some_and(|head| head.state.status == Status::Erased);
        // Above a hole may be the block by which it left.
        let is_whole = |wallet: &WalletId| chains.rows.get(wallet).is_some_and(|row| !row.is_partial_copy());
        let is_here =
            |wallet: &&WalletId| is_whole(wallet) && head(wallet).is_some_and(|head| head.home == *chains.cell());
        for wallet in self.there.iter().filter(is_erased) {
            findings.add(Finding::of_wallet(*wallet, None, "its owner is there, but was erased"));
        }
        for wallet in self.missing.iter().filter(|wallet| is_here(wallet) && !is_erased(wallet)) {
            findings.add(Finding::of_wallet(*wallet, None, "its owner is missing, and its chain knows of no erasure"));
        }
        self.there.len() as u64
    }
}

enum Found {
    Sound,
    Missing,
    Unsound(String),
}

async fn look(archive: &Archive, first: Block) -> Result<(WalletId, Found), ArchiveError> {
    let wallet = first.wallet;
    let found = match archive.owner(wallet).await {
        Ok(None) => Found::Missing,
        Ok(Some(owner)) => match owner.key.open(&first) {
            Ok(part) if part.user.as_ref() == Some(&owner.user) => Found::Sound,
            Ok(_) => Found::Unsound("its block 0 names another owner".to_owned()),
            Err(error) => Found::Unsound(format!("its owner's key does not open block 0: {error}")),
        },
        Err(ArchiveError::Unsound(what)) => Found::Unsound(what),
        Err(error @ ArchiveError::Unavailable(_)) => return Err(error),
    };
    Ok((wallet, found))
}
