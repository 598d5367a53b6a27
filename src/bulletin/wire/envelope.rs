//! Envelopes written at once, without a message in between: the broker writes one for nearly every bulletin. And what
//! can be seen of one before it is read.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint,
    encoded_len_varint, int32, key_len, message, skip_field, uint32,
};
use smallvec::SmallVec;

use super::{marking_to_wire, proto};
use crate::bulletin::part::{OpenPart, Part};
use crate::bulletin::seal::{BurstProof, Sealed};
use crate::proof::Digest;

/// The fields' numbers in bulletin.proto and key.proto.
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
        let burst = burst_len(&self.burst);
        let parts: usize = pieces
            .iter()
            .map(|piece| within(tag::ENVELOPE_PARTS, piece_len(piece)))
            .sum();
        let length = within(tag::ENVELOPE_ID, self.id.0.len())
            + number_len(tag::ENVELOPE_PRECEDENCE, self.precedence.number())
            + unless_empty(tag::ENVELOPE_HEADER, &self.header)
            + within(tag::ENVELOPE_BURST, burst)
            + parts;
        let mut out = Vec::with_capacity(length);
        put(tag::ENVELOPE_ID, &self.id.0, &mut out);
        if self.precedence.number() != 0 {
            int32::encode(
                tag::ENVELOPE_PRECEDENCE,
                &self.precedence.number(),
                &mut out,
            );
        }
        put_unless_empty(tag::ENVELOPE_HEADER, &self.header, &mut out);
        open(tag::ENVELOPE_BURST, burst, &mut out);
        put_burst(&self.burst, &mut out);
        for piece in &pieces {
            open(tag::ENVELOPE_PARTS, piece_len(piece), &mut out);
            put_piece(piece, &mut out);
        }
        (out.into(), hashes)
    }
}

fn burst_len(burst: &BurstProof) -> usize {
    let hashes = burst.path.iter();
    let hashes: usize = hashes
        .map(|hash| within(tag::BURST_PATH, hash.as_bytes().len()))
        .sum();
    counter_len(tag::BURST_SIZE, burst.size)
        + counter_len(tag::BURST_INDEX, burst.index)
        + hashes
        + within(tag::BURST_SIGNATURE, signature_len(burst))
}

fn put_burst(burst: &BurstProof, out: &mut Vec<u8>) {
    for (tag, number) in [
        (tag::BURST_SIZE, burst.size),
        (tag::BURST_INDEX, burst.index),
    ] {
        if number != 0 {
            uint32::encode(tag, &number, out);
        }
    }
    for hash in &burst.path {
        put(tag::BURST_PATH, hash.as_bytes(), out);
    }
    open(tag::BURST_SIGNATURE, signature_len(burst), out);
    let signature = &burst.signature;
    put(tag::SIGNATURE_KEY_ID, signature.key_id.0.as_bytes(), out);
    put(tag::SIGNATURE_SIGNATURE, &signature.bytes, out);
}

fn signature_len(burst: &BurstProof) -> usize {
    let signature = &burst.signature;
    within(tag::SIGNATURE_KEY_ID, signature.key_id.0.as_bytes().len())
        + within(tag::SIGNATURE_SIGNATURE, signature.bytes.len())
}

fn piece_len(piece: &Piece<'_>) -> usize {
    match piece {
        Piece::Open(part) => within(tag::PART_OPEN, open_len(part)),
        Piece::Withheld(leaf) => within(tag::PART_WITHHELD, leaf.as_bytes().len()),
    }
}

fn put_piece(piece: &Piece<'_>, out: &mut Vec<u8>) {
    match piece {
        Piece::Withheld(leaf) => put(tag::PART_WITHHELD, leaf.as_bytes(), out),
        Piece::Open(part) => {
            open(tag::PART_OPEN, open_len(part), out);
            put(tag::OPEN_SALT, &part.salt, out);
            put_unless_empty(tag::OPEN_CLASS, part.class.as_bytes(), out);
            if let Some(marking) = marking_to_wire(part.marking) {
                message::encode::<proto::Marking>(tag::OPEN_MARKING, &marking, out);
            }
            put_unless_empty(tag::OPEN_BODY, &part.body, out);
        }
    }
}

fn open_len(part: &OpenPart) -> usize {
    let marking = marking_to_wire(part.marking);
    let marking = marking.map_or(0, |marking| {
        message::encoded_len(tag::OPEN_MARKING, &marking)
    });
    within(tag::OPEN_SALT, part.salt.len())
        + unless_empty(tag::OPEN_CLASS, part.class.as_bytes())
        + marking
        + unless_empty(tag::OPEN_BODY, &part.body)
}

/// The length of a field with so many bytes in it.
fn within(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// As everywhere in protobuf, what is empty or zero is left out.
fn unless_empty(tag: u32, bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        0
    } else {
        within(tag, bytes.len())
    }
}

fn number_len(tag: u32, number: i32) -> usize {
    if number == 0 {
        0
    } else {
        int32::encoded_len(tag, &number)
    }
}

fn counter_len(tag: u32, number: u32) -> usize {
    if number == 0 {
        0
    } else {
        uint32::encoded_len(tag, &number)
    }
}

/// The beginning of a field with so many bytes in it.
fn open(tag: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

fn put(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    open(tag, bytes.len(), out);
    out.put_slice(bytes);
}

fn put_unless_empty(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        put(tag, bytes, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::bulletin::{BulletinId, Level, Marking, Precedence, Tlp, redact};
    use crate::proof::{KeyId, Signature};

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
