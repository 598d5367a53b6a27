//! Groups of records as messages of the stream, and their bodies as objects.
//!
//! Pure. A message is read back from servers that are not believed: whatever is in it is checked here or by
//! who knows what comes before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use crate::ledger::{ENTRY_BYTES, Record, StoredRecord};
use crate::partner::{signature_from_wire, signature_to_wire};
use crate::proof::{Digest, PayloadType, PublicKey, SignError, Signer, verify};
use crate::proto;

/// The newest format of messages that this version reads. A change of [`proto::StreamGroup`] that older versions must
/// not pass by is another one; its envelope, bytes and a signature, stays as it is.
pub const FORMAT: u32 = 1;
/// The format that all versions read.
pub const OLDEST: u32 = 1;

/// What the first message is chained to.
pub(super) const BEGINNING: Digest = Digest([0; 32]);

/// A group as a message: its bytes, and what they say.
#[derive(Clone, Debug)]
pub struct StreamMessage {
    /// The whole message.
    pub(super) bytes: Bytes,
    /// SHA-256 of the signed bytes: what the next message is chained to.
    pub(super) hash: Digest,
    /// Random; the name of the group's object, too.
    pub(super) id: [u8; 16],
    /// Log position of the first record.
    pub(super) first: u64,
    /// Its format.
    pub(super) format: u32,
    /// The hash of the message before.
    pub(super) previous: Digest,
    /// SPIFFE ID of the broker that appended it.
    pub(super) broker: String,
    /// The records, without bodies.
    pub(super) records: Vec<StoredRecord>,
    /// Positions of those that have bodies in the group's object.
    pub(super) with_bodies: Vec<u64>,
    /// The records as they were read, where they are to be folded next.
    pub(super) opened: Vec<Arc<Record>>,
}

/// A message that no broker of this ledger appended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidMessage {
    /// It cannot be read, and so is not signed.
    #[error("it cannot be read")]
    Unreadable,
    /// It is signed, and this version cannot read something in it: a newer broker appended it.
    #[error("its {0} cannot be read: a newer version appended it; upgrade this broker")]
    Malformed(&'static str),
    /// It is signed, and of a newer format.
    #[error(
        "it has format {found}, and this version reads formats up to {reads}: a newer version appended it; upgrade \
         this broker"
    )]
    Newer {
        /// Its format.
        found: u32,
        /// What is read.
        reads: u32,
    },
    /// Not the log key's signature.
    #[error("it is not signed by this log's key")]
    Unsigned,
    /// A record whose commitment is another.
    #[error("its record {0} is not what it commits to")]
    Commitment(u64),
    /// It follows something else.
    #[error("it does not follow the message before it")]
    Chain,
    /// It is of another place.
    #[error("it begins at record {found}, and record {expected} is due")]
    Position {
        /// What it says.
        found: u64,
        /// What is due.
        expected: u64,
    },
}

use InvalidMessage::Malformed;

impl InvalidMessage {
    /// Whether no broker sent it: it is passed over. All else is signed by one, and to be heeded.
    pub(super) fn is_nobodys(&self) -> bool {
        matches!(self, Self::Unreadable | Self::Unsigned)
    }
}

impl StreamMessage {
    /// Makes and signs the message of a group: in a format, under a random id, after the first records and the message
    /// with this hash.
    pub fn seal(
        format: u32,
        id: [u8; 16],
        first: u64,
        previous: Digest,
        broker: &str,
        records: &[StoredRecord],
        signer: &dyn Signer,
    ) -> Result<Self, SignError> {
        let record = |one: &StoredRecord| proto::StreamRecord {
            record: one.record.clone(),
            entry: Bytes::copy_from_slice(&one.entry),
            has_bodies: one.bodies.is_some(),
            erases: one.erases.clone(),
        };
        let group = proto::StreamGroup {
            id: Bytes::copy_from_slice(&id),
            first,
            previous: Bytes::copy_from_slice(previous.as_bytes()),
            broker: broker.to_owned(),
            records: records.iter().map(record).collect(),
            // The first format does not say so.
            format: if format == OLDEST { 0 } else { format },
        };
        let group: Bytes = group.encode_to_vec().into();
        let signature = signer.sign(PayloadType::StreamGroup, &group)?;
        let hash = Digest::of(&group);
        let message = proto::StreamMessage {
            group,
            signature: Some(signature_to_wire(&signature)),
        };
        let with_bodies = (first..)
            .zip(records)
            .filter(|(_, one)| one.bodies.is_some())
            .map(|(position, _)| position)
            .collect();
        Ok(Self {
            bytes: message.encode_to_vec().into(),
            hash,
            id,
            first,
            format,
            previous,
            broker: broker.to_owned(),
            records: records.to_vec(),
            with_bodies,
            opened: Vec::new(),
        })
    }

