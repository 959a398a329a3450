//! The Merkle tree of RFC 6962: roots, proofs that a leaf is in a tree, proofs that one tree is the beginning of
//! another, and what verifies each. `docs/checkpoints.md` says how the cells use it.
//!
//! Nodes are asked for by height and place, so that a proof about millions of leaves needs a handful of them; where they
//! come from is the caller's. Trusts nothing that a verifier is handed: a wrong proof is `false`, never a panic.

mod edge;

use sha2::{Digest, Sha256};

use crate::block::Hash;

pub use edge::{Edge, TILE_HEIGHT, TILE_NODES, Tile};

/// The root of the tree without leaves.
pub fn empty() -> Hash {
    Hash(Sha256::digest([]).into())
}

pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(leaf).finalize().into())
}

pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root over nodes of one height, of which the last may stand for fewer leaves than the others.
pub fn root_of(nodes: &[Hash]) -> Hash {
    match nodes {
        [] => empty(),
        [one] => *one,
        _ => {
            let (left, right) = nodes.split_at(split(nodes.len() as u64) as usize);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    size.saturating_sub(1).checked_ilog2().map_or(1, |height| 1 << height)
}

/// Where the nodes of full subtrees come from: the node of height `h` and place `i` covers the leaves from `i << h` on,
/// `1 << h` of them.
pub trait Nodes {
    fn node(&mut self, height: u32, place: u64) -> Hash;
}

impl<F: FnMut(u32, u64) -> Hash> Nodes for F {
    fn node(&mut self, height: u32, place: u64) -> Hash {
        self(height, place)
    }
}

/// The root over the leaves from `first` on to before `end`, as they stand in a larger tree.
fn range(first: u64, end: u64, nodes: &mut (impl Nodes + ?Sized)) -> Hash {
    let size = end.saturating_sub(first);
    if size.is_power_of_two() {
        let height = size.trailing_zeros();
        return nodes.node(height, first >> height);
    }
    let middle = first.saturating_add(split(size));
    node_hash(&range(first, middle, nodes), &range(middle, end, nodes))
}

/// The root of the first `size` leaves.
pub fn root(size: u64, nodes: &mut (impl Nodes + ?Sized)) -> Hash {
    if size == 0 { empty() } else { range(0, size, nodes) }
}

/// The audit path of leaf `index` in the tree of `size` leaves, from the leaf up (RFC 6962, 2.1.1). `index < size`.
pub fn inclusion(index: u64, size: u64, nodes: &mut (impl Nodes + ?Sized)) -> Vec<Hash> {
    let mut path = Vec::new();
    let (mut first, mut end) = (0_u64, size);
    while end.saturating_sub(first) > 1 {
        let middle = first.saturating_add(split(end.saturating_sub(first)));
        if index < middle {
            path.push(range(middle, end, nodes));
            end = middle;
        } else {
            path.push(range(first, middle, nodes));
            first = middle;
        }
    }
    path.reverse();
    path
}

/// That the tree of `old` leaves is the beginning of that of `new` leaves (RFC 6962, 2.1.2). `0 < old <= new`.
pub fn consistency(old: u64, new: u64, nodes: &mut (impl Nodes + ?Sized)) -> Vec<Hash> {
    let mut proof = Vec::new();
    let (mut first, mut end, mut whole) = (0_u64, new, true);
    while old != end {
        let middle = first.saturating_add(split(end.saturating_sub(first)));
        if old <= middle {
            proof.push(range(middle, end, nodes));
            end = middle;
        } else {
            proof.push(range(first, middle, nodes));
            first = middle;
            whole = false;
        }
    }
    if !whole {
        proof.push(range(first, end, nodes));
    }
    proof.reverse();
    proof
}

/// Whether `path` shows that the leaf with this hash is leaf `index` of the tree of `size` leaves with this root.
pub fn is_included(leaf: Hash, index: u64, size: u64, path: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size.saturating_sub(1), leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// Whether `proof` shows that the tree of `old` leaves is the beginning of the tree of `new` leaves.
pub fn is_consistent((old, old_root): (u64, Hash), (new, new_root): (u64, Hash), proof: &[Hash]) -> bool {
    if old == 0 || old > new {
        // Every tree begins with the empty one.
        return old == 0 && old_root == empty() && proof.is_empty();
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let seed = if old.is_power_of_two() { Some(&old_root) } else { None };
    let mut steps = seed.into_iter().chain(proof);
    let Some(start) = steps.next() else { return false };
    let (mut place, mut last) = (old.saturating_sub(1), new.saturating_sub(1));
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let (mut old_hash, mut new_hash) = (*start, *start);
    for step in steps {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old_hash = node_hash(step, &old_hash);
            new_hash = node_hash(step, &new_hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, step);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}

#[cfg(test)]
mod tests;
