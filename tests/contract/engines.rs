//! The engines, and the suite on each.

use ledger::Append;
use ledger::fence::CLOCK_SKEW_MAX;
use store::dynamodb::{Connection, DynamoStore};
use store::{AppendError, Chains};
use uuid::Uuid;

use super::{Backdoor, Subject, whole_contract};
use crate::fleet::engines::Engine;
use crate::fleet::within;

const TABLES: [&str; 4] = ["ledger", "snapshots", "homes", "owners"];

async fn on_tables(engine: &Engine) {
    let subject = Subject::tables(&engine.connection(), "contract-").await;
    whole_contract(&subject).await;
    nothing_is_dated_after_the_database(&subject).await;
    super::changes::what_is_no_sound_block_is_said_and_passed_over(&subject).await;
    super::changes::a_table_without_a_stream_gets_one(&subject).await;
}

/// See `ledger::fence`: answers of a database say what time it is.
async fn nothing_is_dated_after_the_database(subject: &Subject<DynamoStore>) {
    let head = subject.opened().await;
    let (_, latest) = subject.store.clock().now().expect("it has answered");
    for (late, is_written) in [(2 * CLOCK_SKEW_MAX, false), (CLOCK_SKEW_MAX / 2, true)] {
        let at = latest.plus_micros(i64::try_from(late.as_micros()).expect("seconds"));
        let block = ledger::chain::next(&head.head(), head.state.clone(), vec![], at);
        let append = Append::of(vec![block], None);
        match subject.store.append(&append).await {
            Ok(()) => assert!(is_written, "dated {late:?} ahead"),
            Err(error) => assert!(!is_written && matches!(error, AppendError::NotApplied(_)), "{late:?}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_keeps_the_contract() {
    within(60, "the contract", whole_contract(&Subject::memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_stand_in_keeps_the_contract() {
    let engine = Engine::local().await;
    within(60, "the contract", on_tables(&engine)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amazons_dynamodb_local_keeps_the_contract() {
    let Some(engine) = Engine::amazons().await else { return };
    within(120, "the contract", on_tables(&engine)).await;
}

/// On AWS itself, with the credentials of the environment: `WALLET_CONTRACT_AWS_REGION=eu-central-1`. Creates four
/// tables under `WALLET_CONTRACT_AWS_PREFIX` (one of its own unless given) and deletes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_keeps_the_contract() {
    let Ok(region) = std::env::var("WALLET_CONTRACT_AWS_REGION") else {
        return eprintln!("SKIPPED: set WALLET_CONTRACT_AWS_REGION to run the contract on DynamoDB itself");
    };
    let prefix = std::env::var("WALLET_CONTRACT_AWS_PREFIX");
    let prefix = prefix.unwrap_or_else(|_| format!("wallet-contract-{}-", Uuid::new_v4().simple()));
    let subject = Subject::tables(&Connection { endpoint: None, region, role: None }, &prefix).await;
    // On a thread of its own, so that the tables are deleted even if a check fails.
    let Backdoor::Tables { client, .. } = &subject.backdoor else { unreachable!("made of tables") };
    let client = client.clone();
    let here = tokio::runtime::Handle::current();
    let checks = move || here.block_on(within(600, "the contract", whole_contract(&subject)));
    let checked = tokio::task::spawn_blocking(checks).await;
    for table in TABLES {
        let name = format!("{prefix}{table}");
        if let Err(error) = client.delete_table().table_name(&name).send().await {
            eprintln!("{name} was not deleted: {error:?}");
        }
    }
    checked.expect("the contract is kept");
}
