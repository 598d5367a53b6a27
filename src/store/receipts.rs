//! What a node keeps of the log: receipts, the checkpoints under which they hold, and what its
//! witness cosigned.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes};
use fjall::OwnedWriteBatch as WriteBatch;

use super::error::StoreError;
use super::node::NodeStore;
use crate::ledger::{Receipt, RecordOpening};
use crate::proof::Digest;

/// Where it is kept whether receipts were given anew.
const RENEWED: &str = "receipts/renewed";

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

    /// No receipt is expected at a position any more, where what was is the one that is meant.
    pub(super) fn expect_none(
        &self,
        batch: &mut WriteBatch,
        position: u64,
        is_meant: impl Fn(&Unproven) -> bool,
    ) -> Result<(), StoreError> {
        let key = position.to_be_bytes();
        let Some(value) = self.unproven.get(key)? else {
            return Ok(());
        };
        let known = Unproven::read(&key, &value).ok_or(StoreError::Damaged("unproven record"))?;
        if is_meant(&known) {
            batch.remove(&self.unproven, key);
        }
        Ok(())
    }

    /// Keeps receipts, and the checkpoint under which all of them hold, durably. What they are about is
    /// kept for the broker no more.
    pub fn prove(&self, proved: &[Proved], size: u64, checkpoint: &str) -> Result<(), StoreError> {
        self.write(|writer, batch| {
            let mut renewed = false;
            for one in proved {
                let key = receipt_key(&one.subject, one.position);
                renewed |= self.receipts.contains_key(&key)?;
                batch.insert(&self.receipts, key, receipt_value(one, size));
                batch.remove(&self.unproven, one.position.to_be_bytes());
                self.proved(writer, batch, one)?;
            }
            if !proved.is_empty() {
                batch.insert(&self.checkpoints, size.to_be_bytes(), checkpoint);
            }
            if renewed {
                batch.insert(&self.meta, RENEWED, [1]);
            }
            Ok(())
        })
    }

    /// Drops checkpoints under which no receipt holds any more: receipts that are given anew hold under
    /// later ones.
    pub(super) fn drop_unused_checkpoints(&self) -> Result<(), StoreError> {
        let mut used = BTreeSet::new();
        for one in self.receipts.iter() {
            let value = one.value()?;
            let size = value.first_chunk().ok_or(StoreError::Damaged("receipt"))?;
            used.insert(u64::from_be_bytes(*size));
        }
        let mut unused = Vec::new();
        for one in self.checkpoints.iter() {
            let key = one.key()?;
            let size = key.as_ref().try_into().map(u64::from_be_bytes);
            if size.is_ok_and(|size| !used.contains(&size)) {
                unused.push(key);
            }
        }
        self.write(|_, batch| {
            for key in unused {
                batch.remove(&self.checkpoints, key);
            }
            batch.insert(&self.meta, RENEWED, [0]);
            Ok(())
        })
    }

    /// Whether receipts were given anew since the last look at what checkpoints are used.
    pub(super) fn has_unused_checkpoints(&self) -> Result<bool, StoreError> {
        let renewed = self.meta.get(RENEWED)?;
        match renewed {
            Some(value) => Ok(*value != [0]),
            None => Ok(!self.checkpoints.is_empty()?),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulletin::{BulletinId, Precedence};
    use crate::clock::Timestamp;
    use crate::store::{Kept, MAX_KEPT, OutboxState, Outgoing};

    const ID: BulletinId = BulletinId([7; 16]);

    fn proved(position: u64) -> Proved {
        Proved {
            subject: ID.0.to_vec(),
            position,
            opening: RecordOpening::default(),
            path: vec![],
        }
    }

    fn promised(position: u64) -> [(BulletinId, OutboxState); 1] {
        let time = Timestamp::MIN;
        [(ID, OutboxState::Promised { position, time })]
    }

    fn published() -> (tempfile::TempDir, NodeStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = NodeStore::open(directory.path()).unwrap();
        let outgoing = Outgoing {
            id: ID,
            precedence: Precedence::Flash,
            envelope: Bytes::from_static(b"envelope"),
            header: Bytes::from_static(b"header"),
            passes_on: None,
        };
        store.enqueue(&[outgoing], Timestamp::MIN).unwrap();
        (directory, store)
    }

    #[test]
    fn a_promised_bulletin_is_kept_until_it_is_proved() {
        let (directory, store) = published();
        store.settle(&promised(7), Some(3)).unwrap();
        let kept = Kept {
            bulletins: 1,
            bytes: 8,
        };
        assert_eq!(store.kept().unwrap(), kept);
        assert!(store.pending(9).unwrap().is_empty());
        // The log reaches that far: nothing is lost. It does not any more: it is submitted again.
        assert_eq!(store.requeue_from(8).unwrap(), 0);
        assert_eq!(store.requeue_from(7).unwrap(), 1);
        assert_eq!(store.kept().unwrap(), Kept::default());
        assert_eq!(store.unproven(0, 99, 9).unwrap(), []);
        assert_eq!(store.pending(9).unwrap()[0].envelope, "envelope");
        store.settle(&promised(5), Some(3)).unwrap();
        drop(store);
        let store = NodeStore::open(directory.path()).unwrap();
        assert_eq!(store.kept().unwrap(), kept, "counted anew");
        // Of that position only, and of what is there.
        assert_eq!(store.requeue(&[(7, ID), (4, ID)]).unwrap(), 0);
        store.prove(&[proved(5)], 9, "checkpoint").unwrap();
        assert_eq!(store.kept().unwrap(), Kept::default());
        assert_eq!(store.requeue_from(0).unwrap(), 0);
        // Promised again where it is proved: nothing is kept or expected for it.
        store.settle(&promised(5), Some(3)).unwrap();
        assert_eq!(store.kept().unwrap(), Kept::default());
        assert_eq!(store.unproven(0, 99, 9).unwrap(), []);
    }

    #[test]
    fn what_may_have_no_receipt_is_kept_until_its_promise_only() {
        for keep_from in [None, Some(8)] {
            let (_directory, store) = published();
            store.settle(&promised(7), keep_from).unwrap();
            assert_eq!(store.kept().unwrap(), Kept::default());
        }
        let (_directory, store) = published();
        assert_eq!(store.keep_from(9).unwrap(), 9);
        assert_eq!(store.keep_from(12).unwrap(), 9);
        assert_eq!(
            store.keep_from(4).unwrap(),
            4,
            "a log that was cut begins there"
        );
    }

    #[test]
    fn one_position_is_not_promised_to_two_bulletins() {
        let (_directory, store) = published();
        let other = BulletinId([8; 16]);
        let outgoing = Outgoing {
            id: other,
            precedence: Precedence::Flash,
            envelope: Bytes::from_static(b"other"),
            header: Bytes::from_static(b"other"),
            passes_on: None,
        };
        store.enqueue(&[outgoing], Timestamp::MIN).unwrap();
        store.settle(&promised(7), Some(0)).unwrap();
        let [(_, state)] = promised(7);
        let error = store.settle(&[(other, state)], Some(0)).unwrap_err();
        assert!(matches!(error, StoreError::Taken(7)), "{error}");
        assert_eq!(store.kept().unwrap().bulletins, 1);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let directory = tempfile::tempdir().unwrap();
        let store = NodeStore::open(directory.path()).unwrap();
        let id = |at: u8| BulletinId([at; 16]);
        let size = usize::try_from(MAX_KEPT.bytes / 4).unwrap();
        for at in 0..6u8 {
            let outgoing = Outgoing {
                id: id(at),
                precedence: Precedence::Flash,
                envelope: vec![at; size].into(),
                header: Bytes::from_static(b"header"),
                passes_on: None,
            };
            store.enqueue(&[outgoing], Timestamp::MIN).unwrap();
            let (position, time) = (u64::from(at), Timestamp::MIN);
            let promised = OutboxState::Promised { position, time };
            store.settle(&[(id(at), promised)], Some(0)).unwrap();
            assert!(!store.kept().unwrap().exceeds(&MAX_KEPT));
        }
        assert_eq!(store.kept().unwrap().bulletins, 4);
        assert_eq!(
            store
                .requeue(&[(0, id(0)), (1, id(1)), (5, id(5))])
                .unwrap(),
            1
        );
    }

    #[test]
    fn checkpoints_without_receipts_are_dropped() {
        let (directory, store) = published();
        store.prove(&[proved(5)], 9, "nine").unwrap();
        store.prove(&[proved(5)], 12, "twelve").unwrap();
        store.prove(&[proved(6)], 11, "eleven").unwrap();
        assert_eq!(store.checkpoints.len().unwrap(), 3);
        drop(store);
        let store = NodeStore::open(directory.path()).unwrap();
        assert_eq!(store.checkpoints.len().unwrap(), 2);
        let receipts = store.receipts(&ID.0).unwrap();
        let under: Vec<&str> = receipts.iter().map(|one| one.checkpoint.as_str()).collect();
        assert_eq!(under, ["twelve", "eleven"]);
        assert!(!store.has_unused_checkpoints().unwrap());
    }
}
