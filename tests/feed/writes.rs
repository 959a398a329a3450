//! Stands before a database and counts what is written through it. From one write on it answers nothing, so that the
//! process that writes can be killed at exactly this step.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fleet::client;

const WRITES: [&str; 5] = ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];

/// So many writes are answered; then nothing is.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub answered: u64,
    /// The first write that gets no answer is carried out all the same.
    pub applied: bool,
}

#[derive(Default)]
struct Counted {
    plan: Option<Plan>,
    writes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Applied,
    Lost,
}

struct Shared {
    database: String,
    http: reqwest::Client,
    counted: Mutex<Counted>,
}

pub struct Writes {
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Writes {
    pub async fn before(database: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let shared = Arc::new(Shared { database, http: client::http(), counted: Mutex::default() });
        let service = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, service).await.expect("it serves") });
        Self { url, shared, task }
    }

    /// Counts from now on.
    pub fn plan(&self, plan: Option<Plan>) {
        *self.shared.counted.lock().expect("sound") = Counted { plan, writes: 0 };
    }

    /// Whether a write got no answer.
    pub fn hangs(&self) -> bool {
        let counted = self.shared.counted.lock().expect("sound");
        counted.plan.is_some_and(|plan| counted.writes > plan.answered)
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn fate(&self, operation: &str) -> Fate {
        let mut counted = self.counted.lock().expect("sound");
        counted.writes += u64::from(WRITES.contains(&operation));
        match counted.plan {
            Some(plan) if counted.writes > plan.answered => {
                let is_first = counted.writes == plan.answered + 1 && WRITES.contains(&operation);
                if plan.applied && is_first { Fate::Applied } else { Fate::Lost }
            }
            _ => Fate::Answered,
        }
    }
}

async fn pass(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let fate = shared.fate(target.rsplit('.').next().unwrap_or_default());
    if fate == Fate::Lost {
        return std::future::pending().await;
    }
    let asked = shared.http.post(&shared.database).headers(headers).body(body).send().await;
    if fate == Fate::Applied {
        return std::future::pending().await;
    }
    let Ok(answer) = asked else { return StatusCode::BAD_GATEWAY.into_response() };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let Ok(body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    (status, headers, body).into_response()
}
