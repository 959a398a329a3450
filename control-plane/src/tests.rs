//! The control plane over real HTTP and a real DynamoDB API, several of them at once where that matters.

mod archived;
mod bootstrap;
mod cell;
mod declared;
pub(crate) mod deploys;
pub(crate) mod fixture;
mod leftovers;
mod moves;
mod onboarding;
mod operations;
mod page;
mod placement;
mod regions;
mod restore;
