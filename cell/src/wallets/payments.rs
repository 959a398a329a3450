//! Many payments out of one wallet, to any cell: each is a transfer of its own, with an idempotency key of its own, so
//! that a repetition of the whole finishes what is missing and does nothing twice. What waits for the same wallet at
//! the same time leaves in the same block.
//!
//! First the whole is put on record, as a batch without operations that bears its key: another request with this key
//! is refused before any money moves.

use futures_util::stream::{self, StreamExt};
use ledger::{Key, Money, Note, TransactionId};
use store::Store;
use topology::WalletId;

use super::{Answer, Context, Transfer, Wallets};
use crate::failure::Failure;
use crate::peers::Peers;

/// Payments of one request that are under way at a time.
const AT_ONCE: usize = 100;

/// One payment that is asked for.
#[derive(Debug, Clone)]
pub struct PaymentOrder {
    pub to: WalletId,
    pub amount: Money,
    pub key: Option<Key>,
    pub note: Note,
}

/// What became of each payment, in the order asked for.
#[derive(Debug)]
pub struct Payments {
    pub id: TransactionId,
    pub results: Vec<Result<Answer<Transfer>, Failure>>,
}

impl<S: Store, P: Peers> Wallets<S, P> {
    /// A failure of one payment says nothing of the others; a failure of the whole: repeat it with the same key.
    pub async fn pay_many(
        &self,
        from: WalletId,
        payments: Vec<PaymentOrder>,
        context: Context,
    ) -> Result<Answer<Payments>, Failure> {
        let recorded = self.batch(from, false, Vec::new(), context.clone()).await?;
        let context = &context;
        let pay = |PaymentOrder { to, amount, key, note }| {
            let own = Context { key, note, ..context.clone() };
            async move { self.transfer(from, to, amount, own).await }
        };
        let results: Vec<_> = stream::iter(payments).map(pay).buffered(AT_ONCE).collect().await;
        // The payer has left meanwhile: its new cell does the rest, and finds what is done.
        if results.iter().any(|result| matches!(result, Err(Failure::Misdirected { .. }))) {
            self.head(from).await?;
        }
        let moved_money = results.iter().any(|result| matches!(result, Ok(answer) if !answer.replayed));
        let replayed = recorded.replayed && !moved_money;
        Ok(Answer { value: Payments { id: recorded.value.id, results }, replayed })
    }
}
