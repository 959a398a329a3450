//! The life of a cell: registered, taken into service, drained, removed; and what it declares.

pub mod bootstrap;
pub mod declared;
pub mod life;
pub mod names;
pub mod registration;
