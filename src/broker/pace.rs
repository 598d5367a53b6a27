//! Intake and lanes in step: what is delivered while it is still in memory costs a fraction of what has to be
//! read again from the log.
//!
//! A lane that is close behind, because its recipient reads and the broker is busy, lets publishers wait a
//! moment. One whose recipient does not read, or that has much to catch up with, holds up nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// A lane with more than this to deliver is behind.
const BEHIND: usize = 512;
/// One with more than this is not close behind any more: what it needs has left the memory.
const FAR_BEHIND: usize = 4_096;
/// The longest that a publisher's next bulletins wait: a bound to what others can do to it.
const LONGEST: Duration = Duration::from_millis(10);

/// How many lanes are close behind.
#[derive(Debug, Default)]
pub(super) struct Pace {
    close_behind: AtomicUsize,
    caught_up: Notify,
}

impl Pace {
    /// Waits while lanes are close behind, but not for long.
    pub(super) async fn wait(&self) {
        if self.close_behind.load(Ordering::Relaxed) == 0 {
            return;
        }
        let caught_up = async {
            loop {
                let notified = self.caught_up.notified();
                if self.close_behind.load(Ordering::Relaxed) == 0 {
                    return;
                }
                notified.await;
            }
        };
        // Either is a reason to go on.
        let _ = tokio::time::timeout(LONGEST, caught_up).await;
    }

    /// A lane that may fall behind.
    pub(super) const fn lane(&self) -> LanePace<'_> {
        LanePace {
            pace: self,
            is_behind: false,
        }
    }
}

/// One lane's share; it holds up nobody when this goes.
#[derive(Debug)]
pub(super) struct LanePace<'a> {
    pace: &'a Pace,
    is_behind: bool,
}

impl LanePace<'_> {
    /// So much is there to deliver, and the recipient takes it.
    pub(super) fn has(&mut self, waiting: usize) {
        let behind = waiting > BEHIND && waiting < FAR_BEHIND;
        if behind == self.is_behind {
            return;
        }
        self.is_behind = behind;
        if behind {
            self.pace.close_behind.fetch_add(1, Ordering::Relaxed);
        } else if self.pace.close_behind.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.pace.caught_up.notify_waiters();
        }
    }
}

impl Drop for LanePace<'_> {
    fn drop(&mut self) {
        self.has(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_lane_that_is_close_behind_holds_publishers_up_and_not_for_long() {
        let pace = Pace::default();
        let mut lane = pace.lane();
        for (waiting, waits) in [(0, false), (600, true), (5_000, false), (600, true)] {
            lane.has(waiting);
            let before = tokio::time::Instant::now();
            pace.wait().await;
            assert_eq!(before.elapsed() >= LONGEST, waits, "{waiting}");
        }
        drop(lane);
        let before = tokio::time::Instant::now();
        pace.wait().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
