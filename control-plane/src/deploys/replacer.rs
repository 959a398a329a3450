//! How an instance comes to run another version: the one thing that differs between a local fleet and a real deployment.
//!
//! It must never decide which instance is replaced, nor when. It may get the same order twice, also
//! from two control planes.

pub mod command;
pub mod kubernetes;
pub mod local;

use std::future::Future;
use std::pin::Pin;

use control_api::{PartId, Program};
use topology::{InstanceId, Role, Version, ZoneId};

/// One instance, and what it is to run from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub deploy: String,
    pub of: Program,
    pub part: PartId,
    pub instance: InstanceId,
    pub zone: Option<ZoneId>,
    /// What the instance does in its cell: a zone may have one for each role. Of a router: everything.
    pub role: Role,
    pub version: Version,
    /// Rises from one order to the next: a receiver of an older one after a newer one need not
    /// obey.
    pub number: u64,
}

/// Why an instance was not replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The replacer did not answer: perhaps nothing was done.
    Later(String),
    /// The version cannot be run there.
    Fatal(String),
}

pub type Replaced<'a> = Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'a>>;

pub trait Replacer: Send + Sync {
    /// Has the instance drained and started as that version. It ends when that was done, and need not wait until the
    /// instance is ready. While it goes on, the old version may serve.
    fn replace<'a>(&'a self, order: &'a Order) -> Replaced<'a>;
}
