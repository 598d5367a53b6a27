//! Backup and restore of a closed store.
//!
//! ```text
//! "entente-backup/v1\n" || kind || "\n" || entries || u8 0xff || SHA-256 of all before it
//! entry = u8 keyspace || u32 key length || key || u32 value length || value     big-endian
//! ```

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};

use super::directory::Directory;
use super::disk::SystemDisk;
use super::error::StoreError;
use crate::proof::{Digest, Hasher};

const MAGIC: &[u8] = b"entente-backup/v1\n";
const END: u8 = 0xff;
/// The largest value read back: a bulletin's bodies, and room.
const MAX_VALUE: u32 = 64 * 1024 * 1024;

/// The keyspaces of each kind of store; caches are left out.
fn keyspaces(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "ledger" => Some(&["records", "bodies", "entries"]),
        "node" => Some(&[
            "outbox",
            "status",
            "inbox",
            "inbox_ids",
            "lanes",
            "consumers",
            "meta",
            // An entry names its keyspace by number: new ones come last.
            "marks",
            "declarations",
            "taken",
            "passed_on",
            // What the witness cosigned goes with it: without that it might cosign another history.
            "witness",
            "unproven",
            "receipts",
            "checkpoints",
            "kept",
            "carried",
            "rows",
        ]),
        _ => None,
    }
}

struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> HashingWriter<W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher = self.hasher.clone().chain(bytes);
        self.inner.write_all(bytes)
    }

    fn put_sized(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }
}

/// Writes everything in a store that no process has open into one file; returns how many entries.
pub fn backup(store: &Path, file: &Path) -> Result<u64, StoreError> {
    let format = store.join("FORMAT");
    let text = fs::read_to_string(&format).map_err(StoreError::io(&format))?;
    let not_a_store = || StoreError::OtherStore {
        path: store.to_owned(),
        expected: "a ledger or a node's store",
    };
    let known = ["ledger", "node"]
        .into_iter()
        .find(|kind| text.starts_with(*kind));
    let kind = known.ok_or_else(not_a_store)?;
    let directory = Directory::open(&SystemDisk, store, kind)?;
    let database = Database::builder(directory.database()).open()?;
    let out = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    let out = out.map_err(StoreError::io(file))?;
    let mut writer = HashingWriter {
        inner: BufWriter::new(out),
        hasher: Hasher::new(),
    };
    let failed = || StoreError::io(file);
    writer
        .put(&[MAGIC, kind.as_bytes(), b"\n"].concat())
        .map_err(failed())?;
    let mut entries = 0;
    for (index, name) in (0u8..).zip(keyspaces(kind).ok_or_else(not_a_store)?) {
        for found in database
            .keyspace(name, KeyspaceCreateOptions::default)?
            .iter()
        {
            let (key, value) = found.into_inner()?;
            let put = writer.put(&[index]).and_then(|()| writer.put_sized(&key));
            put.and_then(|()| writer.put_sized(&value))
                .map_err(failed())?;
            entries += 1;
        }
    }
    writer.put(&[END]).map_err(failed())?;
    let digest = writer.hasher.clone().finish();
    let finish = writer
        .inner
        .write_all(digest.as_bytes())
        .and_then(|()| writer.inner.flush());
    finish
        .and_then(|()| writer.inner.get_ref().sync_all())
        .map_err(failed())?;
    Ok(entries)
}

