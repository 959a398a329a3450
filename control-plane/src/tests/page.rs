//! The operators' page through the control plane's real router: which visitors get in, which forms
//! are taken, and what a role may do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use access::Gate;
use access::flags::AuthFlags;
use clap::Parser;
use control_api::{BucketRange, OperationId, OperationState, Scope, StartOperation, Wanted};
use local_fleet::secrets::{AUDIENCE, ISSUER, Secrets};
use reqwest::header::{HeaderMap, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use serde_json::json;

use super::cell::NAMESPACE;
use super::fixture::{Fixture, PATIENCE, Plane, because, cell_id};
use crate::operations::{self, Started};

#[derive(Parser)]
struct Auth {
    #[command(flatten)]
    flags: AuthFlags,
}

/// Keys of its own, and a control plane that asks for tokens of them.
struct Secure {
    url: String,
    plane: Plane,
    secrets: Secrets,
    folder: PathBuf,
    _fixture: Fixture,
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Secure {
    async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("wallet-page-{}", uuid::Uuid::new_v4()));
        let secrets = Secrets::of(&folder);
        secrets.prepare(&[]).expect("keys");
        let (fixture, plane) = Fixture::idle(2).await;
        let metrics = telemetry::metrics::detached(&crate::identity(&topology::Version::parse("test").expect("sound")))
            .expect("a page");
        let app = crate::api::guarded(Arc::clone(&plane.control), metrics, Some(gate(&secrets).await));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, plane, secrets, folder, _fixture: fixture }
    }

    fn operator(&self, role: &str) -> String {
        self.token(json!({ "kind": "operator", "sub": "joe", "role": role }))
    }

    fn token(&self, claims: serde_json::Value) -> String {
        self.secrets.mint(claims, Duration::from_secs(600)).expect("a key")
    }

    /// A page of a visitor with this token.
    async fn page(&self, token: &str) -> Seen {
        see(client().get(format!("{}/page/", self.url)).header("cookie", format!("wallet_session={token}"))).await
    }

    fn press(&self, token: &str, action: &str, seal: &str, rest: &str) -> RequestBuilder {
        form(&format!("{}/page/do/{action}", self.url), format!("seal={seal}&reason=to+see{rest}"))
            .header("cookie", format!("wallet_session={token}"))
            .header("sec-fetch-site", "same-origin")
    }
}

async fn gate(secrets: &Secrets) -> Gate {
    let keys = secrets.key_set().display().to_string();
    let words = ["auth", "--auth-jwks", &keys, "--auth-issuer", ISSUER, "--auth-audience", AUDIENCE];
    let flags = Auth::try_parse_from(words).expect("sound flags").flags;
    flags.gate(NAMESPACE).await.expect("sound keys").expect("asked for")
}

/// As a browser, but for following redirects.
fn client() -> Client {
    Client::builder().redirect(Policy::none()).timeout(PATIENCE).build().expect("a client")
}

fn form(url: &str, body: String) -> RequestBuilder {
    client().post(url).header("content-type", "application/x-www-form-urlencoded").body(body)
}

struct Seen {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn seal(&self) -> String {
        let (_, rest) = self.text.split_once(r#"name="seal" value=""#).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    fn actions(&self) -> usize {
        self.text.matches(r#"action="/page/do/"#).count()
    }
}

async fn see(request: RequestBuilder) -> Seen {
    let response = request.send().await.expect("answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Seen { status, headers, text: response.text().await.expect("text") }
}

async fn operation(plane: &Plane) -> OperationId {
    let range = BucketRange { first: topology::Bucket(0), last: topology::Bucket(9) };
    let wanted = StartOperation::new(Wanted::Migrate { scope: Scope::Buckets(range), to: cell_id(2) }, because());
    match operations::start(&plane.control.operations, &wanted).await {
        Ok(Started::Created(operation)) => operation.id(),
        _ => panic!("created"),
    }
}

async fn state(plane: &Plane, id: OperationId) -> OperationState {
    operations::get(&plane.control.operations, id).await.expect("there").state
}

#[tokio::test]
async fn an_open_fleet_is_open_and_says_so() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let id = operation(&plane).await;
    let root = see(client().get(&plane.url)).await;
    assert_eq!((root.status, root.header("location")), (303, "/page/"));
    let page = see(client().get(format!("{}/page/", plane.url))).await;
    assert_eq!(page.status, 200);
    for text in ["Open fleet", "cell-1", "cell-2", "op-1", "ctl migrate pause op-1", "buckets 0000..0009 to cell-2"] {
        assert!(page.text.contains(text), "{text}");
    }
    assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
    assert!(!page.text.contains("style=") && !page.text.contains("<style") && !page.text.contains("onclick"));
    let cookie = page.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");

    let browser = cookie.split(';').next().unwrap_or_default().to_owned();
    let press = |seal: &str, origin: &'static str| {
        let body = format!("seal={seal}&reason=to+see&actor=ann");
        form(&format!("{}/page/do/operation/op-1/pause", plane.url), body)
            .header("cookie", &browser)
            .header("origin", if origin.is_empty() { plane.url.clone() } else { origin.to_owned() })
    };
    for (seal, origin, code) in
        [(page.seal(), "http://elsewhere.example", "cross_site"), ("00".repeat(16), "", "form_expired")]
    {
        let refused = see(press(&seal, origin)).await;
        assert_eq!(refused.status, 403);
        assert!(refused.text.contains(code), "{code}");
    }
    assert_eq!(state(&plane, id).await, OperationState::Planned);
    let done = see(press(&page.seal(), "")).await;
    assert_eq!((done.status, done.header("location")), (303, "/page/?did=pause&of=op-1#moves"));
    assert_eq!(state(&plane, id).await, OperationState::Paused);
    let audit = plane.control.operations.table.audit(1, Some(id)).await.expect("answers");
    assert_eq!((audit[0].actor.as_str(), audit[0].reason.as_str()), ("ann", "to see"));

