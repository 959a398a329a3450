//! Idempotency keys: the same request gets the first answer, another one none.

use super::Fixture;
use crate::fleet::books::{Books, Moment};
use crate::fleet::{Answer, Call, within};

/// Settlements go along with other blocks, or get one after a second.
const SETTLED_WITHIN_S: u64 = 20;

/// Sends the call again and expects exactly the first answer, marked as a repetition.
async fn expect_replay(fixture: &Fixture, call: &Call, first: &Answer) {
    let again = fixture.client.insist(call).await;
    assert!(again.is_replay(), "{again:?}");
    assert_eq!((again.status, &again.text), (first.status, &first.text), "{call:?}");
    assert_eq!(again.header("location"), first.header("location"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_gets_the_first_answer_after_a_kill() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let calls = [
            Call::create(&fixture.newcomer().await),
            Call::deposit(fixture.ann, "12.34"),
            Call::withdraw(fixture.ann, "2.34"),
            Call::transfer(fixture.ann, fixture.abe, "5"),
            Call::transfer(fixture.ann, fixture.bob, "7"),
        ];
        let calls = calls.map(|call| call.key(uuid::Uuid::new_v4().to_string()));
        let mut answers = Vec::new();
        for call in &calls {
            let answer = fixture.client.send(call).await;
            assert!(answer.is_success() && !answer.is_replay(), "{answer:?}");
            answers.push(answer);
        }
        let before = Books::read_settled(&fixture.fleet, SETTLED_WITHIN_S).await.audit(Moment::Still);
        for (call, first) in calls.iter().zip(&answers) {
            expect_replay(&fixture, call, first).await;
        }
        for name in ["cell-1-a", "cell-2-a"] {
            fixture.fleet.kill(name).await;
        }
        for (call, first) in calls.iter().zip(&answers) {
            expect_replay(&fixture, call, first).await;
        }
        let after = Books::read_settled(&fixture.fleet, SETTLED_WITHIN_S).await.audit(Moment::Still);
        assert_eq!((before.entries, before.balances), (after.entries, after.balances));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_belongs_to_one_request() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann, bob) = (&fixture.client, fixture.ann, fixture.bob);
        client.send(&Call::deposit(ann, "1").key("k")).await.expect(200);
        let newcomer = fixture.newcomer().await;
        client.send(&Call::create(&newcomer).key("k")).await.expect(201);
        for other in [
            Call::deposit(ann, "2"),
            Call::withdraw(ann, "1"),
            Call::transfer(ann, bob, "1"),
            Call::transfer(ann, fixture.abe, "1"),
        ] {
            let answer = client.send(&other.clone().key("k")).await.expect(422);
            assert_eq!(answer.code(), "idempotency_key_reused", "{other:?}");
        }
        // The same request written differently is the same request; the same key on another wallet is another key.
        for amount in ["1.00", r#""1""#, "10e-1", "0.995"] {
            assert!(client.send(&Call::deposit(ann, amount).key("k")).await.expect(200).is_replay(), "{amount}");
        }
        assert!(!client.send(&Call::deposit(bob, "1").key("k")).await.expect(200).is_replay());
        assert_eq!(client.balance(ann).await, "101.00");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_does_not_spend_its_key() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let (client, ann) = (&fixture.client, fixture.ann);
        let calls = [
            Call::withdraw(ann, "150").key("w"),
            Call::transfer(ann, fixture.abe, "150").key("inside"),
            Call::transfer(ann, fixture.bob, "150").key("across"),
        ];
        for call in &calls {
            assert_eq!(client.send(call).await.expect(400).code(), "insufficient_balance");
        }
        client.send(&Call::deposit(ann, "350")).await.expect(200);
        for call in &calls {
            assert!(!client.send(call).await.expect(200).is_replay(), "{call:?}");
        }
        assert_eq!(client.balance(ann).await, "0.00");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_many_times_at_once_is_done_once() {
    within(60, "the test", async {
        let fixture = Fixture::new().await;
        let calls = [
            Call::deposit(fixture.ann, "1"),
            Call::transfer(fixture.ann, fixture.abe, "2"),
            Call::transfer(fixture.ann, fixture.bob, "4"),
            Call::create(&fixture.newcomer().await),
        ];
        for (number, call) in calls.into_iter().enumerate() {
            let call = call.key(format!("same-{number}"));
            let mut attempts = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let (client, call) = (fixture.client.clone(), call.clone());
                attempts.spawn(async move { client.insist(&call).await });
            }
            let answers = attempts.join_all().await;
            assert!(answers.iter().all(Answer::is_success), "{answers:?}");
            assert_eq!(answers.iter().filter(|answer| !answer.is_replay()).count(), 1, "{answers:?}");
            let first = answers[0].text.clone();
            assert!(answers.iter().all(|answer| answer.text == first), "{answers:?}");
        }
        assert_eq!(fixture.client.balance(fixture.ann).await, "95.00");
        Books::read(&fixture.fleet).await.audit(Moment::Still);
    })
    .await;
}
