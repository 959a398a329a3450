//! What a path is known as. From the path alone: what the method may be is for `target` to say. The names are those that
//! cells count by.

use topology::endpoint::{Callers, Method};
use topology::{Duty, Endpoint, wire};

use crate::target::Side;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The first one with this path.
    Endpoint(Endpoint),
    /// The API's description, which the router answers itself.
    Documents,
    /// Not known, at the internal address.
    Internal,
    /// Not known, at the public address.
    Other,
}

const BESIDE_ENDPOINTS: [Route; 3] = [Route::Documents, Route::Internal, Route::Other];

impl Route {
    pub fn of(side: Side, path: &str) -> Self {
        let is_of_side = |endpoint: &Endpoint| (endpoint.callers() == Callers::Clients) == (side == Side::Public);
        match (Endpoint::at(path).filter(is_of_side), side) {
            (Some(endpoint), _) => Self::Endpoint(endpoint),
            (None, Side::Internal) => Self::Internal,
            (None, Side::Public) if path.starts_with("/docs") || path == "/openapi.yaml" => Self::Documents,
            (None, Side::Public) => Self::Other,
        }
    }

    /// All routes, each at its index.
    pub fn all() -> impl Iterator<Item = Self> {
        Endpoint::ALL.iter().copied().map(Self::Endpoint).chain(BESIDE_ENDPOINTS)
    }

    pub fn index(self) -> usize {
        match self {
            Self::Endpoint(endpoint) => endpoint as usize,
            Self::Documents => Endpoint::ALL.len(),
            Self::Internal => Endpoint::ALL.len() + 1,
            Self::Other => Endpoint::ALL.len() + 2,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => match endpoint.callers() {
                Callers::Clients | Callers::Cells => endpoint.template(),
                // Hardly ever asked for here: one name is enough for all of them.
                Callers::Operators => Self::Internal.name(),
            },
            Self::Documents => "/docs",
            Self::Internal => "/internal/v1/wallets/{id}",
            Self::Other => "other",
        }
    }

    pub fn endpoint(self) -> Option<Endpoint> {
        match self {
            Self::Endpoint(endpoint) => Some(endpoint),
            Self::Documents | Self::Internal | Self::Other => None,
        }
    }

    /// The endpoint that takes this method at this path.
    pub fn taking(self, method: &http::Method) -> Option<Endpoint> {
        self.endpoint()?.taking(Method::of(method.as_str())?)
    }

    /// What is not known moves money: that has to go on whatever happens to the rest.
    pub fn duty(self) -> Duty {
        self.endpoint().map_or(Duty::Transactions, Endpoint::duty)
    }

    pub fn body_max_bytes(self) -> usize {
        self.endpoint().map_or(wire::BODY_MAX_BYTES, Endpoint::body_max_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use topology::WalletId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_route_is_at_its_index_and_every_name_is_one_of_22() {
        for (index, route) in Route::all().enumerate() {
            assert_eq!(route.index(), index, "{route:?}");
        }
        // The bound of the label in docs/metrics.md.
        assert_eq!(Route::all().map(Route::name).collect::<BTreeSet<_>>().len(), 22);
    }

    #[test]
    fn an_address_knows_only_its_own_paths() {
        let wallet = WalletId::from_uuid(Uuid::nil());
        for (path, public, internal) in [
            (Endpoint::Proof.of_wallet(wallet), "/api/v1/wallets/{id}/proof", "/internal/v1/wallets/{id}"),
            (Endpoint::Find.template().to_owned(), "/api/v1/wallets", "/internal/v1/wallets/{id}"),
            (Endpoint::Credit.of_wallet(wallet), "other", "/internal/v1/wallets/{id}/credits"),
            (Endpoint::Freeze.of_wallet(wallet), "other", "/internal/v1/wallets/{id}"),
            ("/docs/".to_owned(), "/docs", "/internal/v1/wallets/{id}"),
            ("/api/v1/walletsx".to_owned(), "other", "/internal/v1/wallets/{id}"),
        ] {
            let names = [Side::Public, Side::Internal].map(|side| Route::of(side, &path).name());
            assert_eq!(names, [public, internal], "{path}");
        }
    }
}
