//! A placement as the data plane uses it: whole, immutable, with a ring per cell. Swapped, never changed.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use consistent_hash::{DefaultHash, Node, StaticHashRing};
use topology::{CellId, CellIndex, Duty, Placement, Role, WalletId};

use crate::limits::RING_POINTS;

/// What every worker reads and only the placement's keeper writes.
pub type SharedRoutes = Arc<ArcSwapOption<Routes>>;

/// An instance's place in [`Cell::addresses`].
pub type InstanceSlot = usize;

pub struct Cell {
    pub id: CellId,
    /// `host:port` of each instance.
    pub addresses: Vec<Arc<str>>,
    /// What each instance is there for.
    roles: Vec<Role>,
    /// None where there is nothing to choose.
    ring: Option<StaticHashRing<'static, String, InstanceSlot, DefaultHash>>,
}

pub struct Routes {
    pub placement: Placement,
    pub cells: Vec<Cell>,
    /// From a cell's index in the registry to its place in `cells`.
    positions: Vec<u16>,
}

const NO_POSITION: u16 = u16::MAX;

impl Routes {
    pub fn new(placement: Placement) -> Self {
        let cells: Vec<Cell> = placement
            .cells()
            .iter()
            .map(|entry| {
                let addresses = entry.instances.iter().map(|instance| Arc::from(instance.address.as_str())).collect();
                let nodes = entry.instances.iter().enumerate();
                let nodes = nodes.map(|(slot, it)| Node::new(it.id.0.clone()).value(slot).quantity(RING_POINTS));
                let ring = (entry.instances.len() > 1).then(|| StaticHashRing::new(DefaultHash, nodes));
                let roles = entry.instances.iter().map(|instance| instance.role).collect();
                Cell { id: entry.id.clone(), addresses, roles, ring }
            })
            .collect();
        let last = placement.cells().iter().map(|entry| usize::from(entry.index.0)).max().unwrap_or(0);
        let mut positions = vec![NO_POSITION; last + 1];
        for (position, entry) in placement.cells().iter().enumerate() {
            positions[usize::from(entry.index.0)] = u16::try_from(position).expect("cell indexes are 16 bits");
        }
        Self { placement, cells, positions }
    }

    /// Where in `cells` the owner of `wallet` is.
    pub fn owner(&self, wallet: WalletId) -> usize {
        self.position(self.placement.cell_of(wallet)).expect("a placement names only cells it lists")
    }

    fn position(&self, index: CellIndex) -> Option<usize> {
        self.positions.get(usize::from(index.0)).filter(|&&position| position != NO_POSITION).map(|&p| usize::from(p))
    }

    pub fn cell_named(&self, id: &str) -> Option<usize> {
        self.cells.iter().position(|cell| cell.id.as_str() == id)
    }
}

impl Cell {
    /// The instances that are there for `duty`, in the order in which `wallet` prefers them; every router comes to the
    /// same order.
    pub fn candidates(&self, wallet: WalletId, duty: Duty) -> impl Iterator<Item = InstanceSlot> {
        let ringed = self.ring.as_ref().map(|ring| ring.calc_candidates(wallet.as_bytes()).map(|node| node.value));
        let only = if self.ring.is_none() && !self.addresses.is_empty() { Some(0) } else { None };
        ringed.into_iter().flatten().chain(only).filter(move |&slot| self.roles[slot].serves(duty))
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("version", &self.placement.version()).finish_non_exhaustive()
    }
}
