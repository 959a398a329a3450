//! How many connections there are, in all and of each peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Bounds;

pub struct Peers {
    bounds: Bounds,
    counts: Mutex<Counts>,
    refused: metrics::Counter,
}

#[derive(Default)]
struct Counts {
    all: usize,
    of_peer: HashMap<IpAddr, usize>,
}

/// A connection's place; free again when it is dropped.
pub struct Place {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    pub fn new(bounds: Bounds) -> Self {
        let refused = metrics::counter!("access_connections_refused_total");
        Self { bounds, counts: Mutex::default(), refused }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while it is held.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let mut counts = self.counts();
        let of_peer = counts.of_peer.get(&peer).copied().unwrap_or(0);
        if counts.all >= self.bounds.connections_max || of_peer >= self.bounds.peer_connections_max {
            self.refused.increment(1);
            return None;
        }
        counts.all += 1;
        counts.of_peer.insert(peer, of_peer + 1);
        Some(Place { peers: Arc::clone(self), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.counts();
        counts.all -= 1;
        if let Some(of_peer) = counts.of_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                counts.of_peer.remove(&self.peer);
            }
        }
    }
}
