//! Creating a wallet: block 0, on the condition that this cell may create it. One user has one wallet by construction.

use ledger::{Append, Entry, EntryKind, Guard, Money, Owner, Personal, PersonalPart, chain};
use store::commit::{CommitOutcome, commit};
use store::{HomeKey, HomeState, Store};
use topology::{UserId, WalletId};

use super::{Answer, Context, Wallet, Wallets, Written, view};
use crate::failure::Failure;
use crate::meters;
use crate::peers::Peers;

/// How often a creation starts again because the right to create came to this cell meanwhile.
const MAX_ATTEMPTS: usize = 4;

impl<S: Store, P: Peers> Wallets<S, P> {
    pub async fn create(&self, user: UserId, context: Context) -> Result<Answer<Wallet>, Failure> {
        let outcome = self.create_here(user, context).await;
        meters::performed("creation", outcome.as_ref().map(|answer| answer.replayed));
        outcome
    }

    async fn create_here(&self, user: UserId, context: Context) -> Result<Answer<Wallet>, Failure> {
        let wallet = self.wallet_of(&user);
        let by_bucket = Guard::Bucket { genesis: self.serves_from_start(wallet).await? };
        for _ in 0..MAX_ATTEMPTS {
            if let Some(answer) = self.create_guarded(wallet, &user, by_bucket, &context).await? {
                return Ok(answer);
            }
            // Not by its bucket: perhaps this very wallet was granted to the cell.
            let granted =
                self.store.home(HomeKey::Wallet(wallet)).await?.is_some_and(|r| r.state == HomeState::Serving);
            if granted && let Some(answer) = self.create_guarded(wallet, &user, Guard::Granted, &context).await? {
                return Ok(answer);
            }
            match self.absent(wallet).await? {
                // The right to create it was moving, and has come here, or back.
                Failure::WalletNotFound(_) => {}
                elsewhere => return Err(elsewhere),
            }
        }
        Err(Failure::Contended)
    }

    /// `None` if the guard failed.
    async fn create_guarded(
        &self,
        wallet: WalletId,
        user: &UserId,
        guard: Guard,
        context: &Context,
    ) -> Result<Option<Answer<Wallet>>, Failure> {
        let (id, trace) = (self.clock.transaction_id(), context.audit.trace());
        let opened = Entry { key: context.key, trace, ..Entry::new(id, EntryKind::Opened, Money::ZERO, Money::ZERO) };
        let owner = Owner { user: user.clone(), key: self.clock.wallet_key() };
        let personal = Personal::of(&context.audit, &context.note);
        let part = PersonalPart { user: Some(user.clone()), entries: vec![personal] };
        let sealed = owner.key.seal(wallet, 0, &part);
        let block = chain::open(wallet, self.cell.clone(), self.clock.now(), opened, sealed);
        self.clock.check(block.at).map_err(|skew| Failure::Unavailable(skew.to_string()))?;
        let transaction = block.entries.first().map(|opened| opened.id);
        let value = Wallet { available: None, transaction, ..view(&block, Some(user.clone()), block.at) };
        let append = Append::create(block, guard, owner);
        let mut random = self.clock.random();
        match commit(&self.store, &append, context.deadline, || random.f64()).await {
            CommitOutcome::Applied => {
                meters::appended(&append.blocks);
                Ok(Some(Answer { value, replayed: false }))
            }
            CommitOutcome::Conflict(conflict) if conflict.taken => self.existing(wallet, context).await.map(Some),
            CommitOutcome::Conflict(_) => Ok(None),
            CommitOutcome::NotApplied(why) => Err(Failure::Unavailable(why)),
            CommitOutcome::Unknown(why) => Err(Failure::OutcomeUnknown(why)),
        }
    }

    /// The wallet is there already: by this very request, sent before, or by another.
    async fn existing(&self, wallet: WalletId, context: &Context) -> Result<Answer<Wallet>, Failure> {
        self.head(wallet).await?;
        let first = self.store.held(wallet, 0).await?;
        let opened = first.as_ref().and_then(|block| Some((block, block.entries.first()?)));
        match (opened, context.key) {
            (Some((block, entry)), Some(key)) if self.alive(block.at) && entry.key == Some(key) => {
                Ok(Written::new(block, entry, self.user_now(wallet).await?, true).into_answer())
            }
            (Some((block, entry)), Some(key))
                if self.alive(block.at) && entry.key.is_some_and(|first| first.key == key.key) =>
            {
                Err(Failure::KeyReused)
            }
            _ => Err(Failure::WalletExists(wallet)),
        }
    }
}
