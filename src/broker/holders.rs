//! Who holds a partner's lanes, where the partner's nodes may be at different brokers: one node at a time, as at
//! one broker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::error::BrokerError;
use crate::partner::SpiffeId;
use crate::session::Refusal;
use crate::stream::{HeadBucket, Holder, OLDEST, Reads};

/// A broker that is not heard of for so many leases does not live.
const LEASES: u32 = 2;
/// Brokers that are known, and the bytes of a name.
const MOST_BROKERS: usize = 1_024;
const MOST_NAME: usize = 2_048;

/// Whether there is a place for a name: whoever may write to the bucket may write many.
fn is_place<T>(known: &HashMap<String, T>, name: &str) -> bool {
    known.contains_key(name) || (known.len() < MOST_BROKERS && name.len() <= MOST_NAME)
}

/// Which brokers live, as far as they were heard of.
#[derive(Debug)]
pub(super) struct Holders {
    since: Instant,
    sessions: AtomicU64,
    seen: Mutex<HashMap<String, Instant>>,
    /// The newest format of messages that each reads.
    reads: Mutex<HashMap<String, u32>>,
}

impl Default for Holders {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            sessions: AtomicU64::new(0),
            seen: Mutex::default(),
            reads: Mutex::default(),
        }
    }
}

impl Holders {
    /// The number of the next session.
    fn next(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// A broker was heard of.
    pub(super) fn saw(&self, broker: String) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if is_place(&seen, &broker) {
            seen.insert(broker, Instant::now());
        }
    }

    /// Whether a broker lives; one that could not be heard of yet does.
    fn lives(&self, broker: &str, patience: Duration) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seen.get(broker).copied().unwrap_or(self.since);
        last.elapsed() < patience
    }

    /// A broker said what it reads.
    pub(super) fn reads(&self, reads: Reads) {
        let mut all = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        if is_place(&all, &reads.broker) {
            all.insert(reads.broker, reads.format);
        }
    }

    /// The newest format of messages that all brokers read which live. One that did not say reads the oldest; so do
    /// all until every one that lives could be heard of.
    fn common_format(&self, broker: &str, own: u32, patience: Duration) -> u32 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Who does not hear itself hears nobody.
        let hears = seen.get(broker).is_some_and(|at| at.elapsed() < patience);
        if self.since.elapsed() < patience || !hears {
            return OLDEST;
        }
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        let live = seen.iter().filter(|(_, last)| last.elapsed() < patience);
        let formats = live.map(|(broker, _)| reads.get(broker).copied().unwrap_or(OLDEST));
        formats.fold(own, u32::min)
    }
}

/// The lanes of a session's partner; given up when it goes.
#[derive(Debug)]
pub(super) struct Held(Option<(HeadBucket, String, Holder)>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((bucket, partner, holder)) = self.0.take() {
            bucket.release(&partner, holder);
        }
    }
}

/// Takes the lanes of a node's partner, where no other node holds them.
pub(super) async fn claim(
    shared: &Arc<Shared>,
    node: &SpiffeId,
) -> Result<Result<Held, Refusal>, BrokerError> {
    let lease = shared.log.lease().length();
    let Some((bucket, lease)) = shared.log.head().place().bucket().cloned().zip(lease) else {
        return Ok(Ok(Held(None)));
    };
    let partner = node.partner().to_string();
    let holder = Holder {
        node: node.to_string(),
        broker: shared.config.spiffe_id.to_string(),
        session: shared.holders.next(),
    };
    let (asking, of, wanted) = (Arc::clone(shared), partner.clone(), holder.clone());
    let at = bucket.clone();
    let claimed = tokio::task::spawn_blocking(move || {
        let patience = lease * LEASES;
        at.claim(&of, &wanted, |broker| {
            asking.holders.lives(broker, patience)
        })
    });
    Ok(match claimed.await.map_err(|_| BrokerError::Closed)? {
        Ok(None) => Ok(Held(Some((bucket, partner, holder)))),
        Ok(Some(other)) => Err(Refusal::new(
            "lanes_taken",
            format!(
                "`{}` holds the lanes of `{partner}` through `{}`; try again later",
                other.node, other.broker
            ),
        )),
        Err(error) => Err(Refusal::new("no_quorum", error.to_string())),
    })
}

/// A partner's lanes are held elsewhere: whoever held them here does not any more.
pub(super) fn moved(shared: &Shared, partner: &str, holder: &Holder) {
    if holder.broker != shared.config.spiffe_id.to_string() {
        tracing::debug!(
            partner,
            node = holder.node,
            broker = holder.broker,
            "lanes moved"
        );
        shared.sessions.moved(partner);
    }
}

/// Says again and again that this broker lives and what it reads, and heeds what the others read.
pub(super) async fn beat(shared: Arc<Shared>) {
    let lease = shared.log.lease().length();
    let Some((bucket, lease)) = shared.log.head().place().bucket().zip(lease) else {
        return;
    };
    let mut ticks = tokio::time::interval(lease / 2);
    let broker = shared.config.spiffe_id.to_string();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            _ = ticks.tick() => {
                bucket.beat(&broker);
                bucket.reads(&broker);
                let own = bucket.format();
                bucket.write_format(shared.holders.common_format(&broker, own, lease * LEASES));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_not_heard_of_does_not_live_for_long() {
        let holders = Holders::default();
        assert!(holders.lives("a", Duration::from_hours(1)));
        assert!(!holders.lives("a", Duration::ZERO));
        holders.saw("a".into());
        assert!(holders.lives("a", Duration::from_hours(1)));
    }

    #[test]
    fn a_newer_format_is_written_when_all_who_live_read_it() {
        let holders = Holders::default();
        let reads = |broker: &str, format| {
            holders.reads(Reads {
                broker: broker.to_owned(),
                format,
            });
        };
        // Nobody could be heard of yet.
        assert_eq!(
            holders.common_format("own", 3, Duration::from_hours(1)),
            OLDEST
        );
        while holders.since.elapsed() < Duration::from_millis(1) {
            std::thread::yield_now();
        }
        // Nobody was heard of, not even this one; then of one that does not say.
        let short = Duration::from_millis(1);
        assert_eq!(holders.common_format("own", 3, short), OLDEST);
        holders.saw("own".into());
        reads("own", 3);
        holders.saw("a".into());
        let long = holders.since.elapsed();
        assert_eq!(holders.common_format("own", 3, long), OLDEST);
        reads("a", 2);
        assert_eq!(holders.common_format("own", 3, long), 2);
        reads("a", 9);
        assert_eq!(holders.common_format("own", 3, long), 3);
        // Who does not live any more keeps nobody.
        reads("a", 1);
        let last = holders.seen.lock().unwrap()["a"];
        while last.elapsed() < Duration::from_millis(20) {
            std::thread::yield_now();
        }
        holders.saw("own".into());
        assert_eq!(
            holders.common_format("own", 3, Duration::from_millis(20)),
            3
        );
    }

    #[test]
    fn names_take_no_more_than_their_room() {
        let holders = Holders::default();
        holders.saw("x".repeat(MOST_NAME + 1));
        (0..=MOST_BROKERS).for_each(|number| holders.saw(number.to_string()));
        let seen = holders.seen.lock().unwrap();
        assert_eq!(seen.len(), MOST_BROKERS);
        assert!(seen.contains_key("0") && !seen.contains_key(&MOST_BROKERS.to_string()));
    }
}
