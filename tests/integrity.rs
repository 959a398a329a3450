//! What is stored is what was written: a byte changed anywhere is found, a past rewritten with all
//! its hashes is found, the wallet takes no writes and all others are served. And what the past
//! costs to read.

mod bytes;
mod database;
mod history;
mod ledgers;
mod packed;
mod rewriting;
mod serving;

use ledger::block::{Audit, Key, ShortText};
use ledger::limits::RUN_BLOCKS;
use ledger::marks::MarkRun;
use ledger::open::OpenTransfers;
use ledger::personal::{Note, Owner, Personal, PersonalPart, Sealed, WalletKey};
use ledger::snapshots::snapshots_of;
use ledger::{Append, Block, Entry, EntryKind, Guard, Money, Timestamp, TransactionId, chain, moving};
use store::Store;
use topology::{CellId, UserId, WalletId};
use uuid::Uuid;

/// When the chains of these tests begin.
const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

fn cell() -> CellId {
    CellId::parse("cell-1").expect("sound")
}

/// A chain that is made here block by block, before it is stored.
#[derive(Clone)]
struct Chain {
    blocks: Vec<Block>,
    made: u128,
    owner: Owner,
    open: OpenTransfers,
}

impl Chain {
    fn new(user: &str) -> Self {
        let user = UserId::parse(user).expect("sound");
        let wallet = WalletId::for_user(crate::fleet::NAMESPACE, &user);
        let owner = Owner { user: user.clone(), key: WalletKey::from_bytes([7; WalletKey::BYTES]) };
        let mut chain =
            Self { blocks: vec![], made: wallet.as_uuid().as_u128(), owner, open: OpenTransfers::default() };
        let opened = chain.entry(EntryKind::Opened, Money::ZERO, Money::ZERO, None);
        let sealed = chain.sealed(wallet, 0, 1);
        chain.blocks.push(chain::open(wallet, cell(), START, opened, sealed));
        chain
    }

    fn wallet(&self) -> WalletId {
        self.blocks[0].wallet
    }

    fn entry(&mut self, kind: EntryKind, amount: Money, after: Money, id: Option<TransactionId>) -> Entry {
        self.made = self.made.wrapping_add(1);
        let key = Some(Key { key: self.made.to_be_bytes(), request: [7; 16] });
        let id = id.unwrap_or_else(|| Uuid::from_u128(self.made));
        Entry { key, ..Entry::new(id, kind, amount, after) }
    }

    fn sealed(&self, wallet: WalletId, number: u64, entries: usize) -> Option<Sealed> {
        let audit = Audit { source_ip: ShortText::cut("192.0.2.1", 45), ..Audit::default() };
        let user = (number == 0).then(|| self.owner.user.clone());
        let part = PersonalPart { user, entries: vec![Personal::of(&audit, &Note::default()); entries] };
        self.owner.key.seal(wallet, number, &part)
    }

    /// One block of these happenings, a second after the last.
    fn push(&mut self, happenings: Vec<(EntryKind, u64, Option<TransactionId>)>) -> &Block {
        let last = self.blocks.last().expect("block 0").clone();
        let (mut state, mut entries) = (last.state.clone(), vec![]);
        let at = last.at.plus_micros(1_000_000);
        for (kind, amount, id) in happenings {
            let mut entry = self.entry(kind, Money::from_minor(amount), Money::ZERO, id);
            state
                .apply(entry.id, &entry.kind, entry.amount, (last.number + 1, at))
                .expect("the test makes sound chains");
            entry.balance_after = state.balance;
            entries.push(entry);
        }
        state.open_since = self.open.since_after(last.number + 1, &entries);
        let sealed = self.sealed(last.wallet, last.number + 1, entries.len());
        let next = chain::next_sealed(&last.head(), state, entries, sealed, at);
        self.open.take(&next);
        self.blocks.push(next);
        self.blocks.last().expect("just pushed")
    }

    fn deposits(&mut self, blocks: usize, entries: usize) {
        for _ in 0..blocks {
            self.push((0..entries).map(|_| (EntryKind::Deposit, 5, None)).collect());
        }
    }

    /// Stores the whole chain with its rows, as the cell and a move do together.
    async fn store<S: Store>(&self, store: &S) {
        let guard = Guard::Bucket { genesis: true };
        let first = Append::create(self.blocks[0].clone(), guard, self.owner.clone());
        store.append(&first).await.expect("the cell may create it");
        let mut rest = &self.blocks[1..];
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(moving::chunk(rest));
            store.append(&Append::of(chunk.to_vec(), None)).await.expect("no other process writes to it");
            rest = after;
        }
        self.record(store).await;
    }

    /// The rows that are recorded after the blocks.
    async fn record<S: Store>(&self, store: &S) {
        for run in self.blocks.chunks(RUN_BLOCKS as usize).filter_map(MarkRun::of) {
            store.put_run(self.wallet(), &run).await.expect("it answers");
        }
        store.put_snapshots(self.wallet(), &snapshots_of(None, &self.blocks)).await.expect("it answers");
    }
}
