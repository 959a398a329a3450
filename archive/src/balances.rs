//! What all wallets of the cell had at a point in time.

use ledger::block::Hash;
use ledger::{Money, Status, Timestamp};
use topology::WalletId;

use crate::chains::{Bounds, Chains};
use crate::findings::Findings;
use crate::verify::{Report, replay};
use crate::{Archive, ArchiveError, Entry};

/// A wallet as its newest block until then says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    pub wallet: WalletId,
    /// With what is on hold, without what is in flight.
    pub balance: Money,
    pub on_hold: Money,
    /// What had left in transfers that were not concluded, and in how many.
    pub in_flight: Money,
    pub open_transfers: u32,
    pub status: Status,
    pub block: u64,
    pub hash: Hash,
    /// The block's time.
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balances {
    /// The newest entry that was read; what was written later is not in it.
    pub newest: Option<Entry>,
    /// Of the wallets that were at home in the cell, ordered by their ids. A wallet that is named in the findings is not there.
    pub wallets: Vec<Balance>,
    pub findings: Findings,
}

impl Archive {
    /// The balances of all wallets that were at home in this cell at `at`. The times of blocks decide.
    pub async fn balances(&self, at: Timestamp) -> Result<Balances, ArchiveError> {
        self.balances_within(at, Bounds::default()).await
    }

    pub(crate) async fn balances_within(&self, at: Timestamp, bounds: Bounds) -> Result<Balances, ArchiveError> {
        let mut report = Report::default();
        let last = self.highest(&mut report.findings).await?;
        let chains = replay(self, last, at, false, bounds, &mut report).await?;
        Ok(Balances { newest: report.newest, wallets: of(&chains, at), findings: report.findings })
    }
}

fn of(chains: &Chains, at: Timestamp) -> Vec<Balance> {
    let sound = chains.rows.values().filter(|row| !row.is_broken() && !row.is_missing_blocks());
    let heads = sound.filter_map(|row| Some((row.head.as_ref()?, &row.open)));
    let here = heads.filter(|(head, _)| head.home == *chains.cell());
    let mut balances: Vec<Balance> = here
        .map(|(head, open)| Balance {
            wallet: head.wallet,
            balance: head.state.balance,
            on_hold: head.state.held_at(at),
            in_flight: Money::from_minor(open.iter().map(|open| open.amount.minor()).sum()),
            open_transfers: head.state.open_count,
            status: head.state.status,
            block: head.number,
            hash: head.hash,
            at: head.at,
        })
        .collect();
    balances.sort_unstable_by_key(|balance| balance.wallet);
    balances
}
