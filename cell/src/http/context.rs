//! What a request says about itself in its headers: id, key, deadline and caller.

use axum::http::{HeaderMap, header};
use ledger::Note;
use ledger::block::{Audit, Key, ShortText};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use topology::{WalletId, wire};

use super::note;
use super::problem::{Fault, MAX_REQUEST_ID_BYTES};
use super::{ANSWER_RESERVE, DEFAULT_DEADLINE, MAX_DEADLINE, MIN_DEADLINE};
use crate::wallets::Context;

/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 128;
// Longest texts kept in the audit context, in bytes; what is longer is cut.
/// A kind and a user id of at most 128 bytes.
pub const MAX_ACTOR_BYTES: usize = 140;
const TRACE_ID_DIGITS: usize = 32;
const MAX_SOURCE_IP_BYTES: usize = 45;
const MAX_USER_AGENT_BYTES: usize = 96;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The context of a request whose meaning is `operation` (its kind and parsed fields, so that `1` and `1.00` are the
/// same request).
pub fn context(headers: &HeaderMap, request_id: &str, operation: &str, note: Note) -> Result<Context, Fault> {
    let wanted = text(headers, wire::DEADLINE_MS).and_then(|ms| ms.parse().ok()).map(std::time::Duration::from_millis);
    let patience = wanted.unwrap_or(DEFAULT_DEADLINE).clamp(MIN_DEADLINE, MAX_DEADLINE);
    Ok(Context {
        key: key(headers, &note::meaning(operation.to_owned(), &note))?,
        audit: Audit {
            source_ip: ShortText::cut(text(headers, wire::FORWARDED_FOR).unwrap_or(""), MAX_SOURCE_IP_BYTES),
            user_agent: ShortText::cut(text(headers, header::USER_AGENT.as_str()).unwrap_or(""), MAX_USER_AGENT_BYTES),
            request_id: ShortText::cut(request_id, MAX_REQUEST_ID_BYTES),
            actor: ShortText::cut(&actor(headers), MAX_ACTOR_BYTES),
            trace_id: ShortText::cut(trace_id(headers).unwrap_or(""), TRACE_ID_DIGITS),
        },
        note,
        deadline: Instant::now() + patience - ANSWER_RESERVE.min(patience / 4),
    })
}

/// The caller, its kind and its subject, as the router or the control plane has verified it: percent-encoded where it
/// is not visible ASCII, since it travels in a header.
pub fn actor(headers: &HeaderMap) -> String {
    let mut decoded = Vec::new();
    let mut rest = text(headers, wire::ACTOR).unwrap_or("").as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, after @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(*high).zip(digit(*low)).map(|(high, low)| (high * 16 + low, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, after));
        decoded.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Whether the router says that the caller is an operator: the answer then names the actor of each
/// entry.
pub fn is_operator(headers: &HeaderMap) -> bool {
    text(headers, wire::ACTOR).is_some_and(|actor| actor.starts_with("operator:"))
}

/// The trace id of a W3C `traceparent`: `00-<32 digits>-<16 digits>-<2 digits>`.
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let id = text(headers, wire::TRACE_PARENT)?.split('-').nth(1)?;
    let sound = id.len() == TRACE_ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    sound.then_some(id)
}

fn key(headers: &HeaderMap, operation: &str) -> Result<Option<Key>, Fault> {
    let mut keys = headers.get_all(wire::IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(Fault::IdempotencyKey);
    }
    key_of(&actor(headers), key.as_bytes(), operation).map(Some)
}

/// An idempotency key that came in a body or a header, for a request whose meaning is `operation`. It belongs to the
/// caller that sent it: a stranger's key of the same text is another one.
pub fn key_of(caller: &str, key: &[u8], operation: &str) -> Result<Key, Fault> {
    let is_sound = (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    if !is_sound {
        return Err(Fault::IdempotencyKey);
    }
    Ok(Key { key: owned(caller, key), request: half_hash(operation.as_bytes()) })
}

/// The hash of a caller's key. The caller's length comes first, so that no other pair makes the same bytes; without
/// tokens there is one caller without a name, and its keys are hashed alone.
fn owned(caller: &str, key: &[u8]) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(8 + caller.len() + key.len());
    if !caller.is_empty() {
        bytes.extend_from_slice(&(caller.len() as u64).to_be_bytes());
        bytes.extend_from_slice(caller.as_bytes());
    }
    bytes.extend_from_slice(key);
    half_hash(&bytes)
}

/// The key of the part at `index` of a request that has a key for the whole.
pub fn key_of_part(whole: &Key, index: usize, operation: &str) -> Key {
    let mut bytes = whole.key.to_vec();
    bytes.extend_from_slice(&index.to_be_bytes());
    Key { key: half_hash(&bytes), request: half_hash(operation.as_bytes()) }
}

fn half_hash(bytes: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// `X-Wallet-Id`, if sent, must name the wallet that the request is about.
pub fn check_wallet_header(headers: &HeaderMap, wallet: WalletId) -> Result<(), Fault> {
    let agrees = headers
        .get_all(wire::WALLET_ID)
        .iter()
        .all(|value| value.to_str().ok().and_then(|id| id.parse().ok()) == Some(wallet));
    agrees.then_some(()).ok_or(Fault::WalletHeader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_read_as_he_is_called() {
        for (sent, actor) in [
            ("customer:ann", "customer:ann"),
            ("customer:a&b=c+d", "customer:a&b=c+d"),
            ("customer:%C3%A4%20%25", "customer:\u{e4} %"),
            ("customer:%", "customer:%"),
            ("", ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(wire::ACTOR, sent.parse().expect("a header value"));
            assert_eq!(super::actor(&headers), actor);
        }
    }

    #[test]
    fn a_key_belongs_to_its_caller() {
        let key = |caller, key: &str| key_of(caller, key.as_bytes(), "deposit 1.00").expect("sound").key;
        let keys = [
            key("", "order-1"),
            key("customer:ann", "order-1"),
            key("customer:an", "norder-1"),
            key("service:ann", "order-1"),
            key("customer:ann", "order-2"),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(one), "{index}");
        }
        assert_eq!(key("customer:ann", "order-1"), keys[1]);
    }

    #[test]
    fn a_trace_id_is_taken_from_a_sound_traceparent_only() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (sent, expected) in [
            (format!("00-{id}-00f067aa0ba902b7-01"), Some(id)),
            (format!("00-{}-00f067aa0ba902b7-01", &id[1..]), None),
            ("x".to_owned(), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(wire::TRACE_PARENT, sent.parse().expect("a header value"));
            assert_eq!(trace_id(&headers), expected, "{sent}");
        }
    }
}
