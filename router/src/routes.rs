//! A placement as the data plane uses it: whole, immutable, with a ring per cell. Swapped, never changed.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use consistent_hash::{DefaultHash, Node, StaticHashRing};
use topology::{CellEntry, CellId, CellIndex, Duty, Placement, Role, WalletId, ZoneId};

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
    /// How near each instance is; none where all are as near.
    nearness: Option<Vec<Nearness>>,
}

/// Which instances are asked first; within one nearness the ring decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nearness {
    OwnZone,
    OtherZone,
    /// In a zone that was left: only when there is nothing else.
    Avoided,
}

const NEAREST_FIRST: [Nearness; 3] = [Nearness::OwnZone, Nearness::OtherZone, Nearness::Avoided];

pub struct Routes {
    pub placement: Placement,
    pub cells: Vec<Cell>,
    /// From a cell's index in the registry to its place in `cells`.
    positions: Vec<u16>,
    /// This router's zone.
    zone: Option<ZoneId>,
    /// When an avoided zone is taken again, in seconds since 1970: other routes follow then from the same placement.
    changes_at_s: Option<u64>,
}

const NO_POSITION: u16 = u16::MAX;

impl Routes {
    /// The routes of a router in `zone`, at a time in seconds since 1970.
    pub fn new(placement: Placement, zone: Option<ZoneId>, now_s: u64) -> Self {
        let avoided = placement.avoided().iter().filter(|avoided| avoided.until_s > now_s);
        let changes_at_s = avoided.clone().map(|avoided| avoided.until_s).min();
        let avoided: Vec<&ZoneId> = avoided.map(|avoided| &avoided.zone).collect();
        let near = |of: &Option<ZoneId>| match of {
            Some(of) if avoided.contains(&of) => Nearness::Avoided,
            of if of.is_some() && *of == zone => Nearness::OwnZone,
            _ => Nearness::OtherZone,
        };
        let cells: Vec<Cell> = placement.cells().iter().map(|entry| Cell::new(entry, near)).collect();
        let last = placement.cells().iter().map(|entry| usize::from(entry.index.0)).max().unwrap_or(0);
        let mut positions = vec![NO_POSITION; last + 1];
        for (position, entry) in placement.cells().iter().enumerate() {
            positions[usize::from(entry.index.0)] = u16::try_from(position).expect("cell indexes are 16 bits");
        }
        Self { placement, cells, positions, zone, changes_at_s }
    }

