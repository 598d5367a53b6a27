//! Both ends of a lane: dense numbers, a hash chain, and a window that bounds what is in flight.

use std::collections::VecDeque;

use thiserror::Error;

use super::limits::{LANE_WINDOW_BYTES, LANE_WINDOW_ITEMS};
use crate::bulletin::Precedence;
use crate::ledger::{LaneAck, LaneChain};
use crate::proof::Digest;

/// What is wrong with what a lane carried.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LaneError {
    /// A number out of order.
    #[error("lane {precedence}: number {found} came where {expected} was due")]
    OutOfOrder {
        /// The lane.
        precedence: Precedence,
        /// The number that was due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// An acknowledgement of what was never sent.
    #[error("lane {precedence}: {up_to} was acknowledged, and {sent} is the last that was sent")]
    NeverSent {
        /// The lane.
        precedence: Precedence,
        /// What was acknowledged.
        up_to: u64,
        /// What was sent.
        sent: u64,
    },
    /// An acknowledgement of something else than what was sent.
    #[error("lane {precedence}: what was acknowledged up to {up_to} is not what was sent")]
    OtherChain {
        /// The lane.
        precedence: Precedence,
        /// What was acknowledged.
        up_to: u64,
    },
}

/// The broker's end of a lane.
#[derive(Debug)]
pub struct LaneSender {
    precedence: Precedence,
    chain: LaneChain,
    acked: u64,
    /// The chain at `acked`.
    base: LaneChain,
    sent: VecDeque<Sent>,
    bytes: usize,
}

#[derive(Debug)]
struct Sent {
    chain: LaneChain,
    bytes: usize,
}

