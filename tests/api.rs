//! The wallet API as clients meet it, through the router.

pub mod bad_input;
mod batches;
mod books;
mod events;
mod history;
mod holds;
mod internal;
mod notes;
mod replays;
mod reversals;
mod transfers;
mod two_cells;

use topology::WalletId;

use crate::fleet::{Client, Fleet};

/// Two cells with wallets in them: Ann and Abe in the first, Bob in the second, with 100.00 each.
pub struct Fixture {
    pub fleet: Fleet,
    pub client: Client,
    pub ann: WalletId,
    pub abe: WalletId,
    pub bob: WalletId,
}

impl Fixture {
    pub async fn new() -> Self {
        let fleet = Fleet::start(2, 1).await;
        let client = fleet.client();
        let first = fleet.users_in(1, 2).await;
        let second = fleet.users_in(2, 1).await;
        let (ann, abe, bob) =
            (wallet(&client, &first[0]).await, wallet(&client, &first[1]).await, wallet(&client, &second[0]).await);
        Self { fleet, client, ann, abe, bob }
    }

    /// A user of the second cell without a wallet.
    pub async fn newcomer(&self) -> String {
        self.fleet.users_in(2, 2).await.remove(1)
    }
}

async fn wallet(client: &Client, user: &str) -> WalletId {
    let wallet = client.create(user).await;
    client.send(&crate::fleet::Call::deposit(wallet, "100").key("first")).await.expect(200);
    wallet
}
