//! What a cell takes, and which wallets are hot, operators learn from the feed, whatever instances write.

use crate::fleet::{Call, Fleet, until, within};

const DEPOSITS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_load_and_the_hottest_wallet_are_shown_whatever_instances_write() {
    within(90, "the test", async {
        let fleet = Fleet::start(1, 2).await;
        let client = fleet.client();
        let (ann, bob) = (client.create("ann").await, client.create("bob").await);
        until(40, "the load is shown, and the hottest wallet first", async || {
            for number in 0..DEPOSITS {
                let wallet = if number % 10 == 0 { bob } else { ann };
                let instance = fleet.instance_client(1, u16::try_from(number % 2).expect("0 or 1"));
                instance.insist(&Call::deposit(wallet, "1")).await.expect(200);
            }
            let capacity = fleet.ctl(&["capacity"]).await;
            let named = |place: usize| capacity["cells"][0]["hot"][place]["wallet"].as_str().map(str::to_owned);
            let writes = capacity["cells"][0]["writesPerSecond"].as_f64();
            writes.is_some_and(|writes| writes > 0.0)
                && named(0) == Some(ann.to_string())
                && named(1) == Some(bob.to_string())
        })
        .await;
    })
    .await;
}
