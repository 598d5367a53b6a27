//! Retention: what agreements let this partner keep for a time only is deleted on time, and signed
//! that it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::error::NodeError;
use super::inbox::{InboxItem, Verdict};
use super::obligations::owed;
use super::{Shared, declare, notices};
use crate::clock::Timestamp;
use crate::ledger::What;

/// How often the clock is compared with what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Items looked at together.
const PAGE: usize = 64;

/// What is to be deleted, and when.
#[derive(Debug, Default)]
struct Calendar {
    /// Items up to this number were looked at.
    seen: u64,
    due: BTreeSet<(Timestamp, u64)>,
}

/// Deletes on time until the node stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut calendar = Calendar::default();
    loop {
        let keeping = Arc::clone(&shared);
        let kept = tokio::task::spawn_blocking(move || {
            let done = calendar.keep(&keeping);
            (calendar, done)
        });
        let Ok((next, done)) = kept.await else { return };
        calendar = next;
        if let Err(error) = done {
            tracing::error!(%error, "what should be deleted could not be");
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl Calendar {
    /// Notes when new items are due, and deletes what is.
    fn keep(&mut self, shared: &Shared) -> Result<(), NodeError> {
        loop {
            let page = shared.store.inbox(self.seen, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            let last = *last;
            for (number, bytes) in &page {
                let item = InboxItem::from_bytes(bytes);
                let until = item.and_then(|item| keep_until(shared, &item));
                self.due.extend(until.map(|until| (until, *number)));
            }
            self.seen = last;
        }
        let now = shared.clock.now();
        while let Some((until, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            delete(shared, number)?;
            self.due.remove(&(until, number));
        }
        Ok(())
    }
}

/// Until when an item may be kept; `None`: for ever, or nothing of it is left.
fn keep_until(shared: &Shared, item: &InboxItem) -> Option<Timestamp> {
    if item.verdict != Verdict::Verified || notices::is_emptied(item) {
        return None;
    }
    owed(shared, &item.delivery).keep_until
}

/// Deletes the contents of an item, and declares it.
fn delete(shared: &Shared, number: u64) -> Result<(), NodeError> {
    let found = shared.store.inbox(number - 1, 1)?;
    let item = found
        .iter()
        .find(|(at, _)| *at == number)
        .and_then(|(_, bytes)| InboxItem::from_bytes(bytes));
    let (Some(item), Some(ledger)) = (item, super::link::known_ledger(shared)?) else {
        return Ok(());
    };
    if notices::is_emptied(&item) {
        return Ok(());
    }
    let sealed = &item.delivery.bulletin;
    let declaration = declare::sign(
        shared,
        ledger,
        sealed.id,
        sealed.header_hash(),
        What::Erased,
    )?;
    shared
        .store
        .erase(number, &notices::emptied(&item), &declaration)?;
    shared.declared.notify_one();
    tracing::info!(id = %sealed.id, "deleted: it was to be kept no longer");
    Ok(())
}
