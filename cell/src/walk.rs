//! Walks over all wallets of a cell, for jobs that follow the change stream where that cannot tell: some wallets at a time,
//! each with its newest block.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use ledger::Block;
use store::{Store, StoreError, retry};
use topology::{Bucket, WalletId};

use crate::clock::Clock;

/// Wallets listed at once, and when the next ones are: 1,000 wallets a second, at most.
const PAGE: usize = 64;
pub const PAGE_EVERY: Duration = Duration::from_millis(64);
/// Heads that are read at the same time.
pub const HEADS_AT_ONCE: usize = 32;

/// Wallets, each with its newest block, if it has one that can be read.
pub type Heads = Vec<(WalletId, Result<Option<Block>, StoreError>)>;

/// The wallets after one, with their heads.
pub async fn page<S: Store>(store: &S, clock: &Clock, after: Option<WalletId>) -> Result<Heads, StoreError> {
    let everything = (Bucket(0), Bucket(u16::MAX));
    let mut random = clock.random();
    let wallets = retry::read(|| random.f64(), || store.members(everything, after, PAGE)).await?;
    heads(store, clock, wallets).await
}

/// The heads of these wallets, in this order. One that is broken is for the caller to pass over.
pub async fn heads<S: Store>(store: &S, clock: &Clock, wallets: Vec<WalletId>) -> Result<Heads, StoreError> {
    let each = stream::iter(wallets).map(|wallet| async move {
        let mut random = clock.random();
        (wallet, retry::read(|| random.f64(), || store.head(wallet)).await)
    });
    let heads: Heads = each.buffered(HEADS_AT_ONCE).collect().await;
    let mut failed = heads.iter().filter_map(|(_, head)| head.as_ref().err());
    match failed.find(|error| !matches!(error, StoreError::Corrupt(_))) {
        Some(error) => Err(error.clone()),
        None => Ok(heads),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::Genesis;
    use store::memory::{FaultPlan, MemoryStore};

    use super::*;
    use crate::feed::tests::{Noted, START, wallet};

    #[tokio::test(start_paused = true)]
    async fn so_many_heads_are_read_at_once_and_no_more() {
        let noted = Arc::new(Noted::default());
        let store = MemoryStore::new(Genesis::of(Bucket::all())).with_faults(Arc::clone(&noted) as Arc<dyn FaultPlan>);
        let wallets: Vec<_> = (1..=100).map(wallet).collect();
        let heads = heads(&store, &Clock::new(1, || START), wallets.clone()).await.expect("it answers");
        assert_eq!(heads.into_iter().map(|(wallet, _)| wallet).collect::<Vec<_>>(), wallets);
        assert_eq!(noted.most(), HEADS_AT_ONCE);
    }
}
