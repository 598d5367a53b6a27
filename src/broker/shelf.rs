//! Committed bulletins as lanes deliver them: those just committed from memory, older ones from the log,
//! many with one look.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::commit::{Inner, Log};
use super::error::BrokerError;
use crate::bulletin::{BulletinId, Part, Precedence, Sealed};
use crate::decision::Withheld;
use crate::ledger::{Accepted, Engine, EngineError, Fact, Record, StoredRecord, Subject};
use crate::proof::Digest;

/// Bulletins in memory, about.
const ITEMS: usize = 4_096;
/// Records are read together that stand at most so far from one another, for so many bulletins: between
/// those of one lane are acknowledgements, and bulletins that are not for it.
const GAP: u64 = 3;
const TOGETHER: usize = 64;
/// Redactions of one bulletin that are kept as bytes.
const REDACTIONS: usize = 2;

/// A committed bulletin, as lanes deliver it.
#[derive(Debug)]
pub(super) struct Shelved {
    /// The record that accepted it, and its position.
    pub(super) record: Arc<Record>,
    pub(super) position: u64,
    pub(super) sealed: Arc<Sealed>,
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
    pub(super) fn new(record: Arc<Record>, position: u64, sealed: Arc<Sealed>) -> Arc<Self> {
        Arc::new(Self {
            record,
            position,
            sealed,
            subject: OnceLock::new(),
            envelopes: Mutex::default(),
        })
    }

    /// Bytes of the bulletin, about.
    pub(super) fn size(&self) -> usize {
        let parts = self.sealed.parts.iter().map(|part| match part {
            Part::Open(part) => part.body.len() + 160,
            Part::Withheld(_) => 96,
        });
        parts.sum::<usize>() + self.sealed.header.len()
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
        let made = |envelopes: &[(Withheld, Envelope)]| {
            let mut made = envelopes.iter();
            made.find(|(parts, _)| parts == withheld)
                .map(|(_, envelope)| envelope.clone())
        };
        if let Some(envelope) = made(&self.envelopes()) {
            return envelope;
        }
        let (bytes, withheld_now) = self.sealed.to_redacted_bytes(withheld);
        let envelope = Envelope {
            bytes,
            // What was erased is withheld, too.
            withheld: withheld_now.into(),
        };
        let mut envelopes = self.envelopes();
        if envelopes.len() < REDACTIONS && made(&envelopes).is_none() {
            envelopes.push((withheld.clone(), envelope.clone()));
        }
        envelope
    }

    fn envelopes(&self) -> MutexGuard<'_, Vec<(Withheld, Envelope)>> {
        // Every change is one step: a panic elsewhere leaves the list whole.
        self.envelopes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
pub(super) struct ByBytes;

impl Weighter<u64, Arc<Shelved>> for ByBytes {
    fn weight(&self, _position: &u64, shelved: &Arc<Shelved>) -> u64 {
        // Once as it came, and as it goes; its record as bytes and as what they say.
        let record = (2 * shelved.record.bytes.len()).max(1_024);
        ((1 + REDACTIONS) * shelved.size() + record) as u64
    }
}

/// Bulletins in memory, bounded by their weight.
#[derive(Debug)]
pub(super) struct Shelf {
    /// Those just committed, which lanes that keep up want next.
    recent: ByPosition,
    /// Those read again from the log. They have a room of their own, and a small one: a partner that catches up with
    /// a million takes nothing away from those that keep up, and memory that was just in use is quick to use again.
    earlier: ByPosition,
}

type ByPosition = Cache<u64, Arc<Shelved>, ByBytes>;

impl Shelf {
    /// An empty shelf for so many bytes of recent bulletins, and an eighth of it for earlier ones.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            recent: by_position(bytes),
            earlier: by_position(bytes / 8),
        }
    }

    /// The bulletin accepted at a position, where it is here.
    pub(super) fn get(&self, position: u64) -> Option<Arc<Shelved>> {
        let recent = self.recent.get(&position);
        recent.or_else(|| self.earlier.get(&position))
    }

    /// One that was just committed, or stands near the end of the log.
    pub(super) fn put_recent(&self, position: u64, shelved: Arc<Shelved>) {
        self.recent.insert(position, shelved);
    }

    /// One that was read again.
    fn put_earlier(&self, position: u64, shelved: Arc<Shelved>) {
        self.earlier.insert(position, shelved);
    }

    /// Takes it away.
    pub(super) fn remove(&self, position: u64) {
        self.recent.remove(&position);
        self.earlier.remove(&position);
    }
}

fn by_position(bytes: u64) -> ByPosition {
    let options = OptionsBuilder::new()
        .estimated_items_capacity(ITEMS)
        .weight_capacity(bytes)
        // What just came is what lanes want next: as it comes, the cache gives what nobody has asked
        // for a thirtieth of its room only. Nothing is kept that is larger than the other share of a shard.
        .hot_allocation(0.5)
        .shards(1)
        .ghost_allocation(0.0)
        .build();
    let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
    match options {
        Ok(options) => Cache::with_options(options, ByBytes, hasher, lifecycle),
        // Only where one of them is missing.
        Err(_) => Cache::with_weighter(ITEMS, bytes, ByBytes),
    }
}

