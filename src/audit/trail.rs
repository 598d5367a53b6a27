//! What a recipient signed that it received, compared with what was released to it.
//!
//! The log says what was released and when permission changed, not which number of a lane went out
//! before a change and which after it. So each number has one variant or more: as released, as
//! permitted after each later change, or void. An acknowledgement is in order when its chain is that
//! of some choice among them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::bulletin::Precedence;
use crate::clock::Timestamp;
use crate::decision::Withheld;
use crate::ledger::{
    Ack, ENTRY_BYTES, Fact, LaneAck, LaneChain, LaneRelease, Record, State, Subject,
};
use crate::partner::PartnerId;
use crate::proof::Digest;

/// Chains that one acknowledgement may mean. Beyond it the recipient's statement cannot be told
/// from others, and is taken as it is.
const MAX_CANDIDATES: usize = 1_024;

/// Indexes of the parts withheld from a delivery; `None`: the number came void.
type Variant = Option<Withheld>;

/// A record that accepted a bulletin, as it is stored: what waits for a partner that is away may be most of a ledger.
#[derive(Debug)]
struct Kept {
    record: Bytes,
    entry: [u8; ENTRY_BYTES],
}

impl Kept {
    fn of(record: &Record) -> Arc<Self> {
        Arc::new(Self {
            record: record.bytes.clone(),
            entry: record.commitment.entry(),
        })
    }

    /// Reads it again; `None` for what is no bulletin.
    fn open(&self) -> Option<Opened> {
        let record = Record::beside(&self.record, &self.entry).ok()?;
        let Fact::Accepted(accepted) = &record.fact else {
            return None;
        };
        let subject = Subject::of(accepted);
        Some(Opened { record, subject })
    }
}

/// A record that was read again, with what a decision looks at.
struct Opened {
    record: Record,
    subject: Subject,
}

impl Opened {
    fn released(&self, recipient: &PartnerId) -> Option<&LaneRelease> {
        let mut releases = self.record.releases.iter();
        releases.find(|one| one.release.recipient == *recipient)
    }
}

/// One number of a lane, not acknowledged yet.
#[derive(Debug)]
struct Due {
    kept: Arc<Kept>,
    /// SHA-256 of the bulletin's header.
    bulletin: Digest,
    /// Where it was let go or given later, and is no part of that record.
    later: Option<Box<LaneRelease>>,
    /// As released.
    withheld: Withheld,
    /// Other variants.
    others: Vec<Variant>,
    /// When the bulletin, or an agreement that released it, ends by itself.
    ends: Timestamp,
}

impl Due {
    /// Adds what is permitted as of a state and a time; `released` is this recipient's share in the record.
    fn permit(
        &mut self,
        opened: &Opened,
        released: Option<&LaneRelease>,
        state: &State,
        at: Timestamp,
    ) {
        let Fact::Accepted(accepted) = &opened.record.fact else {
            return;
        };
        let Some(release) = self.later.as_deref().or(released) else {
            return;
        };
        let permit = state.permit_as(&opened.subject, accepted, release, at);
        let variant = permit.map(|permit| permit.release().withheld.clone());
        if variant.as_ref() != Some(&self.withheld) && !self.others.contains(&variant) {
            self.others.push(variant);
        }
    }

    /// All that it may have come as.
    fn variants(&self) -> impl Iterator<Item = Option<&Withheld>> {
        let others = self.others.iter().map(Option::as_ref);
        std::iter::once(Some(&self.withheld)).chain(others)
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
        let lanes = self.lanes.iter_mut();
        let mut all: Vec<(&PartnerId, &mut Due)> = lanes
            .flat_map(|((recipient, _), lane)| lane.due.iter_mut().map(move |due| (recipient, due)))
            .collect();
        // Each record is read once for all its recipients.
        let record = |due: &Due| Arc::as_ptr(&due.kept).addr();
        all.sort_unstable_by_key(|(_, due)| record(due));
        for of_one in all.chunk_by_mut(|(_, one), (_, next)| record(one) == record(next)) {
            let Some(opened) = of_one.first().and_then(|(_, due)| due.kept.open()) else {
                continue;
            };
            let releases = opened.record.releases.iter();
            let releases: HashMap<&PartnerId, &LaneRelease> =
                releases.map(|one| (&one.release.recipient, one)).collect();
            for (recipient, due) in of_one {
                let released = releases.get(recipient).copied();
                due.permit(&opened, released, state, at);
            }
        }
    }

    /// A bulletin was released, to each recipient under the next number of its lane.
    pub(super) fn released(&mut self, state: &State, record: &Record) {
        let kept = Kept::of(record);
        for release in record.releases.iter().filter(|one| !one.release.held) {
            self.add(state, record, &kept, release, None);
        }
    }

