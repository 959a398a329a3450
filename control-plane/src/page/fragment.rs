//! The parts of the page that are sent again when they change, and how a follower says which ones it has.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Of a fragment's hash; two that differ look the same once in 2^48.
const HASH_BYTES: usize = 6;

/// Its element in the page has the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    pub id: &'static str,
    pub html: String,
}

/// A short hash of each fragment, in their order: it says which ones a follower has.
pub fn digest(fragments: &[Fragment]) -> String {
    let hashes: Vec<String> = fragments.iter().map(hash).collect();
    hashes.join(".")
}

fn hash(fragment: &Fragment) -> String {
    let hash = Sha256::digest(fragment.html.as_bytes());
    hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// The fragments that are not as `seen` says, by their ids.
pub fn changed(fragments: &[Fragment], seen: &str) -> Map<String, Value> {
    let known: Vec<&str> = seen.split('.').collect();
    let changed = fragments.iter().enumerate().filter(|(at, one)| known.get(*at) != Some(&hash(one).as_str()));
    changed.map(|(_, one)| (one.id.to_owned(), Value::from(one.html.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragments(texts: [&str; 3]) -> Vec<Fragment> {
        let ids = ["one", "two", "three"];
        ids.into_iter().zip(texts).map(|(id, html)| Fragment { id, html: html.to_owned() }).collect()
    }

    #[test]
    fn a_follower_that_returns_is_sent_what_it_lacks() {
        let (before, after) = (fragments(["a", "b", "c"]), fragments(["a", "B", "c"]));
        let seen = digest(&before);
        assert!(changed(&before, &seen).is_empty());
        let sent = changed(&after, &seen);
        assert_eq!((sent.len(), sent["two"].as_str()), (1, Some("B")));
        for strange in ["", "nonsense", "....", &seen[1..]] {
            assert!(!changed(&before, strange).is_empty(), "{strange}");
        }
        assert_eq!(changed(&before, "").len(), 3);
    }
}