/// Lanes that may read from the log at once what is not urgent: half of the processors are left to others.
pub(super) fn readers() -> usize {
    (thread::available_parallelism().map_or(1, usize::from) / 2).max(1)
}

impl Log {
    /// The bulletins accepted at these positions, in their order, or the first few of them: from the log no
    /// more than about so many bytes, but one at least. What is not urgent waits for its turn to read: a
    /// partner that catches up leaves half of the processors to others.
    pub(super) async fn shelved(
        &self,
        positions: Vec<u64>,
        bytes: usize,
        precedence: Precedence,
    ) -> Result<Vec<Arc<Shelved>>, BrokerError> {
        let found = self.on_shelf(&positions);
        if !found.is_empty() || positions.is_empty() {
            return Ok(found);
        }
        self.read_shelved(positions, bytes, precedence).await
    }

    /// Those of the bulletins at these positions that are in memory, up to the first that is not.
    pub(super) fn on_shelf(&self, positions: &[u64]) -> Vec<Arc<Shelved>> {
        let shelf = &self.inner.shelf;
        positions.iter().map_while(|at| shelf.get(*at)).collect()
    }

    /// Those of these positions whose bulletins are not in memory; none where more than about so many bytes are.
    pub(super) fn missing(&self, positions: &[u64], bytes: usize) -> Vec<u64> {
        let (mut missing, mut size) = (Vec::new(), 0);
        for position in positions {
            match self.inner.shelf.get(*position) {
                Some(shelved) => size += shelved.size(),
                None => missing.push(*position),
            }
            if size > bytes {
                return Vec::new();
            }
        }
        missing
    }

    /// As [`Log::shelved`], from the log.
    pub(super) async fn read_shelved(
        &self,
        positions: Vec<u64>,
        bytes: usize,
        precedence: Precedence,
    ) -> Result<Vec<Arc<Shelved>>, BrokerError> {
        let inner = Arc::clone(&self.inner);
        let turn = if precedence < Precedence::Immediate {
            let turns = Arc::clone(&self.inner.reading);
            Some(turns.acquire_owned().await)
        } else {
            None
        };
        let read = tokio::task::spawn_blocking(move || {
            // The turn lasts as long as the reading does, also where nobody waits for it any more.
            let _turn = turn;
            inner.read_shelved(&positions, bytes)
        });
        read.await.map_err(|_| BrokerError::Closed)?
    }

    /// Whether a lane that catches up reads from the log at this moment.
    pub(super) fn is_read(&self) -> bool {
        self.inner.reading.available_permits() < readers()
    }

    /// The record at a position; `None` beyond the log.
    pub(super) fn record(&self, position: u64) -> Result<Option<Arc<Record>>, BrokerError> {
        if let Some(shelved) = self.inner.shelf.get(position)
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
        let shelved = self
            .shelved(vec![seen.position], 0, Precedence::Flash)
            .await?;
        Ok(shelved.first().map(|one| Arc::clone(&one.record)))
    }
}

impl Inner {
    /// Those that can be read before one that cannot; its error only where it is the first.
    fn read_shelved(
        &self,
        positions: &[u64],
        bytes: usize,
    ) -> Result<Vec<Arc<Shelved>>, BrokerError> {
        let (mut all, mut size) = (Vec::with_capacity(positions.len()), 0);
        for run in runs(positions) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let limit = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
            // A neighbour that cannot be read is no reason not to read those that are wanted.
            let stored = self.engine.stored(*first, limit, bytes).unwrap_or_default();
            let mut stored: Vec<_> = stored.into_iter().map(Some).collect();
            for position in run {
                if !all.is_empty() && size >= bytes {
                    return Ok(all);
                }
                let at = usize::try_from(position - first).unwrap_or(usize::MAX);
                let stored = stored.get_mut(at).and_then(Option::take);
                // With what was made of it already.
                if let Some(shelved) = self.shelf.get(*position) {
                    size += shelved.size();
                    all.push(shelved);
                    continue;
                }
                match self.shelve(*position, stored) {
                    Ok((shelved, read)) => {
                        size += read;
                        all.push(shelved);
                    }
                    Err(error) if all.is_empty() => return Err(error),
                    Err(_) => return Ok(all),
                }
            }
        }
        Ok(all)
    }

    /// Puts the bulletin at a position on the shelf, and tells how many bytes were read.
    fn shelve(
        &self,
        position: u64,
        stored: Option<StoredRecord>,
    ) -> Result<(Arc<Shelved>, usize), BrokerError> {
        let unreadable = |error| BrokerError::Record { position, error };
        let stored = match stored {
            Some(stored) => stored,
            None => self
                .engine
                .stored(position, 1, 0)?
                .pop()
                .ok_or_else(|| missing(position))?,
        };
        let bodies = stored.bodies;
        let size = stored.record.len() + bodies.as_ref().map_or(0, Bytes::len);
        let record = Record::beside(&stored.record, &stored.entry).map_err(unreadable)?;
        // What was let go later is the bulletin that was held.
        if let Some((id, _)) = record.fact.lets_go() {
            let held = self.read_state().seen(&id);
            let held = held.ok_or_else(|| missing(position))?.position;
            return self.shelve(held, None);
        }
        let Fact::Accepted(accepted) = &record.fact else {
            let reason = "it is no bulletin".into();
            return Err(EngineError::Unreadable { position, reason }.into());
        };
        let id = accepted.header.id;
        let sealed = accepted.to_sealed(bodies.as_ref());
        let sealed = sealed.map_err(unreadable)?;
        let shelved = Shelved::new(Arc::new(record), position, Arc::new(sealed));
        // What other brokers accepted, and what was before a restart, is recent, too.
        if position + ITEMS as u64 >= *self.size.borrow() {
            self.shelf.put_recent(position, Arc::clone(&shelved));
        } else {
            self.shelf.put_earlier(position, Arc::clone(&shelved));
        }
        // It may have been erased between reading and here.
        if self.read_state().seen(&id).is_some_and(|seen| seen.erased) {
            self.shelf.remove(position);
        }
        Ok((shelved, size))
    }
}

