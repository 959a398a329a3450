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
