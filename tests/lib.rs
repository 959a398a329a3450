//! The seeded simulator, shared by the suite and by `simulate`, which runs many seeds.

pub mod simulation;
