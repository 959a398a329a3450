//! What happened to a wallet: listings with cursors, and amounts in every notation.

use serde_json::Value;

use super::Fixture;
use crate::fleet::{Call, within};

const DEPOSITS: usize = 40;

fn lines(page: &Value) -> Vec<Value> {
    page["transactions"].as_array().cloned().expect("a list")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paging_through_a_history_yields_each_entry_once_newest_first() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let path = format!("/api/v1/wallets/{}/transactions", fixture.ann);
        // At once, so that some share a block and a page can end inside one.
        let mut deposits = tokio::task::JoinSet::new();
        for number in 0..DEPOSITS {
            let (client, call) = (fixture.client.clone(), Call::deposit(fixture.ann, "1").key(format!("d{number}")));
            deposits.spawn(async move { client.insist(&call).await.expect(200) });
        }
        deposits.join_all().await;
        let whole = lines(&fixture.client.send(&Call::get(format!("{path}?limit=500"))).await.expect(200).json());
        assert_eq!(whole.len(), DEPOSITS + 2);
        for limit in [1, 7, 42] {
            let (mut found, mut cursor) = (Vec::new(), None);
            for page_number in 0.. {
                let at = cursor.map(|cursor: String| format!("&cursor={cursor}")).unwrap_or_default();
                let call = Call::get(format!("{path}?limit={limit}{at}"));
                let page = fixture.client.send(&call).await.expect(200).json();
                assert!(lines(&page).len() <= limit && page_number <= whole.len());
                found.extend(lines(&page));
                // What comes in meanwhile does not disturb the pages that follow.
                if page_number == 0 {
                    fixture.client.send(&Call::withdraw(fixture.ann, "0.01")).await.expect(200);
                }
                match page["nextCursor"].as_str() {
                    Some(next) => cursor = Some(next.to_owned()),
                    None => break,
                }
            }
            // Those that came in during an earlier round are at its front.
            let known = found.len() - whole.len();
            assert_eq!(found[known..], whole, "limit {limit}");
        }
        let balances: Vec<f64> = whole.iter().map(|line| line["balanceAfter"].as_f64().expect("a number")).collect();
        assert!(balances.is_sorted_by(|newer, older| newer >= older), "{balances:?}");
        assert_eq!(whole.last().map(|line| line["type"].clone()), Some("OPENED".into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_wallet_is_refused() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let path = |wallet| format!("/api/v1/wallets/{wallet}/transactions");
        let page = fixture.client.send(&Call::get(format!("{}?limit=1", path(fixture.ann)))).await.expect(200);
        let cursor = page.string("nextCursor");
        for wallet in [fixture.abe, fixture.bob] {
            let call = Call::get(format!("{}?cursor={cursor}", path(wallet)));
            assert_eq!(fixture.client.send(&call).await.expect(400).code(), "invalid_cursor");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_are_read_exactly_and_written_with_two_decimals() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        for (amount, balance) in [
            ("1", "101.00"),
            ("1.5", "102.50"),
            (r#""1.50""#, "104.00"),
            ("15e-1", "105.50"),
            (r#""0.005""#, "105.51"),
            ("0.0149999999999999999", "105.52"),
            ("0.10", "105.62"),
            ("0.20", "105.82"),
            ("1000000000", "1000000105.82"),
        ] {
            let answer = fixture.client.send(&Call::deposit(fixture.ann, amount)).await.expect(200);
            assert_eq!(answer.raw("balance"), balance, "{amount}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_can_be_bounded_in_time() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let deposit = fixture.client.send(&Call::deposit(fixture.ann, "1")).await.expect(200);
        fixture.client.send(&Call::deposit(fixture.ann, "2")).await.expect(200);
        let at = deposit.string("updatedAt");
        let list = async |query: String| {
            let call = Call::get(format!("/api/v1/wallets/{}/transactions?{query}", fixture.ann));
            lines(&fixture.client.send(&call).await.expect(200).json()).len()
        };
        assert_eq!(list(format!("from={at}&to={at}")).await, 1);
        assert_eq!(list(format!("from={at}")).await, 2);
        assert_eq!(list(format!("to={at}")).await, 3);
        assert_eq!(list("to=2020-01-01T00:00:00Z".into()).await, 0);
    })
    .await;
}
