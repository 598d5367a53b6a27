//! What a lane that catches up reads before it is due: the next bulletins come from the log while those before
//! them are decided and written, so that neither waits for the other.

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
    /// The lane's bulletins are not in memory any more: it has fallen behind.
    reads: bool,
    under_way: Option<AbortOnDropHandle<()>>,
}

impl Ahead {
    pub(super) const fn new(log: Log, precedence: Precedence) -> Self {
        Self {
            log,
            precedence,
            reads: false,
            under_way: None,
        }
    }

    /// The bulletins accepted at these positions, in their order, or the first few of them: from the log no
    /// more than about so many bytes, but one at least.
    pub(super) async fn shelved(
        &mut self,
        positions: &[u64],
        bytes: usize,
    ) -> Result<Vec<Arc<Shelved>>, BrokerError> {
        let mut found = self.log.on_shelf(positions);
        if found.is_empty()
            && let Some(under_way) = self.under_way.take()
        {
            // Whatever became of it: what is not there now is read here, with its error.
            let _ = under_way.await;
            found = self.log.on_shelf(positions);
        }
        if found.is_empty() && !positions.is_empty() {
            self.reads = true;
            let (log, positions) = (&self.log, positions.to_vec());
            found = log.read_shelved(positions, bytes, self.precedence).await?;
        }
        Ok(found)
    }

    /// Begins to read what comes after those that are delivered now, where the lane has fallen behind and less
    /// of it is in memory than is read at once.
    pub(super) fn read_on(&mut self, later: &[u64], bytes: usize) {
        if later.is_empty() {
            self.reads = false;
        }
        let is_done = |one: &AbortOnDropHandle<()>| one.is_finished();
        if !self.reads || !self.under_way.as_ref().is_none_or(is_done) {
            return;
        }
        let missing = self.log.missing(later, bytes);
        if missing.is_empty() {
            return;
        }
        let (log, precedence) = (self.log.clone(), self.precedence);
        let missing = missing.to_vec();
        self.under_way = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            // The lane comes to the same error, and says it.
            let _ = log.read_shelved(missing, bytes, precedence).await;
        })));
    }
}
