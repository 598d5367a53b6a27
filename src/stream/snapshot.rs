//! A snapshot: a broker's copy of the stream in one file, from which another broker begins instead of with the first
//! message.
//!
//! ```text
//! "entente-snapshot/v1\n" || u64 sequence || sized message || sized checkpoint || u64 records || record ... || signature
//! record = sized bytes || u8 bodies: 0 none, 1 kept, 2 erased || 16 bytes name, where there are some
//! sized = u32 length || bytes; signature = 32 bytes key id || 64 bytes                     integers big-endian
//! ```
//!
//! `message` is the one at `sequence`, as the stream has it; its records are the last ones. `checkpoint` is over some
//! of these at least, with what witnesses said. All records are hashed anew into the tree that it must have. What the
//! tree does not cover, the place in the stream and the names of bodies, has the log key's signature, over SHA-256
//! of everything before: a broker says it, as it says it in the stream. No state is in it: whoever begins from it
//! folds the records.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::catalogue::Catalogue;
use super::config::StreamConfig;
use super::contents::Name;
use super::error::StreamError;
use super::follow;
use super::local::{Kept, LocalCopy, NamedBodies, RECENT};
use super::nats::{Nats, unavailable};
use super::parallel::each;
use super::wire::StreamMessage;
use crate::ledger::{Engine, Record, StoredRecord};
use crate::proof::merkle::{Frontier, leaf_hash};
use crate::proof::{Digest, Hasher, KeyId, PayloadType, PublicKey, Signature, Signer, verify};
use crate::store::StoreError;

const MAGIC: &[u8] = b"entente-snapshot/v1\n";
/// The largest part that is read: the largest message, and room.
const MAX_PART: u32 = 64 * 1024 * 1024;
/// Records read and written at once.
const TOGETHER: usize = 4_096;

/// A snapshot that is being read; its head is.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    file: BufReader<File>,
    hasher: Hasher,
    sequence: u64,
    message: StreamMessage,
    checkpoint: String,
    records: u64,
}

/// A snapshot that is being written.
struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: Hasher,
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hasher = self.hasher.clone().chain(bytes);
        let written = self.file.write_all(bytes);
        written.map_err(StoreError::io(&self.path))
    }

    fn put_sized(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }
}

/// Writes a copy into a file, up to the message at a sequence, which is one of the last; a file that was there is
/// replaced. Returns how many records.
pub(super) fn write(
    local: &LocalCopy,
    path: &Path,
    checkpoint: &str,
    (sequence, message): (u64, &StreamMessage),
    signer: &dyn Signer,
) -> Result<u64, StreamError> {
    let part = path.with_extension("part");
    let written = write_part(local, path, &part, checkpoint, (sequence, message), signer);
    if written.is_err() {
        // It may be large, on the disk of which the copy needs the room.
        let _ = fs::remove_file(&part);
    }
    written
}

fn write_part(
    local: &LocalCopy,
    path: &Path,
    part: &Path,
    checkpoint: &str,
    (sequence, message): (u64, &StreamMessage),
    signer: &dyn Signer,
) -> Result<u64, StreamError> {
    let options = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part);
    let mut writer = Writer {
        file: BufWriter::new(options.map_err(StoreError::io(part))?),
        path: part.to_owned(),
        hasher: Hasher::new(),
    };
    writer.put(&[MAGIC, &sequence.to_be_bytes()].concat())?;
    writer.put_sized(&message.bytes)?;
    writer.put_sized(checkpoint.as_bytes())?;
    let size = message.until();
    writer.put(&size.to_be_bytes())?;
    let mut from = 0;
    while from < size {
        let left = usize::try_from(size - from).unwrap_or(usize::MAX);
        let records = local.engine().read(from, left.min(TOGETHER))?;
        let mut named = local.named(from, from + records.len() as u64)?;
        for (position, record) in (from..).zip(&records) {
            writer.put_sized(record)?;
            match named.remove(&position) {
                None => writer.put(&[0])?,
                Some(NamedBodies::Kept(name)) => writer.put(&[&[1], name.as_slice()].concat())?,
                Some(NamedBodies::Erased(name)) => writer.put(&[&[2], name.as_slice()].concat())?,
            }
        }
        from += records.len() as u64;
    }
    let digest = writer.hasher.clone().finish();
    let signature = signer.sign(PayloadType::StreamSnapshot, digest.as_bytes())?;
    writer.put(signature.key_id.0.as_bytes())?;
    writer.put(&signature.bytes)?;
    let file = writer.file;
    let file = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    let synced = file.and_then(|file| file.sync_all());
    let placed = synced.and_then(|()| fs::rename(part, path));
    placed.map_err(StoreError::io(path))?;
    Ok(size)
}

