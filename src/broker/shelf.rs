//! Committed bulletins as lanes deliver them: those just committed from memory, older ones from the log,
//! many with one look.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::commit::{Inner, Log};
use super::error::BrokerError;
use crate::bulletin::{BulletinId, Part, Sealed, redact};
use crate::decision::Withheld;
use crate::ledger::{Accepted, Engine, EngineError, Fact, Record, StoredRecord, Subject};
use crate::proof::Digest;

/// Bulletins in memory, about.
const ITEMS: usize = 4_096;
/// Records that are read at once stand at most so far from one another: between bulletins there are
/// acknowledgements.
const GAP: u64 = 8;
/// Redactions of one bulletin that are kept as bytes.
const REDACTIONS: usize = 4;

/// A committed bulletin, as lanes deliver it.
#[derive(Debug)]
pub(super) struct Shelved {
    /// The record that accepted it, and its position.
    pub(super) record: Arc<Record>,
    pub(super) position: u64,
    pub(super) sealed: Sealed,
    /// What a decision looks at.
    subject: OnceLock<Subject>,
    /// Its envelope without certain parts: made for the first recipient, and the same for others.
    envelopes: Mutex<Vec<(Withheld, Envelope)>>,
}

/// A bulletin as one recipient gets it.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    /// A serialized `Envelope`.
    pub(super) bytes: Bytes,
    /// Indexes of all parts that came as hashes.
    pub(super) withheld: Withheld,
}

impl Shelved {
    pub(super) fn new(record: Arc<Record>, position: u64, sealed: Sealed) -> Arc<Self> {
        Arc::new(Self {
            record,
            position,
            sealed,
            subject: OnceLock::new(),
            envelopes: Mutex::default(),
        })
    }

    /// What a decision about it looks at; the same for all recipients.
    pub(super) fn subject(&self, accepted: &Accepted) -> &Subject {
        self.subject.get_or_init(|| Subject::of(accepted))
    }

    /// SHA-256 of the bulletin's header.
    pub(super) fn header_hash(&self) -> Digest {
        match &self.record.fact {
            Fact::Accepted(accepted) => accepted.header_hash(),
            _ => self.sealed.header_hash(),
        }
    }

    /// The bulletin without these parts.
    pub(super) fn envelope(&self, withheld: &Withheld) -> Envelope {
        // Every change is one step: a panic elsewhere leaves the list whole.
        let mut made = self
            .envelopes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, envelope)) = made.iter().find(|(parts, _)| parts == withheld) {
            return envelope.clone();
        }
        let redacted = redact(&self.sealed, withheld);
        let parts = (0u32..).zip(&redacted.parts);
        let envelope = Envelope {
            bytes: redacted.to_bytes(),
            // What was erased is withheld, too.
            withheld: parts
                .filter(|(_, part)| matches!(part, Part::Withheld(_)))
                .map(|(index, _)| index)
                .collect(),
        };
        if made.len() < REDACTIONS {
            made.push((withheld.clone(), envelope.clone()));
        }
        envelope
    }
}

#[derive(Clone, Debug)]
pub(super) struct ByBytes;

impl Weighter<u64, Arc<Shelved>> for ByBytes {
    fn weight(&self, _position: &u64, shelved: &Arc<Shelved>) -> u64 {
        let parts = shelved.sealed.parts.iter().map(|part| match part {
            Part::Open(part) => part.body.len() + 160,
            Part::Withheld(_) => 96,
        });
        // Once as it came and once as it goes.
        let bulletin = parts.sum::<usize>() + shelved.sealed.header.len();
        (2 * bulletin + 1_024) as u64
    }
}

/// Bulletins in memory, bounded by their weight.
pub(super) type Shelf = Cache<u64, Arc<Shelved>, ByBytes>;

/// An empty shelf for so many bytes.
pub(super) fn shelf(bytes: u64) -> Shelf {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(ITEMS)
        .weight_capacity(bytes)
        // What was just committed is what lanes want next. As it comes, the cache gives what nobody has asked
        // for a thirtieth of its room only.
        .hot_allocation(0.1)
        .ghost_allocation(0.0)
        .build();
    let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
    match options {
        Ok(options) => Cache::with_options(options, ByBytes, hasher, lifecycle),
        // Only where one of them is missing.
        Err(_) => Cache::with_weighter(ITEMS, bytes, ByBytes),
    }
}

