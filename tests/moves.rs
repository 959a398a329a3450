//! Wallets on the move: under load, across kills, against rivals. Real processes, real tables, the shipped mover.

mod evacuation;
mod hot;
mod in_flight;
mod rivals;
mod steps;
mod support;
mod there_and_back;
pub mod traffic;
