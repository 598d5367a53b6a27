//! This broker's copy of the stream: the log in an embedded engine, and notes beside it. It can be deleted while
//! the broker does not run; the place in the stream that it reaches is written with each group, so the two never
//! disagree. A power failure may take the end of both, and the stream gives it back.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::contents::Name;
use super::error::StreamError;
use super::wire::{BEGINNING, Link, OLDEST, StreamMessage};
use crate::ledger::{Engine, EngineError, Fact, Record, StoredRecord};
use crate::proof::{Digest, PublicKey};
use crate::store::{EmbeddedEngine, StoreError};

/// The last messages that are kept as they were sent: what the servers lose of these is given to them again.
pub(super) const RECENT: u64 = 4_096;

/// Notes read at once.
const PAGE: usize = 4_096;

/// Notes: the place reached, the last messages, the objects of bodies, those to be erased.
const TAIL: &[u8] = b"t";
/// The newest format of messages that were taken on.
const FORMAT: &[u8] = b"f";
const MESSAGE: u8 = b'm';
const OBJECT: u8 = b'o';
const ERASED: u8 = b'e';

/// The first byte of a note about a message that says nothing, before its SHA-256: no message begins with it.
const NOTHING: u8 = 0;

/// What is kept of one of the last messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It, as it was sent.
    Message(Bytes),
    /// That it says nothing, and its hash: whoever sends what is no broker's may send much.
    Nothing(Digest),
}

impl Kept {
    fn to_note(&self) -> Bytes {
        match self {
            Self::Message(bytes) => bytes.clone(),
            Self::Nothing(hash) => [&[NOTHING], hash.as_bytes().as_slice()].concat().into(),
        }
    }
}

/// The name of a record's bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedBodies {
    /// They can be had.
    Kept(Name),
    /// They are erased, and may still be on the servers.
    Erased(Name),
}

/// The copy.
#[derive(Debug)]
pub(super) struct LocalCopy {
    engine: EmbeddedEngine,
    /// Held while bodies that were fetched are kept, and while they are erased.
    fetched: Mutex<()>,
}

