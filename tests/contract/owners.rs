//! Owners of wallets: written with block 0, copied, purged, erased.

use ledger::{Append, Guard, Owner, WalletKey};
use store::{Forgotten, Store};
use topology::{UserId, WalletId};

use super::{Subject, block_zero, moves, wallet_in};

fn owner(byte: u8) -> Owner {
    let user = UserId::parse(format!("user-{byte}")).expect("sound");
    Owner { user, key: WalletKey::from_bytes([byte; WalletKey::BYTES]) }
}

async fn created<S: Store>(subject: &Subject<S>, owner: Owner) -> WalletId {
    let wallet = wallet_in(0..0x8000);
    let guard = Guard::Bucket { genesis: true };
    subject.store.append(&Append::create(block_zero(wallet), guard, owner)).await.expect("it may be created here");
    wallet
}

pub async fn an_owner_is_written_with_its_wallet_and_erased_for_good<S: Store>(subject: &Subject<S>) {
    let store = &subject.store;
    let absent = wallet_in(0..0x8000);
    assert_eq!((store.owner(absent).await, store.is_erased(absent).await), (Ok(None), Ok(false)));
    let wallet = created(subject, owner(1)).await;
    assert_eq!(store.owner(wallet).await, Ok(Some(owner(1))));
    // A creation that fails leaves no other owner.
    let again = Append::create(block_zero(wallet), Guard::Bucket { genesis: true }, owner(2));
    store.append(&again).await.expect_err("it is there");
    store.put_owner(wallet, &owner(3)).await.expect("it answers");
    assert_eq!(store.owner(wallet).await, Ok(Some(owner(1))), "the first one stays");
    store.put_owner(absent, &owner(4)).await.expect("it answers");
    assert_eq!(store.owner(absent).await, Ok(Some(owner(4))), "a copy may come before its chain");
    for _ in 0..2 {
        store.erase_owner(wallet).await.expect("it answers");
        assert_eq!((store.owner(wallet).await, store.is_erased(wallet).await), (Ok(None), Ok(true)));
        store.put_owner(wallet, &owner(1)).await.expect("it answers");
    }
}

pub async fn a_purge_takes_an_owner_along_and_leaves_the_mark_of_an_erased_one<S: Store>(subject: &Subject<S>) {
    let store = &subject.store;
    for is_erased in [false, true] {
        let wallet = created(subject, owner(5)).await;
        if is_erased {
            store.erase_owner(wallet).await.expect("it answers");
        }
        let stone = moves::moved(&block_zero_of(store, wallet).await);
        store.append(&Append::next(stone.clone())).await.expect("free");
        while store.forget(wallet, stone.number).await.expect("it answers") != Forgotten::All {}
        assert_eq!((store.owner(wallet).await, store.is_erased(wallet).await), (Ok(None), Ok(is_erased)));
        // It may come back.
        store.put_owner(wallet, &owner(5)).await.expect("it answers");
        assert_eq!(store.owner(wallet).await.expect("it answers").is_some(), !is_erased);
    }
}

async fn block_zero_of<S: Store>(store: &S, wallet: WalletId) -> ledger::Block {
    store.head(wallet).await.expect("it answers").expect("it was created")
}
