//! Freezes a broken wallet. Where its head is sound and its past is not, a `Frozen` entry is put after the head, which makes
//! every instance's memory of the wallet obsolete: the next append meets it.

use std::time::Duration;

use ledger::fence::HEAD_LIFETIME;
use ledger::{Append, Entry, EntryKind, Intent, Money, Note, Refusal, ShortText, Status, Trace, chain};
use store::commit::{CommitOutcome, commit_before};
use store::verify::Report;
use store::{Store, StoreError};
use tokio::time::Instant;
use topology::{CellId, WalletId};

use super::{ACTOR, Integrity};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::peers::Peers;
use crate::wallets::Context;

/// How often the head is read again because another process wrote first.
const MAX_ATTEMPTS: usize = 32;
/// How long a freeze is tried before the next pass tries it again.
const PATIENCE: Duration = Duration::from_secs(5);

impl<S: Store, P: Peers> Integrity<S, P> {
    /// Has the wallet stand still, through the way of all writes; what came of it. That way loads the wallet's newest
    /// blocks, and refuses where one of them is broken: but another instance may remember the wallet from before and go
    /// on writing. So the entry is then appended after the head itself, on the same condition as every block.
    pub(super) async fn freeze(&self, wallet: WalletId, report: &Report, request: &str) -> String {
        let audit = ledger::Audit {
            actor: ShortText::cut(ACTOR, ShortText::MAX_BYTES),
            request_id: ShortText::cut(request, ShortText::MAX_BYTES),
            ..ledger::Audit::default()
        };
        let context =
            Context { key: None, audit: audit.clone(), note: Note::default(), deadline: Instant::now() + PATIENCE };
        match self.wallets.change(wallet, Intent::Freeze, context).await {
            Ok(_) => "frozen".into(),
            Err(Failure::Refused { refusal: Refusal::Frozen, .. }) => "was frozen already".into(),
            Err(Failure::Refused { refusal, .. }) => format!("already takes no writes: {refusal}"),
            Err(Failure::Corrupt(_)) => append(&self.store, &self.cell, &self.clock, wallet, audit.trace()).await,
            Err(Failure::Misdirected { .. } | Failure::WalletNotFound(_)) => {
                let home = report.head.as_ref().map_or("unknown", |head| head.home.as_str());
                format!("not frozen: it does not live here (home: {home})")
            }
            Err(failure) => format!("not frozen yet, the next pass tries again: {failure}"),
        }
    }
}

/// What came of it, for the finding.
async fn append<S: Store>(store: &S, cell: &CellId, clock: &Clock, wallet: WalletId, trace: Trace) -> String {
    let mut random = clock.random();
    for _ in 0..MAX_ATTEMPTS {
        let sign_by = Instant::now() + HEAD_LIFETIME;
        let head = match store.head(wallet).await {
            Ok(Some(block)) => block.head(),
            Ok(None) => return "not frozen: it is not here".into(),
            // Then nothing can be appended: every append has to name its hash, and every read of it
            // says so.
            Err(StoreError::Corrupt(_)) => return "not frozen, but it takes no writes: its head cannot be read".into(),
            Err(error) => return format!("not frozen yet, the next pass tries again: {error}"),
        };
        if head.home != *cell {
            return format!("not frozen: it does not live here (home: {})", head.home);
        }
        match head.state.status {
            Status::Active => {}
            Status::Frozen => return "was frozen already".into(),
            Status::Closed | Status::Erased => return "already takes no writes: the wallet is closed".into(),
        }
        let (id, now, mut state) = (clock.transaction_id(), clock.now(), head.state.clone());
        if state.apply(id, &EntryKind::Frozen, Money::ZERO, (head.number + 1, now.max(head.at))).is_err() {
            return "not frozen: its state does not allow it".into();
        }
        let entry = Entry { trace: trace.clone(), ..Entry::new(id, EntryKind::Frozen, Money::ZERO, state.balance) };
        let block = chain::next(&head, state, vec![entry], now);
        if let Err(skew) = clock.check(block.at) {
            return format!("not frozen yet, the next pass tries again: {skew}");
        }
        let append = Append::next(block);
        let deadline = Instant::now() + PATIENCE;
        match commit_before(store, &append, Some(sign_by), deadline, || random.f64()).await {
            CommitOutcome::Applied => return "frozen".into(),
            CommitOutcome::Conflict(_) => {}
            CommitOutcome::NotApplied(why) | CommitOutcome::Unknown(why) => {
                return format!("not frozen yet, the next pass tries again: {why}");
            }
        }
    }
    "not frozen yet, the next pass tries again: it is written to all the time".into()
}

#[cfg(test)]
mod tests {
    use ledger::Guard;
    use ledger::Timestamp;
    use store::memory::MemoryStore;
    use store::{Chains, Genesis};
    use topology::{Bucket, UserId};
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn no_wallet_is_frozen_by_a_clock_an_hour_off() {
        const HOUR_MICROS: i64 = 3_600_000_000;
        let now = Timestamp::from_micros(1_760_000_000_000_000);
        let (cell, user) = (CellId::parse("cell-1").expect("sound"), UserId::parse("ann").expect("sound"));
        let wallet = WalletId::for_user(Uuid::from_u128(7), &user);
        let id = Uuid::from_u128(1);
        let opened = Entry::new(id, EntryKind::Opened, Money::ZERO, Money::ZERO);
        let block = chain::open(wallet, cell.clone(), now, opened, None);
        let store = MemoryStore::new(Genesis::of(Bucket::all()));
        let created = Append::of(vec![block], Some(Guard::Bucket { genesis: true }));
        store.append(&created).await.expect("it may be created here");
        for (ahead, expected) in [(HOUR_MICROS, "not frozen yet"), (0, "frozen")] {
            let clock = Clock::new(1, move || now.plus_micros(ahead)).with_reference(move || Some((now, now)));
            let said = append(&store, &cell, &clock, wallet, Trace::default()).await;
            assert!(said.starts_with(expected), "{said}");
        }
    }
}
