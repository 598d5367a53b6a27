//! Pieces of a record, shown to whom they concern, each with the proof that it belongs to the
//! record's commitment.
//!
//! A recipient is shown the [`Summary`] and its own release; an originator the summary, the [`Tally`]
//! and the releases that it may know; whoever else a fact concerns, the fact. Nobody learns from what
//! it is shown what else there is.

use std::collections::BTreeSet;

use bytes::Bytes;
use thiserror::Error;

use super::commitment::{Commitment, Piece, PieceKind, PieceProof};
use super::record::{Fact, InvalidRecord, LaneRelease, Record};
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::Digest;

/// Pieces of one record that are shown together: a bulletin's originator may see its recipients.
const MAX_PIECES: usize = 16_384;

/// What everybody whom a record about a bulletin concerns may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The record's time.
    pub time: Timestamp,
    /// The bulletin's id.
    pub id: BulletinId,
    /// SHA-256 of its header.
    pub bulletin: Digest,
    /// The record accepts the bulletin; otherwise it lets something go of one that was accepted.
    pub accepted: bool,
}

/// What the originator of a bulletin may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// SHA-256 of the bulletin's header.
    pub bulletin: Digest,
    /// To how many recipients it was released by this record.
    pub released: u32,
    /// From how many of them it is held.
    pub held: u32,
}

/// A piece with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPiece {
    /// What it says.
    pub kind: PieceKind,
    /// Its bytes.
    pub bytes: Bytes,
    /// That it belongs to the record.
    pub proof: PieceProof,
}

/// Pieces of one record, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordOpening {
    /// Each with its proof.
    pub pieces: Vec<OpenPiece>,
}

/// What an opening shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The fact, with its time.
    pub fact: Option<(Timestamp, Fact)>,
    /// What everybody whom it concerns may see.
    pub summary: Option<Summary>,
    /// What the originator may see.
    pub tally: Option<Tally>,
    /// What recipients may see.
    pub releases: Vec<LaneRelease>,
}

/// To whom a record is opened.
#[derive(Clone, Copy, Debug)]
pub enum Reader<'a> {
    /// One of the bulletin's recipients, which does not learn of what is held.
    Recipient(&'a PartnerId),
    /// The bulletin's originator, but for recipients that are kept from it.
    Originator(&'a BTreeSet<PartnerId>),
    /// Whoever may see the whole fact, and no release.
    Party,
}

/// An opening that proves nothing.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum InvalidOpening {
    /// It shows nothing, or too much.
    #[error("it opens no piece of a record, too many, or one twice")]
    Pieces,
    /// The pieces lead to two commitments, or to none.
    #[error("its pieces do not belong to one record")]
    Apart,
    /// A piece cannot be read.
    #[error("a piece of it: {0}")]
    Unreadable(#[from] InvalidRecord),
}

impl Record {
    /// Opens what a reader may see. `None` where that is nothing, and for records of format 1, whose
    /// pieces do not say what they are.
    pub fn open(&self, reader: Reader<'_>) -> Option<RecordOpening> {
        let pieces = super::wire::Pieces::of(self).ok()??;
        let wanted = |at: usize, kind: PieceKind| {
            match (reader, kind) {
                (Reader::Party, PieceKind::Fact)
                | (Reader::Recipient(_) | Reader::Originator(_), PieceKind::Summary)
                | (Reader::Originator(_), PieceKind::Tally) => true,
                (Reader::Recipient(partner), PieceKind::Release) => {
                    let release = self.releases.get(pieces.release(at)?);
                    let own =
                        |one: &LaneRelease| one.release.recipient == *partner && !one.release.held;
                    return Some(release.is_some_and(own));
                }
                (Reader::Originator(kept), PieceKind::Release) => {
                    let release = self.releases.get(pieces.release(at)?);
                    return Some(release.is_some_and(|one| !kept.contains(&one.release.recipient)));
                }
                _ => false,
            }
            .then_some(true)
        };
        let mut opened = Vec::new();
        let tree = pieces.tree();
        for (at, piece) in pieces.all().iter().enumerate() {
            if wanted(at, piece.kind) == Some(true) {
                opened.push(OpenPiece {
                    kind: piece.kind,
                    bytes: Bytes::copy_from_slice(piece.bytes),
                    proof: tree.open(at)?,
                });
            }
        }
        let shows = match reader {
            Reader::Recipient(_) => opened.iter().any(|one| one.kind == PieceKind::Release),
            Reader::Originator(_) | Reader::Party => !opened.is_empty(),
        };
        shows.then_some(RecordOpening { pieces: opened })
    }
}

impl RecordOpening {
    /// The commitment to which all pieces belong, and what they show.
    pub fn verify(&self) -> Result<(Commitment, Shown), InvalidOpening> {
        if self.pieces.is_empty() || self.pieces.len() > MAX_PIECES {
            return Err(InvalidOpening::Pieces);
        }
        // A piece that is shown twice would count twice.
        let places: BTreeSet<u32> = self.pieces.iter().map(|one| one.proof.index).collect();
        if places.len() != self.pieces.len() {
            return Err(InvalidOpening::Pieces);
        }
        let mut commitment = None;
        let mut shown = Shown::default();
        for one in &self.pieces {
            let piece = Piece {
                kind: one.kind,
                bytes: &one.bytes,
            };
            let leads = one.proof.commitment(&piece);
            let leads = leads.map_err(|_| InvalidOpening::Apart)?;
            if *commitment.get_or_insert(leads) != leads {
                return Err(InvalidOpening::Apart);
            }
            super::wire::read_piece(&mut shown, one)?;
        }
        commitment
            .map(|commitment| (commitment, shown))
            .ok_or(InvalidOpening::Pieces)
    }
}
