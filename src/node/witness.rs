//! This node's witness: it cosigns what logs grow to, its broker's and those that are named to it, and
//! nothing that contradicts what it cosigned before. There is one state, whoever asks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Shared;
use super::error::NodeError;
use super::link::known_log_key;
use crate::clock::Timestamp;
use crate::identity::read_secret_key;
use crate::proof::{
    AddCheckpoint, Checkpoint, Cosigner, Digest, ForkProof, Note, NoteKey, SignatureLine,
    WitnessRefusal,
};
use crate::session::witness_name;
use crate::store::{NodeStore, StoreError};

/// The largest request: a proof, and a checkpoint with the signatures of many others.
pub(super) const MAX_BYTES: usize = 128 * 1024;
/// The largest checkpoint with its log's signature alone: it has to fit into a greeting.
const MAX_CHECKPOINT: usize = 8 * 1024;
/// Where a proof that the log showed two histories is kept.
const FORK: &str = "fork";
/// Where it is kept that the log contradicts what was cosigned.
const SUSPECT: &str = "fork/suspect";
/// Where proofs that other logs showed two histories are kept, before their origins.
const FORK_OF: &str = "fork/of/";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This node's broker, about its own log.
    Broker,
    /// Anybody: what it cannot prove counts for nothing.
    Anybody,
}

/// The witness: one key, which signs nothing else, and one checkpoint for each log.
#[derive(Debug)]
pub(super) struct Witness {
    cosigner: Cosigner,
    keys: Vec<NoteKey>,
    /// The logs that are witnessed besides the broker's.
    logs: Vec<NoteKey>,
    /// Origin -> what was cosigned last in this process, with the cosignatures. Held from the comparison
    /// with the last checkpoint until the next one is durable.
    turn: Mutex<HashMap<String, String>>,
}

impl Witness {
    /// The witness of a node: its key is derived from the signing key, and is this node's own.
    pub(super) fn new(config: &super::Config) -> Result<Self, NodeError> {
        let name = witness_name(&config.spiffe_id);
        let signing = read_secret_key(&config.signing_key)?;
        let key = signing.derive(&[b"entente/witness/v1", name.as_bytes()])?;
        let cosigner = Cosigner::new(&name, Arc::new(key));
        let keys = cosigner
            .keys()
            .map_err(|_| NodeError::Protocol("this node's name cannot be a witness's"))?;
        let logs = config.witness.as_ref().and_then(|one| one.logs.as_deref());
        Ok(Self {
            cosigner,
            keys,
            logs: logs.map(read_logs).transpose()?.unwrap_or_default(),
            turn: Mutex::new(HashMap::new()),
        })
    }

    /// The keys that verify its cosignatures.
    pub(super) fn keys(&self) -> &[NoteKey] {
        &self.keys
    }

    /// Answers a request, as over HTTP: a status code and a body. `log_of` gives the key of the log of an
    /// origin.
    pub(super) fn add_checkpoint(
        &self,
        store: &NodeStore,
        log_of: impl FnOnce(&str) -> Result<Option<NoteKey>, NodeError>,
        request: &str,
        now: Timestamp,
        source: Source,
    ) -> Result<(u16, String), NodeError> {
        if request.len() > MAX_BYTES {
            return Ok(answer(&WitnessRefusal::Malformed("it is too large")));
        }
        let request: AddCheckpoint = match request.parse() {
            Ok(request) => request,
            Err(refusal) => return Ok(answer(&refusal)),
        };
        let log = log_of(request.origin())?;
        // What is held is a copy of what is durable.
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = match &log {
            Some(log) => latest(store, log)?,
            None => None,
        };
        let judged = request.judge(log.as_ref(), latest.as_ref().map(|(_, head)| head));
        let (checkpoint, log) = match (judged, log) {
            (Ok(checkpoint), Some(log)) => (checkpoint, log),
            (Ok(_), None) => return Ok(answer(&WitnessRefusal::UnknownLog)),
            (Err(refusal), log) => {
                if let (WitnessRefusal::Inconsistent, Some((note, _)), Some(log)) =
                    (&refusal, latest, &log)
                {
                    contradicted(store, log, note, &request, source)?;
                }
                return Ok(answer(&refusal));
            }
        };
        if store.value(&fork_key(store, &log)?)?.is_some() {
            return Ok(answer(&WitnessRefusal::Inconsistent));
        }
        // Extension lines are cosigned as they stand.
        let note: Note = request
            .note
            .parse()
            .map_err(|_| NodeError::Protocol("its checkpoint is no note"))?;
        let alone = as_signed(&request.note, &log).unwrap_or_else(|| request.note.clone());
        if alone.len() > MAX_CHECKPOINT {
            return Ok(answer(&WitnessRefusal::Malformed(
                "its checkpoint is too large",
            )));
        }
        // Durable before anybody is told; what is so already costs no other write.
        if latest.is_none_or(|(_, latest)| latest != checkpoint) {
            store.cosign(&checkpoint.origin, &alone)?;
        }
        let lines = self.lines(&note, now)?;
        turn.insert(checkpoint.origin, with(&alone, &lines)?);
        Ok((200, lines.iter().map(ToString::to_string).collect()))
    }

