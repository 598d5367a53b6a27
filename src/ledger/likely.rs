//! What a group is likely to be, before it is decided.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::sequencer::{MAX_GROUP_BYTES, MAX_GROUP_RECORDS, Proposal};
use super::state::State;
use super::wire;
use crate::bulletin::Submission;

/// What the next group is likely to be made of.
#[derive(Debug, Default)]
pub struct Likely {
    /// How many of the proposals, from the first on.
    pub proposals: usize,
    /// The bodies of those that are bulletins, by position, where each becomes a record.
    pub bodies: BTreeMap<u64, Bytes>,
}

impl Likely {
    /// Of these proposals, where the group begins at a position, and its records of about `each` bytes have room for
    /// `most`. It is less than the group may hold rather than more. `state` may lack the last group: what it shows
    /// to be known already, or to come too early, becomes no record.
    pub fn of<'a>(
        proposals: impl Iterator<Item = &'a Proposal>,
        state: &State,
        first: u64,
        each: usize,
        most: usize,
    ) -> Self {
        let (mut likely, mut bytes, mut position) = (Self::default(), 0, first);
        let room = (most / 2 / each.max(1)).clamp(1, MAX_GROUP_RECORDS);
        for proposal in proposals.take(room) {
            let (bulletin, ends) = match proposal {
                Proposal::Bulletin(bulletin) | Proposal::PassedOn { bulletin, .. } => {
                    (Some(bulletin), false)
                }
                Proposal::Notice { notice, .. } => (Some(notice), true),
                Proposal::Acknowledgement(_) | Proposal::Declaration { .. } => (None, false),
                _ => (None, true),
            };
            likely.proposals += 1;
            let is_recorded = bulletin.is_none_or(|bulletin| is_new(state, first, bulletin));
            if let Some(bulletin) = bulletin.filter(|_| is_recorded) {
                let bodies = wire::bodies(bulletin.bulletin().sealed());
                bytes += bodies.len();
                likely.bodies.insert(position, bodies);
            }
            position += u64::from(is_recorded);
            if ends || bytes >= MAX_GROUP_BYTES / 2 {
                break;
            }
        }
        likely
    }
}

/// Whether a bulletin is not in the log already, nor made by who has seen more of it.
fn is_new(state: &State, size: u64, submission: &Submission) -> bool {
    let header = submission.bulletin().header();
    header.as_of <= size && state.seen(&header.id).is_none()
}
