//! Where the log lives: an ordered sequence of records, appended in groups.
//!
//! Two methods matter. An engine knows bytes and positions; what they mean is the fold's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::commitment::ENTRY_BYTES;
use super::record::Record;
use crate::proof::merkle::{self, leaf_hash};
use crate::proof::{Digest, TILE_WIDTH, TileKind, TilePath};

/// A record as bytes, with the bodies that belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// A serialized `Record` (proto/entente/v1/ledger.proto).
    pub record: Bytes,
    /// A serialized `Bodies`, kept beside the log so that it can be erased; `None` where the
    /// record has no bodies.
    pub bodies: Option<Bytes>,
    /// What the log's tree is made of: the record's commitment, kept apart from it so that damage
    /// to the one shows against the other.
    pub entry: [u8; ENTRY_BYTES],
    /// Positions of earlier records whose bodies are erased when this one is appended.
    pub erases: Vec<u64>,
}

impl StoredRecord {
    /// Bytes of the record with its bodies.
    pub fn bytes(&self) -> usize {
        self.record.len() + self.bodies.as_ref().map_or(0, Bytes::len)
    }

    /// The first of these records, up to the one with which they have so many bytes; one at least. No more of them are
    /// asked for.
    pub fn within(
        bytes: usize,
        records: impl Iterator<Item = Result<Self, EngineError>>,
    ) -> Result<Vec<Self>, EngineError> {
        let (mut all, mut size) = (Vec::new(), 0);
        for one in records {
            let one = one?;
            size += one.bytes();
            all.push(one);
            if size >= bytes {
                break;
            }
        }
        Ok(all)
    }
}

/// Why an engine did not do what was asked.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Somebody else appended first. Nothing was written; fold what is new and decide again.
    #[error("the log has {actual} records, not {expected}")]
    Conflict {
        /// What the caller thought.
        expected: u64,
        /// What is so.
        actual: u64,
    },
    /// There is no room, and nothing was written. The same append may succeed later.
    #[error("the disk is full: {0}")]
    Full(String),
    /// A shared log does not answer. Whether the group was written shows when it does again: take on what is
    /// new, and the same append may be tried anew.
    #[error("the log cannot be reached: {0}")]
    Unavailable(String),
    /// Whether the group was written is unknown. Final: stop, and start again from what is there.
    #[error("the log could not be written, and its state is unknown: {0}")]
    Unknown(String),
    /// What is stored cannot be read.
    #[error("the log cannot be read at position {position}: {reason}")]
    Unreadable {
        /// Where.
        position: u64,
        /// Why.
        reason: String,
    },
}

/// The ordered log.
///
/// Contract: `append` returns `Ok` only after the whole group, bodies included, is durable; a
/// crash leaves either the whole group or nothing of it, also of what it erases. There is one appender at a time; readers
/// may run beside it and see only whole groups.
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Records in the log.
    fn size(&self) -> u64;

    /// Appends a group after the first `expected` records, durably, and returns the new size.
    fn append(&self, expected: u64, group: &[StoredRecord]) -> Result<u64, EngineError>;

    /// Says beforehand, by position, which bodies the next group is likely to have: an engine that stores them apart
    /// may begin, and tells whether it does. It counts only as far as the group has the same.
    fn prepare(&self, _bodies: BTreeMap<u64, Bytes>) -> bool {
        false
    }

    /// Whether others append, too. Where they do, `append` of an empty group succeeds only where nobody has
    /// appended anything else meanwhile, wherever they are.
    fn is_shared(&self) -> bool {
        false
    }

    /// Where others append, waits a while for whoever is about to, and tells them that this one is. One that came too late
    /// so many times in a row waits for nobody, and tells them that. It saves work and promises nothing.
    fn take_turn(&self, lost: u32) -> Result<(), EngineError> {
        let _ = lost;
        Ok(())
    }

    /// Takes on what others have appended, as far as it can be seen from here, and returns the size.
    fn catch_up(&self) -> Result<u64, EngineError> {
        Ok(self.size())
    }

    /// Up to `limit` of others' records from a position on, where the engine has just read and compared them with what they
    /// commit to, and still has them so; none where it has not: `read` always has the bytes.
    fn opened(&self, _from: u64, _limit: usize) -> Vec<Arc<Record>> {
        Vec::new()
    }

    /// The most bytes of records that fit into one group.
    fn group_bytes(&self) -> usize {
        usize::MAX
    }

    /// Up to `limit` records from a position on, in order.
    fn read(&self, from: u64, limit: usize) -> Result<Vec<Bytes>, EngineError>;

    /// Up to `limit` entries of the log's tree from a position on, in order.
    fn entries(&self, from: u64, limit: usize) -> Result<Vec<[u8; ENTRY_BYTES]>, EngineError>;

    /// The hashes of a tile of the log's tree, as wide as its path says. An engine that keeps the roots
    /// of whole tiles need not read all entries below one.
    fn tile(&self, path: &TilePath) -> Result<Vec<Digest>, EngineError> {
        let first = path.index() * u64::from(TILE_WIDTH);
        let hashes = first..first + u64::from(path.width());
        let TileKind::Hashes(level @ 1..) = path.kind() else {
            let entries = self.entries(first, usize::from(path.width()))?;
            return Ok(entries.iter().map(|entry| leaf_hash(&[entry])).collect());
        };
        let below = TileKind::Hashes(level - 1);
        hashes
            .map(|index| {
                let missing = || EngineError::Unreadable {
                    position: index,
                    reason: "there is no such tile".into(),
                };
                let tile = TilePath::new(below, index, TILE_WIDTH).ok_or_else(missing)?;
                Ok(merkle::root(&self.tile(&tile)?))
            })
            .collect()
    }

    /// The bodies that belong to the record at a position; `None` where it has none, or where they
    /// were erased.
    fn bodies(&self, position: u64) -> Result<Option<Bytes>, EngineError>;

    /// Up to `limit` records from a position on as they are stored, in order, where an engine need not look for each:
    /// fewer where they have more than `bytes` with their bodies, but one at least.
    fn stored(
        &self,
        from: u64,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<StoredRecord>, EngineError> {
        let (records, entries) = (self.read(from, limit)?, self.entries(from, limit)?);
        let all = (from..).zip(records).zip(entries);
        let stored = all.map(|((position, record), entry)| {
            Ok(StoredRecord {
                record,
                bodies: self.bodies(position)?,
                entry,
                erases: Vec::new(),
            })
        });
        StoredRecord::within(bytes, stored)
    }
}