    // A name of another site that leads here is not answered to.
    let foreign = see(client().get(format!("{}/page/", plane.url)).header("host", "rebound.example")).await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test]
async fn a_secure_fleet_asks_who_it_is() {
    let secure = Secure::start().await;
    let none = see(client().get(format!("{}/page/", secure.url))).await;
    assert_eq!((none.status, none.header("location")), (303, "/page/login"));
    let login = async |token: &str| {
        let asked = form(&format!("{}/page/login", secure.url), format!("token={token}"));
        see(asked.header("origin", &secure.url)).await
    };
    let expired = secure.token(json!({ "kind": "operator", "sub": "joe", "role": "admin", "exp": 1_000 }));
    let customer = secure.token(json!({ "kind": "customer", "sub": "ann" }));
    let long = "a".repeat(5_000);
    for (token, status, code) in [
        (expired.as_str(), 401, "token_expired"),
        ("a.b.c", 401, "token_invalid"),
        ("a%3b+Path%3d%2f", 401, "token_invalid"),
        (long.as_str(), 401, "token_too_large"),
        (customer.as_str(), 403, "forbidden"),
    ] {
        let refused = login(token).await;
        assert_eq!(refused.status, status, "{code}");
        assert!(refused.text.contains(code) && !refused.text.contains(token), "{code}");
        assert!(
            refused.headers.get_all(SET_COOKIE).iter().all(|line| line.to_str().is_ok_and(|t| t.contains("Max-Age=0")))
        );
    }
    assert_eq!(see(form(&format!("{}/page/login", secure.url), "token=a".into())).await.status, 403, "from nowhere");

    let token = secure.operator("operator");
    let entered = login(&token).await;
    assert_eq!((entered.status, entered.header("location")), (303, "/page/"));
    let cookie = entered.header("set-cookie");
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/page"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let page = secure.page(&token).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("operator:joe") && !page.text.contains(&token) && !page.text.contains("Open fleet"));
    assert_eq!(secure.page(&expired).await.status, 401);

    // The cookie counts here only; no other path knows it.
    let api = client().get(format!("{}/v1/cells", secure.url)).header("cookie", format!("wallet_session={token}"));
    assert_eq!(see(api).await.status, 401);
}

#[tokio::test]
async fn a_role_may_do_on_the_page_what_it_may_do_elsewhere() {
    let secure = Secure::start().await;
    let id = operation(&secure.plane).await;
    let [viewer, operator, admin] = ["viewer", "operator", "admin"].map(|role| secure.operator(role));
    let seen = secure.page(&viewer).await;
    assert_eq!((seen.status, seen.actions()), (200, 0));
    let (few, all) = (secure.page(&operator).await, secure.page(&admin).await);
    assert!(few.text.contains("do-operation-op-1-pause") && few.text.contains("do-cell-cell-1-evacuate"));
    assert!(!few.text.contains("do-cell-cell-1-drain") && all.text.contains("do-cell-cell-1-drain"));

    // What is not shown is refused all the same, by the policy.
    let seal = crate::page::seal_of(&viewer);
    let forged = see(secure.press(&viewer, "operation/op-1/pause", &seal, "")).await;
    assert_eq!(forged.status, 403);
    assert!(forged.text.contains("<code>forbidden</code>"), "{}", forged.text);
    assert_eq!(state(&secure.plane, id).await, OperationState::Planned);
    let drain = see(secure.press(&operator, "cell/cell-1/drain", &few.seal(), "")).await;
    assert!(drain.status == 403 && drain.text.contains("forbidden"));
    // A seal of another session is none.
    let stolen = see(secure.press(&operator, "operation/op-1/pause", &all.seal(), "")).await;
    assert!(stolen.status == 403 && stolen.text.contains("form_expired"));

    let paused = see(secure.press(&operator, "operation/op-1/pause", &few.seal(), "&actor=somebody+else")).await;
    assert_eq!((paused.status, state(&secure.plane, id).await), (303, OperationState::Paused));
    let audit = secure.plane.control.operations.table.audit(1, Some(id)).await.expect("answers");
    assert_eq!(audit[0].actor, "operator:joe", "whatever the form says");

    let unconfirmed = see(secure.press(&operator, "cell/cell-1/evacuate", &few.seal(), "&confirm=cell-2")).await;
    assert!(unconfirmed.status == 422 && unconfirmed.text.contains("not_confirmed"));
    let conflict = see(secure.press(&operator, "cell/cell-1/evacuate", &few.seal(), "&confirm=cell-1")).await;
    assert!(conflict.status == 409 && conflict.text.contains("operation_overlaps"), "the API's own refusal");
    let unknown = see(secure.press(&admin, "cell/cell-1/remove", &all.seal(), "")).await;
    assert!(unknown.status == 404 && unknown.text.contains("unknown_action"));
}

#[tokio::test]
async fn a_customers_place_is_found_with_how_it_came_there() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let place = async |id: &str| see(client().get(format!("{}/page/where?id={id}", plane.url))).await;
    let found = place("ann").await;
    assert_eq!(found.status, 200);
    for text in ["no: it follows its bucket", "version 1", "bootstrap", "ctl where ann", "do-wallet-"] {
        assert!(found.text.contains(text), "{text}");
    }
    assert!(!found.text.to_lowercase().contains("balance"));
    let scripted = place("%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(!scripted.text.contains("<script>alert"), "{}", scripted.text);
    let unsound = place(&"x".repeat(300)).await;
    assert!(unsound.status == 400 && unsound.text.contains("bad_id"));
}

/// One event, or a line that says nothing.
async fn next_event(events: &mut reqwest::Response) -> String {
    let whole = async {
        let mut text = String::new();
        while !text.ends_with("\n\n") {
            let chunk = events.chunk().await.expect("arrives").expect("goes on");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        text
    };
    tokio::time::timeout(PATIENCE, whole).await.expect("within the patience")
}

#[tokio::test]
async fn what_changes_is_sent_to_who_follows_and_the_end_is_told() {
    let (_fixture, plane) = Fixture::idle(2).await;
    let page = see(client().get(format!("{}/page/", plane.url))).await;
    let cookie = page.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    let (_, seen) = page.text.split_once(r#"data-seen=""#).expect("it can be followed");
    let seen = seen.split('"').next().unwrap_or_default();
    let follow = client().get(format!("{}/page/events?seen={seen}", plane.url)).header("cookie", &cookie);
    let mut events = follow.send().await.expect("answers");
    let id = operation(&plane).await;
    let mut text = String::new();
    while !text.contains("buckets 0000..0009 to cell-2") {
        text.push_str(&next_event(&mut events).await);
    }
    assert!(text.contains("id: ") && !text.contains(r#""zones":"#), "only what changed: {text}");

    // A follower that comes back with the last id gets nothing that it has.
    let last = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned();
    operations::pause(&plane.control.operations, id, &because()).await.expect("paused");
    let again = client().get(format!("{}/page/events", plane.url)).header("cookie", &cookie);
    let mut again = again.header("last-event-id", last).send().await.expect("answers");
    let first = next_event(&mut again).await;
    assert!(first.contains("op-1 is paused") && !first.contains(r#""zones":"#), "{first}");

    plane.control.fleet.placements.release_readers();
    let ends = async { while matches!(events.chunk().await, Ok(Some(_))) {} };
    tokio::time::timeout(PATIENCE, ends).await.expect("streams end when the process stops");
}

#[tokio::test]
async fn followers_are_bounded() {
    let (_fixture, plane) = Fixture::idle(1).await;
    let mut following = vec![];
    let refused = loop {
        let asked = client().get(format!("{}/page/events", plane.url)).send().await.expect("answers");
        match asked.status().as_u16() {
            200 => following.push(asked),
            status => break (status, asked.headers().contains_key("retry-after")),
        }
        assert!(following.len() <= 64, "one more than may follow");
    };
    assert_eq!((refused, following.len()), ((503, true), 64));
    following.clear();
    let freed = async {
        while client().get(format!("{}/page/events", plane.url)).send().await.expect("answers").status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("a follower that leaves makes room");
}
