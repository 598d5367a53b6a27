//! Cover traffic: once in each interval the log is filled up, and a checkpoint signed over exactly that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Shared;
use super::commit::Answer;
use super::error::BrokerError;
use crate::ledger::{Cover, CoverKey, Proposal};

/// What covers the log's growth.
#[derive(Debug)]
pub(super) struct Covering {
    pub(super) growth: Cover,
    pub(super) every: Duration,
    pub(super) key: CoverKey,
}

/// Seals one interval after the other until the broker stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let Some(covering) = &shared.covering else {
        return;
    };
    let mut ticks = tokio::time::interval(covering.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = seal(&shared, covering).await {
            tracing::error!(%error, "an interval could not be covered");
        }
    }
}

/// Fills up the log and signs it. What comes meanwhile belongs to the next interval.
pub(super) async fn seal(shared: &Arc<Shared>, covering: &Covering) -> Result<(), BrokerError> {
    let signed = shared.log.head().signed_size().unwrap_or(0);
    let until = covering.growth.goal(signed, shared.log.size());
    while shared.log.size() < until {
        let key = covering.key.clone();
        match shared.log.propose(Proposal::Cover { until, key }).await? {
            Answer::Recorded { .. } | Answer::Stale => {}
            Answer::Refused(_) => return Ok(()),
            Answer::Later(reason) => {
                tracing::error!(%reason, "there is no room for cover: no checkpoint is signed");
                return Ok(());
            }
        }
    }
    let shared = Arc::clone(shared);
    let signed = tokio::task::spawn_blocking(move || {
        shared.log.snapshot_if_due()?;
        let now = shared.clock.now();
        shared
            .log
            .sign_checkpoint(until, shared.log_key.as_ref(), now)
    });
    signed.await.map_err(|_| BrokerError::Closed)?
}
