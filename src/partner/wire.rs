//! Key sets and signatures to and from protobuf.

use bytes::Bytes;
use prost::Message;

use super::id::PartnerId;
use super::key_set::{InvalidKeySet, KeySet, KeyUse, SignedKeySet, SigningKey};
use crate::clock::Timestamp;
use crate::proof::{Digest, KeyId, PublicKey, Signature};
use crate::proto;

/// The largest key set we read, in bytes.
const MAX_KEY_SET_BYTES: usize = 256 * 1024;

/// A signature as it travels.
pub fn signature_to_wire(signature: &Signature) -> proto::Signature {
    proto::Signature {
        key_id: Bytes::copy_from_slice(signature.key_id.0.as_bytes()),
        signature: Bytes::copy_from_slice(&signature.bytes),
    }
}

/// A signature from the wire; `None` when a length is wrong.
pub fn signature_from_wire(wire: &proto::Signature) -> Option<Signature> {
    Some(Signature {
        key_id: KeyId(Digest::try_from(wire.key_id.as_ref()).ok()?),
        bytes: wire.signature.as_ref().try_into().ok()?,
    })
}

impl KeySet {
    pub(super) fn encode(&self) -> Bytes {
        let keys = self.keys.iter().map(|key| proto::SigningKey {
            public_key: Bytes::copy_from_slice(&key.public_key.0),
            uses: key.uses.iter().map(|used| wire_use(*used) as i32).collect(),
            not_before: key.not_before.micros(),
            not_after: key.not_after.micros(),
        });
        proto::KeySet {
            format: 1,
            partner: self.partner.to_string(),
            version: self.version,
            previous: self
                .previous
                .map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(hash.as_bytes())),
            keys: keys.collect(),
            roots: self.roots.clone(),
            recovery_key: Bytes::copy_from_slice(&self.recovery_key.0),
        }
        .encode_to_vec()
        .into()
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, InvalidKeySet> {
        if bytes.len() > MAX_KEY_SET_BYTES {
            return Err(InvalidKeySet::TooLarge {
                bytes: bytes.len(),
                limit: MAX_KEY_SET_BYTES,
            });
        }
        let wire = proto::KeySet::decode(bytes.clone())
            .map_err(|_| InvalidKeySet::Malformed("encoding"))?;
        // Every field of a key set is critical: what we cannot write ourselves, we do not believe.
        if wire.format != 1 || wire.encode_to_vec() != bytes.as_ref() {
            return Err(InvalidKeySet::Malformed("format"));
        }
        let partner: PartnerId = wire
            .partner
            .parse()
            .map_err(|_| InvalidKeySet::Malformed("partner"))?;
        let previous = match (wire.version, wire.previous.as_ref()) {
            (1, []) => None,
            (2.., hash) => {
                Some(Digest::try_from(hash).map_err(|_| InvalidKeySet::Malformed("previous"))?)
            }
            _ => return Err(InvalidKeySet::Malformed("version")),
        };
        let keys = wire
            .keys
            .iter()
            .map(read_key)
            .collect::<Result<Vec<_>, _>>()?;
        let recovery_key = PublicKey::try_from(wire.recovery_key.as_ref())
            .map_err(|_| InvalidKeySet::Malformed("recovery_key"))?;
        Ok(Self {
            partner,
            version: wire.version,
            previous,
            keys,
            roots: wire.roots,
            recovery_key,
        })
    }
}

fn read_key(wire: &proto::SigningKey) -> Result<SigningKey, InvalidKeySet> {
    let malformed = || InvalidKeySet::Malformed("keys");
    let uses = wire
        .uses
        .iter()
        .map(|used| match proto::KeyUse::try_from(*used) {
            Ok(proto::KeyUse::Bulletins) => Ok(KeyUse::Bulletins),
            Ok(proto::KeyUse::Agreements) => Ok(KeyUse::Agreements),
            Ok(proto::KeyUse::Acknowledgements) => Ok(KeyUse::Acknowledgements),
            _ => Err(malformed()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(SigningKey {
        public_key: PublicKey::try_from(wire.public_key.as_ref()).map_err(|_| malformed())?,
        uses,
        not_before: Timestamp::from_micros(wire.not_before).ok_or_else(malformed)?,
        not_after: Timestamp::from_micros(wire.not_after).ok_or_else(malformed)?,
    })
}

const fn wire_use(used: KeyUse) -> proto::KeyUse {
    match used {
        KeyUse::Bulletins => proto::KeyUse::Bulletins,
        KeyUse::Agreements => proto::KeyUse::Agreements,
        KeyUse::Acknowledgements => proto::KeyUse::Acknowledgements,
    }
}

impl SignedKeySet {
    /// As it travels.
    pub fn to_wire(&self) -> proto::SignedKeySet {
        proto::SignedKeySet {
            key_set: self.bytes().clone(),
            signatures: self.signatures().iter().map(signature_to_wire).collect(),
        }
    }

    /// Reads what travelled. The signatures are checked by [`super::KeyChain`], not here.
    pub fn from_wire(wire: &proto::SignedKeySet) -> Result<Self, InvalidKeySet> {
        let signatures = wire
            .signatures
            .iter()
            .map(signature_from_wire)
            .collect::<Option<Vec<_>>>()
            .ok_or(InvalidKeySet::Malformed("signatures"))?;
        Self::from_parts(wire.key_set.clone(), signatures)
    }

    /// The serialized signed key set, for files.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// From the bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKeySet> {
        let wire = proto::SignedKeySet::decode(Bytes::copy_from_slice(bytes))
            .map_err(|_| InvalidKeySet::Malformed("encoding"))?;
        Self::from_wire(&wire)
    }
}
