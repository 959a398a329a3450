//! Whether a new version is worse than the old one: what instances count, the statistics, and the verdict. Pure: it reads
//! pages of metrics, and no clock, network or table.

pub mod figures;
pub mod judge;
pub mod statistics;
