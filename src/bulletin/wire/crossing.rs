//! Crossings to and from protobuf.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::super::crossing::{Crossing, MAX_HOPS, MAX_MISSING};
use super::super::error::{MAX_HEADER_BYTES, MAX_LABELS, MAX_NAME_BYTES, Refused};
use super::super::header::Header;
use super::super::seal::BurstProof;
use super::{count, digest_bytes, invalid, read_digest, read_time, refuse_unknown};
use crate::clock::Timestamp;
use crate::proof::Digest;
use crate::proto;

/// The fields of a crossing that this version knows.
const FIELDS: std::ops::RangeInclusive<u32> = 1..=12;
/// The longest name of a law or treaty.
const MAX_BASIS: usize = 256;
/// The longest receipt.
const MAX_RECEIPT: usize = 16 * 1024;

impl Crossing {
    /// The bytes in a header.
    pub fn to_bytes(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    /// From the bytes in a header. Nothing is verified yet.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, Refused> {
        if bytes.len() > MAX_HEADER_BYTES {
            return Err(Refused::Malformed("crossing"));
        }
        refuse_unknown(bytes, &FIELDS, "crossing")?;
        let wire = proto::Crossing::decode(bytes.clone());
        Self::from_wire(wire.map_err(|_| Refused::Malformed("crossing"))?)
    }

    fn to_wire(&self) -> proto::Crossing {
        let missing = self.missing.iter().map(|(index, leaf)| proto::Missing {
            index: *index,
            leaf: digest_bytes(leaf),
        });
        proto::Crossing {
            into: digest_bytes(&self.into),
            path: self.path.iter().map(digest_bytes).collect(),
            header: self.header.clone(),
            burst: Some(self.burst.to_wire()),
            missing: missing.collect(),
            federation: self.federation.iter().map(digest_bytes).collect(),
            keep_until: self.keep_until.map(Timestamp::micros),
            bound: self.purposes.is_some(),
            purposes: self.purposes.iter().flatten().cloned().collect(),
            legal_bases: self.legal_bases.clone(),
            lease_until: self.lease_until.micros(),
            receipts: self.receipts.clone(),
        }
    }

    fn from_wire(wire: proto::Crossing) -> Result<Self, Refused> {
        let digests = |all: &[Bytes]| -> Result<Vec<Digest>, Refused> {
            all.iter().map(|one| read_digest("crossing", one)).collect()
        };
        count("ledgers in its path", wire.path.len(), 1, MAX_HOPS)?;
        count("missing parts", wire.missing.len(), 0, MAX_MISSING)?;
        count(
            "ledgers of its federation",
            wire.federation.len(),
            1,
            MAX_LABELS,
        )?;
        count("receipts", wire.receipts.len(), 0, MAX_HOPS)?;
        count("purposes", wire.purposes.len(), 0, MAX_LABELS)?;
        count("legal bases", wire.legal_bases.len(), 0, MAX_LABELS)?;
        let long = wire.purposes.iter().any(|one| one.len() > MAX_NAME_BYTES)
            || wire.legal_bases.iter().any(|one| one.len() > MAX_BASIS)
            || wire.receipts.iter().any(|one| one.len() > MAX_RECEIPT);
        let unbound = !wire.bound && !wire.purposes.is_empty();
        if long || unbound {
            return Err(invalid(
                "crossing",
                "a text in it is too long, or out of place",
            ));
        }
        let mut missing = BTreeMap::new();
        for one in &wire.missing {
            let last = missing.last_key_value().map(|(index, _)| *index);
            if last.is_some_and(|last| last >= one.index) {
                return Err(invalid("crossing", "the missing parts are not in order"));
            }
            missing.insert(one.index, read_digest("crossing", &one.leaf)?);
        }
        let burst = wire.burst.as_ref().ok_or(Refused::Malformed("crossing"))?;
        let keep_until = wire.keep_until;
        Ok(Self {
            into: read_digest("crossing", &wire.into)?,
            path: digests(&wire.path)?,
            original: Box::new(Header::original_from_bytes(&wire.header)?),
            header: wire.header,
            burst: BurstProof::from_wire(burst)?,
            missing,
            federation: digests(&wire.federation)?.into_iter().collect(),
            keep_until: keep_until
                .map(|micros| read_time("crossing", micros))
                .transpose()?,
            purposes: wire.bound.then(|| wire.purposes.into_iter().collect()),
            legal_bases: wire.legal_bases,
            lease_until: read_time("crossing", wire.lease_until)?,
            receipts: wire.receipts,
        })
    }
}
