//! Who may create a wallet: the bucket's row, the genesis bitmap where there is none, and the wallet's own row.

use ledger::store::{AppendError, Conflict, Guard, HomeKey, HomeRow, HomeState, Store};

use super::{Subject, block_zero, cell, genesis, wallet_in};

/// Buckets that this module alone gives rows to, one after the other.
const BUCKETS: std::ops::Range<u16> = 0xf000..0xf100;

fn moved() -> HomeState {
    HomeState::Moved { to: cell() }
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
        (Some(HomeState::Closing), true, false),
        (Some(HomeState::Closing), false, false),
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
        (Some(HomeState::Closing), Guard::Granted, false),
        (Some(moved()), Guard::Granted, false),
        // Whatever the row says, the bucket no longer decides.
        (Some(HomeState::Serving), Guard::Bucket { genesis: true }, false),
        (Some(HomeState::Closing), Guard::Bucket { genesis: true }, false),
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
        for (state, epoch) in [(HomeState::Serving, 1), (HomeState::Closing, 2), (moved(), 3)] {
            subject.set_home(key, state.clone(), epoch).await;
            assert_eq!(subject.store.home(key).await, Ok(Some(HomeRow { state, epoch })));
        }
    }
}
