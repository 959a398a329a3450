//! A follower of a cell's events: when it read which transaction, and in which block that is.

use std::collections::HashMap;

use ledger::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::site::Instance;
use crate::fleet::open_transfers::now;

/// When a transaction was read, and the number of its block.
#[derive(Clone, Copy)]
pub struct Seen {
    pub at: Timestamp,
    pub block: u64,
}

/// Reads what comes after an entry of the archive, until it has read so many deposits.
pub async fn follow(instance: &Instance, after: u64, deposits: usize) -> JoinHandle<HashMap<String, Seen>> {
    let path = format!("/api/v1/events?cell={}&follow=true&cursor={0}:{}:0", super::site::CELL, after + 1);
    let mut answer = instance.follow(&path).await;
    assert_eq!(answer.status(), 200);
    tokio::spawn(async move {
        let (mut seen, mut rest) = (HashMap::new(), Vec::new());
        while seen.len() < deposits
            && let Some(part) = answer.chunk().await.expect("it goes on")
        {
            let at = now();
            rest.extend_from_slice(&part);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).expect("a line of JSON");
                let block = event["blockNumber"].as_u64().unwrap_or_default();
                for transaction in event["transactions"].as_array().into_iter().flatten() {
                    let id = transaction["transactionId"].as_str().expect("a text").to_owned();
                    seen.entry(id).or_insert(Seen { at, block });
                }
            }
        }
        seen
    })
}
