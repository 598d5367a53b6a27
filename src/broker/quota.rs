//! Fairness: what one publisher may send in a while.

use std::time::Duration;

use super::config::QuotaConfig;
use crate::clock::Timestamp;

/// A token bucket: refilled with time, emptied by bulletins.
#[derive(Debug)]
pub(super) struct Quota {
    config: QuotaConfig,
    tokens: f64,
    last: Timestamp,
}

impl Quota {
    /// A full bucket.
    pub(super) fn new(config: QuotaConfig, now: Timestamp) -> Self {
        Self {
            config,
            tokens: f64::from(config.burst),
            last: now,
        }
    }

    /// Takes one bulletin, or says how long to wait for it.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
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
