//! A cell with as many customers as it is tested for: what the control plane places goes elsewhere, and no customer is
//! turned away.

use std::time::Duration;

use crate::fleet::{Call, Fleet, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cell_gets_no_onboarding_and_refuses_no_wallet() {
    within(90, "the test", async {
        let fleet = Fleet::start(2, 1).await;
        let users = fleet.users_in(1, 2).await;
        fleet.ctl(&["cell", "set", "cell-1", "--max-customers", "0"]).await;
        let onboarded = fleet.ctl(&["customer", "onboard", "--user", &users[0]]).await;
        assert_eq!((&onboarded["cell"], &onboarded["pinned"]), (&"cell-2".into(), &true.into()), "{onboarded}");
        fleet.client().send(&Call::create(&users[1]).key("own")).await.expect(201);
        assert_eq!(fleet.ctl(&["where", "--user", &users[1]]).await["cell"], "cell-1");
        // The router knows the pin as soon as it is published.
        let shown = Call::get(format!("/api/v1/wallets?userId={}", users[0]));
        tokio::time::timeout(Duration::from_secs(10), fleet.client().insist(&shown))
            .await
            .expect("it is found")
            .expect(200);

        let drift = fleet.try_ctl(&["cell", "drift"]).await.expect_err("they differ");
        assert!(drift.contains("exit status: 3") && drift.contains("max_customers"), "{drift}");
    })
    .await;
}
