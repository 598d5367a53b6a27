//! Alarms: what should have happened by now, and has not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::clock::Timestamp;

/// How often the clock is compared with what is due.
const LOOK: Duration = Duration::from_millis(500);
/// An agreement that ends within this time is announced.
pub(super) const EXPIRY_WARNING: Duration = Duration::from_hours(30 * 24);

/// Looks for what is overdue, says so once in the log, and wakes the sessions of originators.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut known = BTreeSet::new();
    let mut warned = BTreeSet::new();
    loop {
        let now = shared.clock.now();
        let overdue = shared.log.state().dossiers().overdue(now);
        let present: BTreeSet<_> = overdue
            .iter()
            .map(|one| (one.due, one.id, one.recipient.clone()))
            .collect();
        for one in &overdue {
            if !known.contains(&(one.due, one.id, one.recipient.clone())) {
                shared.metrics.overdue.inc();
                tracing::error!(
                    bulletin = %one.id, originator = %one.originator, recipient = %one.recipient,
                    due = %one.due, "a bulletin was not taken in time"
                );
            }
        }
        if present != known {
            known = present;
            shared.alarms.send_modify(|count| *count += 1);
        }
        warn_of_expiry(&shared, now, &mut warned);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Says once of each agreement in force that it ends soon.
fn warn_of_expiry(shared: &Shared, now: Timestamp, warned: &mut BTreeSet<String>) {
    let state = shared.log.state();
    for (id, terms) in state.rulebook().agreements() {
        let until = terms.valid_until;
        let soon = until > now && until.since(now) < EXPIRY_WARNING;
        if soon && warned.insert(id.to_string()) {
            tracing::warn!(
                agreement = %format!("{}@{}", terms.name, terms.version), %until,
                "the agreement ends soon; without a next version nothing flows under it any more"
            );
        }
    }
}
