//! The life of a cell: registered, taken into service, drained, removed.

pub mod bootstrap;
pub mod life;
pub mod names;
pub mod registration;
