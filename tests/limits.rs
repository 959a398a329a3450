//! What becomes of money while callers ask for too much, and while the processes that create
//! wallets are gone.

mod bulkheads;
mod exhausted;
mod overload;
mod placed;
mod roles;
mod slow;
mod sockets;
