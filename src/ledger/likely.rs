//! What a group is likely to be, before it is decided.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::sequencer::{MAX_GROUP_BYTES, MAX_GROUP_RECORDS, Proposal};
use super::wire;

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
    /// `most`. It is less than the group may hold rather than more.
    pub fn of<'a>(
        proposals: impl Iterator<Item = &'a Proposal>,
        first: u64,
        each: usize,
        most: usize,
    ) -> Self {
        let (mut likely, mut bytes) = (Self::default(), 0);
        let room = (most / 2 / each.max(1)).clamp(1, MAX_GROUP_RECORDS);
        for (position, proposal) in (first..).zip(proposals.take(room)) {
            let (bulletin, ends) = match proposal {
                Proposal::Bulletin(bulletin) | Proposal::PassedOn { bulletin, .. } => {
                    (Some(bulletin), false)
                }
                Proposal::Notice { notice, .. } => (Some(notice), true),
                Proposal::Acknowledgement(_) | Proposal::Declaration { .. } => (None, false),
                _ => (None, true),
            };
            likely.proposals += 1;
            if let Some(bulletin) = bulletin {
                let bodies = wire::bodies(bulletin.bulletin().sealed());
                bytes += bodies.len();
                likely.bodies.insert(position, bodies);
            }
            if ends || bytes >= MAX_GROUP_BYTES / 2 {
                break;
            }
        }
        likely
    }
}
