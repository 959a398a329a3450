//! Every kind of answer that a test of this process saw, to be held against openapi.yaml.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::client::{Answer, Call};

/// One kind of answer: method, path with its parameters named, status, problem code (empty if it was none).
pub type Kind = (String, String, u16, String);

static SEEN: Mutex<BTreeSet<Kind>> = Mutex::new(BTreeSet::new());

pub fn record(call: &Call, answer: &Answer) {
    let Some(path) = template(&call.path) else { return };
    // Between a cell and the router: a test that asks a cell itself meets it, a client of the service never does.
    if answer.status == 421 {
        return;
    }
    let problem = serde_json::from_str::<topology::Problem>(&answer.text);
    let code = problem.map(|problem| problem.code).unwrap_or_default();
    let kind = (call.method.to_string(), path, answer.status, code);
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
}

pub fn all() -> BTreeSet<Kind> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// `/api/v1/wallets/{}/deposit` for any wallet id; `None` for paths that are not of the wallet API.
pub fn template(path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or(path);
    let mut segments: Vec<&str> = path.strip_prefix("/api/v1/wallets")?.split('/').collect();
    if segments.len() > 1 && segments[1] != "transfer" {
        segments[1] = "{}";
    }
    if segments.len() > 3 && segments[2] != "balance" {
        segments[3] = "{}";
    }
    Some(format!("/api/v1/wallets{}", segments.join("/")))
}
