//! Buckets that a source has closed and that no process moves any more: a mover slept past the end
//! of its plan, or died when it had begun again a move that was taken back.
//!
//! The target's row decides, as in every move: it is asked to refuse, so that a mover that wakes up
//! later cannot open what the source serves again. It must only be called while no operation under
//! way has the buckets, and needs nothing else: called twice at once, or by one that slept itself,
//! it changes only what still is as it was seen.

use store::Store;

use super::homes::Buckets;
use super::{Group, MoveError, Side};

/// How many buckets became what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settled {
    /// The target had them already: the source sends creations on.
    pub handed_over: usize,
    /// The source creates wallets again.
    pub reopened: usize,
}

/// Settles what of a group `from` has closed for `to`.
pub async fn settle<S: Store>(from: &Side<S>, to: &Side<S>, group: Group) -> Result<Settled, MoveError> {
    let source = Buckets { cell: &from.cell, store: &from.store, group };
    let target = Buckets { cell: &to.cell, store: &to.store, group };
    let closing = source.closing().await?;
    let since =
        |bucket| closing.iter().find(|(of, cell, _)| *of == bucket && *cell == to.cell).map(|(.., epoch)| *epoch);
    let closed: Vec<Option<u64>> = group.buckets().map(since).collect();
    if closed.iter().all(Option::is_none) {
        return Ok(Settled::default());
    }
    target.refuse(&from.cell, &closed).await?;
    let [refused, taken] = target.decided(&from.cell, &closed).await?;
    source.reopen(&refused).await?;
    source.hand_over(&to.cell, &taken).await?;
    let count = |buckets: &[Option<u64>]| buckets.iter().flatten().count();
    Ok(Settled { handed_over: count(&taken), reopened: count(&refused) })
}
