//! Sealing: an originator signs a burst of bulletins.
//!
//! ```text
//! bulletin leaf = SHA-256(0x00 || "entente/bulletin/v1\n" || SHA-256(header))
//! signed bytes  = DSSE PAE("application/vnd.entente.burst.v1", u32 size || root)
//! ```
//!
//! The tree is shuffled and padded with random leaves to a power of two, so that a recipient learns
//! from its path neither how many bulletins the burst had nor where among them its own stood.

use bytes::Bytes;

use super::content::{Content, InvalidContent};
use super::error::{
    MAX_BULLETIN_BYTES, MAX_BURST, MAX_HEADER_BYTES, MAX_PART_BYTES, MAX_PARTS, Refused, SealError,
};
use super::header::{BulletinId, Header};
use super::labels::{Labels, Marking, PartClass, PartLabels, Precedence};
use super::mention::mentions;
use super::open::{read_audience, read_identity};
use super::originator::{Identity, Originator, Pseudonym};
use super::part::{OpenPart, Part};
use crate::clock::{Entropy, NoEntropy, random};
use crate::proof::{Digest, PayloadType, Signature, Signer, merkle};

/// How a bulletin hangs in the tree of its burst, with the signature over that tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurstProof {
    /// Leaves of the tree, a power of two.
    pub size: u32,
    /// Which of them this bulletin is.
    pub index: u32,
    /// From the leaf's sibling upward.
    pub path: Vec<Digest>,
    /// Over size and root.
    pub signature: Signature,
}

/// A bulletin as it travels: signed bytes and parts, which nobody has verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Repeated from the header.
    pub id: BulletinId,
    /// Repeated from the header.
    pub precedence: Precedence,
    /// The bytes that were signed.
    pub header: Bytes,
    /// Proves that they were.
    pub burst: BurstProof,
    /// In the order of the tree.
    pub parts: Vec<Part>,
}

impl Sealed {
    /// SHA-256 of the header's bytes: what receipts and acknowledgements name.
    pub fn header_hash(&self) -> Digest {
        Digest::of(&self.header)
    }
}

/// A part before it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainPart {
    /// The unit in which agreements withhold.
    pub class: PartClass,
    /// Stricter than the header's, or as the header.
    pub marking: Marking,
    /// A serialized `Content`.
    pub body: Bytes,
    /// Of the received part that this one passes on: its leaf stays the same. `None`: a fresh one.
    pub salt: Option<[u8; 32]>,
}

/// A bulletin before it is sealed. The header's `parts_root`, `part_count` and `signing_key` are
/// filled in by [`seal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsealed {
    /// The labels.
    pub header: Header,
    /// The parts, in any order.
    pub parts: Vec<PlainPart>,
}

impl Unsealed {
    /// Puts a pseudonym in the place of its originator's name, and the identity behind it into a part.
    pub(super) fn disguise(
        mut self,
        pseudonym: Pseudonym,
        identity: Identity,
    ) -> Result<Self, InvalidContent> {
        self.header.originator = Originator::Pseudonym(pseudonym);
        self.parts.push(PlainPart {
            class: PartClass::Identity,
            marking: Marking::default(),
            body: Content::Identity(Box::new(identity)).encode()?,
            salt: None,
        });
        Ok(self)
    }

    /// What a decision will look at in the header and in the parts, in their present order: the
    /// same that is read of the sealed bulletin, where only the order differs.
    pub fn labels(&self) -> Result<(Labels, Vec<PartLabels>), Refused> {
        let open = |part: &PlainPart| {
            Part::Open(OpenPart {
                salt: [0; 32],
                class: part.class.as_str().to_owned(),
                marking: part.marking,
                body: part.body.clone(),
            })
        };
        let parts: Vec<Part> = self.parts.iter().map(open).collect();
        let audience = self
            .parts
            .iter()
            .find(|part| part.class == PartClass::Audience);
        let audience = audience.map(|part| read_audience(&part.body)).transpose()?;
        let mut identities = self
            .parts
            .iter()
            .filter(|part| part.class == PartClass::Identity);
        let identity = identities.next().map(|part| read_identity(&part.body));
        let (originator, disguise) = self.header.author(identity.transpose()?.as_ref())?;
        let mentions = mentions(&parts)?;
        let labels = self
            .parts
            .iter()
            .zip(mentions)
            .map(|(part, mentions)| PartLabels {
                class: Some(part.class),
                marking: part.marking,
                mentions,
            });
        let header = self.header.labels(originator, disguise, audience.as_ref());
        Ok((header, labels.collect()))
    }
}

