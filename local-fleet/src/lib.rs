//! A whole fleet on one machine: its processes, their ports, secrets and builds, and `ctl up`, which runs them.
//!
//! It is for development, tests and drills. It must never be what a deployment on AWS depends on.

pub mod builds;
pub mod child;
mod connections;
pub mod fleet;
mod keys;
pub mod layout;
mod observe;
pub mod ports;
pub mod regions;
pub mod relay;
mod running;
pub mod secrets;
pub mod socket;
pub mod supervisor;
pub mod up;