impl Log {
    /// The bulletins accepted at these positions, in their order, or the first few of them.
    pub(super) async fn shelved(
        &self,
        positions: Vec<u64>,
    ) -> Result<Vec<Arc<Shelved>>, BrokerError> {
        let shelf = &self.inner.shelf;
        let found: Vec<_> = positions.iter().map_while(|at| shelf.get(at)).collect();
        if !found.is_empty() || positions.is_empty() {
            return Ok(found);
        }
        let inner = Arc::clone(&self.inner);
        let read = tokio::task::spawn_blocking(move || inner.read_shelved(&positions));
        read.await.map_err(|_| BrokerError::Closed)?
    }

    /// The record at a position; `None` beyond the log.
    pub(super) fn record(&self, position: u64) -> Result<Option<Arc<Record>>, BrokerError> {
        if let Some(shelved) = self.inner.shelf.get(&position)
            && shelved.position == position
        {
            return Ok(Some(Arc::clone(&shelved.record)));
        }
        let Some(bytes) = self.inner.engine.read(position, 1)?.pop() else {
            return Ok(None);
        };
        let record = Record::from_bytes(&bytes);
        let record = record.map_err(|error| BrokerError::Record { position, error })?;
        Ok(Some(Arc::new(record)))
    }

    /// The record that accepted a bulletin; `None` where none did.
    pub(super) async fn accepted(
        &self,
        id: &BulletinId,
    ) -> Result<Option<Arc<Record>>, BrokerError> {
        let Some(seen) = self.state().seen(id) else {
            return Ok(None);
        };
        let shelved = self.shelved(vec![seen.position]).await?;
        Ok(shelved.first().map(|one| Arc::clone(&one.record)))
    }
}

impl Inner {
    fn read_shelved(&self, positions: &[u64]) -> Result<Vec<Arc<Shelved>>, BrokerError> {
        let near = |one: &u64, next: &u64| *next > *one && next - one <= GAP;
        let mut all = Vec::with_capacity(positions.len());
        for run in positions.chunk_by(near) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let limit = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
            let mut stored: Vec<Option<StoredRecord>> = self
                .engine
                .stored(*first, limit)?
                .into_iter()
                .map(Some)
                .collect();
            for position in run {
                let at = usize::try_from(position - first).unwrap_or(usize::MAX);
                let one = stored.get_mut(at).and_then(Option::take);
                let one = one.ok_or_else(|| missing(*position))?;
                all.push(self.shelve(*position, &one)?);
            }
        }
        Ok(all)
    }

    fn shelve(&self, position: u64, stored: &StoredRecord) -> Result<Arc<Shelved>, BrokerError> {
        let unreadable = |error| BrokerError::Record { position, error };
        let record = Record::beside(&stored.record, &stored.entry).map_err(unreadable)?;
        // What was let go later is the bulletin that was held.
        if let Some((id, _)) = record.fact.lets_go() {
            let held = self.read_state().seen(&id);
            let held = held.ok_or_else(|| missing(position))?.position;
            let shelved = self.read_shelved(&[held])?.pop();
            return Ok(shelved.ok_or_else(|| missing(held))?);
        }
        let Fact::Accepted(accepted) = &record.fact else {
            let reason = "it is no bulletin".into();
            return Err(EngineError::Unreadable { position, reason }.into());
        };
        let id = accepted.header.id;
        let sealed = accepted.to_sealed(stored.bodies.as_ref());
        let sealed = sealed.map_err(unreadable)?;
        let shelved = Shelved::new(Arc::new(record), position, sealed);
        self.shelf.insert(position, Arc::clone(&shelved));
        // It may have been erased between reading and here.
        if self.read_state().seen(&id).is_some_and(|seen| seen.erased) {
            self.shelf.remove(&position);
        }
        Ok(shelved)
    }
}

fn missing(position: u64) -> EngineError {
    EngineError::Unreadable {
        position,
        reason: "it is missing".into(),
    }
}
