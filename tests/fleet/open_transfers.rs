//! Transfers as a process leaves them that dies right after the money left: the paying chain has them, and no process
//! knows of them.

use ledger::{Append, Entry, EntryKind, Money, Timestamp, chain};
use store::dynamodb::DynamoStore;
use store::{AppendError, Chains};
use topology::WalletId;
use uuid::Uuid;

pub const AMOUNT: Money = Money::from_minor(1);

/// One transfer to each of the payees, all in one block. The payer has the money.
pub async fn leave(store: &DynamoStore, payer: WalletId, payees: &[WalletId]) {
    loop {
        let head = store.head(payer).await.expect("the tables answer").expect("a wallet");
        let (mut state, number, at) = (head.state.clone(), head.number + 1, now());
        let mut entries = Vec::new();
        for &to in payees {
            let (id, kind) = (Uuid::new_v4(), EntryKind::TransferOut { to, reverses: None });
            state.apply(id, &kind, AMOUNT, (number, at)).expect("the payer has the money");
            entries.push(Entry::new(id, kind, AMOUNT, state.balance));
        }
        match store.append(&Append::next(chain::next(&head.head(), state, entries, at))).await {
            Ok(()) => return,
            // A transfer that left before was recorded at the same moment.
            Err(AppendError::Conflict(_)) => {}
            Err(error) => panic!("not written: {error}"),
        }
    }
}

pub fn now() -> Timestamp {
    let micros = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
    Timestamp::from_micros(i64::try_from(micros).expect("this age fits"))
}

/// Open transfers of these wallets.
pub async fn count(store: &DynamoStore, payers: &[WalletId]) -> u64 {
    let mut open = 0;
    for payer in payers {
        let head = store.head(*payer).await.expect("the tables answer").expect("a wallet");
        open += u64::from(head.state.open_count);
    }
    open
}
