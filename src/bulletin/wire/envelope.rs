//! Envelopes, and what of them the ledger keeps, written at once, without a message in between: the broker writes one
//! for nearly every bulletin. And what can be seen of one before it is read.

use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use smallvec::SmallVec;

use crate::bulletin::labels::{Level, Marking, Tlp};
use crate::bulletin::part::{OpenPart, Part, PartDigest};
use crate::bulletin::seal::{BurstProof, Sealed};
use crate::proof::Digest;
use crate::proto::Fields;

/// The fields' numbers in bulletin.proto and key.proto, and those of a `PartDigest` in ledger.proto.
mod tag {
    pub(super) const ENVELOPE_ID: u32 = 1;
    pub(super) const ENVELOPE_PRECEDENCE: u32 = 2;
    pub(super) const ENVELOPE_HEADER: u32 = 3;
    pub(super) const ENVELOPE_BURST: u32 = 4;
    pub(super) const ENVELOPE_PARTS: u32 = 5;
    pub(super) const BURST_SIZE: u32 = 1;
    pub(super) const BURST_INDEX: u32 = 2;
    pub(super) const BURST_PATH: u32 = 3;
    pub(super) const BURST_SIGNATURE: u32 = 4;
    pub(super) const SIGNATURE_KEY_ID: u32 = 1;
    pub(super) const SIGNATURE_SIGNATURE: u32 = 2;
    pub(super) const PART_OPEN: u32 = 1;
    pub(super) const PART_WITHHELD: u32 = 2;
    pub(super) const OPEN_SALT: u32 = 1;
    pub(super) const OPEN_CLASS: u32 = 2;
    pub(super) const OPEN_MARKING: u32 = 3;
    pub(super) const OPEN_BODY: u32 = 4;
    pub(super) const MARKING_TLP: u32 = 1;
    pub(super) const MARKING_LEVEL: u32 = 2;
    pub(super) const DIGEST_CLASS: u32 = 1;
    pub(super) const DIGEST_MARKING: u32 = 2;
    pub(super) const DIGEST_LENGTH: u32 = 3;
    pub(super) const DIGEST_BODY: u32 = 4;
}

/// In a header's fields.
const HEADER_NOTICE: u32 = 24;

/// A part as it goes.
enum Piece<'a> {
    Open(&'a OpenPart),
    Withheld(Digest),
}

impl Sealed {
    /// Whether the header says that this is a notice, as far as it can be read. Nothing is verified: for who counts
    /// what is submitted.
    pub fn says_notice(&self) -> bool {
        let (mut rest, mut notice) = (&self.header[..], false);
        while rest.has_remaining() {
            let Ok((tag, wire_type)) = decode_key(&mut rest) else {
                break;
            };
            if tag == HEADER_NOTICE && wire_type == WireType::Varint {
                let Ok(value) = decode_varint(&mut rest) else {
                    break;
                };
                notice = value != 0;
            } else if skip_field(wire_type, tag, &mut rest, DecodeContext::default()).is_err() {
                break;
            }
        }
        notice
    }

    /// The bytes of the bulletin without the parts at these indexes: those of
    /// [`redact`](crate::bulletin::redact) and [`Sealed::to_bytes`]. And the indexes of all parts that go as hashes.
    pub fn to_redacted_bytes(&self, withheld: &[u32]) -> (Bytes, Vec<u32>) {
        let mut goes: SmallVec<[bool; 8]> = SmallVec::from_elem(true, self.parts.len());
        for index in withheld {
            let place = usize::try_from(*index).ok();
            if let Some(goes) = place.and_then(|at| goes.get_mut(at)) {
                *goes = false;
            }
        }
        let pieces: SmallVec<[Piece<'_>; 8]> = self
            .parts
            .iter()
            .zip(goes)
            .map(|(part, goes)| match part {
                Part::Open(part) if goes => Piece::Open(part),
                part => Piece::Withheld(part.leaf()),
            })
            .collect();
        let hashes = (0u32..).zip(&pieces);
        let hashes = hashes.filter(|(_, piece)| matches!(piece, Piece::Withheld(_)));
        let hashes = hashes.map(|(index, _)| index).collect();
        let length: usize = pieces.iter().map(Piece::about).sum();
        let mut out = Vec::with_capacity(length + self.header.len() + BURST);
        let mut envelope = Fields::at_end_of(&mut out);
        envelope.bytes(tag::ENVELOPE_ID, &self.id.0);
        envelope.signed(tag::ENVELOPE_PRECEDENCE, self.precedence.number());
        envelope.bytes(tag::ENVELOPE_HEADER, &self.header);
        envelope.message(tag::ENVELOPE_BURST, |fields| self.burst.put(fields));
        for piece in &pieces {
            envelope.message_of(tag::ENVELOPE_PARTS, piece.about(), |fields| {
                piece.put(fields);
            });
        }
        (out.into(), hashes)
    }
}

/// An envelope without header and parts, about.
const BURST: usize = 512;
/// A part without its body, about.
const PART: usize = 64;

impl BurstProof {
    /// As [`BurstProof::to_wire`] makes it.
    pub(crate) fn put(&self, fields: &mut Fields<'_>) {
        fields.number(tag::BURST_SIZE, self.size.into());
        fields.number(tag::BURST_INDEX, self.index.into());
        for hash in &self.path {
            fields.item(tag::BURST_PATH, hash.as_bytes());
        }
        fields.message(tag::BURST_SIGNATURE, |fields| {
            fields.bytes(tag::SIGNATURE_KEY_ID, self.signature.key_id.0.as_bytes());
            fields.bytes(tag::SIGNATURE_SIGNATURE, &self.signature.bytes);
        });
    }
}

impl Piece<'_> {
    /// How many bytes it takes, about.
    fn about(&self) -> usize {
        match self {
            Self::Open(part) => part.body.len() + PART,
            Self::Withheld(_) => PART,
        }
    }

