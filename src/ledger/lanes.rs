//! Lanes: one recipient's queue at one precedence, with dense numbers of its own.

use std::collections::{BTreeMap, VecDeque};

use super::record::{LaneAck, LedgerId};
use crate::bulletin::Precedence;
use crate::partner::PartnerId;
use crate::proof::{Digest, Hasher};

/// The hash chain over what a lane carried. Both ends compute it; the recipient signs it.
///
/// ```text
/// chain(0) = SHA-256("entente/lane/v1\n" || ledger id || u8 precedence || recipient)
/// chain(n) = SHA-256(chain(n-1) || u64 n || 0x00)                                     void
///          | SHA-256(chain(n-1) || u64 n || 0x01 || SHA-256(header) || u32 index ...) delivered,
///            with the indexes of the parts withheld
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneChain(pub Digest);

impl LaneChain {
    /// The chain of a lane that carried nothing yet.
    pub fn start(ledger: LedgerId, recipient: &PartnerId, precedence: Precedence) -> Self {
        let hasher = Hasher::new()
            .chain(b"entente/lane/v1\n")
            .chain(ledger.0.as_bytes())
            .chain(&[precedence as u8])
            .chain(recipient.as_str().as_bytes());
        Self(hasher.finish())
    }

    /// The chain after a number that carried nothing: its permission no longer held.
    #[must_use]
    pub fn void(self, number: u64) -> Self {
        Self(self.link(number).chain(&[0]).finish())
    }

    /// The chain after a delivered bulletin.
    #[must_use]
    pub fn delivered(self, number: u64, header: &Digest, withheld: &[u32]) -> Self {
        let link = self.link(number).chain(&[1]).chain(header.as_bytes());
        let link = withheld
            .iter()
            .fold(link, |link, index| link.chain(&index.to_be_bytes()));
        Self(link.finish())
    }

    fn link(self, number: u64) -> Hasher {
        Hasher::new()
            .chain(self.0.as_bytes())
            .chain(&number.to_be_bytes())
    }
}

/// One lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    acked: u64,
    chain: Option<Digest>,
    pending: VecDeque<u64>,
}

impl Lane {
    /// Everything up to this number is durable at the recipient.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// The last number given out.
    pub fn issued(&self) -> u64 {
        self.acked + self.pending.len() as u64
    }

    /// The chain at `acked`, as the recipient signed it; `None` where it acknowledged nothing yet.
    pub fn chain(&self) -> Option<Digest> {
        self.chain
    }

    /// Log position of the bulletin with this number, while it is not acknowledged.
    pub fn position(&self, number: u64) -> Option<u64> {
        let at = number.checked_sub(self.acked + 1)?;
        self.pending.get(usize::try_from(at).ok()?).copied()
    }

    /// Log positions not yet acknowledged, in order.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = u64> {
        self.pending.iter().copied()
    }

    pub(super) fn from_parts(acked: u64, chain: Option<Digest>, pending: Vec<u64>) -> Self {
        Self {
            acked,
            chain,
            pending: pending.into(),
        }
    }
}

/// All lanes of all recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lanes {
    lanes: BTreeMap<(PartnerId, Precedence), Lane>,
}

impl Lanes {
    /// A recipient's lane; `None` where it never carried anything.
    pub fn lane(&self, recipient: &PartnerId, precedence: Precedence) -> Option<&Lane> {
        self.lanes.get(&(recipient.clone(), precedence))
    }

    /// All lanes, by recipient and precedence.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&(PartnerId, Precedence), &Lane)> {
        self.lanes.iter()
    }

    /// The last number given out in a lane.
    pub fn issued(&self, recipient: &PartnerId, precedence: Precedence) -> u64 {
        self.lane(recipient, precedence).map_or(0, Lane::issued)
    }

    /// Bulletins not yet acknowledged by a recipient.
    pub fn backlog(&self, recipient: &PartnerId) -> usize {
        Precedence::ALL
            .iter()
            .filter_map(|precedence| self.lane(recipient, *precedence))
            .map(|lane| lane.pending.len())
            .sum()
    }

    /// Gives out the next number of a lane, for the bulletin at this position.
    pub(super) fn issue(&mut self, recipient: &PartnerId, precedence: Precedence, position: u64) {
        self.lanes
            .entry((recipient.clone(), precedence))
            .or_default()
            .pending
            .push_back(position);
    }

    /// Moves a lane to what its recipient acknowledged. An acknowledgement of less, or of what was
    /// never given out, changes nothing.
    pub(super) fn acknowledge(&mut self, recipient: &PartnerId, ack: &LaneAck) {
        let Some(lane) = self.lanes.get_mut(&(recipient.clone(), ack.precedence)) else {
            return;
        };
        if ack.up_to > lane.acked && ack.up_to <= lane.issued() {
            let count = usize::try_from(ack.up_to - lane.acked).unwrap_or(usize::MAX);
            lane.pending.drain(..count.min(lane.pending.len()));
            lane.acked = ack.up_to;
            lane.chain = Some(ack.chain);
        }
    }

    pub(super) fn restore(&mut self, recipient: PartnerId, precedence: Precedence, lane: Lane) {
        self.lanes.insert((recipient, precedence), lane);
    }
}
