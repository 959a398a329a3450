//! Journeys over HTTP, past a router that is played: it keeps one balance, in cents, and fails what a test names.

use std::sync::{Arc, Mutex};

use access::http::Connector;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

use super::*;

#[derive(Default)]
struct Played {
    /// `None`: there is no wallet.
    cents: Option<i64>,
    /// Answered with 500.
    fails: Option<&'static str>,
    /// What a balance is answered with, instead.
    shows: Option<&'static str>,
}

type Shared = Arc<Mutex<Played>>;

async fn answer(State(router): State<Shared>, request: Request) -> Response {
    let (path, is_get) = (request.uri().path().to_owned(), request.method() == Method::GET);
    let body = axum::body::to_bytes(request.into_body(), 1_000).await.expect("short");
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let cents = (asked["amount"].as_f64().unwrap_or_default() * 100.0).round() as i64;
    let mut played = router.lock().expect("no test panics with it");
    let step = path.rsplit('/').next().unwrap_or_default();
    if played.fails == Some(step) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let Some(balance) = &mut played.cents else {
        if is_get {
            return StatusCode::NOT_FOUND.into_response();
        }
        played.cents = Some(0);
        return StatusCode::CREATED.into_response();
    };
    match step {
        "deposit" => *balance += cents,
        "withdraw" => *balance -= cents,
        _ => {}
    }
    let shown = format!(r#"{{"balance":{}.{:02}}}"#, *balance / 100, *balance % 100);
    played.shows.map_or(shown, ToOwned::to_owned).into_response()
}

/// So many journeys; each request's step and outcome.
async fn journeys(number: u32, router: &Shared, canary: &mut Canary) -> Vec<(&'static str, Outcome)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let app = Router::new().fallback(answer).with_state(Arc::clone(router));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let http = Http::new(Connector::new(None, None));
    let met = Mutex::new(vec![]);
    let journey = Journey { http: &http, router: &address, payee: None };
    for _ in 0..number {
        journey.go(canary, &|step, outcome, _| met.lock().expect("no test panics with it").push((step, outcome))).await;
    }
    serving.abort();
    met.into_inner().expect("no test panics with it")
}

fn canary() -> Canary {
    let user = UserId::parse("canary-cell-1-0".to_owned()).expect("sound");
    Canary { wallet: WalletId::for_user(Uuid::nil(), &user), user, has_wallet: false }
}

#[tokio::test]
async fn a_journey_does_what_customers_do() {
    let (router, mut canary) = (Shared::default(), canary());
    let steps = ["find", "create", "balance", "deposit", "deposit", "withdraw", "history"];
    let done = steps.map(|step| (step, Outcome::Done));
    assert_eq!(journeys(1, &router, &mut canary).await, done);
    assert_eq!(router.lock().expect("here").cents, Some(10_000), "the float");
}

#[tokio::test]
async fn a_wallet_that_was_lost_is_made_again() {
    let (router, mut canary) = (Shared::default(), canary());
    journeys(1, &router, &mut canary).await;
    router.lock().expect("here").cents = None;
    assert_eq!(journeys(1, &router, &mut canary).await, [("balance", Outcome::Refused)]);
    assert_eq!(journeys(1, &router, &mut canary).await[1], ("create", Outcome::Done));
}

#[tokio::test]
async fn what_was_paid_in_and_not_taken_out_does_not_add_up() {
    let (router, mut canary) = (Shared::default(), canary());
    router.lock().expect("here").fails = Some("withdraw");
    journeys(1_000, &router, &mut canary).await;
    let cents = || router.lock().expect("here").cents.expect("a wallet");
    assert!(cents() <= 30_200, "paying in ends where nothing can be taken out: {}", cents());
    router.lock().expect("here").fails = None;
    journeys(10, &router, &mut canary).await;
    assert!(cents() <= 30_000, "{}", cents());
}

#[tokio::test]
async fn an_answer_without_a_balance_is_a_failure() {
    for shows in ["", "{}", "<html>", r#"{"balance":"much"}"#] {
        let (router, mut canary) = (Shared::default(), canary());
        journeys(1, &router, &mut canary).await;
        router.lock().expect("here").shows = Some(shows);
        assert_eq!(journeys(1, &router, &mut canary).await, [("balance", Outcome::Failed)], "{shows}");
    }
}
