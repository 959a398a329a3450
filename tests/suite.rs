//! Every test of whole processes, in one binary: real HTTP, a real DynamoDB API, real kill -9. What is proved without
//! processes is in `simulation/`.

// A whole test is one future, which is polled where it is made.
#![allow(clippy::large_futures)]

mod access;
mod accounts;
mod api;
mod attacks;
mod contract;
mod cost;
mod deploys;
mod directions;
mod faults;
mod feed;
mod fleet;
mod hot_wallet;
mod integrity;
mod limits;
mod moves;
mod observability;
mod openapi;
