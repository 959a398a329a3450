//! The router from outside: a whole one per test, over real sockets, before cells that do what the
//! test says.

mod fixture;
mod http_client;
mod limiting;

mod access;
mod bounds;
mod ejection;
mod moving;
mod placements;
mod repeating;
mod routing;
mod untrusted;
