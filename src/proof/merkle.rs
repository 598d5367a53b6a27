//! The Merkle tree of RFC 6962, section 2.1 (the same as RFC 9162, section 2.1.1).
//!
//! ```text
//! leaf = SHA-256(0x00 || data)      node = SHA-256(0x01 || left || right)
//! an odd node is never duplicated; the empty tree's root is SHA-256("")
//! ```

use thiserror::Error;

use super::hash::{Digest, Hasher};

/// Bytes of a leaf that are hashed at once.
const SHORT: usize = 256;

/// A proof that does not hold.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum InvalidProof {
    /// The leaf cannot be in a tree of this size, or the old tree is larger than the new one.
    #[error("index or size is out of range")]
    OutOfRange,
    /// Too few or too many hashes.
    #[error("the proof does not have the number of hashes that the sizes demand")]
    Length,
    /// The hashes lead elsewhere.
    #[error("the proof leads to another root")]
    OtherRoot,
}

/// The hash of a leaf, given in pieces.
pub fn leaf_hash(data: &[&[u8]]) -> Digest {
    // Most leaves are short: hashed at once they cost half of what they cost in pieces.
    let mut short = [0; SHORT];
    let length = 1 + data.iter().map(|piece| piece.len()).sum::<usize>();
    if length > SHORT {
        let begun = Hasher::new().chain(&[0]);
        return data
            .iter()
            .fold(begun, |hasher, piece| hasher.chain(piece))
            .finish();
    }
    let mut rest = &mut short[1..];
    for piece in data {
        let (place, after) = rest.split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = after;
    }
    Digest::of(&short[..length])
}

/// The hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left.as_bytes());
    bytes[33..].copy_from_slice(right.as_bytes());
    Digest::of(&bytes)
}

/// The root over leaf hashes.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The inclusion proof of the leaf at `index`, from its sibling upward; `None` beyond the leaves.
pub fn inclusion_path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut rest, mut index) = (leaves, index);
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if index < left.len() {
            path.push(root(right));
            rest = left;
        } else {
            path.push(root(left));
            index -= left.len();
            rest = right;
        }
    }
    path.reverse();
    Some(path)
}

/// A tree of a power of two of leaves with every node kept: many paths of one tree cost no more
/// than its hashing.
#[derive(Clone, Debug)]
pub struct FullTree {
    /// The leaves first, the root last.
    levels: Vec<Vec<Digest>>,
}

impl FullTree {
    /// Hashes the tree; `None` where the number of leaves is no power of two.
    pub fn new(leaves: Vec<Digest>) -> Option<Self> {
        if !leaves.len().is_power_of_two() {
            return None;
        }
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last
                .chunks_exact(2)
                .map(|pair| node_hash(&pair[0], &pair[1]))
                .collect();
            levels.push(above);
        }
        Some(Self { levels })
    }

    /// The root.
    pub fn root(&self) -> Digest {
        let top = self.levels.last().and_then(|top| top.first());
        top.copied().unwrap_or_else(|| root(&[]))
    }

    /// From a leaf's sibling upward; `None` where there is no such leaf.
    pub fn path(&self, index: usize) -> Option<Vec<Digest>> {
        self.levels.first()?.get(index)?;
        let below_root = self.levels.iter().take(self.levels.len() - 1);
        let siblings = below_root
            .enumerate()
            .map(|(height, level)| level[(index >> height) ^ 1]);
        Some(siblings.collect())
    }
}

