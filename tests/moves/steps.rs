//! The migrator is killed with SIGKILL at each of its durable steps, in whichever database, right before and right
//! after the write: started again it comes to its end, and a customer caught in between is served without it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use store::{Chains, HomeKey, HomeRow, HomeState, Homes};
use topology::{Bucket, WalletId};

use super::support::bucket_of;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, Fleet, setting, until, wallet_of, within};

/// More writes than one database sees while a bucket moves, and while several groups do.
const WRITES_MAX: u64 = 24;
const GROUPS_WRITES_MAX: u64 = 96;
const ENDS_WITHIN_S: u64 = 30;
/// Buckets of which three groups are made.
const THREE_GROUPS: u16 = 130;
/// The one that is met in the short version of their walk.
const FIRST_OF_MANY: u64 = 4;
/// Cell 1 has the first half.
const BUCKETS_OF_ONE: u16 = 0x8000;

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
    /// How many move.
    buckets: u16,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migrator_killed_at_any_step_is_finished_by_the_next() {
    // Each step in one of four ways; all four of them in the long version.
    let every_way = setting("WALLET_EVERY_STEP", 0) == 1;
    let steps = Steps { buckets: 1, every: 1, every_way, writes_max: WRITES_MAX };
    within(if every_way { 3_600 } else { 600 }, "the test", walk(steps)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_move_side_by_side_are_finished_by_the_next_migrator() {
    // One step of each database in the short version.
    let is_long = setting("WALLET_EVERY_STEP", 0) == 1;
    let every = if is_long { 1 } else { GROUPS_WRITES_MAX };
    let steps = Steps { buckets: THREE_GROUPS, every, every_way: false, writes_max: GROUPS_WRITES_MAX };
    within(if is_long { 3_600 } else { 120 }, "the test", walk(steps)).await;
}

/// Where the migrator is killed.
struct Steps {
    /// How many move. The first has a wallet in it.
    buckets: u16,
    /// Of so many writes, one.
    every: u64,
    every_way: bool,
    writes_max: u64,
}

async fn walk(Steps { buckets, every, every_way, writes_max }: Steps) {
    let fleet = Fleet::quiet(2, 1).await;
    let mut users = fleet.users_in(1, 400).await;
    // The buckets of one are none of another's.
    let mut taken = BTreeSet::new();
    users.retain(|user| {
        let first = wallet_of(user).bucket().0;
        let near = first.saturating_sub(buckets)..=first + buckets;
        let is_free = first + buckets <= BUCKETS_OF_ONE && taken.range(near).next().is_none();
        is_free && taken.insert(first)
    });
    let mut users = users.into_iter();
    let mut deaths = 0;
    for (place, database) in [Database::Source, Database::Target, Database::ControlPlane].into_iter().enumerate() {
        let first = if every > 1 { FIRST_OF_MANY } else { 0 };
        'writes: for after_writes in (first..writes_max).step_by(usize::try_from(every).expect("a few")) {
            for way in 0..4_u64 {
                if !every_way && way != (after_writes + place as u64) % 4 {
                    continue;
                }
                let death = Death { database, after_writes, applied: way % 2 == 1, cells_down: way >= 2, buckets };
                let user = users.next().expect("there are more users than steps");
                if !die_and_recover(&fleet, &user, death).await {
                    eprintln!("{database:?}: {after_writes} writes and no more");
                    break 'writes;
                }
                deaths += 1;
            }
            assert!(after_writes + 1 < writes_max, "{database:?} sees more writes than are walked through");
        }
    }
    eprintln!("killed {deaths} times");
    assert!(deaths >= if every > 1 { 3 } else { 12 }, "a move has at least four writes in each database");
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
    let last = Bucket(wallet.bucket().0 + (death.buckets - 1));
    let range = if death.buckets > 1 { format!("{bucket}..{last}") } else { bucket.clone() };
    let starting = ["migrate", "--bucket", &range, "--to", "cell-2", "--yes", "--detach", "--reason", "walk"];
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
    let first = wallet.bucket().0;
    for (cell, serves) in [(1, false), (2, true)] {
        let store = fleet.store(cell).await;
        let keys: Vec<_> = (first..first + death.buckets).map(|bucket| HomeKey::Bucket(Bucket(bucket))).collect();
        for keys in keys.chunks(64) {
            let rows = store.homes(keys).await.expect("it answers");
            let is_right =
                |row: &Option<HomeRow>| row.as_ref().is_some_and(|row| row.state == HomeState::Serving) == serves;
            assert!(rows.iter().all(is_right), "cell-{cell}, {death:?}: {rows:?}");
        }
    }
    assert_eq!(fleet.ctl(&["where", "--wallet", &wallet.to_string()]).await["cell"], "cell-2", "{death:?}");
    let again = client.send(&Call::create(&fleet_user(fleet, wallet).await)).await;
    assert_eq!(again.status, 409, "one wallet for one user: {again:?}");
}

async fn fleet_user(fleet: &Fleet, wallet: WalletId) -> String {
    let users = fleet.users_in(1, 400).await;
    users.into_iter().find(|user| wallet_of(user) == wallet).expect("one of them")
}
