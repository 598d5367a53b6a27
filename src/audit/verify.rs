//! Verifies a ledger, record by record.

use std::ops::Range;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use bytes::Bytes;

use super::auditor::{Auditor, check_bodies};
use super::finding::{Fault, Finding};
use crate::bulletin::{BulletinId, Precedence};
use crate::clock::Timestamp;
use crate::decision::RULES_WITH_MENTIONS;
use crate::ledger::{ENTRY_BYTES, Engine, EngineError, Fact, Record, State};
use crate::partner::PartnerId;
use crate::proof::{Checkpoint, Digest, NoteKey};

/// Records read at once.
const READ: usize = 256;
/// And about so many bytes of them.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// Threads that read, hash and compare contents, at most: the fold is a third of the work.
const READERS: usize = 4;
/// Pages that each of them reads ahead.
const PAGES: usize = 2;

/// What a verified ledger holds.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Audited {
    /// The ledger's id.
    pub ledger: String,
    /// Records verified.
    pub records: u64,
    /// Root of their tree.
    pub root: Digest,
    /// Records that the signed checkpoint covers; `None` where there is no checkpoint.
    pub signed: Option<u64>,
    /// Bulletins among them.
    pub bulletins: u64,
    /// Releases to recipients.
    pub releases: u64,
    /// Acknowledgements.
    pub acknowledgements: u64,
    /// What recipients declared about single bulletins.
    pub declarations: u64,
    /// Bodies at hand and compared with what was signed.
    pub bodies: u64,
    /// Records that say nothing, and cover the others.
    pub cover: u64,
    /// Bulletins whose contents were erased, and why.
    pub erased: Vec<ErasedContents>,
    /// Acknowledgements in which a recipient signed something else than what was released to it.
    /// The ledger holds; what that recipient received is in dispute.
    pub disputed: Vec<Disputed>,
    /// Time of the last record.
    pub time: Timestamp,
}

/// A bulletin whose contents were erased.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ErasedContents {
    /// Position of the record that accepted it.
    pub position: u64,
    /// Its id.
    pub bulletin: BulletinId,
    /// The rule.
    pub rule: &'static str,
    /// Position of the record that says so.
    pub by: u64,
    /// Who ordered it and why, where somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// An acknowledgement of something else than what was released.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Disputed {
    /// Position of the acknowledgement.
    pub position: u64,
    /// Who signed it.
    pub partner: PartnerId,
    /// In which lane.
    pub lane: Precedence,
}

/// A record as it is stored, with its entry in the log's tree and the bodies kept beside it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record.
    pub record: Bytes,
    /// Its entry.
    pub entry: [u8; ENTRY_BYTES],
    /// Its bodies, where it has some.
    pub bodies: Option<Bytes>,
}

/// A record, read and compared with its contents: what can be done of the audit without what came before.
#[derive(Debug)]
pub struct Decoded {
    record: Record,
    entry: [u8; ENTRY_BYTES],
    /// Whether a bulletin's contents are here, as they were signed.
    contents: Result<bool, Fault>,
}

impl Stored {
    /// Reads the record at a position. `mentioning`: parts that name others are looked for, by the rules of
    /// the ledger.
    pub fn decode(self, position: u64, mentioning: bool) -> Result<Decoded, Finding> {
        let record = Record::from_bytes(&self.record).map_err(|error| Finding::Record {
            position,
            kind: "unreadable",
            fault: error.into(),
        })?;
        let contents = match (&record.fact, &self.bodies) {
            (Fact::Accepted(accepted), Some(bodies)) => {
                check_bodies(accepted, bodies, mentioning).map(|()| true)
            }
            _ => Ok(false),
        };
        Ok(Decoded {
            record,
            entry: self.entry,
            contents,
        })
    }
}

/// The verification of a whole ledger, page by page: of its records, and that they are what the
/// checkpoint was signed over.
#[derive(Debug)]
pub struct Verification {
    auditor: Auditor,
    checkpoint: Option<String>,
    signed: Option<Checkpoint>,
    size: u64,
}

impl Verification {
    /// Of a ledger of `size` records, with its last checkpoint.
    pub fn new(size: u64, checkpoint: Option<String>) -> Result<Self, Finding> {
        if size == 0 {
            return Err(Finding::Empty);
        }
        Ok(Self {
            auditor: Auditor::new(),
            checkpoint,
            signed: None,
            size,
        })
    }

