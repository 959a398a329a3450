//! What the components agree on: ids, `cells.toml`, `slo.toml`, placement, and the types that travel between them.
//!
//! Pure: no I/O, no clock, no async. Everything else in the workspace may import this crate; it imports none of them.

pub mod config;
pub mod endpoint;
pub mod finding;
pub mod homed;
pub mod ids;
pub mod placement;
pub mod problem;
pub mod restoring;
pub mod role;
pub mod shares;
pub mod slo;
pub mod version;
pub mod wire;

pub use config::{CellConfig, Config, ConfigError, InstanceConfig};
pub use endpoint::Endpoint;
pub use finding::Finding;
pub use ids::{BUCKETS, Bucket, CellId, CellIndex, IdError, InstanceId, UserId, WalletId, ZoneId};
pub use placement::{AvoidedZone, CellEntry, CellState, InstanceEntry, Placement, PlacementError, PlacementUpdate};
pub use problem::Problem;
pub use role::{Duty, Role};
pub use version::Version;
