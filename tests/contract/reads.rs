//! Reading chains: pages from either end, what is not there, and what was spoilt.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use ledger::block::{ShortText, Trace};
use ledger::{Block, canonical};
use store::{BlockRange, Store, StoreError};
use topology::WalletId;

use super::{Backdoor, Subject, after, after_with, deposit, text, wallet_in};

/// Large enough that the whole chain takes several pages of 1 MB.
const BLOCKS: u64 = 26;
const ENTRIES: usize = 250;
/// "About 1 MB": DynamoDB stops before it, DynamoDB Local after the item that goes past it.
const PAGE_BYTES: usize = 1 << 20;
const ITEM_MAX_BYTES: usize = 400 << 10;
const MAX_PAGES: usize = 100;

fn range(first: u64, last: u64, newest_first: bool) -> BlockRange {
    BlockRange { first, last, newest_first }
}

/// Reads a range page by page. The store in memory bounds its pages by a number of blocks instead of bytes.
async fn read_all<S: Store>(subject: &Subject<S>, wallet: WalletId, mut range: BlockRange, limit: usize) -> Vec<Block> {
    let page_max = if matches!(subject.backdoor, Backdoor::Memory) { usize::MAX } else { PAGE_BYTES + ITEM_MAX_BYTES };
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = subject.store.blocks(wallet, range, limit).await.expect("it answers");
        assert!(page.len() <= limit);
        let bytes: usize = page.iter().map(|block| canonical::encode(block).len()).sum();
        assert!(bytes <= page_max, "a page of {bytes} bytes");
        let Some(end) = page.last() else { return blocks };
        let done = end.number == if range.newest_first { range.first } else { range.last };
        let next = end.number;
        blocks.extend(page);
        if done {
            return blocks;
        }
        (range.first, range.last) = if range.newest_first { (range.first, next - 1) } else { (next + 1, range.last) };
    }
    panic!("more than {MAX_PAGES} pages");
}

pub async fn chains_are_read_in_pages_from_either_end<S: Store>(subject: &Subject<S>) {
    let wide = |letter: &str| ShortText::cut(&letter.repeat(255), ShortText::MAX_BYTES);
    // A request is named once for entries in a row that it made: here each has another one.
    let trace =
        |place: usize| Trace { request_id: wide(if place.is_multiple_of(2) { "r" } else { "q" }), trace_id: wide("t") };
    let mut chain = vec![subject.opened().await];
    for _ in 1..BLOCKS {
        let deposits = (0..ENTRIES).map(|_| deposit(1)).collect();
        let block = after_with(chain.last().expect("it has a block"), deposits, trace);
        subject.append(&[&block]).await.expect("no other process writes to it");
        chain.push(block);
    }
    let wallet = chain[0].wallet;
    let bytes: usize = chain.iter().map(canonical::size).sum();
    assert!(bytes > 2 * PAGE_BYTES, "{bytes} bytes fit into two pages");
    assert_eq!(subject.store.head(wallet).await.expect("it answers").as_ref(), chain.last());
    for (first, last) in [(0, u64::MAX), (0, BLOCKS - 1), (3, 20), (7, 7)] {
        let end = usize::try_from(last.min(BLOCKS - 1)).expect("small");
        let mut expected = chain[usize::try_from(first).expect("small")..=end].to_vec();
        for limit in [1_000, 4, 1] {
            assert!(
                read_all(subject, wallet, range(first, last, false), limit).await == expected,
                "{first}..={last}, {limit}"
            );
        }
        expected.reverse();
        for limit in [1_000, 4, 1] {
            assert!(
                read_all(subject, wallet, range(first, last, true), limit).await == expected,
                "{last}..={first}, {limit}"
            );
        }
    }
}

