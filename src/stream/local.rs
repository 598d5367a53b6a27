//! This broker's copy of the stream: the log in an embedded engine, and notes beside it. It can be deleted while
//! the broker does not run; the place in the stream that it reaches is written with each group, so the two never
//! disagree. A power failure may take the end of both, and the stream gives it back.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::contents::Name;
use super::error::StreamError;
use super::wire::StreamMessage;
use crate::ledger::{Engine, EngineError, Fact, Record, StoredRecord};
use crate::proof::Digest;
use crate::store::{EmbeddedEngine, StoreError};

/// The last messages that are kept as they were sent: what the servers lose of these is given to them again.
pub(super) const RECENT: u64 = 4_096;

/// Notes read at once.
const PAGE: usize = 4_096;

/// Notes: the place reached, the last messages, the objects of bodies, those to be erased.
const TAIL: &[u8] = b"t";
const MESSAGE: u8 = b'm';
const OBJECT: u8 = b'o';
const ERASED: u8 = b'e';

/// The copy.
#[derive(Debug)]
pub(super) struct LocalCopy {
    engine: EmbeddedEngine,
    /// Held while bodies that were fetched are kept, and while they are erased.
    fetched: Mutex<()>,
}

impl LocalCopy {
    pub(super) fn open(path: &Path) -> Result<Self, StreamError> {
        Ok(Self {
            engine: EmbeddedEngine::open_copy(path)?,
            fetched: Mutex::new(()),
        })
    }

    /// The log.
    pub(super) fn engine(&self) -> &EmbeddedEngine {
        &self.engine
    }

    /// The last message taken on, by sequence and hash; 0: none.
    pub(super) fn tail(&self) -> Result<(u64, Digest), StreamError> {
        let Some(bytes) = self.engine.note(TAIL)? else {
            if self.engine.size() > 0 {
                let what = "copy of a stream: it has records and no place; delete the directory";
                return Err(StoreError::Damaged(what).into());
            }
            return Ok((0, Digest([0; 32])));
        };
        let damaged = || StoreError::Damaged("place in the stream");
        let (sequence, hash) = bytes.split_at_checked(8).ok_or_else(damaged)?;
        let sequence = sequence.try_into().map_err(|_| damaged())?;
        let hash = Digest::try_from(hash).map_err(|_| damaged())?;
        Ok((u64::from_be_bytes(sequence), hash))
    }

    /// A message as it was sent, where it is one of the last.
    pub(super) fn message(&self, sequence: u64) -> Result<Option<Bytes>, StreamError> {
        Ok(self.engine.note(&key(MESSAGE, sequence))?)
    }

    /// The hashes of the last messages before this one, as far as they say something.
    pub(super) fn chain(&self, tail: u64) -> Result<VecDeque<Digest>, StreamError> {
        let from = tail.saturating_sub(RECENT);
        let mut chain = VecDeque::new();
        for sequence in from..tail {
            let message = self.message(sequence)?;
            chain.extend(message.and_then(|bytes| StreamMessage::hash_of(&bytes)));
        }
        Ok(chain)
    }

    /// A message that was taken on must be what it was.
    pub(super) fn recognise(&self, sequence: u64, bytes: &Bytes) -> Result<(), StreamError> {
        match self.message(sequence)? {
            Some(kept) if kept != *bytes => Err(StreamError::Forked { sequence }),
            // Older ones are not kept; the chain holds them.
            _ => Ok(()),
        }
    }

    /// Keeps messages that follow one another, from a sequence on, with the places they have; whether they erase
    /// something. One write: many that are missing come at once.
    pub(super) fn keep(&self, messages: &[StreamMessage], first: u64) -> Result<bool, StreamError> {
        let (Some(start), Some(last)) = (messages.first(), messages.last()) else {
            return Ok(false);
        };
        let reached = first + messages.len() as u64 - 1;
        let tail = place(reached, &last.hash);
        let mut notes = vec![(Bytes::from_static(TAIL), Some(tail))];
        let mut objects: BTreeMap<u64, Bytes> = BTreeMap::new();
        for (sequence, message) in (first..).zip(messages) {
            notes.push((key(MESSAGE, sequence), Some(message.bytes.clone())));
            if let Some(old) = sequence.checked_sub(RECENT) {
                notes.push((key(MESSAGE, old), None));
            }
            let name = Bytes::copy_from_slice(&message.id);
            objects.extend(message.with_bodies.iter().map(|at| (*at, name.clone())));
        }
        let named = objects.iter();
        notes.extend(named.map(|(at, name)| (key(OBJECT, *at), Some(name.clone()))));
        let _guard = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut erases = false;
        let records = messages.iter().flat_map(|message| &message.records);
        for position in records.flat_map(|one| &one.erases) {
            let named = match objects.get(position) {
                Some(name) => Some(name.clone()),
                None => self.engine.note(&key(OBJECT, *position))?,
            };
            if let Some(name) = named {
                notes.push((key(ERASED, *position), Some(name)));
                notes.push((key(OBJECT, *position), None));
                erases = true;
            }
        }
        let records: Vec<StoredRecord> = messages
            .iter()
            .flat_map(|message| message.records.iter().cloned())
            .collect();
        self.engine.append_beside(start.first, &records, &notes)?;
        Ok(erases)
    }

