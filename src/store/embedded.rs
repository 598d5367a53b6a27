//! The embedded ledger engine: one database file set, one synced batch for each group.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::directory::Directory;
use super::disk::{Disk, SystemDisk};
use super::error::StoreError;
use crate::ledger::{ENTRY_BYTES, Engine, EngineError, StoredRecord};
use crate::proof::merkle::leaf_hash;
use crate::proof::{Digest, TILE_WIDTH, TileEdge, TileKind, TilePath};

/// Entries read at once when the tree is made anew.
const READ: u64 = 4_096;

/// The log in a directory of its own.
///
/// `records` and `bodies` are keyed by position, big-endian. A group is one batch over both,
/// committed with an fdatasync. After a failed commit nothing more is written: whether it reached
/// the disk is unknown, and only reading it anew can tell.
pub struct EmbeddedEngine {
    database: Database,
    records: Keyspace,
    bodies: Keyspace,
    entries: Keyspace,
    /// Level and index, big-endian -> root of a whole tile below: follows from the entries.
    tiles: Keyspace,
    cache: Keyspace,
    /// What whoever copies a shared log notes beside it.
    beside: Keyspace,
    directory: Directory,
    disk: Arc<dyn Disk>,
    /// Whether a group is on the disk when it is appended.
    synced: bool,
    /// Whole groups that readers may see.
    size: AtomicU64,
    /// Held while appending: there is one writer.
    writer: Mutex<Writer>,
}

/// What the one writer knows.
#[derive(Debug)]
struct Writer {
    /// A commit failed.
    poisoned: bool,
    /// Where the tree grows.
    edge: TileEdge,
}

impl std::fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbeddedEngine({} records)", self.size())
    }
}

