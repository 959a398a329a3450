//! Transfers between cells, with both wallets moving while the money is on its way: it arrives
//! once, or comes back once.

use serde_json::json;
use topology::WalletId;

use super::support::Way;
use crate::fleet::books::{Books, Moment};
use crate::fleet::journal::{Request, What};
use crate::fleet::{Call, Fleet, until, within};

const TRANSFERS: usize = 24;
/// Each call of the receiving cell's database takes this long, so that the money is on its way for a while.
const SLOW_MS: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_in_flight_arrives_once_while_both_wallets_move() {
    within(120, "the test", async {
        let fleet = Fleet::start(3, 1).await;
        let client = fleet.client();
        let payer = client.create(&fleet.users_in(1, 1).await[0]).await;
        let payee = client.create(&fleet.users_in(2, 1).await[0]).await;
        client.send(&Call::deposit(payer, "1000")).await.expect(200);
        fleet.faults(2, Some(json!({ "latency_ms": SLOW_MS }))).await;
        let pay = |number: usize| {
            let (from, to) = if number.is_multiple_of(4) { (payee, payer) } else { (payer, payee) };
            Request::new(
                What::Transfer { from, to, amount: ledger::Money::from_minor(100 + number as u64) },
                format!("{number}"),
            )
        };
        let paying = async {
            let mut requests = tokio::task::JoinSet::new();
            for number in 0..TRANSFERS {
                let (client, request) = (client.clone(), pay(number));
                requests.spawn(async move { client.carry_out(request).await.0 });
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            }
            requests.join_all().await
        };
        let moving = async {
            for (wallet, from, to) in [
                (payer, 1, 3),
                (payee, 2, 3),
                (payer, 3, 2),
                (payee, 3, 1),
                (payer, 2, 1),
                (payee, 1, 2),
                (payee, 2, 3),
            ] {
                there(&fleet, wallet, from, to).await;
            }
        };
        let (requests, ()) = tokio::join!(paying, moving);
        fleet.faults(2, None).await;
        until(30, "all transfers have an outcome", async || {
            Books::read(&fleet).await.cells.iter().all(|cell| cell.open_at_home() == 0)
        })
        .await;
        let books = Books::read(&fleet).await;
        let totals = books.audit(Moment::Still);
        books.check_requests(&requests);
        assert_eq!(totals.in_flight, 0);
        assert_eq!((books.home(payer), books.home(payee)), (Some("cell-1"), Some("cell-3")));
        let done = requests.iter().filter(|request| request.reported.is_done()).count();
        assert!(done > 0, "{requests:?}");
    })
    .await;
}

async fn there(fleet: &Fleet, wallet: WalletId, from: u16, to: u16) {
    let way = Way::new(fleet, from, to, &format!("{wallet} {from} {to}")).await;
    way.mover().move_wallet(wallet).await.expect("nothing is in its way");
    way.check_moved(wallet).await;
}
