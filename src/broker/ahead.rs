//! What a lane that catches up reads before it is due: the next bulletins come from the log while those before
//! them are decided and written, so that neither waits for the other.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use super::commit::Log;
use super::error::BrokerError;
use super::shelf::Shelved;
use crate::bulletin::Precedence;

/// Where a lane's bulletins are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// In memory, as far as is known.
    KeepsUp,
    /// Not in memory any more.
    FellBehind,
    /// They do not stay in memory until they are due: too large for it, or too many lanes read.
    InVain,
}

/// How one lane comes by its bulletins. What is under way is let go with the lane.
#[derive(Debug)]
pub(super) struct Ahead {
    log: Log,
    precedence: Precedence,
    standing: Standing,
    /// A reading, and the last position that it came to.
    under_way: Option<AbortOnDropHandle<Option<u64>>>,
}

impl Ahead {
    pub(super) const fn new(log: Log, precedence: Precedence) -> Self {
        Self {
            log,
            precedence,
            standing: Standing::KeepsUp,
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
            let last = under_way.await.ok().flatten();
            found = self.log.on_shelf(positions);
            if found.is_empty() && positions.first().copied() <= last {
                self.standing = Standing::InVain;
            }
        }
        if found.is_empty() && !positions.is_empty() {
            if self.standing == Standing::KeepsUp {
                self.standing = Standing::FellBehind;
            }
            let (log, positions) = (&self.log, positions.to_vec());
            found = log.read_shelved(positions, bytes, self.precedence).await?;
        }
        Ok(found)
    }

    /// Begins to read what comes after those that are delivered now, where the lane has fallen behind and less
    /// of it is in memory than is read at once.
    pub(super) fn read_on(&mut self, later: &[u64], bytes: usize) {
        if later.is_empty() {
            self.standing = Standing::KeepsUp;
        }
        let under_way = self.under_way.as_ref();
        let may = under_way.is_none_or(AbortOnDropHandle::is_finished);
        if !may || self.standing != Standing::FellBehind {
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
            let read = log.read_shelved(missing.clone(), bytes, precedence).await;
            let count = read.ok()?.len();
            missing.into_iter().take(count).next_back()
        })));
    }
}
