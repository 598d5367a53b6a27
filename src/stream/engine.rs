//! The engine over a stream: appends there, and keeps a copy here.
//!
//! What a crash leaves: before the stream acknowledged, the group is there or not, and taking on the stream
//! shows which; after it, this broker's copy lacks it and takes it on at the next start. The copy is written
//! with the place in the stream that it reaches, so the two never disagree.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::catalogue::{Catalogue, subject, turns_subject};
use super::config::StreamConfig;
use super::contents::Contents;
use super::error::StreamError;
use super::follow;
use super::health::{self, Health};
use super::leader::Leader;
use super::local::{Kept, LocalCopy, RECENT};
use super::monitor;
use super::nats::{Nats, unavailable};
use super::prepared::Guess;
use super::sending::{After, Sent};
use super::snapshot;
use super::taking::{Beginning, Tail};
use super::turns::Turns;
use super::wire::{InvalidMessage, OLDEST, StreamMessage};
use crate::clock::Entropy;
use crate::ledger::{ENTRY_BYTES, Engine, EngineError, Record, StoredRecord};
use crate::proof::{Digest, PublicKey, Signer, TilePath};
use crate::store::{EmbeddedEngine, StoreError};

pub use super::follow::News;

/// How long a start waits for servers that do not answer yet, and the pause between two tries.
const START: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);
/// The pause before contents that could not be erased are tried again.
const ERASE_AGAIN: Duration = Duration::from_secs(10);
/// Room that a message needs beside its records.
const ENVELOPE: usize = 16 * 1024;

/// The log in a stream that several brokers share.
pub struct StreamEngine {
    pub(super) local: Arc<LocalCopy>,
    pub(super) nats: Nats,
    pub(super) catalogue: Catalogue,
    pub(super) subject: String,
    pub(super) leader: Leader,
    pub(super) turns: Turns,
    health: Arc<Health>,
    broker: String,
    pub(super) key: PublicKey,
    signer: Arc<dyn Signer>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// The newest format of messages that is read, and the one that is written.
    pub(super) reads: u32,
    writes: AtomicU32,
    /// Where a snapshot is written to.
    snapshot: PathBuf,
    /// Whose turn it is to write one.
    snapshotting: Mutex<()>,
    /// Held while appending or taking on.
    tail: Mutex<Tail>,
    /// Others' records as they were read, with their positions, until they are folded.
    pub(super) opened: Mutex<VecDeque<(u64, Arc<Record>)>>,
    /// Contents that are stored while something else is done.
    pub(super) prepared: Mutex<Guess>,
    /// Whose turn it is to erase: one after the other, or an older look would undo a newer one.
    erasing: Arc<tokio::sync::Mutex<()>>,
    pub(super) news: Arc<OnceLock<News>>,
}

impl std::fmt::Debug for StreamEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StreamEngine({} records)", self.size())
    }
}

