//! Every test that spans crates, in one binary: real processes and a real DynamoDB API, but for `seeds`, which
//! runs the real code on the in-memory store under seeded faults, and `model`, which goes every way a move can go.

mod access;
mod api;
mod contract;
mod cost;
mod deploys;
mod directions;
mod drills;
mod events;
mod fleet;
mod hot_wallet;
mod integrity;
mod kills;
mod limits;
mod model;
mod moves;
mod observability;
mod openapi;
mod outages;
mod recovery;
mod seeds;
mod two_cells;
mod zones;