impl EmbeddedEngine {
    /// Opens the log in a directory, making it where there is none.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_on(path, Arc::new(SystemDisk))
    }

    /// As [`EmbeddedEngine::open`], for a copy of what is kept elsewhere: a power failure may take the last groups of
    /// it, whole ones; a crash of the program does not.
    pub fn open_copy(path: &Path) -> Result<Self, StoreError> {
        let engine = Self::open(path)?;
        Ok(Self {
            synced: false,
            ..engine
        })
    }

    /// As [`EmbeddedEngine::open`], on this disk.
    pub fn open_on(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let directory = Directory::open(disk.as_ref(), path, "ledger")?;
        let database = Database::builder(directory.database()).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        let bodies = database.keyspace("bodies", KeyspaceCreateOptions::default)?;
        let entries = database.keyspace("entries", KeyspaceCreateOptions::default)?;
        let cache = database.keyspace("cache", KeyspaceCreateOptions::default)?;
        let tiles = database.keyspace("tiles", KeyspaceCreateOptions::default)?;
        let beside = database.keyspace("beside", KeyspaceCreateOptions::default)?;
        let size = match records.last_key_value() {
            None => 0,
            Some(last) => position(&last.key()?)? + 1,
        };
        let engine = Self {
            database,
            records,
            bodies,
            entries,
            tiles,
            cache,
            beside,
            directory,
            disk,
            synced: true,
            size: AtomicU64::new(size),
            writer: Mutex::new(Writer {
                poisoned: false,
                edge: TileEdge::default(),
            }),
        };
        let edge = engine.edge(size)?;
        if let Ok(mut writer) = engine.writer.lock() {
            writer.edge = edge;
        }
        Ok(engine)
    }

    /// The tree's edge, from the roots of whole tiles that are kept; where some are not, because an
    /// older version wrote the log, they are made anew from the entries.
    fn edge(&self, size: u64) -> Result<TileEdge, StoreError> {
        let restored = TileEdge::restore(size, |level, from, until| match level {
            0 => self.leaf_hashes(from, until),
            level => self.whole_tiles(level, from, until),
        });
        match restored {
            Err(EngineError::Unreadable { .. }) => {}
            other => return other.map_err(|error| StoreError::Unreadable(error.to_string())),
        }
        let mut edge = TileEdge::default();
        while edge.size() < size {
            let from = edge.size();
            let leaves = self.leaf_hashes(from, size.min(from + READ));
            let leaves = leaves.map_err(|error| StoreError::Unreadable(error.to_string()))?;
            for leaf in leaves {
                for whole in edge.push(leaf) {
                    self.tiles
                        .insert(tile_key(whole.level, whole.index), whole.hash.0)?;
                }
            }
        }
        self.disk
            .step(&mut || Ok(self.database.persist(PersistMode::SyncData)?))?;
        Ok(edge)
    }

    fn leaf_hashes(&self, from: u64, until: u64) -> Result<Vec<Digest>, EngineError> {
        let limit = usize::try_from(until.saturating_sub(from)).unwrap_or(usize::MAX);
        let entries = self.entries(from, limit)?;
        Ok(entries.iter().map(|entry| leaf_hash(&[entry])).collect())
    }

    fn whole_tiles(&self, level: u8, from: u64, until: u64) -> Result<Vec<Digest>, EngineError> {
        let unreadable = |position, reason: String| EngineError::Unreadable { position, reason };
        let hash = |index| {
            let found = self.tiles.get(tile_key(level, index));
            let found = found.map_err(|error| unreadable(index, error.to_string()))?;
            let found = found.map(|value| Digest::try_from(value.as_ref()));
            let what = || format!("hash {index} of level {level} of the tree is missing");
            found
                .and_then(Result::ok)
                .ok_or_else(|| unreadable(index, what()))
        };
        (from..until).map(hash).collect()
    }

    /// Upgrades until the directory is free for another process; see [`super::released`].
    pub fn held(&self) -> Weak<()> {
        self.directory.held()
    }

    /// Keeps this many bytes of the disk free.
    pub fn set_reserve(&mut self, bytes: u64) {
        self.directory.set_reserve(bytes);
    }

    /// Positions from one on whose bodies are kept, in order.
    pub fn kept(&self, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        let kept = self.bodies.range(from.to_be_bytes()..).take(limit);
        kept.map(|one| position(&one.key()?)).collect()
    }

    /// Removes from the disk what was erased: the store writes anew the tables in which it still lies. Its
    /// journal goes by itself, when 64 MB more were written. `false` where the store does not come to it, as
    /// on a full disk: then it is to be tried again.
    pub fn purge(&self) -> Result<bool, StoreError> {
        const LOOK: Duration = Duration::from_millis(10);
        const LOOKS: usize = 1_000;
        let all = [
            &self.records,
            &self.bodies,
            &self.entries,
            &self.tiles,
            &self.cache,
        ];
        for keyspace in all {
            keyspace.rotate_memtable()?;
        }
        for _ in 0..LOOKS {
            if all.iter().all(|one| one.sealed_memtable_count() == 0) {
                self.bodies.major_compact()?;
                return Ok(true);
            }
            std::thread::sleep(LOOK);
        }
        Ok(false)
    }

    /// Appends as [`Engine::append`] does, and in the same write changes notes: a key and its value, or
    /// `None` where it is removed.
    pub fn append_beside(
        &self,
        expected: u64,
        group: &[StoredRecord],
        notes: &[(Bytes, Option<Bytes>)],
    ) -> Result<u64, EngineError> {
        let unknown = |reason: String| EngineError::Unknown(reason);
        let mut writer = self
            .writer
            .lock()
            .map_err(|_| unknown("an appender panicked".into()))?;
        if writer.poisoned {
            return Err(unknown("an earlier append failed".into()));
        }
        let actual = self.size();
        if actual != expected {
            return Err(EngineError::Conflict { expected, actual });
        }
        self.check_room(group)?;
        if let Err(error) = self.write(&mut writer.edge, expected, group, notes) {
            writer.poisoned = true;
            return Err(unknown(error.to_string()));
        }
        let size = expected + group.len() as u64;
        self.size.store(size, Ordering::Release);
        Ok(size)
    }

    /// Whether the disk has room for a group.
    pub fn check_room(&self, group: &[StoredRecord]) -> Result<(), EngineError> {
        let bytes = group.iter().map(|one| one.bytes() as u64);
        let checked = self.directory.check_room(bytes.sum());
        checked.map_err(|error| match error {
            StoreError::Full { .. } => EngineError::Full(error.to_string()),
            other => EngineError::Unknown(other.to_string()),
        })
    }

    /// A note.
    pub fn note(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.beside.get(key)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Notes from a key on whose keys begin alike, in order.
    pub fn notes(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let found = self.beside.range(from.to_vec()..).take(limit);
        let mut notes = Vec::new();
        for one in found {
            let (key, value) = one.into_inner()?;
            if !key.starts_with(prefix) {
                break;
            }
            notes.push((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)));
        }
        Ok(notes)
    }

    /// Removes a note. Not synced: it may come back after a crash.
    pub fn remove_note(&self, key: &[u8]) -> Result<(), StoreError> {
        self.disk.step(&mut || Ok(self.beside.remove(key)?))
    }

    /// Keeps bodies of a record that is here, which can be had again. Not synced.
    pub fn put_bodies(&self, position: u64, bodies: &[u8]) -> Result<(), StoreError> {
        self.disk
            .step(&mut || Ok(self.bodies.insert(position.to_be_bytes(), bodies)?))
    }

    /// Keeps a value that can be computed anew from the log, such as a snapshot of the fold. Not
    /// synced: losing it costs time only.
    pub fn put_cache(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.disk.step(&mut || Ok(self.cache.insert(name, value)?))
    }

    /// A cached value.
    pub fn cached(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self
            .cache
            .get(name)?
            .map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Values from a position on; a gap is an error that names it.
    fn range(&self, of: &Keyspace, from: u64, limit: usize) -> Result<Vec<Bytes>, EngineError> {
        let until = self.size().min(from.saturating_add(limit as u64));
        let mut values = Vec::new();
        if from >= until {
            return Ok(values);
        }
        let unreadable = |position, reason: String| EngineError::Unreadable { position, reason };
        let range = from.to_be_bytes()..until.to_be_bytes();
        for (due, found) in (from..until).zip(of.range(range)) {
            let (key, value) = found
                .into_inner()
                .map_err(|error| unreadable(due, error.to_string()))?;
            if key.as_ref() != due.to_be_bytes() {
                return Err(unreadable(due, "it is missing".into()));
            }
            values.push(Bytes::copy_from_slice(&value));
        }
        let next = from + values.len() as u64;
        if next != until {
            return Err(unreadable(next, "it is missing".into()));
        }
        Ok(values)
    }

    fn write(
        &self,
        edge: &mut TileEdge,
        expected: u64,
        group: &[StoredRecord],
        notes: &[(Bytes, Option<Bytes>)],
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(if self.synced {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        }));
        for (position, one) in (expected..).zip(group) {
            batch.insert(&self.records, position.to_be_bytes(), one.record.as_ref());
            batch.insert(&self.entries, position.to_be_bytes(), one.entry);
            for whole in edge.push(leaf_hash(&[&one.entry])) {
                batch.insert(
                    &self.tiles,
                    tile_key(whole.level, whole.index),
                    whole.hash.0,
                );
            }
            if let Some(bodies) = &one.bodies {
                batch.insert(&self.bodies, position.to_be_bytes(), bodies.as_ref());
            }
            for erased in &one.erases {
                batch.remove(&self.bodies, erased.to_be_bytes());
            }
        }
        for (key, value) in notes {
            match value {
                Some(value) => batch.insert(&self.beside, key.as_ref(), value.as_ref()),
                None => batch.remove(&self.beside, key.as_ref()),
            }
        }
        let mut batch = Some(batch);
        self.disk.step(&mut || match batch.take() {
            Some(batch) => Ok(batch.commit()?),
            None => Err(StoreError::Poisoned),
        })
    }
}

