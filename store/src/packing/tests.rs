use fastrand::Rng;
use ledger::{Append, Entry, EntryKind, Money, WalletState, chain};
use topology::UserId;
use uuid::Uuid;

use super::*;
use crate::memory::MemoryStore;
use crate::verify::{FullSpeed, verify};
use crate::{Chains, Page};

const PACK: u64 = 4;
const KEPT: u64 = 6;
const SECOND: i64 = 1_000_000;

struct Site {
    store: MemoryStore,
    packs: Archive,
    cell: CellId,
    chain: Vec<Block>,
}

fn cell() -> CellId {
    CellId::parse("cell-1").expect("sound")
}

fn at(second: usize) -> Timestamp {
    Timestamp::from_micros(1_760_000_000 * SECOND + i64::try_from(second).expect("small") * SECOND)
}

/// Deposits, one a second.
fn chain_of(blocks: usize, change: impl Fn(usize, &mut WalletState)) -> Vec<Block> {
    let user = UserId::parse("ann").expect("sound");
    let wallet = WalletId::for_user(Uuid::from_u128(7), &user);
    let opened = Entry::new(Uuid::from_u128(1), EntryKind::Opened, Money::ZERO, Money::ZERO);
    let mut chain = vec![chain::open(wallet, cell(), at(0), opened, None)];
    for number in 1..blocks {
        let last = &chain[number - 1];
        let mut state = last.state.clone();
        state.balance = Money::from_minor(state.balance.minor() + 5);
        change(number, &mut state);
        let id = Uuid::from_u128(1_000 + u128::try_from(number).expect("small"));
        let deposit = Entry::new(id, EntryKind::Deposit, Money::from_minor(5), state.balance);
        chain.push(chain::next(&last.head(), state, vec![deposit], at(number)));
    }
    chain
}

impl Site {
    async fn with(chain: Vec<Block>) -> Self {
        let packs = Archive::open("memory:///", cell()).expect("a store").with_packs_of(PACK);
        let store = MemoryStore::default().with_packs(packs.clone());
        for block in &chain {
            store.append(&Append::next(block.clone())).await.expect("written");
        }
        Self { store, packs, cell: cell(), chain }
    }

    fn wallet(&self) -> WalletId {
        self.chain[0].wallet
    }

    async fn pack(&self, before: Timestamp) -> u64 {
        let packing = Packing { cell: &self.cell, packs: &self.packs, before, kept: KEPT };
        packing.pack(&self.store, self.wallet()).await.expect("sound")
    }

    /// The numbers of the blocks that the table holds.
    fn held(&self) -> Vec<u64> {
        self.store.tables().chain(self.wallet()).map(|block| block.number).collect()
    }

    async fn page(&self, range: BlockRange, limit: usize) -> Page {
        self.store.page(self.wallet(), range, limit).await.expect("sound")
    }

    async fn breaks(&self) -> Vec<String> {
        let report = verify(&self.store, &self.cell, self.wallet(), &[], &mut FullSpeed).await.expect("answers");
        report.breaks.into_iter().map(|found| format!("{}: {}", found.place, found.what)).collect()
    }
}

#[tokio::test]
async fn old_blocks_leave_the_table_and_are_read_from_packs() {
    let site = Site::with(chain_of(40, |_, _| {})).await;
    assert_eq!(site.pack(at(10)).await, 2, "the third pack ends with a block of second 11");
    assert_eq!(site.held()[..3], [0, 8, 9]);
    assert_eq!(site.pack(at(1_000)).await, 6, "up to the newest that stay");
    assert_eq!(site.held(), [vec![0], (32..40).collect()].concat());
    assert_eq!(site.pack(at(1_000)).await, 0);
    let all = BlockRange { first: 0, last: u64::MAX, newest_first: false };
    assert_eq!(site.page(all, 100).await, Page { blocks: site.chain.clone(), more: false });
    assert_eq!(site.breaks().await, Vec::<String>::new());
}

#[tokio::test]
async fn any_part_of_a_packed_chain_reads_as_before() {
    let rng = &mut Rng::with_seed(3);
    let site = Site::with(chain_of(61, |_, _| {})).await;
    site.pack(at(45)).await;
    for _ in 0..500 {
        let first = rng.u64(0..65);
        let last = if rng.bool() { u64::MAX } else { rng.u64(first..70) };
        let range = BlockRange { first, last, newest_first: rng.bool() };
        let mut expected: Vec<Block> =
            site.chain.iter().filter(|block| (first..=last).contains(&block.number)).cloned().collect();
        if range.newest_first {
            expected.reverse();
        }
        let mut found: Vec<Block> = Vec::new();
        loop {
            let rest = match (found.last(), range.newest_first) {
                (None, _) => range,
                (Some(block), false) => BlockRange { first: block.number + 1, ..range },
                (Some(block), true) if block.number == 0 => break,
                (Some(block), true) => BlockRange { last: block.number - 1, ..range },
            };
            if rest.first > rest.last {
                break;
            }
            let page = site.page(rest, rng.usize(1..30)).await;
            let ended = page.blocks.is_empty() || !page.more;
            found.extend(page.blocks);
            if ended {
                break;
            }
        }
        assert_eq!(found, expected, "{range:?}");
    }
}

#[tokio::test]
async fn blocks_above_an_open_transfer_stay() {
    let open = |number: usize, state: &mut WalletState| {
        (state.open_count, state.open_since) = if number >= 9 { (1, 9) } else { (0, 0) };
    };
    let site = Site::with(chain_of(40, open)).await;
    assert_eq!(site.pack(at(1_000)).await, 2);
    assert_eq!(site.held()[..2], [0, 8]);
}

#[tokio::test]
async fn a_wallet_that_lives_elsewhere_is_left_alone() {
    let mut site = Site::with(chain_of(40, |_, _| {})).await;
    site.cell = CellId::parse("cell-2").expect("sound");
    assert_eq!(site.pack(at(1_000)).await, 0);
    assert_eq!(site.held().len(), 40);
}

#[tokio::test]
async fn a_block_that_differs_from_its_pack_is_not_deleted() {
    let site = Site::with(chain_of(40, |_, _| {})).await;
    let mut other = site.chain[..4].to_vec();
    let deposit = Entry { id: Uuid::from_u128(5), ..other[3].entries[0].clone() };
    other[3] = chain::next(&other[2].head(), other[3].state.clone(), vec![deposit], other[3].at);
    site.packs.put_pack(&other).await.expect("it is sound");
    let packing = Packing { cell: &site.cell, packs: &site.packs, before: at(1_000), kept: KEPT };
    let refused = packing.pack(&site.store, site.wallet()).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert_eq!(site.held().len(), 40);
}

#[tokio::test]
async fn a_pack_that_is_missing_is_found_by_verification() {
    let site = Site::with(chain_of(40, |_, _| {})).await;
    site.pack(at(10)).await;
    let without = site.store.with_packs(Archive::open("memory:///", cell()).expect("a store").with_packs_of(PACK));
    let lost = Site { store: without, ..site };
    assert_eq!(lost.breaks().await, ["block 1: it and all to 7 are missing"]);
}
