//! Other routers, which are asked for their placement by one that has none: a new router serves without a control plane.
//!
//! They are not asked for anything newer: an old placement serves every customer but those in motion.

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use topology::PlacementUpdate;

use crate::limits;
use crate::placement::fetch::{Origin, in_use};
use crate::routes::SharedRoutes;

/// The newest placement that some of the routers at this name use. It asks until there is one, here or there.
pub async fn first_known(routers: Origin, own: SharedRoutes) -> Option<PlacementUpdate> {
    while own.load().is_none() {
        if let Some(update) = newest(&routers).await {
            return Some(update);
        }
        tokio::time::sleep(limits::PEERS_PERIOD).await;
    }
    None
}

async fn newest(routers: &Origin) -> Option<PlacementUpdate> {
    let found = tokio::time::timeout(limits::PEER_TIMEOUT, lookup_host(&routers.address)).await.ok()?;
    let mut addresses: Vec<_> = found.ok()?.collect();
    fastrand::shuffle(&mut addresses);
    addresses.truncate(limits::PEERS_ASKED_MAX);
    let mut asked = JoinSet::new();
    for address in addresses {
        let tls = routers.tls.clone();
        asked.spawn(async move { in_use(&address.to_string(), tls.as_ref()).await });
    }
    let answers = asked.join_all().await;
    answers.into_iter().filter_map(|answer| answer.ok().flatten()).max_by_key(|update| update.version)
}