    /// The checkpoint of a log that was cosigned last, with the cosignatures.
    pub(super) fn cosigned(
        &self,
        store: &NodeStore,
        log: &NoteKey,
        now: Timestamp,
    ) -> Result<Option<String>, NodeError> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((alone, _)) = latest(store, log)? else {
            return Ok(None);
        };
        if let Some(known) = turn.get(log.name()) {
            return Ok(Some(known.clone()));
        }
        // Cosigned by a process before this one: still what this witness says.
        let note: Note = alone
            .parse()
            .map_err(|_| StoreError::Damaged("checkpoint"))?;
        let full = with(&alone, &self.lines(&note, now)?)?;
        turn.insert(log.name().to_owned(), full.clone());
        Ok(Some(full))
    }

    fn lines(&self, note: &Note, now: Timestamp) -> Result<Vec<SignatureLine>, NodeError> {
        let seconds = u64::try_from(now.micros() / 1_000_000).unwrap_or(0).max(1);
        let lines = self.cosigner.cosign(note.text(), seconds);
        lines.map_err(|error| NodeError::Witness(error.to_string()))
    }
}

/// The logs that a file names.
fn read_logs(path: &Path) -> Result<Vec<NoteKey>, NodeError> {
    let policy = super::read_policy(path)?;
    let mut logs: Vec<NoteKey> = Vec::new();
    for known in policy.logs() {
        if logs.iter().any(|log| log.name() == known.key.name()) {
            return Err(NodeError::Config {
                path: path.to_owned(),
                message: format!("the log {} stands there twice", known.key.name()),
            });
        }
        logs.push(known.key.clone());
    }
    Ok(logs)
}

/// The logs that are witnessed here: the broker's, once it was met, and those that are named.
pub(super) fn known_logs(shared: &Shared) -> Result<Vec<NoteKey>, NodeError> {
    let own: Option<NoteKey> = known_log_key(shared)?.parse().ok();
    let mut logs: Vec<NoteKey> = own.into_iter().collect();
    for log in &shared.witness.logs {
        if logs.iter().all(|known| known.name() != log.name()) {
            logs.push(log.clone());
        }
    }
    Ok(logs)
}

/// The key of the log of an origin, where it is witnessed here.
pub(super) fn known_log(shared: &Shared, origin: &str) -> Result<Option<NoteKey>, NodeError> {
    let logs = known_logs(shared)?;
    Ok(logs.into_iter().find(|log| log.name() == origin))
}

/// SHA-256 of an origin, in hexadecimal.
pub(super) fn origin_hash(origin: &str) -> String {
    Digest::of(origin.as_bytes()).to_string()
}

fn with(note: &str, lines: &[SignatureLine]) -> Result<String, NodeError> {
    let mut note: Note = note
        .parse()
        .map_err(|_| StoreError::Damaged("checkpoint"))?;
    lines.iter().cloned().for_each(|line| note.add(line));
    Ok(note.to_string())
}

/// Where a proof about a log is kept: the broker's apart from those of others.
fn fork_key(store: &NodeStore, log: &NoteKey) -> Result<String, StoreError> {
    let own = store.value(super::link::LOG_KEY)?;
    if own.is_some_and(|own| own == log.to_string().as_bytes()) {
        return Ok(FORK.to_owned());
    }
    Ok(format!("{FORK_OF}{}", log.name()))
}

/// Proofs that logs showed two histories which are not the broker's, each with its origin.
pub(super) fn other_forks(shared: &Shared) -> Result<Vec<(String, String)>, StoreError> {
    let mut found = Vec::new();
    for log in &shared.witness.logs {
        let proof = shared.store.value(&format!("{FORK_OF}{}", log.name()))?;
        let proof = proof.and_then(|bytes| String::from_utf8(bytes.into()).ok());
        found.extend(proof.map(|proof| (log.name().to_owned(), proof)));
    }
    Ok(found)
}

