//! This node's witness: it cosigns what the broker's log grows to, and nothing that contradicts what
//! it cosigned before.

use std::sync::{Arc, Mutex, PoisonError};

use super::Shared;
use super::error::NodeError;
use crate::clock::Timestamp;
use crate::identity::read_secret_key;
use crate::proof::{AddCheckpoint, Checkpoint, Cosigner, ForkProof, Note, NoteKey, WitnessRefusal};
use crate::session::witness_name;
use crate::store::{NodeStore, StoreError};

/// The largest request: a proof, and a checkpoint that fits into a greeting.
const MAX_BYTES: usize = 12 * 1024;
/// Where a proof that the log showed two histories is kept.
const FORK: &str = "fork";
/// Where it is kept that the log contradicts what was cosigned.
const SUSPECT: &str = "fork/suspect";

/// The witness: one key, which signs nothing else, and one checkpoint for each log.
#[derive(Debug)]
pub(super) struct Witness {
    cosigner: Cosigner,
    keys: Vec<NoteKey>,
    /// Held from the comparison with the last checkpoint until the next one is durable.
    turn: Mutex<()>,
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
        Ok(Self {
            cosigner,
            keys,
            turn: Mutex::new(()),
        })
    }

    /// The keys that verify its cosignatures.
    pub(super) fn keys(&self) -> &[NoteKey] {
        &self.keys
    }

    /// Answers a request, as over HTTP: a status code and a body.
    pub(super) fn add_checkpoint(
        &self,
        store: &NodeStore,
        log: &NoteKey,
        request: &str,
        now: Timestamp,
    ) -> Result<(u16, String), NodeError> {
        if request.len() > MAX_BYTES {
            return Ok(answer(&WitnessRefusal::Malformed("it is too large")));
        }
        let request: AddCheckpoint = match request.parse() {
            Ok(request) => request,
            Err(refusal) => return Ok(answer(&refusal)),
        };
        if fork(store)?.is_some() {
            return Ok(answer(&WitnessRefusal::Inconsistent));
        }
        // What is held is no state of its own.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = latest(store, log)?;
        let judged = request.judge(Some(log), latest.as_ref().map(|(_, head)| head));
        let checkpoint = match judged {
            Ok(checkpoint) => checkpoint,
            Err(refusal) => {
                if let (WitnessRefusal::Inconsistent, Some((note, _))) = (&refusal, latest) {
                    contradicted(store, log, note, &request)?;
                }
                return Ok(answer(&refusal));
            }
        };
        // Extension lines are cosigned as they stand.
        let note: Note = request
            .note
            .parse()
            .map_err(|_| NodeError::Protocol("its checkpoint is no note"))?;
        let alone = as_signed(&request.note, log).unwrap_or_else(|| request.note.clone());
        // Durable before anybody is told.
        store.cosign(&checkpoint.origin, &alone)?;
        let seconds = u64::try_from(now.micros() / 1_000_000).unwrap_or(0).max(1);
        let lines = self.cosigner.cosign(note.text(), seconds);
        let lines = lines.map_err(|error| NodeError::Witness(error.to_string()))?;
        Ok((200, lines.iter().map(ToString::to_string).collect()))
    }
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
) -> Result<(), NodeError> {
    let proof = ForkProof {
        first: cosigned,
        second: request.note.clone(),
        path: request.proof.clone(),
    };
    if proof.verify(log).is_ok() {
        keep_fork(store, log, &proof)?;
    } else {
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
    if proof.verify(log).is_err() || fork(store)?.is_some() {
        return Ok(());
    }
    tracing::error!("the log showed two histories; `entente status` says where the proof is");
    store.put(FORK, proof.to_string().as_bytes())?;
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
