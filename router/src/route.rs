//! Which route a request takes, as a number for the metrics: from the path alone, without a look at what is not needed.
//! The names are those that cells count by.

use crate::target::Side;

const WALLETS: &str = "/api/v1/wallets";
const WALLET_ID_BYTES: usize = 36;

/// A place in [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route(u8);

pub const NAMES: [&str; 22] = [
    "other",
    "/api/v1/wallets",
    "/api/v1/wallets/transfer",
    "/api/v1/wallets/{id}",
    "/api/v1/wallets/{id}/deposit",
    "/api/v1/wallets/{id}/withdraw",
    "/api/v1/wallets/{id}/balance/historical",
    "/api/v1/wallets/{id}/transactions",
    "/api/v1/wallets/{id}/transactions:batch",
    "/api/v1/wallets/{id}/transactions/{transaction}/reverse",
    "/api/v1/wallets/{id}/transfers:batch",
    "/api/v1/wallets/{id}/transfers/{transfer}",
    "/api/v1/wallets/{id}/statement",
    "/api/v1/wallets/{id}/proof",
    "/api/v1/wallets/{id}/holds",
    "/api/v1/wallets/{id}/holds/{hold}/capture",
    "/api/v1/wallets/{id}/holds/{hold}/void",
    "/api/v1/events",
    "/docs",
    "/internal/v1/wallets/{id}/receivable",
    "/internal/v1/wallets/{id}/credits",
    "/internal/v1/wallets/{id}",
];

impl Route {
    pub fn of(side: Side, path: &str) -> Self {
        Self(match side {
            Side::Public => public(path),
            Side::Internal if path.ends_with(topology::wire::path::RECEIVABLE) => 19,
            Side::Internal if path.ends_with(topology::wire::path::CREDITS) => 20,
            Side::Internal => 21,
        })
    }

    pub fn name(self) -> &'static str {
        NAMES[self.index()]
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

fn public(path: &str) -> u8 {
    let Some(below) = path.strip_prefix(WALLETS) else {
        return match path {
            "/api/v1/events" => 17,
            _ if path.starts_with("/docs") || path == "/openapi.yaml" => 18,
            _ => 0,
        };
    };
    match below {
        "" => 1,
        "/transfer" => 2,
        _ => below.as_bytes().get(WALLET_ID_BYTES + 1..).map_or(0, action),
    }
}

fn action(action: &[u8]) -> u8 {
    match action {
        b"" => 3,
        b"/deposit" => 4,
        b"/withdraw" => 5,
        b"/balance/historical" => 6,
        b"/transactions" => 7,
        b"/transactions:batch" => 8,
        b"/transfers:batch" => 10,
        b"/statement" => 12,
        b"/proof" => 13,
        b"/holds" => 14,
        _ if action.starts_with(b"/transactions/") && action.ends_with(b"/reverse") => 9,
        _ if action.starts_with(b"/transfers/") => 11,
        _ if action.starts_with(b"/holds/") && action.ends_with(b"/capture") => 15,
        _ if action.starts_with(b"/holds/") && action.ends_with(b"/void") => 16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_its_own_route() {
        for name in &NAMES[1..] {
            let path = ["{id}", "{transaction}", "{transfer}", "{hold}"]
                .iter()
                .fold((*name).to_owned(), |path, part| path.replace(part, "6a836b5a-367e-4abc-8347-a2aaf56afd1c"));
            let side = if path.starts_with("/internal") { Side::Internal } else { Side::Public };
            assert_eq!(Route::of(side, &path).name(), *name);
        }
        for path in
            ["/", "/api/v1/walletsx", "/api/v1/wallets/x", "/api/v1/wallets/6a836b5a-367e-4abc-8347-a2aaf56afd1c/x"]
        {
            assert_eq!(Route::of(Side::Public, path).name(), "other", "{path}");
        }
    }
}
