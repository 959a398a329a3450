//! Drills: each breaks a fleet of its own under load, heals it, and checks what customers saw and what the books say.
//!
//! It must never touch a fleet that it did not start.

mod books;
pub mod check;
mod evacuation;
mod fleet;
mod losses;
mod regions;
pub mod report;
pub mod runner;
mod steps;
pub mod table;
mod verdict;
pub mod victims;