    fn add(
        &mut self,
        state: &State,
        record: &Record,
        kept: &Arc<Kept>,
        release: &LaneRelease,
        later: Option<Box<LaneRelease>>,
    ) {
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
            kept: Arc::clone(kept),
            bulletin: release.bulletin,
            later,
            withheld: release.release.withheld.clone(),
            others: Vec::new(),
            ends: ends.unwrap_or(accepted.header.valid_until),
        });
    }

    /// A held release was let go under the next number of a lane: agreements may have changed since
    /// it was decided.
    pub(super) fn let_go(
        &mut self,
        state: &State,
        record: &Record,
        release: &LaneRelease,
        at: Timestamp,
    ) {
        let later = Some(Box::new(release.clone()));
        self.add(state, record, &Kept::of(record), release, later);
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
        if let Some(due) = due
            && let Some(opened) = due.kept.open()
        {
            due.permit(&opened, None, state, at);
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
                && !lane.acknowledged(&ack.recipient, state, one, at)
            {
                disputed.push(one.precedence);
            }
        }
        disputed
    }
}

impl Lane {
    /// Whether an acknowledgement is of what was released; either way the lane goes on from it.
    fn acknowledged(
        &mut self,
        recipient: &PartnerId,
        state: &State,
        ack: &LaneAck,
        at: Timestamp,
    ) -> bool {
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
                if let Some(opened) = due.kept.open() {
                    due.permit(&opened, opened.released(recipient), state, at);
                }
                untold |= !due.others.is_empty();
            }
            let header = due.bulletin;
            chains = due
                .variants()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerId;

    fn header(number: u64) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    fn recipient() -> PartnerId {
        "sudland.example".parse().unwrap()
    }

    fn start() -> LaneChain {
        LaneChain::start(LedgerId(Digest([7; 32])), &recipient(), Precedence::Routine)
    }

    /// A lane of so many numbers. Each withholds its first part as it was released, and may have come as these instead.
    fn lane(numbers: u64, others: &[Variant]) -> Lane {
        let kept = Arc::new(Kept {
            record: Bytes::new(),
            entry: [0; ENTRY_BYTES],
        });
        let due = (1..=numbers).map(|number| Due {
            kept: Arc::clone(&kept),
            bulletin: header(number),
            later: None,
            withheld: [0].into_iter().collect(),
            others: others.to_vec(),
            ends: Timestamp::MAX,
        });
        Lane {
            chain: start(),
            acked: 0,
            due: due.collect(),
        }
    }

    /// Whether an acknowledgement up to a number, with this chain, is of what was released.
    fn acknowledged(lane: &mut Lane, up_to: u64, chain: LaneChain) -> bool {
        let ack = LaneAck {
            precedence: Precedence::Routine,
            up_to,
            chain: chain.0,
        };
        let now = Timestamp::MIN;
        lane.acknowledged(&recipient(), &State::new(), &ack, now)
    }

    #[test]
    fn what_was_released_is_acknowledged_in_one_step_or_in_several() {
        let one = start().delivered(1, &header(1), &[0]);
        let two = one.delivered(2, &header(2), &[0]);
        let mut lane = lane(2, &[]);
        assert!(acknowledged(&mut lane, 1, one));
        // Again, it says nothing new, whatever it says.
        assert!(acknowledged(&mut lane, 1, two));
        assert!(acknowledged(&mut lane, 2, two));
        assert!(lane.due.is_empty());
        assert!(acknowledged(&mut self::lane(2, &[]), 2, two));
    }

    #[test]
    fn each_number_may_be_as_released_or_as_permitted_later_or_void() {
        let others = [None, Some([0, 2].into_iter().collect())];
        let as_released = |chain: LaneChain, number| chain.delivered(number, &header(number), &[0]);
        let as_permitted =
            |chain: LaneChain, number| chain.delivered(number, &header(number), &[0, 2]);
        let steps: [&dyn Fn(LaneChain, u64) -> LaneChain; 3] =
            [&as_released, &as_permitted, &LaneChain::void];
        for first in steps {
            for second in steps {
                let chain = second(first(start(), 1), 2);
                assert!(acknowledged(&mut lane(2, &others), 2, chain));
            }
        }
        // Nobody permitted these where nothing changed.
        for step in [&as_permitted as &dyn Fn(_, _) -> _, &LaneChain::void] {
            assert!(!acknowledged(&mut lane(1, &[]), 1, step(start(), 1)));
        }
    }

    #[test]
    fn another_bulletin_or_another_order_is_disputed_once_and_the_lane_goes_on_from_it() {
        let swapped = start().delivered(1, &header(2), &[0]);
        let swapped = swapped.delivered(2, &header(1), &[0]);
        let mut lane = lane(3, &[None]);
        assert!(!acknowledged(&mut lane, 2, swapped));
        let next = swapped.delivered(3, &header(3), &[0]);
        assert!(acknowledged(&mut lane, 3, next));
    }

    #[test]
    fn what_may_mean_too_much_is_taken_as_it_is() {
        // Two variants each: 1,024 chains are told from others, and more are not.
        let unknown = LaneChain(Digest([9; 32]));
        assert!(!acknowledged(&mut lane(10, &[None]), 10, unknown));
        assert!(acknowledged(&mut lane(11, &[None]), 11, unknown));
    }
}
