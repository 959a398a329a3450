//! What happens before every path of the page: the headers of answers, the origins that a form may
//! come from, and the visitor.
//!
//! It must never let a form through that a page of ours did not make, nor a cookie count anywhere but here.

use std::sync::Arc;

use access::guard::Caller;
use access::{Denied, origin};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use topology::Problem;
use uuid::Uuid;

use super::actions::Action;
use super::{HOME, LOGIN, Shared, html, session, view};
use crate::api::door::Door;

const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// A visitor of the page, and the permitted actions.
#[derive(Clone)]
pub struct Visitor {
    /// None on an open fleet.
    known: Option<Known>,
    /// Every form of the visitor carries it.
    pub seal: String,
}

#[derive(Clone)]
struct Known {
    door: Door,
    caller: Arc<Caller>,
    token: String,
}

impl Visitor {
    /// Of an open fleet.
    pub fn anybody(seal: String) -> Self {
        Self { known: None, seal }
    }

    pub fn is_anybody(&self) -> bool {
        self.known.is_none()
    }

    /// `operator:joe`, and the role.
    pub fn name(&self) -> Option<(String, &'static str)> {
        let identity = &self.known.as_ref()?.caller.identity;
        Some((identity.actor(), identity.role.unwrap_or("no role")))
    }

    /// Whether the policy would allow it; it is asked again when it is done.
    pub fn may(&self, action: &Action) -> bool {
        let Some(Known { door, caller, .. }) = &self.known else { return true };
        door.may(caller, "POST", action.route, action.force)
    }

    pub fn authorization(&self) -> Option<HeaderValue> {
        self.known.as_ref().map(|known| bearer(&known.token))
    }

    /// Seconds since 1970 from which on the visitor has to sign in again.
    pub fn expires_s(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.caller.identity.expires_s)
    }
}

fn bearer(token: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("Bearer {token}")).expect("a token's characters")
}

/// The caller with this token, if the policy lets it see the page.
pub fn judge(door: &Door, token: &str) -> Result<Arc<Caller>, Denied> {
    let caller = door.caller(&bearer(token))?;
    if door.may(&caller, "GET", HOME, false) { Ok(caller) } else { Err(Denied::Forbidden) }
}

/// Admits permitted visitors.
pub async fn enter(State(page): Shared, mut request: Request, next: Next) -> Response {
    let Some(door) = &page.door else {
        let known = session::browser(request.headers());
        let browser = known.unwrap_or_else(Uuid::new_v4);
        request.extensions_mut().insert(Visitor::anybody(session::seal(&browser.to_string())));
        let mut response = next.run(request).await;
        if known.is_none() {
            response.headers_mut().append(header::SET_COOKIE, session::new_browser(browser));
        }
        return response;
    };
    let Some(token) = session::token(request.headers()) else {
        return match request.method() == Method::GET && request.uri().path() != "/page/events" {
            true => Redirect::to(LOGIN).into_response(),
            false => session::turned_away(Denied::Unauthenticated),
        };
    };
    match judge(door, &token) {
        Ok(caller) => {
            let seal = session::seal(&token);
            request.extensions_mut().insert(Visitor { known: Some(Known { door: door.clone(), caller, token }), seal });
            next.run(request).await
        }
        Err(reason) => session::turned_away(reason),
    }
}

/// A form has to come from a page of this same address. On an open fleet that address has to be this machine's: else a name
/// of somebody else's that is pointed here would do.
pub async fn check_origin(State(page): Shared, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if page.door.is_none() && !origin::is_local(headers) {
        let detail = "a fleet without authentication answers only as 127.0.0.1, [::1] or localhost";
        return refuse("foreign_host", "Not under this name", detail);
    }
    if request.method() == Method::POST && !origin::is_own_form(headers) {
        return refuse("cross_site", "The form is not ours", "open the page itself, and press the button there");
    }
    next.run(request).await
}

pub fn refuse(code: &str, title: &str, detail: &str) -> Response {
    html(StatusCode::FORBIDDEN, view::refusal(&Problem::new(403, code, title).detail(detail)))
}

/// Nothing of the page is kept by a cache, framed, or made to load anything of anybody else's.
pub async fn keep_to_ourselves(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: then browsers would not say where our own forms come from.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
