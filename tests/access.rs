//! Authentication and authorization of a whole secure fleet as `ctl up --secure` starts it: real
//! processes, real certificates, real tokens.

mod callers;
mod certificates;
mod listeners;
mod load;
mod new_router;
pub mod support;
mod tokens;