    /// The same placement at a later time, if the routes are others then.
    pub fn at(&self, now_s: u64) -> Option<Self> {
        self.changes_at_s.filter(|at| *at <= now_s).map(|_| Self::new(self.placement.clone(), self.zone.clone(), now_s))
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
    fn new(entry: &CellEntry, near: impl Fn(&Option<ZoneId>) -> Nearness) -> Self {
        let instances = &entry.instances;
        let nodes = instances.iter().enumerate();
        let nodes = nodes.map(|(slot, it)| Node::new(it.id.0.clone()).value(slot).quantity(RING_POINTS));
        let nearness: Vec<Nearness> = instances.iter().map(|instance| near(&instance.zone)).collect();
        let differs = nearness.windows(2).any(|pair| pair[0] != pair[1]);
        Self {
            id: entry.id.clone(),
            addresses: instances.iter().map(|instance| Arc::from(instance.address.as_str())).collect(),
            roles: instances.iter().map(|instance| instance.role).collect(),
            ring: (instances.len() > 1).then(|| StaticHashRing::new(DefaultHash, nodes)),
            nearness: differs.then_some(nearness),
        }
    }

    /// The instances that are there for `duty`, in the order in which `wallet` prefers them: nearest first, and of those as
    /// near in the ring's order. Every router of a zone comes to the same order.
    pub fn candidates(&self, wallet: WalletId, duty: Duty) -> impl Iterator<Item = InstanceSlot> {
        let rounds = if self.nearness.is_some() { NEAREST_FIRST.len() } else { 1 };
        let is_of = move |round: usize, slot: InstanceSlot| {
            self.nearness.as_ref().is_none_or(|nearness| nearness[slot] == NEAREST_FIRST[round])
        };
        (0..rounds)
            .flat_map(move |round| self.in_ring_order(wallet).filter(move |&slot| is_of(round, slot)))
            .filter(move |&slot| self.roles[slot].serves(duty))
    }

    fn in_ring_order(&self, wallet: WalletId) -> impl Iterator<Item = InstanceSlot> {
        let ringed = self.ring.as_ref().map(|ring| ring.calc_candidates(wallet.as_bytes()).map(|node| node.value));
        let only = if self.ring.is_none() && !self.addresses.is_empty() { Some(0) } else { None };
        ringed.into_iter().flatten().chain(only)
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("version", &self.placement.version()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use topology::placement::BucketRun;
    use topology::{AvoidedZone, CellState, InstanceEntry, InstanceId, PlacementUpdate};
    use uuid::Uuid;

    use super::*;

    fn zone(name: &str) -> ZoneId {
        ZoneId::parse(name).expect("sound")
    }

    /// One cell with two instances in each of `a`, `b` and nowhere, of which the named zones are avoided until second 100.
    fn placement(avoided: &[&str]) -> Placement {
        let instance = |number: usize, zone: Option<ZoneId>| InstanceEntry {
            id: InstanceId(format!("cell-1-{number}")),
            address: format!("127.0.0.1:{number}"),
            role: Role::All,
            zone,
        };
        let zones = [Some(zone("a")), Some(zone("b")), None];
        let instances = zones.iter().cycle().take(6).enumerate().map(|(number, zone)| instance(number, zone.clone()));
        let index = CellIndex(0);
        let id = CellId::parse("cell-1").expect("sound");
        let cell = CellEntry { index, id, state: CellState::Active, weight: 1, instances: instances.collect() };
        Placement::from_full(&PlacementUpdate {
            version: 1,
            base: None,
            intended: true,
            cells: vec![cell],
            buckets: vec![BucketRun { first: 0, last: 0xffff, cell: index }],
            pins: vec![],
            avoided: avoided.iter().map(|name| AvoidedZone { zone: zone(name), until_s: 100 }).collect(),
        })
        .expect("sound")
    }

    /// Slots 0 and 3 stand in `a`, 1 and 4 in `b`, 2 and 5 nowhere. As sets of two, in the order of preference.
    fn order(routes: &Routes, wallet: u128) -> Vec<InstanceSlot> {
        let wallet = WalletId::from_uuid(Uuid::from_u128(wallet << 64));
        routes.cells[0].candidates(wallet, Duty::Transactions).collect()
    }

    fn sorted(slots: &[InstanceSlot]) -> Vec<InstanceSlot> {
        let mut slots = slots.to_vec();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn the_own_zone_comes_first_and_a_zone_that_was_left_last() {
        let left = Routes::new(placement(&["a"]), Some(zone("b")), 99);
        let home = Routes::new(placement(&[]), Some(zone("b")), 99);
        let nowhere = Routes::new(placement(&[]), None, 99);
        for wallet in 0..200 {
            let slots = order(&left, wallet);
            let thirds = [&slots[..2], &slots[2..4], &slots[4..]].map(sorted);
            assert_eq!(thirds, [vec![1, 4], vec![2, 5], vec![0, 3]], "{slots:?}");
            let slots = order(&home, wallet);
            assert_eq!((sorted(&slots[..2]), slots.len()), (vec![1, 4], 6), "{slots:?}");
            let ring = order(&nowhere, wallet);
            assert_eq!(sorted(&ring), [0, 1, 2, 3, 4, 5], "each once");
            let of_b = |slots: &[InstanceSlot]| slots.iter().copied().filter(|slot| slot % 3 == 1).collect::<Vec<_>>();
            assert_eq!(of_b(&slots), of_b(&ring), "within a zone the ring decides");
        }
    }

    #[test]
    fn the_own_zone_can_be_left_too_until_the_time_is_over() {
        let routes = Routes::new(placement(&["b"]), Some(zone("b")), 99);
        assert_eq!(sorted(&order(&routes, 7)[4..]), [1, 4]);
        assert!(routes.at(99).is_none(), "nothing changes yet");
        let later = routes.at(100).expect("the time is over");
        assert_eq!(sorted(&order(&later, 7)[..2]), [1, 4]);
        assert!(later.at(1_000).is_none(), "nothing is left to change");
    }
}
