//! A node's outbox: what waits for the broker's promise, and what is kept after it until a checkpoint
//! that this node believes covers it. A broker that lost the tail of its log is given that again.

use bytes::Bytes;
use data_encoding::BASE64;
use fjall::{Keyspace, OwnedWriteBatch as WriteBatch};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::node::{NodeStore, Writer, decode, encode, number};
use super::receipts::{Expected, Proved, Unproven};
use crate::bulletin::{BulletinId, Precedence};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::Digest;

/// What is kept at most of promised bulletins, while no checkpoint covers them: the oldest are forgotten
/// beyond it, as if their promise were enough.
pub const MAX_KEPT: Kept = Kept {
    bulletins: 65_536,
    bytes: 64 * 1024 * 1024,
};
/// Where it is kept from which position on promised bulletins are.
const KEEP_FROM: &str = "keep_from";

/// How much is kept of promised bulletins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many.
    pub bulletins: u64,
    /// Bytes of their envelopes.
    pub bytes: u64,
}

impl Kept {
    pub(super) fn count(kept: &Keyspace) -> Result<Self, StoreError> {
        let mut all = Self::default();
        for found in kept.iter() {
            all.add(found.value()?.len());
        }
        Ok(all)
    }

    /// Whether it is more than a limit.
    pub fn exceeds(&self, limit: &Self) -> bool {
        self.bulletins > limit.bulletins || self.bytes > limit.bytes
    }

    fn add(&mut self, bytes: usize) {
        self.bulletins += 1;
        self.bytes += bytes as u64;
    }

    fn remove(&mut self, bytes: usize) {
        self.bulletins = self.bulletins.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

/// A bulletin to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its id.
    pub id: BulletinId,
    /// The most urgent are sent first.
    pub precedence: Precedence,
    /// The sealed bulletin.
    pub envelope: Bytes,
    /// Its header.
    pub header: Bytes,
    /// What it passes on, where it does.
    pub passes_on: Option<PassedOnTo>,
}

/// A bulletin in the outbox that the broker has not answered.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its id.
    pub id: BulletinId,
    /// The sealed bulletin.
    pub envelope: Bytes,
}

/// How far a bulletin of the outbox has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum OutboxState {
    /// Durable here, not yet answered.
    Pending,
    /// In the broker's log.
    Promised {
        /// Where.
        position: u64,
        /// When.
        time: Timestamp,
    },
    /// Refused for good.
    Rejected {
        /// Stable code.
        code: String,
        /// For people.
        message: String,
    },
}

/// That a bulletin passes on one that was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOnTo {
    /// The one that was received.
    pub received: BulletinId,
    /// To whom it goes on.
    pub to: Vec<PartnerId>,
}

/// A line of the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// The bulletin.
    pub id: BulletinId,
    /// Its precedence.
    pub precedence: Precedence,
    /// When it was published here.
    pub published: Timestamp,
    /// SHA-256 of the sealed bulletin.
    envelope: String,
    /// Its number in the outbox.
    number: u64,
    /// Its header in base64, so that a notice about it can be given later.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    header: String,
    /// How far it has come.
    #[serde(flatten)]
    pub state: OutboxState,
}

impl OutboxStatus {
    /// The header's bytes; `None` where an older version published it.
    pub fn header(&self) -> Option<Bytes> {
        let bytes = BASE64.decode(self.header.as_bytes()).ok()?;
        (!bytes.is_empty()).then(|| bytes.into())
    }
}

impl NodeStore {
    /// Takes bulletins into the outbox, durably: one sync for all. One that is there already with
    /// the same content is not taken again; with other content nothing at all is taken.
    pub fn enqueue(&self, outgoing: &[Outgoing], now: Timestamp) -> Result<(), StoreError> {
        let bytes = outgoing.iter().map(|one| one.envelope.len() as u64).sum();
        self.directory.check_room(bytes)?;
        self.write(|writer, batch| self.publish(writer, batch, outgoing, now))
    }

