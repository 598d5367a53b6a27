//! A broker begins from another's snapshot.

use std::path::Path;
use std::sync::Arc;

use super::checkpoint::read_policy;
use super::config::Config;
use super::engine::is_directory;
use super::error::BrokerError;
use super::open_log;
use crate::clock::{Clock, Entropy};
use crate::identity::read_secret_key;
use crate::proof::{Checkpoint, Note, NoteKey, Signer};
use crate::stream::Snapshot;

/// What a broker began from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// Records in the snapshot.
    pub snapshot: u64,
    /// Records that its checkpoint covers, and witnesses of the policy who cosigned that.
    pub covered: u64,
    /// See `covered`.
    pub witnesses: usize,
    /// Records in the log now.
    pub records: u64,
}

/// Fills the empty copy of a broker that does not run from a snapshot, and takes on what the stream has beyond it.
///
/// The snapshot's checkpoint must be signed by the log's key and have the quorum of the configuration's witness policy,
/// where there is one; its records must have that checkpoint's root, and the stream the message that it ends with. The
/// state is folded from the records.
pub fn join(
    config: &Config,
    file: &Path,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    progress: impl FnMut(u64, u64),
) -> Result<Joined, BrokerError> {
    if is_directory(&config.ledger) {
        return Err(BrokerError::NotShared(config.ledger.clone()));
    }
    let key = read_secret_key(&config.log_key)?.public_key();
    let snapshot = Snapshot::open(file, &key)?;
    let (checkpoint, witnesses) = believed(config, &snapshot)?;
    let (records, over) = (snapshot.records(), (checkpoint.size, checkpoint.root));
    snapshot.begin(&config.ledger, &config.stream, &key, over, progress)?;
    let log = open_log(config, clock, entropy)?;
    // The next start folds what comes after this.
    log.snapshot()?;
    Ok(Joined {
        snapshot: records,
        covered: over.0,
        witnesses,
        records: log.size(),
    })
}

/// The checkpoint of a snapshot, and how many witnesses of the policy cosigned it.
fn believed(config: &Config, snapshot: &Snapshot) -> Result<(Checkpoint, usize), BrokerError> {
    let text = snapshot.checkpoint();
    let refused =
        |error: &dyn std::fmt::Display| snapshot.refused(&format!("its checkpoint: {error}"));
    let note: Note = text.parse().map_err(|error| refused(&error))?;
    let origin = text.lines().next().unwrap_or_default();
    let key = read_secret_key(&config.log_key)?.public_key();
    // That the genesis names this origin is checked when the log is folded.
    let log = NoteKey::new(origin, key).map_err(|error| refused(&error))?;
    let checkpoint = Checkpoint::of_note(&note, &log).map_err(|error| refused(&error))?;
    let Some(witness) = &config.witness else {
        tracing::warn!(
            "there is no witness policy: the log's own signature alone vouches for the snapshot"
        );
        return Ok((checkpoint, 0));
    };
    let policy = read_policy(witness)?.for_log(&log);
    let witnessed = policy.check(text).map_err(|error| refused(&error))?;
    Ok((checkpoint, witnessed.cosigners.len()))
}