/// The proof that the tree over the first `old` leaves is a prefix of the tree over all of them;
/// `None` where `old` is larger. Empty for 0 and for all.
pub fn consistency_path(leaves: &[Digest], old: usize) -> Option<Vec<Digest>> {
    if old > leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    if old > 0 {
        subproof(leaves, old, true, &mut path);
    }
    Some(path)
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn subproof(leaves: &[Digest], old: usize, complete: bool, path: &mut Vec<Digest>) {
    if old == leaves.len() {
        if !complete {
            path.push(root(leaves));
        }
        return;
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if old <= left.len() {
        subproof(left, old, complete, path);
        path.push(root(right));
    } else {
        subproof(right, old - left.len(), false, path);
        path.push(root(left));
    }
}

/// The largest power of two smaller than `size`, which is at least 2.
fn split(size: usize) -> usize {
    size.next_power_of_two() / 2
}

/// The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2).
pub fn root_from_path(
    leaf: &Digest,
    index: u64,
    size: u64,
    path: &[Digest],
) -> Result<Digest, InvalidProof> {
    if index >= size {
        return Err(InvalidProof::OutOfRange);
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(InvalidProof::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 {
        Ok(hash)
    } else {
        Err(InvalidProof::Length)
    }
}

/// Verifies that a leaf is in the tree with this size and root.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> Result<(), InvalidProof> {
    if root_from_path(leaf, index, size, path)? == *root {
        Ok(())
    } else {
        Err(InvalidProof::OtherRoot)
    }
}

/// Verifies that the old tree is a prefix of the new one (RFC 9162, section 2.1.4.2).
pub fn verify_consistency(
    old_size: u64,
    new_size: u64,
    old_root: &Digest,
    new_root: &Digest,
    path: &[Digest],
) -> Result<(), InvalidProof> {
    if old_size > new_size {
        return Err(InvalidProof::OutOfRange);
    }
    if old_size == new_size || old_size == 0 {
        let same = old_size == 0 || old_root == new_root;
        return match (path.is_empty(), same) {
            (false, _) => Err(InvalidProof::Length),
            (true, false) => Err(InvalidProof::OtherRoot),
            (true, true) => Ok(()),
        };
    }
    // Where the old tree is a whole subtree of the new one, its root is not in the proof.
    let (first, rest) = if old_size.is_power_of_two() {
        (old_root, path)
    } else {
        path.split_first().ok_or(InvalidProof::Length)?
    };
    let (old, new) = roots_from_prefix(old_size, new_size, first, rest)?;
    if old == *old_root && new == *new_root {
        Ok(())
    } else {
        Err(InvalidProof::OtherRoot)
    }
}

/// The roots of the old and the new tree that a consistency proof leads to, for `0 < old_size <
/// new_size`. `first` is the root of the largest whole subtree that ends where the old tree does.
pub fn roots_from_prefix(
    old_size: u64,
    new_size: u64,
    first: &Digest,
    rest: &[Digest],
) -> Result<(Digest, Digest), InvalidProof> {
    if old_size == 0 || old_size >= new_size {
        return Err(InvalidProof::OutOfRange);
    }
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*first, *first);
    for hash in rest {
        if last == 0 {
            return Err(InvalidProof::Length);
        }
        if node & 1 == 1 || node == last {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, hash);
        }
        node >>= 1;
        last >>= 1;
    }
    if last == 0 {
        Ok((old, new))
    } else {
        Err(InvalidProof::Length)
    }
}

/// A tree that only grows, of which only the right edge is kept: the roots of the whole subtrees,
/// largest first, one for each bit of the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Digest>,
}

impl Frontier {
    /// The empty tree.
    pub const fn new() -> Self {
        Self {
            size: 0,
            roots: Vec::new(),
        }
    }

    /// Puts back what [`Frontier::parts`] gave; `None` where the number of roots does not fit.
    pub fn from_parts(size: u64, roots: Vec<Digest>) -> Option<Self> {
        (size.count_ones() as usize == roots.len()).then_some(Self { size, roots })
    }

