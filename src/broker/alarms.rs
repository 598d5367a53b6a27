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

/// Looks for what is overdue, says so once in the log, and wakes the sessions of originators, and of
/// those for whose consent or release something waits.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut known = BTreeSet::new();
    let mut asking = (BTreeSet::new(), Vec::new());
    let mut warned = BTreeSet::new();
    loop {
        let now = shared.clock.now();
        let (overdue, waiting) = {
            let state = shared.log.state();
            let dossiers = state.dossiers();
            let holding = dossiers.holding(now).map(|(header, _, holds)| {
                let released = holds.iter().map(|one| one.released_by.len());
                (header, released.collect::<Vec<_>>())
            });
            let asked = dossiers.all_asking(now);
            let asked: BTreeSet<_> = asked.map(|(by, header)| (by.clone(), header)).collect();
            let waiting: (_, Vec<_>) = (asked, holding.collect());
            (dossiers.overdue(now), waiting)
        };
        if waiting != asking {
            asking = waiting;
            shared.alarms.send_modify(|count| *count += 1);
        }
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
