//! The test vectors of RFC 6962's reference implementation, and properties over trees of every small size.

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn hash(text: &str) -> Hash {
    Hash(hex(text).try_into().expect("32 bytes"))
}

/// The leaves of the reference implementation's own tests (certificate-transparency, merkle_tree_test.cc).
fn leaves() -> Vec<Hash> {
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
        .map(|leaf| leaf_hash(&hex(leaf)))
        .to_vec()
}

/// The nodes of a tree with all its leaves at hand.
fn nodes(leaves: &[Hash]) -> impl Nodes {
    move |height: u32, place: u64| {
        let first = (place << height) as usize;
        root_of(&leaves[first..first + (1 << height)])
    }
}

#[test]
fn roots_are_those_of_rfc_6962() {
    assert_eq!(empty(), hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let leaves = leaves();
    for (size, expected) in (1_u64..).zip(roots) {
        assert_eq!(root(size, &mut nodes(&leaves)), hash(expected), "{size} leaves");
    }
}

#[test]
fn proofs_are_those_of_rfc_6962() {
    let leaves = leaves();
    let h = |texts: &[&str]| texts.iter().map(|text| hash(text)).collect::<Vec<_>>();
    // (leaf, size, path), leaves counted from 1 as there.
    let paths: [(u64, u64, &[&str]); 5] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (3, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            2,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    for (leaf, size, path) in paths {
        assert_eq!(inclusion(leaf - 1, size, &mut nodes(&leaves)), h(path), "leaf {leaf} of {size}");
    }
    let proofs: [(u64, u64, &[&str]); 4] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];
    for (old, new, proof) in proofs {
        assert_eq!(consistency(old, new, &mut nodes(&leaves)), h(proof), "{old} to {new}");
    }
}

fn many(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

#[test]
fn every_proof_about_small_trees_verifies_and_no_other_does() {
    let leaves = many(40);
    let roots: Vec<Hash> = (0..=40).map(|size| root(size, &mut nodes(&leaves))).collect();
    for new in 1..=40_u64 {
        for index in 0..new {
            let path = inclusion(index, new, &mut nodes(&leaves));
            let leaf = leaves[index as usize];
            assert!(is_included(leaf, index, new, &path, roots[new as usize]));
            assert!(!is_included(leaf, index + 1, new, &path, roots[new as usize]), "another place");
            assert!(!is_included(leaf, index, new, &path, roots[new as usize - 1]), "another tree");
            assert!(!is_included(leaves[(index as usize + 1) % 40], index, new, &path, roots[new as usize]));
            assert!(!is_included(leaf, index, new, &[&path[..], &[leaf]].concat(), roots[new as usize]));
        }
        for old in 1..=new {
            let proof = consistency(old, new, &mut nodes(&leaves));
            let (before, after) = ((old, roots[old as usize]), (new, roots[new as usize]));
            assert!(is_consistent(before, after, &proof), "{old} to {new}");
            if old < new {
                assert!(!is_consistent((old, roots[new as usize]), after, &proof), "{old} to {new}");
                assert!(!is_consistent(before, (new, roots[old as usize]), &proof), "{old} to {new}");
                assert!(!is_consistent(before, after, &[&proof[..], &[before.1]].concat()));
                assert!(!is_consistent(before, after, &proof[..proof.len() - 1]), "{old} to {new}");
            }
        }
    }
}

/// The tiles that fell off while `leaves` were appended, and the edge.
fn grown(leaves: &[Hash]) -> (Edge, std::collections::HashMap<(u32, u64), Vec<Hash>>) {
    let (mut edge, mut tiles) = (Edge::default(), std::collections::HashMap::new());
    for leaf in leaves {
        for tile in edge.push(*leaf) {
            assert!(tiles.insert((tile.level, tile.place), tile.nodes).is_none());
        }
    }
    (edge, tiles)
}

#[test]
fn a_tree_of_tiles_is_the_tree_of_its_leaves() {
    let leaves = many(66_000);
    for size in [0, 1, 255, 256, 257, 511, 512, 1_000, 65_535, 65_536, 65_537, 66_000] {
        let leaves = &leaves[..size];
        let (edge, tiles) = grown(leaves);
        let size = size as u64;
        assert_eq!(edge.root(), root(size, &mut nodes(leaves)), "{size}");
        assert_eq!(Edge::from_bytes(&edge.to_bytes()), Some(edge.clone()), "{size}");
        let mut by_tiles = edge.nodes(|level, place| tiles[&(level, place)].clone());
        if size > 0 {
            assert_eq!(root(size, &mut by_tiles), edge.root(), "{size}");
        }
        for index in [0, 1, size / 3, size / 2, size.saturating_sub(1)].into_iter().filter(|index| *index < size) {
            let path = inclusion(index, size, &mut by_tiles);
            assert!(is_included(leaves[index as usize], index, size, &path, edge.root()), "{index} of {size}");
        }
        for old in [1, 255, 256, 300, size / 2].into_iter().filter(|old| (1..=size).contains(old)) {
            let before = (old, root(old, &mut nodes(leaves)));
            let proof = consistency(old, size, &mut by_tiles);
            assert!(is_consistent(before, (size, edge.root()), &proof), "{old} to {size}");
        }
    }
}

proptest! {
    #[test]
    fn a_changed_byte_in_a_proof_is_found(size in 2_u64..300, index in 0_u64..300, byte in 0_usize..10_000, flip in 1_u8..) {
        let (leaves, index) = (many(size), index % size);
        let root = root(size, &mut nodes(&leaves));
        let mut path = inclusion(index, size, &mut nodes(&leaves));
        let at = byte % (path.len() * 32);
        path[at / 32].0[at % 32] ^= flip;
        prop_assert!(!is_included(leaves[index as usize], index, size, &path, root));
    }

    #[test]
    fn what_is_no_edge_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(edge) = Edge::from_bytes(&bytes) {
            prop_assert_eq!(edge.to_bytes(), bytes);
        }
    }
}
