//! What a door of the same process may do with a running node: read the inbox, publish, and keep rows of
//! its own in the node's store. The local socket gives other processes the same.

use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::notices::{self, NoticeDraft};
use super::view::{self, ItemView};
use super::{Shared, evidence, local};
use crate::agreement::RatifiedAgreement;
use crate::bulletin::{BulletinId, Draft};
use crate::clock::{Clock, Entropy};
use crate::partner::PartnerId;
use crate::store::OutboxState;
use crate::transport::Trouble;

/// A running node, for applications. Methods block, and store durably what they store.
#[derive(Clone, Debug)]
pub struct Applications {
    shared: Arc<Shared>,
}

/// While one adds, no other does.
#[derive(Debug)]
pub struct Adding<'a> {
    _turn: MutexGuard<'a, ()>,
}

/// What became of a bulletin that was published here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the outbox; the broker has not answered.
    Pending,
    /// In the broker's log, as it promised; the receipt is not here yet.
    Promised,
    /// In the broker's log, and the receipt is here that proves it.
    Proved,
    /// Refused for good, and why.
    Rejected(String),
}

impl Applications {
    pub(super) const fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Up to `limit` bulletins of the inbox after a number, quarantined ones included.
    pub fn items(&self, after: u64, limit: usize) -> Result<Vec<ItemView>, Trouble> {
        local::page(&self.shared, after, limit)
    }

    /// The bulletin of this number.
    pub fn item(&self, number: u64) -> Result<Option<ItemView>, Trouble> {
        let found = local::page(&self.shared, number.saturating_sub(1), 1)?;
        Ok(found.into_iter().find(|item| item.number == number))
    }

    /// Waits until no other door of this node adds, and keeps them from it.
    pub fn adding(&self) -> Adding<'_> {
        let adding = self.shared.adding.lock();
        Adding {
            _turn: adding.unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Counts changes of the outbox.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.shared.settled.subscribe()
    }

    /// Counts what is added to the inbox.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.shared.inbox.subscribe()
    }

    /// Publishes a bulletin: it is in the outbox then, durably.
    pub fn publish(&self, draft: Draft) -> Result<(), Trouble> {
        local::publish(&self.shared, vec![draft]).map(|_| ())
    }

    /// Gives notice about a bulletin that was published here: it is in the outbox then, durably.
    pub fn give(&self, notice: NoticeDraft) -> Result<BulletinId, Trouble> {
        notices::give(&self.shared, notice)
    }

    /// What became of a bulletin; `None` where none of this id was published here.
    pub fn outcome(&self, id: &BulletinId) -> Result<Option<Outcome>, Trouble> {
        let Some(status) = self.shared.store.outbox_status(id)? else {
            return Ok(None);
        };
        Ok(Some(match status.state {
            OutboxState::Pending => Outcome::Pending,
            OutboxState::Rejected { message, .. } => Outcome::Rejected(message),
            OutboxState::Promised { position, .. } => {
                if self.shared.store.has_receipt(&id.0, position)? {
                    Outcome::Proved
                } else {
                    Outcome::Promised
                }
            }
        }))
    }

    /// This node's partner.
    pub fn partner(&self) -> PartnerId {
        self.shared.config.spiffe_id.partner().clone()
    }

    /// The agreements in force, as this node verified them.
    pub fn agreements(&self) -> Vec<RatifiedAgreement> {
        let trusted = evidence::trusted(&self.shared);
        let in_force = trusted.in_force.iter();
        in_force
            .filter_map(|id| trusted.agreements.get(id).cloned())
            .collect()
    }

    /// The bulletin of this id that was received here.
    pub fn received(&self, id: &BulletinId) -> Result<Option<ItemView>, Trouble> {
        let Some((number, bytes)) = self.shared.store.inbox_item(id)? else {
            return Ok(None);
        };
        Ok(Some(view::item(&self.shared, number, &bytes)?))
    }

    /// Puts and removes rows of an application's own, all of them with one sync.
    pub fn keep(&self, put: &[(Vec<u8>, Vec<u8>)], gone: &[Vec<u8>]) -> Result<(), Trouble> {
        Ok(self.shared.store.keep_rows(put, gone)?)
    }

    /// A row.
    pub fn row(&self, key: &[u8]) -> Result<Option<Bytes>, Trouble> {
        Ok(self.shared.store.row(key)?)
    }

    /// What a command noted under a name.
    pub fn noted(&self, name: &str) -> Result<Option<String>, Trouble> {
        let row = self.shared.store.row(&local::note_key(name))?;
        Ok(row.and_then(|row| String::from_utf8(row.into()).ok()))
    }

    /// Up to `limit` rows whose keys begin with `prefix` and stand after `after`, by their keys.
    pub fn rows(
        &self,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, Trouble> {
        Ok(self.shared.store.rows(prefix, after, limit)?)
    }

    /// The node's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock)
    }

    /// The node's random numbers.
    pub fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::clone(&self.shared.entropy)
    }

    /// Cancelled when the node stops.
    pub fn stop(&self) -> CancellationToken {
        self.shared.stop.clone()
    }
}
