//! Receipts that do not come. A broker can keep a node without them, by opening no records to it or showing
//! it no checkpoint; that it does is seen here, by this node's own clock, and told to its people.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Shared;
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::ledger::MERGE_DELAY;
use crate::store::StoreError;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// The oldest records without a receipt are followed; so many say enough.
const FOLLOWED: usize = 64;
/// No broker is given more time than this.
const MAX_DELAY: Duration = Duration::from_mins(15);
/// Alarms that name their record; the others are counted.
const NAMED: usize = 4;

/// A record whose receipt is not here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    bulletin: BulletinId,
    /// Since when this process knows of it. A restart begins anew: it costs a minute, not the alarm.
    since: Timestamp,
    told: bool,
}

/// Position -> what is awaited there.
pub(super) type AllAwaited = BTreeMap<u64, Awaited>;

/// Looks until the node stops.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        let looking = Arc::clone(&shared);
        let looked = tokio::task::spawn_blocking(move || look(&looking)).await;
        match looked {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "missing receipts cannot be looked for"),
            Err(_) => return,
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn look(shared: &Shared) -> Result<(), StoreError> {
    let oldest = shared.store.unproven(0, u64::MAX, FOLLOWED)?;
    let (now, covered) = (shared.clock.now(), covered(shared));
    let late = lateness(shared);
    let mut all = shared
        .awaited
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    all.retain(|position, awaited| {
        let mut oldest = oldest.iter();
        oldest.any(|one| one.position == *position && one.subject == awaited.bulletin.0)
    });
    for one in oldest {
        let awaited = all.entry(one.position).or_insert(Awaited {
            bulletin: BulletinId(one.subject),
            since: now,
            told: false,
        });
        if !awaited.told && now.since(awaited.since) > late {
            awaited.told = true;
            tracing::error!("{}", sentence(one.position, awaited, covered));
        }
    }
    Ok(())
}

/// What is missing for too long, for `entente status`.
pub(super) fn alarms(shared: &Shared, now: Timestamp) -> Vec<String> {
    let (late, covered) = (lateness(shared), covered(shared));
    let all = shared
        .awaited
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let overdue: Vec<_> = all
        .iter()
        .filter(|(_, awaited)| now.since(awaited.since) > late)
        .collect();
    let named = overdue.iter().take(NAMED);
    let mut alarms: Vec<String> = named
        .map(|(position, awaited)| sentence(**position, awaited, covered))
        .collect();
    if let Some(more) = overdue.len().checked_sub(NAMED).filter(|more| *more > 0) {
        alarms.push(format!("{more} more records have no receipt in time"));
    }
    alarms
}

/// The broker says within what delay a checkpoint covers a record.
pub(super) fn expect_within(shared: &Shared, merge_delay: Duration) {
    let delay = merge_delay.min(MAX_DELAY).as_millis();
    let delay = u64::try_from(delay).unwrap_or(u64::MAX);
    shared.merge_delay_ms.store(delay, Ordering::Relaxed);
}

fn lateness(shared: &Shared) -> Duration {
    let promised = Duration::from_millis(shared.merge_delay_ms.load(Ordering::Relaxed));
    MERGE_DELAY.max(promised) + Duration::from_secs(shared.config.receipts_within)
}

/// Records that a checkpoint covers which this node believes.
fn covered(shared: &Shared) -> u64 {
    let believed = shared.believed.borrow();
    believed.as_ref().map_or(0, |head| head.checkpoint.size)
}

fn sentence(position: u64, awaited: &Awaited, covered: u64) -> String {
    let Awaited {
        bulletin, since, ..
    } = awaited;
    let why = if position < covered {
        "the broker does not show it, though a checkpoint covers it"
    } else {
        "no checkpoint that this node believes covers it"
    };
    format!("record {position} of {bulletin} has no receipt since {since}: {why}")
}
