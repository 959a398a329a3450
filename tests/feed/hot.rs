//! Which wallets are hot, operators learn from the feed, whatever instances write to them.

use crate::fleet::{Call, Fleet, until, within};

const DEPOSITS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hottest_wallet_is_named_whatever_instances_write_to_it() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 2).await;
        let client = fleet.client();
        let (ann, bob) = (client.create("ann").await, client.create("bob").await);
        until(40, "the hottest wallet is named first", async || {
            for number in 0..DEPOSITS {
                let wallet = if number % 10 == 0 { bob } else { ann };
                let instance = fleet.instance_client(1, u16::try_from(number % 2).expect("0 or 1"));
                instance.insist(&Call::deposit(wallet, "1")).await.expect(200);
            }
            let capacity = fleet.ctl(&["capacity"]).await;
            let named = |place: usize| capacity["cells"][0]["hot"][place]["wallet"].as_str().map(str::to_owned);
            named(0) == Some(ann.to_string()) && named(1) == Some(bob.to_string())
        })
        .await;
    })
    .await;
}
