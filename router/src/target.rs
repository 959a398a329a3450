//! What a request line asks for. Knows nothing of bodies, headers or cells.

use http::Method;
use topology::endpoint::{By, Callers, Method as Taken, Methods};
use topology::{CellId, Endpoint, UserId, WalletId};

use crate::failure::Failure;
use crate::route::Route;

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

pub fn target(route: Route, method: &Method, path: &str, query: Option<&str>) -> Result<Target, Failure> {
    match route {
        Route::Endpoint(endpoint) if endpoint.by() == By::Path => {
            let wallet = wallet_of(endpoint.callers(), path)?;
            allowed(endpoint, method)?;
            Ok(Target::Wallet(wallet))
        }
        Route::Endpoint(endpoint) => without_wallet(allowed(endpoint, method)?, query.unwrap_or_default()),
        Route::Documents => documents(method, path),
        // Paths below a wallet that the router does not know are the cell's to answer.
        Route::Internal => wallet_of(Callers::Cells, path).map(Target::Wallet),
        Route::Other => wallet_of(Callers::Clients, path).map(Target::Wallet),
    }
}

fn without_wallet(endpoint: Endpoint, query: &str) -> Result<Target, Failure> {
    match endpoint.by() {
        By::UserInQuery => one_user(query).map(Target::User),
        By::UserInBody => Ok(Target::Create),
        By::PayerInBody => Ok(Target::Transfer),
        By::CellInQuery => one_cell(query).map(Target::Cell),
        By::Path | By::Nothing => Err(Failure::NotFound),
    }
}

/// The endpoint of this path that takes the method, where the router is to look at it.
fn allowed(endpoint: Endpoint, method: &Method) -> Result<Endpoint, Failure> {
    let takes = |method| endpoint.taking(method);
    let taken = match (endpoint.methods(), method) {
        (Methods::Open, _) => Some(endpoint),
        (Methods::Fixed, &Method::GET) => takes(Taken::Get),
        (Methods::Fixed, &Method::POST) => takes(Taken::Post),
        (Methods::Fixed, _) => None,
    };
    taken.ok_or_else(|| {
        Failure::MethodNotAllowed(match (takes(Taken::Get), takes(Taken::Post)) {
            (Some(_), Some(_)) => "GET, POST",
            (Some(_), None) => "GET",
            (None, _) => "POST",
        })
    })
}

/// The wallet id that a path has where they have one; the path ends there, or a slash follows.
fn wallet_of(callers: Callers, path: &str) -> Result<WalletId, Failure> {
    let below = path.strip_prefix(callers.wallets()).filter(|below| !below.is_empty()).ok_or(Failure::NotFound)?;
    let id = below.split('/').next().unwrap_or_default();
    id.parse().map_err(|_| Failure::InvalidWalletId)
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
            assert_eq!(target(Route::of(Side::Public, path), method, path, query), expected, "{line}");
        }
        let internal = |path: &str| target(Route::of(Side::Internal, path), &post, path, None);
        assert_eq!(internal(&format!("/internal/v1/wallets/{ID}/credits")), Ok(wallet.clone()));
        assert_eq!(internal(&format!("/internal/v1/wallets/{ID}/of-tomorrow")), Ok(wallet));
        assert_eq!(internal(&format!("/api/v1/wallets/{ID}")), Err(Failure::NotFound));
        assert_eq!(internal("/internal/v1/hot-wallets"), Err(Failure::NotFound));
    }
}
