//! One suite over the storage port, run on every engine that claims to be one: the store in memory, our local stand-in
//! for DynamoDB, Amazon's own DynamoDB Local, and DynamoDB itself where a region is given.
//!
//! Every check makes wallets of its own, so that all of them can share the tables of one engine.

mod appends;
mod cell_rows;
mod changes;
mod creation;
mod engines;
mod moves;
mod owners;
mod reads;
mod rows;

use std::sync::atomic::{AtomicI64, Ordering};

use archive::Archive;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use ledger::block::{Audit, Key, ShortText, Trace};
use ledger::personal::{Note, Personal, PersonalPart, WalletKey};
use ledger::{Append, Block, Entry, EntryKind, Guard, Money, Timestamp, TransactionId, chain};
use store::dynamodb::{Connection, DynamoStore, connect, connect_streams};
use store::memory::MemoryStore;
use store::{Genesis, HomeChange, HomeKey, HomeRow, HomeState, Homes, Store};
use topology::{Bucket, CellId, UserId, WalletId};
use uuid::Uuid;

use crate::fleet::until;

/// When the first chain of this suite begins; each later one begins a microsecond after.
const START: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

/// From an engine's start to its first answers within the store's own timeout.
const WARM_UP_S: u64 = 60;

static CHAINS: AtomicI64 = AtomicI64::new(0);

/// A store, and the way past it to spoil what it wrote.
struct Subject<S> {
    store: S,
    backdoor: Backdoor,
}

enum Backdoor {
    Memory,
    Tables { client: Client, prefix: String },
}

/// The buckets that the cell under test owns from its start.
fn genesis() -> Genesis {
    Genesis::of(Bucket::all().filter(|bucket| bucket.0 < 0x8000))
}

/// Where old blocks are, four in a pack.
fn packs() -> Archive {
    Archive::open("memory:///", cell()).expect("nothing is needed for it").with_packs_of(4)
}

impl Subject<MemoryStore> {
    fn memory() -> Self {
        Self { backdoor: Backdoor::Memory, store: MemoryStore::new(genesis()).with_packs(packs()) }
    }
}

impl Subject<DynamoStore> {
    async fn tables(connection: &Connection, prefix: &str) -> Self {
        let client = connect(connection).await;
        // A Java engine that has just started takes its time for the first calls.
        until(WARM_UP_S, "the tables are created", async || {
            store::dynamodb::create_tables(&client, prefix).await.is_ok()
        })
        .await;
        let store = DynamoStore::new(client.clone(), prefix).with_streams(connect_streams(connection).await);
        let store = store.with_packs(packs());
        assert_eq!(store.put_genesis(&genesis()).await, Ok(true));
        Self { store, backdoor: Backdoor::Tables { client, prefix: prefix.to_owned() } }
    }
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

impl<S: Store> Subject<S> {
    /// Gives a bucket or wallet this row, whatever it had.
    async fn set_home(&self, key: HomeKey, state: HomeState, epoch: u64) {
        let expected = self.store.home(key).await.expect("it answers");
        let change =
            HomeChange { key, expected, row: HomeRow { state, epoch }, unless_chain: false, while_served: None };
        assert_eq!(self.store.change_homes(&[change]).await, Ok(true));
    }

    /// A wallet with its block 0, written on the strength of the genesis bitmap.
    async fn opened(&self) -> Block {
        let block = block_zero(wallet_in(0..0x8000));
        self.create(&block, Guard::Bucket { genesis: true }).await.expect("the cell may create it");
        block
    }

    async fn create(&self, block: &Block, guard: Guard) -> Result<(), store::AppendError> {
        self.store.append(&Append::of(vec![block.clone()], Some(guard))).await
    }

    async fn append(&self, blocks: &[&Block]) -> Result<(), store::AppendError> {
        let blocks = blocks.iter().map(|block| (*block).clone()).collect();
        self.store.append(&Append::of(blocks, None)).await
    }

