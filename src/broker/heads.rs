//! Where the last signed checkpoint is kept: in a file, and, where brokers share the log, in a bucket that
//! all of them see, too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::config::Config;
use super::error::BrokerError;
use super::holders;
use crate::proof::{Checkpoint, Digest, Note, NoteKey, PublicKey, SignatureLine};
use crate::store::{Disk, HeadFile};
use crate::stream::{HeadBucket, Heard, HeardNews, StreamEngine};

/// How long a checkpoint of another broker may be ahead of what arrived here.
const LOOK: Duration = Duration::from_millis(100);

/// The file, and the bucket where there is one.
#[derive(Debug)]
pub(super) struct HeadPlace {
    file: HeadFile,
    bucket: Option<HeadBucket>,
    /// The log's key: what it did not sign counts for nothing.
    key: PublicKey,
}

/// What became of a checkpoint that was to be the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// It is.
    Done,
    /// Another broker of this log was first.
    Ahead,
    /// Somebody who must not has replaced the one before.
    Taken,
}

impl HeadPlace {
    pub(super) fn of(
        config: &Config,
        disk: Arc<dyn Disk>,
        stream: Option<&Arc<StreamEngine>>,
        key: PublicKey,
    ) -> Self {
        Self {
            key,
            file: HeadFile::on(&config.head, disk),
            bucket: stream.map(HeadBucket::of),
        }
    }

    /// The size that a checkpoint of this log's key says; 0 where there is none.
    pub(super) fn signed_size(&self, text: Option<&str>) -> u64 {
        let read = |text: &str| {
            let note = text.parse::<Note>().ok()?;
            let key = NoteKey::new(text.lines().next()?, self.key).ok()?;
            Checkpoint::of_note(&note, &key).ok()
        };
        text.and_then(read).map_or(0, |checkpoint| checkpoint.size)
    }

    /// The last checkpoint, as this broker or any other knows it: the larger of the two.
    pub(super) fn load(&self) -> Result<Option<String>, BrokerError> {
        let kept = self.file.load()?;
        let Some(bucket) = &self.bucket else {
            return Ok(kept);
        };
        let shown = bucket.load()?;
        if shown.is_some() && self.signed_size(shown.as_deref()) == 0 {
            tracing::error!(
                "the checkpoint in the bucket is not signed by this log's key: it counts for nothing"
            );
            return Ok(kept);
        }
        Ok(
            if self.signed_size(shown.as_deref()) >= self.signed_size(kept.as_deref()) {
                shown
            } else {
                kept
            },
        )
    }

    /// Puts a checkpoint of this size in the place of the expected one, durably.
    pub(super) fn swap(
        &self,
        expected: Option<&str>,
        new: &str,
        of: u64,
    ) -> Result<Swapped, BrokerError> {
        let Some(bucket) = &self.bucket else {
            let swapped = self.file.swap(expected, new)?;
            return Ok(if swapped {
                Swapped::Done
            } else {
                Swapped::Taken
            });
        };
        let shown = bucket.load()?;
        if self.signed_size(shown.as_deref()) >= of || !bucket.swap(shown.as_deref(), new)? {
            return Ok(Swapped::Ahead);
        }
        self.note(new)?;
        Ok(Swapped::Done)
    }

    /// Keeps in the file what all brokers see: it tells when they all were restored from older backups.
    pub(super) fn note(&self, text: &str) -> Result<(), BrokerError> {
        let kept = self.file.load()?;
        if self.signed_size(kept.as_deref()) < self.signed_size(Some(text)) {
            self.file.swap(kept.as_deref(), text)?;
        }
        Ok(())
    }

    /// Where a proof that the log's key signed two histories is kept.
    pub(super) fn fork_path(&self) -> &Path {
        self.file.fork_path()
    }

    /// That proof.
    pub(super) fn fork(&self) -> Result<Option<String>, BrokerError> {
        let kept = self.file.fork()?;
        match &self.bucket {
            Some(bucket) if kept.is_none() => Ok(bucket.fork()?),
            _ => Ok(kept),
        }
    }

    /// Keeps such a proof, durably.
    pub(super) fn keep_fork(&self, proof: &str) -> Result<(), BrokerError> {
        self.file.keep_fork(proof)?;
        if let Some(bucket) = &self.bucket {
            bucket.keep_fork(proof)?;
        }
        Ok(())
    }

    /// Tells other brokers what a witness said.
    pub(super) fn tell(&self, keys: &[NoteKey], size: u64, lines: &[SignatureLine]) {
        if let Some(bucket) = &self.bucket
            && let Some(first) = keys.first()
        {
            let heard = Heard {
                keys: keys.iter().map(ToString::to_string).collect(),
                size,
                lines: lines.iter().map(ToString::to_string).collect(),
            };
            bucket.tell(
                &Digest::of(first.to_string().as_bytes()).to_string(),
                &heard,
            );
        }
    }

    /// The bucket, where brokers share the log.
    pub(super) fn bucket(&self) -> Option<&HeadBucket> {
        self.bucket.as_ref()
    }
}

/// Takes on what other brokers sign, and what witnesses tell them, until the broker stops.
pub(super) async fn follow(shared: Arc<Shared>) {
    let Some(bucket) = shared.log.head().place().bucket() else {
        return;
    };
    let mut news = bucket.watch();
    loop {
        let one = tokio::select! {
            () = shared.stop.cancelled() => return,
            one = news.recv() => one,
        };
        match one {
            Some(HeardNews::Checkpoint(text)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move { adopt(&shared, text).await });
            }
            Some(HeardNews::Fork(text)) => shared.log.head().take_fork(&text),
            Some(HeardNews::Witness(heard)) => shared.log.head().overheard(&heard),
            Some(HeardNews::Alive(broker)) => shared.holders.saw(broker),
            Some(HeardNews::Reads(reads)) => shared.holders.reads(reads),
            Some(HeardNews::Holder(partner, holder)) => {
                holders::moved(&shared, &partner, &holder);
            }
            None => return,
        }
    }
}

/// Takes on a checkpoint as soon as this broker's log reaches so far.
async fn adopt(shared: &Arc<Shared>, text: String) {
    let mut sizes = shared.log.sizes();
    for _ in 0..50 {
        sizes.borrow_and_update();
        let (adopting, text) = (Arc::clone(shared), text.clone());
        let adopted = tokio::task::spawn_blocking(move || {
            let log = &adopting.log;
            log.head().adopt(log.engine(), &text)
        });
        match adopted.await {
            Ok(Ok(false)) => {
                let _ = tokio::time::timeout(LOOK, sizes.changed()).await;
            }
            Ok(Err(error)) => {
                if matches!(error, BrokerError::Forked(_)) {
                    tracing::error!(%error, "another broker signed a checkpoint of another history");
                    shared.log.fail(&error);
                } else {
                    tracing::error!(%error, "another broker's checkpoint could not be taken on");
                }
                return;
            }
            Ok(Ok(true)) | Err(_) => return,
        }
    }
}
