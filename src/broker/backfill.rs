//! Backfill: gives the parties of an agreement what came before it, where its clauses say so.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::commit::Answer;
use super::error::BrokerError;
use crate::agreement::AgreementId;
use crate::ledger::{
    Backfill, Engine, Fact, Proposal, Record, backfill_is_valid, backfill_releases,
};

/// Records read at once.
const PAGE: usize = 512;
/// What could not be given yet is tried again then.
const RETRY: Duration = Duration::from_secs(5);

/// Works off what agreements in force ask for, the oldest first, until the broker stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut governance = shared.log.governance();
    loop {
        governance.borrow_and_update();
        let work = async {
            let wait = give_all(&shared).await;
            // Another version may enter into force, or one be withdrawn.
            match wait {
                Some(wait) => {
                    let _ = tokio::time::timeout(wait, governance.changed()).await;
                }
                None => {
                    let _ = governance.changed().await;
                }
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = work => {}
        }
    }
}

/// Gives what can be given now; returns when to look again, where something is left. What one
/// agreement cannot be given keeps nothing from the others.
async fn give_all(shared: &Arc<Shared>) -> Option<Duration> {
    for (id, backfill) in ready(shared) {
        match give(shared, id, backfill).await {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(agreement = %id, %error, "what came before could not be given");
            }
        }
    }
    let state = shared.log.state();
    (!state.backfills().is_empty()).then_some(RETRY)
}

/// The backfills of agreements that are valid already, by where these stand in the log.
fn ready(shared: &Shared) -> Vec<(AgreementId, Backfill)> {
    let state = shared.log.state();
    let now = shared.clock.now().max(state.time());
    let mut ready: Vec<(AgreementId, Backfill)> = state
        .backfills()
        .iter()
        .filter(|(id, _)| backfill_is_valid(&state, id, now))
        .map(|(id, one)| (*id, *one))
        .collect();
    ready.sort_by_key(|(_, one)| one.until);
    ready
}

/// Whether it is still to be given: the agreement may have ended.
fn is_under_way(shared: &Shared, agreement: &AgreementId) -> bool {
    shared.log.state().backfills().contains_key(agreement)
}

/// Gives what one agreement's backfill gives, as long as the log takes it. A restart, or another
/// try, goes on where this one stood.
async fn give(
    shared: &Arc<Shared>,
    agreement: AgreementId,
    backfill: Backfill,
) -> Result<(), BrokerError> {
    tracing::info!(%agreement, since = %backfill.from, "giving what came before");
    let mut position = backfill.done.max(first_since(shared, backfill).await?);
    while position < backfill.until {
        let page = due(shared, agreement, backfill, position).await?;
        for bulletin in page.due {
            let bulletin = Some(bulletin);
            let proposal = Proposal::Backfill {
                agreement,
                bulletin,
            };
            if !is_under_way(shared, &agreement) || !propose(shared, proposal).await? {
                return Ok(());
            }
        }
        position = page.next;
        if !is_under_way(shared, &agreement) {
            return Ok(());
        }
    }
    let bulletin = None;
    let proposal = Proposal::Backfill {
        agreement,
        bulletin,
    };
    propose(shared, proposal).await.map(|_| ())
}

async fn propose(shared: &Shared, proposal: Proposal) -> Result<bool, BrokerError> {
    Ok(match shared.log.propose(proposal).await? {
        Answer::Recorded { .. } | Answer::Stale => true,
        Answer::Refused(error) => {
            tracing::error!(%error, "a backfill was refused");
            false
        }
        Answer::Later(_) => false,
    })
}

/// What of a page of the log is to be given.
struct Page {
    due: Vec<(u64, Arc<Record>)>,
    next: u64,
}

async fn due(
    shared: &Arc<Shared>,
    agreement: AgreementId,
    backfill: Backfill,
    from: u64,
) -> Result<Page, BrokerError> {
    let shared = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || {
        let mut due = Vec::new();
        let (mut next, now) = (from, shared.clock.now());
        for bytes in shared.log.engine().read(from, PAGE)? {
            if next >= backfill.until {
                break;
            }
            let record = Record::from_bytes(&bytes).map_err(|error| BrokerError::Record {
                position: next,
                error,
            })?;
            if matches!(record.fact, Fact::Accepted(_)) && record.time >= backfill.from {
                let state = shared.log.state();
                let at = now.max(state.time());
                let releases = backfill_releases(&state, &agreement, next, &record, at);
                drop(state);
                if !releases.is_empty() {
                    due.push((next, Arc::new(record)));
                }
            }
            next += 1;
        }
        // A log that is shorter than its own records say is no reason to turn in circles.
        let next = if next == from { backfill.until } else { next };
        Ok(Page { due, next })
    });
    read.await.map_err(|_| BrokerError::Closed)?
}

/// The first position whose record is not before the date: times never go back.
async fn first_since(shared: &Arc<Shared>, backfill: Backfill) -> Result<u64, BrokerError> {
    let shared = Arc::clone(shared);
    let search = tokio::task::spawn_blocking(move || {
        let (mut low, mut high) = (0, backfill.until);
        while low < high {
            let middle = low + (high - low) / 2;
            let bytes = shared.log.engine().read(middle, 1)?.pop();
            let record = bytes.map(|bytes| Record::from_bytes(&bytes)).transpose();
            let record = record.map_err(|error| BrokerError::Record {
                position: middle,
                error,
            })?;
            if record.is_some_and(|record| record.time < backfill.from) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    });
    search.await.map_err(|_| BrokerError::Closed)?
}
