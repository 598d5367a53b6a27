//! Signed checkpoints: the head of the log, kept in a place of its own, and who cosigned it.
//!
//! What a crash leaves: before the file is replaced, the last checkpoint is the old one and nobody
//! was shown the new; after it, the new one is signed again from the file. Cosignatures live in memory:
//! witnesses give them again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::config::Config;
use super::engine::LogEngine;
use super::error::BrokerError;
use super::heads::{HeadPlace, Swapped};
use crate::clock::Timestamp;
use crate::identity::read_secret_key;
use crate::ledger::{Engine, EngineError, State};
use crate::proof::tree::{self, Tiled, TiledError};
use crate::proof::{
    AddCheckpoint, Checkpoint, Digest, ForkProof, Known, MlDsaSecretKey, Note, NoteKey, Policy,
    SignatureLine, Signer, TilePath, cosign_as_log,
};
use crate::store::Disk;
use crate::stream::{Heard, StreamEngine};

/// Checkpoints that can still be cosigned: six seconds of a busy log.
const RECENT: usize = 32;

/// The last checkpoint, the file that keeps it, and its witnesses.
#[derive(Debug)]
pub(super) struct Head {
    place: HeadPlace,
    /// Held while a checkpoint is signed, or another broker's taken on.
    turn: Mutex<()>,
    /// The last checkpoints, the newest last: a slow witness's answer is about one of them.
    recent: Mutex<VecDeque<Signed>>,
    log: Mutex<Option<NoteKey>>,
    second: Option<MlDsaSecretKey>,
    policy: Option<Policy>,
    /// Witnesses of the policy that must be heard before anything is signed: there was a head before
    /// this start. `None`: they were.
    unheard: Mutex<Option<BTreeSet<String>>>,
    /// Size of the last checkpoint.
    signed: watch::Sender<u64>,
    /// Counts cosignatures.
    pub(super) cosigned: watch::Sender<u64>,
    /// The checkpoint as it is shown.
    published: watch::Sender<Arc<Published>>,
    /// Counts the moments at which nodes may be shown another one.
    shown: watch::Sender<u64>,
    /// Since when a checkpoint lacks its quorum.
    unwitnessed: Mutex<Option<Timestamp>>,
    /// Within this delay a checkpoint covers what was promised.
    merge_delay: Duration,
    /// A proof that the log showed two histories.
    fork: watch::Sender<Option<Arc<String>>>,
}

/// A checkpoint that was signed.
#[derive(Clone, Debug)]
struct Signed {
    /// As the log signed it, and as the file keeps it.
    note: Note,
    checkpoint: Checkpoint,
    /// The cosignatures that came, by key.
    cosigned: Vec<(NoteKey, SignatureLine)>,
}

impl Signed {
    /// The note with the cosignatures of some keys. Whose node cosigned is shown to nobody else, but
    /// for those that the policy names.
    fn note(&self, shows: impl Fn(&NoteKey) -> bool) -> Note {
        let mut note = self.note.clone();
        for (key, line) in &self.cosigned {
            if shows(key) {
                note.add(line.clone());
            }
        }
        note
    }
}

/// A checkpoint as it is shown to everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// The note; empty where nothing was signed yet.
    pub(super) note: String,
    /// Its size.
    pub(super) size: u64,
    /// The largest size that the policy's quorum cosigned; that of the note where there is no policy.
    pub(super) witnessed: u64,
}

