//! Roots and proofs (RFC 6962, sections 2.1.1 and 2.1.2) out of the hashes of whole subtrees,
//! wherever these are kept: in memory, in a store, in tiles.

use super::hash::Digest;
use super::merkle::node_hash;
use super::tile::{TILE_HEIGHT, TILE_WIDTH, TileKind, TilePath};

/// Gives the hashes of whole subtrees.
pub trait Subtrees {
    /// Why a hash cannot be had.
    type Error;

    /// The root of the `2^level` leaves from leaf `index * 2^level` on, all of which are in the
    /// tree.
    fn subtree(&self, level: u32, index: u64) -> Result<Digest, Self::Error>;
}

/// The root over the first `size` leaves.
pub fn root<S: Subtrees>(subtrees: &S, size: u64) -> Result<Digest, S::Error> {
    if size == 0 {
        return Ok(Digest::of(&[]));
    }
    range(subtrees, 0, size)
}

/// The inclusion proof of a leaf in the tree over the first `size` leaves, from its sibling
/// upward; `None` where the leaf is not in it.
pub fn inclusion_path<S: Subtrees>(
    subtrees: &S,
    leaf: u64,
    size: u64,
) -> Result<Option<Vec<Digest>>, S::Error> {
    if leaf >= size {
        return Ok(None);
    }
    let (mut from, mut until, mut path) = (0, size, Vec::new());
    while until - from > 1 {
        let middle = from + split(until - from);
        if leaf < middle {
            path.push(range(subtrees, middle, until)?);
            until = middle;
        } else {
            path.push(range(subtrees, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(Some(path))
}

/// The proof that the tree over the first `old` leaves is a prefix of that over the first `new`;
/// `None` where `old` is larger. Empty where `old` is 0 or `new`.
pub fn consistency_path<S: Subtrees>(
    subtrees: &S,
    old: u64,
    new: u64,
) -> Result<Option<Vec<Digest>>, S::Error> {
    if old > new {
        return Ok(None);
    }
    let mut path = Vec::new();
    if old == 0 || old == new {
        return Ok(Some(path));
    }
    let (mut from, mut until) = (0, new);
    // SUBPROOF of section 2.1.2: down to where the old tree ends.
    while old != until {
        let middle = from + split(until - from);
        if old <= middle {
            path.push(range(subtrees, middle, until)?);
            until = middle;
        } else {
            path.push(range(subtrees, from, middle)?);
            from = middle;
        }
    }
    // The verifier knows the old root itself; any other subtree must be shown.
    if from > 0 {
        path.push(range(subtrees, from, until)?);
    }
    path.reverse();
    Ok(Some(path))
}

/// What the tree over the first `new` leaves has to say of its first `old`, for `0 < old < new`: as
/// [`consistency_path`], but with the first hash also where the verifier of a consistency proof
/// knows it. `None` for other sizes.
pub fn prefix_path<S: Subtrees>(
    subtrees: &S,
    old: u64,
    new: u64,
) -> Result<Option<Vec<Digest>>, S::Error> {
    if old == 0 || old >= new {
        return Ok(None);
    }
    let path = consistency_path(subtrees, old, new)?;
    let Some(mut path) = path else {
        return Ok(None);
    };
    if old.is_power_of_two() {
        path.insert(0, range(subtrees, 0, old)?);
    }
    Ok(Some(path))
}

/// The root over leaves `from..until`, a range that the definition of the tree names: `from` is a
/// multiple of the largest power of two in its length.
fn range<S: Subtrees>(subtrees: &S, from: u64, until: u64) -> Result<Digest, S::Error> {
    // Whole subtrees from the left, each smaller than the one before.
    let mut parts = Vec::new();
    let mut at = from;
    while at < until {
        let level = (until - at).ilog2();
        parts.push(subtrees.subtree(level, at >> level)?);
        at += 1 << level;
    }
    let mut parts = parts.into_iter().rev();
    let last = parts.next().unwrap_or_else(|| Digest::of(&[]));
    Ok(parts.fold(last, |right, left| node_hash(&left, &right)))
}

/// The largest power of two smaller than a size of at least 2.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The roots of all whole subtrees, in memory: 64 bytes for each leaf.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    rows: Vec<Vec<Digest>>,
}

impl Levels {
    /// Appends a leaf.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for level in 0.. {
            if self.rows.len() == level {
                self.rows.push(Vec::new());
            }
            let row = &mut self.rows[level];
            row.push(hash);
            match row.as_slice() {
                [.., left, right] if row.len().is_multiple_of(2) => hash = node_hash(left, right),
                _ => return,
            }
        }
    }

    /// Leaves appended.
    pub fn size(&self) -> u64 {
        self.rows.first().map_or(0, |leaves| leaves.len() as u64)
    }
}

/// A subtree that reaches beyond the leaves.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the tree does not reach so far")]
pub struct BeyondTree;

impl Subtrees for Levels {
    type Error = BeyondTree;

    fn subtree(&self, level: u32, index: u64) -> Result<Digest, BeyondTree> {
        let row = usize::try_from(level).ok().and_then(|at| self.rows.get(at));
        let index = usize::try_from(index).map_err(|_| BeyondTree)?;
        row.and_then(|row| row.get(index))
            .copied()
            .ok_or(BeyondTree)
    }
}

/// Subtrees out of tiles.
#[derive(Debug)]
pub struct Tiled<F> {
    size: u64,
    fetch: F,
}

impl<F> Tiled<F> {
    /// Over a tree of this size, whose tiles `fetch` gives, each as wide as the path says.
    pub const fn new(size: u64, fetch: F) -> Self {
        Self { size, fetch }
    }
}

/// Why a subtree is not to be had of tiles.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TiledError<E> {
    /// It is beyond the tree.
    #[error("the tree of {0} entries does not reach so far")]
    Beyond(u64),
    /// The tile is narrower than its path says.
    #[error("the tile {0} is too narrow")]
    Narrow(TilePath),
    /// The tile cannot be had.
    #[error(transparent)]
    Fetch(E),
}

