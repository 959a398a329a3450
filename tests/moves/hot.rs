//! A wallet that is written to all the time can still be moved: its writes are held for the moment of the cutover.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::support::Way;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Call, Fleet, within};

const CLIENTS: u64 = 16;
const MOVES: u16 = 6;
const BETWEEN_MOVES: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_wallet_moves_while_everybody_pays_into_it() {
    within(90, "the test", async {
        let fleet = Fleet::start(2, 2).await;
        let wallet = fleet.client().create(&fleet.users_in(1, 1).await[0]).await;
        let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let (client, over, done) = (fleet.client(), over.clone(), done.clone());
            clients.spawn(async move {
                let mut paid = 0;
                while !over.load(Ordering::Acquire) {
                    let deposit = Call::deposit(wallet, "0.01").key(format!("{number}-{paid}"));
                    client.send(&deposit).await.expect(200);
                    paid += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                paid
            });
        }
        for number in 0..MOVES {
            let (from, to) = if number.is_multiple_of(2) { (1, 2) } else { (2, 1) };
            let way = Way::new(&fleet, from, to, &format!("hot-{number}")).await;
            tokio::time::sleep(BETWEEN_MOVES).await;
            let before = done.load(Ordering::Relaxed);
            way.mover().move_wallet(wallet).await.expect("it is caught up with");
            way.check_moved(wallet).await;
            let during = done.load(Ordering::Relaxed) - before;
            let cutover = way.pace.progress.longest_cutover_micros.load(Ordering::Relaxed);
            eprintln!("cell-{from} to cell-{to}: {during} deposits meanwhile, cutover {cutover} µs");
        }
        over.store(true, Ordering::Release);
        let paid: u64 = clients.join_all().await.into_iter().sum();
        assert!(paid > u64::from(MOVES) * CLIENTS, "all went on");
        let totals = Books::read(&fleet).await.audit(Moment::Still);
        assert_eq!(totals.deposits, paid);
    })
    .await;
}
