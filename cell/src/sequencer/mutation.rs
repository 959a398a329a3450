//! Deliberate mistakes, for showing that the simulator would find them. A release build makes none of them.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutation {
    #[default]
    None,
    /// The end of a transfer is recorded without asking whether the transfer is open.
    SettledTwice,
    /// A credit is taken although the chain says that the wallet lives in another cell.
    HomeIgnored,
}

impl Mutation {
    /// Whether this is the mistake to make.
    pub(super) fn makes(self, mistake: Mutation) -> bool {
        cfg!(debug_assertions) && self == mistake
    }
}
