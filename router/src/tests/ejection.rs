//! Which instances get no requests for a while, and what becomes of the requests that found out.

use std::time::{Duration, Instant};

use super::fixture::{Cell, ControlPlane, Deed, LOW, Rig, eventually, halves};
use super::http_client::{Answer, Conversation, ask};
use crate::limits;

const BODY: &str = r#"{"amount":1}"#;
const KEY: [(&str, &str); 1] = [("Idempotency-Key", "k")];

/// A router before one cell of several instances.
struct Before {
    rig: Rig,
    _plane: ControlPlane,
    /// That which the wallet prefers comes first.
    instances: Vec<Cell>,
}

impl Before {
    async fn start(names: &[&'static str]) -> Self {
        let mut instances = Vec::new();
        for name in names {
            instances.push(Cell::start(name).await);
        }
        let addresses: Vec<_> = instances.iter().map(|instance| instance.address).collect();
        let (rig, plane) = Rig::with(halves(1, [&addresses, &addresses[..1]])).await;
        let mut before = Self { rig, _plane: plane, instances };
        let preferred = before.read().await.body;
        before.instances.sort_by_key(|instance| instance.name != preferred);
        before
    }

    async fn read(&self) -> Answer {
        ask(self.rig.running.public, "GET", &format!("/api/v1/wallets/{LOW}"), &[], "").await
    }

    async fn deposit(&self, headers: &[(&str, &str)]) -> Answer {
        ask(self.rig.running.public, "POST", &format!("/api/v1/wallets/{LOW}/deposit"), headers, BODY).await
    }

    fn first(&self) -> &Cell {
        &self.instances[0]
    }

    fn second(&self) -> &Cell {
        &self.instances[1]
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_answered_by_another_instance_in_time() {
    let before = Before::start(&["one", "two"]).await;
    for _ in 0..2 {
        before.first().will(Deed::Hang);
    }
    let began = Instant::now();
    assert_eq!(before.read().await.body, before.second().name);
    assert_eq!(before.deposit(&KEY).await.body, before.second().name);
    assert!(began.elapsed() < 2 * limits::ATTEMPT_PATIENCE + Duration::from_secs(1), "{:?}", began.elapsed());
    before.first().will(Deed::Hang);
    let answer = before.deposit(&[("x-deadline-ms", "300")]).await;
    assert_eq!(answer.code(), "deadline_unknown_outcome", "without a key it is sent once");
    before.first().will(Deed::Hang);
    let hasty = [("x-deadline-ms", "600"), KEY[0]];
    assert_eq!(before.deposit(&hasty).await.body, before.second().name, "within half of its time");
}

#[tokio::test]
async fn an_instance_that_hangs_is_left_out_until_it_answers_again() {
    let before = Before::start(&["one", "two"]).await;
    before.first().freeze(true);
    assert_eq!(before.read().await.body, before.second().name);
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(before.deposit(&[]).await.body, before.second().name, "no client's request is a probe");
    }
    assert!(began.elapsed() < limits::ATTEMPT_PATIENCE, "{:?}", began.elapsed());
    before.first().freeze(false);
    eventually(async || before.read().await.body == before.first().name).await;
}

#[tokio::test]
async fn failures_in_a_row_eject_one_instance_and_not_the_last_one() {
    let before = Before::start(&["one", "two"]).await;
    for status in [500, 503, 504] {
        for _ in 0..limits::EJECT_AFTER_FAILURES {
            before.first().will(Deed::Answer(status, "", "failed".into()));
            assert_eq!(before.deposit(&[]).await.status, status, "passed on, and not sent again");
        }
        assert_eq!(before.deposit(&[]).await.body, before.second().name, "{status}");
        for _ in 0..2 * limits::EJECT_AFTER_FAILURES {
            before.second().will(Deed::Answer(status, "", "failed".into()));
            before.first().will(Deed::Answer(status, "", "failed".into()));
        }
        for _ in 0..limits::EJECT_AFTER_FAILURES {
            assert_eq!(before.deposit(&[]).await.status, status);
        }
        before.first().deeds_cleared();
        before.second().deeds_cleared();
        eventually(async || before.read().await.body == before.first().name).await;
    }
}

#[tokio::test]
async fn a_request_that_breaks_connections_reaches_two_instances() {
    let before = Before::start(&["one", "two", "three"]).await;
    let asked = || before.instances.iter().map(|instance| instance.seen().len()).sum::<usize>();
    let so_far = asked();
    for instance in &before.instances {
        instance.will(Deed::Die);
    }
    assert_eq!(before.read().await.code(), "upstream_broken");
    assert_eq!(asked() - so_far, 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_sent_once_and_ejects_nothing() {
    let before = Before::start(&["one", "two"]).await;
    let so_far = before.first().seen().len();
    for _ in 0..3 {
        before.first().will(Deed::BreakOff("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"));
        let mut client = Conversation::begin(before.rig.running.public).await;
        client.send(&format!("GET /api/v1/wallets/{LOW} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("half"), "{answer}");
    }
    assert_eq!(before.first().seen().len(), so_far + 3);
    assert_eq!(before.read().await.body, before.first().name);
}
