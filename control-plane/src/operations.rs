//! Operations: every change of where wallets live, stored in the control plane's own tables, carried out step by step,
//! paused, resumed, taken back, and written down.
//!
//! What is in memory here never matters: a process may be killed at any write and another one carries on, or two at
//! once.

pub mod claims;
pub mod plan;
pub mod record;
pub mod state;
pub mod step;
pub mod table;