pub async fn packed_blocks_are_read_where_they_are<S: Store>(subject: &Subject<S>) {
    let mut chain = vec![subject.opened().await];
    for _ in 1..14 {
        let block = after(chain.last().expect("it has a block"), vec![deposit(1)]);
        subject.append(&[&block]).await.expect("no other process writes to it");
        chain.push(block);
    }
    let (store, wallet) = (&subject.store, chain[0].wallet);
    let packs = store.packs().expect("the subject has some");
    for pack in [&chain[..4], &chain[4..8]] {
        packs.put_pack(pack).await.expect("it is sound");
        store.drop_packed(pack).await.expect("they are the same");
    }
    let all = store.held_page(wallet, range(0, u64::MAX, false), 100).await.expect("it answers").blocks;
    assert_eq!(all.iter().map(|block| block.number).collect::<Vec<_>>(), [0, 8, 9, 10, 11, 12, 13]);
    for (first, last) in [(0, u64::MAX), (0, 3), (2, 9), (5, 5), (9, 20)] {
        let end = usize::try_from(last.min(13)).expect("small");
        let mut expected = chain[usize::try_from(first).expect("small")..=end].to_vec();
        for (newest_first, limit) in [(false, 100), (false, 3), (true, 100), (true, 3)] {
            let found = read_all(subject, wallet, range(first, last, newest_first), limit).await;
            if newest_first {
                expected.reverse();
            }
            assert!(found == expected, "{first}..={last}, {newest_first}, {limit}");
            if newest_first {
                expected.reverse();
            }
        }
    }
    let other = Block { hash: chain[3].hash, ..chain[9].clone() };
    // A store may say that they differ.
    let _ = store.drop_packed(&[other]).await;
    assert_eq!(store.held(wallet, 9).await, Ok(Some(chain[9].clone())), "it is another block");
}

pub async fn what_is_not_there_is_not_found<S: Store>(subject: &Subject<S>) {
    let (absent, head) = (wallet_in(0..0x8000), subject.funded().await);
    let store = &subject.store;
    assert_eq!(store.head(absent).await, Ok(None));
    assert_eq!(store.blocks(absent, range(0, u64::MAX, false), 10).await, Ok(vec![]));
    assert_eq!(store.blocks(head.wallet, range(2, u64::MAX, false), 10).await, Ok(vec![]));
}

/// Only where bytes are stored: the store in memory keeps blocks as they are.
pub async fn a_spoilt_block_is_noticed<S: Store>(subject: &Subject<S>) {
    let Backdoor::Tables { client, prefix } = &subject.backdoor else { return };
    let zero = subject.opened().await;
    let (one, other) = (after(&zero, vec![deposit(100)]), subject.funded().await);
    let encoded = canonical::encode(&one);
    let flipped = |position: usize| {
        let mut bytes = encoded.clone();
        bytes[position] ^= 1;
        bytes
    };
    let hash = one.hash.0.to_vec();
    let sealed = one.sealed.as_ref().expect("it holds personal data").as_bytes().to_vec();
    let put = async |bytes: Vec<u8>, hash: Vec<u8>, sealed: Option<Vec<u8>>| {
        let put = client.put_item().table_name(format!("{prefix}ledger"));
        let put = put.item("w", text(one.wallet.to_string())).item("n", AttributeValue::N("1".into()));
        let put = put.item("b", AttributeValue::B(Blob::new(bytes))).item("h", AttributeValue::B(Blob::new(hash)));
        let sealed = sealed.map(|sealed| AttributeValue::B(Blob::new(sealed)));
        let put = sealed.map_or(put.clone(), |sealed| put.item("p", sealed));
        put.send().await.expect("the tables can be written");
    };
    put(encoded.clone(), hash.clone(), Some(sealed.clone())).await;
    assert_eq!(subject.store.head(one.wallet).await, Ok(Some(one.clone())));
    let mut cases: Vec<_> = (0..encoded.len()).step_by(7).map(|at| (flipped(at), hash.clone())).collect();
    cases.push((encoded[..encoded.len() - 1].to_vec(), hash.clone()));
    cases.push((vec![], hash.clone()));
    cases.push((encoded.clone(), vec![0; 32]));
    cases.push((encoded.clone(), vec![]));
    // Sound bytes of another place are as wrong here as spoilt ones.
    cases.push((canonical::encode(&other), other.hash.0.to_vec()));
    cases.push((canonical::encode(&zero), zero.hash.0.to_vec()));
    let whole = Some(sealed.clone());
    let mut cases: Vec<_> = cases.into_iter().map(|(bytes, hash)| (bytes, hash, whole.clone())).collect();
    let mut changed = sealed;
    changed[3] ^= 1;
    cases.extend([None, Some(vec![]), Some(changed)].map(|sealed| (encoded.clone(), hash.clone(), sealed)));
    for (number, (bytes, hash, sealed)) in cases.into_iter().enumerate() {
        put(bytes, hash, sealed).await;
        let read = subject.store.head(one.wallet).await;
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "case {number}: {read:?}");
    }
}
