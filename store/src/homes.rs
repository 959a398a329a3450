//! Which cell may create which wallets: the port, and its rows.

use std::future::Future;

use topology::{Bucket, CellId, WalletId};

use crate::errors::StoreError;

/// Bytes of the genesis bitmap: one bit for each bucket.
pub const GENESIS_BYTES: usize = topology::BUCKETS / 8;

/// Which cell may create wallets: consulted only when a wallet is created or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HomeKey {
    Bucket(Bucket),
    Wallet(WalletId),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HomeState {
    Serving,
    /// Creations are held a moment: the right to create is about to move to this cell.
    Closing {
        to: CellId,
    },
    Moved {
        to: CellId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HomeRow {
    pub state: HomeState,
    /// Rises with each change of the row.
    pub epoch: u64,
}

/// A change of one `homes` row: a compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HomeChange {
    pub key: HomeKey,
    /// What the row has to be now; `None`: there is none.
    pub expected: Option<HomeRow>,
    pub row: HomeRow,
    /// Of a wallet's row: and the cell holds no chain of it.
    pub unless_chain: bool,
    /// Of a wallet's row: and the cell serves its bucket, by the bucket's row or, where there is none and this says
    /// `true`, from the start. So no move of the bucket has begun that the change could come too late for.
    pub while_served: Option<bool>,
}

/// Most rows in one change of `homes`: each may take three items of a transaction.
pub const MAX_HOME_CHANGES: usize = 64;

/// Which wallets a cell may create, and which it has. All reads are strongly consistent.
pub trait Homes: Clone + Send + Sync + 'static {
    /// The `homes` row of a bucket or a wallet.
    fn home(&self, key: HomeKey) -> impl Future<Output = Result<Option<HomeRow>, StoreError>> + Send;

    /// Several rows of `homes` at once, at most [`MAX_HOME_CHANGES`], in the order asked for.
    fn homes(&self, keys: &[HomeKey]) -> impl Future<Output = Result<Vec<Option<HomeRow>>, StoreError>> + Send;

    /// The buckets this cell may create wallets in from its start; `None` until the control plane has written them.
    fn genesis(&self) -> impl Future<Output = Result<Option<Genesis>, StoreError>> + Send;

    /// Writes the genesis of a new cell, once; `false` if it holds another one already.
    fn put_genesis(&self, genesis: &Genesis) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Changes all these rows of `homes`, at most [`MAX_HOME_CHANGES`], or none: `false` if a
    /// condition failed. After an error the outcome is unknown; reading the rows tells.
    fn change_homes(&self, changes: &[HomeChange]) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The wallets of some buckets, both ends inclusive, that have a chain or a row of `homes` in this cell, in the
    /// order of their ids, after `after`, at most `limit`; none: that was all. Exact: written with block 0.
    fn members(
        &self,
        buckets: (Bucket, Bucket),
        after: Option<WalletId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<WalletId>, StoreError>> + Send;
}

/// A bit for each bucket: byte `b / 8`, mask `0x80 >> (b % 8)`. Written once, before the cell serves; later changes of
/// a bucket's owner are rows of their own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Genesis(pub Box<[u8; GENESIS_BYTES]>);

impl Genesis {
    pub fn of(buckets: impl IntoIterator<Item = Bucket>) -> Self {
        let mut bits = Box::new([0_u8; GENESIS_BYTES]);
        for bucket in buckets {
            let (byte, mask) = Self::place(bucket);
            bits[byte] |= mask;
        }
        Self(bits)
    }

    pub fn contains(&self, bucket: Bucket) -> bool {
        let (byte, mask) = Self::place(bucket);
        self.0[byte] & mask != 0
    }

    fn place(bucket: Bucket) -> (usize, u8) {
        (bucket.index() >> 3, 0x80_u8 >> (bucket.0 & 7))
    }
}

impl std::fmt::Debug for Genesis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        write!(f, "Genesis({count} buckets)")
    }
}
