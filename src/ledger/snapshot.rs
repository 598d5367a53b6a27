//! Snapshots of the fold: a cache, so that a restart does not read the whole log.
//!
//! A snapshot holds the governing records (partners and agreements, which are few) to be folded
//! again, and beside them what the many bulletins left behind: the tree's edge, lanes, ids seen.
//! Its bytes are deterministic. Deleting it costs time only.
//!
//! ```text
//! "entente/snapshot/v6\n" || u64 size || i64 time || roots || governing || lanes || usage || seen || pseudonyms || followed
//! integers big-endian; lists as u64 count and items; byte strings as u32 length and bytes
//! ```

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use super::lanes::{Lane, Lanes};
use super::pseudonym::{Pseudonyms, Used};
use super::record::{InvalidRecord, Record};
use super::seen::SeenIds;
use super::state::{Governing, Seen, State};
use crate::agreement::AgreementId;
use crate::bulletin::{BulletinId, Precedence};
use crate::clock::Timestamp;
use crate::decision::{Spent, Usage};
use crate::partner::PartnerId;
use crate::proof::{Digest, PublicKey, merkle::Frontier};

const MAGIC: &[u8] = b"entente/snapshot/v6\n";
/// An id with what was accepted under it.
const SEEN_BYTES: usize = 16 + 32 + 8 + 1;
use InvalidRecord::Malformed;

/// The fold of one moment, on its way to become bytes: taking it is quick, and what is left to do needs no [`State`].
#[derive(Debug)]
pub struct Frozen {
    before: Vec<u8>,
    seen: SeenIds,
    after: Vec<u8>,
}

impl Frozen {
    /// The snapshot's bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        let seen = self.seen.in_order();
        let mut out = self.before;
        out.reserve(8 + seen.len() * SEEN_BYTES + self.after.len());
        out.put_u64(seen.len() as u64);
        for (id, seen) in seen {
            out.put_slice(&id.0);
            out.put_slice(seen.header.as_bytes());
            out.put_u64(seen.position);
            out.put_u8(seen.erased.into());
        }
        out.put_slice(&self.after);
        out
    }
}

impl State {
    /// The fold as bytes.
    pub fn to_snapshot(&self) -> Vec<u8> {
        self.freeze().into_bytes()
    }

    /// The fold as it is now.
    pub fn freeze(&self) -> Frozen {
        let mut out = MAGIC.to_vec();
        let (size, roots) = self.tree().parts();
        out.put_u64(size);
        out.put_i64(self.time().micros());
        out.put_u64(roots.len() as u64);
        for root in roots {
            out.put_slice(root.as_bytes());
        }
        out.put_u64(self.governing().len() as u64);
        for one in self.governing() {
            out.put_u64(one.position);
            put_bytes(&mut out, &one.record);
        }
        out.put_u64(self.lanes().iter().len() as u64);
        for ((recipient, precedence), lane) in self.lanes().iter() {
            put_bytes(&mut out, recipient.as_str().as_bytes());
            out.put_u8(*precedence as u8);
            out.put_u64(lane.acked());
            out.put_slice(lane.chain().unwrap_or(Digest([0; 32])).as_bytes());
            out.put_u64(lane.pending().len() as u64);
            lane.pending().for_each(|position| out.put_u64(position));
        }
        out.put_u64(self.usage().iter().len() as u64);
        for ((agreement, clause, originator, recipient), spent) in self.usage().iter() {
            out.put_slice(agreement.0.as_bytes());
            put_bytes(&mut out, clause.as_bytes());
            put_bytes(&mut out, originator.as_str().as_bytes());
            put_bytes(&mut out, recipient.as_str().as_bytes());
            out.put_u64(spent.period);
            out.put_u64(spent.bulletins.into());
        }
        let before = std::mem::take(&mut out);
        out.put_u64(self.pseudonyms().iter().len() as u64);
        for (key, used) in self.pseudonyms().iter() {
            out.put_slice(&key.0);
            put_bytes(&mut out, used.partner.as_str().as_bytes());
            put_bytes(&mut out, used.agreement.as_bytes());
            // No id is zero: some of its bits are set.
            out.put_slice(&used.once.map_or([0; 16], |bulletin| bulletin.0));
        }
        out.put_u64(self.followed().len() as u64);
        for one in self.followed() {
            out.put_u64(one.position);
            put_bytes(&mut out, &one.record);
        }
        Frozen {
            before,
            seen: self.all_seen().clone(),
            after: out,
        }
    }

