//! The proofs without processes: `seeds` runs the real code on the in-memory store under seeded
//! faults, `model` goes every way that a move and a transfer can go. Both also show that they find
//! mistakes.

mod model;
mod seeds;
