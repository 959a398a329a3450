//! A cell's tables with something of everything in them, and a verification of all of it.

use std::collections::BTreeMap;

use ledger::EntryKind;
use ledger::checkpoint::{Leaf, SigningKey};
use store::Chains;
use store::dynamodb::DynamoStore;
use store::log::{Audit, Log, Witnessed};
use store::verify::{Break, FullSpeed, verify};
use topology::WalletId;
use topology::wire::CreditRefusal;
use uuid::Uuid;

use super::{Chain, START, cell};

/// Wallets that only fill the log, so that a tile of it is full.
const SMALL: usize = 260;

pub struct Ledgers {
    pub chains: BTreeMap<WalletId, Chain>,
    pub key: SigningKey,
}

pub fn log(store: &DynamoStore) -> Log<DynamoStore> {
    Log::new(store.clone(), cell())
}

impl Ledgers {
    /// Writes all of it.
    pub async fn write(store: &DynamoStore) -> Self {
        let key = SigningKey::from_pem(&SigningKey::generate().expect("randomness")).expect("its own");
        let mut chains: Vec<Chain> = (0..SMALL).map(|number| Chain::new(&format!("small {number}"))).collect();
        // A long one with heavy blocks in it.
        let mut long = Chain::new("long");
        long.deposits(70, 1);
        long.deposits(2, 70);
        long.deposits(60, 1);
        chains.push(long);
        chains.push(transfers());
        for chain in &chains {
            chain.store(store).await;
        }
        let mut ledgers = Self { chains: chains.into_iter().map(|chain| (chain.wallet(), chain)).collect(), key };
        ledgers.checkpoint(store, 1).await;
        // Some go on, and are committed to again.
        let mut grown: Vec<WalletId> = ledgers.chains.keys().copied().take(5).collect();
        grown.push(WalletId::for_user(crate::fleet::NAMESPACE, &topology::UserId::parse("long").expect("sound")));
        for wallet in grown {
            let chain = ledgers.chains.get_mut(&wallet).expect("written before");
            chain.deposits(1, 1);
            let block = chain.blocks.last().expect("just made").clone();
            store.append(&ledger::Append::next(block)).await.expect("its place is free");
        }
        ledgers.checkpoint(store, 2).await;
        ledgers
    }

    /// Commits to all heads that have changed, as the cell does.
    pub async fn checkpoint(&self, store: &DynamoStore, number: u128) {
        let log = log(store);
        let newest = log.newest().await.expect("a sound log");
        let mut leaves = Vec::new();
        for chain in self.chains.values() {
            let head = chain.blocks.last().expect("block 0");
            let latest = log.latest(head.wallet).await.expect("a sound log");
            let first = latest.map_or(0, |latest| latest.leaf.block + 1);
            if first <= head.number {
                leaves.push(Leaf::of(first, head));
            }
        }
        let written = log.append(newest.as_ref(), &leaves, &self.key, START, Uuid::from_u128(number)).await;
        log.finish(&written.expect("a sound log").expect("no other process writes")).await.expect("it answers");
    }

    pub async fn audit(&self, store: &DynamoStore, witnessed: &Witnessed) -> Audit {
        log(store).audit(&[self.key.public()], witnessed).await.expect("it answers")
    }
}

/// What is wrong with one wallet.
pub async fn breaks_of(store: &DynamoStore, wallet: WalletId, audit: &Audit) -> Vec<Break> {
    let committed = audit.committed.get(&wallet).map(Vec::as_slice).unwrap_or_default();
    verify(store, &cell(), wallet, committed, &mut FullSpeed).await.expect("it answers").breaks
}

/// A wallet with all that a transfer can be: in flight, settled, returned, received, refused, reversed.
fn transfers() -> Chain {
    let other = WalletId::from_uuid(Uuid::from_u128(77));
    let mut chain = Chain::new("transfers");
    chain.deposits(1, 3);
    let id = Uuid::from_u128;
    let out = EntryKind::TransferOut { to: other, reverses: None };
    for transfer in 1..=4 {
        chain.push(vec![(out.clone(), 1, Some(id(transfer)))]);
    }
    chain.push(vec![(EntryKind::TransferSettled { transfer: id(1) }, 0, None)]);
    let reason = CreditRefusal::WalletFrozen;
    chain.push(vec![(EntryKind::TransferReturned { transfer: id(2), reason }, 1, None)]);
    for transfer in 11..=13 {
        let received = EntryKind::TransferIn { from: other };
        chain.push(vec![(received, 2, Some(id(transfer)))]);
    }
    // And what was done is undone, and what is on hold stays on hold.
    chain.push(vec![(EntryKind::Deposit, 9, Some(id(31)))]);
    chain.push(vec![(EntryKind::DepositReversed { of: id(31) }, 9, None)]);
    let expires_at = START.plus_micros(i64::from(u32::MAX) * 1_000_000);
    chain.push(vec![(EntryKind::HoldPlaced { expires_at }, 1, None)]);
    let reason = CreditRefusal::BalanceLimit;
    chain.push(vec![(EntryKind::TransferRefused { transfer: id(21), from: other, reason }, 0, None)]);
    chain
}
