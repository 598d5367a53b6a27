//! The right edge of a tree in tiles: what is needed to add leaves and to know each whole tile's root
//! when it is whole.

use super::hash::Digest;
use super::merkle;
use super::tile::{TILE_HEIGHT, TILE_WIDTH};

/// The partial tiles of a tree, one for each level.
#[derive(Clone, Debug, Default)]
pub struct TileEdge {
    levels: Vec<Vec<Digest>>,
    size: u64,
}

/// The root of a whole tile: a hash of the level above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeTile {
    /// The level of the hash, 1 or more.
    pub level: u8,
    /// Which hash of that level, from 0.
    pub index: u64,
    /// The hash.
    pub hash: Digest,
}

impl TileEdge {
    /// The edge of a tree of this size. `hashes` gives the hashes of a level from one index to
    /// another: for level 0 leaf hashes, above it roots of whole tiles.
    pub fn restore<E>(
        size: u64,
        mut hashes: impl FnMut(u8, u64, u64) -> Result<Vec<Digest>, E>,
    ) -> Result<Self, E> {
        let mut levels = Vec::new();
        let (mut level, mut count) = (0u8, size);
        while count > 0 {
            let from = count - count % u64::from(TILE_WIDTH);
            levels.push(hashes(level, from, count)?);
            count >>= TILE_HEIGHT;
            level += 1;
        }
        Ok(Self { levels, size })
    }

    /// Leaves in the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf hash, and gives the roots of the tiles that became whole.
    pub fn push(&mut self, leaf: Digest) -> Vec<WholeTile> {
        let mut whole = Vec::new();
        let mut hash = leaf;
        self.size += 1;
        let mut count = self.size;
        for level in 0u8.. {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::new());
            }
            self.levels[at].push(hash);
            if self.levels[at].len() < usize::from(TILE_WIDTH) {
                break;
            }
            hash = merkle::root(&self.levels[at]);
            self.levels[at].clear();
            count >>= TILE_HEIGHT;
            whole.push(WholeTile {
                level: level + 1,
                index: count - 1,
                hash,
            });
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn whole_tiles_have_the_roots_of_the_definition_and_an_edge_comes_back() {
        let leaf = |at: u64| merkle::leaf_hash(&[&at.to_be_bytes()]);
        let size = 2 * 65_536 + 300;
        let leaves: Vec<Digest> = (0..size).map(leaf).collect();
        let mut edge = TileEdge::default();
        let mut nodes = BTreeMap::new();
        for (at, leaf) in leaves.iter().enumerate() {
            if at % 40_001 == 7 {
                edge = TileEdge::restore(at as u64, |level, from, until| {
                    Ok::<_, Infallible>(if level == 0 {
                        leaves[usize::try_from(from).unwrap()..usize::try_from(until).unwrap()]
                            .to_vec()
                    } else {
                        (from..until).map(|index| nodes[&(level, index)]).collect()
                    })
                })
                .unwrap();
            }
            for whole in edge.push(*leaf) {
                let known = nodes.insert((whole.level, whole.index), whole.hash);
                assert_eq!(known, None);
            }
        }
        assert_eq!(nodes.len(), 513 + 2);
        for (at, tile) in leaves.chunks_exact(256).enumerate() {
            assert_eq!(nodes[&(1, at as u64)], merkle::root(tile));
        }
        for (at, tile) in leaves.chunks_exact(65_536).enumerate() {
            assert_eq!(nodes[&(2, at as u64)], merkle::root(tile));
        }
    }
}
