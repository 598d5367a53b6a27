//! How a record is committed to in the log, openable piece by piece.
//!
//! ```text
//! salt(i)    = HMAC-SHA256(seed, "entente/record-salt/v1\n" || u32 i)
//! leaf(i)    = SHA-256(0x00 || "entente/record/v2\n" || u8 kind || salt(i) || piece(i))
//! padding(j) = HMAC-SHA256(seed, "entente/record-padding/v1\n" || u32 j)
//! commitment = RFC 6962 root over the leaves and the padding, up to a power of two, sorted
//! entry      = 0x01 || commitment                     33 bytes: what the log's tree is made of
//! ```
//!
//! The pieces are the fact; where it is about a bulletin, what all who are concerned may see of it,
//! and what its originator may; and one release for each recipient. Whoever is shown a piece gets its
//! salt and its path, and learns nothing of the others: leaves are salted, their order is that of
//! their hashes, and their number is padded, about a bulletin to eight at least.
//!
//! In records of format 1 there is no kind in a leaf, `v1` stands for `v2`, and the pieces are the fact
//! and the releases.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::proof::merkle::InvalidProof;
use crate::proof::{Digest, merkle};

/// Bytes of an entry of the log: one tag byte and a commitment.
pub const ENTRY_BYTES: usize = 33;
/// Leaves of a record about a bulletin, at least: with up to five recipients their number does not
/// show.
const LEAVES_MIN: usize = 8;
/// The longest way from a piece to its commitment: more recipients than partners there are.
const MAX_PATH: usize = 24;

/// What a piece of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PieceKind {
    /// The whole fact. Of a bulletin, only an auditor sees it.
    Fact = 1,
    /// What everybody whom a bulletin concerns may see.
    Summary = 2,
    /// What its originator may see.
    Tally = 3,
    /// What one recipient may see.
    Release = 4,
}

/// A piece of a record, serialized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// What it says.
    pub kind: PieceKind,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The commitment to a record's pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(pub Digest);

/// A record's pieces in the tree of its commitment.
#[derive(Debug)]
pub(super) struct PieceTree {
    /// As many as there are pieces.
    salts: Vec<Digest>,
    leaves: Vec<Digest>,
    /// The same with the padding, in the order of the tree.
    sorted: Vec<Digest>,
}

