//! How far archiving has come, as an entry of an archive's log says it: all blocks up to there are in this entry and those
//! before.

use serde::{Deserialize, Serialize};
use topology::WalletId;

use crate::Position;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// What follows it in the change stream comes next. While there is a walk, it is from before that.
    pub stream: Position,
    pub walk: Walk,
}

/// The walk over all wallets, for what the stream does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Walk {
    /// Under way; up to this wallet.
    After(Option<WalletId>),
    Done,
}

impl Place {
    /// Of tables of which all that they hold is archived.
    pub fn after_walk(stream: Position) -> Self {
        Self { stream, walk: Walk::Done }
    }

    /// Before a walk over all wallets.
    pub fn before_walk(stream: Position) -> Self {
        Self { stream, walk: Walk::After(None) }
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
