//! A node's store: inbox, lane cursors, applications' cursors. Its outbox: `outbox`.

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode,
};
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::disk::{Disk, SystemDisk};
use super::error::StoreError;
use super::outbox::{Kept, Outgoing};
use super::receipts::Unproven;
use crate::bulletin::{BulletinId, Header, Originator, Precedence, Relation, Tlp};
use crate::clock::Timestamp;
use crate::ledger::LaneAck;
use crate::proof::Digest;

/// What a notice made of a bulletin of the inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What became of it.
    pub relation: Relation,
    /// By which notice.
    pub notice: BulletinId,
    /// SHA-256 of the notice's header.
    pub header: Digest,
    /// Who gave it.
    pub originator: Originator,
    /// Its TLP from then on, where that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlp: Option<Tlp>,
}

impl Mark {
    /// Whether a bulletin is of the originator who gave the notice: nobody else marks it.
    pub fn is_by(&self, bulletin: &Header) -> bool {
        self.originator == bulletin.originator
    }
}

/// One number of a lane, to be stored.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Lane, number and chain after it.
    pub lane: LaneAck,
    /// The bulletin's id and what is to be kept of it; `None` where the number came void.
    pub item: Option<(BulletinId, Bytes)>,
    /// What is to be declared about it.
    pub declaration: Option<Bytes>,
    /// The record that released it.
    pub unproven: Option<Unproven>,
}

/// A notice that is applied to the inbox.
#[derive(Debug)]
pub struct AppliedNotice<'a> {
    /// Under which name it is kept how far notices were applied.
    pub reader: &'a str,
    /// Up to this number of the inbox.
    pub up_to: u64,
    /// The bulletin it is about, and what became of it.
    pub mark: Option<(BulletinId, Mark)>,
    /// The number of that bulletin, and what is left of it.
    pub item: Option<(u64, Bytes)>,
    /// What is declared.
    pub declaration: Option<Bytes>,
    /// Notices that are given in turn, about what was passed on.
    pub outgoing: Vec<Outgoing>,
    /// When they are.
    pub now: Timestamp,
}

/// Everything a node must not lose.
pub struct NodeStore {
    database: Database,
    /// Urgency and number -> envelope, of what is pending.
    pub(super) outbox: Keyspace,
    /// Position and id -> envelope, of what is promised and not proved.
    pub(super) kept: Keyspace,
    /// Id of a received bulletin and of one that passes it on -> to whom.
    pub(super) passed_on: Keyspace,
    /// Id -> status, of everything that was ever published here.
    pub(super) status: Keyspace,
    /// Number -> item.
    inbox: Keyspace,
    /// Id -> number in the inbox.
    inbox_ids: Keyspace,
    /// Lane -> number and chain.
    pub(super) lanes: Keyspace,
    /// Lane and number -> what it carried, of the last numbers.
    pub(super) carried: Keyspace,
    /// Application -> number in the inbox.
    consumers: Keyspace,
    /// Id -> mark, of bulletins about which notice was given.
    marks: Keyspace,
    /// Number -> signed declaration that the broker has not recorded yet.
    declarations: Keyspace,
    /// Id -> nothing, of bulletins that were declared as taken.
    taken: Keyspace,
    /// Position -> what is expected there, of records whose receipts are not here.
    pub(super) unproven: Keyspace,
    /// Subject and position -> receipt.
    pub(super) receipts: Keyspace,
    /// Size -> checkpoint, of those under which receipts hold.
    pub(super) checkpoints: Keyspace,
    /// Origin -> the checkpoint that this node's witness cosigned last.
    pub(super) witness: Keyspace,
    pub(super) meta: Keyspace,
    /// Of doors that other tools come through.
    pub(super) rows: Keyspace,
    pub(super) directory: Directory,
    disk: Arc<dyn Disk>,
    writer: Mutex<Writer>,
}

impl std::fmt::Debug for NodeStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeStore")
    }
}

/// Numbers given out, what is kept, and whether a write failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    pub(super) published: u64,
    received: u64,
    declared: u64,
    pub(super) kept: Kept,
    poisoned: bool,
}

