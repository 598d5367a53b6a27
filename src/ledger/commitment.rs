//! How a record is committed to in the log, openable piece by piece.
//!
//! ```text
//! salt(i)    = HMAC-SHA256(seed, "entente/record-salt/v1\n" || u32 i)
//! leaf(i)    = SHA-256(0x00 || "entente/record/v1\n" || salt(i) || piece(i))
//! padding(j) = HMAC-SHA256(seed, "entente/record-padding/v1\n" || u32 j)
//! commitment = RFC 6962 root over the leaves and the padding, up to a power of two, sorted
//! entry      = 0x01 || commitment                     33 bytes: what the log's tree is made of
//! ```
//!
//! Piece 0 is the fact; the others are the openings, one for each recipient. Whoever is shown one
//! piece gets its salt and its path, and learns nothing of the others: leaves are salted, their
//! order is that of their hashes, and their number is padded.

use ring::hmac;

use crate::proof::{Digest, merkle};

/// Bytes of an entry of the log: one tag byte and a commitment.
pub const ENTRY_BYTES: usize = 33;

/// The commitment to a record's pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment(pub Digest);

impl Commitment {
    /// Commits to a fact and its openings under a record's seed.
    pub fn of<'a>(
        seed: &[u8; 32],
        fact: &'a [u8],
        openings: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let pieces = std::iter::once(fact).chain(openings);
        let mut leaves: Vec<Digest> = (0u32..)
            .zip(pieces)
            .map(|(at, piece)| leaf(&salt(&key, at), piece))
            .collect();
        let missing = leaves.len().next_power_of_two() - leaves.len();
        leaves.extend(
            (0u32..)
                .take(missing)
                .map(|at| derive(&key, b"entente/record-padding/v1\n", at)),
        );
        leaves.sort_unstable();
        Self(merkle::root(&leaves))
    }

    /// The entry that the log's tree is made of.
    pub fn entry(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [1; ENTRY_BYTES];
        entry[1..].copy_from_slice(self.0.as_bytes());
        entry
    }

    /// The hash of the entry's leaf in the log's tree.
    pub fn leaf_hash(&self) -> Digest {
        merkle::leaf_hash(&[&self.entry()])
    }
}

fn leaf(salt: &Digest, piece: &[u8]) -> Digest {
    merkle::leaf_hash(&[b"entente/record/v1\n", salt.as_bytes(), piece])
}

fn salt(key: &hmac::Key, at: u32) -> Digest {
    derive(key, b"entente/record-salt/v1\n", at)
}

fn derive(key: &hmac::Key, label: &[u8], at: u32) -> Digest {
    let mut context = hmac::Context::with_key(key);
    context.update(label);
    context.update(&at.to_be_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    Digest(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_changes_with_every_piece_and_with_the_seed() {
        let of = |seed, fact: &[u8], openings: &[&[u8]]| {
            Commitment::of(&[seed; 32], fact, openings.iter().copied())
        };
        let whole = of(1, b"fact", &[b"a", b"b"]);
        assert_eq!(whole, of(1, b"fact", &[b"a", b"b"]));
        for other in [
            of(2, b"fact", &[b"a", b"b"]),
            of(1, b"facT", &[b"a", b"b"]),
            of(1, b"fact", &[b"a", b"B"]),
            of(1, b"fact", &[b"a"]),
            of(1, b"fact", &[b"b", b"a"]),
        ] {
            assert_ne!(whole, other);
        }
    }
}
