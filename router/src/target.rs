//! What a request line asks for. Knows the paths and nothing of bodies, headers or cells.

use http::Method;
use topology::{CellId, UserId, WalletId};

use crate::failure::Failure;

/// Which of the two data-plane listeners a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Public,
    Internal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The path names the wallet.
    Wallet(WalletId),
    /// The query names the user.
    User(UserId),
    /// The body's `userId` names the user.
    Create,
    /// `X-Wallet-Id`, or the body's `fromWalletId`, names the wallet.
    Transfer,
    /// The query names the cell.
    Cell(CellId),
    /// A page of the API's description; the path below `/docs/`, or None for `/docs` itself.
    Docs(Option<String>),
    OpenApi,
}

const WALLETS: &str = "/api/v1/wallets";
const EVENTS: &str = "/api/v1/events";
const INTERNAL_WALLETS: &str = topology::wire::path::INTERNAL_WALLETS;

pub fn target(side: Side, method: &Method, path: &str, query: Option<&str>) -> Result<Target, Failure> {
    match side {
        Side::Public => public(method, path, query),
        Side::Internal => wallet_of(path.strip_prefix(INTERNAL_WALLETS).ok_or(Failure::NotFound)?).map(Target::Wallet),
    }
}

fn public(method: &Method, path: &str, query: Option<&str>) -> Result<Target, Failure> {
    if path == EVENTS {
        return match *method {
            Method::GET => one_cell(query.unwrap_or_default()).map(Target::Cell),
            _ => Err(Failure::MethodNotAllowed("GET")),
        };
    }
    let Some(rest) = path.strip_prefix(WALLETS) else { return documents(method, path) };
    match rest {
        "" if method == Method::GET => one_user(query.unwrap_or_default()).map(Target::User),
        "" if method == Method::POST => Ok(Target::Create),
        "" => Err(Failure::MethodNotAllowed("GET, POST")),
        "/transfer" if method == Method::POST => Ok(Target::Transfer),
        "/transfer" => Err(Failure::MethodNotAllowed("POST")),
        _ => {
            let below = rest.strip_prefix('/').filter(|below| !below.is_empty()).ok_or(Failure::NotFound)?;
            let wallet = wallet_of(below)?;
            allow(method, &below[WALLET_ID_BYTES..])?;
            Ok(Target::Wallet(wallet))
        }
    }
}

const WALLET_ID_BYTES: usize = 36;

/// The wallet id that `below` starts with; it ends there, or a slash follows.
fn wallet_of(below: &str) -> Result<WalletId, Failure> {
    let id = below.split('/').next().unwrap_or_default();
    id.parse().map_err(|_| Failure::InvalidWalletId)
}

/// Paths below a wallet that the router does not know are the cell's to answer.
fn allow(method: &Method, action: &str) -> Result<(), Failure> {
    let allowed = match action {
        "" | "/transactions" | "/balance/historical" => "GET",
        "/deposit" | "/withdraw" => "POST",
        _ if action.starts_with("/transfers/") => "GET",
        _ => return Ok(()),
    };
    if method.as_str() == allowed { Ok(()) } else { Err(Failure::MethodNotAllowed(allowed)) }
}

fn documents(method: &Method, path: &str) -> Result<Target, Failure> {
    let target = match path {
        "/openapi.yaml" => Target::OpenApi,
        "/docs" => Target::Docs(None),
        _ => Target::Docs(Some(path.strip_prefix("/docs/").ok_or(Failure::NotFound)?.to_owned())),
    };
    if method == Method::GET { Ok(target) } else { Err(Failure::MethodNotAllowed("GET")) }
}

/// The only `cell` of a query; a cell id needs no decoding.
fn one_cell(query: &str) -> Result<CellId, Failure> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix("cell="));
    match (values.next(), values.next()) {
        (Some(id), None) => CellId::parse(id).map_err(|_| Failure::CellNotFound),
        _ => Err(Failure::MissingCell),
    }
}