    pub(super) fn publish(
        &self,
        writer: &mut Writer,
        batch: &mut WriteBatch,
        outgoing: &[Outgoing],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for one in outgoing {
            let digest = Digest::of(&one.envelope).to_string();
            if let Some(known) = self.outbox_status(&one.id)? {
                if known.envelope == digest {
                    continue;
                }
                return Err(StoreError::OtherContent(one.id.to_string()));
            }
            writer.published += 1;
            let status = OutboxStatus {
                id: one.id,
                precedence: one.precedence,
                published: now,
                envelope: digest,
                number: writer.published,
                header: BASE64.encode(&one.header),
                state: OutboxState::Pending,
            };
            batch.insert(&self.outbox, outbox_key(&status), one.envelope.as_ref());
            batch.insert(&self.status, one.id.0, encode(&status)?);
            if let Some(passed_on) = &one.passes_on {
                let key = [passed_on.received.0, one.id.0].concat();
                batch.insert(&self.passed_on, key, encode(&passed_on.to)?);
            }
        }
        batch.insert(&self.meta, "published", writer.published.to_be_bytes());
        Ok(())
    }

    /// Forgets that a bulletin was refused, so that it can be published with other content under its id.
    pub fn forget_rejected(&self, id: &BulletinId) -> Result<(), StoreError> {
        self.write(|_, batch| {
            let known = self.outbox_status(id)?;
            if known.is_some_and(|known| matches!(known.state, OutboxState::Rejected { .. })) {
                batch.remove(&self.status, id.0);
            }
            Ok(())
        })
    }

    /// The bulletins that pass on one that was received, each with those to whom it goes on.
    pub fn passed_on(
        &self,
        received: &BulletinId,
    ) -> Result<Vec<(BulletinId, Vec<PartnerId>)>, StoreError> {
        let mut all = Vec::new();
        for found in self.passed_on.prefix(received.0) {
            let (key, value) = found.into_inner()?;
            let id = key.get(16..).and_then(|id| id.try_into().ok());
            let id = id.ok_or(StoreError::Damaged("what was passed on"))?;
            all.push((BulletinId(id), decode(&value, "what was passed on")?));
        }
        Ok(all)
    }

    /// Up to `limit` pending bulletins, the most urgent first, those of one urgency in order.
    pub fn pending(&self, limit: usize) -> Result<Vec<Pending>, StoreError> {
        let mut pending = Vec::new();
        for found in self.outbox.iter().take(limit) {
            let (key, envelope) = found.into_inner()?;
            let id = key.get(9..).and_then(|id| id.try_into().ok());
            let id = id
                .map(BulletinId)
                .ok_or(StoreError::Damaged("outbox entry"))?;
            pending.push(Pending {
                id,
                envelope: Bytes::copy_from_slice(&envelope),
            });
        }
        Ok(pending)
    }

    /// Notes the broker's answers, durably, and takes those bulletins out of what is to be sent. What is
    /// promised at `keep_from` or beyond it is kept until it is proved.
    pub fn settle(
        &self,
        answers: &[(BulletinId, OutboxState)],
        keep_from: Option<u64>,
    ) -> Result<(), StoreError> {
        self.write(|writer, batch| {
            for (id, state) in answers {
                let Some(mut status) = self.outbox_status(id)? else {
                    continue;
                };
                let key = outbox_key(&status);
                if let OutboxState::Promised { position, .. } = *state
                    // What is proved is promised again where the same was submitted again.
                    && !self.has_receipt(&id.0, position)?
                {
                    let keeps = keep_from.is_some_and(|from| from <= position);
                    let envelope = keeps.then(|| self.outbox.get(&key)).transpose()?.flatten();
                    if let Some(envelope) = envelope {
                        self.keep(writer, batch, position, id, &envelope)?;
                    }
                    if let Some(header) = status.header() {
                        let unproven = Unproven {
                            position,
                            subject: id.0,
                            expected: Expected::Published(Digest::of(&header)),
                        };
                        batch.insert(&self.unproven, position.to_be_bytes(), unproven.value());
                    }
                }
                batch.remove(&self.outbox, key);
                status.state = state.clone();
                batch.insert(&self.status, id.0, encode(&status)?);
            }
            self.forget_oldest(writer, batch)
        })
    }

