//! Learns placements and keeps the last one. Whatever is wrong with an update or with the stored
//! copy, the placement in use stays: an old placement serves every customer but those in motion;
//! without one the router serves no customer.

pub mod expiry;
pub mod fetch;
pub mod keeper;
pub mod peers;
pub mod store;
