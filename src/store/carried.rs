//! What the last numbers of each lane carried here: where a broker lost the tail of its log, a lane goes
//! back to the last number that both still agree about.

use bytes::{Buf, BufMut};
use fjall::OwnedWriteBatch as WriteBatch;

use super::error::StoreError;
use super::node::{Incoming, NodeStore};
use super::receipts::Expected;
use crate::bulletin::{BulletinId, Precedence};
use crate::ledger::LaneAck;
use crate::proof::Digest;

/// Numbers of a lane that can still be gone back to: 64 windows.
const MAX_CARRIED: u64 = 65_536;

/// What a number of a lane carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The chain after it.
    pub chain: Digest,
    /// SHA-256 of the bulletin's header, and the record that released it; `None` where it came void.
    pub delivered: Option<(Digest, u64)>,
}

impl Carried {
    fn value(&self) -> Vec<u8> {
        let mut value = self.chain.as_bytes().to_vec();
        if let Some((header, released)) = &self.delivered {
            value.put_slice(header.as_bytes());
            value.put_u64(*released);
        }
        value
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (chain, mut rest) = value.split_at_checked(32)?;
        let chain = Digest::try_from(chain).ok()?;
        if rest.is_empty() {
            let delivered = None;
            return Some(Self { chain, delivered });
        }
        let header = Digest::try_from(rest.get(..32)?).ok()?;
        rest.advance(32);
        let delivered = Some((header, rest.try_get_u64().ok()?));
        rest.is_empty().then_some(Self { chain, delivered })
    }
}

impl NodeStore {
    /// Notes what a number carried.
    pub(super) fn carry(&self, batch: &mut WriteBatch, incoming: &Incoming) {
        let LaneAck {
            precedence,
            up_to,
            chain,
        } = incoming.lane;
        let unproven = incoming.unproven.as_ref();
        let delivered = unproven.map(|one| (one.expected.header(), one.position));
        let carried = Carried { chain, delivered };
        batch.insert(&self.carried, key(precedence, up_to), carried.value());
        if let Some(old) = up_to.checked_sub(MAX_CARRIED) {
            batch.remove(&self.carried, key(precedence, old));
        }
    }

    /// What a number of a lane carried; `None` where that is not known any more.
    pub fn carried(
        &self,
        precedence: Precedence,
        number: u64,
    ) -> Result<Option<Carried>, StoreError> {
        let Some(value) = self.carried.get(key(precedence, number))? else {
            return Ok(None);
        };
        let read = Carried::read(&value).ok_or(StoreError::Damaged("lane"))?;
        Ok(Some(read))
    }

    /// Takes lanes back to these numbers. What they carried beyond stays in the inbox, and is not taken
    /// again when it comes again; its receipts are expected no more where it was released.
    pub fn rewind(&self, to: &[LaneAck]) -> Result<(), StoreError> {
        self.write(|_, batch| {
            for lane in to {
                let precedence = lane.precedence;
                let beyond = key(precedence, lane.up_to + 1)..=key(precedence, u64::MAX);
                for found in self.carried.range(beyond) {
                    let (key, value) = found.into_inner()?;
                    let carried = Carried::read(&value).ok_or(StoreError::Damaged("lane"))?;
                    if let Some((header, released)) = carried.delivered {
                        let expected = Expected::Delivered(header);
                        self.expect_none(batch, released, |one| one.expected == expected)?;
                    }
                    batch.remove(&self.carried, key);
                }
                let number = lane.up_to.to_be_bytes();
                let cursor = [number.as_slice(), lane.chain.as_bytes()].concat();
                batch.insert(&self.lanes, [precedence as u8], cursor);
            }
            Ok(())
        })
    }

    /// The record that accepted a bulletin is another one, if there is one.
    pub(super) fn expect_no_more(
        &self,
        batch: &mut WriteBatch,
        position: u64,
        id: &BulletinId,
    ) -> Result<(), StoreError> {
        self.expect_none(batch, position, |one| {
            one.subject == id.0 && matches!(one.expected, Expected::Published(_))
        })
    }
}

fn key(precedence: Precedence, number: u64) -> [u8; 9] {
    let mut key = [precedence as u8; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::Unproven;

    const LANE: Precedence = Precedence::Routine;

    /// The number carries the bulletin `id`, or nothing, released by the record at ten times the number.
    fn incoming(up_to: u64, id: Option<u8>) -> Incoming {
        Incoming {
            lane: LaneAck {
                precedence: LANE,
                up_to,
                chain: Digest::of(&up_to.to_be_bytes()),
            },
            item: id.map(|id| (BulletinId([id; 16]), Bytes::from(vec![id]))),
            declaration: None,
            unproven: id.map(|id| Unproven {
                position: up_to * 10,
                subject: [id; 16],
                expected: Expected::Delivered(Digest::of(&[id])),
            }),
        }
    }

    #[test]
    fn a_lane_goes_back_and_what_comes_again_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = NodeStore::open(directory.path()).unwrap();
        let first = [
            incoming(1, Some(1)),
            incoming(2, None),
            incoming(3, Some(3)),
        ];
        store.receive(&first).unwrap();
        let carried = store.carried(LANE, 3).unwrap().unwrap();
        assert_eq!(carried.delivered, Some((Digest::of(&[3]), 30)));
        let void = store.carried(LANE, 2).unwrap().unwrap();
        assert_eq!((void.delivered, void.chain), (None, first[1].lane.chain));
        assert_eq!(store.carried(LANE, 4).unwrap(), None);
        assert_eq!(store.unproven(0, 99, 9).unwrap().len(), 2);

        store.rewind(&[first[0].lane]).unwrap();
        assert_eq!(store.lane(LANE).unwrap(), Some(first[0].lane));
        assert_eq!(store.carried(LANE, 3).unwrap(), None);
        let left = store.unproven(0, 99, 9).unwrap();
        assert_eq!(left.len(), 1, "what was released at 30 is lost");
        assert_eq!(left[0].position, 10);
        // Another bulletin takes the number, and the one that was there comes later.
        store
            .receive(&[incoming(2, Some(9)), incoming(3, Some(3))])
            .unwrap();
        let items = store.inbox(0, 9).unwrap();
        let items: Vec<u8> = items.iter().map(|(_, item)| item[0]).collect();
        assert_eq!(items, [1, 3, 9]);
    }
}
