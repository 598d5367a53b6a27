//! What a lane that catches up reads before it is due: the next bulletins come from the log while those before
//! them are decided and written, so that neither waits for the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::commit::Log;
use super::error::BrokerError;
use super::shelf::Shelved;
use crate::bulletin::Precedence;

/// How one lane comes by its bulletins. What is under way is let go with the lane.
#[derive(Debug)]
pub(super) struct Ahead {
    log: Log,
    precedence: Precedence,
    /// The lane's bulletins were not in memory: it has fallen behind.
    reads: bool,
    /// Up to this position everything was read ahead once. What has left the memory since is read when it is due.
    covered: u64,
    /// Positions of which nothing stays in memory: what was erased, was let go later or is too large.
    alone: BTreeSet<u64>,
    under_way: Option<AbortOnDropHandle<Option<Read>>>,
}

/// What a reading came to.
#[derive(Debug)]
struct Read {
    last: u64,
    alone: Vec<u64>,
}

impl Ahead {
    pub(super) const fn new(log: Log, precedence: Precedence) -> Self {
        Self {
            log,
            precedence,
            reads: false,
            covered: 0,
            alone: BTreeSet::new(),
            under_way: None,
        }
    }

    /// Whether the lane has fallen behind.
    pub(super) const fn reads(&self) -> bool {
        self.reads
    }

    /// The bulletins accepted at these positions, in their order, or the first few of them: from the log no
    /// more than about so many bytes, but one at least.
    pub(super) async fn shelved(
        &mut self,
        positions: &[u64],
        bytes: usize,
    ) -> Result<Vec<Arc<Shelved>>, BrokerError> {
        let mut found = self.log.on_shelf(positions);
        let Some(first) = positions.first().filter(|_| found.is_empty()) else {
            return Ok(found);
        };
        if let Some(under_way) = self.under_way.take() {
            // Whatever became of it: what is not there now is read here, with its error.
            if let Ok(Some(read)) = under_way.await {
                self.note(read);
            }
            found = self.log.on_shelf(positions);
        }
        if found.is_empty() {
            self.reads = true;
            self.alone = self.alone.split_off(first);
            // What comes after it is in memory, or soon is.
            let count = if self.alone.contains(first) {
                1
            } else {
                positions.len()
            };
            let wanted = positions[..count].to_vec();
            found = self
                .log
                .read_shelved(wanted, bytes, self.precedence)
                .await?;
        }
        Ok(found)
    }

    /// The lane has nothing more that waits.
    pub(super) const fn keeps_up(&mut self) {
        self.reads = false;
    }

    /// Begins to read what comes after those that are delivered now, where the lane has fallen behind and less
    /// of it is in memory than is read at once.
    pub(super) async fn read_on(&mut self, later: &[u64], bytes: usize) {
        if !self.reads {
            return;
        }
        if let Some(under_way) = self.under_way.take_if(|one| one.is_finished())
            && let Ok(Some(read)) = under_way.await
        {
            self.note(read);
        }
        if self.under_way.is_some() {
            return;
        }
        let mut missing = self.log.missing(later, bytes);
        missing.retain(|position| *position > self.covered);
        if missing.is_empty() {
            return;
        }
        let (log, precedence) = (self.log.clone(), self.precedence);
        self.under_way = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            // The lane comes to the same error, and says it.
            let wanted = missing.clone();
            let read = log.read_shelved(wanted, bytes, precedence).await.ok()?;
            missing.truncate(read.len());
            Some(Read {
                last: *missing.last()?,
                alone: log.missing(&missing, usize::MAX),
            })
        })));
    }

    fn note(&mut self, read: Read) {
        self.covered = self.covered.max(read.last);
        self.alone.extend(read.alone);
    }
}
