//! Header hygiene: what concerns only one connection, or only ourselves, never crosses the router.

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use topology::{WalletId, wire};

use crate::failure::Failure;
use crate::limits;
use crate::target::Side;

/// What one pass over a request's header tells.
#[derive(Debug, Default)]
pub struct Facts {
    pub content_length: Option<u64>,
    pub is_chunked: bool,
    pub has_key: bool,
    pub has_host: bool,
    pub has_forwarded_for: bool,
    pub wallet: Option<WalletId>,
    /// The client's address as trusted proxies tell it, if it is not the peer's.
    pub source: Option<HeaderValue>,
    /// A line that only we may write, and that a client has written: taken out.
    pub forged: Option<&'static str>,
    deadline_ms: Option<u64>,
}

impl Facts {
    pub fn deadline(&self) -> Duration {
        let asked = self.deadline_ms.unwrap_or(limits::DEADLINE_DEFAULT_MS);
        Duration::from_millis(asked.clamp(limits::DEADLINE_MIN_MS, limits::DEADLINE_MAX_MS))
    }
}

/// Reads what the router needs of a request's header and takes out what must not pass on, or is
/// written again.
pub fn clean_request(headers: &mut HeaderMap, side: Side) -> Result<Facts, Failure> {
    if headers.len() > limits::HEADERS_MAX {
        return Err(Failure::TooManyHeaders);
    }
    let mut facts = Facts::default();
    let mut drops = Drops::default();
    for (name, value) in headers.iter() {
        match name.as_str() {
            "content-length" => facts.content_length = value.to_str().ok().and_then(|text| text.parse().ok()),
            "transfer-encoding" => {
                // Any other coding would have to be undone, or passed on together with this hop's own.
                if facts.is_chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(Failure::AmbiguousLength);
                }
                facts.is_chunked = true;
                drops.push(name);
            }
            // Answered here, as soon as the body is read.
            "expect" => drops.push(name),
            "host" => facts.has_host = true,
            "upgrade" => {
                // Clients that try to speak HTTP/2 on every first request take no answer for a no.
                if !value.as_bytes().eq_ignore_ascii_case(b"h2c") {
                    return Err(Failure::UpgradeRefused);
                }
                drops.push(name);
            }
            wire::IDEMPOTENCY_KEY => facts.has_key = true,
            // A cell that calls another says for whom; the public is never believed.
            wire::FORWARDED_FOR if side == Side::Internal => facts.has_forwarded_for = true,
            wire::DEADLINE_MS => {
                facts.deadline_ms = value.to_str().ok().and_then(|text| text.parse().ok());
                drops.push(name);
            }
            // The internal side's callers are cells and control planes, which say for whom they
            // ask.
            wire::ACTOR if side == Side::Internal => {}
            wire::FORWARDED_FOR => {
                facts.forged = Some(wire::FORWARDED_FOR);
                drops.push(name);
            }
            wire::ACTOR => {
                facts.forged = Some(wire::ACTOR);
                drops.push(name);
            }
            wire::REQUEST_ID => drops.push(name),
            wire::WALLET_ID => {
                let wallet = value.to_str().ok().and_then(|text| text.parse().ok());
                let wallet = wallet.ok_or(Failure::InvalidWalletId)?;
                if facts.wallet.is_some_and(|other| other != wallet) {
                    return Err(Failure::HeaderMismatch);
                }
                facts.wallet = Some(wallet);
            }
            wire::MOVED_BLOCK => {
                facts.forged = Some(wire::MOVED_BLOCK);
                drops.push(name);
            }
            wire::WALLET_CELL | wire::HOPS | wire::NOT_PROCESSED => drops.push(name),
            other if is_hop_by_hop(other) => drops.push(name),
            _ => {}
        }
    }
    drops.apply(headers);
    Ok(facts)
}

/// Takes out of an answer what concerns only the cell's connection, or only the router.
pub fn clean_answer(headers: &mut HeaderMap, for_client: bool) {
    let mut drops = Drops::default();
    for name in headers.keys() {
        match name.as_str() {
            "transfer-encoding" | "upgrade" | wire::WALLET_CELL | wire::MOVED_BLOCK | wire::HOPS => drops.push(name),
            wire::NOT_PROCESSED if for_client => drops.push(name),
            other if is_hop_by_hop(other) => drops.push(name),
            _ => {}
        }
    }
    drops.apply(headers);
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "http2-settings"
    )
}

/// Names to be removed; empty, and then free, on nearly every message.
#[derive(Default)]
struct Drops(Vec<HeaderName>);

impl Drops {
    fn push(&mut self, name: &HeaderName) {
        self.0.push(name.clone());
    }

    fn apply(self, headers: &mut HeaderMap) {
        for name in self.0 {
            if name == CONNECTION {
                drop_named(headers);
            }
            headers.remove(name);
        }
    }
}

/// Removes what `Connection` lists, but for what frames or routes the message, or what we have acted on already: a cell
/// that did not see it would act on something else.
fn drop_named(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|token| token.trim().parse().ok())
        .filter(|name| ![CONTENT_LENGTH, TRANSFER_ENCODING, http::header::HOST].contains(name))
        .filter(|name| ![wire::WALLET_ID, wire::IDEMPOTENCY_KEY].contains(&name.as_str()))
        .collect();
    for name in listed {
        headers.remove(name);
    }
}

/// The client's request id if it is sound, else a new one. Not for secrets: the generator is a fast one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sound = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= limits::REQUEST_ID_MAX_BYTES && bytes.iter().all(u8::is_ascii_graphic)
    };
    if let Some(given) = headers.get(&REQUEST_ID).filter(sound) {
        return given.clone();
    }
    new_request_id()
}

pub fn new_request_id() -> HeaderValue {
    let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.as_hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("a UUID is visible ASCII")
}

pub const REQUEST_ID: HeaderName = HeaderName::from_static(wire::REQUEST_ID);