    /// A wallet with a balance: block 1 is a deposit.
    async fn funded(&self) -> Block {
        let block = after(&self.opened().await, vec![deposit(1_000)]);
        self.append(&[&block]).await.expect("no other process writes to it");
        block
    }
}

/// A wallet of its own, in one of these buckets.
fn wallet_in(buckets: std::ops::Range<u16>) -> WalletId {
    let mut bytes = *Uuid::new_v4().as_bytes();
    let bucket = buckets.start + u16::from_be_bytes([bytes[0], bytes[1]]) % (buckets.end - buckets.start);
    bytes[..2].copy_from_slice(&bucket.to_be_bytes());
    WalletId::from_uuid(Uuid::from_bytes(bytes))
}

fn cell() -> CellId {
    CellId::parse("cell-1").expect("sound")
}

fn block_zero(wallet: WalletId) -> Block {
    let at = START.plus_micros(CHAINS.fetch_add(1, Ordering::Relaxed));
    let part = PersonalPart { user: UserId::parse(format!("user of {wallet}")).ok(), entries: vec![personal()] };
    chain::open(wallet, cell(), at, entry(EntryKind::Opened, 0, 0), key().seal(wallet, 0, &part))
}

fn entry(kind: EntryKind, amount: u64, balance: u64) -> Entry {
    let key = Some(Key { key: *Uuid::new_v4().as_bytes(), request: [7; 16] });
    Entry { key, ..Entry::new(Uuid::new_v4(), kind, Money::from_minor(amount), Money::from_minor(balance)) }
}

fn personal() -> Personal {
    let audit = Audit { source_ip: ShortText::cut("192.0.2.1", 45), ..Audit::default() };
    Personal::of(&audit, &Note::default())
}

fn key() -> WalletKey {
    WalletKey::from_bytes([7; WalletKey::BYTES])
}

/// Something to put into a block: what, how much, and under which id.
type Happening = (EntryKind, u64, TransactionId);

fn deposit(amount: u64) -> Happening {
    (EntryKind::Deposit, amount, Uuid::new_v4())
}

/// The block after `previous`, a second later.
fn after(previous: &Block, happenings: Vec<Happening>) -> Block {
    after_with(previous, happenings, |_| Trace::default())
}

fn after_with(previous: &Block, happenings: Vec<Happening>, trace: impl Fn(usize) -> Trace) -> Block {
    let (mut state, mut entries, at) = (previous.state.clone(), vec![], previous.at.plus_micros(1_000_000));
    for (place, (kind, amount, id)) in happenings.into_iter().enumerate() {
        let applied = state.apply(id, &kind, Money::from_minor(amount), (previous.number + 1, at));
        applied.expect("the suite writes sound chains");
        entries.push(Entry { id, trace: trace(place), ..entry(kind, amount, state.balance.minor()) });
    }
    let part = PersonalPart { user: None, entries: vec![personal(); entries.len()] };
    let sealed = key().seal(previous.wallet, previous.number + 1, &part);
    let block = chain::next_sealed(&previous.head(), state, entries, sealed, at);
    chain::verify(Some(&previous.head()), &block).expect("the suite writes sound chains");
    block
}

/// Everything that any engine has to do.
async fn whole_contract<S: Store>(subject: &Subject<S>) {
    appends::a_block_is_appended_once(subject).await;
    appends::nothing_is_sent_after_its_head_is_too_old(subject).await;
    appends::one_of_many_concurrent_appends_wins(subject).await;
    appends::a_conflict_names_what_it_met(subject).await;
    creation::a_wallet_is_created_where_its_bucket_is_served(subject).await;
    creation::a_wallet_row_overrides_its_bucket(subject).await;
    creation::homes_are_read_as_they_were_written(subject).await;
    creation::homes_change_all_at_once_and_only_from_what_was_seen(subject).await;
    creation::a_denial_may_depend_on_its_bucket_being_served(subject).await;
    creation::a_denial_waits_for_nobody_and_comes_after_no_wallet(subject).await;
    owners::an_owner_is_written_with_its_wallet_and_erased_for_good(subject).await;
    owners::a_purge_takes_an_owner_along_and_leaves_the_mark_of_an_erased_one(subject).await;
    moves::a_chain_is_copied_and_listed(subject).await;
    moves::members_are_listed_by_bucket_in_pages(subject).await;
    moves::what_was_forgotten_can_be_copied_back(subject).await;
    moves::nothing_is_forgotten_of_a_chain_that_goes_on(subject).await;
    rows::runs_of_marks_come_newest_first(subject).await;
    rows::runs_that_fill_a_page_come_with_more(subject).await;
    rows::the_latest_snapshot_before_a_time_is_found(subject).await;
    cell_rows::a_row_of_the_cell_changes_only_from_what_was_seen(subject).await;
    cell_rows::rows_of_the_cell_are_listed_from_either_end(subject).await;
    cell_rows::what_is_stored_is_read_item_by_item(subject).await;
    changes::every_block_comes_out_in_the_order_of_its_wallet(subject).await;
    changes::a_saved_position_goes_on_where_it_was(subject).await;
    changes::two_readers_at_once_both_get_everything(subject).await;
    changes::a_position_of_another_stream_is_lost(subject).await;
    changes::copies_come_out_and_purges_do_not(subject).await;
    reads::chains_are_read_in_pages_from_either_end(subject).await;
    reads::packed_blocks_are_read_where_they_are(subject).await;
    reads::what_is_not_there_is_not_found(subject).await;
    reads::a_spoilt_block_is_noticed(subject).await;
}