impl PieceTree {
    /// The tree of a record of format 2.
    pub(super) fn new(seed: &[u8; 32], pieces: &[Piece<'_>]) -> Self {
        let about_bulletin = pieces.iter().any(|piece| piece.kind != PieceKind::Fact);
        let least = if about_bulletin { LEAVES_MIN } else { 1 };
        Self::of(seed, pieces, least, |salt, piece| {
            let kind = [piece.kind as u8];
            leaf(b"entente/record/v2\n", &kind, salt, piece.bytes)
        })
    }

    /// The tree of a record of format 1.
    pub(super) fn of_format_1(seed: &[u8; 32], pieces: &[Piece<'_>]) -> Self {
        Self::of(seed, pieces, 1, |salt, piece| {
            leaf(b"entente/record/v1\n", &[], salt, piece.bytes)
        })
    }

    fn of(
        seed: &[u8; 32],
        pieces: &[Piece<'_>],
        least: usize,
        leaf: impl Fn(&Digest, &Piece<'_>) -> Digest,
    ) -> Self {
        let key = keyed(seed);
        let salts: Vec<Digest> = (0u32..)
            .take(pieces.len())
            .map(|at| derive(&key, b"entente/record-salt/v1\n", at))
            .collect();
        let hashed = salts.iter().zip(pieces);
        let leaves: Vec<Digest> = hashed.map(|(salt, piece)| leaf(salt, piece)).collect();
        let missing = leaves.len().next_power_of_two().max(least) - leaves.len();
        let padding = (0u32..)
            .take(missing)
            .map(|at| derive(&key, b"entente/record-padding/v1\n", at));
        let mut sorted: Vec<Digest> = leaves.iter().copied().chain(padding).collect();
        sorted.sort_unstable();
        Self {
            salts,
            leaves,
            sorted,
        }
    }

    pub(super) fn commitment(&self) -> Commitment {
        Commitment(merkle::root(&self.sorted))
    }

    /// Salt, place and path of a piece.
    pub(super) fn open(&self, piece: usize) -> Option<PieceProof> {
        let leaf = self.leaves.get(piece)?;
        let at = self.sorted.binary_search(leaf).ok()?;
        Some(PieceProof {
            salt: *self.salts.get(piece)?,
            index: u32::try_from(at).ok()?,
            path: merkle::inclusion_path(&self.sorted, at)?,
        })
    }
}

/// What proves that a piece belongs to a commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PieceProof {
    /// Blinds the leaf.
    pub salt: Digest,
    /// The leaf's place: says nothing, since leaves are sorted by their hashes.
    pub index: u32,
    /// From the leaf's sibling upward.
    pub path: Vec<Digest>,
}

impl PieceProof {
    /// The commitment to which a piece belongs, in a record of format 2.
    pub(super) fn commitment(&self, piece: &Piece<'_>) -> Result<Commitment, InvalidProof> {
        if self.path.len() > MAX_PATH {
            return Err(InvalidProof::Length);
        }
        let kind = [piece.kind as u8];
        let leaf = leaf(b"entente/record/v2\n", &kind, &self.salt, piece.bytes);
        let size = 1 << self.path.len();
        merkle::root_from_path(&leaf, self.index.into(), size, &self.path).map(Commitment)
    }
}

impl Commitment {
    /// The entry that the log's tree is made of.
    pub fn entry(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [1; ENTRY_BYTES];
        entry[1..].copy_from_slice(self.0.as_bytes());
        entry
    }

    /// Reads an entry; `None` where it is of another kind.
    pub fn of_entry(entry: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let (tag, digest) = entry.split_first()?;
        let digest = Digest::try_from(digest).ok()?;
        (*tag == 1).then_some(Self(digest))
    }

    /// The hash of the entry's leaf in the log's tree.
    pub fn leaf_hash(&self) -> Digest {
        merkle::leaf_hash(&[&self.entry()])
    }
}

fn leaf(tag: &[u8], kind: &[u8], salt: &Digest, piece: &[u8]) -> Digest {
    merkle::leaf_hash(&[tag, kind, salt.as_bytes(), piece])
}

/// HMAC-SHA256 under a key of 32 bytes.
pub(super) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..key.len()].copy_from_slice(key);
    // As RFC 2104 has it: a key shorter than a block is filled up with zeros.
    Hmac::new(&block)
}

fn derive(key: &Hmac<Sha256>, label: &[u8], at: u32) -> Digest {
    let mac = key.clone().chain_update(label);
    let mac = mac.chain_update(at.to_be_bytes());
    Digest(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(fact: &'a [u8], releases: &[&'a [u8]]) -> Vec<Piece<'a>> {
        let release = |bytes: &&'a [u8]| Piece {
            kind: PieceKind::Release,
            bytes,
        };
        let fact = Piece {
            kind: PieceKind::Fact,
            bytes: fact,
        };
        std::iter::once(fact)
            .chain(releases.iter().map(release))
            .collect()
    }

    #[test]
    fn salts_and_leaves_are_those_of_another_implementation() {
        use ring::{digest, hmac};
        let seed = [7; 32];
        let tree = PieceTree::new(&seed, &pieces(b"fact", &[b"a release"]));
        for (at, (kind, piece)) in [(1, &b"fact"[..]), (4, b"a release")].iter().enumerate() {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &seed);
            let index = u32::try_from(at).unwrap().to_be_bytes();
            let salt = hmac::sign(&key, &[&b"entente/record-salt/v1\n"[..], &index].concat());
            assert_eq!(tree.salts[at].as_bytes()[..], *salt.as_ref());
            let leaf = [
                &[0][..],
                b"entente/record/v2\n",
                &[*kind],
                salt.as_ref(),
                piece,
            ]
            .concat();
            let leaf = digest::digest(&digest::SHA256, &leaf);
            assert_eq!(tree.leaves[at].as_bytes()[..], *leaf.as_ref());
        }
    }

    #[test]
    fn a_commitment_changes_with_every_piece_and_with_the_seed() {
        let of = |seed, fact: &[u8], releases: &[&[u8]]| {
            let pieces = pieces(fact, releases);
            let old = PieceTree::of_format_1(&[seed; 32], &pieces).commitment();
            (PieceTree::new(&[seed; 32], &pieces).commitment(), old)
        };
        let whole = of(1, b"fact", &[b"a", b"b"]);
        assert_eq!(whole, of(1, b"fact", &[b"a", b"b"]));
        assert_ne!(whole.0, whole.1);
        for other in [
            of(2, b"fact", &[b"a", b"b"]),
            of(1, b"facT", &[b"a", b"b"]),
            of(1, b"fact", &[b"a", b"B"]),
            of(1, b"fact", &[b"a"]),
            of(1, b"fact", &[b"b", b"a"]),
        ] {
            assert_ne!(whole.0, other.0);
            assert_ne!(whole.1, other.1);
        }
    }

    #[test]
    fn each_piece_proves_itself_and_as_what_it_is_only() {
        for count in [0usize, 1, 6, 7, 40] {
            let texts: Vec<Vec<u8>> = (0..count).map(|at| at.to_be_bytes().to_vec()).collect();
            let releases: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let pieces = pieces(b"fact", &releases);
            let tree = PieceTree::new(&[7; 32], &pieces);
            let length = tree.open(0).unwrap().path.len();
            assert_eq!(
                length,
                if count == 0 {
                    0
                } else if count < 8 {
                    3
                } else {
                    6
                }
            );
            for (at, piece) in pieces.iter().enumerate() {
                let proof = tree.open(at).unwrap();
                assert_eq!(proof.commitment(piece), Ok(tree.commitment()));
                let as_other = Piece {
                    kind: PieceKind::Tally,
                    bytes: piece.bytes,
                };
                assert_ne!(proof.commitment(&as_other), Ok(tree.commitment()));
                let mut unsalted = proof.clone();
                unsalted.salt = Digest([0; 32]);
                assert_ne!(unsalted.commitment(piece), Ok(tree.commitment()));
            }
            assert!(tree.open(pieces.len()).is_none());
        }
    }
}
