//! Contents on their way to the servers: those of a group, and those of the next one while something else is done.
//!
//! What the next group will be is guessed by whoever proposes it. Where it becomes another, its contents are stored as
//! they are, and those of the guess are removed. A group is appended only when its contents are acknowledged, either
//! way; what a crash leaves is swept, as all that no group names.

use std::collections::BTreeMap;
use std::sync::{PoisonError, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::contents::Name;
use super::engine::StreamEngine;
use super::error::StreamError;
use super::nats::CLOSED;
use crate::clock::random;

/// Contents that were stored longer ago are stored anew: another broker that starts sweeps what no group names.
const FRESH: Duration = Duration::from_mins(1);

/// Contents that are being stored under a name.
#[derive(Debug)]
pub(super) struct Prepared {
    name: Name,
    bodies: BTreeMap<u64, Bytes>,
    since: Instant,
    /// What became of it, when it has; `None`: there are none.
    stored: Option<mpsc::Receiver<Result<(), StreamError>>>,
}

impl Prepared {
    pub(super) fn name(&self) -> Name {
        self.name
    }

    /// Waits until they are durable.
    pub(super) fn stored(self) -> Result<(), StreamError> {
        let closed = |_| StreamError::Unavailable(CLOSED.to_owned());
        match self.stored {
            Some(stored) => stored.recv().map_err(closed)?,
            None => Ok(()),
        }
    }
}

impl StreamEngine {
    /// Begins to store contents.
    fn begin(&self, bodies: BTreeMap<u64, Bytes>) -> Result<Prepared, StreamError> {
        let name = random(self.entropy.as_ref())?;
        let stored = (!bodies.is_empty()).then(|| {
            let (store, bodies) = (self.catalogue.contents.clone(), bodies.clone());
            self.nats
                .begin(async move { store.put(name, bodies).await })
        });
        Ok(Prepared {
            name,
            bodies,
            since: Instant::now(),
            stored,
        })
    }

    /// Begins to store what the next group's contents are likely to be.
    pub(super) fn try_prepare(&self, bodies: BTreeMap<u64, Bytes>) -> Result<(), StreamError> {
        let next = (!bodies.is_empty())
            .then(|| self.begin(bodies))
            .transpose()?;
        self.replace(next);
        Ok(())
    }

    /// Contents of a group: those that are being stored, where they are the same; else they begin to be.
    pub(super) fn prepared_or_new(
        &self,
        bodies: BTreeMap<u64, Bytes>,
    ) -> Result<Prepared, StreamError> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = prepared.take_if(|one| one.bodies == bodies && one.since.elapsed() < FRESH);
        drop(prepared);
        if let Some(prepared) = fits {
            return Ok(prepared);
        }
        self.replace(None);
        self.begin(bodies)
    }

    /// Puts others into the place of what was prepared, which goes when it is stored.
    fn replace(&self, next: Option<Prepared>) {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = std::mem::replace(&mut *prepared, next) {
            self.leave(left);
        }
    }

    /// Removes contents that no group names, when they are stored.
    pub(super) fn leave(&self, left: Prepared) {
        let (name, store) = (left.name, self.catalogue.contents.clone());
        if left.bodies.is_empty() {
            return;
        }
        self.nats.handle().spawn(async move {
            // What came of it does not matter: some of them may be there.
            let _ = tokio::task::spawn_blocking(move || left.stored()).await;
            if let Err(error) = store.remove(name).await {
                tracing::warn!(%error, name = %HEXLOWER.encode(&name), "bodies are left over");
            }
        });
    }
}