impl LaneSender {
    /// Resumes after what the recipient holds: its number and its chain.
    pub fn resume(precedence: Precedence, acked: u64, chain: LaneChain) -> Self {
        Self {
            precedence,
            chain,
            acked,
            base: chain,
            sent: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Number of the next delivery.
    pub fn next(&self) -> u64 {
        self.acked + self.sent.len() as u64 + 1
    }

    /// Whether another delivery may be sent before the next acknowledgement. One delivery is
    /// always allowed, whatever its size.
    pub fn has_room(&self) -> bool {
        self.sent.is_empty()
            || (self.sent.len() < LANE_WINDOW_ITEMS && self.bytes < LANE_WINDOW_BYTES)
    }

    /// Deliveries for which there is room, as far as their number goes.
    pub fn room(&self) -> usize {
        LANE_WINDOW_ITEMS.saturating_sub(self.sent.len())
    }

    /// Bytes sent and not acknowledged.
    pub fn bytes_in_flight(&self) -> usize {
        self.bytes
    }

    /// A bulletin was sent under the next number.
    pub fn sent(&mut self, header: &Digest, withheld: &[u32], bytes: usize) {
        self.push(self.chain.delivered(self.next(), header, withheld), bytes);
    }

    /// The next number was sent void.
    pub fn sent_void(&mut self) {
        self.push(self.chain.void(self.next()), 0);
    }

    fn push(&mut self, chain: LaneChain, bytes: usize) {
        self.chain = chain;
        self.bytes += bytes;
        self.sent.push_back(Sent { chain, bytes });
    }

    /// Checks an acknowledgement against what was sent, and opens the window. What was acknowledged
    /// before may be said again, and only that.
    pub fn acknowledge(&mut self, ack: &LaneAck) -> Result<(), LaneError> {
        let (precedence, up_to) = (self.precedence, ack.up_to);
        if up_to <= self.acked {
            let again = up_to == self.acked && ack.chain == self.base.0;
            return if again {
                Ok(())
            } else {
                Err(LaneError::OtherChain { precedence, up_to })
            };
        }
        let sent = self.next() - 1;
        let count = usize::try_from(up_to - self.acked).unwrap_or(usize::MAX);
        let Some(last) = self.sent.get(count - 1) else {
            return Err(LaneError::NeverSent {
                precedence,
                up_to,
                sent,
            });
        };
        if last.chain.0 != ack.chain {
            return Err(LaneError::OtherChain { precedence, up_to });
        }
        self.bytes -= self
            .sent
            .drain(..count)
            .map(|sent| sent.bytes)
            .sum::<usize>();
        self.acked = up_to;
        self.base = LaneChain(ack.chain);
        Ok(())
    }
}

/// The recipient's end of a lane.
#[derive(Clone, Copy, Debug)]
pub struct LaneReceiver {
    precedence: Precedence,
    number: u64,
    chain: LaneChain,
}

impl LaneReceiver {
    /// Resumes after what is held durably.
    pub fn resume(precedence: Precedence, number: u64, chain: LaneChain) -> Self {
        Self {
            precedence,
            number,
            chain,
        }
    }

    /// Which lane.
    pub fn precedence(&self) -> Precedence {
        self.precedence
    }

    /// Checks that this number is the one that is due.
    pub fn expect(&self, number: u64) -> Result<(), LaneError> {
        let (precedence, expected) = (self.precedence, self.number + 1);
        if number == expected {
            Ok(())
        } else {
            Err(LaneError::OutOfOrder {
                precedence,
                expected,
                found: number,
            })
        }
    }

    /// The due number carried a bulletin.
    pub fn received(&mut self, header: &Digest, withheld: &[u32]) {
        self.number += 1;
        self.chain = self.chain.delivered(self.number, header, withheld);
    }

    /// The due number came void.
    pub fn received_void(&mut self) {
        self.number += 1;
        self.chain = self.chain.void(self.number);
    }

    /// How far the lane has come.
    pub fn position(&self) -> LaneAck {
        LaneAck {
            precedence: self.precedence,
            up_to: self.number,
            chain: self.chain.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Precedence = Precedence::Flash;

    fn ends() -> (LaneSender, LaneReceiver) {
        let chain = LaneChain(Digest::of(b"start"));
        (
            LaneSender::resume(LANE, 0, chain),
            LaneReceiver::resume(LANE, 0, chain),
        )
    }

    #[test]
    fn both_ends_agree_on_what_was_carried() {
        let (mut sender, mut receiver) = ends();
        let header = Digest::of(b"header");
        sender.sent(&header, &[2], 100);
        sender.sent_void();
        receiver.expect(1).unwrap();
        receiver.received(&header, &[2]);
        receiver.received_void();
        assert_eq!(sender.bytes_in_flight(), 100);
        sender.acknowledge(&receiver.position()).unwrap();
        assert_eq!((sender.bytes_in_flight(), sender.next()), (0, 3));
    }

    #[test]
    fn an_acknowledgement_of_something_else_is_refused() {
        let (mut sender, mut receiver) = ends();
        sender.sent(&Digest::of(b"header"), &[], 1);
        receiver.received(&Digest::of(b"header"), &[0]);
        let error = sender.acknowledge(&receiver.position()).unwrap_err();
        assert_eq!(
            error,
            LaneError::OtherChain {
                precedence: LANE,
                up_to: 1
            }
        );
        sender.sent_void();
        receiver.received_void();
        let older = LaneAck {
            up_to: 0,
            ..receiver.position()
        };
        assert!(sender.acknowledge(&older).is_err());
        let beyond = LaneAck {
            precedence: LANE,
            up_to: 3,
            chain: Digest::of(b"x"),
        };
        assert!(matches!(
            sender.acknowledge(&beyond),
            Err(LaneError::NeverSent { .. })
        ));
    }

    #[test]
    fn numbers_are_taken_in_order_only() {
        let (_, receiver) = ends();
        assert!(receiver.expect(2).is_err());
        assert!(receiver.expect(0).is_err());
        assert!(receiver.expect(1).is_ok());
    }

    #[test]
    fn the_window_closes_and_opens() {
        let (mut sender, mut receiver) = ends();
        let header = Digest::of(b"header");
        sender.sent(&header, &[], LANE_WINDOW_BYTES);
        assert!(!sender.has_room());
        receiver.received(&header, &[]);
        sender.acknowledge(&receiver.position()).unwrap();
        assert!(sender.has_room());
    }
}
