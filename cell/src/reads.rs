//! What is read from the chains for clients: the past of a wallet, statements, events, exports.

pub mod events;
pub mod export;
pub mod history;
pub mod personal;
pub mod statement;
pub mod tail;
