//! Whether all money is there, and whether the chains are what the cells have committed to.

pub mod chains;
pub mod conservation;
pub mod flows;
pub mod witness;
