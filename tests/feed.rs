//! What the feed of a cell does for transfers that are open: whatever becomes of its reader, each is carried on.

mod one_cell;
mod readers;
mod steps;
mod writes;