impl NodeStore {
    /// Opens the store in a directory, making it where there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_on(path, Arc::new(SystemDisk))
    }

    /// As [`NodeStore::open`], on this disk.
    pub fn open_on(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let directory = Directory::open(disk.as_ref(), path, "node")?;
        let database = Database::builder(directory.database()).open()?;
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let meta = keyspace("meta")?;
        let published = meta
            .get("published")?
            .map_or(Ok(0), |value| number(&value))?;
        let inbox = keyspace("inbox")?;
        let received = inbox
            .last_key_value()
            .map_or(Ok(0), |last| number(&last.key()?))?;
        let declarations = keyspace("declarations")?;
        let declared = declarations
            .last_key_value()
            .map_or(Ok(0), |last| number(&last.key()?))?;
        let kept = keyspace("kept")?;
        let keeps = Kept::count(&kept)?;
        let store = Self {
            outbox: keyspace("outbox")?,
            kept,
            passed_on: keyspace("passed_on")?,
            status: keyspace("status")?,
            inbox,
            inbox_ids: keyspace("inbox_ids")?,
            lanes: keyspace("lanes")?,
            carried: keyspace("carried")?,
            consumers: keyspace("consumers")?,
            marks: keyspace("marks")?,
            declarations,
            taken: keyspace("taken")?,
            unproven: keyspace("unproven")?,
            receipts: keyspace("receipts")?,
            checkpoints: keyspace("checkpoints")?,
            witness: keyspace("witness")?,
            rows: keyspace("rows")?,
            meta,
            directory,
            disk,
            writer: Mutex::new(Writer {
                published,
                received,
                declared,
                kept: keeps,
                poisoned: false,
            }),
            database,
        };
        if store.has_unused_checkpoints()? {
            store.drop_unused_checkpoints()?;
        }
        Ok(store)
    }

    /// Upgrades until the directory is free for another process; see [`super::released`].
    pub fn held(&self) -> Weak<()> {
        self.directory.held()
    }

    /// Stores what came in lanes, with the lanes' new cursors, durably: one sync for all. Returns how many
    /// bulletins are submitted again, because something else was released where they were promised.
    pub fn receive(&self, incoming: &[Incoming]) -> Result<usize, StoreError> {
        let bytes = incoming.iter().filter_map(|one| one.item.as_ref());
        self.directory
            .check_room(bytes.map(|(_, bytes)| bytes.len() as u64).sum())?;
        let mut again = 0;
        self.write(|writer, batch| {
            let mut cursors = std::collections::HashMap::new();
            let mut taken = std::collections::HashSet::new();
            for one in incoming {
                let lane = one.lane.precedence;
                let last = match cursors.get(&lane) {
                    Some(last) => *last,
                    None => self.lane(lane)?.map_or(0, |cursor| cursor.up_to),
                };
                if one.lane.up_to != last + 1 {
                    let (expected, found) = (last + 1, one.lane.up_to);
                    return Err(StoreError::NotNext { expected, found });
                }
                cursors.insert(lane, one.lane.up_to);
                let cursor = [
                    &one.lane.up_to.to_be_bytes(),
                    one.lane.chain.as_bytes().as_slice(),
                ];
                batch.insert(&self.lanes, [lane as u8], cursor.concat());
                self.carry(batch, one);
                if let Some(declaration) = &one.declaration {
                    self.declare(writer, batch, declaration);
                }
                if let Some(unproven) = &one.unproven {
                    again += self.displaced(writer, batch, unproven)?;
                    let position = unproven.position.to_be_bytes();
                    batch.insert(&self.unproven, position, unproven.value());
                }
                if let Some((id, item)) = &one.item {
                    // Handed to applications once, whatever a broker delivers again.
                    if !taken.insert(*id) || self.inbox_ids.contains_key(id.0)? {
                        continue;
                    }
                    writer.received += 1;
                    let number = writer.received.to_be_bytes();
                    batch.insert(&self.inbox, number, item.as_ref());
                    batch.insert(&self.inbox_ids, id.0, number);
                }
            }
            Ok(())
        })?;
        Ok(again)
    }

    /// What is kept of promised bulletins until they are proved.
    pub fn kept(&self) -> Result<Kept, StoreError> {
        let writer = self.writer.lock().map_err(|_| StoreError::Poisoned)?;
        Ok(writer.kept)
    }

    /// How far a lane has come here; `None` where it never carried anything.
    pub fn lane(&self, precedence: Precedence) -> Result<Option<LaneAck>, StoreError> {
        let Some(value) = self.lanes.get([precedence as u8])? else {
            return Ok(None);
        };
        let damaged = || StoreError::Damaged("lane cursor");
        let (up_to, chain) = value.split_at_checked(8).ok_or_else(damaged)?;
        let chain = Digest::try_from(chain).map_err(|_| damaged())?;
        Ok(Some(LaneAck {
            precedence,
            up_to: number(up_to)?,
            chain,
        }))
    }

    /// Up to `limit` items of the inbox after a number, each with its own.
    pub fn inbox(&self, after: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let mut items = Vec::new();
        for found in self.inbox.range((after + 1).to_be_bytes()..).take(limit) {
            let (key, value) = found.into_inner()?;
            items.push((number(&key)?, Bytes::copy_from_slice(&value)));
        }
        Ok(items)
    }

    /// The item of this id.
    pub fn inbox_item(&self, id: &BulletinId) -> Result<Option<(u64, Bytes)>, StoreError> {
        let Some(at) = self.inbox_ids.get(id.0)? else {
            return Ok(None);
        };
        let value = self
            .inbox
            .get(&at)?
            .map(|value| Bytes::copy_from_slice(&value));
        value
            .map(|value| number(&at).map(|at| (at, value)))
            .transpose()
    }

    fn declare(&self, writer: &mut Writer, batch: &mut WriteBatch, declaration: &Bytes) {
        writer.declared += 1;
        let number = writer.declared.to_be_bytes();
        batch.insert(&self.declarations, number, declaration.as_ref());
    }

    /// What became of a bulletin by notice.
    pub fn mark(&self, id: &BulletinId) -> Result<Option<Mark>, StoreError> {
        let found = self.marks.get(id.0)?;
        found.map(|value| decode(&value, "mark")).transpose()
    }

    /// Applies a notice: the mark, what is left of the bulletin, how far notices were applied, and
    /// the declaration that says so, all with one sync.
    pub fn apply_notice(&self, applied: &AppliedNotice<'_>) -> Result<(), StoreError> {
        self.write(|writer, batch| {
            if let Some((id, mark)) = &applied.mark {
                batch.insert(&self.marks, id.0, encode(mark)?);
            }
            if let Some((number, item)) = &applied.item {
                batch.insert(&self.inbox, number.to_be_bytes(), item.as_ref());
            }
            if let Some(declaration) = &applied.declaration {
                self.declare(writer, batch, declaration);
            }
            batch.insert(&self.consumers, applied.reader, applied.up_to.to_be_bytes());
            self.publish(writer, batch, &applied.outgoing, applied.now)
        })
    }

    /// Puts what is left of an item in its place, with the declaration that the rest was deleted.
    pub fn erase(&self, number: u64, left: &Bytes, declaration: &Bytes) -> Result<(), StoreError> {
        self.write(|writer, batch| {
            batch.insert(&self.inbox, number.to_be_bytes(), left.as_ref());
            self.declare(writer, batch, declaration);
            Ok(())
        })
    }

    /// Notes durably that bulletins were taken, each with the declaration that says so; those that
    /// were declared before are passed over.
    pub fn take(&self, taken: &[(BulletinId, Bytes)]) -> Result<(), StoreError> {
        self.write(|writer, batch| {
            for (id, declaration) in taken {
                if !self.taken.contains_key(id.0)? {
                    batch.insert(&self.taken, id.0, []);
                    self.declare(writer, batch, declaration);
                }
            }
            Ok(())
        })
    }

    /// Notes durably what is to be declared.
    pub fn declare_later(&self, declaration: &Bytes) -> Result<(), StoreError> {
        self.write(|writer, batch| {
            self.declare(writer, batch, declaration);
            Ok(())
        })
    }

    /// Declarations that the broker has not recorded yet, in order.
    pub fn declarations(&self, limit: usize) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let mut waiting = Vec::new();
        for found in self.declarations.iter().take(limit) {
            let (key, value) = found.into_inner()?;
            waiting.push((number(&key)?, Bytes::copy_from_slice(&value)));
        }
        Ok(waiting)
    }

    /// Forgets a declaration that the broker has recorded, or never will.
    pub fn declared(&self, number: u64) -> Result<(), StoreError> {
        self.write(|_, batch| {
            batch.remove(&self.declarations, number.to_be_bytes());
            Ok(())
        })
    }

    /// Number of the last item an application has taken.
    pub fn consumer(&self, name: &str) -> Result<u64, StoreError> {
        self.consumers
            .get(name)?
            .map_or(Ok(0), |value| number(&value))
    }

    /// Notes durably that an application has taken everything up to a number. Never goes back.
    pub fn advance(&self, name: &str, to: u64) -> Result<(), StoreError> {
        self.write(|_, batch| {
            if to > self.consumer(name)? {
                batch.insert(&self.consumers, name, to.to_be_bytes());
            }
            Ok(())
        })
    }

    /// Keeps a small value durably.
    pub fn put(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.write(|_, batch| {
            batch.insert(&self.meta, name, value);
            Ok(())
        })
    }

    /// A small value.
    pub fn value(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self
            .meta
            .get(name)?
            .map(|value| Bytes::copy_from_slice(&value)))
    }

    /// One synced batch. Where filling it fails nothing is written; where committing it fails
    /// nothing is ever written again.
    pub(super) fn write(
        &self,
        fill: impl FnOnce(&mut Writer, &mut WriteBatch) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().map_err(|_| StoreError::Poisoned)?;
        if writer.poisoned {
            return Err(StoreError::Poisoned);
        }
        let mut batch = self
            .database
            .batch()
            .durability(Some(PersistMode::SyncData));
        let before = *writer;
        if let Err(error) = fill(&mut writer, &mut batch) {
            *writer = before;
            return Err(error);
        }
        if batch.is_empty() {
            return Ok(());
        }
        let mut batch = Some(batch);
        let committed = self.disk.step(&mut || match batch.take() {
            Some(batch) => Ok(batch.commit()?),
            None => Err(StoreError::Poisoned),
        });
        committed.inspect_err(|_| writer.poisoned = true)
    }
}