    /// What chains a message to others, whoever made it; `None` where it is no message. Its records are not looked
    /// at: of a stranger's they may be many.
    pub(super) fn link_of(bytes: &Bytes) -> Option<Link> {
        let message = proto::StreamMessage::decode(bytes.clone()).ok()?;
        let hash = Digest::of(&message.group);
        let group = proto::StreamGroupPlace::decode(message.group).ok()?;
        let previous = Digest::try_from(group.previous.as_ref()).ok()?;
        Some(Link {
            hash,
            previous,
            first: group.first,
        })
    }

    /// The message, as it is sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the next message is chained to.
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Position of the first record after it.
    pub fn until(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Reads a message, whose signature must be of this key, and whose records must be what they commit to.
    pub fn open(bytes: &Bytes, key: &PublicKey) -> Result<Self, InvalidMessage> {
        Self::open_up_to(bytes, key, FORMAT)
    }

    /// The same of formats up to this one.
    pub fn open_up_to(bytes: &Bytes, key: &PublicKey, reads: u32) -> Result<Self, InvalidMessage> {
        Self::read(bytes, Some(key), reads, false)
    }

    /// Reads a message, which has this key's signature where one is given, and keeps its records as they were read where
    /// it is to be whole.
    pub(super) fn read(
        bytes: &Bytes,
        key: Option<&PublicKey>,
        reads: u32,
        whole: bool,
    ) -> Result<Self, InvalidMessage> {
        let message = proto::StreamMessage::decode(bytes.clone());
        let message = message.map_err(|_| InvalidMessage::Unreadable)?;
        if let Some(key) = key {
            let signature = message.signature.as_ref().and_then(signature_from_wire);
            let signature = signature.ok_or(InvalidMessage::Unsigned)?;
            verify(key, PayloadType::StreamGroup, &message.group, &signature)
                .map_err(|_| InvalidMessage::Unsigned)?;
        }
        let hash = Digest::of(&message.group);
        let group = proto::StreamGroup::decode(message.group);
        let group = group.map_err(|_| Malformed("group"))?;
        let found = group.format.max(OLDEST);
        if found > reads {
            return Err(InvalidMessage::Newer { found, reads });
        }
        let id = <[u8; 16]>::try_from(group.id.as_ref()).map_err(|_| Malformed("id"))?;
        let previous = Digest::try_from(group.previous.as_ref());
        let (mut records, mut with_bodies, mut opened) = (Vec::new(), Vec::new(), Vec::new());
        let count = group.records.len() as u64;
        group
            .first
            .checked_add(count)
            .ok_or(Malformed("position"))?;
        for (position, one) in (group.first..).zip(group.records) {
            let entry = <[u8; ENTRY_BYTES]>::try_from(one.entry.as_ref());
            let entry = entry.map_err(|_| Malformed("entry"))?;
            // Some of its bytes are kept for long, and would hold the whole message.
            let own = whole.then(|| Bytes::copy_from_slice(&one.record));
            let record = Record::from_bytes(own.as_ref().unwrap_or(&one.record));
            let record = record.map_err(|_| Malformed("record"))?;
            if record.commitment.entry() != entry {
                return Err(InvalidMessage::Commitment(position));
            }
            if whole {
                opened.push(Arc::new(record));
            }
            if one.has_bodies {
                with_bodies.push(position);
            }
            records.push(StoredRecord {
                record: one.record,
                bodies: None,
                entry,
                erases: one.erases,
            });
        }
        Ok(Self {
            bytes: bytes.clone(),
            hash,
            id,
            first: group.first,
            format: found,
            previous: previous.map_err(|_| Malformed("previous hash"))?,
            broker: group.broker,
            records,
            with_bodies,
            opened,
        })
    }

    /// Checks that it comes next: after the message with this hash, at this position of the log.
    pub(super) fn follows(&self, previous: &Digest, position: u64) -> Result<(), InvalidMessage> {
        if self.previous != *previous {
            return Err(InvalidMessage::Chain);
        }
        if self.first != position {
            return Err(InvalidMessage::Position {
                found: self.first,
                expected: position,
            });
        }
        Ok(())
    }
}

/// What chains a message to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// What the next message is chained to.
    pub(super) hash: Digest,
    /// What it is chained to itself.
    pub(super) previous: Digest,
    /// Position of its first record.
    pub(super) first: u64,
}