    fn put(&self, fields: &mut Fields<'_>) {
        match self {
            Self::Withheld(leaf) => fields.item(tag::PART_WITHHELD, leaf.as_bytes()),
            Self::Open(part) => {
                fields.message_of(tag::PART_OPEN, self.about(), |fields| {
                    fields.bytes(tag::OPEN_SALT, &part.salt);
                    fields.bytes(tag::OPEN_CLASS, part.class.as_bytes());
                    put_marking(tag::OPEN_MARKING, part.marking, fields);
                    fields.bytes(tag::OPEN_BODY, &part.body);
                });
            }
        }
    }
}

/// Nothing where nothing is marked.
fn put_marking(tag: u32, marking: Marking, fields: &mut Fields<'_>) {
    if marking != Marking::default() {
        fields.message(tag, |fields| {
            fields.signed(tag::MARKING_TLP, marking.tlp.map_or(0, Tlp::number));
            fields.signed(tag::MARKING_LEVEL, marking.level.map_or(0, Level::number));
        });
    }
}

impl PartDigest {
    /// As the ledger keeps it.
    pub(crate) fn put(&self, fields: &mut Fields<'_>) {
        fields.bytes(tag::DIGEST_CLASS, self.class.as_bytes());
        put_marking(tag::DIGEST_MARKING, self.marking, fields);
        fields.number(tag::DIGEST_LENGTH, self.length);
        fields.bytes(tag::DIGEST_BODY, self.body.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::bulletin::{BulletinId, Precedence, redact};
    use crate::proof::{KeyId, Signature};
    use crate::proto;

    fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
    }

    fn digest() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest)
    }

    fn part() -> impl Strategy<Value = Part> {
        let marking = (
            prop::option::of(prop::sample::select(Tlp::ALL)),
            prop::option::of(prop::sample::select(Level::ALL)),
        );
        let marking = marking.prop_map(|(tlp, level)| Marking { tlp, level });
        let open = (any::<[u8; 32]>(), "[a-z]{0,200}", marking, bytes(300));
        prop_oneof![
            4 => open.prop_map(|(salt, class, marking, body)| {
                Part::Open(OpenPart { salt, class, marking, body })
            }),
            1 => digest().prop_map(Part::Withheld),
        ]
    }

    fn sealed() -> impl Strategy<Value = Sealed> {
        let burst = (
            any::<(u32, u32)>(),
            prop::collection::vec(digest(), 0..10),
            (digest(), any::<[u8; 32]>(), any::<[u8; 32]>()),
            any::<bool>(),
        );
        let burst = burst.prop_map(|((size, index), path, (key, first, second), alone)| {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&first);
            bytes[32..].copy_from_slice(&second);
            let key_id = KeyId(key);
            BurstProof {
                size: if alone { 0 } else { size },
                index: if alone { 0 } else { index },
                path,
                signature: Signature { key_id, bytes },
            }
        });
        (
            any::<[u8; 16]>(),
            prop::sample::select(Precedence::ALL),
            bytes(300),
            burst,
            prop::collection::vec(part(), 0..12),
        )
            .prop_map(|(id, precedence, header, burst, parts)| Sealed {
                id: BulletinId(id),
                precedence,
                header,
                burst,
                parts,
            })
    }

    #[test]
    fn a_notice_is_seen_in_a_header_and_junk_is_none() {
        let says = |header: Vec<u8>| {
            let parts = Vec::new();
            let signature = Signature {
                key_id: KeyId(Digest([0; 32])),
                bytes: [0; 64],
            };
            let burst = BurstProof {
                size: 1,
                index: 0,
                path: Vec::new(),
                signature,
            };
            let header = Bytes::from(header);
            Sealed {
                id: BulletinId([1; 16]),
                precedence: Precedence::Flash,
                header,
                burst,
                parts,
            }
            .says_notice()
        };
        for notice in [true, false] {
            let header = proto::Header {
                format: 1,
                topics: vec!["cyber".into()],
                notice,
                part_count: 3,
                ..proto::Header::default()
            };
            assert_eq!(says(header.encode_to_vec()), notice);
        }
        assert!(!says(vec![0xff; 40]));
        assert!(!says(b"no header".to_vec()));
    }

    proptest! {
        #[test]
        fn an_envelope_written_at_once_is_the_redacted_one(
            sealed in sealed(),
            withheld in prop::collection::vec(0u32..14, 0..6),
        ) {
            let expected = redact(&sealed, &withheld);
            let (bytes, hashes) = sealed.to_redacted_bytes(&withheld);
            prop_assert_eq!(bytes, expected.to_bytes());
            let parts = (0u32..).zip(&expected.parts);
            let gone = parts.filter(|(_, part)| matches!(part, Part::Withheld(_)));
            prop_assert_eq!(hashes, gone.map(|(index, _)| index).collect::<Vec<_>>());
        }
    }
}