impl<F, E> Subtrees for Tiled<F>
where
    F: Fn(&TilePath) -> Result<Vec<Digest>, E>,
{
    type Error = TiledError<E>;

    fn subtree(&self, level: u32, index: u64) -> Result<Digest, Self::Error> {
        let beyond = TiledError::Beyond(self.size);
        let (row, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let Some(kind) = u8::try_from(row).ok().map(TileKind::Hashes) else {
            return Err(beyond);
        };
        // Its hashes in that row lie in one tile: 2^within of them, a divisor of the tile's width.
        let Some(first) = index.checked_mul(1 << within) else {
            return Err(beyond);
        };
        let width = u64::from(TILE_WIDTH);
        let Some(path) = TilePath::in_tree(kind, first / width, self.size) else {
            return Err(beyond);
        };
        let hashes = (self.fetch)(&path).map_err(TiledError::Fetch)?;
        let start = usize::try_from(first % width).unwrap_or(usize::MAX);
        let wanted = start..start.saturating_add(1 << within);
        match hashes.get(wanted) {
            Some(hashes) => Ok(super::merkle::root(hashes)),
            None if hashes.len() < usize::from(path.width()) => Err(TiledError::Narrow(path)),
            None => Err(beyond),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::merkle;
    use super::*;

    /// Subtrees computed from all leaves.
    struct Leaves(Vec<Digest>);

    impl Subtrees for Leaves {
        type Error = Infallible;

        fn subtree(&self, level: u32, index: u64) -> Result<Digest, Infallible> {
            let from = usize::try_from(index << level).unwrap();
            Ok(merkle::root(&self.0[from..from + (1 << level)]))
        }
    }

    fn leaves(count: u64) -> Leaves {
        let leaf = |at: u64| merkle::leaf_hash(&[&at.to_be_bytes()]);
        Leaves((0..count).map(leaf).collect())
    }

    /// The tiles of a tree, by the definition.
    fn tile(tree: &Leaves, path: &TilePath) -> Vec<Digest> {
        let TileKind::Hashes(level) = path.kind() else {
            return vec![];
        };
        (0..u64::from(path.width()))
            .map(|at| {
                let index = path.index() * 256 + at;
                tree.subtree(u32::from(level) * 8, index).unwrap()
            })
            .collect()
    }

    #[test]
    fn a_tree_of_several_levels_of_tiles_proves_as_the_definition_does() {
        let size = 70_000;
        let tree = leaves(size);
        let tiled = Tiled::new(size, |path: &TilePath| {
            Ok::<_, Infallible>(tile(&tree, path))
        });
        assert_eq!(root(&tiled, size), Ok(merkle::root(&tree.0)));
        for leaf in [0, 1, 255, 256, 65_535, 65_536, 69_999] {
            let path = inclusion_path(&tiled, leaf, size).unwrap();
            let at = usize::try_from(leaf).unwrap();
            assert_eq!(path, merkle::inclusion_path(&tree.0, at));
        }
        for old in [1, 256, 257, 65_536, 69_999] {
            let path = consistency_path(&tiled, old, size).unwrap();
            let at = usize::try_from(old).unwrap();
            assert_eq!(path, merkle::consistency_path(&tree.0, at));
        }
        assert_eq!(inclusion_path(&tiled, size, size), Ok(None));
        assert!(tiled.subtree(0, size).is_err() && tiled.subtree(63, 1).is_err());
    }

    proptest! {
        #[test]
        fn proofs_are_those_of_the_definition(
            (size, leaf, old) in (1u64..600).prop_flat_map(|size| (Just(size), 0..size, 0..=size))
        ) {
            let tree = leaves(size);
            let tiled = Tiled::new(size, |path: &TilePath| Ok::<_, Infallible>(tile(&tree, path)));
            let (at, before) = (usize::try_from(leaf).unwrap(), usize::try_from(old).unwrap());
            let expected = merkle::inclusion_path(&tree.0, at);
            prop_assert_eq!(inclusion_path(&tree, leaf, size).unwrap(), expected.clone());
            prop_assert_eq!(inclusion_path(&tiled, leaf, size).unwrap(), expected.clone());
            let mut levels = Levels::default();
            tree.0.iter().for_each(|leaf| levels.push(*leaf));
            prop_assert_eq!(levels.size(), size);
            prop_assert_eq!(inclusion_path(&levels, leaf, size).unwrap(), expected);
            let expected = merkle::consistency_path(&tree.0, before);
            prop_assert_eq!(consistency_path(&tree, old, size).unwrap(), expected.clone());
            prop_assert_eq!(consistency_path(&tiled, old, size).unwrap(), expected);
            let expected = merkle::root(&tree.0[..before]);
            prop_assert_eq!(root(&tiled, old).unwrap(), expected);
        }
    }
}