fn answer(refusal: &WitnessRefusal) -> (u16, String) {
    (refusal.status(), refusal.body())
}

/// The checkpoint of a log that was cosigned last, as the log signed it.
pub(super) fn latest(
    store: &NodeStore,
    log: &NoteKey,
) -> Result<Option<(String, Checkpoint)>, NodeError> {
    let Some(note) = store.cosigned(log.name())? else {
        return Ok(None);
    };
    let damaged = |_| NodeError::Store(StoreError::Damaged("checkpoint"));
    let checkpoint = Checkpoint::verify(&note, log).map_err(damaged)?;
    Ok(Some((note, checkpoint)))
}

/// The log's key signed something that contradicts what was cosigned here. Where the request itself
/// shows it, that is a proof for everybody.
fn contradicted(
    store: &NodeStore,
    log: &NoteKey,
    cosigned: String,
    request: &AddCheckpoint,
    source: Source,
) -> Result<(), NodeError> {
    let proof = ForkProof {
        first: cosigned,
        second: request.note.clone(),
        path: request.proof.clone(),
    };
    if proof.verify(log).is_ok() {
        keep_fork(store, log, &proof)?;
    } else if source == Source::Broker {
        let text = "the log does not begin with what this node cosigned, and what the broker shows does not \
                    prove it to others";
        tracing::error!("{text}");
        store.put(SUSPECT, text.as_bytes())?;
    }
    Ok(())
}

/// Keeps a proof that the log showed two histories; one that proves nothing is passed over.
pub(super) fn keep_fork(
    store: &NodeStore,
    log: &NoteKey,
    proof: &ForkProof,
) -> Result<(), NodeError> {
    let key = fork_key(store, log)?;
    if proof.verify(log).is_err() || store.value(&key)?.is_some() {
        return Ok(());
    }
    let log = log.name();
    tracing::error!(
        log,
        "the log showed two histories; `entente status` says where the proof is"
    );
    store.put(&key, proof.to_string().as_bytes())?;
    Ok(())
}

/// What this node knows of a log that contradicts itself, and cannot prove.
pub(super) fn suspicion(store: &NodeStore) -> Result<Option<String>, StoreError> {
    let text = store.value(SUSPECT)?;
    Ok(text.and_then(|bytes| String::from_utf8(bytes.into()).ok()))
}

/// The proof that the log showed two histories, where there is one.
pub(super) fn fork(store: &NodeStore) -> Result<Option<String>, StoreError> {
    let proof = store.value(FORK)?;
    Ok(proof.and_then(|bytes| String::from_utf8(bytes.into()).ok()))
}

/// Takes a proof from the broker.
pub(super) fn take_fork(shared: &Shared, log: &NoteKey, proof: &str) -> Result<(), NodeError> {
    let Ok(proof) = proof.parse::<ForkProof>() else {
        return Err(NodeError::Protocol("its proof of a fork cannot be read"));
    };
    keep_fork(&shared.store, log, &proof)
}

/// Compares the broker's checkpoint, as it greets, with what was cosigned here.
pub(super) fn compare(shared: &Shared, log: &NoteKey, shown: &str) -> Result<(), NodeError> {
    let Some((cosigned, latest)) = latest(&shared.store, log)? else {
        return Ok(());
    };
    if shown.len() > MAX_BYTES {
        return Err(NodeError::Protocol("its checkpoint is too large"));
    }
    let theirs = Checkpoint::verify(shown, log);
    let theirs = theirs.map_err(|_| NodeError::OlderLog {
        known: latest.size,
        shown: 0,
    })?;
    if theirs.size < latest.size {
        return Err(NodeError::OlderLog {
            known: latest.size,
            shown: theirs.size,
        });
    }
    if theirs.size == latest.size && theirs.root != latest.root {
        let alone = as_signed(shown, log).unwrap_or_else(|| shown.to_owned());
        let proof = ForkProof {
            first: cosigned,
            second: alone,
            path: Vec::new(),
        };
        keep_fork(&shared.store, log, &proof)?;
        return Err(NodeError::Forked(latest.size));
    }
    Ok(())
}

/// A checkpoint with the log's own signature only.
pub(super) fn as_signed(note: &str, log: &NoteKey) -> Option<String> {
    let note: Note = note.parse().ok()?;
    let mut alone = Note::new(note.text().to_owned()).ok()?;
    let own = note.lines().iter().filter(|line| line.is_of(log));
    own.cloned().for_each(|line| alone.add(line));
    Some(alone.to_string())
}
