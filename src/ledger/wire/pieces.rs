//! A record's pieces, and what is shown of them, to and from protobuf.

use bytes::Bytes;
use prost::Message;

use super::written::About;
use super::{Read, digest_bytes, read_digest, read_fact, read_release, read_time};
use crate::bulletin::BulletinId;
use crate::ledger::commitment::{Piece, PieceKind, PieceProof, PieceTree};
use crate::ledger::opening::{OpenPiece, RecordOpening, Shown, Summary, Tally};
use crate::ledger::record::InvalidRecord::{self, Malformed};
use crate::ledger::record::{Fact, LaneRelease, Record};
use crate::proto;

/// The format of the records that are written.
pub(super) const FORMAT: u32 = 2;
/// The format of records without a summary.
pub(super) const FORMAT_1: u32 = 1;

/// A record's pieces, serialized.
pub(in crate::ledger) struct Pieces {
    format: u32,
    seed: [u8; 32],
    fact: Bytes,
    /// None where the record is about no bulletin.
    about: Option<About>,
    releases: Vec<Bytes>,
}

impl Pieces {
    /// Of a stored record, what it says given.
    pub(super) fn stored(
        wire: &proto::Record,
        fact: &Fact,
        releases: &[LaneRelease],
    ) -> Read<Self> {
        let seed = wire.seed.as_ref();
        let time = read_time("time", wire.time)?;
        Ok(Self {
            format: wire.format,
            seed: seed.try_into().map_err(|_| Malformed("seed"))?,
            fact: wire.fact.clone(),
            about: (wire.format == FORMAT)
                .then(|| About::of(time, fact, releases))
                .flatten(),
            releases: wire.openings.clone(),
        })
    }

    /// Of a record; `None` for one of format 1.
    pub(in crate::ledger) fn of(record: &Record) -> Read<Option<Self>> {
        let wire = proto::Record::decode(record.bytes.clone());
        let wire = wire.map_err(|_| Malformed("record"))?;
        let pieces = Self::stored(&wire, &record.fact, &record.releases)?;
        Ok((wire.format == FORMAT).then_some(pieces))
    }

    /// All of them, in their order.
    pub(in crate::ledger) fn all(&self) -> Vec<Piece<'_>> {
        let piece = |kind, bytes| Piece { kind, bytes };
        let mut all = vec![piece(PieceKind::Fact, self.fact.as_ref())];
        if let Some(about) = &self.about {
            all.extend(about.pieces());
        }
        let releases = self.releases.iter();
        all.extend(releases.map(|bytes| piece(PieceKind::Release, bytes.as_ref())));
        all
    }

    /// Which of the releases a piece is.
    pub(in crate::ledger) fn release(&self, piece: usize) -> Option<usize> {
        piece.checked_sub(if self.about.is_some() { 3 } else { 1 })
    }

    pub(in crate::ledger) fn tree(&self) -> PieceTree {
        if self.format == FORMAT_1 {
            PieceTree::of_format_1(&self.seed, &self.all())
        } else {
            PieceTree::new(&self.seed, &self.all())
        }
    }
}

/// Adds what a piece says to what is shown.
pub(in crate::ledger) fn read_piece(shown: &mut Shown, piece: &OpenPiece) -> Read<()> {
    match piece.kind {
        PieceKind::Fact => shown.fact = Some(read_fact(&piece.bytes)?),
        PieceKind::Summary => {
            let wire = proto::Summary::decode(piece.bytes.clone());
            let wire = wire.map_err(|_| Malformed("summary"))?;
            let id = wire.id.as_ref().try_into();
            shown.summary = Some(Summary {
                time: read_time("time", wire.time)?,
                id: BulletinId(id.map_err(|_| Malformed("id"))?),
                bulletin: read_digest("bulletin", &wire.bulletin)?,
                accepted: wire.accepted,
            });
        }
        PieceKind::Tally => {
            let wire = proto::Tally::decode(piece.bytes.clone());
            let wire = wire.map_err(|_| Malformed("tally"))?;
            shown.tally = Some(Tally {
                bulletin: read_digest("bulletin", &wire.bulletin)?,
                released: wire.released,
                held: wire.held,
            });
        }
        PieceKind::Release => shown.releases.push(read_release(&piece.bytes)?),
    }
    Ok(())
}

impl RecordOpening {
    /// As it travels and is kept.
    pub fn to_bytes(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// Reads what was kept.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire = proto::RecordOpening::decode(bytes.clone());
        Self::from_wire(wire.map_err(|_| Malformed("opening"))?)
    }

    /// As it travels.
    pub fn to_wire(&self) -> proto::RecordOpening {
        let pieces = self.pieces.iter().map(|one| proto::OpenPiece {
            kind: one.kind as i32,
            salt: digest_bytes(&one.proof.salt),
            piece: one.bytes.clone(),
            index: one.proof.index,
            path: one.proof.path.iter().map(digest_bytes).collect(),
        });
        proto::RecordOpening {
            pieces: pieces.collect(),
        }
    }

    /// Reads what travelled.
    pub fn from_wire(wire: proto::RecordOpening) -> Read<Self> {
        let pieces = wire.pieces.into_iter().map(|one| {
            let kind = match one.kind {
                1 => PieceKind::Fact,
                2 => PieceKind::Summary,
                3 => PieceKind::Tally,
                4 => PieceKind::Release,
                _ => return Err(Malformed("kind")),
            };
            let path = one.path.iter().map(|hash| read_digest("path", hash));
            Ok(OpenPiece {
                kind,
                bytes: one.piece,
                proof: PieceProof {
                    salt: read_digest("salt", &one.salt)?,
                    index: one.index,
                    path: path.collect::<Read<_>>()?,
                },
            })
        });
        Ok(Self {
            pieces: pieces.collect::<Result<_, InvalidRecord>>()?,
        })
    }
}
