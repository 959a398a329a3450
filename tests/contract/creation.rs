//! Which cell may create a wallet: the bucket's row, the genesis bitmap where there is none, and
//! the wallet's own row.

use ledger::{Conflict, Guard};
use store::{AppendError, Genesis, HomeChange, HomeKey, HomeRow, HomeState, Store};
use topology::Bucket;

use super::{Subject, block_zero, cell, genesis, wallet_in};

/// Buckets that this module alone gives rows to, one after the other.
const BUCKETS: std::ops::Range<u16> = 0xf000..0xf100;

fn moved() -> HomeState {
    HomeState::Moved { to: cell() }
}

fn closing() -> HomeState {
    HomeState::Closing { to: cell() }
}

async fn creates<S: Store>(subject: &Subject<S>, wallet: topology::WalletId, guard: Guard) -> bool {
    let block = block_zero(wallet);
    match subject.create(&block, guard).await {
        Ok(()) => {
            assert_eq!(subject.store.head(wallet).await, Ok(Some(block)));
            true
        }
        Err(error) => {
            let expected = Conflict { guard: true, ..Conflict::default() };
            assert_eq!(error, AppendError::Conflict(expected));
            assert_eq!(subject.store.head(wallet).await, Ok(None));
            false
        }
    }
}

pub async fn a_wallet_is_created_where_its_bucket_is_served<S: Store>(subject: &Subject<S>) {
    let cases = [
        (None, true, true),
        (None, false, false),
        (Some(HomeState::Serving), true, true),
        (Some(HomeState::Serving), false, true),
        (Some(closing()), true, false),
        (Some(closing()), false, false),
        (Some(moved()), true, false),
        (Some(moved()), false, false),
    ];
    for (bucket, (row, genesis, expected)) in BUCKETS.zip(cases) {
        let wallet = wallet_in(bucket..bucket + 1);
        if let Some(state) = row.clone() {
            subject.set_home(HomeKey::Bucket(wallet.bucket()), state, 3).await;
        }
        let created = creates(subject, wallet, Guard::Bucket { genesis }).await;
        assert_eq!(created, expected, "row {row:?}, genesis {genesis}");
    }
}

pub async fn a_wallet_row_overrides_its_bucket<S: Store>(subject: &Subject<S>) {
    let cases = [
        (None, Guard::Granted, false),
        (Some(HomeState::Serving), Guard::Granted, true),
        (Some(closing()), Guard::Granted, false),
        (Some(moved()), Guard::Granted, false),
        // Whatever the row says, the bucket no longer decides.
        (Some(HomeState::Serving), Guard::Bucket { genesis: true }, false),
        (Some(closing()), Guard::Bucket { genesis: true }, false),
        (Some(moved()), Guard::Bucket { genesis: true }, false),
    ];
    for (row, guard, expected) in cases {
        let wallet = wallet_in(0..0x8000);
        if let Some(state) = row.clone() {
            subject.set_home(HomeKey::Wallet(wallet), state, 3).await;
        }
        assert_eq!(creates(subject, wallet, guard).await, expected, "row {row:?}, {guard:?}");
    }
}

pub async fn homes_are_read_as_they_were_written<S: Store>(subject: &Subject<S>) {
    assert_eq!(subject.store.genesis().await, Ok(Some(genesis())));
    let wallet = wallet_in(0xf800..0xf900);
    for key in [HomeKey::Wallet(wallet), HomeKey::Bucket(wallet.bucket())] {
        assert_eq!(subject.store.home(key).await, Ok(None));
        for (state, epoch) in [(HomeState::Serving, 1), (closing(), 2), (moved(), 3)] {
            subject.set_home(key, state.clone(), epoch).await;
            assert_eq!(subject.store.home(key).await, Ok(Some(HomeRow { state, epoch })));
        }
    }
}

