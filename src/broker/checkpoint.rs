//! Signed checkpoints: the head of the log, kept in a place of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Shared;
use super::config::Config;
use super::error::BrokerError;
use crate::ledger::State;
use crate::proof::{Checkpoint, Digest, NoteKey, Signer};
use crate::store::HeadFile;

/// At most this often a checkpoint is signed.
const INTERVAL: Duration = Duration::from_millis(200);

/// The last checkpoint and the file that keeps it.
#[derive(Debug)]
pub(super) struct Head {
    file: HeadFile,
    last: Mutex<Option<Signed>>,
    origin: Mutex<Option<String>>,
}

#[derive(Clone, Debug)]
struct Signed {
    note: String,
    checkpoint: Checkpoint,
}

impl Head {
    /// Reads the last checkpoint, whose signature must be of the log's key.
    pub(super) fn open(config: &Config, log_key: &dyn Signer) -> Result<Self, BrokerError> {
        let file = HeadFile::new(&config.head);
        let note = file.load()?;
        let mut last = None;
        if let Some(note) = note {
            let failed = |error| BrokerError::Head {
                path: config.head.clone(),
                error,
            };
            // The origin is checked against the genesis once the log is folded.
            let origin = note.lines().next().unwrap_or_default().to_owned();
            let key = NoteKey::new(&origin, log_key.public_key())
                .map_err(|error| failed(error.into()))?;
            let checkpoint = Checkpoint::verify(&note, &key).map_err(failed)?;
            last = Some(Signed { note, checkpoint });
        }
        Ok(Self {
            file,
            last: Mutex::new(last),
            origin: Mutex::new(None),
        })
    }

    fn signed(&self) -> Option<Signed> {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn last(&self) -> Option<String> {
        self.signed().map(|signed| signed.note)
    }

    pub(super) fn signed_size(&self) -> Option<u64> {
        self.signed().map(|signed| signed.checkpoint.size)
    }

    /// Where a checkpoint was signed over this size, its root must be this one.
    pub(super) fn check_root(
        &self,
        size: u64,
        root: impl FnOnce() -> Digest,
    ) -> Result<(), BrokerError> {
        match self.signed() {
            Some(signed) if signed.checkpoint.size == size && signed.checkpoint.root != root() => {
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
        *self.origin.lock().unwrap_or_else(PoisonError::into_inner) = Some(named.name().to_owned());
        let Some(signed) = self.signed() else {
            return Ok(());
        };
        if signed.checkpoint.origin != named.name() {
            return Err(other_key());
        }
        if signed.checkpoint.size > state.size() {
            let (size, signed) = (state.size(), signed.checkpoint.size);
            return Err(BrokerError::Rollback { size, signed });
        }
        Ok(())
    }

    pub(super) fn sign(
        &self,
        size: u64,
        root: Digest,
        log_key: &dyn Signer,
    ) -> Result<(), BrokerError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last
            .as_ref()
            .is_some_and(|signed| signed.checkpoint.size >= size)
        {
            return Ok(());
        }
        let origin = self
            .origin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let checkpoint = Checkpoint {
            origin: origin.ok_or(BrokerError::Closed)?,
            size,
            root,
        };
        let note = checkpoint.sign(log_key)?;
        let expected = last.as_ref().map(|signed| signed.note.as_str());
        if !self.file.swap(expected, &note)? {
            return Err(BrokerError::HeadTaken);
        }
        *last = Some(Signed { note, checkpoint });
        Ok(())
    }
}

/// Signs a checkpoint whenever the log has grown, at most every [`INTERVAL`].
pub(super) async fn run(shared: Arc<Shared>) {
    let mut sizes = shared.log.sizes();
    sizes.mark_changed();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = sizes.changed() => if changed.is_err() { return },
        }
        sizes.borrow_and_update();
        let signing = Arc::clone(&shared);
        let signed = tokio::task::spawn_blocking(move || {
            signing.log.snapshot_if_due()?;
            signing.log.sign_checkpoint(signing.log_key.as_ref())
        });
        match signed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "no checkpoint could be signed"),
            Err(_) => return,
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}
