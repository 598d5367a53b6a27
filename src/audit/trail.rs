//! What a recipient signed that it received, compared with what was released to it.
//!
//! The log says what was released and when permission changed, not which number of a lane went out
//! before a change and which after it. So each number has one variant or more: as released, as
//! permitted after each later change, or void. An acknowledgement is in order when its chain is that
//! of some choice among them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::bulletin::Precedence;
use crate::clock::Timestamp;
use crate::ledger::{Ack, Fact, LaneAck, LaneChain, LaneRelease, Record, State};
use crate::partner::PartnerId;

/// Chains that one acknowledgement may mean. Beyond it the recipient's statement cannot be told
/// from others, and is taken as it is.
const MAX_CANDIDATES: usize = 1_024;

/// Indexes of the parts withheld from a delivery; `None`: the number came void.
type Variant = Option<Vec<u32>>;

/// One number of a lane, not acknowledged yet.
#[derive(Debug)]
struct Due {
    /// The record that accepted it.
    record: Arc<Record>,
    release: LaneRelease,
    variants: Vec<Variant>,
    /// When the bulletin, or an agreement that released it, ends by itself.
    ends: Timestamp,
}

impl Due {
    /// Adds what is permitted as of a state and a time.
    fn permit(&mut self, state: &State, at: Timestamp) {
        let Fact::Accepted(accepted) = &self.record.fact else {
            return;
        };
        let permit = state.permit(accepted, &self.release, at);
        let variant = permit.map(|permit| permit.release().withheld.to_vec());
        if !self.variants.contains(&variant) {
            self.variants.push(variant);
        }
    }
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
}

impl Trail {
    /// A fact about partners or agreements is folded: what waits may be permitted otherwise now.
    pub(super) fn governed(&mut self, state: &State, at: Timestamp) {
        for due in self.lanes.values_mut().flat_map(|lane| &mut lane.due) {
            due.permit(state, at);
        }
    }

    /// A bulletin was released under the next number of a lane.
    pub(super) fn released(&mut self, state: &State, record: &Arc<Record>, release: &LaneRelease) {
        let (Some(ledger), Fact::Accepted(accepted)) = (state.ledger(), &record.fact) else {
            return;
        };
        let recipient = &release.release.recipient;
        let precedence = accepted.header.precedence;
        let lane = self
            .lanes
            .entry((recipient.clone(), precedence))
            .or_insert_with(|| Lane {
                chain: LaneChain::start(ledger, recipient, precedence),
                acked: 0,
                due: VecDeque::new(),
            });
        let clauses = release.release.clauses.iter().map(|one| one.agreement);
        let ends = clauses
            .chain(accepted.bonds.iter().map(|bond| bond.agreement))
            .filter_map(|agreement| state.agreements().get(&agreement))
            .map(|entry| entry.agreement.agreement().valid_until)
            .chain([accepted.header.valid_until])
            .min();
        lane.due.push_back(Due {
            record: Arc::clone(record),
            release: release.clone(),
            variants: vec![Some(release.release.withheld.to_vec())],
            ends: ends.unwrap_or(accepted.header.valid_until),
        });
    }

    /// A held release was let go under the next number of a lane: agreements may have changed since
    /// it was decided.
    pub(super) fn let_go(
        &mut self,
        state: &State,
        record: &Arc<Record>,
        release: &LaneRelease,
        at: Timestamp,
    ) {
        self.released(state, record, release);
        let Fact::Accepted(accepted) = &record.fact else {
            return;
        };
        let lane = (
            release.release.recipient.clone(),
            accepted.header.precedence,
        );
        let due = self
            .lanes
            .get_mut(&lane)
            .and_then(|lane| lane.due.back_mut());
        if let Some(due) = due {
            due.permit(state, at);
        }
    }

    /// Checks an acknowledgement; returns the lanes in which it is for something else than what was
    /// released.
    pub(super) fn acknowledged(
        &mut self,
        state: &State,
        ack: &Ack,
        at: Timestamp,
    ) -> Vec<Precedence> {
        let mut disputed = Vec::new();
        for one in &ack.lanes {
            let lane = self.lanes.get_mut(&(ack.recipient.clone(), one.precedence));
            if let Some(lane) = lane
                && !lane.acknowledged(state, one, at)
            {
                disputed.push(one.precedence);
            }
        }
        disputed
    }
}

impl Lane {
    /// Whether an acknowledgement is of what was released; either way the lane goes on from it.
    fn acknowledged(&mut self, state: &State, ack: &LaneAck, at: Timestamp) -> bool {
        let Some(count) = ack.up_to.checked_sub(self.acked).filter(|count| *count > 0) else {
            return true;
        };
        let count = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .min(self.due.len());
        let mut chains = vec![self.chain];
        let mut untold = false;
        for (number, mut due) in (self.acked + 1..).zip(self.due.drain(..count)) {
            // Where something ended by itself, several moments may have given several variants.
            if due.ends <= at {
                due.permit(state, at);
                untold |= due.variants.len() > 1;
            }
            let header = due.release.bulletin;
            chains = due
                .variants
                .iter()
                .flat_map(|variant| {
                    chains.iter().map(move |chain| match variant {
                        Some(withheld) => chain.delivered(number, &header, withheld),
                        None => chain.void(number),
                    })
                })
                .collect();
            if chains.len() > MAX_CANDIDATES {
                untold = true;
                chains.truncate(1);
            }
        }
        let known = chains.iter().any(|chain| chain.0 == ack.chain);
        (self.acked, self.chain) = (ack.up_to, LaneChain(ack.chain));
        known || untold
    }
}