/// Bodies of one record, or a piece of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The record's position.
    pub(super) position: u64,
    /// Where the piece begins.
    offset: u64,
    bodies: Bytes,
}

/// Bodies as they go into messages of at most so many bytes.
pub(super) fn pieces(bodies: BTreeMap<u64, Bytes>, most: usize) -> Vec<Vec<Piece>> {
    let (mut messages, mut room) = (Vec::<Vec<Piece>>::new(), 0);
    for (position, mut left) in bodies {
        let mut offset = 0;
        while !left.is_empty() {
            // A piece has a few bytes beside its bodies.
            if room < 64 || (room < left.len() + 64 && left.len() + 64 <= most) {
                messages.push(Vec::new());
                room = most;
            }
            let bodies = left.split_to(left.len().min(room - 32));
            room -= bodies.len() + 32;
            let length = bodies.len() as u64;
            if let Some(message) = messages.last_mut() {
                message.push(Piece {
                    position,
                    offset,
                    bodies,
                });
            }
            offset += length;
        }
    }
    messages
}

/// Bodies from their pieces, whatever their order; the same piece may come twice.
pub(super) fn join(pieces: impl Iterator<Item = Piece>) -> BTreeMap<u64, Bytes> {
    let mut found: BTreeMap<u64, BTreeMap<u64, Bytes>> = BTreeMap::new();
    for piece in pieces {
        let all = found.entry(piece.position).or_default();
        // What somebody adds later takes no place that is taken.
        all.entry(piece.offset).or_insert(piece.bodies);
    }
    let joined = found.into_iter().map(|(position, mut pieces)| {
        let bodies = match pieces.len() {
            1 => pieces.pop_first().map(|(_, one)| one).unwrap_or_default(),
            _ => pieces.into_values().flatten().collect(),
        };
        (position, bodies)
    });
    joined.collect()
}

/// A message of pieces.
pub(super) fn pieces_to_bytes(pieces: Vec<Piece>) -> Bytes {
    let pieces = pieces.into_iter().map(|piece| proto::StreamPiece {
        position: piece.position,
        offset: piece.offset,
        bodies: piece.bodies,
    });
    let contents = proto::StreamContents {
        pieces: pieces.collect(),
    };
    contents.encode_to_vec().into()
}

/// Reads it; `None` where it is none.
pub(super) fn pieces_from_bytes(bytes: Bytes) -> Option<Vec<Piece>> {
    let contents = proto::StreamContents::decode(bytes).ok()?;
    let pieces = contents.pieces.into_iter().map(|piece| Piece {
        position: piece.position,
        offset: piece.offset,
        bodies: piece.bodies,
    });
    Some(pieces.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bodies_come_back_from_their_pieces_in_any_order(
            sizes in proptest::collection::vec(1_usize..5_000, 0..20),
            most in 256_usize..3_000,
            turn in any::<proptest::sample::Index>(),
        ) {
            let bodies: BTreeMap<u64, Bytes> = (7u64..)
                .zip(&sizes)
                .map(|(position, size)| (position, Bytes::from(vec![(position % 251) as u8; *size])))
                .collect();
            let messages = pieces(bodies.clone(), most);
            let mut read = Vec::new();
            for message in messages {
                let bytes = pieces_to_bytes(message);
                prop_assert!(bytes.len() <= most, "{} of {most}", bytes.len());
                read.extend(pieces_from_bytes(bytes).expect("pieces"));
            }
            if !read.is_empty() {
                let at = turn.index(read.len());
                read.rotate_left(at);
                read.push(read[at].clone());
            }
            prop_assert_eq!(join(read.into_iter()), bodies);
        }
    }
}