impl Snapshot {
    /// Reads the head of a snapshot of this log's key.
    pub fn open(path: &Path, key: &PublicKey) -> Result<Self, StreamError> {
        let file = File::open(path).map_err(StoreError::io(path))?;
        let mut source = Source {
            path,
            file: BufReader::new(file),
            hasher: Hasher::new(),
        };
        if source.take(MAGIC.len())? != MAGIC {
            return Err(wrong(path, "it is no snapshot that this version reads"));
        }
        let sequence = source.number()?;
        let (message, checkpoint) = (source.sized()?, source.sized()?);
        let records = source.number()?;
        let opened = StreamMessage::open(&message, key);
        let message = opened.map_err(|error| {
            let what = format!("the message that it ends with is not this log's: {error}");
            wrong(path, &what)
        })?;
        if message.until() != records || sequence == 0 {
            return Err(wrong(path, "it does not end with its last message"));
        }
        let checkpoint = String::from_utf8(checkpoint.into());
        let checkpoint = checkpoint.map_err(|_| wrong(path, "its checkpoint cannot be read"))?;
        let Source { file, hasher, .. } = source;
        Ok(Self {
            path: path.to_owned(),
            file,
            hasher,
            sequence,
            message,
            checkpoint,
            records,
        })
    }

    /// The checkpoint, with cosignatures.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// How many records it has.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// An error of this snapshot's.
    pub fn refused(&self, what: &str) -> StreamError {
        wrong(&self.path, what)
    }

    /// Fills the empty place of a broker's copy with all that is here, after the stream showed the message that it
    /// ends with; its tree over the first records must have this root. `progress` is told how many are read. Where
    /// anything is wrong, nothing is left.
    pub fn begin(
        self,
        servers: &Path,
        config: &StreamConfig,
        key: &PublicKey,
        over: (u64, Digest),
        progress: impl FnMut(u64, u64),
    ) -> Result<(), StreamError> {
        let cache = &config.cache;
        let mut entries = fs::read_dir(cache);
        let is_empty = entries.as_mut().is_ok_and(|all| all.next().is_none());
        if entries.is_ok() && !is_empty {
            let what = format!(
                "{} has a copy already; a broker begins from a snapshot where there is none",
                cache.display()
            );
            return Err(self.refused(&what));
        }
        let nats = Nats::connect(servers, config)?;
        let first = self.compare(&nats, config)?;
        let (sequence, message) = (self.sequence, self.message.clone());
        // One that another process has open is nobody's to remove.
        let local = LocalCopy::open(cache, None)?;
        let filled = self.fill(local, key, over, progress).and_then(|local| {
            let range = (first, sequence);
            let format = last_messages(&nats, config, &local, range, &message, key)?;
            // Only now it is a copy.
            local.begin(sequence, &message, format)
        });
        if filled.is_err() {
            let _ = fs::remove_dir_all(cache);
        }
        filled
    }

    /// Checks that the stream has the message that the snapshot ends with, at its place. Returns the stream's first.
    fn compare(&self, nats: &Nats, config: &StreamConfig) -> Result<u64, StreamError> {
        let (context, wanted, sequence) = (nats.context().clone(), config.clone(), self.sequence);
        let (first, last, found) = nats.run(async move {
            let catalogue = Catalogue::open(&context, &wanted).await?;
            let info = catalogue.stream.get_info().await.map_err(unavailable)?;
            let found = follow::message(&catalogue.stream, sequence).await?;
            let state = info.state;
            Ok((state.first_sequence, state.last_sequence, found))
        })?;
        let what = match found {
            Some(bytes) if bytes == self.message.bytes => return Ok(first),
            None if sequence > last => format!(
                "it reaches message {sequence}, and the stream ends at message {last}: it is newer than the stream, \
                 or of another; see docs/brokers.md, \"The stream is shorter\""
            ),
            None => format!(
                "it reaches message {sequence}, and the stream begins at message {first}: it is older than what the \
                 stream gives; make a newer one"
            ),
            Some(_) => format!("message {sequence} of the stream is not the one that it ends with"),
        };
        Err(self.refused(&what))
    }

