//! What is erased, and who ordered it, to and from protobuf.

use bytes::Bytes;
use prost::Message;

use super::{Malformed, Read, digest_bytes, read_digest, read_time};
use crate::bulletin::BulletinId;
use crate::ledger::erasure::{
    ContentsErased, ErasedBulletin, ErasureOrder, ErasureRule, MAX_ERASED,
};
use crate::ledger::record::LedgerId;
use crate::proto;

impl ContentsErased {
    /// As it stands in a record.
    pub(super) fn to_wire(&self) -> proto::ContentsErased {
        let bulletins = self.bulletins.iter().map(|one| proto::ErasedBulletin {
            position: one.position,
            id: Bytes::copy_from_slice(&one.id.0),
        });
        proto::ContentsErased {
            rule: self.rule as i32,
            bulletins: bulletins.collect(),
        }
    }

    /// Reads what stands in a record.
    pub(super) fn from_wire(wire: &proto::ContentsErased) -> Read<Self> {
        let mut rules = ErasureRule::ALL.into_iter();
        let rule = rules
            .find(|rule| *rule as i32 == wire.rule)
            .ok_or(Malformed("rule"))?;
        if wire.bulletins.is_empty() || wire.bulletins.len() > MAX_ERASED {
            return Err(Malformed("bulletins"));
        }
        let bulletins = wire.bulletins.iter().map(|one| {
            let id = one.id.as_ref().try_into();
            Ok(ErasedBulletin {
                position: one.position,
                id: BulletinId(id.map_err(|_| Malformed("id"))?),
            })
        });
        let bulletins = bulletins.collect::<Read<Vec<_>>>()?;
        let ascending = bulletins.is_sorted_by(|one, next| one.position < next.position);
        if ascending {
            Ok(Self { rule, bulletins })
        } else {
            Err(Malformed("bulletins"))
        }
    }
}

impl ErasureOrder {
    /// The bytes an operator signs.
    pub fn to_bytes(&self) -> Bytes {
        proto::ErasureOrder {
            ledger: digest_bytes(&self.ledger.0),
            before: self.before.micros(),
            reason: self.reason.clone(),
            time: self.time.micros(),
        }
        .encode_to_vec()
        .into()
    }

    /// Reads signed bytes.
    pub fn from_bytes(bytes: &Bytes) -> Read<Self> {
        let wire = proto::ErasureOrder::decode(bytes.clone()).map_err(|_| Malformed("order"))?;
        Ok(Self {
            ledger: LedgerId(read_digest("ledger", &wire.ledger)?),
            before: read_time("before", wire.before)?,
            reason: wire.reason,
            time: read_time("time", wire.time)?,
        })
    }
}