fn tile_key(level: u8, index: u64) -> [u8; 9] {
    let mut key = [level; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn position(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::Damaged("position"))
}

impl Engine for EmbeddedEngine {
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn append(&self, expected: u64, group: &[StoredRecord]) -> Result<u64, EngineError> {
        self.append_beside(expected, group, &[])
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<Bytes>, EngineError> {
        self.range(&self.records, from, limit)
    }

    fn entries(&self, from: u64, limit: usize) -> Result<Vec<[u8; ENTRY_BYTES]>, EngineError> {
        let entries = self.range(&self.entries, from, limit)?;
        let whole = (from..).zip(entries).map(|(position, entry)| {
            let reason = "its entry has another size".to_owned();
            entry
                .as_ref()
                .try_into()
                .map_err(|_| EngineError::Unreadable { position, reason })
        });
        whole.collect()
    }

    fn tile(&self, path: &TilePath) -> Result<Vec<Digest>, EngineError> {
        let first = path.index().saturating_mul(TILE_WIDTH.into());
        let until = first.saturating_add(path.width().into());
        match path.kind() {
            TileKind::Hashes(0) | TileKind::Entries => self.leaf_hashes(first, until),
            TileKind::Hashes(level) => self.whole_tiles(level, first, until),
        }
    }

    fn stored(
        &self,
        from: u64,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<StoredRecord>, EngineError> {
        let (records, entries) = (self.read(from, limit)?, self.entries(from, limit)?);
        let unreadable = |error: &dyn std::fmt::Display| EngineError::Unreadable {
            position: from,
            reason: error.to_string(),
        };
        let until = from + records.len() as u64;
        let mut kept = self.bodies.range(from.to_be_bytes()..until.to_be_bytes());
        // Bodies may be large: the next are looked at when they are wanted.
        let mut next = || -> Result<Option<(u64, Bytes)>, EngineError> {
            let Some(found) = kept.next() else {
                return Ok(None);
            };
            let (key, value) = found.into_inner().map_err(|error| unreadable(&error))?;
            let position = position(&key).map_err(|error| unreadable(&error))?;
            Ok(Some((position, Bytes::copy_from_slice(&value))))
        };
        let mut ahead = next()?;
        let all = (from..).zip(records).zip(entries);
        let stored = all.map(|((position, record), entry)| {
            let is_its = ahead.as_ref().is_some_and(|(at, _)| *at == position);
            let bodies = if is_its {
                std::mem::replace(&mut ahead, next()?).map(|(_, bodies)| bodies)
            } else {
                None
            };
            Ok(StoredRecord {
                record,
                bodies,
                entry,
                erases: Vec::new(),
            })
        });
        StoredRecord::within(bytes, stored)
    }

    fn bodies(&self, position: u64) -> Result<Option<Bytes>, EngineError> {
        let bodies = self.bodies.get(position.to_be_bytes());
        let bodies = bodies.map_err(|error| EngineError::Unreadable {
            position,
            reason: error.to_string(),
        })?;
        Ok(bodies.map(|value| Bytes::copy_from_slice(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::MemoryEngine;
    use crate::proof::merkle;
    use crate::proof::tree::{self, Tiled};

    fn group(texts: &[&str]) -> Vec<StoredRecord> {
        let record = |text: &&str| StoredRecord {
            record: Bytes::copy_from_slice(text.as_bytes()),
            bodies: (text.len() > 3).then(|| Bytes::from_static(b"bodies")),
            entry: [1; ENTRY_BYTES],
            erases: Vec::new(),
        };
        texts.iter().map(record).collect()
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let engine = EmbeddedEngine::open(directory.path()).unwrap();
        assert_eq!(engine.append(0, &group(&["one", "three"])).unwrap(), 2);
        assert_eq!(engine.append(2, &group(&["two"])).unwrap(), 3);
        drop(engine);
        let engine = EmbeddedEngine::open(directory.path()).unwrap();
        assert_eq!(engine.size(), 3);
        assert_eq!(engine.read(1, 9).unwrap(), ["three", "two"]);
        assert_eq!(engine.read(3, 9).unwrap(), Vec::<Bytes>::new());
        assert_eq!(engine.bodies(0).unwrap(), None);
        assert_eq!(engine.bodies(1).unwrap().unwrap(), "bodies");
        assert_eq!(engine.kept(0, 9).unwrap(), [1]);
        let mut last = group(&["erases"]);
        last[0].erases.push(1);
        assert_eq!(engine.append(3, &last).unwrap(), 4);
        assert_eq!(engine.bodies(1).unwrap(), None);
        assert_eq!(engine.kept(0, 9).unwrap(), [3]);
        assert_eq!(engine.read(1, 1).unwrap(), ["three"]);
    }

    #[test]
    fn tiles_are_those_of_the_definition_also_where_they_were_lost() {
        let directory = tempfile::tempdir().unwrap();
        let memory = MemoryEngine::new();
        let mut size = 0;
        for _ in 0..3 {
            let engine = EmbeddedEngine::open(directory.path()).unwrap();
            for count in [1u64, 250, 30] {
                let records: Vec<StoredRecord> = (size..size + count)
                    .map(|at| StoredRecord {
                        record: Bytes::copy_from_slice(&at.to_be_bytes()),
                        bodies: None,
                        entry: [u8::try_from(at % 251).unwrap(); ENTRY_BYTES],
                        erases: Vec::new(),
                    })
                    .collect();
                engine.append(size, &records).unwrap();
                size = memory.append(size, &records).unwrap();
            }
            for (level, index) in [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)] {
                let kind = TileKind::Hashes(level);
                let Some(path) = TilePath::in_tree(kind, index, size) else {
                    continue;
                };
                assert_eq!(
                    engine.tile(&path).unwrap(),
                    memory.tile(&path).unwrap(),
                    "{path}"
                );
            }
            let all: Vec<Digest> = memory
                .entries(0, 9_999)
                .unwrap()
                .iter()
                .map(|one| leaf_hash(&[one]))
                .collect();
            let tiled = Tiled::new(size, |path: &TilePath| engine.tile(path));
            assert_eq!(tree::root(&tiled, size).unwrap(), merkle::root(&all));
            engine.tiles.remove(tile_key(1, 0)).unwrap();
        }
    }

    #[test]
    fn an_append_at_another_size_writes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let engine = EmbeddedEngine::open(directory.path()).unwrap();
        engine.append(0, &group(&["one"])).unwrap();
        for expected in [0, 2] {
            let error = engine.append(expected, &group(&["two"])).unwrap_err();
            assert!(
                matches!(error, EngineError::Conflict { actual: 1, .. }),
                "{error}"
            );
        }
        assert_eq!(engine.read(0, 9).unwrap(), ["one"]);
    }

    #[test]
    fn a_full_disk_refuses_and_recovers() {
        let directory = tempfile::tempdir().unwrap();
        let mut engine = EmbeddedEngine::open(directory.path()).unwrap();
        engine.set_reserve(u64::MAX);
        assert!(matches!(
            engine.append(0, &group(&["one"])),
            Err(EngineError::Full(_))
        ));
        engine.set_reserve(0);
        assert_eq!(engine.append(0, &group(&["one"])).unwrap(), 1);
    }
}
