//! Whether a path is one of a template. Everything is taken apart at compile time: the router asks for every request.

use super::Endpoint;

/// Of the hyphenated form of a UUID.
const WALLET_ID_BYTES: usize = 36;
const WALLET_ID: &[u8] = b"{id}";

/// Endpoints with one beginning.
pub struct Section {
    prefix: &'static [u8],
    /// A wallet id follows.
    has_wallet: bool,
    pub endpoints: &'static [Endpoint],
}

/// Below the prefix: all of it, or the text before and after an id.
pub struct Pattern {
    before: &'static [u8],
    after: Option<&'static [u8]>,
}

impl Section {
    pub const fn new(prefix: &'static str, endpoints: &'static [Endpoint]) -> Self {
        let prefix = prefix.as_bytes();
        let (prefix, id) = prefix.split_at(position(prefix, b'{'));
        assert!(id.is_empty() || id.len() == WALLET_ID.len(), "only a wallet id may end a prefix");
        Self { prefix, has_wallet: !id.is_empty(), endpoints }
    }

    pub fn below<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let below = path.strip_prefix(self.prefix)?;
        if self.has_wallet { below.get(WALLET_ID_BYTES..) } else { Some(below) }
    }
}

impl Pattern {
    pub const fn of(text: &'static str) -> Self {
        let (before, rest) = text.as_bytes().split_at(position(text.as_bytes(), b'{'));
        if rest.is_empty() {
            return Self { before, after: None };
        }
        let (_, after) = rest.split_at(position(rest, b'}') + 1);
        assert!(position(after, b'{') == after.len(), "at most one id below a prefix");
        Self { before, after: Some(after) }
    }

    pub fn fits(&self, path: &[u8]) -> bool {
        let Some(after) = self.after else { return path == self.before };
        let id = path.strip_prefix(self.before).and_then(|rest| rest.strip_suffix(after));
        id.is_some_and(|id| !id.is_empty() && !id.contains(&b'/'))
    }
}

/// Of the first `wanted`; the length if there is none.
const fn position(text: &[u8], wanted: u8) -> usize {
    let mut at = 0;
    while at < text.len() && text[at] != wanted {
        at += 1;
    }
    at
}