impl Head {
    /// Reads the last checkpoint, whose signature must be of the log's key.
    pub(super) fn open(
        config: &Config,
        disk: Arc<dyn Disk>,
        log_key: &dyn Signer,
        stream: Option<&Arc<StreamEngine>>,
    ) -> Result<Self, BrokerError> {
        let place = HeadPlace::of(config, disk, stream, log_key.public_key());
        let note = place.load()?;
        let (mut last, mut forked) = (None, None);
        if let Some(note) = note {
            let failed = |error| BrokerError::Head {
                path: config.head.clone(),
                error,
            };
            // The origin is checked against the genesis once the log is folded.
            let origin = note.lines().next().unwrap_or_default().to_owned();
            let key = NoteKey::new(&origin, log_key.public_key())
                .map_err(|error| failed(error.into()))?;
            let note: Note = note
                .parse()
                .map_err(|error: crate::proof::InvalidNote| failed(error.into()))?;
            let checkpoint = Checkpoint::of_note(&note, &key).map_err(failed)?;
            forked = place.fork()?.filter(|text| proves_fork(text, &key));
            last = Some(Signed {
                note,
                checkpoint,
                cosigned: Vec::new(),
            });
        }
        let policy = config.witness.as_ref().map(read_policy).transpose()?;
        let second = config.log_key_second.as_deref().map(|path| {
            let key = read_secret_key(path)?;
            MlDsaSecretKey::from_seed(key.seed())
                .map_err(|_| BrokerError::SecondKey(path.to_owned()))
        });
        let asks = last.is_some() && policy.as_ref().is_some_and(Policy::has_quorum);
        Ok(Self {
            place,
            turn: Mutex::new(()),
            signed: watch::Sender::new(last.as_ref().map_or(0, |last| last.checkpoint.size)),
            recent: Mutex::new(last.into_iter().collect()),
            log: Mutex::new(None),
            second: second.transpose()?,
            policy,
            unheard: Mutex::new(asks.then(BTreeSet::new)),
            cosigned: watch::Sender::new(0),
            published: watch::Sender::new(Arc::default()),
            shown: watch::Sender::new(0),
            unwitnessed: Mutex::new(None),
            merge_delay: config.merge_delay(),
            fork: watch::Sender::new(forked.map(Arc::new)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Signed>> {
        // Every change is one step.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest(&self) -> Option<Signed> {
        self.lock().back().cloned()
    }

    fn log_key(&self) -> Option<NoteKey> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.clone()
    }

    /// Where the last checkpoint is kept.
    pub(super) fn place(&self) -> &HeadPlace {
        &self.place
    }

    /// The last checkpoint, as the log signed it.
    pub(super) fn last(&self) -> Option<String> {
        self.newest().map(|last| last.note.to_string())
    }

    pub(super) fn signed_size(&self) -> Option<u64> {
        self.newest().map(|last| last.checkpoint.size)
    }

    /// The vkey of the second key, for policies.
    pub(super) fn second_key(&self) -> Option<String> {
        let (second, log) = (self.second.as_ref()?, self.log_key()?);
        let key = NoteKey::ml_dsa(log.name(), second.public_key().clone());
        key.ok().map(|key| key.to_string())
    }

    /// The size of the last checkpoint, whenever another is signed.
    pub(super) fn signed(&self) -> watch::Receiver<u64> {
        self.signed.subscribe()
    }

    /// The checkpoint as it is shown.
    pub(super) fn published(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// Changes whenever nodes may be shown another checkpoint.
    pub(super) fn shown(&self) -> watch::Receiver<u64> {
        self.shown.subscribe()
    }

    /// A proof that the log showed two histories, once there is one.
    pub(super) fn fork(&self) -> watch::Receiver<Option<Arc<String>>> {
        self.fork.subscribe()
    }

    /// What an operator must look at.
    pub(super) fn alarms(&self, now: Timestamp) -> Vec<String> {
        let mut alarms = Vec::new();
        if self.fork.borrow().is_some() {
            alarms.push(format!(
                "the log's key signed two histories: nothing more is signed; the proof is in {}",
                self.place.fork_path().display()
            ));
        }
        if self.is_waiting_for_witnesses() {
            alarms.push(
                "no checkpoint is signed before the witnesses of the policy said what they know"
                    .to_owned(),
            );
        }
        let since = self
            .unwitnessed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if since.is_some_and(|since| now.since(since) > self.merge_delay) {
            alarms.push(format!(
                "the quorum of witnesses is missing: receipts beyond {} records are pending",
                self.published.borrow().witnessed
            ));
        }
        alarms
    }

    /// Where a checkpoint was signed over this size, its root must be this one.
    pub(super) fn check_root(
        &self,
        size: u64,
        root: impl FnOnce() -> Digest,
    ) -> Result<(), BrokerError> {
        match self.newest() {
            Some(last) if last.checkpoint.size == size && last.checkpoint.root != root() => {
                Err(BrokerError::Forked(size))
            }
            _ => Ok(()),
        }
    }

    /// The folded log must be at least what was signed, under the key that its genesis names.
    pub(super) fn check(&self, config: &Config, state: &State) -> Result<(), BrokerError> {
        let genesis = state
            .genesis()
            .ok_or_else(|| BrokerError::NoLedger(config.ledger.clone()))?;
        let other_key = || BrokerError::OtherLogKey(config.log_key.clone());
        let named: NoteKey = genesis.log_key.parse().map_err(|_| other_key())?;
        let origin = named.name().to_owned();
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(named);
        let Some(last) = self.newest() else {
            return Ok(());
        };
        if last.checkpoint.origin != origin {
            return Err(other_key());
        }
        if last.checkpoint.size > state.size() {
            let (size, signed) = (state.size(), last.checkpoint.size);
            return Err(BrokerError::Rollback { size, signed });
        }
        Ok(())
    }

    /// Signs a checkpoint, where it is larger than the last one. Nothing is signed before witnesses were
    /// heard, and nothing any more after a fork.
    pub(super) fn sign(
        &self,
        size: u64,
        root: Digest,
        log_key: &dyn Signer,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        if self.fork.borrow().is_some() || self.is_waiting_for_witnesses() {
            return Ok(());
        }
        let log = self.log_key().ok_or(BrokerError::Closed)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.newest();
        if last
            .as_ref()
            .is_some_and(|last| last.checkpoint.size >= size)
        {
            return Ok(());
        }
        let checkpoint = Checkpoint {
            origin: log.name().to_owned(),
            size,
            root,
        };
        let mut note = checkpoint.sign(log_key)?;
        if let Some(second) = &self.second {
            note = cosign_as_log(log.name(), second, &note, seconds(now))?;
        }
        let parsed: Note = note.parse().map_err(BrokerError::Note)?;
        let expected = last.map(|last| last.note.to_string());
        match self.place.swap(expected.as_deref(), &note, size)? {
            Swapped::Done => self.push(parsed, checkpoint),
            // Another broker signs the same log; what it signed is heard of, and taken on then.
            Swapped::Ahead => {}
            Swapped::Taken => return Err(BrokerError::HeadTaken),
        }
        Ok(())
    }

    fn push(&self, note: Note, checkpoint: Checkpoint) {
        let size = checkpoint.size;
        let mut recent = self.lock();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(Signed {
            note,
            checkpoint,
            cosigned: Vec::new(),
        });
        drop(recent);
        self.signed.send_replace(size);
    }

    /// Takes on a checkpoint that another broker of this log signed. `false` where this broker's log does not
    /// reach so far yet.
    pub(super) fn adopt(&self, engine: &LogEngine, text: &str) -> Result<bool, BrokerError> {
        let log = self.log_key().ok_or(BrokerError::Closed)?;
        let note: Note = text.parse().map_err(BrokerError::Note)?;
        let checkpoint = match Checkpoint::of_note(&note, &log) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                tracing::error!(%error, "a checkpoint in the bucket is not signed by this log's key");
                return Ok(true);
            }
        };
        if checkpoint.size > engine.size() {
            return Ok(false);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is older must be of this history, too.
        self.compare(engine, &checkpoint, text)?;
        let newest = self.newest().map_or(0, |last| last.checkpoint.size);
        if checkpoint.size > newest {
            self.place.note(text)?;
            self.push(note, checkpoint);
        }
        Ok(true)
    }

    /// Takes on what a witness told another broker.
    pub(super) fn overheard(&self, heard: &Heard) {
        let keys: Vec<NoteKey> = heard
            .keys
            .iter()
            .filter_map(|key| key.parse().ok())
            .collect();
        let lines = SignatureLine::parse_all(&heard.lines.concat()).unwrap_or_default();
        // That it was heard after a start, only a witness says, and to each broker: the bucket may hold anything.
        self.take_cosignatures(heard.size, &keys, lines);
    }

    /// A proof of a fork that another broker found.
    pub(super) fn take_fork(&self, text: &str) {
        if self.fork.borrow().is_none()
            && let Some(log) = self.log_key()
            && proves_fork(text, &log)
        {
            tracing::error!("another broker found that the log's key signed two histories");
            self.fork.send_replace(Some(Arc::new(text.to_owned())));
        }
    }

    fn is_waiting_for_witnesses(&self) -> bool {
        let unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        unheard.is_some()
    }

    /// A request for a witness that cosigned this size last, and the size that it is about; `None` where
    /// there is nothing to sign.
    pub(super) fn request(
        &self,
        engine: &LogEngine,
        old: u64,
    ) -> Result<Option<(u64, AddCheckpoint)>, BrokerError> {
        let Some(last) = self.newest() else {
            return Ok(None);
        };
        let size = last.checkpoint.size;
        let proof = tree::consistency_path(&tiles(engine, size), old, size).map_err(missing)?;
        let note = last.note.to_string();
        Ok(proof.map(|proof| (size, AddCheckpoint { old, proof, note })))
    }

    /// Takes a witness's cosignatures of a checkpoint of this size; what does not verify under its keys
    /// is not taken.
    pub(super) fn cosign(&self, size: u64, keys: &[NoteKey], lines: Vec<SignatureLine>) {
        self.place.tell(keys, size, &lines);
        self.take_cosignatures(size, keys, lines);
    }

    fn take_cosignatures(&self, size: u64, keys: &[NoteKey], lines: Vec<SignatureLine>) {
        let mut recent = self.lock();
        let found = recent.iter_mut().find(|one| one.checkpoint.size == size);
        let Some(signed) = found else {
            return;
        };
        for line in lines {
            let Some(key) = keys.iter().find(|key| line.is_of(key)) else {
                continue;
            };
            let mut alone = signed.note.clone();
            alone.add(line.clone());
            if alone.signed_by(&[key]).is_ok() {
                signed
                    .cosigned
                    .retain(|(other, _)| other.name() != key.name() || keys.contains(other));
                signed.cosigned.retain(|(other, _)| other != key);
                signed.cosigned.push((key.clone(), line));
            }
        }
        drop(recent);
        self.cosigned.send_modify(|count| *count += 1);
    }

    fn names(&self, key: &NoteKey) -> bool {
        let mut witnesses = self.policy.iter().flat_map(Policy::witnesses);
        witnesses.any(|(_, witness)| witness.key == *key)
    }

    fn is_witnessed(&self, signed: &Signed) -> bool {
        match (&self.policy, self.log_key()) {
            (Some(policy), Some(log)) => {
                let note = signed.note(|key| self.names(key)).to_string();
                policy.for_log(&log).check(&note).is_ok()
            }
            _ => true,
        }
    }

    /// The newest checkpoint that has its quorum and the cosignatures of a node's own witness.
    pub(super) fn for_node(&self, keys: &[NoteKey]) -> Option<String> {
        let recent = self.lock().clone();
        let is_complete = |signed: &&Signed| {
            let mut own = keys.iter();
            own.all(|key| signed.cosigned.iter().any(|(other, _)| other == key))
                && self.is_witnessed(signed)
        };
        let signed = recent.iter().rev().find(is_complete)?;
        let note = signed.note(|key| keys.contains(key) || self.names(key));
        Some(note.to_string())
    }

    /// The policy's witnesses that are asked over HTTP, by name.
    pub(super) fn remote(&self) -> Vec<(String, Known)> {
        let witnesses = self.policy.iter().flat_map(Policy::witnesses);
        let remote = witnesses.filter(|(_, known)| known.url.is_some());
        remote
            .map(|(name, known)| (name.to_owned(), known.clone()))
            .collect()
    }

    /// What a node knows of this log, as it greets: an older head than its own means that the ledger
    /// was restored from an old backup, another root that the key signed two histories.
    pub(super) fn hear(
        &self,
        engine: &LogEngine,
        keys: &[NoteKey],
        note: &str,
    ) -> Result<(), BrokerError> {
        if !note.is_empty()
            && let Some(log) = self.log_key()
            && let Ok(theirs) = Checkpoint::verify(note, &log)
        {
            self.compare(engine, &theirs, note)?;
        }
        self.heard(keys);
        Ok(())
    }

    /// Notes that a witness said what it knows, and that it is no more than this log.
    pub(super) fn heard(&self, keys: &[NoteKey]) {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(heard), Some(policy)) = (unheard.as_mut(), &self.policy) {
            for (name, known) in policy.witnesses() {
                if keys.contains(&known.key) {
                    heard.insert(name.to_owned());
                }
            }
            if policy.is_met_by(heard) {
                *unheard = None;
                drop(unheard);
                self.cosigned.send_modify(|count| *count += 1);
            }
        }
    }

    fn compare(
        &self,
        engine: &LogEngine,
        theirs: &Checkpoint,
        note: &str,
    ) -> Result<(), BrokerError> {
        let size = engine.size();
        if theirs.size > size {
            let signed = theirs.size;
            return Err(BrokerError::Rollback { size, signed });
        }
        let root = root(engine, theirs.size)?;
        if root == theirs.root {
            return Ok(());
        }
        tracing::error!(size = theirs.size, "the log's key signed two histories");
        let Some(last) = self.newest() else {
            return Ok(());
        };
        let (old, new) = (theirs.size, last.checkpoint.size);
        if new < old {
            // What this broker signed says nothing about so many records; only the node can prove it.
            return Err(BrokerError::Forked(old));
        }
        let path = tree::prefix_path(&tiles(engine, new), old, new).map_err(missing)?;
        let proof = ForkProof {
            first: note.to_owned(),
            second: last.note.to_string(),
            path: path.unwrap_or_default(),
        };
        let text = proof.to_string();
        // Nothing more is signed, whatever becomes of the file.
        self.fork.send_replace(Some(Arc::new(text.clone())));
        self.place.keep_fork(&text)
    }

    /// Shows the newest checkpoint that has its quorum, or else the newest.
    pub(super) fn publish(&self, now: Timestamp) {
        let recent = self.lock().clone();
        let Some(last) = recent.back() else {
            return;
        };
        let witnessed = recent.iter().rev().find(|signed| self.is_witnessed(signed));
        let size = witnessed.map_or(0, |signed| signed.checkpoint.size);
        let one = witnessed.unwrap_or(last);
        let note = one.note(|key| self.names(key)).to_string();
        self.published.send_if_modified(|shown| {
            let next = Published {
                note,
                size: one.checkpoint.size,
                witnessed: size.max(shown.witnessed),
            };
            let changed = **shown != next;
            *shown = Arc::new(next);
            changed
        });
        let mut since = self
            .unwitnessed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *since = if size >= last.checkpoint.size {
            None
        } else {
            since.or(Some(now))
        };
        self.shown.send_modify(|count| *count += 1);
    }
}

/// Whether a file has a proof that this log's key signed two histories.
fn proves_fork(text: &str, log: &NoteKey) -> bool {
    let proof = text.parse::<ForkProof>();
    proof.is_ok_and(|proof| proof.verify(log).is_ok())
}

/// The tiles of the log, as of a size.
pub(super) fn tiles(
    engine: &LogEngine,
    size: u64,
) -> Tiled<impl Fn(&TilePath) -> Result<Vec<Digest>, EngineError>> {
    Tiled::new(size, |path: &TilePath| engine.tile(path))
}

/// The root over the first records.
pub(super) fn root(engine: &LogEngine, size: u64) -> Result<Digest, BrokerError> {
    tree::root(&tiles(engine, engine.size()), size).map_err(missing)
}

fn missing(error: TiledError<EngineError>) -> BrokerError {
    match error {
        TiledError::Fetch(error) => error.into(),
        other => EngineError::Unknown(other.to_string()).into(),
    }
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.micros() / 1_000_000).unwrap_or(0).max(1)
}

pub(super) fn read_policy(config: &super::config::WitnessConfig) -> Result<Policy, BrokerError> {
    let path = &config.policy;
    let text = std::fs::read_to_string(path).map_err(|error| BrokerError::File {
        path: path.clone(),
        error,
    })?;
    text.parse().map_err(|error| BrokerError::Policy {
        path: path.clone(),
        error,
    })
}
