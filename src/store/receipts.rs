//! What a node keeps of the log: receipts, the checkpoints under which they hold, and what its
//! witness cosigned.

use bytes::{Buf, BufMut, Bytes};

use super::error::StoreError;
use super::node::NodeStore;
use crate::ledger::{Receipt, RecordOpening};
use crate::proof::Digest;

/// What a record has to be about for its receipt to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A bulletin of this node's, with this header.
    Published(Digest),
    /// A bulletin that was delivered here, with this header.
    Delivered(Digest),
}

/// A record whose receipt is not here yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unproven {
    /// Where it stands in the log.
    pub position: u64,
    /// The bulletin's id: receipts are found by it.
    pub subject: [u8; 16],
    /// What it has to be about.
    pub expected: Expected,
}

/// A receipt to be kept, under what it is about.
#[derive(Clone, Debug)]
pub struct Proved {
    /// A bulletin's id, or the id of an agreement.
    pub subject: Vec<u8>,
    /// Where the record stands.
    pub position: u64,
    /// What it shows.
    pub opening: RecordOpening,
    /// From its entry upward, to the root of the checkpoint.
    pub path: Vec<Digest>,
}

impl Expected {
    /// SHA-256 of the bulletin's header.
    pub const fn header(&self) -> Digest {
        match self {
            Self::Published(header) | Self::Delivered(header) => *header,
        }
    }
}

impl Unproven {
    pub(super) fn value(&self) -> Vec<u8> {
        let mut value = self.subject.to_vec();
        value.put_u8(u8::from(matches!(self.expected, Expected::Delivered(_))));
        value.put_slice(self.expected.header().as_bytes());
        value
    }

    fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let (subject, rest) = value.split_first_chunk()?;
        let (kind, header) = rest.split_first()?;
        let header = Digest::try_from(header).ok()?;
        Some(Self {
            position: u64::from_be_bytes(key.try_into().ok()?),
            subject: *subject,
            expected: match kind {
                0 => Expected::Published(header),
                _ => Expected::Delivered(header),
            },
        })
    }
}

impl NodeStore {
    /// Records in the first `below` of the log whose receipts are not here, from a position on.
    pub fn unproven(
        &self,
        from: u64,
        below: u64,
        limit: usize,
    ) -> Result<Vec<Unproven>, StoreError> {
        let mut found = Vec::new();
        if from >= below {
            return Ok(found);
        }
        let range = from.to_be_bytes()..below.to_be_bytes();
        for one in self.unproven.range(range).take(limit) {
            let (key, value) = one.into_inner()?;
            let read = Unproven::read(&key, &value);
            found.push(read.ok_or(StoreError::Damaged("unproven record"))?);
        }
        Ok(found)
    }

    /// Keeps receipts, and the checkpoint under which all of them hold, durably.
    pub fn prove(&self, proved: &[Proved], size: u64, checkpoint: &str) -> Result<(), StoreError> {
        self.write(|_, batch| {
            for one in proved {
                let key = receipt_key(&one.subject, one.position);
                batch.insert(&self.receipts, key, receipt_value(one, size));
                batch.remove(&self.unproven, one.position.to_be_bytes());
            }
            if !proved.is_empty() {
                batch.insert(&self.checkpoints, size.to_be_bytes(), checkpoint);
            }
            Ok(())
        })
    }

    /// Whether the receipt about a subject at a position is here.
    pub fn has_receipt(&self, subject: &[u8], position: u64) -> Result<bool, StoreError> {
        Ok(self.receipts.contains_key(receipt_key(subject, position))?)
    }

    /// The receipts about a bulletin or an agreement, by position.
    pub fn receipts(&self, subject: &[u8]) -> Result<Vec<Receipt>, StoreError> {
        let mut found = Vec::new();
        let length = receipt_key(subject, 0).len();
        for one in self.receipts.prefix(subject) {
            let (key, value) = one.into_inner()?;
            // A longer subject may begin like this one.
            if key.len() == length {
                found.push(self.receipt(&key, &value)?);
            }
        }
        Ok(found)
    }

    /// Up to `limit` receipts after a key, each with its own: for whoever looks at all of them.
    pub fn receipts_after(
        &self,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Receipt)>, StoreError> {
        let mut found = Vec::new();
        let mut from = after.to_vec();
        from.push(0);
        for one in self.receipts.range(from..).take(limit) {
            let (key, value) = one.into_inner()?;
            found.push((key.to_vec(), self.receipt(&key, &value)?));
        }
        Ok(found)
    }

    /// A stored receipt, with the checkpoint under which it holds.
    fn receipt(&self, key: &[u8], value: &[u8]) -> Result<Receipt, StoreError> {
        let damaged = || StoreError::Damaged("receipt");
        let (_, position) = key.split_last_chunk().ok_or_else(damaged)?;
        let read = read_receipt(Bytes::copy_from_slice(value));
        let (size, path, opening) = read.ok_or_else(damaged)?;
        let note = self.checkpoints.get(size.to_be_bytes())?;
        let note = note.and_then(|note| String::from_utf8(note.to_vec()).ok());
        Ok(Receipt {
            opening,
            position: u64::from_be_bytes(*position),
            path,
            checkpoint: note.ok_or_else(damaged)?,
        })
    }

    /// How many receipts are here, and for how many records they are missing.
    pub fn receipt_counts(&self) -> Result<(usize, usize), StoreError> {
        Ok((self.receipts.len()?, self.unproven.len()?))
    }

    /// The checkpoint of a log that this node's witness cosigned last.
    pub fn cosigned(&self, origin: &str) -> Result<Option<String>, StoreError> {
        let note = self.witness.get(origin)?;
        note.map(|note| String::from_utf8(note.to_vec()))
            .transpose()
            .map_err(|_| StoreError::Damaged("checkpoint"))
    }

    /// Keeps a checkpoint as the one that was cosigned last, durably. Whoever calls it has compared it
    /// with the one before, and lets nobody else in between.
    pub fn cosign(&self, origin: &str, note: &str) -> Result<(), StoreError> {
        self.write(|_, batch| {
            batch.insert(&self.witness, origin, note);
            Ok(())
        })
    }
}

fn receipt_key(subject: &[u8], position: u64) -> Vec<u8> {
    [subject, &position.to_be_bytes()].concat()
}

/// `u64 size || u8 hashes || 32 bytes each || opening`, big-endian.
fn receipt_value(proved: &Proved, size: u64) -> Vec<u8> {
    let mut value = Vec::new();
    value.put_u64(size);
    value.put_u8(u8::try_from(proved.path.len()).unwrap_or(u8::MAX));
    for hash in &proved.path {
        value.put_slice(hash.as_bytes());
    }
    value.put_slice(&proved.opening.to_bytes());
    value
}

fn read_receipt(mut value: Bytes) -> Option<(u64, Vec<Digest>, RecordOpening)> {
    let size = value.try_get_u64().ok()?;
    let count = usize::from(value.try_get_u8().ok()?);
    let mut path = Vec::with_capacity(count);
    for _ in 0..count {
        if value.len() < 32 {
            return None;
        }
        path.push(Digest::try_from(value.split_to(32).as_ref()).ok()?);
    }
    Some((size, path, RecordOpening::from_bytes(&value).ok()?))
}
