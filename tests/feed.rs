//! What the feed of a cell does for transfers that are open: whatever becomes of its reader, each is carried on. And
//! what the archiver does, which follows the same stream: no block is missing.

mod archiver;
mod hot;
mod one_cell;
mod readers;
mod steps;
mod writes;