pub(super) fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::Damaged("number"))
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|_| StoreError::Damaged("value"))
}

pub(super) fn decode<T: for<'de> Deserialize<'de>>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|_| StoreError::Damaged(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming(up_to: u64, id: Option<u8>) -> Incoming {
        let chain = Digest::of(&up_to.to_be_bytes());
        let lane = LaneAck {
            precedence: Precedence::Routine,
            up_to,
            chain,
        };
        Incoming {
            lane,
            item: id.map(|id| (BulletinId([id; 16]), Bytes::from(vec![id]))),
            declaration: None,
            unproven: None,
        }
    }

    #[test]
    fn a_lane_is_stored_densely_and_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = NodeStore::open(directory.path()).unwrap();
        store
            .receive(&[incoming(1, Some(1)), incoming(2, None)])
            .unwrap();
        for number in [0, 2, 4] {
            let error = store.receive(&[incoming(number, Some(9))]).unwrap_err();
            assert!(
                matches!(error, StoreError::NotNext { expected: 3, .. }),
                "{error}"
            );
        }
        drop(store);
        let store = NodeStore::open(directory.path()).unwrap();
        assert_eq!(
            store.lane(Precedence::Routine).unwrap().unwrap(),
            incoming(2, None).lane
        );
        assert_eq!(store.lane(Precedence::Flash).unwrap(), None);
        store.receive(&[incoming(3, Some(3))]).unwrap();
        let items = store.inbox(0, 9).unwrap();
        assert_eq!(
            items,
            [(1, Bytes::from_static(&[1])), (2, Bytes::from_static(&[3]))]
        );
        assert_eq!(
            store.inbox_item(&BulletinId([3; 16])).unwrap().unwrap().0,
            2
        );
    }

    #[test]
    fn an_applications_cursor_never_goes_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = NodeStore::open(directory.path()).unwrap();
        store.advance("siem", 5).unwrap();
        store.advance("siem", 3).unwrap();
        assert_eq!(store.consumer("siem").unwrap(), 5);
        assert_eq!(store.consumer("other").unwrap(), 0);
    }
}