    /// Looks for contents, too: where a bulletin has none, a record must say that they were erased; and
    /// where a record says so, they must be gone, unless they go while this reads.
    #[must_use]
    pub fn with_contents(mut self, settled: bool) -> Self {
        self.auditor = self.auditor.with_contents(settled);
        self
    }

    /// Whether contents are gone of which no record so far says that they were erased: in a log that
    /// grows meanwhile, a later one may.
    pub fn lacks_contents(&self) -> bool {
        self.auditor.lacks_contents()
    }

    /// Goes on to a larger size.
    pub fn extend(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Whether parts that name others are looked for, by the rules of the ledger; of its first record
    /// nothing depends on it.
    pub fn mentioning(&self) -> bool {
        self.auditor.state().looks_for_mentions()
    }

    /// The earlier records that are needed to verify the one that is due.
    pub fn refers_to(&self, decoded: &Decoded) -> Vec<u64> {
        self.auditor.refers_to(&decoded.record)
    }

    /// Position of the next record; `None` where all are verified.
    pub fn due(&self) -> Option<u64> {
        let next = self.auditor.state().size();
        (next < self.size).then_some(next)
    }

    /// Verifies the record that is due; `about` are those that [`Verification::refers_to`] names, in
    /// its order.
    pub fn take(&mut self, decoded: Decoded, about: &[Bytes]) -> Result<(), Finding> {
        let Decoded {
            record,
            entry,
            contents,
        } = decoded;
        let position = self.auditor.state().size();
        let wrong = |fault: Fault| Finding::Record {
            position,
            kind: record.fact.name(),
            fault,
        };
        let about = about.iter().map(Record::from_bytes);
        let about = about.collect::<Result<Vec<_>, _>>();
        let about = about.map_err(|error| wrong(error.into()))?;
        let verified = self.auditor.next(&record, &entry, contents, &about);
        verified.map_err(wrong)?;
        if position == 0 {
            let note = self.checkpoint.as_deref();
            self.signed = read_checkpoint(self.auditor.state(), note, self.size)?;
        }
        match &self.signed {
            Some(signed)
                if signed.size == self.auditor.state().size()
                    && signed.root != self.auditor.state().root() =>
            {
                Err(Finding::OtherRoot {
                    signed: signed.size,
                })
            }
            _ => Ok(()),
        }
    }

    /// What was verified.
    pub fn finish(self) -> Result<Audited, Finding> {
        self.auditor.finish(self.signed.map(|signed| signed.size))
    }
}

/// Verifies the records of a whole ledger, and the contents that are there. `progress` is told how many
/// records were verified.
pub fn verify(
    engine: &dyn Engine,
    checkpoint: Option<String>,
    progress: impl FnMut(u64),
) -> Result<Audited, Finding> {
    let verification = Verification::new(engine.size(), checkpoint)?;
    verify_all(verification, engine, progress)
}

/// The same, and that no contents are gone but those of which a record says so.
pub fn verify_with_contents(
    engine: &dyn Engine,
    checkpoint: Option<String>,
    progress: impl FnMut(u64),
) -> Result<Audited, Finding> {
    let verification = Verification::new(engine.size(), checkpoint)?.with_contents(true);
    verify_all(verification, engine, progress)
}

fn verify_all(
    mut verification: Verification,
    engine: &dyn Engine,
    mut progress: impl FnMut(u64),
) -> Result<Audited, Finding> {
    let size = verification.size;
    let readers = thread::available_parallelism().map_or(1, usize::from);
    let readers = readers.min(READERS);
    let mentioning = looks_for_mentions(engine);
    // Some threads read, hash and compare contents, each its share of the pages; this one follows the fold.
    thread::scope(|scope| {
        let reading: Vec<_> = (0..readers)
            .map(|share| {
                let (pages, read) = sync_channel(PAGES);
                let due = pages_of(size).skip(share).step_by(readers);
                scope.spawn(move || read_pages(engine, due, mentioning, &pages));
                read
            })
            .collect();
        for (due, read) in pages_of(size).zip(reading.iter().cycle()) {
            while verification.due().is_some_and(|next| next < due.end) {
                // A reader that is gone has panicked: the scope panics when this returns, and nothing is told.
                let Ok(page) = read.recv() else {
                    return verification.finish();
                };
                for decoded in page? {
                    let mut about = Vec::new();
                    for earlier in verification.refers_to(&decoded) {
                        let found = engine.read(earlier, 1);
                        about.extend(found.map_err(|error| missing(earlier, error))?.pop());
                    }
                    verification.take(decoded, &about)?;
                }
                progress(verification.auditor.state().size());
            }
        }
        verification.finish()
    })
}

/// The positions of a log of this size, page by page.
fn pages_of(size: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = (0..size).step_by(READ);
    starts.map(move |from| from..size.min(from + READ as u64))
}

/// Whether the ledger's rules look for parts that name others. A first record that cannot be read is told when it
/// is due.
fn looks_for_mentions(engine: &dyn Engine) -> bool {
    let first = engine.read(0, 1).ok().and_then(|mut read| read.pop());
    let first = first.and_then(|bytes| Record::from_bytes(&bytes).ok());
    first.is_some_and(|record| match record.fact {
        Fact::Genesis(genesis) => genesis.rules >= RULES_WITH_MENTIONS,
        _ => false,
    })
}

/// Reads the pages that are due, each in one piece or several, until nobody wants more.
fn read_pages(
    engine: &dyn Engine,
    due: impl Iterator<Item = Range<u64>>,
    mentioning: bool,
    pages: &SyncSender<Result<Vec<Decoded>, Finding>>,
) {
    for mut due in due {
        while !due.is_empty() {
            let (page, failed) = read_page(engine, due.clone(), mentioning);
            let (position, count) = (due.start, page.len() as u64);
            due.start += count;
            // What was read before a fault is verified before it is told.
            let sent = pages.send(Ok(page)).is_ok();
            let failed = failed.or_else(|| {
                let reason = "it is missing".into();
                let gone = EngineError::Unreadable { position, reason };
                (count == 0).then(|| missing(position, gone))
            });
            if let Some(finding) = failed {
                let _ = pages.send(Err(finding));
                return;
            }
            if !sent {
                return;
            }
        }
    }
}

/// Records at these positions, up to the first that cannot be read; and why that cannot.
fn read_page(
    engine: &dyn Engine,
    due: Range<u64>,
    mentioning: bool,
) -> (Vec<Decoded>, Option<Finding>) {
    let mut page = Vec::with_capacity(READ);
    let count = usize::try_from(due.end - due.start).unwrap_or(READ);
    let stored = match engine.stored(due.start, count, READ_BYTES) {
        Ok(stored) => stored,
        Err(error) => return (page, Some(missing(due.start, error))),
    };
    for (position, one) in due.zip(stored) {
        let stored = Stored {
            record: one.record,
            entry: one.entry,
            bodies: one.bodies,
        };
        match stored.decode(position, mentioning) {
            Ok(decoded) => page.push(decoded),
            Err(finding) => return (page, Some(finding)),
        }
    }
    (page, None)
}

fn missing(from: u64, error: EngineError) -> Finding {
    let position = match &error {
        EngineError::Unreadable { position, .. } => *position,
        _ => from,
    };
    Finding::Record {
        position,
        kind: "unreadable",
        fault: error.into(),
    }
}

/// Reads the checkpoint under the key that the genesis names.
fn read_checkpoint(
    state: &State,
    note: Option<&str>,
    size: u64,
) -> Result<Option<Checkpoint>, Finding> {
    let (Some(note), Some(genesis)) = (note, state.genesis()) else {
        return Ok(None);
    };
    let wrong = |error| Finding::Checkpoint(crate::proof::InvalidCheckpoint::from(error));
    let key: NoteKey = genesis.log_key.parse().map_err(wrong)?;
    let checkpoint = Checkpoint::verify(note, &key)?;
    if checkpoint.origin != genesis.framework {
        let (found, framework) = (checkpoint.origin, genesis.framework.clone());
        return Err(Finding::OtherLog { found, framework });
    }
    if checkpoint.size > size {
        return Err(Finding::Shortened {
            signed: checkpoint.size,
            size,
        });
    }
    Ok(Some(checkpoint))
}
