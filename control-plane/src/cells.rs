//! The cells: what is known of them, how they are reached, and what they take.

pub mod capacity;
pub mod configured;
pub mod counting;
pub mod counts;
pub mod drift;
pub mod fleet;
pub mod holds;
pub mod instances;
pub mod loads;
pub mod log_filters;
pub mod measuring;
pub mod registry;
pub mod scrape;
