//! The handler of each endpoint. An endpoint without one does not compile; a handler without an endpoint has no path.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, on};
use store::Store;
use topology::Endpoint;
use topology::endpoint::Method;

use super::{Edge, batch, events, holds, internal, proof, statement, wallets};
use crate::peers::Peers;

pub fn routes<S: Store, P: Peers>() -> Router<Arc<Edge<S, P>>> {
    let all = Endpoint::ALL.iter();
    all.fold(Router::new(), |routes, &endpoint| routes.route(endpoint.template(), handler(endpoint)))
}

fn handler<S: Store, P: Peers>(endpoint: Endpoint) -> MethodRouter<Arc<Edge<S, P>>> {
    let method = match endpoint.method() {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
    };
    match endpoint {
        Endpoint::Create => on(method, wallets::create::<S, P>),
        Endpoint::Find => on(method, wallets::find::<S, P>),
        Endpoint::Show => on(method, wallets::show::<S, P>),
        Endpoint::ShowAt => on(method, wallets::historical::<S, P>),
        Endpoint::Deposit => on(method, wallets::deposit::<S, P>),
        Endpoint::Withdraw => on(method, wallets::withdraw::<S, P>),
        Endpoint::Transfer => on(method, wallets::transfer::<S, P>),
        Endpoint::ShowTransfer => on(method, wallets::transfer_status::<S, P>),
        Endpoint::ListTransactions => on(method, wallets::transactions::<S, P>),
        Endpoint::Reverse => on(method, wallets::reverse::<S, P>),
        Endpoint::RunBatch => on(method, batch::operations::<S, P>),
        Endpoint::PayBatch => on(method, batch::payments::<S, P>),
        Endpoint::PlaceHold => on(method, holds::place::<S, P>),
        Endpoint::ListHolds => on(method, holds::list::<S, P>),
        Endpoint::CaptureHold => on(method, holds::capture::<S, P>),
        Endpoint::VoidHold => on(method, holds::void::<S, P>),
        Endpoint::Statement => on(method, statement::statement::<S, P>),
        Endpoint::Events => on(method, events::events::<S, P>),
        Endpoint::Proof => on(method, proof::proof::<S, P>),
        Endpoint::Receivable => on(method, internal::receivable::<S, P>),
        Endpoint::Credit => on(method, internal::credit::<S, P>),
        Endpoint::HoldWrites => on(method, internal::hold::<S, P>),
        Endpoint::ReleaseWrites => on(method, internal::release::<S, P>),
        Endpoint::Deliver => on(method, internal::deliver::<S, P>),
        Endpoint::Freeze => on(method, internal::freeze::<S, P>),
        Endpoint::Unfreeze => on(method, internal::unfreeze::<S, P>),
        Endpoint::Close => on(method, internal::close::<S, P>),
        Endpoint::Erase => on(method, internal::erase::<S, P>),
        Endpoint::HotWallets => on(method, proof::hot_wallets::<S, P>),
        Endpoint::Findings => on(method, proof::findings::<S, P>),
    }
}