pub async fn homes_change_all_at_once_and_only_from_what_was_seen<S: Store>(subject: &Subject<S>) {
    assert_eq!(subject.store.put_genesis(&genesis()).await, Ok(true), "the same one again");
    assert_eq!(subject.store.put_genesis(&Genesis::of([Bucket(1)])).await, Ok(false));
    let buckets = [Bucket(0xf201), Bucket(0xf202), Bucket(0xf203)];
    let keys = buckets.map(HomeKey::Bucket);
    let row = |state, epoch| HomeRow { state, epoch };
    let change = |key, expected, row| HomeChange { key, expected, row, unless_chain: false, while_served: None };
    let first = [change(keys[0], None, row(HomeState::Serving, 1)), change(keys[1], None, row(closing(), 1))];
    assert_eq!(subject.store.change_homes(&first).await, Ok(true));
    let seen = [Some(row(HomeState::Serving, 1)), Some(row(closing(), 1)), None];
    assert_eq!(subject.store.homes(&keys).await, Ok(seen.to_vec()));
    let wrong = [Some(row(HomeState::Serving, 2)), Some(row(closing(), 1)), Some(row(moved(), 1)), None];
    for expected in wrong {
        let both = [change(keys[2], None, row(moved(), 1)), change(keys[0], expected.clone(), row(moved(), 2))];
        assert_eq!(subject.store.change_homes(&both).await, Ok(false), "{expected:?}");
        assert_eq!(subject.store.homes(&keys).await, Ok(seen.to_vec()), "nothing was changed");
    }
    let right = [change(keys[1], seen[1].clone(), row(moved(), 2)), change(keys[2], None, row(moved(), 1))];
    assert_eq!(subject.store.change_homes(&right).await, Ok(true));
    assert_eq!(subject.store.home(keys[1]).await, Ok(Some(row(moved(), 2))));
}

pub async fn a_denial_may_depend_on_its_bucket_being_served<S: Store>(subject: &Subject<S>) {
    let cases = [
        (None, true, true),
        (None, false, false),
        (Some(HomeState::Serving), true, true),
        (Some(HomeState::Serving), false, true),
        (Some(closing()), true, false),
        (Some(closing()), false, false),
        (Some(moved()), true, false),
        (Some(moved()), false, false),
    ];
    for (bucket, (row, from_start, expected)) in BUCKETS.skip(cases.len()).zip(cases) {
        let wallet = wallet_in(bucket..bucket + 1);
        if let Some(state) = row.clone() {
            subject.set_home(HomeKey::Bucket(wallet.bucket()), state, 3).await;
        }
        let key = HomeKey::Wallet(wallet);
        let row_of = |state| HomeRow { state, epoch: 1 };
        let denial = HomeChange {
            key,
            expected: None,
            row: row_of(moved()),
            unless_chain: true,
            while_served: Some(from_start),
        };
        assert_eq!(subject.store.change_homes(&[denial]).await, Ok(expected), "row {row:?}, from start {from_start}");
        assert_eq!(subject.store.home(key).await, Ok(expected.then(|| row_of(moved()))));
    }
}

pub async fn a_denial_waits_for_nobody_and_comes_after_no_wallet<S: Store>(subject: &Subject<S>) {
    let denial = |wallet| HomeChange {
        key: HomeKey::Wallet(wallet),
        expected: None,
        row: HomeRow { state: moved(), epoch: 1 },
        unless_chain: true,
        while_served: None,
    };
    let there = subject.opened().await.wallet;
    assert_eq!(subject.store.change_homes(&[denial(there)]).await, Ok(false), "the wallet is there");
    let wallet = wallet_in(0..0x8000);
    assert_eq!(subject.store.change_homes(&[denial(wallet)]).await, Ok(true));
    assert!(!creates(subject, wallet, Guard::Bucket { genesis: true }).await);
    let listed = subject.store.members((wallet.bucket(), wallet.bucket()), None, 10).await;
    assert!(listed.expect("it answers").contains(&wallet), "a move of the bucket finds the promise");
}