    /// Keeps a promised bulletin. One position holds one bulletin: a broker that promises it for another
    /// is not believed.
    fn keep(
        &self,
        writer: &mut Writer,
        batch: &mut WriteBatch,
        position: u64,
        id: &BulletinId,
        envelope: &[u8],
    ) -> Result<(), StoreError> {
        let key = kept_key(position, id);
        if let Some(known) = self.kept.prefix(position.to_be_bytes()).next() {
            let same = *known.key()? == key[..];
            return same.then_some(()).ok_or(StoreError::Taken(position));
        }
        writer.kept.add(envelope.len());
        batch.insert(&self.kept, key, envelope);
        Ok(())
    }

    /// Keeps no more than [`MAX_KEPT`]: the oldest are forgotten.
    fn forget_oldest(&self, writer: &mut Writer, batch: &mut WriteBatch) -> Result<(), StoreError> {
        let mut oldest = self.kept.iter();
        while writer.kept.exceeds(&MAX_KEPT)
            && let Some(found) = oldest.next()
        {
            let (key, envelope) = found.into_inner()?;
            writer.kept.remove(envelope.len());
            batch.remove(&self.kept, key);
        }
        Ok(())
    }

    /// From which position on promised bulletins are kept: the smallest size at which the log was ever
    /// met. What stands before it may be a record of format 1, of which there are no receipts.
    pub fn keep_from(&self, size: u64) -> Result<u64, StoreError> {
        let known = self.meta.get(KEEP_FROM)?;
        let known = known.map(|value| number(&value)).transpose()?;
        let from = known.map_or(size, |known| known.min(size));
        if known != Some(from) {
            self.put(KEEP_FROM, &from.to_be_bytes())?;
        }
        Ok(from)
    }

    /// Submits again what was promised at this position of the log or beyond it, where the log does not
    /// reach that far any more; returns how many there are.
    pub fn requeue_from(&self, size: u64) -> Result<usize, StoreError> {
        let mut lost = Vec::new();
        for found in self.kept.range(size.to_be_bytes()..) {
            lost.push(read_kept_key(&found.key()?)?);
        }
        self.requeue(&lost)
    }

    /// Submits kept bulletins again, each named with the position at which it was promised and is not;
    /// returns how many there are.
    pub fn requeue(&self, lost: &[(u64, BulletinId)]) -> Result<usize, StoreError> {
        let mut again = 0;
        self.write(|writer, batch| {
            for (position, id) in lost {
                if self.put_back(writer, batch, *position, id)? {
                    self.expect_no_more(batch, *position, id)?;
                    again += 1;
                }
            }
            Ok(())
        })?;
        Ok(again)
    }

    /// Another bulletin stands at a position: what was promised there is submitted again, if it is kept.
    /// Returns how many there are.
    pub(super) fn displaced(
        &self,
        writer: &mut Writer,
        batch: &mut WriteBatch,
        by: &Unproven,
    ) -> Result<usize, StoreError> {
        let mut again = 0;
        for found in self.kept.prefix(by.position.to_be_bytes()) {
            let (position, id) = read_kept_key(&found.key()?)?;
            if id.0 != by.subject && self.put_back(writer, batch, position, &id)? {
                again += 1;
            }
        }
        Ok(again)
    }

    /// Puts a kept bulletin back into what is to be sent; `false` where it is not kept.
    fn put_back(
        &self,
        writer: &mut Writer,
        batch: &mut WriteBatch,
        position: u64,
        id: &BulletinId,
    ) -> Result<bool, StoreError> {
        let key = kept_key(position, id);
        let (Some(envelope), Some(mut status)) = (self.kept.get(key)?, self.outbox_status(id)?)
        else {
            return Ok(false);
        };
        batch.remove(&self.kept, key);
        writer.kept.remove(envelope.len());
        status.state = OutboxState::Pending;
        batch.insert(&self.outbox, outbox_key(&status), envelope);
        batch.insert(&self.status, id.0, encode(&status)?);
        Ok(true)
    }

