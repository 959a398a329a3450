//! Whether all money is there: the equation, the rules of transfers, and how the books of many cells are added up while
//! traffic goes on; and what chains may hold of a request, given the outcome that its client was given. The product, the drills, the tests and the simulator go by this one; `scripts/verify-chain` is
//! independent of it.

mod adding;
mod flows;
mod reported;
mod running;
mod sums;
mod transfers;

pub use adding::{Adding, Books, CUT_LAG_MICROS, CellSums, PAGES_MAX, PairSums};
pub use flows::{count, nothing_of, of_chain};
pub use reported::Reported;
pub use running::Running;
pub use sums::Sums;
pub use transfers::{Legs, Transfers};
