//! Fairness: what one publisher may send in a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::config::QuotaConfig;
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// The buckets of all partners: a new connection or stream does not fill one.
#[derive(Debug)]
pub(super) struct Quotas {
    config: QuotaConfig,
    buckets: Mutex<HashMap<PartnerId, Quota>>,
}

impl Quotas {
    pub(super) fn new(config: QuotaConfig) -> Self {
        Self {
            config,
            buckets: Mutex::default(),
        }
    }

    /// Takes one bulletin of a partner, or says how long to wait for it.
    pub(super) fn take(&self, partner: &PartnerId, now: Timestamp) -> Result<(), Duration> {
        // Every change is one step: a panic elsewhere leaves the buckets whole.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(partner.clone());
        bucket
            .or_insert_with(|| Quota::new(self.config, now))
            .take(now)
    }
}

/// A token bucket: refilled with time, emptied by bulletins.
#[derive(Debug)]
struct Quota {
    config: QuotaConfig,
    tokens: f64,
    last: Timestamp,
}

impl Quota {
    /// A full bucket.
    fn new(config: QuotaConfig, now: Timestamp) -> Self {
        Self {
            config,
            tokens: f64::from(config.burst),
            last: now,
        }
    }

    /// Takes one bulletin, or says how long to wait for it.
    fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        let rate = f64::from(self.config.bulletins_per_second.max(1));
        let refill = now.since(self.last).as_secs_f64() * rate;
        self.tokens = (self.tokens + refill).min(f64::from(self.config.burst.max(1)));
        self.last = self.last.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publisher_that_sent_its_burst_waits_for_the_rate() {
        let config = QuotaConfig {
            bulletins_per_second: 10,
            burst: 2,
        };
        let now = Timestamp::MIN;
        let mut quota = Quota::new(config, now);
        assert_eq!((quota.take(now), quota.take(now)), (Ok(()), Ok(())));
        assert_eq!(quota.take(now), Err(Duration::from_millis(100)));
        assert_eq!(
            quota.take(now.saturating_add(Duration::from_millis(100))),
            Ok(())
        );
    }
}
