//! Runs the simulator over many seeds: the nightly proof.

fn main() {}
