//! When a broker lost the tail of its log: what it had promised is submitted again, and lanes go back to
//! what its log still has.
//!
//! Only what no witness of this node's ever cosigned can be lost so: otherwise `witness` ends the session,
//! and the broker stops.

use std::sync::Arc;

use super::error::NodeError;
use super::{Shared, witness};
use crate::bulletin::{BulletinId, Precedence};
use crate::ledger::{LaneAck, LaneChain};
use crate::proof::{Digest, NoteKey};
use crate::session::{LaneTail, MAX_TAIL, Welcome, tail_mark};

/// Looks at a greeting: whether the log still has what it promised and delivered. Returns from which
/// position on promised bulletins are kept.
pub(super) fn look(
    shared: &Arc<Shared>,
    log: &NoteKey,
    welcome: &Welcome,
) -> Result<Option<u64>, NodeError> {
    let witnessed = witness::latest(&shared.store, log)?.map_or(0, |(_, head)| head.size);
    let mut back = Vec::new();
    for tail in &welcome.tails {
        back.extend(go_back(shared, welcome, tail, witnessed)?);
    }
    // A ledger has its genesis: none is empty.
    let keep_from = match welcome.size {
        0 => None,
        size => {
            let again = shared.store.requeue_from(size)?;
            submit_again(shared, again);
            Some(shared.store.keep_from(size)?)
        }
    };
    if back.is_empty() {
        return Ok(keep_from);
    }
    shared.store.rewind(&back)?;
    let text =
        "the broker's log lost what it had delivered here: lanes went back to what it still has";
    super::proofs::alarm(shared, text.to_owned());
    Err(NodeError::Rewound(back.len()))
}

/// Submits again what the log does not show where it was promised.
pub(super) fn missing(shared: &Shared, lost: &[(u64, BulletinId)]) -> Result<(), NodeError> {
    let again = shared.store.requeue(lost)?;
    submit_again(shared, again);
    Ok(())
}

/// Lets the outbox know of bulletins that are submitted again.
pub(super) fn submit_again(shared: &Shared, bulletins: usize) {
    if bulletins == 0 {
        return;
    }
    super::proofs::alarm(
        shared,
        "the broker's log lost bulletins that it had promised: they were submitted again"
            .to_owned(),
    );
    tracing::error!(bulletins, "the broker's log lost what it had promised");
    shared.settled.send_modify(|count| *count += 1);
    shared.outbox.notify_one();
}

/// Where a lane goes back to, if it does: the last number of which log and node say the same. What the log
/// released within what this node's witness cosigned, it still has, or it is not that log.
fn go_back(
    shared: &Shared,
    welcome: &Welcome,
    tail: &LaneTail,
    witnessed: u64,
) -> Result<Option<LaneAck>, NodeError> {
    let precedence = tail.precedence;
    let Some(held) = shared.store.lane(precedence)? else {
        return Ok(None);
    };
    if tail.acked > held.up_to {
        // It acknowledges nothing that it does not hold: the broker would have refused it.
        return Err(NodeError::Beyond {
            precedence,
            acked: tail.acked,
            held: held.up_to,
        });
    }
    // The last number that both delivered, and the last about which nothing speaks against it.
    let (mut agreed, mut followed) = (tail.acked, tail.acked);
    for (number, mark) in (tail.acked + 1..=held.up_to).zip(&tail.marks) {
        match shared.store.carried(precedence, number)? {
            Some(carried) => match carried.delivered {
                Some((ours, _)) if tail_mark(number, &ours) == *mark => agreed = number,
                Some((_, released)) if released < witnessed => {
                    return Err(NodeError::OtherRecord(released));
                }
                Some(_) => break,
                // What came void is the same unless what follows is another.
                None => {}
            },
            // From before this was noted.
            None => agreed = number,
        }
        followed = number;
    }
    // As far as a tail goes, it says nothing of what follows.
    if followed >= held.up_to || tail.marks.len() == MAX_TAIL {
        return Ok(None);
    }
    // Also what the tail leaves out is lost only where no checkpoint covered it.
    for number in agreed + 1..=held.up_to {
        let carried = shared.store.carried(precedence, number)?;
        match carried.and_then(|carried| carried.delivered) {
            Some((_, released)) if released < witnessed => {
                return Err(NodeError::OtherRecord(released));
            }
            _ => {}
        }
    }
    tracing::error!(%precedence, held = held.up_to, agreed, "the broker's log lost deliveries");
    let chain = chain_at(shared, welcome, precedence, agreed)?;
    Ok(Some(LaneAck {
        precedence,
        up_to: agreed,
        chain,
    }))
}

fn chain_at(
    shared: &Shared,
    welcome: &Welcome,
    precedence: Precedence,
    number: u64,
) -> Result<Digest, NodeError> {
    if number == 0 {
        let partner = shared.config.spiffe_id.partner();
        return Ok(LaneChain::start(welcome.ledger, partner, precedence).0);
    }
    let carried = shared.store.carried(precedence, number)?;
    let carried = carried.ok_or(NodeError::Carried { precedence, number })?;
    Ok(carried.chain)
}