    /// The receipt of a record is here: its bulletin is kept no more.
    pub(super) fn proved(
        &self,
        writer: &mut Writer,
        batch: &mut WriteBatch,
        proved: &Proved,
    ) -> Result<(), StoreError> {
        for found in self.kept.prefix(proved.position.to_be_bytes()) {
            let (key, envelope) = found.into_inner()?;
            // Another that was promised there, and is not, is submitted again.
            if key.ends_with(&proved.subject) {
                writer.kept.remove(envelope.len());
                batch.remove(&self.kept, key);
            }
        }
        Ok(())
    }

    /// How far a published bulletin has come.
    pub fn outbox_status(&self, id: &BulletinId) -> Result<Option<OutboxStatus>, StoreError> {
        self.status
            .get(id.0)?
            .map(|value| decode(&value, "outbox status"))
            .transpose()
    }

    /// Everything that was published here, the oldest first.
    pub fn outbox(&self) -> Result<Vec<OutboxStatus>, StoreError> {
        let mut all = Vec::new();
        for found in self.status.iter() {
            all.push(decode::<OutboxStatus>(&found.value()?, "outbox status")?);
        }
        all.sort_by_key(|status| status.number);
        Ok(all)
    }
}

/// The most urgent sort first.
fn outbox_key(status: &OutboxStatus) -> Vec<u8> {
    let urgency = u8::MAX - status.precedence as u8;
    [
        &[urgency],
        status.number.to_be_bytes().as_slice(),
        &status.id.0,
    ]
    .concat()
}

fn kept_key(position: u64, id: &BulletinId) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&position.to_be_bytes());
    key[8..].copy_from_slice(&id.0);
    key
}

fn read_kept_key(key: &[u8]) -> Result<(u64, BulletinId), StoreError> {
    let read = key.split_first_chunk().and_then(|(position, id)| {
        let id = id.try_into().ok()?;
        Some((u64::from_be_bytes(*position), BulletinId(id)))
    });
    read.ok_or(StoreError::Damaged("kept bulletin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(id: u8, precedence: Precedence, text: &'static str) -> Outgoing {
        Outgoing {
            passes_on: None,
            id: BulletinId([id; 16]),
            precedence,
            envelope: Bytes::from_static(text.as_bytes()),
            header: Bytes::new(),
        }
    }

    #[test]
    fn the_most_urgent_goes_first_and_what_is_answered_goes_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let store = NodeStore::open(directory.path()).unwrap();
        let now = Timestamp::MIN;
        let routine = outgoing(1, Precedence::Routine, "routine");
        let flash = outgoing(2, Precedence::Flash, "flash");
        store.enqueue(&[routine.clone(), flash], now).unwrap();
        store.enqueue(&[routine], now).unwrap();
        drop(store);
        let store = NodeStore::open(directory.path()).unwrap();
        let ids = |store: &NodeStore| -> Vec<u8> {
            store
                .pending(9)
                .unwrap()
                .iter()
                .map(|one| one.id.0[0])
                .collect()
        };
        assert_eq!(ids(&store), [2, 1]);
        let state = OutboxState::Promised {
            position: 7,
            time: now,
        };
        store
            .settle(&[(BulletinId([2; 16]), state.clone())], None)
            .unwrap();
        assert_eq!(ids(&store), [1]);
        assert_eq!(
            store
                .outbox_status(&BulletinId([2; 16]))
                .unwrap()
                .unwrap()
                .state,
            state
        );
        let error = store
            .enqueue(&[outgoing(2, Precedence::Flash, "other")], now)
            .unwrap_err();
        assert!(matches!(error, StoreError::OtherContent(_)));
    }
}
