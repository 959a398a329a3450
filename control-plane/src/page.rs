//! The operators' page: the fleet as people see it, in a browser, at night, on a phone.
//!
//! It must never change anything by itself: what is asked for here passes the authentication of the HTTP API, as its own
//! request. Nor does it ever show what is in a wallet.

mod act;
mod actions;
mod entry;
mod fragment;
mod limits;
mod live;
mod paths;
mod place;
mod session;
mod snapshot;
mod view;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::Markup;
use serde::Deserialize;
use tokio::sync::Semaphore;

use self::paths::{EVENTS, HOME, LOGIN, LOGOUT, LOOK_UP};
use self::snapshot::Snapshots;
use self::visitor::Visitor;
use crate::api::authentication::Authenticator;
use crate::service::ControlPlane;

const STYLE: &str = include_str!("page/assets/page.css");
const SCRIPT: &str = include_str!("page/assets/page.js");
const ICON: &str = include_str!("page/assets/icon.svg");

/// What the page's handlers share.
struct Page {
    control: Arc<ControlPlane>,
    /// None on an open fleet.
    authenticator: Option<Authenticator>,
    /// The HTTP API in this process, behind its own authentication.
    api: Router,
    snapshots: Snapshots,
    followers: Arc<Semaphore>,
}

type Shared = State<Arc<Page>>;

/// Every change goes to `api`, which is behind `authenticator`, if there is one.
pub fn routes<S: Clone + Send + Sync + 'static>(
    control: &Arc<ControlPlane>,
    authenticator: Option<Authenticator>,
    api: Router,
) -> Router<S> {
    let page = Arc::new(Page {
        control: Arc::clone(control),
        authenticator,
        api,
        snapshots: Snapshots::default(),
        followers: Arc::new(Semaphore::new(limits::FOLLOWERS_MAX)),
    });
    let inside = Router::new()
        .route(HOME, get(home))
        .route(LOOK_UP, get(place::show))
        .route(EVENTS, get(live::follow))
        .route("/page/do/{noun}/{name}/{verb}", post(act::act))
        .route(LOGOUT, post(session::logout))
        .route_layer(from_fn_with_state(Arc::clone(&page), entry::enter));
    let outside = Router::new()
        .route("/", get(|| std::future::ready(Redirect::to(HOME))))
        .route("/page", get(|| std::future::ready(Redirect::to(HOME))))
        .route(LOGIN, get(session::ask).post(session::login))
        .route("/page/page.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/page/page.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/page/icon.svg", get(|| asset("image/svg+xml", ICON)));
    inside
        .merge(outside)
        .route_layer(from_fn_with_state(Arc::clone(&page), entry::check_origin))
        .route_layer(DefaultBodyLimit::max(limits::FORM_MAX_BYTES))
        .route_layer(from_fn(entry::keep_to_ourselves))
        .with_state(page)
}

/// The seal that belongs to this token, to be forged by tests.
#[cfg(test)]
pub fn seal_of(token: &str) -> String {
    session::seal(token)
}

/// What an action that was just carried out leaves in the address.
#[derive(Deserialize)]
struct Did {
    did: Option<String>,
    of: Option<String>,
}

async fn home(State(page): Shared, Extension(visitor): Extension<Visitor>, Query(asked): Query<Did>) -> Response {
    let snapshot = page.snapshots.now(&page.control).await;
    let done = asked.did.zip(asked.of).and_then(|(verb, name)| actions::done(&verb, &name));
    let fragments = view::fragments(&snapshot, &visitor);
    html(StatusCode::OK, view::home(&visitor, &fragments, done.as_deref()))
}

fn html(status: StatusCode, markup: Markup) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    (status, kind, markup.into_string()).into_response()
}

fn asset(kind: &'static str, text: &'static str) -> std::future::Ready<Response> {
    std::future::ready(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response())
}
