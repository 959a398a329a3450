//! The router: `request → wallet id → bucket → cell → instance → forward`. Stateless and thin.
//!
//! - [`target`], [`peek`], [`routes`]: which wallet, and where it lives. Pure.
//! - [`proxy`], [`upstream`]: the data plane, thread by thread.
//! - [`placement`]: learns placements from the control plane and keeps the last one in sled.
//! - [`admin`], [`telemetry`], [`documents`]: what people and their tools look at.
//!
//! It never reads storage on a request, never knows what a request means, and never needs the control plane to serve.

pub mod admin;
pub mod config;
pub mod documents;
pub mod failure;
pub mod limits;
pub mod peek;
pub mod placement;
pub mod proxy;
pub mod rate;
pub mod route;
pub mod routes;
pub mod server;
pub mod target;
pub mod telemetry;
pub mod thread;
pub mod upstream;
pub mod wall_clock;

#[cfg(test)]
mod tests;