    /// The size and the roots of the whole subtrees, largest first.
    pub fn parts(&self) -> (u64, &[Digest]) {
        (self.size, &self.roots)
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        // Each trailing one of the size is a whole subtree as large as what has just been built.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// Leaves in the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root.
    pub fn root(&self) -> Digest {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else {
            return Digest::of(&[]);
        };
        roots.fold(*last, |right, left| node_hash(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count)
            .map(|at| leaf_hash(&[&at.to_be_bytes()]))
            .collect()
    }

    #[test]
    fn a_full_tree_gives_the_root_and_the_paths_of_the_definition() {
        for count in [1, 2, 4, 16, 64] {
            let leaves = leaves(count);
            let tree = FullTree::new(leaves.clone()).unwrap();
            assert_eq!(tree.root(), root(&leaves));
            for index in 0..count {
                assert_eq!(tree.path(index), inclusion_path(&leaves, index));
            }
            assert_eq!(tree.path(count), None);
        }
        assert!(FullTree::new(leaves(3)).is_none() && FullTree::new(vec![]).is_none());
    }

    #[test]
    fn a_leaf_is_the_hash_of_its_pieces_however_long() {
        for length in [0, 1, 63, 64, 254, 255, 256, 1_000] {
            let data: Vec<u8> = (0u8..=255).cycle().take(length).collect();
            let expected = Digest::of(&[&[0], data.as_slice()].concat());
            let (one, two) = data.split_at(length / 3);
            assert_eq!(leaf_hash(&[&data]), expected, "{length}");
            assert_eq!(leaf_hash(&[one, &[], two]), expected, "{length}");
        }
    }

    #[test]
    fn the_roots_are_those_of_the_vectors() {
        let data: [&[u8]; 8] = [
            b"",
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let hashes: Vec<Digest> = data.iter().map(|leaf| leaf_hash(&[leaf])).collect();
        let mut frontier = Frontier::new();
        for (size, expected) in roots.iter().enumerate() {
            assert_eq!(root(&hashes[..size]).to_string(), *expected);
            assert_eq!(frontier.root().to_string(), *expected);
            if let Some(leaf) = hashes.get(size) {
                frontier.push(*leaf);
            }
        }
    }

    #[test]
    fn a_size_of_zero_or_the_same_size_needs_an_empty_proof() {
        let tree = leaves(3);
        let root = root(&tree);
        let other = Digest::of(b"other");
        assert_eq!(verify_consistency(0, 3, &other, &root, &[]), Ok(()));
        assert_eq!(
            verify_consistency(0, 3, &other, &root, &[root]),
            Err(InvalidProof::Length)
        );
        assert_eq!(verify_consistency(3, 3, &root, &root, &[]), Ok(()));
        assert_eq!(
            verify_consistency(3, 3, &root, &root, &[root]),
            Err(InvalidProof::Length)
        );
        assert_eq!(
            verify_consistency(3, 3, &other, &root, &[]),
            Err(InvalidProof::OtherRoot)
        );
        assert_eq!(
            verify_consistency(4, 3, &root, &root, &[]),
            Err(InvalidProof::OutOfRange)
        );
    }

    proptest! {
        #[test]
        fn every_leaf_proves_itself_and_nothing_else(size in 1usize..200, pick in any::<u64>()) {
            let tree = leaves(size);
            let root = root(&tree);
            let index = usize::try_from(pick % size as u64).unwrap();
            let path = inclusion_path(&tree, index).unwrap();
            let (at, size) = (index as u64, size as u64);
            prop_assert_eq!(verify_inclusion(&tree[index], at, size, &path, &root), Ok(()));
            prop_assert!(verify_inclusion(&Digest::of(b"x"), at, size, &path, &root).is_err());
            prop_assert!(verify_inclusion(&tree[index], size, size, &path, &root).is_err());
            let mut longer = path.clone();
            longer.push(root);
            prop_assert!(verify_inclusion(&tree[index], at, size, &longer, &root).is_err());
            if let Some((_, shorter)) = path.split_last() {
                prop_assert!(verify_inclusion(&tree[index], at, size, shorter, &root).is_err());
            }
        }

        #[test]
        fn every_prefix_is_consistent(old in 0usize..200, more in 0usize..100) {
            let tree = leaves(old + more);
            let path = consistency_path(&tree, old).unwrap();
            let (before, after) = (root(&tree[..old]), root(&tree));
            let (old, new) = (old as u64, tree.len() as u64);
            prop_assert_eq!(verify_consistency(old, new, &before, &after, &path), Ok(()));
            if old > 0 && old < new {
                let forged = Digest::of(b"forged");
                prop_assert!(verify_consistency(old, new, &forged, &after, &path).is_err());
                prop_assert!(verify_consistency(old, new, &before, &forged, &path).is_err());
            }
        }

        #[test]
        fn the_frontier_has_the_root_of_the_whole_tree(size in 0usize..300) {
            let tree = leaves(size);
            let mut frontier = Frontier::new();
            for leaf in &tree {
                frontier.push(*leaf);
            }
            prop_assert_eq!(frontier.root(), root(&tree));
            let (size, roots) = frontier.parts();
            prop_assert_eq!(Frontier::from_parts(size, roots.to_vec()), Some(frontier));
        }
    }
}