/// Positions that are read together, in their order.
pub(super) fn runs(positions: &[u64]) -> impl Iterator<Item = &[u64]> {
    let near = |one: &u64, next: &u64| *next > *one && next - one <= GAP;
    let runs = positions.chunk_by(near);
    runs.flat_map(|run| run.chunks(TOGETHER))
}

fn missing(position: u64) -> EngineError {
    EngineError::Unreadable {
        position,
        reason: "it is missing".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulletin::{BurstProof, MAX_PART_BYTES, Marking, OpenPart};
    use crate::clock::Timestamp;
    use crate::ledger::Commitment;
    use crate::proof::{SecretKey, Signature, Signer};

    fn shelved(position: u64, bytes: usize) -> Arc<Shelved> {
        let key = SecretKey::from_seed([1; 32]).unwrap().public_key();
        let sealed = Sealed {
            id: BulletinId([7; 16]),
            precedence: Precedence::Routine,
            header: Bytes::from_static(b"header"),
            burst: BurstProof {
                size: 1,
                index: 0,
                path: Vec::new(),
                signature: Signature {
                    key_id: key.id(),
                    bytes: [0; 64],
                },
            },
            parts: vec![Part::Open(OpenPart {
                salt: [0; 32],
                class: "attachment".into(),
                marking: Marking::default(),
                body: vec![0; bytes].into(),
            })],
        };
        let record = Record {
            time: Timestamp::MIN,
            fact: Fact::Tick,
            releases: Vec::new(),
            commitment: Commitment(Digest([0; 32])),
            bytes: Bytes::new(),
        };
        Shelved::new(Arc::new(record), position, Arc::new(sealed))
    }

    #[test]
    fn what_is_read_together_is_near_and_not_too_much() {
        let of = |positions: &[u64]| runs(positions).map(<[u64]>::to_vec).collect::<Vec<_>>();
        assert!(of(&[]).is_empty());
        assert_eq!(of(&[1, 2, 5, 9, 8]), [vec![1, 2, 5], vec![9], vec![8]]);
        let many: Vec<u64> = (0..150).map(|at| at * GAP).collect();
        let lengths: Vec<usize> = runs(&many).map(<[u64]>::len).collect();
        assert_eq!(lengths, [TOGETHER, TOGETHER, 150 - 2 * TOGETHER]);
        assert_eq!(of(&many).concat(), many);
    }

    #[test]
    fn what_was_just_committed_is_on_the_shelf_whatever_its_size() {
        let shelf = Shelf::new(64 * 1024 * 1024);
        for position in 0..1_000 {
            shelf.put_recent(position, shelved(position, 1_024));
        }
        let kept = |shelf: &Shelf| (0..1_000).filter(|at| shelf.get(*at).is_some()).count();
        assert_eq!(kept(&shelf), 1_000);
        shelf.put_recent(1_000, shelved(1_000, MAX_PART_BYTES));
        assert!(shelf.get(1_000).is_some());
        assert!(shelf.recent.weight() <= 64 * 1024 * 1024);
    }

    #[test]
    fn who_catches_up_takes_no_memory_from_who_keeps_up() {
        let shelf = Shelf::new(64 * 1024 * 1024);
        for position in 100_000..101_000 {
            shelf.put_recent(position, shelved(position, 1_024));
        }
        for position in 0..50_000 {
            shelf.put_earlier(position, shelved(position, 1_024));
        }
        assert!((100_000..101_000).all(|at| shelf.get(at).is_some()));
        assert!((49_200..50_000).all(|at| shelf.get(at).is_some()));
        assert!(shelf.earlier.weight() <= 8 * 1024 * 1024);
        shelf.remove(49_500);
        shelf.remove(100_500);
        assert!(shelf.get(49_500).is_none() && shelf.get(100_500).is_none());
    }
}
