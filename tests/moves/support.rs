//! The shipped mover on the tables of a running fleet.

use control_plane::cells::holds::InstanceHolds;
use ledger::{Block, Timestamp};
use mover::{Group, MoveError, Mover, Order, Pace, Route, Side, wall_clock};
use store::dynamodb::DynamoStore;
use store::{BlockRange, Chains};
use tokio::sync::watch;
use topology::placement::InstanceEntry;
use topology::{Bucket, CellId, InstanceId, WalletId};

use crate::fleet::Fleet;

/// A mover from one cell of a fleet to another, and everything it borrows.
pub struct Way {
    pub route: Route<DynamoStore>,
    pub order: Order,
    pub pace: Pace,
    holds: InstanceHolds,
    _stopper: watch::Sender<bool>,
    stop: watch::Receiver<bool>,
}

impl Way {
    pub async fn new(fleet: &Fleet, from: u16, to: u16, operation: &str) -> Self {
        let side = async |cell: u16| Side { cell: cell_id(cell), store: fleet.store(cell).await };
        let instances: Vec<InstanceEntry> = (0..fleet.shape.instances)
            .map(|instance| InstanceEntry {
                id: InstanceId(format!("cell-{from}-{instance}")),
                address: fleet.ports.instance(from, instance).trim_start_matches("http://").to_owned(),
                role: topology::Role::All,
                zone: None,
            })
            .collect();
        let (stopper, stop) = watch::channel(false);
        Self {
            route: Route { from: side(from).await, to: side(to).await },
            order: Order { operation: operation.to_owned(), epoch: 1 },
            pace: Pace::new(8, None),
            holds: InstanceHolds::new(access::http::Http::plain(), &instances),
            _stopper: stopper,
            stop,
        }
    }

    pub fn mover(&self) -> Mover<'_, DynamoStore, InstanceHolds> {
        Mover {
            route: &self.route,
            order: &self.order,
            pace: &self.pace,
            holds: &self.holds,
            stop: self.stop.clone(),
            clock: &(wall_clock as fn() -> Timestamp),
            head_lifetime: ledger::fence::HEAD_LIFETIME,
        }
    }

    /// The source's last block is in both chains, and the target's is longer or the same.
    pub async fn check_moved(&self, wallet: WalletId) {
        let head = self.route.from.store.head(wallet).await.expect("it answers").expect("a tombstone");
        assert_eq!(head.home, self.route.to.cell);
        let same = block(&self.route.to.store, wallet, head.number).await.expect("the target has it");
        assert_eq!(same.hash, head.hash);
        self.mover().verify_wallet(wallet).await.expect("nothing is missing");
    }
}

pub async fn block(store: &DynamoStore, wallet: WalletId, number: u64) -> Option<Block> {
    let range = BlockRange { first: number, last: number, newest_first: false };
    store.blocks(wallet, range, 1).await.expect("it answers").pop()
}

pub fn cell_id(cell: u16) -> CellId {
    CellId::parse(format!("cell-{cell}")).expect("sound")
}

/// The group of one bucket.
pub fn bucket_of(wallet: WalletId) -> Group {
    let Bucket(bucket) = wallet.bucket();
    Group { first: Bucket(bucket), last: Bucket(bucket) }
}

/// Moves until it is done or another mover's: what a migrator does that is started again after each
/// failure.
pub async fn insist(way: &Way, group: Group) -> Result<(), MoveError> {
    loop {
        match way.mover().move_group(group, &[]).await {
            Ok(_) => return Ok(()),
            Err(MoveError::Store(_) | MoveError::Contended(_)) => {}
            Err(other) => return Err(other),
        }
    }
}
