//! The right edge of a growing tree: all that is needed to append leaves and to know the root. What falls off its left
//! side are tiles, full subtrees that never change again and are stored for proofs.

use super::{Hash, Nodes, root_of};

/// Nodes of one tile, all of one height, side by side.
pub const TILE_NODES: usize = 256;
/// So many heights lie between a tile's nodes and the node that represents the whole tile.
pub const TILE_HEIGHT: u32 = 8;
/// The bits of a place that say where in its tile it is.
const IN_TILE: u64 = TILE_NODES as u64 - 1;
/// Levels of tiles: enough for 2^64 leaves.
const MAX_LEVELS: usize = 8;

/// A full tile: nodes of height `8 * level`, from place `256 * place` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    pub level: u32,
    pub place: u64,
    pub nodes: Vec<Hash>,
}

/// Of each level, the nodes that do not fill a tile yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// Leaves appended so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; the tiles that are full by it, lowest first.
    pub fn push(&mut self, leaf: Hash) -> Vec<Tile> {
        self.size = self.size.checked_add(1).expect("2^64 leaves cannot be written");
        let (mut node, mut full) = (leaf, Vec::new());
        for level in 0..MAX_LEVELS {
            if self.levels.len() <= level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(node);
            if nodes.len() < TILE_NODES {
                break;
            }
            let nodes = std::mem::take(nodes);
            node = root_of(&nodes);
            let level = level as u32;
            // The tile that the last leaf ends is the last of those that are full.
            let place = (self.size >> (level.saturating_add(1).saturating_mul(TILE_HEIGHT))).saturating_sub(1);
            full.push(Tile { level, place, nodes });
        }
        full
    }

    pub fn root(&self) -> Hash {
        let mut right: Option<Hash> = None;
        for level in &self.levels {
            let nodes: Vec<Hash> = level.iter().copied().chain(right).collect();
            right = (!nodes.is_empty()).then(|| root_of(&nodes));
        }
        right.unwrap_or_else(|| root_of(&[]))
    }

    /// Length and nodes of each level: 8 bytes of size, then for each level a byte and its nodes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.size.to_be_bytes().to_vec();
        for level in &self.levels {
            out.push(u8::try_from(level.len()).expect("a full tile falls off"));
            level.iter().for_each(|node| out.extend_from_slice(&node.0));
        }
        out
    }

    /// `None` if these are not the bytes of an edge: each level holds what the size says.
    pub fn from_bytes(bytes: &[u8]) -> Option<Edge> {
        let (size, mut rest) = bytes.split_first_chunk::<8>()?;
        let size = u64::from_be_bytes(*size);
        let mut levels = Vec::new();
        while let Some((&count, after)) = rest.split_first() {
            let (nodes, after) = after.split_at_checked(usize::from(count).saturating_mul(32))?;
            let height = (levels.len() as u32).saturating_mul(TILE_HEIGHT);
            if u64::from(count) != size.checked_shr(height)? & 0xff {
                return None;
            }
            levels.push(nodes.chunks_exact(32).map(|node| Hash(node.try_into().expect("32 bytes"))).collect());
            rest = after;
        }
        let height = (levels.len() as u32).saturating_mul(TILE_HEIGHT);
        let all = size.checked_shr(height).unwrap_or(0) == 0 && levels.len() <= MAX_LEVELS;
        all.then_some(Edge { size, levels })
    }

    /// The nodes of a tree with this edge; `tile` gives the nodes of a full tile.
    pub fn nodes(&self, mut tile: impl FnMut(u32, u64) -> Vec<Hash>) -> impl Nodes {
        move |height: u32, place: u64| {
            let level = height / TILE_HEIGHT;
            let below = height % TILE_HEIGHT;
            // Places of the nodes of the tile's own height that this node covers.
            let first = place << below;
            let (in_tile, number) = ((first & IN_TILE) as usize, first >> TILE_HEIGHT);
            let shift = level.saturating_add(1).saturating_mul(TILE_HEIGHT);
            let full = self.size.checked_shr(shift).unwrap_or(0);
            let nodes = if number < full {
                tile(level, number)
            } else {
                self.levels.get(level as usize).cloned().unwrap_or_default()
            };
            let end = in_tile.saturating_add(1 << below);
            // A tile that was damaged gives a wrong hash, which no root matches.
            nodes.get(in_tile..end).map_or(Hash::ZERO, root_of)
        }
    }
}
