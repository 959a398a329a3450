//! What happens before every path of the page: the headers of answers, the origins that a form may
//! come from, and the visitor.
//!
//! It must never let a form through that a page of ours did not make, nor a cookie count anywhere but here.

use access::origin::Foreign;
use access::{Denied, origin};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use topology::Problem;
use uuid::Uuid;

use super::paths::{EVENTS, LOGIN};
use super::visitor::{Visitor, caller};
use super::{Shared, html, session, view};

const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// Admits permitted visitors.
pub async fn enter(State(page): Shared, mut request: Request, next: Next) -> Response {
    let Some(authenticator) = &page.authenticator else {
        let known = session::browser(request.headers());
        let browser = known.unwrap_or_else(Uuid::new_v4);
        request.extensions_mut().insert(Visitor::unauthenticated(session::seal(&browser.to_string())));
        let mut response = next.run(request).await;
        if known.is_none() {
            response.headers_mut().append(header::SET_COOKIE, session::new_browser(browser));
        }
        return response;
    };
    let Some(token) = session::token(request.headers()) else {
        return match request.method() == Method::GET && request.uri().path() != EVENTS {
            true => Redirect::to(LOGIN).into_response(),
            false => session::turned_away(Denied::Unauthenticated),
        };
    };
    match caller(authenticator, &token) {
        Ok(caller) => {
            let seal = session::seal(&token);
            request.extensions_mut().insert(Visitor::authenticated(authenticator.clone(), caller, token, seal));
            next.run(request).await
        }
        Err(reason) => session::turned_away(reason),
    }
}

/// A form has to come from a page of this same address. On an open fleet that address has to be this machine's: else a name
/// of another site that is pointed here would do.
pub async fn check_origin(State(page): Shared, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if page.authenticator.is_none() && !origin::is_local(headers) {
        let detail = "a fleet without authentication answers only as 127.0.0.1, [::1] or localhost";
        return refuse(Foreign::Host, Foreign::Host.title(), detail);
    }
    if request.method() == Method::POST && !origin::is_own_form(headers) {
        let todo = "open the page itself, and press the button there";
        return refuse(Foreign::Site, "The form is not ours", todo);
    }
    next.run(request).await
}

fn refuse(foreign: Foreign, title: &str, detail: &str) -> Response {
    let problem = Problem::new(Foreign::STATUS.as_u16(), foreign.code(), title).detail(detail);
    html(Foreign::STATUS, view::refusal(&problem))
}

/// Nothing of the page is kept by a cache, framed, or made to load anything of another site.
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
