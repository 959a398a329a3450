//! The proofs without processes: `seeds` runs the real code on the in-memory store under seeded faults, `model` goes every
//! way a move can go. Both also show that they find mistakes.

mod model;
mod seeds;
