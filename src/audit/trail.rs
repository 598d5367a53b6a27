//! What a recipient signed that it received, recomputed from what was released to it.

use std::collections::{BTreeMap, VecDeque};

use crate::bulletin::Precedence;
use crate::clock::Timestamp;
use crate::ledger::{Ack, LaneAck, LaneChain, LedgerId};
use crate::partner::PartnerId;
use crate::proof::Digest;

/// Chains that one acknowledgement may mean. Beyond it (many numbers that may have come void) the
/// recipient's own statement is taken as it is.
const MAX_CANDIDATES: usize = 1_024;

/// One number of a lane, not acknowledged yet.
#[derive(Debug)]
struct Due {
    header: Digest,
    withheld: Vec<u32>,
    /// Governing facts before it: where there was one since, its permission may have ended.
    governed: u64,
    valid_until: Timestamp,
}

#[derive(Debug)]
struct Lane {
    chain: LaneChain,
    acked: u64,
    due: VecDeque<Due>,
}

/// The hash chains of all lanes.
#[derive(Debug, Default)]
pub(super) struct Trail {
    lanes: BTreeMap<(PartnerId, Precedence), Lane>,
    governed: u64,
}

impl Trail {
    /// A fact about partners or agreements was recorded.
    pub(super) fn governed(&mut self) {
        self.governed += 1;
    }

    /// A bulletin was released under the next number of a lane.
    pub(super) fn released(
        &mut self,
        ledger: LedgerId,
        recipient: &PartnerId,
        precedence: Precedence,
        (header, withheld): (Digest, &[u32]),
        valid_until: Timestamp,
    ) {
        let lane = self
            .lanes
            .entry((recipient.clone(), precedence))
            .or_insert_with(|| Lane {
                chain: LaneChain::start(ledger, recipient, precedence),
                acked: 0,
                due: VecDeque::new(),
            });
        let (withheld, governed) = (withheld.to_vec(), self.governed);
        lane.due.push_back(Due {
            header,
            withheld,
            governed,
            valid_until,
        });
    }

    /// Checks an acknowledgement; the precedence of the first lane whose chain is another than what
    /// was released, delivered or, where its permission may have ended, void.
    pub(super) fn acknowledged(&mut self, ack: &Ack, at: Timestamp) -> Result<(), Precedence> {
        for one in &ack.lanes {
            let lane = self.lanes.get_mut(&(ack.recipient.clone(), one.precedence));
            if let Some(lane) = lane {
                lane.acknowledged(one, self.governed, at)
                    .map_err(|()| one.precedence)?;
            }
        }
        Ok(())
    }
}

impl Lane {
    fn acknowledged(&mut self, ack: &LaneAck, governed: u64, at: Timestamp) -> Result<(), ()> {
        let Some(count) = ack.up_to.checked_sub(self.acked).filter(|count| *count > 0) else {
            return Ok(());
        };
        let count = usize::try_from(count).map_err(|_| ())?;
        let mut chains = vec![self.chain];
        for (number, due) in (self.acked + 1..=ack.up_to).zip(&self.due) {
            let may_be_void = due.governed != governed || due.valid_until <= at;
            let mut next: Vec<LaneChain> = chains
                .iter()
                .map(|chain| chain.delivered(number, &due.header, &due.withheld))
                .collect();
            if may_be_void {
                next.extend(chains.iter().map(|chain| chain.void(number)));
            }
            chains = next;
            if chains.len() > MAX_CANDIDATES {
                chains = vec![LaneChain(ack.chain)];
                break;
            }
        }
        if !chains.iter().any(|chain| chain.0 == ack.chain) {
            return Err(());
        }
        self.due.drain(..count.min(self.due.len()));
        (self.acked, self.chain) = (ack.up_to, LaneChain(ack.chain));
        Ok(())
    }
}