/// The only `userId` of a query, decoded as HTML forms are (`+` is a space), which is how the cell reads it.
fn one_user(query: &str) -> Result<UserId, Failure> {
    let mut values = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name).as_deref() == Some("userId")).then_some(value)
    });
    match (values.next(), values.next()) {
        (Some(value), None) => {
            UserId::parse(decode(value).ok_or(Failure::InvalidUserId)?).map_err(|_| Failure::InvalidUserId)
        }
        _ => Err(Failure::InvalidUserId),
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).expect("two hex digits are a byte")
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6a836b5a-367e-4abc-8347-a2aaf56afd1c";

    #[test]
    fn the_line_alone_tells_what_is_asked_for() {
        let wallet = Target::Wallet(ID.parse().expect("a UUID"));
        let user = |id: &str| Ok(Target::User(UserId::parse(id).expect("sound")));
        let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
        let cases = [
            (&get, format!("/api/v1/wallets/{ID}"), Ok(wallet.clone())),
            (&post, format!("/api/v1/wallets/{ID}/deposit"), Ok(wallet.clone())),
            (&get, format!("/api/v1/wallets/{ID}/deposit"), Err(Failure::MethodNotAllowed("POST"))),
            (&put, format!("/api/v1/wallets/{ID}/of-tomorrow"), Ok(wallet.clone())),
            (&get, format!("/api/v1/wallets/{ID}x"), Err(Failure::InvalidWalletId)),
            (&get, "/api/v1/wallets/transfer".into(), Err(Failure::MethodNotAllowed("POST"))),
            (&post, "/api/v1/wallets/transfer".into(), Ok(Target::Transfer)),
            (&post, "/api/v1/wallets".into(), Ok(Target::Create)),
            (&put, "/api/v1/wallets".into(), Err(Failure::MethodNotAllowed("GET, POST"))),
            (&get, "/api/v1/wallets?userId=a%20b".into(), user("a b")),
            (&get, "/api/v1/wallets?x=1&userId=a+b".into(), user("a b")),
            (&get, "/api/v1/wallets?userId=a&user%49d=b".into(), Err(Failure::InvalidUserId)),
            (&get, "/api/v1/wallets?userId=%zz".into(), Err(Failure::InvalidUserId)),
            (&get, "/api/v1/wallets?userId=".into(), Err(Failure::InvalidUserId)),
            (&get, "/api/v1/wallets".into(), Err(Failure::InvalidUserId)),
            (&get, "/api/v1/wallets/".into(), Err(Failure::NotFound)),
            (&get, "/api/v1/walletsx".into(), Err(Failure::NotFound)),
            (&get, format!("/internal/v1/wallets/{ID}/receivable"), Err(Failure::NotFound)),
            (&get, "/api/v1/events?cell=cell-1".into(), Ok(Target::Cell(CellId::parse("cell-1").expect("sound")))),
            (&get, "/api/v1/events".into(), Err(Failure::MissingCell)),
            (&get, "/api/v1/events?cell=CELL".into(), Err(Failure::CellNotFound)),
            (&post, "/api/v1/events?cell=cell-1".into(), Err(Failure::MethodNotAllowed("GET"))),
            (&get, "/docs/index.css".into(), Ok(Target::Docs(Some("index.css".into())))),
        ];
        for (method, line, expected) in cases {
            let (path, query) = line.split_once('?').map_or((line.as_str(), None), |(p, q)| (p, Some(q)));
            assert_eq!(target(Side::Public, method, path, query), expected, "{line}");
        }
        let internal = target(Side::Internal, &post, &format!("/internal/v1/wallets/{ID}/credits"), None);
        assert_eq!(internal, Ok(wallet));
        assert_eq!(target(Side::Internal, &get, &format!("/api/v1/wallets/{ID}"), None), Err(Failure::NotFound));
    }
}
