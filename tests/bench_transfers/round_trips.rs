//! How many writes an operation waits for before it is answered, one after another. When each write takes longer by a
//! fixed time, the answer is later by that time for each one that it waits for.
//!
//! Reads cannot be counted so: an operation also waits for those of jobs in the background, if they are that slow.

use std::time::Instant;

use serde_json::json;

use crate::bench::connection::Request;
use crate::bench::figures::median;
use crate::site::{Site, deposit, transfer};

/// Far above what a call takes, and how much that varies.
const DELAY_MS: u64 = 100;
/// Each from another wallet: none waits for the one before.
const TIMES: usize = 16;
pub const WRITES: [&str; 5] = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];

pub async fn report(site: &Site) {
    let (near, far) = (&site.wallets[0], &site.wallets[1]);
    let kinds: [(&str, &dyn Fn(usize) -> Request); 3] = [
        ("keyed deposit", &|number| deposit(near[number])),
        ("transfer between cells", &|number| transfer(near[number], far[number])),
        ("transfer inside a cell", &|number| transfer(near[number], near[number + TIMES])),
    ];
    println!("Writes that each waits for before the answer, one after another: {DELAY_MS} ms more for each write,");
    println!("median of {TIMES}, each on wallets of its own.\n");
    println!("| operation | writes before the answer |\n|---|--:|");
    for (name, request) in kinds {
        let usual = median_ms(site, request).await;
        faults(site, Some(json!({ "latency_ms": DELAY_MS, "operations": WRITES }))).await;
        let delayed = median_ms(site, request).await;
        faults(site, None).await;
        println!("| {name} | {:.1} |", (delayed - usual) / DELAY_MS as f64);
    }
}

async fn faults(site: &Site, plan: Option<serde_json::Value>) {
    for cell in 1..=site.fleet.shape.cells {
        site.fleet.faults(cell, plan.clone()).await;
    }
}

async fn median_ms(site: &Site, request: &dyn Fn(usize) -> Request) -> f64 {
    let mut connection = site.connect().await;
    let mut times_ms = Vec::new();
    for number in 0..TIMES {
        let request = request(number);
        let began = Instant::now();
        let answer = connection.send(&request).await.expect("the router answers");
        times_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(answer.status, 200, "{}", answer.label());
    }
    median(&times_ms)
}