impl StreamEngine {
    /// Makes the stream where there is none, and opens it.
    pub fn create(
        servers: &Path,
        config: &StreamConfig,
        broker: &str,
        signer: Arc<dyn Signer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StreamError> {
        let nats = Nats::connect(servers, config)?;
        let (context, wanted) = (nats.context().clone(), config.clone());
        let catalogue = nats.run(async move { Catalogue::create(&context, &wanted).await })?;
        Self::with(nats, catalogue, config, broker, signer, entropy)?.whole()
    }

    /// Opens the stream and this broker's copy, and takes on what the copy lacks.
    pub fn open(
        servers: &Path,
        config: &StreamConfig,
        broker: &str,
        signer: Arc<dyn Signer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StreamError> {
        Self::connect(servers, config, broker, signer, entropy)?.whole()
    }

    /// The same, which takes nothing on yet: [`Self::take_some`] is to be called until that was all.
    pub fn connect(
        servers: &Path,
        config: &StreamConfig,
        broker: &str,
        signer: Arc<dyn Signer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StreamError> {
        let nats = Nats::connect(servers, config)?;
        let catalogue = patiently(|| {
            let (context, wanted) = (nats.context().clone(), config.clone());
            nats.run(async move { Catalogue::open(&context, &wanted).await })
        })?;
        Self::with(nats, catalogue, config, broker, signer, entropy)
    }

    fn with(
        nats: Nats,
        catalogue: Catalogue,
        config: &StreamConfig,
        broker: &str,
        signer: Arc<dyn Signer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, StreamError> {
        monitor::check(&config.monitors)?;
        let local = Arc::new(LocalCopy::open(&config.cache, config.disk_reserve)?);
        let (sequence, hash) = local.tail()?;
        let (found, reads) = (local.format()?, config.format);
        if found > reads {
            // A newer version's copy, or its stream.
            let error = InvalidMessage::Newer { found, reads };
            return Err(StreamError::Message { sequence, error });
        }
        let (arriving, arrived) = follow::arriving();
        let client = nats.context().client();
        let (turns, listening) = Turns::new(client, turns_subject(config), broker.to_owned());
        let (health, watching) = health::watch(config.monitors.clone());
        let engine = Self {
            turns,
            health,
            subject: subject(config),
            leader: Leader::of(nats.context(), config.name.clone()),
            broker: broker.to_owned(),
            key: signer.public_key(),
            signer,
            entropy,
            reads: config.format,
            writes: AtomicU32::new(OLDEST),
            snapshot: config.cache.with_added_extension("snapshot"),
            snapshotting: Mutex::default(),
            tail: Mutex::new(Tail {
                sequence,
                hash,
                id: None,
                arrived,
                begins: Some(Beginning {
                    arriving,
                    ahead: None,
                }),
                seen: 0,
                chain: local.chain(sequence)?,
                unresolved: Vec::new(),
            }),
            opened: Mutex::default(),
            prepared: Mutex::default(),
            erasing: Arc::default(),
            news: Arc::default(),
            local,
            nats,
            catalogue,
        };
        engine.nats.handle().spawn(listening);
        engine.nats.handle().spawn(watching);
        Ok(engine)
    }

    /// All of it taken on.
    fn whole(self) -> Result<Self, StreamError> {
        while !self.take_some()? {}
        Ok(self)
    }

    /// Takes on the stream until the log has so many records, as a checkpoint says: a server that was asked may
    /// have been behind. Whether it reaches so far.
    pub fn reach(&self, size: u64) -> Result<bool, StreamError> {
        let reached = patiently(|| {
            let mut tail = self.lock();
            let end = self.end()?;
            if end > tail.sequence {
                self.take_on_until(&mut tail, end)?;
            }
            if self.size() >= size {
                return Ok(());
            }
            let reason = format!(
                "the log has {} records, and a checkpoint over {size} was signed",
                self.size()
            );
            Err(StreamError::Unavailable(reason))
        });
        match reached {
            Ok(()) => Ok(true),
            Err(StreamError::Unavailable(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a snapshot into a file beside this broker's copy: all up to the group in which the records that a
    /// checkpoint covers end. Returns the file, and how many records.
    pub fn snapshot(&self, checkpoint: &str, covered: u64) -> Result<(PathBuf, u64), StreamError> {
        let turn = self.snapshotting.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let last = self.lock().sequence;
        let mut place = None;
        for sequence in (last.saturating_sub(RECENT)..=last).rev() {
            let Some(Kept::Message(bytes)) = self.local.message(sequence)? else {
                continue;
            };
            let opened = StreamMessage::open_up_to(&bytes, &self.key, self.reads);
            let message = opened.map_err(|error| StreamError::Message { sequence, error })?;
            if message.until() < covered {
                break;
            }
            if message.first <= covered {
                place = Some((sequence, message));
                break;
            }
        }
        let (sequence, message) = place.ok_or(StreamError::NotCovered(covered))?;
        let (path, place) = (self.snapshot.clone(), (sequence, &message));
        let records = snapshot::write(&self.local, &path, checkpoint, place, self.signer.as_ref())?;
        Ok((path, records))
    }

    /// Whom to tell when something arrives; once.
    pub fn on_news(&self, news: News) {
        let _ = self.news.set(news);
    }

    /// The newest format of messages that this broker reads.
    pub fn reads(&self) -> u32 {
        self.reads
    }

    /// Has messages written in a format from now on: one that all brokers read.
    pub fn write_format(&self, format: u32) {
        let format = format.clamp(OLDEST, self.reads);
        if self.writes.swap(format, Ordering::Relaxed) != format {
            tracing::info!(
                format,
                "messages of the stream are written in another format"
            );
        }
    }

    /// What an operator must look at: servers that are not well.
    pub fn alarms(&self) -> Vec<String> {
        self.health.alarms()
    }

    /// This broker's copy.
    pub fn local(&self) -> &EmbeddedEngine {
        self.local.engine()
    }

    pub(super) fn nats(&self) -> &Nats {
        &self.nats
    }

    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Positions from one on whose bodies are kept, in order.
    pub fn kept(&self, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.local.kept(from, limit)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Tail> {
        // Every change of the tail is one step.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last sequence of the stream, as its leader says.
    pub(super) fn end(&self) -> Result<u64, StreamError> {
        let stream = self.catalogue.stream.clone();
        self.nats.run(async move {
            let info = stream.get_info().await.map_err(unavailable)?;
            Ok(info.state.last_sequence)
        })
    }

    /// The message at a sequence, as the stream's leader shows it; `None` where there is none.
    pub(super) fn message(&self, sequence: u64) -> Result<Option<Bytes>, StreamError> {
        let stream = self.catalogue.stream.clone();
        self.nats
            .run(async move { follow::message(&stream, sequence).await })
    }

    /// Removes from the servers what is erased, also what a crash left; again and again where it
    /// fails.
    pub(super) fn finish_erasures(&self) {
        let (local, turn) = (Arc::clone(&self.local), Arc::clone(&self.erasing));
        let store = self.catalogue.contents.clone();
        self.nats.handle().spawn(async move {
            let _turn = turn.lock().await;
            while let Err(error) = erase(&local, &store).await {
                tracing::error!(%error, "erased contents are still on the servers; trying again");
                tokio::time::sleep(ERASE_AGAIN).await;
            }
        });
    }

    /// Removes what brokers left that died between storing bodies and appending their group.
    pub(super) fn sweep(&self) {
        let (local, store) = (Arc::clone(&self.local), self.catalogue.contents.clone());
        self.nats.handle().spawn(async move {
            let swept = match local.names() {
                Ok(names) => store.sweep(|name| names.contains(name)).await,
                Err(error) => Err(error),
            };
            match swept {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "bodies that no group names were removed"),
                Err(error) => tracing::warn!(%error, "bodies that no group names may be left"),
            }
        });
    }

    /// Compares what the servers have with what was taken on. What they lost of the last messages is given to
    /// them again, as it was.
    pub(super) fn compare(&self, tail: &mut Tail, end: u64) -> Result<(), StreamError> {
        if end >= tail.sequence {
            if tail.sequence == 0 {
                return Ok(());
            }
            let last = tail.sequence;
            let Some(found) = self.message(last)? else {
                let reason = format!("message {last} is not shown");
                return Err(StreamError::Unavailable(reason));
            };
            return self.local.recognise(last, &found, &self.key);
        }
        let shorter = || StreamError::Shorter {
            found: end,
            known: tail.sequence,
        };
        if end == 0 || self.local.message(end)?.is_none() {
            return Err(shorter());
        }
        let last = self.message(end)?.ok_or_else(shorter)?;
        self.local.recognise(end, &last, &self.key)?;
        tracing::error!(
            end,
            known = tail.sequence,
            "the servers lost messages that they had acknowledged; they are given to them again"
        );
        for sequence in end + 1..=tail.sequence {
            let kept = self.local.message(sequence)?;
            let (bytes, id) = match kept.ok_or_else(shorter)? {
                Kept::Message(bytes) => (bytes.clone(), Digest::of(&bytes).to_string()),
                // One that says nothing holds its place.
                Kept::Nothing(_) => (Bytes::new(), format!("nothing-{sequence}")),
            };
            let after = After {
                sequence: sequence - 1,
                id: None,
            };
            match self.publish(&bytes, &id, &after)? {
                Sent::Stored { .. } => {}
                // Another broker gives it again, too, or something else is there now.
                Sent::Behind => {
                    let found = self.message(sequence)?.ok_or_else(shorter)?;
                    self.local.recognise(sequence, &found, &self.key)?;
                }
            }
        }
        Ok(())
    }

    fn try_append(&self, expected: u64, group: &[StoredRecord]) -> Result<u64, StreamError> {
        let mut tail = self.lock();
        self.drain(&mut tail)?;
        let actual = self.size();
        if actual != expected || tail.sequence < tail.seen {
            return Err(EngineError::Conflict { expected, actual }.into());
        }
        self.local().check_room(group)?;
        let bodies: BTreeMap<u64, Bytes> = (expected..)
            .zip(group)
            .filter_map(|(position, one)| Some((position, one.bodies.clone()?)))
            .collect();
        let has_bodies = !bodies.is_empty();
        let contents = self.prepared_or_new(bodies)?;
        let id = contents.name();
        let sealed = StreamMessage::seal(
            self.writes.load(Ordering::Relaxed),
            id,
            expected,
            tail.hash,
            &self.broker,
            group,
            self.signer.as_ref(),
        );
        let message = match sealed {
            Ok(message) => message,
            Err(error) => {
                self.leave(contents);
                return Err(error.into());
            }
        };
        let most = self.nats.max_message();
        if message.bytes.len() + 512 > most {
            self.leave(contents);
            let what = format!(
                "a group of {} bytes does not fit into a message of {most}; raise `max_payload` of the NATS \
                 servers to 8MB",
                message.bytes.len()
            );
            return Err(EngineError::Full(what).into());
        }
        if let Err(error) = contents.stored() {
            // Some of them may be there, or on their way.
            self.forget_later(id);
            return Err(error);
        }
        let after = tail.sequence;
        let place = After {
            sequence: after,
            id: tail.id.clone(),
        };
        let sent = self.publish(&message.bytes, &HEXLOWER.encode(&id), &place);
        if matches!(sent, Ok(Sent::Stored { .. })) {
            self.keep(&mut tail, &mut vec![message], after + 1)?;
            return Ok(self.size());
        }
        // Something else is in its place, or it itself, sent before: what is taken on tells.
        tail.unresolved.extend(has_bodies.then_some((after, id)));
        sent?;
        tail.seen = tail.seen.max(after + 1);
        Err(EngineError::Conflict { expected, actual }.into())
    }

    /// The last message that was taken on, of those that have come.
    pub(super) fn taken_on(&self) -> Result<u64, StreamError> {
        let mut tail = self.lock();
        self.drain(&mut tail)?;
        Ok(tail.sequence)
    }

    pub(super) fn try_catch_up(&self) -> Result<u64, StreamError> {
        let mut tail = self.lock();
        self.drain(&mut tail)?;
        if tail.sequence < tail.seen {
            let end = self.end()?;
            if end < tail.sequence {
                self.compare(&mut tail, end)?;
            }
            self.take_on_until(&mut tail, end)?;
            tail.seen = tail.sequence;
        }
        Ok(self.size())
    }

    /// The bodies of a record from the servers; kept here where they are still to be had.
    fn fetch(&self, position: u64) -> Result<Option<Bytes>, StreamError> {
        let Some(name) = self.local.object(position)? else {
            return Ok(None);
        };
        let store = self.catalogue.contents.clone();
        let mut bodies = self.nats.run(async move { store.get(name).await })?;
        let gone = || {
            let reason = format!("the bodies of record {position} are not on the servers");
            StreamError::Unavailable(reason)
        };
        let wanted = bodies.get(&position).cloned().ok_or_else(gone)?;
        self.local.check_bodies(position, &wanted)?;
        // Its neighbours are wanted next.
        bodies.retain(|at, bodies| *at == position || self.local.check_bodies(*at, bodies).is_ok());
        self.local.put_bodies(&bodies)?;
        Ok(Some(wanted))
    }
}

/// Does what the servers may not be able to do yet.
pub(super) fn patiently<T>(
    mut act: impl FnMut() -> Result<T, StreamError>,
) -> Result<T, StreamError> {
    let until = Instant::now() + START;
    loop {
        match act() {
            Err(StreamError::Unavailable(reason)) if Instant::now() < until => {
                tracing::warn!(%reason, "waiting for the stream");
                std::thread::sleep(AGAIN);
            }
            other => return other,
        }
    }
}

/// Erases on the servers what is erased here.
async fn erase(local: &LocalCopy, store: &Contents) -> Result<(), StreamError> {
    let mut failed = Ok(());
    for (name, positions) in local.erased()? {
        // One that fails keeps no other.
        match store.erase(name, &positions).await {
            Ok(()) => local.is_gone(&positions)?,
            Err(error) => failed = Err(error),
        }
    }
    failed
}

impl Engine for StreamEngine {
    fn size(&self) -> u64 {
        self.local().size()
    }

    fn append(&self, expected: u64, group: &[StoredRecord]) -> Result<u64, EngineError> {
        Ok(self.try_append(expected, group)?)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn take_turn(&self, lost: u32) -> Result<(), EngineError> {
        Ok(self.try_take_turn(lost)?)
    }

    fn catch_up(&self) -> Result<u64, EngineError> {
        Ok(self.try_catch_up()?)
    }

    fn prepare(&self, bodies: BTreeMap<u64, Bytes>) -> bool {
        // What is not there beforehand is stored with its group.
        self.try_prepare(bodies).unwrap_or_else(|error| {
            tracing::warn!(%error, "contents are not stored beforehand");
            false
        })
    }

    fn opened(&self, from: u64, limit: usize) -> Vec<Arc<Record>> {
        self.take_opened(from, limit)
    }

    fn group_bytes(&self) -> usize {
        self.nats.max_message().saturating_sub(ENVELOPE) / 2
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<Bytes>, EngineError> {
        self.local().read(from, limit)
    }

    fn entries(&self, from: u64, limit: usize) -> Result<Vec<[u8; ENTRY_BYTES]>, EngineError> {
        self.local().entries(from, limit)
    }

    fn tile(&self, path: &TilePath) -> Result<Vec<Digest>, EngineError> {
        self.local().tile(path)
    }

    fn bodies(&self, position: u64) -> Result<Option<Bytes>, EngineError> {
        match self.local().bodies(position)? {
            Some(bodies) => Ok(Some(bodies)),
            None => Ok(self.fetch(position)?),
        }
    }
}
