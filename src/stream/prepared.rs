//! Contents on their way to the servers: those of a group, and those of the next one while something else is done.
//!
//! What the next group will be is guessed by whoever proposes it. Where it becomes another, its contents are stored as
//! they are, and those of the guess are removed. A group is appended only when its contents are acknowledged, either
//! way; what a crash leaves is swept, as all that no group names.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::contents::{Contents, Name};
use super::engine::StreamEngine;
use super::error::StreamError;
use super::nats::CLOSED;
use crate::clock::random;

/// Contents that were stored longer ago are stored anew: another broker that starts sweeps what no group names.
const FRESH: Duration = Duration::from_secs(10);
/// After a wrong guess none is made for a group, after the next one for two, and so on up to so many: a guess that is wrong
/// is stored for nothing.
const MOST_WITHOUT: u32 = 64;
/// The pause before contents that could not be removed are removed again; and how often.
const REMOVE_AGAIN: Duration = Duration::from_secs(10);
const REMOVALS: u32 = 30;

/// What the next group is guessed to have.
#[derive(Debug, Default)]
pub(super) struct Guess {
    prepared: Option<Prepared>,
    /// For how many groups none is made, and was not after the last wrong one.
    without: u32,
    last: u32,
}

impl Guess {
    /// Whether one may be made for the next group.
    fn may_be(&mut self) -> bool {
        let may = self.without == 0;
        self.without = self.without.saturating_sub(1);
        may
    }

    /// One was right, or was not.
    fn was(&mut self, right: bool) {
        self.last = if right {
            0
        } else {
            (2 * self.last).clamp(1, MOST_WITHOUT)
        };
        self.without = self.last;
    }
}

/// Contents that are being stored under a name.
#[derive(Debug)]
pub(super) struct Prepared {
    name: Name,
    bodies: BTreeMap<u64, Bytes>,
    since: Instant,
    /// Tells what became of it; `None`: there is nothing to store.
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

    /// Begins to store what the next group's contents are likely to be, where a guess is worth it.
    pub(super) fn try_prepare(&self, bodies: BTreeMap<u64, Bytes>) -> Result<bool, StreamError> {
        if bodies.is_empty() || !self.guess().may_be() {
            self.replace(None);
            return Ok(false);
        }
        let next = self.begin(bodies)?;
        self.replace(Some(next));
        Ok(true)
    }

    /// Contents of a group: those that are being stored, where they are the same; else they begin to be.
    pub(super) fn prepared_or_new(
        &self,
        bodies: BTreeMap<u64, Bytes>,
    ) -> Result<Prepared, StreamError> {
        let fits = {
            let mut guess = self.guess();
            let was = guess.prepared.is_some();
            let fits = |one: &mut Prepared| one.bodies == bodies && one.since.elapsed() < FRESH;
            let fits = guess.prepared.take_if(fits);
            if was {
                guess.was(fits.is_some());
            }
            fits
        };
        if let Some(prepared) = fits {
            return Ok(prepared);
        }
        self.replace(None);
        self.begin(bodies)
    }

    /// Puts others into the place of what was prepared, which goes when it is stored.
    fn replace(&self, next: Option<Prepared>) {
        let left = std::mem::replace(&mut self.guess().prepared, next);
        if let Some(left) = left {
            self.leave(left);
        }
    }

    fn guess(&self) -> MutexGuard<'_, Guess> {
        // Every change is one step.
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes contents that no group names, when they are stored.
    pub(super) fn leave(&self, left: Prepared) {
        if left.bodies.is_empty() {
            return;
        }
        let (name, store) = (left.name, self.catalogue.contents.clone());
        self.nats.handle().spawn(async move {
            // What came of it does not matter: some of them may be there.
            let _ = tokio::task::spawn_blocking(move || left.stored()).await;
            remove(&store, name).await;
        });
    }

    /// Removes contents that no group names.
    pub(super) fn forget(&self, name: Name) {
        self.forget_after(Duration::ZERO, name);
    }

    /// Removes contents of which it is not known whether they are stored, when what is on its way has come.
    pub(super) fn forget_later(&self, name: Name) {
        self.forget_after(REMOVE_AGAIN, name);
    }

    fn forget_after(&self, pause: Duration, name: Name) {
        let store = self.catalogue.contents.clone();
        self.nats.handle().spawn(async move {
            tokio::time::sleep(pause).await;
            remove(&store, name).await;
        });
    }
}

/// Removes contents that no group names, trying for a while; what is left then is swept when a broker starts.
async fn remove(store: &Contents, name: Name) {
    for _ in 0..REMOVALS {
        let Err(error) = store.remove(name).await else {
            return;
        };
        tracing::warn!(%error, name = %HEXLOWER.encode(&name), "bodies are left over");
        tokio::time::sleep(REMOVE_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_wrong_guesses_fewer_are_made_until_one_is_right() {
        let mut guess = Guess::default();
        let without = |guess: &mut Guess| {
            let none = std::iter::repeat_with(|| guess.may_be());
            none.take_while(|may| !may).count()
        };
        assert_eq!(without(&mut guess), 0);
        for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
            guess.was(false);
            assert_eq!(without(&mut guess), expected);
        }
        guess.was(true);
        assert_eq!(without(&mut guess), 0);
        guess.was(false);
        assert_eq!(without(&mut guess), 1);
    }
}
