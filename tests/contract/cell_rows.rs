//! Rows of the cell itself, and items as they are stored.

use ledger::marks::{Mark, MarkRun};
use ledger::snapshots::Snapshot;
use ledger::{Block, Money};
use store::{CellRow, Derived, Store};
use uuid::Uuid;

use super::{START, Subject, after, deposit};

fn row(version: u64, text: &str) -> CellRow {
    CellRow { version, bytes: text.as_bytes().to_vec() }
}

pub async fn a_row_of_the_cell_changes_only_from_what_was_seen<S: Store>(subject: &Subject<S>) {
    let (store, list) = (&subject.store, Uuid::new_v4().to_string());
    assert_eq!(store.cell_row(&list, "a").await, Ok(None));
    assert_eq!(store.put_cell_row(&list, "a", Some(1), &row(2, "x")).await, Ok(false), "there is none");
    assert_eq!(store.put_cell_row(&list, "a", None, &row(1, "x")).await, Ok(true));
    assert_eq!(store.put_cell_row(&list, "a", None, &row(1, "y")).await, Ok(false), "there is one");
    assert_eq!(store.put_cell_row(&list, "a", Some(2), &row(3, "y")).await, Ok(false), "of another version");
    assert_eq!(store.put_cell_row(&list, "a", Some(1), &row(2, "z")).await, Ok(true));
    assert_eq!(store.cell_row(&list, "a").await, Ok(Some(row(2, "z"))));
    assert_eq!(store.cell_row(&Uuid::new_v4().to_string(), "a").await, Ok(None), "another list's");
}

pub async fn rows_of_the_cell_are_listed_from_either_end<S: Store>(subject: &Subject<S>) {
    let (store, list) = (&subject.store, Uuid::new_v4().to_string());
    for key in ["b", "d", "a", "c"] {
        assert_eq!(store.put_cell_row(&list, key, None, &row(1, key)).await, Ok(true));
    }
    for (after, newest_first, limit, expected) in [
        (None, false, 10, vec!["a", "b", "c", "d"]),
        (None, true, 10, vec!["d", "c", "b", "a"]),
        (Some("b"), false, 10, vec!["c", "d"]),
        (Some("b"), false, 1, vec!["c"]),
        (Some("c"), true, 1, vec!["b"]),
        (Some("d"), false, 10, vec![]),
    ] {
        let rows = store.cell_rows(&list, after, newest_first, limit).await.expect("it answers");
        assert_eq!(rows, expected.into_iter().map(|key| (key.to_owned(), row(1, key))).collect::<Vec<_>>());
    }
}

pub async fn what_is_stored_is_read_item_by_item<S: Store>(subject: &Subject<S>) {
    let store = &subject.store;
    let mut chain: Vec<Block> = vec![subject.opened().await];
    for _ in 0..20 {
        let block = after(chain.last().expect("block 0"), vec![deposit(1)]);
        subject.append(&[&block]).await.expect("no other process writes to it");
        chain.push(block);
    }
    let wallet = chain[0].wallet;
    let (mut read, mut first, mut more) = (vec![], 0, true);
    while more {
        let page = store.stored_blocks(wallet, first, 7).await.expect("it answers");
        for item in page.items {
            let block = item.value.expect("sound");
            assert_eq!(item.key, block.number.to_string());
            first = block.number + 1;
            read.push(block);
        }
        more = page.more;
    }
    assert_eq!(read, chain);
    let run = MarkRun { run: 3, last_at: START, marks: vec![(Mark([1; 11]), 200)] };
    let hash = ledger::Hash([9; 32]);
    let snapshot = Snapshot { at: START, block: 255, next: 319, balance: Money::from_minor(1), hash };
    store.put_run(wallet, &run).await.expect("it answers");
    store.put_snapshots(wallet, &[snapshot]).await.expect("it answers");
    let expected = [Derived::Marks(run), Derived::Snapshot(snapshot)];
    let mut after: Option<String> = None;
    for expected in expected {
        let page = store.stored_rows(wallet, after.as_deref(), 1).await.expect("it answers");
        let item = page.items.into_iter().next().expect("there is one more");
        assert_eq!((item.key.clone(), item.value), (expected.key(), Ok(expected)));
        after = Some(item.key);
    }
}
