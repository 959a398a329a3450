//! Authentication and authorization of a whole secure fleet as `ctl up --secure` starts it: real
//! processes, real certificates, real tokens.

mod certificates;
mod doors;
pub mod support;
mod tokens;
mod who;
