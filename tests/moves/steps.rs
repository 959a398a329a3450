//! The migrator is killed with SIGKILL at each of its durable steps, in whichever database, right before and right
//! after the write: started again it comes to its end, and a customer caught in between is served without it.

use std::time::Duration;

use serde_json::{Value, json};
use store::{Chains, HomeKey, HomeState, Homes};
use topology::WalletId;

use super::support::bucket_of;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, Fleet, setting, until, wallet_of, within};

/// More writes than one database sees while a bucket moves.
const WRITES_MAX: u64 = 24;
/// Wallets in the bucket that moves: one with a transfer in flight to the other cell.
const ENDS_WITHIN_S: u64 = 30;

/// The process with the writes that are counted, and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Database {
    Source,
    Target,
    ControlPlane,
}

/// One way to die.
#[derive(Debug, Clone, Copy)]
struct Death {
    database: Database,
    after_writes: u64,
    /// The write on which it hangs is carried out.
    applied: bool,
    /// The processes of both cells are down meanwhile.
    cells_down: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migrator_killed_at_any_step_is_finished_by_the_next() {
    // Each step in one of four ways; all four of them in the long version.
    let every_way = setting("WALLET_EVERY_STEP", 0) == 1;
    within(if every_way { 3_600 } else { 600 }, "the test", walk(every_way)).await;
}

async fn walk(every_way: bool) {
    let fleet = Fleet::quiet(2, 1).await;
    let mut users = fleet.users_in(1, 400).await.into_iter();
    let mut deaths = 0;
    for (place, database) in [Database::Source, Database::Target, Database::ControlPlane].into_iter().enumerate() {
        'writes: for after_writes in 0..WRITES_MAX {
            for way in 0..4_u64 {
                if !every_way && way != (after_writes + place as u64) % 4 {
                    continue;
                }
                let death = Death { database, after_writes, applied: way % 2 == 1, cells_down: way >= 2 };
                let user = users.next().expect("there are more users than steps");
                if !die_and_recover(&fleet, &user, death).await {
                    eprintln!("{database:?}: {after_writes} writes and no more");
                    break 'writes;
                }
                deaths += 1;
            }
            assert!(after_writes + 1 < WRITES_MAX, "{database:?} sees more writes than are walked through");
        }
    }
    eprintln!("killed {deaths} times");
    assert!(deaths >= 12, "a move has at least four writes in each database");
    Books::read(&fleet).await.audit(Moment::Still);
}

/// Whether there was such a write at all.
async fn die_and_recover(fleet: &Fleet, user: &str, death: Death) -> bool {
    let client = fleet.client();
    let wallet = client.create(user).await;
    client.send(&Call::deposit(wallet, "10").key(user)).await.expect(200);
    if death.cells_down {
        for instance in ["cell-1-a", "cell-2-a"] {
            fleet.kill_for_good(instance).await;
        }
    }
    let url = match death.database {
        Database::Source => fleet.ports.cell_db(1),
        Database::Target => fleet.ports.cell_db(2),
        Database::ControlPlane => fleet.ports.control_plane_db(),
    };
    let plan = json!({ "hang_after_writes": death.after_writes, "hang_applied": death.applied });
    fleet.faults_at(&url, Some(plan)).await;
    let bucket = bucket_of(wallet).first.to_string();
    let starting = ["migrate", "--bucket", &bucket, "--to", "cell-2", "--yes", "--detach", "--reason", "walk"];
    let begun = tokio::time::timeout(Duration::from_secs(2), fleet.try_ctl(&starting)).await;
    let met = hung_or_done(fleet, &url, wallet).await;
    fleet.kill_for_good("control-plane").await;
    fleet.faults_at(&url, None).await;
    if met && !death.cells_down {
        // The migrator is dead, whatever it left behind: the customer notices nothing.
        client.send(&Call::deposit(wallet, "1").key(format!("{user}-caught"))).await.expect(200);
        assert_eq!(client.balance(wallet).await, "11.00", "{death:?}");
    }
    fleet.restart("control-plane").await;
    if death.cells_down {
        for instance in ["cell-1-a", "cell-2-a"] {
            fleet.restart(instance).await;
        }
    }
    fleet.until_all_ready(&[]).await;
    if !matches!(begun, Ok(Ok(_))) && operations(fleet, &bucket).await.is_empty() {
        // No cell knew that it had begun, and it had not.
        fleet.ctl(&starting).await;
    }
    let ended = async || {
        let operations = operations(fleet, &bucket).await;
        !operations.is_empty() && operations.iter().all(|operation| operation["state"] == "done")
    };
    until(ENDS_WITHIN_S, &format!("the move is done: {death:?}"), ended).await;
    check(fleet, wallet, death, met && !death.cells_down).await;
    met
}

/// Waits until a write hangs (`true`), or the move is through without one.
async fn hung_or_done(fleet: &Fleet, url: &str, wallet: WalletId) -> bool {
    let key = HomeKey::Bucket(wallet.bucket());
    let mut hung = false;
    until(ENDS_WITHIN_S, "a write hangs, or the move is done", async || {
        hung = fleet.hung_at(url).await > 0;
        let row = fleet.store(1).await.home(key).await.expect("it answers");
        let handed_over = row.is_some_and(|row| matches!(row.state, HomeState::Moved { .. }));
        let published = handed_over && fleet.ctl(&["where", "--wallet", &wallet.to_string()]).await["cell"] == "cell-2";
        hung || (published && settled(fleet, &wallet.bucket().to_string()).await)
    })
    .await;
    hung
}

async fn settled(fleet: &Fleet, bucket: &str) -> bool {
    operations(fleet, bucket).await.iter().all(|operation| operation["state"] == "done")
}

/// The operations on this bucket, as `ctl` lists them.
async fn operations(fleet: &Fleet, bucket: &str) -> Vec<Value> {
    let listed = fleet.ctl(&["op", "list", "--limit", "8"]).await;
    let listed = listed.as_array().cloned().unwrap_or_default();
    listed.into_iter().filter(|operation| operation.to_string().contains(&format!("\"{bucket}\""))).collect()
}

async fn check(fleet: &Fleet, wallet: WalletId, death: Death, deposited: bool) {
    let client = fleet.client();
    let expected = if deposited { "11.00" } else { "10.00" };
    assert_eq!(client.balance(wallet).await, expected, "{death:?}");
    let head = fleet.store(2).await.head(wallet).await.expect("it answers").expect("it has moved");
    assert_eq!(head.home.as_str(), "cell-2", "{death:?}");
    for (cell, serves) in [(1, false), (2, true)] {
        let row = fleet.store(cell).await.home(HomeKey::Bucket(wallet.bucket())).await.expect("it answers");
        assert_eq!(row.is_some_and(|row| row.state == HomeState::Serving), serves, "cell-{cell}, {death:?}");
    }
    assert_eq!(fleet.ctl(&["where", "--wallet", &wallet.to_string()]).await["cell"], "cell-2", "{death:?}");
    let again = client.send(&Call::create(&fleet_user(fleet, wallet).await)).await;
    assert_eq!(again.status, 409, "one wallet for one user: {again:?}");
}

async fn fleet_user(fleet: &Fleet, wallet: WalletId) -> String {
    let users = fleet.users_in(1, 400).await;
    users.into_iter().find(|user| wallet_of(user) == wallet).expect("one of them")
}
