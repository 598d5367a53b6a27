//! The bulletin ids of a log, and what was accepted under each.

use std::collections::HashMap;
use std::sync::Arc;

use super::state::Seen;
use crate::bulletin::BulletinId;

/// Shares of the ids. Of what a snapshot still holds, whoever writes copies the share that it changes, and no more.
const SHARES: usize = 256;

/// All ids seen. A clone costs a pointer for each of 256 shares: whoever writes a snapshot holds up nobody.
#[derive(Clone, Debug)]
pub(super) struct SeenIds {
    shares: Vec<Arc<HashMap<BulletinId, Seen>>>,
}

impl Default for SeenIds {
    fn default() -> Self {
        Self {
            shares: vec![Arc::default(); SHARES],
        }
    }
}

impl SeenIds {
    /// What was accepted under an id.
    pub(super) fn get(&self, id: &BulletinId) -> Option<Seen> {
        self.shares[share(id)].get(id).copied()
    }

    /// Notes what was accepted under an id; the first stays.
    pub(super) fn note(&mut self, id: BulletinId, seen: Seen) {
        let ids = Arc::make_mut(&mut self.shares[share(&id)]);
        ids.entry(id).or_insert(seen);
    }

    /// Notes that the contents accepted at a position were erased.
    pub(super) fn erase(&mut self, id: &BulletinId, position: u64) {
        let ids = Arc::make_mut(&mut self.shares[share(id)]);
        if let Some(seen) = ids.get_mut(id) {
            seen.erased |= seen.position == position;
        }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.shares.iter().map(|ids| ids.len()).sum()
    }

    /// All of them, in the order of their ids.
    pub(super) fn in_order(&self) -> Vec<(BulletinId, Seen)> {
        let all = self.shares.iter().flat_map(|ids| ids.iter());
        let mut all: Vec<_> = all.map(|(id, seen)| (*id, *seen)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}

/// The last byte of an id is random in every version of UUID; were it not, copies would be larger.
fn share(id: &BulletinId) -> usize {
    usize::from(id.0[15]) % SHARES
}