    /// The fold of a snapshot's bytes.
    pub fn from_snapshot(bytes: &Bytes) -> Result<Self, InvalidRecord> {
        let mut rest = bytes.clone();
        if take(&mut rest, MAGIC.len())? != MAGIC {
            return Err(Malformed("snapshot"));
        }
        let size = number(&mut rest)?;
        let micros = rest.try_get_i64().map_err(|_| Malformed("snapshot"))?;
        let time = Timestamp::from_micros(micros).ok_or(Malformed("time"))?;
        let roots = (0..number(&mut rest)?)
            .map(|_| digest(&mut rest))
            .collect::<Result<_, _>>()?;
        let tree = Frontier::from_parts(size, roots).ok_or(Malformed("tree"))?;
        let mut state = Self::new();
        for _ in 0..number(&mut rest)? {
            let position = number(&mut rest)?;
            let bytes = byte_string(&mut rest)?;
            let record = Record::from_bytes(&bytes)?;
            state.apply_governing(
                Governing {
                    position,
                    record: bytes,
                },
                &record,
            );
        }
        let lanes = read_lanes(&mut rest)?;
        let usage = read_usage(&mut rest)?;
        let mut seen = SeenIds::default();
        for _ in 0..number(&mut rest)? {
            let id = BulletinId(id(&mut rest)?);
            let (header, position) = (digest(&mut rest)?, number(&mut rest)?);
            let erased = rest.try_get_u8().map_err(|_| Malformed("snapshot"))? != 0;
            let one = Seen {
                header,
                position,
                erased,
            };
            seen.note(id, one);
        }
        let pseudonyms = read_pseudonyms(&mut rest)?;
        state.restore(time, tree, lanes, usage, seen);
        state.restore_pseudonyms(pseudonyms);
        for _ in 0..number(&mut rest)? {
            let position = number(&mut rest)?;
            let record = Record::from_bytes(&byte_string(&mut rest)?)?;
            state.follow(position, &record);
        }
        Ok(state)
    }
}

fn read_usage(rest: &mut Bytes) -> Result<Usage, InvalidRecord> {
    let mut usage = Usage::new();
    for _ in 0..number(rest)? {
        let agreement = AgreementId(digest(rest)?);
        let clause = text(rest)?;
        let (originator, recipient) = (partner(rest)?, partner(rest)?);
        let (period, bulletins) = (number(rest)?, number(rest)?);
        let bulletins = u32::try_from(bulletins).map_err(|_| Malformed("usage"))?;
        let share = (agreement, Arc::from(clause), originator, recipient);
        usage.restore(share, Spent { period, bulletins });
    }
    Ok(usage)
}

fn read_pseudonyms(rest: &mut Bytes) -> Result<Pseudonyms, InvalidRecord> {
    let mut pseudonyms = Pseudonyms::default();
    for _ in 0..number(rest)? {
        let key = PublicKey(digest(rest)?.0);
        let partner = partner(rest)?;
        let agreement = Arc::from(text(rest)?);
        let once = Some(id(rest)?).filter(|id| *id != [0; 16]).map(BulletinId);
        let used = Used {
            partner,
            agreement,
            once,
        };
        pseudonyms.restore(key, used);
    }
    Ok(pseudonyms)
}

fn id(rest: &mut Bytes) -> Result<[u8; 16], InvalidRecord> {
    let bytes = take(rest, 16)?;
    bytes.as_ref().try_into().map_err(|_| Malformed("id"))
}

fn text(rest: &mut Bytes) -> Result<String, InvalidRecord> {
    String::from_utf8(byte_string(rest)?.into()).map_err(|_| Malformed("snapshot"))
}

fn partner(rest: &mut Bytes) -> Result<PartnerId, InvalidRecord> {
    text(rest)?.parse().map_err(|_| Malformed("partner"))
}

fn read_lanes(rest: &mut Bytes) -> Result<Lanes, InvalidRecord> {
    let mut lanes = Lanes::default();
    for _ in 0..number(rest)? {
        let recipient = partner(rest)?;
        let at = rest.try_get_u8().map_err(|_| Malformed("lane"))?;
        let precedence = Precedence::ALL.get(usize::from(at)).copied();
        let (acked, chain) = (number(rest)?, digest(rest)?);
        let pending = (0..number(rest)?)
            .map(|_| number(rest))
            .collect::<Result<_, _>>()?;
        let lane = Lane::from_parts(acked, (acked > 0).then_some(chain), pending);
        lanes.restore(recipient, precedence.ok_or(Malformed("lane"))?, lane);
    }
    Ok(lanes)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn take(rest: &mut Bytes, count: usize) -> Result<Bytes, InvalidRecord> {
    if rest.len() < count {
        Err(Malformed("snapshot"))
    } else {
        Ok(rest.split_to(count))
    }
}

fn number(rest: &mut Bytes) -> Result<u64, InvalidRecord> {
    rest.try_get_u64().map_err(|_| Malformed("snapshot"))
}

fn digest(rest: &mut Bytes) -> Result<Digest, InvalidRecord> {
    Digest::try_from(take(rest, 32)?.as_ref()).map_err(|_| Malformed("snapshot"))
}

fn byte_string(rest: &mut Bytes) -> Result<Bytes, InvalidRecord> {
    let length = rest.try_get_u32().map_err(|_| Malformed("snapshot"))?;
    take(
        rest,
        usize::try_from(length).map_err(|_| Malformed("snapshot"))?,
    )
}