/// Seals a burst: one signature for all its bulletins. The result is in the order of the input.
pub fn seal(
    burst: Vec<Unsealed>,
    signer: &dyn Signer,
    entropy: &dyn Entropy,
) -> Result<Vec<Sealed>, SealError> {
    let count = burst.len();
    if count == 0 || count > MAX_BURST as usize {
        return Err(SealError::BurstSize(count));
    }
    // A burst's root links its bulletins, so it never mixes identities.
    let first = &burst[0].header.originator;
    let single = first.pseudonym().is_some_and(|one| one.single_use) && count > 1;
    if single || burst.iter().any(|one| one.header.originator != *first) {
        return Err(SealError::MixedIdentities);
    }
    let bodies = burst
        .into_iter()
        .map(|unsealed| seal_parts(unsealed, signer, entropy))
        .collect::<Result<Vec<_>, _>>()?;

    let mut places: Vec<usize> = (0..count.next_power_of_two()).collect();
    shuffle(&mut places, entropy)?;
    let mut leaves = places
        .iter()
        .map(|_| random::<32>(entropy).map(Digest))
        .collect::<Result<Vec<_>, _>>()?;
    for ((_, _, header, _), place) in bodies.iter().zip(&places) {
        leaves[*place] = burst_leaf(&Digest::of(header));
    }
    let size = u32::try_from(leaves.len()).map_err(|_| SealError::BurstSize(count))?;
    let tree = merkle::FullTree::new(leaves).ok_or(SealError::BurstSize(count))?;
    let signature = signer.sign(PayloadType::Burst, &burst_payload(size, &tree.root()))?;

    let mut sealed = Vec::with_capacity(count);
    for ((id, precedence, header, parts), place) in bodies.into_iter().zip(places) {
        let path = tree.path(place).ok_or(SealError::BurstSize(count))?;
        let index = u32::try_from(place).map_err(|_| SealError::BurstSize(count))?;
        let burst = BurstProof {
            size,
            index,
            path,
            signature,
        };
        sealed.push(Sealed {
            id,
            precedence,
            header,
            burst,
            parts,
        });
    }
    Ok(sealed)
}

type SealedParts = (BulletinId, Precedence, Bytes, Vec<Part>);

fn seal_parts(
    unsealed: Unsealed,
    signer: &dyn Signer,
    entropy: &dyn Entropy,
) -> Result<SealedParts, SealError> {
    let Unsealed {
        mut header,
        mut parts,
    } = unsealed;
    check_sizes(&parts)?;
    // What was carried here keeps its originator's order, which was shuffled, and by which its leaves are found.
    if header.crossing.is_none() {
        shuffle(&mut parts, entropy)?;
    }
    let parts = parts
        .into_iter()
        .map(|part| {
            let salt = part.salt.map_or_else(|| random(entropy), Ok)?;
            let class = part.class.as_str().to_owned();
            Ok(Part::Open(OpenPart {
                salt,
                class,
                marking: part.marking,
                body: part.body,
            }))
        })
        .collect::<Result<Vec<_>, NoEntropy>>()?;
    let leaves: Vec<Digest> = parts.iter().map(Part::leaf).collect();
    header.parts_root = merkle::root(&leaves);
    header.part_count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    header.signing_key = signer.public_key().id();
    header.check()?;
    let bytes = header.to_bytes();
    if bytes.len() > MAX_HEADER_BYTES {
        let (what, limit) = ("header".to_owned(), MAX_HEADER_BYTES);
        return Err(Refused::TooLarge {
            what,
            bytes: bytes.len(),
            limit,
        }
        .into());
    }
    Ok((header.id, header.precedence, bytes, parts))
}

fn check_sizes(parts: &[PlainPart]) -> Result<(), Refused> {
    if parts.is_empty() || parts.len() > MAX_PARTS {
        return Err(Refused::Count {
            what: "parts",
            count: parts.len(),
            limit: MAX_PARTS,
        });
    }
    for (at, part) in parts.iter().enumerate() {
        if part.body.len() > MAX_PART_BYTES {
            let (what, bytes) = (format!("part {at} ({})", part.class), part.body.len());
            return Err(Refused::TooLarge {
                what,
                bytes,
                limit: MAX_PART_BYTES,
            });
        }
    }
    // Salt, class and lengths of each part come on top of its body; 128 bytes cover them.
    let bytes = parts
        .iter()
        .map(|part| part.body.len() + 128)
        .sum::<usize>()
        + MAX_HEADER_BYTES;
    if bytes > MAX_BULLETIN_BYTES {
        let (what, limit) = ("bulletin".to_owned(), MAX_BULLETIN_BYTES);
        return Err(Refused::TooLarge { what, bytes, limit });
    }
    Ok(())
}

/// The leaf of a bulletin in the tree of its burst.
pub(super) fn burst_leaf(header_hash: &Digest) -> Digest {
    merkle::leaf_hash(&[b"entente/bulletin/v1\n", header_hash.as_bytes()])
}

/// The bytes under the signature of a burst.
pub(super) fn burst_payload(size: u32, root: &Digest) -> [u8; 36] {
    let mut payload = [0; 36];
    payload[..4].copy_from_slice(&size.to_be_bytes());
    payload[4..].copy_from_slice(root.as_bytes());
    payload
}

/// Fisher and Yates. The bias of a 64-bit remainder over at most 16,384 items is below 2^-49.
fn shuffle<T>(items: &mut [T], entropy: &dyn Entropy) -> Result<(), NoEntropy> {
    for at in (1..items.len()).rev() {
        let draw = u64::from_be_bytes(random(entropy)?);
        let other = usize::try_from(draw % (at as u64 + 1)).unwrap_or(at);
        items.swap(at, other);
    }
    Ok(())
}
