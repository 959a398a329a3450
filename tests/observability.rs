//! What processes say about themselves, on real fleets: every metric is in the list and the other way round; one transfer
//! across cells is one trace; logs are changed while processes run. And what alerts and dashboards ask for exists.

mod exposition;
mod logs;
mod metrics;
mod ops;
mod traces;
mod unread;
