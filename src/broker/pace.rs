//! Intake and lanes in step: what is delivered while it is still in memory costs a fraction of what has to be
//! read again from the log.
//!
//! A lane that is close behind, because its recipient reads and the broker is busy, lets publishers wait a
//! moment. One whose recipient does not read, or that has much to catch up with, holds up nobody.
//!
//! While something urgent is delivered, lanes that catch up with what is not take turns, with pauses: otherwise they
//! fill every processor, and each step of what is urgent waits for theirs.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A lane with more than this to deliver is behind.
const BEHIND: usize = 512;
/// One with more than this is not close behind any more: what it needs has left the memory.
const FAR_BEHIND: usize = 4_096;
/// The longest that a publisher's next bulletins wait: a bound to what others can do to it.
const LONGEST: Duration = Duration::from_millis(10);

/// So long after something urgent was delivered, more of it is expected.
const URGENT: Duration = Duration::from_secs(1);
/// How long a lane that catches up then leaves the processor to others after each batch, in its turn.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// The longest that a lane waits for its turn.
const LONGEST_TURN: Duration = Duration::from_millis(50);

/// How many lanes are close behind.
#[derive(Debug)]
pub(super) struct Pace {
    close_behind: AtomicUsize,
    caught_up: Notify,
    /// When something urgent was delivered last.
    urgent: Mutex<Option<Instant>>,
    turns: Semaphore,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            close_behind: AtomicUsize::default(),
            caught_up: Notify::default(),
            urgent: Mutex::default(),
            turns: Semaphore::new(thread::available_parallelism().map_or(1, usize::from)),
        }
    }
}

impl Pace {
    /// Notes that something urgent is delivered.
    pub(super) fn note_urgent(&self) {
        *self.urgent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The turn of a lane that has so much to deliver of what is not urgent; `None` where it need not wait for one.
    pub(super) async fn turn(&self, waiting: usize) -> Option<SemaphorePermit<'_>> {
        if waiting < FAR_BEHIND {
            return None;
        }
        let urgent = *self.urgent.lock().unwrap_or_else(PoisonError::into_inner);
        urgent.filter(|at| at.elapsed() < URGENT)?;
        // One that waits for what cannot be read now, in its turn, keeps nobody else for long.
        let turn = tokio::time::timeout(LONGEST_TURN, self.turns.acquire());
        turn.await.ok()?.ok()
    }

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
    async fn lanes_that_catch_up_take_turns_while_something_is_urgent() {
        let pace = Pace::default();
        assert!(pace.turn(FAR_BEHIND).await.is_none());
        pace.note_urgent();
        assert!(pace.turn(FAR_BEHIND - 1).await.is_none());
        let mut turns = Vec::new();
        while pace.turns.available_permits() > 0 {
            turns.extend(pace.turn(FAR_BEHIND).await);
        }
        // The next waits until one of them has made its pause.
        let before = Instant::now();
        let first = turns.pop().expect("one processor at least");
        let ends = async {
            tokio::time::sleep(PAUSE).await;
            drop(first);
        };
        let ((), next) = tokio::join!(ends, pace.turn(FAR_BEHIND));
        assert!(next.is_some() && before.elapsed() >= PAUSE);
        // Nor for ever, where no turn ends.
        assert!(pace.turn(FAR_BEHIND).await.is_none());
        tokio::time::advance(URGENT).await;
        assert!(pace.turn(FAR_BEHIND).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_lane_that_is_close_behind_holds_publishers_up_and_not_for_long() {
        let pace = Pace::default();
        let mut lane = pace.lane();
        for (waiting, waits) in [(0, false), (600, true), (5_000, false), (600, true)] {
            lane.has(waiting);
            let before = Instant::now();
            pace.wait().await;
            assert_eq!(before.elapsed() >= LONGEST, waits, "{waiting}");
        }
        drop(lane);
        let before = Instant::now();
        pace.wait().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
