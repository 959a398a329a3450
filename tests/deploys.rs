//! New versions, cell by cell and router by router, on real fleets under load: good ones, bad ones, and those of the time
//! before.

mod bad;
mod by_hand;
mod kills;
mod mixed;
mod rolling;
mod routers;
mod support;