    fn fill(
        self,
        local: LocalCopy,
        key: &PublicKey,
        (covered, root): (u64, Digest),
        mut progress: impl FnMut(u64, u64),
    ) -> Result<LocalCopy, StreamError> {
        let Self {
            path,
            file,
            hasher,
            message,
            records: size,
            ..
        } = self;
        let mut source = Source {
            path: &path,
            file,
            hasher,
        };
        if covered > size || covered < message.first {
            return Err(wrong(&path, "its checkpoint is not over its last records"));
        }
        let (mut tree, mut from) = (Frontier::new(), 0);
        while from < size {
            let until = size.min(from + TOGETHER as u64);
            let (mut records, mut named) = (Vec::new(), Vec::new());
            for position in from..until {
                records.push(source.sized()?);
                named.extend(source.named()?.map(|named| (position, named)));
            }
            let mut stored = Vec::with_capacity(records.len());
            for (position, read) in (from..).zip(each(&records, Record::from_bytes)) {
                let record = read.map_err(|error| {
                    wrong(&path, &format!("its record {position} is damaged: {error}"))
                })?;
                let entry = record.commitment.entry();
                tree.push(leaf_hash(&[&entry]));
                if tree.size() == covered && tree.root() != root {
                    let what = format!(
                        "its first {covered} records are not those that its checkpoint is over"
                    );
                    return Err(wrong(&path, &what));
                }
                stored.push(StoredRecord {
                    record: record.bytes,
                    bodies: None,
                    entry,
                    erases: Vec::new(),
                });
            }
            local.fill(from, &stored, &named)?;
            from = until;
            progress(from, size);
        }
        let last = local
            .engine()
            .entries(message.first, message.records.len())?;
        if !message.records.iter().map(|one| one.entry).eq(last) {
            return Err(wrong(
                &path,
                "its last records are not those of its last message",
            ));
        }
        let digest = source.hasher.clone().finish();
        let (key_id, bytes) = (source.take(32)?, source.take(64)?);
        let key_id = Digest::try_from(key_id.as_ref()).map(KeyId);
        let signed = key_id.is_ok_and(|key_id| {
            let signature = <[u8; 64]>::try_from(bytes.as_ref());
            signature.is_ok_and(|bytes| {
                let signature = Signature { key_id, bytes };
                verify(
                    key,
                    PayloadType::StreamSnapshot,
                    digest.as_bytes(),
                    &signature,
                )
                .is_ok()
            })
        });
        if !signed {
            let what =
                "it is not as a broker of this log made it: its signature is not of this log's key";
            return Err(wrong(&path, what));
        }
        Ok(local)
    }
}

/// Keeps the last messages before the one that a snapshot ends with, as who read the whole stream has them: those in
/// its chain, and that the others say nothing. Returns the newest format of them.
fn last_messages(
    nats: &Nats,
    config: &StreamConfig,
    local: &LocalCopy,
    (first, sequence): (u64, u64),
    last: &StreamMessage,
    key: &PublicKey,
) -> Result<u32, StreamError> {
    let first = first.max(sequence.saturating_sub(RECENT) + 1);
    let (context, wanted) = (nats.context().clone(), config.clone());
    let catalogue = nats.run(async move { Catalogue::open(&context, &wanted).await })?;
    let most = nats.max_message();
    let (read, reading) = follow::ahead(catalogue.stream, first, sequence - 1, most);
    nats.handle().spawn(reading);
    let (mut links, mut format) = (Vec::new(), last.format);
    for at in first..sequence {
        let gone = |_| StreamError::Unavailable(format!("message {at} does not come"));
        let payload = read.recv().map_err(gone)??.payload;
        match StreamMessage::open_up_to(&payload, key, config.format) {
            Ok(message) => {
                local.note(at, &Kept::Message(payload))?;
                format = format.max(message.format);
                links.push((at, message.hash, message.previous));
            }
            Err(error) if error.is_nobodys() => {
                local.note(at, &Kept::Nothing(Digest::of(&payload)))?;
            }
            Err(error) => {
                return Err(StreamError::Message {
                    sequence: at,
                    error,
                });
            }
        }
    }
    let (mut due, mut chain) = (last.previous, Vec::new());
    for (_, hash, previous) in links.iter().rev() {
        if *hash == due {
            chain.push(due);
            due = *previous;
        }
    }
    // Of a message that was sent again the first is the one.
    for (at, hash, _) in links {
        if chain.last() == Some(&hash) {
            chain.pop();
        } else {
            local.say_nothing(at)?;
        }
    }
    Ok(format)
}

/// A snapshot's bytes, hashed as they are read.
struct Source<'a> {
    path: &'a Path,
    file: BufReader<File>,
    hasher: Hasher,
}

impl Source<'_> {
    fn take(&mut self, count: usize) -> Result<Bytes, StreamError> {
        let mut bytes = vec![0; count];
        let read = self.file.read_exact(&mut bytes);
        read.map_err(|_| wrong(self.path, "it ends too early"))?;
        self.hasher = self.hasher.clone().chain(&bytes);
        Ok(bytes.into())
    }

    fn number(&mut self) -> Result<u64, StreamError> {
        let bytes = self.take(8)?;
        Ok(bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    fn sized(&mut self) -> Result<Bytes, StreamError> {
        let length = self.take(4)?;
        let length = length
            .iter()
            .fold(0, |all, byte| all << 8 | u32::from(*byte));
        if length > MAX_PART {
            return Err(wrong(self.path, "it is damaged"));
        }
        self.take(length as usize)
    }

    fn named(&mut self) -> Result<Option<NamedBodies>, StreamError> {
        let kind = self.take(1)?;
        if kind.as_ref() == [0] {
            return Ok(None);
        }
        let name = Name::try_from(self.take(16)?.as_ref());
        match (kind.as_ref(), name) {
            ([1], Ok(name)) => Ok(Some(NamedBodies::Kept(name))),
            ([2], Ok(name)) => Ok(Some(NamedBodies::Erased(name))),
            _ => Err(wrong(self.path, "it is damaged")),
        }
    }
}

fn wrong(path: &Path, what: &str) -> StreamError {
    StreamError::Snapshot {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
