//! Many operations on one wallet in one block: atomic, or each for itself. The block's `Batch` entry says what became of
//! each operation and bears the batch's idempotency key, so that a repetition gets the same answer, refusals included.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ledger::block::item_id;
use ledger::marks::KEY_LIFETIME_MICROS;
use ledger::{Block, EntryKind, Intent, ItemOutcome, Key, Money, Note, Timestamp, TransactionId};
use store::{BlockRange, Store};
use topology::WalletId;

use super::{Answer, Context, MAX_ROUNDS, Wallets};
use crate::driver::look_up_doubts;
use crate::failure::Failure;
use crate::meters;
use crate::peers::Peers;
use crate::sequencer::{Batch, BatchItem, Command, Known, Reply, Work};

/// One operation that is asked for.
#[derive(Debug, Clone)]
pub struct Operation {
    pub intent: Intent,
    pub key: Option<Key>,
    pub note: Note,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchResult {
    pub id: TransactionId,
    pub wallet: WalletId,
    pub block: u64,
    pub at: Timestamp,
    /// After the last operation.
    pub balance: Money,
    pub items: Vec<ItemResult>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemResult {
    pub outcome: ItemOutcome,
    /// The entry that did it, and the balance after it; of one that was done before, as long as its key is remembered.
    pub done: Option<(TransactionId, Money)>,
}

/// Entries found to have been made under the operations' own keys, by place.
type DoneBefore = HashMap<usize, (TransactionId, Money)>;

impl<S: Store, P: Peers> Wallets<S, P> {
    pub async fn batch(
        &self,
        wallet: WalletId,
        is_atomic: bool,
        operations: Vec<Operation>,
        context: Context,
    ) -> Result<Answer<BatchResult>, Failure> {
        let outcome = self.batch_now(wallet, is_atomic, operations, context).await;
        meters::performed("batch", outcome.as_ref().map(|answer| answer.replayed));
        outcome
    }

    async fn batch_now(
        &self,
        wallet: WalletId,
        is_atomic: bool,
        operations: Vec<Operation>,
        context: Context,
    ) -> Result<Answer<BatchResult>, Failure> {
        let item =
            |Operation { intent, key, note }| BatchItem { intent, key, note, before: None, known: Known::default() };
        let work = Work::Batch(Batch { is_atomic, items: operations.into_iter().map(item).collect() });
        let mut command = self.command(self.clock.transaction_id(), wallet, work, &context);
        let mut before = DoneBefore::new();
        // Each round settles at least the batch's key, or those of the operations that came up.
        for _ in 0..MAX_ROUNDS {
            match self.submitter.submit(command.clone()).await {
                Reply::Done { block, entry, .. } => {
                    let batch = block.entries.get(entry).map(|entry| entry.id);
                    let value = batch.and_then(|batch| result_of(&block, batch, &before));
                    let value = value.ok_or_else(|| Failure::Corrupt("a batch is not what was written".into()))?;
                    return Ok(Answer { value, replayed: false });
                }
                Reply::SeenKeys { block, items } => {
                    self.look_up(&mut command, &items, &mut before).await?;
                    let Some(number) = block else { continue };
                    match self.first_batch(number, &command, &before).await? {
                        Some(value) => return Ok(Answer { value, replayed: true }),
                        None => command.known.discount(number),
                    }
                }
                Reply::Perhaps(doubts) => {
                    look_up_doubts(&self.store, &mut command, doubts, &mut self.clock.random()).await?;
                }
                Reply::NoChain(absent) if absent == wallet => drop(self.head(wallet).await?),
                Reply::Elsewhere { .. } => drop(self.head(wallet).await?),
                reply => return Err(Failure::of_reply(reply)),
            }
        }
        Err(Failure::Contended)
    }

    /// Marks the operations that were done under their own keys, and the keys that have expired.
    async fn look_up(
        &self,
        command: &mut Command,
        seen: &[(usize, u64)],
        before: &mut DoneBefore,
    ) -> Result<(), Failure> {
        let mut blocks: HashMap<u64, Option<Block>> = HashMap::new();
        for number in seen.iter().map(|(_, number)| *number) {
            if let Entry::Vacant(place) = blocks.entry(number) {
                place.insert(self.block(command.wallet, number).await?);
            }
        }
        for &(place, number) in seen {
            let Work::Batch(batch) = &mut command.work else { return Ok(()) };
            let Some(item) = batch.items.get_mut(place) else { continue };
            let block = blocks.get(&number).and_then(Option::as_ref);
            let first = block.and_then(|block| block.entry_keyed(&item.key.as_ref()?.key));
            match first {
                Some(_) if !block.is_some_and(|block| self.alive(block.at)) => item.known.discount(number),
                None => item.known.discount(number),
                // Of a batch that is all or nothing; else the other operations are carried out.
                Some(first) if first.key != item.key && batch.is_atomic => return Err(Failure::KeyReused),
                Some(first) if first.key != item.key => item.before = Some(ItemOutcome::KeyReused),
                Some(first) => {
                    item.before = Some(ItemOutcome::DoneBefore);
                    before.insert(place, (first.id, first.balance_after));
                }
            }
        }
        Ok(())
    }

    /// The result of the batch that bore this key in block `number`; `None` if that was more than 24 hours ago.
    async fn first_batch(
        &self,
        number: u64,
        command: &Command,
        before: &DoneBefore,
    ) -> Result<Option<BatchResult>, Failure> {
        let (Some(block), Some(key)) = (self.block(command.wallet, number).await?, command.key) else {
            return Ok(None);
        };
        match block.entry_keyed(&key.key) {
            Some(_) if block.at.plus_micros(KEY_LIFETIME_MICROS) <= self.now() => Ok(None),
            Some(entry) if entry.key == Some(key) => match result_of(&block, entry.id, before) {
                Some(result) => Ok(Some(result)),
                None => Err(Failure::KeyReused),
            },
            Some(_) => Err(Failure::KeyReused),
            None => Ok(None),
        }
    }

    async fn block(&self, wallet: WalletId, number: u64) -> Result<Option<Block>, Failure> {
        let range = BlockRange { first: number, last: number, newest_first: false };
        Ok(self.store.blocks(wallet, range, 1).await?.into_iter().next())
    }
}

/// What `block` says of the batch; `None` if it holds no such batch.
fn result_of(block: &Block, batch: TransactionId, before: &DoneBefore) -> Option<BatchResult> {
    let own = block.entry(batch)?;
    let EntryKind::Batch { outcomes } = &own.kind else { return None };
    let mut balance = own.balance_after;
    let mut items = Vec::new();
    for (place, outcome) in outcomes.iter().enumerate() {
        let done = match outcome {
            ItemOutcome::Done => {
                let entry = block.entry(item_id(batch, place))?;
                balance = entry.balance_after;
                Some((entry.id, entry.balance_after))
            }
            ItemOutcome::DoneBefore => before.get(&place).copied(),
            _ => None,
        };
        items.push(ItemResult { outcome: *outcome, done });
    }
    Some(BatchResult { id: batch, wallet: block.wallet, block: block.number, at: block.at, balance, items })
}
