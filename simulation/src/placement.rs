//! Which cell has which wallet, as the control plane publishes it: a row of versions, and for each
//! process that looks wallets up, how far in that row it has come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use mover::Group;
use topology::placement::{BucketRun, Pin};
use topology::{Bucket, CellEntry, CellIndex, CellState, PlacementUpdate, UserId, WalletId};

use super::world::{CELLS, NAMESPACE, cell_id};

/// Wallets fall into this many groups of neighbouring buckets; each group moves as a whole.
pub const GROUPS: usize = 4;
/// Buckets in a group.
const GROUP_WIDTH: u16 = 8;
/// Most wallets of a simulation.
pub const USERS: usize = 16;

/// The buckets of a group.
pub fn group(number: usize) -> Group {
    let first = u16::try_from(number * (topology::BUCKETS / GROUPS)).expect("a group starts at a bucket");
    Group { first: Bucket(first), last: Bucket(first + GROUP_WIDTH - 1) }
}

fn group_of(bucket: Bucket) -> usize {
    bucket.index() * GROUPS / topology::BUCKETS
}

/// The cell that has a bucket from the start.
pub fn first_owner(bucket: Bucket) -> usize {
    group_of(bucket) % CELLS
}

/// The user of this number: names are chosen so that each wallet falls into one of the groups.
pub fn user(number: usize) -> UserId {
    static USER: OnceLock<Vec<UserId>> = OnceLock::new();
    let find = |number: usize| {
        let Group { first, last } = group(number % GROUPS);
        let names = (0_u32..).map(|attempt| UserId::parse(format!("user-{number}-{attempt}")).expect("sound"));
        let falls = |user: &UserId| (first..=last).contains(&WalletId::for_user(NAMESPACE, user).bucket());
        names.into_iter().find(falls).expect("names do not end")
    };
    USER.get_or_init(|| (0..USERS).map(find).collect())[number].clone()
}

/// One version: the owner of each group, and which wallets live elsewhere.
#[derive(Debug, Clone)]
struct Placement {
    owners: [usize; GROUPS],
    pins: BTreeMap<WalletId, usize>,
}

impl Placement {
    fn cell_of(&self, wallet: WalletId) -> usize {
        let by_bucket = self.owners[group_of(wallet.bucket())];
        self.pins.get(&wallet).copied().unwrap_or(by_bucket)
    }

    /// Pins say only what the buckets do not.
    fn tidy(&mut self) {
        let owners = self.owners;
        self.pins.retain(|wallet, cell| owners[group_of(wallet.bucket())] != *cell);
    }
}

/// Every version ever published, the newest last.
pub struct Placements(Mutex<Vec<Placement>>);

impl Placements {
    pub fn new() -> Self {
        let owners = std::array::from_fn(|number| first_owner(group(number).first));
        Self(Mutex::new(vec![Placement { owners, pins: BTreeMap::new() }]))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Placement>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn newest(&self) -> usize {
        self.lock().len() - 1
    }

    fn publish(&self, change: impl FnOnce(&mut Placement)) {
        let mut versions = self.lock();
        let mut next = versions.last().expect("there always is one").clone();
        change(&mut next);
        next.tidy();
        versions.push(next);
    }

    pub fn move_wallet(&self, wallet: WalletId, cell: usize) {
        self.publish(|next| {
            next.pins.insert(wallet, cell);
        });
    }

    /// `strays`: wallets of the group that live in other cells.
    pub fn move_group(&self, number: usize, cell: usize, strays: &[(WalletId, usize)]) {
        self.publish(|next| {
            next.owners[number] = cell;
            next.pins.extend(strays.iter().copied());
        });
    }

    pub fn owner(&self, number: usize) -> usize {
        self.lock().last().expect("there always is one").owners[number]
    }

    /// The pins among the wallets of a group.
    pub fn pins(&self, number: usize) -> Vec<(WalletId, usize)> {
        let versions = self.lock();
        let pins = &versions.last().expect("there always is one").pins;
        pins.iter().filter(|(wallet, _)| group_of(wallet.bucket()) == number).map(|(w, c)| (*w, *c)).collect()
    }

    pub fn cell_of(&self, view: &View, wallet: WalletId) -> usize {
        self.lock()[view.0.load(Ordering::Relaxed)].cell_of(wallet)
    }

    /// The newest version as the control plane's own code knows it.
    pub fn as_published(&self) -> topology::Placement {
        let versions = self.lock();
        let newest = versions.last().expect("there always is one");
        let index = |cell: usize| CellIndex(u16::try_from(cell).expect("a few"));
        let entry = |cell| CellEntry {
            index: index(cell),
            id: cell_id(cell),
            state: CellState::Active,
            weight: 1,
            instances: vec![],
        };
        let run = |first: Bucket, last: Bucket, cell| BucketRun { first: first.0, last: last.0, cell: index(cell) };
        let quarter = u16::try_from(topology::BUCKETS / GROUPS).expect("of 16 bits");
        // What moves is the beginning of each quarter; the rest stays where it was from the start.
        let buckets = (0..GROUPS).flat_map(|number| {
            let Group { first, last } = group(number);
            let (rest, end) = (Bucket(last.0 + 1), Bucket(first.0 + (quarter - 1)));
            [run(first, last, newest.owners[number]), run(rest, end, first_owner(rest))]
        });
        let pins = newest.pins.iter().map(|(&wallet, &cell)| Pin { wallet, cell: Some(index(cell)) });
        let update = PlacementUpdate {
            version: versions.len() as u64,
            base: None,
            intended: true,
            cells: (0..CELLS).map(entry).collect(),
            buckets: buckets.collect(),
            pins: pins.collect(),
            avoided: vec![],
        };
        topology::Placement::from_full(&update).expect("every bucket has an owner")
    }

    pub fn newest_cell_of(&self, wallet: WalletId) -> usize {
        self.lock().last().expect("there always is one").cell_of(wallet)
    }
}

/// What one router knows: a version that may be behind the newest by any number, and never goes back.
#[derive(Default)]
pub struct View(AtomicUsize);

impl View {
    /// Learns of some of the versions published since; of all, where `share` is 0.
    pub fn advance(&self, placements: &Placements, share: usize) {
        let (known, newest) = (self.0.load(Ordering::Relaxed), placements.newest());
        let next = if share == 0 { newest } else { known + share % (newest - known + 1) };
        self.0.store(next, Ordering::Relaxed);
    }
}