impl LocalCopy {
    /// Opens it, where so many bytes of its disk are to stay free.
    pub(super) fn open(path: &Path, reserve: Option<u64>) -> Result<Self, StreamError> {
        let mut engine = EmbeddedEngine::open_copy(path)?;
        if let Some(bytes) = reserve {
            engine.set_reserve(bytes);
        }
        Ok(Self {
            engine,
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
            return Ok((0, BEGINNING));
        };
        let damaged = || StoreError::Damaged("place in the stream");
        let (sequence, hash) = bytes.split_at_checked(8).ok_or_else(damaged)?;
        let sequence = sequence.try_into().map_err(|_| damaged())?;
        let hash = Digest::try_from(hash).map_err(|_| damaged())?;
        Ok((u64::from_be_bytes(sequence), hash))
    }

    /// The newest format of messages that were taken on.
    pub(super) fn format(&self) -> Result<u32, StreamError> {
        let Some(note) = self.engine.note(FORMAT)? else {
            return Ok(OLDEST);
        };
        let format = note.as_ref().try_into().map(u32::from_be_bytes);
        Ok(format.map_err(|_| StoreError::Damaged("format"))?)
    }

    /// A message, where it is one of the last.
    pub(super) fn message(&self, sequence: u64) -> Result<Option<Kept>, StreamError> {
        let note = self.engine.note(&key(MESSAGE, sequence))?;
        Ok(note.map(|note| match note.as_ref() {
            [NOTHING, hash @ ..] => {
                Digest::try_from(hash).map_or(Kept::Message(note), Kept::Nothing)
            }
            _ => Kept::Message(note),
        }))
    }

    /// The last messages up to this one, as far as they say something, by sequence.
    pub(super) fn chain(&self, tail: u64) -> Result<VecDeque<(u64, Link)>, StreamError> {
        let from = tail.saturating_sub(RECENT) + 1;
        let mut chain = VecDeque::new();
        for sequence in from..=tail {
            if let Some(Kept::Message(bytes)) = self.message(sequence)? {
                let link = StreamMessage::link_of(&bytes);
                chain.extend(link.map(|link| (sequence, link)));
            }
        }
        Ok(chain)
    }

    /// A message that was taken on must be what it was. Of those that say nothing, one is like the other.
    pub(super) fn recognise(
        &self,
        sequence: u64,
        bytes: &Bytes,
        key: &PublicKey,
    ) -> Result<(), StreamError> {
        let is_known = match self.message(sequence)? {
            Some(Kept::Message(kept)) => kept == *bytes,
            Some(Kept::Nothing(hash)) => {
                let opened = StreamMessage::open(bytes, key);
                Digest::of(bytes) == hash || opened.is_err_and(|error| error.is_nobodys())
            }
            // Older ones are not kept; the chain holds them.
            None => true,
        };
        if is_known {
            Ok(())
        } else {
            Err(StreamError::Forked { sequence })
        }
    }

    /// Keeps messages that follow one another, from a sequence on, with the places they have; whether they erase
    /// something. One write: many that are missing come at once. Of a stream that reaches to a sequence, the last are
    /// kept as they are.
    pub(super) fn keep(
        &self,
        messages: &[StreamMessage],
        first: u64,
        until: u64,
    ) -> Result<bool, StreamError> {
        let (Some(start), Some(last)) = (messages.first(), messages.last()) else {
            return Ok(false);
        };
        let reached = first + messages.len() as u64 - 1;
        let tail = place(reached, &last.hash);
        let mut notes = vec![(Bytes::from_static(TAIL), Some(tail))];
        let mut objects: BTreeMap<u64, Bytes> = BTreeMap::new();
        for (sequence, message) in (first..).zip(messages) {
            if sequence + RECENT > until {
                notes.push((key(MESSAGE, sequence), Some(message.bytes.clone())));
            }
            if let Some(old) = sequence.checked_sub(RECENT) {
                notes.push((key(MESSAGE, old), None));
            }
            let name = Bytes::copy_from_slice(&message.id);
            objects.extend(message.with_bodies.iter().map(|at| (*at, name.clone())));
        }
        let newest = messages.iter().map(|message| message.format).max();
        if let Some(newest) = newest.filter(|newest| *newest > OLDEST) {
            let newest = newest.max(self.format()?);
            let note = Bytes::copy_from_slice(&newest.to_be_bytes());
            notes.push((Bytes::from_static(FORMAT), Some(note)));
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
        let note = Kept::Nothing(Digest::of(bytes)).to_note();
        let mut notes = vec![
            (Bytes::from_static(TAIL), Some(place(sequence, hash))),
            (key(MESSAGE, sequence), Some(note)),
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

    /// The names of bodies of records from one on up to another, without it.
    pub(super) fn named(
        &self,
        from: u64,
        until: u64,
    ) -> Result<BTreeMap<u64, NamedBodies>, StreamError> {
        let mut named = BTreeMap::new();
        let limit = usize::try_from(until - from).unwrap_or(usize::MAX);
        // One that is erased meanwhile is erased.
        for kind in [OBJECT, ERASED] {
            for (key, name) in self.engine.notes(&[kind], &key(kind, from), limit)? {
                let position = position(&key)?;
                if let (true, Ok(name)) = (position < until, Name::try_from(name.as_ref())) {
                    let one = match kind {
                        ERASED => NamedBodies::Erased(name),
                        _ => NamedBodies::Kept(name),
                    };
                    named.insert(position, one);
                }
            }
        }
        Ok(named)
    }

    /// Keeps records of a snapshot, with the names of their bodies. It is a copy when it has a place, too.
    pub(super) fn fill(
        &self,
        first: u64,
        records: &[StoredRecord],
        named: &[(u64, NamedBodies)],
    ) -> Result<(), StreamError> {
        let notes = named.iter().map(|(position, named)| match named {
            NamedBodies::Kept(name) => (key(OBJECT, *position), name),
            NamedBodies::Erased(name) => (key(ERASED, *position), name),
        });
        let notes: Vec<(Bytes, Option<Bytes>)> = notes
            .map(|(key, name)| (key, Some(Bytes::copy_from_slice(name))))
            .collect();
        self.engine.append_beside(first, records, &notes)?;
        Ok(())
    }

    /// Keeps one of the last messages before the place that a snapshot reaches.
    pub(super) fn note(&self, sequence: u64, kept: &Kept) -> Result<(), StreamError> {
        let notes = [(key(MESSAGE, sequence), Some(kept.to_note()))];
        self.engine.append_beside(self.engine.size(), &[], &notes)?;
        Ok(())
    }

    /// Notes that one of these says nothing.
    pub(super) fn say_nothing(&self, sequence: u64) -> Result<(), StreamError> {
        match self.message(sequence)? {
            Some(Kept::Message(bytes)) => self.note(sequence, &Kept::Nothing(Digest::of(&bytes))),
            _ => Ok(()),
        }
    }

    /// Notes the place that a snapshot reaches, and the newest format of what leads to it.
    pub(super) fn begin(
        &self,
        sequence: u64,
        last: &StreamMessage,
        format: u32,
    ) -> Result<(), StreamError> {
        let mut notes = vec![
            (Bytes::from_static(TAIL), Some(place(sequence, &last.hash))),
            (key(MESSAGE, sequence), Some(last.bytes.clone())),
        ];
        if format > OLDEST {
            let note = Bytes::copy_from_slice(&format.to_be_bytes());
            notes.push((Bytes::from_static(FORMAT), Some(note)));
        }
        self.engine.append_beside(self.engine.size(), &[], &notes)?;
        Ok(())
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
