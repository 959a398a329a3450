//! The session of an operator: the operator's own token in a cookie that no script reads, and the
//! seal that shows that a form came from a page of ours.
//!
//! It must never put a token anywhere else, nor make one.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest, Sha256};
use topology::Problem;
use uuid::Uuid;

use super::limits::{COOKIES_MAX_BYTES, FIELDS_MAX, SESSION_MAX_BYTES};
use super::paths::{HOME, LOGIN};
use super::{Shared, html, view, visitor};

const SESSION: &str = "wallet_session";
/// A random name of the browser, for the seals of forms where there is no session.
const BROWSER: &str = "wallet_browser";
const DAY_S: u64 = 24 * 3_600;

/// The token in the session's cookie.
pub fn token(headers: &HeaderMap) -> Option<String> {
    cookie(headers, SESSION).filter(|token| token.len() <= SESSION_MAX_BYTES && is_token(token))
}

pub fn browser(headers: &HeaderMap) -> Option<Uuid> {
    cookie(headers, BROWSER)?.parse().ok()
}

pub fn new_browser(browser: Uuid) -> HeaderValue {
    let text = format!("{BROWSER}={browser}; Path=/page; HttpOnly; SameSite=Strict; Max-Age={DAY_S}");
    HeaderValue::from_str(&text).expect("plain ASCII")
}

/// What the forms of this browser carry: it follows from a secret that only the browser and we have, and tells nothing of
/// it.
pub fn seal(secret: &str) -> String {
    let hash = Sha256::new().chain_update("wallet page form\n").chain_update(secret).finalize();
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut read = 0;
    for line in headers.get_all(header::COOKIE) {
        read += line.len();
        if read > COOKIES_MAX_BYTES {
            return None;
        }
        let pairs = line.to_str().ok()?.split(';').filter_map(|pair| pair.trim().split_once('='));
        if let Some((_, value)) = pairs.into_iter().find(|(key, _)| *key == name) {
            return Some(value.to_owned());
        }
    }
    None
}

/// A JWT's own characters: nothing that could end a cookie or begin another attribute.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn session(token: &str) -> HeaderValue {
    let text = format!("{SESSION}={token}; Path=/page; HttpOnly; Secure; SameSite=Strict");
    HeaderValue::from_str(&text).expect("a token's characters")
}

fn no_session() -> HeaderValue {
    HeaderValue::from_static("wallet_session=; Path=/page; HttpOnly; Secure; SameSite=Strict; Max-Age=0")
}

/// A field of a form; of several, the first.
pub fn field(form: &[u8], name: &str) -> Option<String> {
    let found = form_urlencoded::parse(form).take(FIELDS_MAX).find(|(key, _)| key == name);
    found.map(|(_, value)| value.trim().to_owned())
}

/// `GET /page/login`.
pub async fn ask(State(page): Shared) -> Response {
    if page.authenticator.is_none() {
        return Redirect::to(HOME).into_response();
    }
    html(StatusCode::OK, view::login(None))
}

/// `POST /page/login`.
pub async fn login(State(page): Shared, form: Bytes) -> Response {
    let Some(authenticator) = &page.authenticator else { return Redirect::to(HOME).into_response() };
    let token = field(&form, "token").unwrap_or_default();
    // As it is pasted from a terminal: `Bearer …` too.
    let token = token.strip_prefix("Bearer ").unwrap_or(&token).trim();
    if token.len() > SESSION_MAX_BYTES {
        let detail = format!("a browser keeps at most {SESSION_MAX_BYTES} bytes: use ctl with this one");
        let reason = access::Denied::TokenTooLarge;
        let problem = Problem::new(reason.status(), reason.code(), reason.title()).detail(detail);
        return html(StatusCode::UNAUTHORIZED, view::login(Some(&problem)));
    }
    let checked =
        if is_token(token) { visitor::caller(authenticator, token) } else { Err(access::Denied::TokenInvalid) };
    match checked {
        Ok(caller) => {
            tracing::info!(actor = caller.identity.actor(), "signed in to the page");
            let mut response = Redirect::to(HOME).into_response();
            response.headers_mut().insert(header::SET_COOKIE, session(token));
            response
        }
        Err(reason) => turned_away(reason),
    }
}

/// The login page with the problem's code. A session that is no good is taken away.
pub fn turned_away(reason: access::Denied) -> Response {
    reason.count();
    let problem = crate::api::problem::of(crate::error::Error::Denied(reason));
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut response = html(status, view::login(Some(&problem)));
    // Keys that are not known yet are not the token's fault.
    if !matches!(reason, access::Denied::KeysUnavailable | access::Denied::TokenKeyUnknown) {
        response.headers_mut().insert(header::SET_COOKIE, no_session());
    }
    response
}

/// `POST /page/logout`.
pub async fn logout(State(page): Shared) -> Response {
    let target = if page.authenticator.is_some() { LOGIN } else { HOME };
    let mut response = Redirect::to(target).into_response();
    response.headers_mut().insert(header::SET_COOKIE, no_session());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookies: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookies).expect("ASCII"))])
    }

    #[test]
    fn only_a_token_is_taken_for_a_session() {
        assert_eq!(token(&with("a=b; wallet_session=aa.bb-_.cc")), Some("aa.bb-_.cc".to_owned()));
        let long = format!("wallet_session={}", "a".repeat(SESSION_MAX_BYTES + 1));
        let flood = format!("a={}; wallet_session=aa", "a".repeat(COOKIES_MAX_BYTES));
        for none in ["", "wallet_session=", "xwallet_session=aa", "wallet_session=a b", &long, &flood] {
            assert_eq!(token(&with(none)), None, "{none:.40}");
        }
    }

    #[test]
    fn a_seal_follows_from_its_secret_and_does_not_tell_it() {
        let one = seal("secret-one");
        assert_eq!((one.len(), one == seal("secret-one"), one == seal("secret-two")), (32, true, false));
        assert!(!one.contains("secret"));
    }

    #[test]
    fn fields_are_read_up_to_a_bound() {
        let form = b"reason=disk+is+failing%21&seal=ab&reason=other";
        assert_eq!(field(form, "reason").as_deref(), Some("disk is failing!"));
        assert_eq!(field(form, "actor"), None);
        let many = format!("{}reason=late", "x=1&".repeat(FIELDS_MAX));
        assert_eq!(field(many.as_bytes(), "reason"), None);
    }
}
