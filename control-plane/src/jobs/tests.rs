//! What the rows of jobs promise, over a real table of deploys.

use control_api::{DeployState, Refusal};
use uuid::Uuid;

use super::asked::ask;
use super::lease::Holder;
use super::table::Table;
use super::{Job, transition};
use crate::deploys::record::Deploy;
use crate::deploys::state::Event;
use crate::dynamo::connect;
use crate::error::Error;
use crate::service::create_tables;
use crate::tests::deploys::rolling;
use crate::tests::fixture::{at, because, database};

/// Two control planes over the same table.
async fn tables() -> (Table<Deploy>, Table<Deploy>) {
    let database = at(&database().await);
    create_tables(&database, "control-").await.expect("created");
    let client = connect(&database).await;
    (Table::new(client.clone(), "control-"), Table::new(client, "control-"))
}

#[tokio::test]
async fn of_two_writers_one_is_first_and_the_other_learns_it() {
    let (one, other) = tables().await;
    let job = one.create(rolling()).await.expect("answers").expect("alone");
    let (saved, late) = (Deploy { restored: 1, ..job.clone() }, Deploy { restored: 2, ..job.clone() });
    let saved = one.save(&saved).await.expect("answers").expect("first");
    assert_eq!((saved.number, saved.row), (1, 2));
    assert!(other.save(&late).await.expect("answers").is_none());
    let change = transition(&late, Event::Pause, &because()).expect("it is rolling");
    assert!(other.happen(&change).await.expect("answers").is_none());
    assert_eq!(other.named(1).await.expect("there"), saved);
    assert_eq!(other.audit(10, None).await.expect("answers").len(), 1, "what did not happen left no entry");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_to_be_done() {
    let (table, other) = tables().await;
    let job = table.create(rolling()).await.expect("answers").expect("alone");
    let (next, write) = (|| Deploy { row: 2, ..job.clone() }, Uuid::new_v4());
    assert!(table.write(next(), write, vec![]).await.expect("answers").is_some());
    // The client repeats it, and now its condition does not hold.
    assert!(table.write(next(), write, vec![]).await.expect("answers").is_some());
    assert!(other.write(next(), Uuid::new_v4(), vec![]).await.expect("answers").is_none(), "another's");
    let lost = || Err(Error::Unsound("no answer".into()));
    assert!(table.settled(lost(), 1, write).await.expect("the row says that it was done"));
    assert!(other.settled(lost(), 1, Uuid::new_v4()).await.is_err(), "an unknown outcome stays an error");
}

#[tokio::test]
async fn a_worker_sees_the_lease_of_another() {
    let (table, _) = tables().await;
    let (one, other) = (Holder::default(), Holder::default());
    let job = table.create(rolling()).await.expect("answers").expect("alone");
    table.save(&one.leased(job)).await.expect("answers").expect("alone");
    assert!(one.mine(&table, 1).await.expect("answers").is_some());
    assert!(other.mine(&table, 1).await.expect("answers").is_none());
    assert!(other.mine(&table, 2).await.expect("answers").is_none(), "there is no such job");
}

#[tokio::test]
async fn what_has_happened_is_answered_again_and_what_cannot_is_refused() {
    let (table, _) = tables().await;
    table.create(rolling()).await.expect("answers").expect("alone");
    for _ in 0..2 {
        let paused = ask(&table, 1, &because(), |_| Event::Pause).await.expect("paused");
        assert_eq!((paused.state, paused.row), (DeployState::Paused, 2), "written once");
    }
    let refused = async |number, event| match ask(&table, number, &because(), |_| event).await {
        Err(Error::Refused(refused)) => (refused.refusal, refused.detail),
        _ => panic!("a refusal"),
    };
    let (refusal, detail) = refused(1, Event::Promote).await;
    assert_eq!((refusal, detail.as_str()), (Deploy::NOT_NOW, "deploy-1 is paused: promote is not possible"));
    assert_eq!(refused(7, Event::Pause).await.0, Refusal::UnknownDeploy);
}