/// Puts a backup into an empty directory, after checking all of it; returns how many entries.
pub fn restore(file: &Path, store: &Path) -> Result<u64, StoreError> {
    check_digest(file)?;
    let empty = fs::read_dir(store).map_or(true, |mut entries| entries.next().is_none());
    let refused = |reason| StoreError::Backup {
        path: store.to_owned(),
        reason,
    };
    if !empty {
        return Err(refused("a backup is restored into an empty directory only"));
    }
    let damaged = || StoreError::Backup {
        path: file.to_owned(),
        reason: "the backup is damaged",
    };
    let mut reader = BufReader::new(File::open(file).map_err(StoreError::io(file))?);
    let mut magic = [0; MAGIC.len()];
    reader
        .read_exact(&mut magic)
        .map_err(StoreError::io(file))?;
    let kind = read_line(&mut reader).map_err(StoreError::io(file))?;
    if magic != MAGIC {
        return Err(damaged());
    }
    let kind = ["ledger", "node"]
        .into_iter()
        .find(|known| *known == kind)
        .ok_or_else(damaged)?;
    let directory = Directory::open(&SystemDisk, store, kind)?;
    let database = Database::builder(directory.database()).open()?;
    let names = keyspaces(kind).ok_or_else(damaged)?;
    let spaces = names
        .iter()
        .map(|name| database.keyspace(name, KeyspaceCreateOptions::default))
        .collect::<Result<Vec<_>, _>>()?;
    let mut entries = 0;
    loop {
        let mut index = [0];
        reader
            .read_exact(&mut index)
            .map_err(StoreError::io(file))?;
        if index[0] == END {
            break;
        }
        let space = spaces.get(usize::from(index[0])).ok_or_else(damaged)?;
        let key = read_sized(&mut reader).map_err(StoreError::io(file))?;
        let value = read_sized(&mut reader).map_err(StoreError::io(file))?;
        space.insert(key, value)?;
        entries += 1;
    }
    database.persist(PersistMode::SyncAll)?;
    Ok(entries)
}

fn check_digest(file: &Path) -> Result<(), StoreError> {
    let damaged = || StoreError::Backup {
        path: file.to_owned(),
        reason: "the backup is damaged",
    };
    let length = fs::metadata(file).map_err(StoreError::io(file))?.len();
    let body = length.checked_sub(32).ok_or_else(damaged)?;
    let mut reader = BufReader::new(File::open(file).map_err(StoreError::io(file))?);
    let mut hasher = Hasher::new();
    let mut rest = body;
    let mut buffer = vec![0; 1 << 16];
    while rest > 0 {
        let take = usize::try_from(rest)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        reader
            .read_exact(&mut buffer[..take])
            .map_err(StoreError::io(file))?;
        hasher = hasher.chain(&buffer[..take]);
        rest -= take as u64;
    }
    let mut digest = [0; 32];
    reader
        .read_exact(&mut digest)
        .map_err(StoreError::io(file))?;
    if hasher.finish() == Digest(digest) {
        Ok(())
    } else {
        Err(damaged())
    }
}

fn read_line(reader: &mut impl Read) -> std::io::Result<String> {
    let mut line = String::new();
    let mut byte = [0];
    while line.len() < 16 {
        reader.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            break;
        }
        line.push(char::from(byte[0]));
    }
    Ok(line)
}

fn read_sized(reader: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_VALUE {
        return Err(std::io::Error::other(
            "an entry is larger than any store writes",
        ));
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_node_keeps_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        drop(NodeStore::open(directory.path()).unwrap());
        let database = Database::builder(directory.path().join("db"));
        let database = database.open().unwrap();
        let known = keyspaces("node").unwrap();
        let kept = database.list_keyspace_names();
        assert_eq!(kept.len(), known.len(), "{kept:?}");
        for name in kept {
            assert!(known.contains(&name.as_ref()), "{name:?}");
        }
    }
    use crate::store::NodeStore;

    #[test]
    fn a_backup_brings_everything_back_or_says_that_it_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let (store, file) = (
            directory.path().join("store"),
            directory.path().join("backup"),
        );
        NodeStore::open(&store).unwrap().advance("siem", 5).unwrap();
        assert_eq!(backup(&store, &file).unwrap(), 1);
        let again = directory.path().join("again");
        assert_eq!(restore(&file, &again).unwrap(), 1);
        assert_eq!(
            NodeStore::open(&again).unwrap().consumer("siem").unwrap(),
            5
        );
        assert!(restore(&file, &again).is_err(), "restored over a store");
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = restore(&file, &directory.path().join("third")).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