    /// Notes that a message says nothing: what follows is chained to the one before it.
    pub(super) fn pass_over(
        &self,
        sequence: u64,
        hash: &Digest,
        bytes: &Bytes,
    ) -> Result<(), StreamError> {
        let mut notes = vec![
            (Bytes::from_static(TAIL), Some(place(sequence, hash))),
            (key(MESSAGE, sequence), Some(bytes.clone())),
        ];
        if let Some(old) = sequence.checked_sub(RECENT) {
            notes.push((key(MESSAGE, old), None));
        }
        self.engine.append_beside(self.engine.size(), &[], &notes)?;
        Ok(())
    }

    /// Whether all that a message says is in the log already.
    pub(super) fn has(&self, message: &StreamMessage) -> Result<bool, StreamError> {
        let count = message.records.len();
        let there = self.engine.entries(message.first, count)?;
        let said = message.records.iter().map(|one| one.entry);
        Ok(message.first <= self.engine.size() && said.eq(there))
    }

    /// The name of the bodies of a record; `None` where it has none, or they were erased.
    pub(super) fn object(&self, position: u64) -> Result<Option<Name>, StreamError> {
        let name = self.engine.note(&key(OBJECT, position))?;
        let name = name.map(|name| Name::try_from(name.as_ref()));
        let damaged = |_| StoreError::Damaged("object name");
        Ok(name.transpose().map_err(damaged)?)
    }

    /// The names of all bodies that are kept, or still to be erased.
    pub(super) fn names(&self) -> Result<HashSet<Name>, StreamError> {
        let mut names = HashSet::new();
        for kind in [OBJECT, ERASED] {
            let mut from = Bytes::copy_from_slice(&[kind]);
            loop {
                let notes = self.engine.notes(&[kind], &from, PAGE)?;
                for (_, name) in &notes {
                    names.extend(Name::try_from(name.as_ref()));
                }
                let Some((last, _)) = notes.last().filter(|_| notes.len() == PAGE) else {
                    break;
                };
                from = [last.as_ref(), &[0]].concat().into();
            }
        }
        Ok(names)
    }

    /// Positions from one on whose bodies are kept, in order.
    pub(super) fn kept(&self, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let notes = self.engine.notes(&[OBJECT], &key(OBJECT, from), limit)?;
        notes.iter().map(|(key, _)| position(key)).collect()
    }

    /// Keeps bodies that were fetched, where they are still to be had.
    pub(super) fn put_bodies(&self, bodies: &BTreeMap<u64, Bytes>) -> Result<(), StreamError> {
        let _guard = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        for (position, bodies) in bodies {
            if self.object(*position)?.is_some() {
                self.engine.put_bodies(*position, bodies)?;
            }
        }
        Ok(())
    }

    /// Bodies must be those that the record commits to.
    pub(super) fn check_bodies(&self, position: u64, bodies: &Bytes) -> Result<(), StreamError> {
        let unreadable = |reason: String| EngineError::Unreadable { position, reason };
        let record = self.engine.read(position, 1)?.pop();
        let record = record.ok_or_else(|| unreadable("it is missing".into()))?;
        let record = Record::from_bytes(&record).map_err(|error| unreadable(error.to_string()))?;
        match &record.fact {
            Fact::Accepted(accepted) if accepted.commits_to(bodies) => Ok(()),
            _ => {
                let reason =
                    format!("the servers have other bodies than record {position} commits to");
                Err(StreamError::Unavailable(reason))
            }
        }
    }

    /// What is erased and may still be on the servers.
    pub(super) fn erased(&self) -> Result<BTreeMap<Name, BTreeSet<u64>>, StreamError> {
        let mut objects: BTreeMap<Name, BTreeSet<u64>> = BTreeMap::new();
        for (key, name) in self.engine.notes(&[ERASED], &[ERASED], usize::MAX)? {
            let name = Name::try_from(name.as_ref()).map_err(|_| StoreError::Damaged("note"))?;
            objects.entry(name).or_default().insert(position(&key)?);
        }
        Ok(objects)
    }

    /// They are not any more.
    pub(super) fn is_gone(&self, positions: &BTreeSet<u64>) -> Result<(), StreamError> {
        for position in positions {
            self.engine.remove_note(&key(ERASED, *position))?;
        }
        Ok(())
    }
}

fn key(kind: u8, number: u64) -> Bytes {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    Bytes::copy_from_slice(&key)
}

/// A place in the stream: the sequence of a message, and the hash of the last that said something.
fn place(sequence: u64, hash: &Digest) -> Bytes {
    let mut place = sequence.to_be_bytes().to_vec();
    place.extend_from_slice(hash.as_bytes());
    place.into()
}

fn position(key: &[u8]) -> Result<u64, StoreError> {
    let number = key.get(1..).and_then(|rest| rest.try_into().ok());
    number
        .map(u64::from_be_bytes)
        .ok_or(StoreError::Damaged("note"))
}
