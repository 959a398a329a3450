//! The placement: its log in the store, and the copy of it that readers are served from.

pub mod log;
pub mod placements;
