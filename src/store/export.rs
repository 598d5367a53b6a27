//! A whole ledger in one file, for who verifies it elsewhere.
//!
//! ```text
//! "entente-ledger/v1\n" || u8 contents || u64 records || u32 length || checkpoint || entry ...
//! entry = u32 length || record || 33 bytes || u32 length || bodies            integers big-endian
//! ```
//!
//! A length of 2^32 - 1 says that a record has no bodies. `contents` is 1 where bodies were exported with
//! the records that have them. Nothing in the file is believed: it is what an audit verifies.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::error::StoreError;
use crate::ledger::{ENTRY_BYTES, Engine, EngineError, StoredRecord};

const MAGIC: &[u8] = b"entente-ledger/v1\n";
/// A record without bodies.
const NONE: u32 = u32::MAX;
/// The largest part that is read: a bulletin's bodies, and room.
const MAX_PART: u32 = 16 * 1024 * 1024;
/// Bytes after which no more records are read at once.
const MAX_READ: usize = 16 * 1024 * 1024;

/// Writes an export, record by record.
#[derive(Debug)]
pub struct LedgerExportWriter {
    path: PathBuf,
    file: BufWriter<File>,
    contents: bool,
    due: u64,
}

impl LedgerExportWriter {
    /// Begins a new file that has so many records, all of them under a checkpoint.
    pub fn create(
        path: &Path,
        checkpoint: &str,
        records: u64,
        contents: bool,
    ) -> Result<Self, StoreError> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(StoreError::io(path))?;
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            contents,
            due: records,
        };
        writer.put(&[MAGIC, &[contents.into()], &records.to_be_bytes()].concat())?;
        writer.put_sized(checkpoint.as_bytes())?;
        Ok(writer)
    }

    /// Writes the next record; what is beyond the number that was said is left out.
    pub fn push(
        &mut self,
        record: &[u8],
        entry: &[u8; ENTRY_BYTES],
        bodies: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let Some(due) = self.due.checked_sub(1) else {
            return Ok(());
        };
        self.due = due;
        self.put_sized(record)?;
        self.put(entry)?;
        match bodies.filter(|_| self.contents) {
            Some(bodies) => self.put_sized(bodies),
            None => self.put(&NONE.to_be_bytes()),
        }
    }

    /// Makes the file durable. An error where records are missing.
    pub fn finish(mut self) -> Result<(), StoreError> {
        if self.due > 0 {
            let reason = "records are missing";
            let path = self.path;
            return Err(StoreError::Backup { path, reason });
        }
        let flushed = self.file.flush();
        let synced = flushed.and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(StoreError::io(&self.path))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all(bytes);
        written.map_err(StoreError::io(&self.path))
    }

    fn put_sized(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let length = u32::try_from(bytes.len()).unwrap_or(NONE);
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }
}

/// An export, as a log that can be read.
#[derive(Debug)]
pub struct LedgerExport {
    file: Mutex<BufReader<File>>,
    /// Where each record begins, and where the last one ends.
    offsets: Vec<u64>,
    checkpoint: String,
    contents: bool,
}

impl LedgerExport {
    /// So many bytes tell whether a file is one.
    pub const START: u64 = MAGIC.len() as u64;

    /// Whether a file begins as an export does.
    pub fn is_meant(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Opens a file, and finds where its records are.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let damaged = || StoreError::Backup {
            path: path.to_owned(),
            reason: "the exported ledger is damaged, or it is none",
        };
        let file = File::open(path).map_err(StoreError::io(path))?;
        let length = file.metadata().map_err(StoreError::io(path))?.len();
        let mut reader = BufReader::new(file);
        let mut read = || -> std::io::Result<Self> {
            let wrong = |what: &str| std::io::Error::other(what.to_owned());
            let mut magic = [0; MAGIC.len()];
            reader.read_exact(&mut magic)?;
            let mut contents = [0];
            reader.read_exact(&mut contents)?;
            let mut records = [0; 8];
            reader.read_exact(&mut records)?;
            let checkpoint = sized(&mut reader)?.ok_or_else(|| wrong("no checkpoint"))?;
            if magic != MAGIC || contents[0] > 1 {
                return Err(wrong("not an export"));
            }
            let mut at = reader.stream_position()?;
            let mut offsets = vec![at];
            for _ in 0..u64::from_be_bytes(records) {
                at += skip(&mut reader, ENTRY_BYTES as u64)?;
                at += skip(&mut reader, 0)?;
                if at > length {
                    return Err(wrong("too short"));
                }
                offsets.push(at);
            }
            if at != length {
                return Err(wrong("too long"));
            }
            Ok(Self {
                file: Mutex::new(BufReader::new(File::open(path)?)),
                offsets,
                checkpoint: String::from_utf8(checkpoint).map_err(std::io::Error::other)?,
                contents: contents[0] == 1,
            })
        };
        read().map_err(|_| damaged())
    }

    /// The checkpoint over all records, as a signed note.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// Whether bodies were exported, too.
    pub fn has_contents(&self) -> bool {
        self.contents
    }

