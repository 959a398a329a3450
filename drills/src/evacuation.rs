//! Starts one operation of the control plane and follows it to its end: the only place of the drills that knows the
//! operations API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Longest that the operations of a drill's small fleet may take.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What an operation came to.
#[derive(Debug, Clone, Serialize)]
pub struct EvacuationReport {
    pub operation: String,
    pub state: String,
    pub wallets: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// Empties `cell`; an error if it did not come to a good end in time.
pub async fn evacuate(server_url: &str, cell: &str, reason: &str) -> Result<EvacuationReport> {
    run(server_url, &json!({ "kind": "evacuate", "cell": cell }), reason).await
}

/// Moves the buckets `first` to `last` (four hex digits each, inclusive) to the cell `to`.
pub async fn migrate(server_url: &str, first: &str, last: &str, to: &str, reason: &str) -> Result<EvacuationReport> {
    run(
        server_url,
        &json!({ "kind": "migrate", "scope": { "buckets": { "first": first, "last": last } }, "to": to }),
        reason,
    )
    .await
}

async fn run(server_url: &str, what: &Value, reason: &str) -> Result<EvacuationReport> {
    let began = Instant::now();
    let http = reqwest::Client::builder().no_proxy().timeout(CALL_TIMEOUT).build()?;
    let mut body = json!({ "actor": "drill", "reason": reason });
    for (name, value) in what.as_object().expect("written as an object above") {
        body[name] = value.clone();
    }
    let url = format!("{server_url}/v1/operations");
    let started = answer(http.post(&url).json(&body)).await.context("the operation could not be started")?;
    let id = started["id"].as_str().with_context(|| format!("an operation without an id: {started}"))?.to_owned();
    let deadline = began + PATIENCE;
    loop {
        let now = answer(http.get(format!("{url}/{id}"))).await?;
        let state = now["state"].as_str().unwrap_or_default().to_owned();
        if state == "done" {
            let progress = |name: &str| now["progress"][name].as_u64().unwrap_or_default();
            let seconds = began.elapsed().as_secs_f64();
            return Ok(EvacuationReport {
                operation: id,
                state,
                wallets: progress("wallets"),
                bytes: progress("bytes"),
                seconds,
            });
        }
        if ["failed", "aborted", "paused"].contains(&state.as_str()) || Instant::now() > deadline {
            bail!("operation {id} is {state} after {:.1} s: {now}", began.elapsed().as_secs_f64());
        }
        sleep(POLL).await;
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value> {
    let response = request.send().await.context("the control plane does not answer")?;
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        bail!("the control plane answered {}: {text}", status.as_u16());
    }
    serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
}
