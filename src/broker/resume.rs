//! Where each lane of a session begins: after what the node holds, as far as this log knows of it.
//!
//! A node may hold more than the log has acknowledged: its last acknowledgement was lost with the last
//! connection, or this broker lost the tail of its log. The node is shown what the log has there, and
//! knows which it is.

use std::sync::{Arc, Mutex};

use super::Shared;
use super::commit::Log;
use super::error::BrokerError;
use super::outbound::SharedLane;
use crate::bulletin::Precedence;
use crate::ledger::{EngineError, Lane, LaneChain, LedgerId};
use crate::partner::PartnerId;
use crate::session::{Hello, LaneSender, LaneTail, MAX_TAIL, Refusal, greet, tail_mark};

pub(super) type Lanes = Vec<(Precedence, SharedLane)>;

/// Where the lanes of a session begin.
pub(super) struct Resumed {
    pub(super) lanes: Lanes,
    /// Lanes of which the node holds more than was acknowledged.
    beyond: Vec<Beyond>,
    /// The node holds what this log never gave out: nothing can be delivered before it went back.
    pub(super) ahead: Option<Refusal>,
}

/// What the log has of a lane beyond what was acknowledged, as of one moment: an acknowledgement of the
/// session before may still be on its way to the log.
#[derive(Clone)]
pub(super) struct Beyond {
    precedence: Precedence,
    acked: u64,
    /// Log positions of the numbers that follow.
    positions: Vec<u64>,
}

/// Checks a greeting against this broker and its log, and finds where each lane resumes.
pub(super) fn resume(
    shared: &Shared,
    partner: &PartnerId,
    hello: &Hello,
    ledger: LedgerId,
) -> Result<Resumed, Refusal> {
    greet(hello, ledger, shared.clock.now())?;
    let state = shared.log.state();
    let mut resumed = Resumed {
        lanes: Vec::new(),
        beyond: Vec::new(),
        ahead: None,
    };
    for precedence in Precedence::ALL {
        let lane = state.lanes().lane(partner, *precedence);
        let (acked, issued) = lane.map_or((0, 0), |lane| (lane.acked(), lane.issued()));
        let held = hello
            .resume
            .iter()
            .find(|held| held.precedence == *precedence && held.up_to > 0);
        let (up_to, chain) = held.map_or_else(
            || (0, LaneChain::start(ledger, partner, *precedence)),
            |held| (held.up_to, LaneChain(held.chain)),
        );
        if up_to < acked {
            return Err(Refusal::new(
                "resume_behind",
                format!(
                    "lane {precedence}: the node holds {up_to}, and it has acknowledged {acked}: \
                     its store is older than what it signed; restore a newer backup"
                ),
            ));
        }
        if up_to > issued {
            let message = format!(
                "lane {precedence}: the node holds {up_to}, and {issued} were issued: this broker may \
                 have lost the tail of its log"
            );
            resumed.ahead = Some(Refusal::new("resume_ahead", message));
        }
        if up_to > acked {
            let count = usize::try_from(up_to - acked).unwrap_or(usize::MAX);
            let pending = lane.into_iter().flat_map(Lane::pending);
            resumed.beyond.push(Beyond {
                precedence: *precedence,
                acked,
                positions: pending.take(count.min(MAX_TAIL)).collect(),
            });
        }
        let signed = lane.and_then(Lane::chain);
        if up_to == acked && signed.is_some_and(|signed| signed != chain.0) {
            return Err(Refusal::new(
                "resume_other_chain",
                format!("lane {precedence}: the node holds another history than it acknowledged"),
            ));
        }
        let sender = LaneSender::resume(*precedence, up_to, chain);
        let sender = Arc::new(Mutex::new(sender));
        resumed.lanes.push((*precedence, sender));
    }
    Ok(resumed)
}

impl Resumed {
    /// The lanes to ask [`tails`] about.
    pub(super) fn beyond(&self) -> Vec<Beyond> {
        self.beyond.clone()
    }
}

/// What the log has of the lanes beyond what was acknowledged. Reads records: not on the runtime.
pub(super) fn tails(
    beyond: Vec<Beyond>,
    log: &Log,
    partner: &PartnerId,
) -> Result<Vec<LaneTail>, BrokerError> {
    let tail = |one: Beyond| {
        let numbers = (one.acked + 1..).zip(one.positions);
        let marks = numbers.map(|(number, position)| {
            let record = log.record(position)?;
            let releases = record.iter().flat_map(|record| &record.releases);
            let mut own = releases.filter(|one| one.release.recipient == *partner);
            let released = own.find(|one| one.number == number);
            let mark = released.map(|one| tail_mark(number, &one.bulletin));
            mark.ok_or_else(|| {
                let reason = format!("it does not release number {number} of a lane");
                EngineError::Unreadable { position, reason }.into()
            })
        });
        Ok(LaneTail {
            precedence: one.precedence,
            acked: one.acked,
            marks: marks.collect::<Result<_, BrokerError>>()?,
        })
    };
    beyond.into_iter().map(tail).collect()
}
