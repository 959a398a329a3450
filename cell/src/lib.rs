//! A cell: a complete copy of the wallet service over its own tables.
//!
//! [`sequencer`] (pure) orders writes, [`driver`] runs it, [`wallets`] holds the use cases, [`courier`] carries
//! transfers to their payees, [`receiving`] takes them in, [`admission`]
//! says how much of it goes on at once, [`http`] is the edge. A cell knows nothing of other cells but the router's address.

pub mod admission;
pub mod archiver;
pub mod checkpoints;
pub mod clock;
pub mod courier;
pub mod driver;
pub mod failure;
pub mod feed;
pub mod hot;
pub mod http;
pub mod instance;
pub mod integrity;
pub mod jobs;
pub mod meters;
pub mod peers;
pub mod reads;
mod receiving;
pub mod region;
pub mod sequencer;
mod stop;
mod walk;
pub mod wallets;