    /// The records of a range, with entries and bodies.
    fn range(
        &self,
        from: u64,
        limit: usize,
        bodies: bool,
    ) -> Result<Vec<StoredRecord>, EngineError> {
        let unreadable = |position, error: std::io::Error| EngineError::Unreadable {
            position,
            reason: error.to_string(),
        };
        let until = self.size().min(from.saturating_add(limit as u64));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut bytes) = (Vec::new(), 0);
        let start = usize::try_from(from)
            .ok()
            .and_then(|at| self.offsets.get(at));
        let Some(start) = start.filter(|_| from < until) else {
            return Ok(found);
        };
        // What is read in order is not sought anew.
        let here = file
            .stream_position()
            .map_err(|error| unreadable(from, error))?;
        let step = i64::try_from(*start).ok().zip(i64::try_from(here).ok());
        let moved = match step {
            Some((start, here)) => file.seek_relative(start - here),
            None => file.seek(SeekFrom::Start(*start)).map(|_| ()),
        };
        moved.map_err(|error| unreadable(from, error))?;
        for position in from..until {
            // What a file claims is no reason to fill the memory with it.
            if bytes > MAX_READ {
                break;
            }
            let one = read_one(&mut file, bodies).map_err(|error| unreadable(position, error))?;
            bytes += one.record.len() + one.bodies.as_ref().map_or(0, Bytes::len);
            found.push(one);
        }
        Ok(found)
    }
}

fn read_one(reader: &mut BufReader<File>, bodies: bool) -> std::io::Result<StoredRecord> {
    let record = sized(reader)?.ok_or_else(|| std::io::Error::other("there is no record"))?;
    let mut entry = [0; ENTRY_BYTES];
    reader.read_exact(&mut entry)?;
    let bodies = if bodies {
        sized(reader)?
    } else {
        skip(reader, 0)?;
        None
    };
    Ok(StoredRecord {
        record: record.into(),
        bodies: bodies.map(Bytes::from),
        entry,
        erases: Vec::new(),
    })
}

fn length(reader: &mut impl Read) -> std::io::Result<Option<u32>> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    match u32::from_be_bytes(length) {
        NONE => Ok(None),
        length if length > MAX_PART => Err(std::io::Error::other("a part is too large")),
        length => Ok(Some(length)),
    }
}

fn sized(reader: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let Some(length) = length(reader)? else {
        return Ok(None);
    };
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// Passes over a part and so many bytes after it; returns how many that were.
fn skip(reader: &mut BufReader<File>, more: u64) -> std::io::Result<u64> {
    let body = length(reader)?.map_or(0, u64::from) + more;
    reader.seek_relative(i64::try_from(body).map_err(std::io::Error::other)?)?;
    Ok(4 + body)
}

impl Engine for LedgerExport {
    fn size(&self) -> u64 {
        self.offsets.len().saturating_sub(1) as u64
    }

    fn append(&self, _: u64, _: &[StoredRecord]) -> Result<u64, EngineError> {
        Err(EngineError::Unknown(
            "an exported ledger is not written to".into(),
        ))
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<Bytes>, EngineError> {
        let range = self.range(from, limit, false)?;
        Ok(range.into_iter().map(|one| one.record).collect())
    }

    fn entries(&self, from: u64, limit: usize) -> Result<Vec<[u8; ENTRY_BYTES]>, EngineError> {
        let range = self.range(from, limit, false)?;
        Ok(range.into_iter().map(|one| one.entry).collect())
    }

    fn stored(
        &self,
        from: u64,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<StoredRecord>, EngineError> {
        let one = |position| self.range(position, 1, true).map(|mut one| one.pop());
        let stored = (from..).take(limit).map_while(|at| one(at).transpose());
        StoredRecord::within(bytes, stored)
    }

    fn bodies(&self, position: u64) -> Result<Option<Bytes>, EngineError> {
        let one = self.range(position, 1, true)?.pop();
        Ok(one.and_then(|one| one.bodies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path) {
        let mut writer = LedgerExportWriter::create(path, "a note", 3, true).unwrap();
        for (record, bodies) in [("one", None), ("two", Some("bodies")), ("three", Some(""))] {
            let bodies = bodies.map(str::as_bytes);
            writer
                .push(record.as_bytes(), &[7; ENTRY_BYTES], bodies)
                .unwrap();
        }
        writer.push(b"more", &[7; ENTRY_BYTES], None).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn what_is_exported_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        written(&path);
        let export = LedgerExport::open(&path).unwrap();
        assert_eq!((export.size(), export.checkpoint()), (3, "a note"));
        assert!(export.has_contents());
        assert_eq!(export.read(0, 9).unwrap(), ["one", "two", "three"]);
        assert_eq!(export.read(2, 1).unwrap(), ["three"]);
        assert_eq!(export.read(1, 1).unwrap(), ["two"]);
        assert_eq!(export.read(3, 1).unwrap(), Vec::<Bytes>::new());
        assert_eq!(export.entries(0, 2).unwrap(), [[7; ENTRY_BYTES]; 2]);
        assert_eq!(export.bodies(0).unwrap(), None);
        assert_eq!(export.bodies(1).unwrap().unwrap(), "bodies");
        assert_eq!(export.bodies(2).unwrap().unwrap(), "");
        assert!(export.append(3, &[]).is_err());
    }

    #[test]
    fn what_was_cut_or_lengthened_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        written(&path);
        let bytes = std::fs::read(&path).unwrap();
        let cut = directory.path().join("cut");
        for length in 0..bytes.len() {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            assert!(LedgerExport::open(&cut).is_err(), "{length}");
        }
        std::fs::write(&cut, [&bytes[..], b"x"].concat()).unwrap();
        assert!(LedgerExport::open(&cut).is_err());
        let few = LedgerExportWriter::create(&directory.path().join("few"), "", 1, false);
        assert!(few.unwrap().finish().is_err());
    }
}
