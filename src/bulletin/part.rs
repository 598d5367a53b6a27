//! Parts and their salted leaves.
//!
//! A part's leaf commits to its class, its marking, its length and a salted digest of its body:
//!
//! ```text
//! body  = SHA-256("entente/body/v1\n" || salt[32] || body)
//! leaf  = SHA-256(0x00 || "entente/part/v1\n" || u8 class length || class || u8 tlp || u8 level
//!                      || u64 length || body)                     integers big-endian
//! ```
//!
//! The salt enters only the inner digest, so class, marking and length can be shown, decided upon
//! and audited while salt and body are withheld or erased; and since that digest is salted, the
//! leaf of a withheld part cannot be guessed even where its body is one of few.

use bytes::Bytes;

use super::labels::{Marking, PartClass, PartLabels};
use crate::proof::{Digest, Hasher, merkle};

/// A part whose content is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPart {
    /// Fresh for each part of each version of each bulletin.
    pub salt: [u8; 32],
    /// As the originator wrote it; perhaps a class that this version does not know.
    pub class: String,
    /// Stricter than the header's, or as the header.
    pub marking: Marking,
    /// A serialized `Content`.
    pub body: Bytes,
}

impl OpenPart {
    /// What the leaf commits to.
    pub fn digest(&self) -> PartDigest {
        let body = Hasher::new()
            .chain(b"entente/body/v1\n")
            .chain(&self.salt)
            .chain(&self.body)
            .finish();
        PartDigest {
            class: self.class.clone(),
            marking: self.marking,
            length: self.body.len() as u64,
            body,
        }
    }
}

/// A part as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// With its content.
    Open(OpenPart),
    /// Only the hash of its leaf.
    Withheld(Digest),
}

impl Part {
    /// The hash of the part's leaf.
    pub fn leaf(&self) -> Digest {
        match self {
            Self::Open(part) => part.digest().leaf(),
            Self::Withheld(leaf) => *leaf,
        }
    }
}

/// What a leaf commits to: enough to verify the root and to decide, and nothing by which the body
/// could be guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartDigest {
    /// The class as written.
    pub class: String,
    /// The marking.
    pub marking: Marking,
    /// Bytes of the body.
    pub length: u64,
    /// Salted digest of the body.
    pub body: Digest,
}

impl PartDigest {
    /// The hash of the leaf.
    pub fn leaf(&self) -> Digest {
        // A class longer than 255 bytes is refused where it is read; here it must only not collide.
        let class_length = u8::try_from(self.class.len()).unwrap_or(u8::MAX);
        let tlp = self.marking.tlp.map_or(0, |tlp| tlp as u8 + 1);
        let level = self.marking.level.map_or(0, |level| level as u8 + 1);
        merkle::leaf_hash(&[
            b"entente/part/v1\n",
            &[class_length],
            self.class.as_bytes(),
            &[tlp, level],
            &self.length.to_be_bytes(),
            self.body.as_bytes(),
        ])
    }

    /// What a decision looks at, with the parts that this one names.
    pub fn labels(&self, mentions: &[u32]) -> PartLabels {
        PartLabels {
            class: self.class.parse::<PartClass>().ok(),
            marking: self.marking,
            mentions: mentions.to_vec(),
        }
    }
}
