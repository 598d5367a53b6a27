//! Key sets: a partner's keys, roots and recovery key, and their rotation.
//!
//! Rotation follows TUF's root role (TUF specification, section 5.3): a version counts when it is
//! signed under the version before it and under itself.

use bytes::Bytes;
use thiserror::Error;

use super::id::PartnerId;
use crate::clock::Timestamp;
use crate::proof::{Digest, KeyId, PayloadType, PublicKey, SignError, Signature, Signer, verify};

/// The most signing keys in a key set.
const MAX_KEYS: usize = 64;
/// The most roots in a key set.
const MAX_ROOTS: usize = 16;

/// What a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyUse {
    /// Bursts of bulletins.
    Bulletins,
    /// Agreements, withdrawals and key sets.
    Agreements,
    /// Acknowledgements of delivery.
    Acknowledgements,
}

/// One signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// The public half.
    pub public_key: PublicKey,
    /// What it may sign.
    pub uses: Vec<KeyUse>,
    /// Signs from, inclusive.
    pub not_before: Timestamp,
    /// Signs until, exclusive.
    pub not_after: Timestamp,
}

/// One version of a partner's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// Whose keys these are.
    pub partner: PartnerId,
    /// 1, 2, 3, ...
    pub version: u64,
    /// Hash of the version before; `None` in version 1.
    pub previous: Option<Digest>,
    /// The signing keys.
    pub keys: Vec<SigningKey>,
    /// X.509 roots in DER. They vouch for this partner's trust domain and no other.
    pub roots: Vec<Bytes>,
    /// Kept offline; may sign the next version when the other keys are lost or stolen.
    pub recovery_key: PublicKey,
}

/// Bytes that are no key set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidKeySet {
    /// Larger than any honest key set.
    #[error("the key set has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A field that cannot be read.
    #[error("the key set's `{0}` cannot be read")]
    Malformed(&'static str),
    /// No key, too many keys, or no root.
    #[error(
        "a key set has 1 to {MAX_KEYS} keys, one of them for agreements, and 1 to {MAX_ROOTS} roots"
    )]
    Incomplete,
    /// One key twice.
    #[error("the key `{0}` is in the key set twice")]
    DuplicateKey(KeyId),
}

/// A key set that does not follow from what is known of its partner.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeySetError {
    /// Not signed as it must be.
    #[error("the key set of `{partner}`, version {version}, lacks a valid signature of {by}")]
    Unsigned {
        /// Whose.
        partner: PartnerId,
        /// Which version.
        version: u64,
        /// Whose signature is missing: this version's own key, or one of the version before.
        by: &'static str,
    },
    /// Not the version that comes next, or not chained to the one before.
    #[error("the key set of `{partner}`, version {version}, does not follow version {known}")]
    NotNext {
        /// Whose.
        partner: PartnerId,
        /// Which version was offered.
        version: u64,
        /// Which version is known.
        known: u64,
    },
    /// The first version is not the one that was pinned.
    #[error(
        "the key set of `{partner}` is not the one that was pinned: {found} instead of {pinned}"
    )]
    NotPinned {
        /// Whose.
        partner: PartnerId,
        /// Its hash.
        found: Digest,
        /// The hash that was compared out of band.
        pinned: Digest,
    },
}

impl KeySet {
    /// The bytes that are signed and hashed.
    pub fn to_bytes(&self) -> Bytes {
        self.encode()
    }

    fn ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|key| key.public_key.id()).collect()
    }

    /// The key with this id.
    pub fn key(&self, id: &KeyId) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.public_key.id() == *id)
    }

    fn check(&self) -> Result<(), InvalidKeySet> {
        let complete = (1..=MAX_KEYS).contains(&self.keys.len())
            && (1..=MAX_ROOTS).contains(&self.roots.len())
            && self
                .keys
                .iter()
                .any(|key| key.uses.contains(&KeyUse::Agreements));
        if !complete {
            return Err(InvalidKeySet::Incomplete);
        }
        for (at, key) in self.keys.iter().enumerate() {
            let id = key.public_key.id();
            if self.keys[..at]
                .iter()
                .any(|other| other.public_key == key.public_key)
                || key.public_key == self.recovery_key
            {
                return Err(InvalidKeySet::DuplicateKey(id));
            }
        }
        Ok(())
    }
}

/// A key set as bytes with signatures over them. The signatures are believed only once
/// [`KeyChain`] has checked them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedKeySet {
    bytes: Bytes,
    key_set: KeySet,
    signatures: Vec<Signature>,
}

impl SignedKeySet {
    /// Signs a key set: with its own keys and, from version 2 on, with a key of the version before.
    pub fn sign(key_set: KeySet, signers: &[&dyn Signer]) -> Result<Self, SignError> {
        let bytes = key_set.to_bytes();
        let signatures = signers
            .iter()
            .map(|signer| signer.sign(PayloadType::KeySet, &bytes))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            bytes,
            key_set,
            signatures,
        })
    }

    pub(super) fn from_parts(
        bytes: Bytes,
        signatures: Vec<Signature>,
    ) -> Result<Self, InvalidKeySet> {
        let key_set = KeySet::decode(&bytes)?;
        key_set.check()?;
        Ok(Self {
            bytes,
            key_set,
            signatures,
        })
    }

    /// The key set, whose signatures nobody has checked yet.
    pub fn claimed(&self) -> &KeySet {
        &self.key_set
    }

    /// The signed bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// SHA-256 of the signed bytes: for version 1, what agreements pin.
    pub fn hash(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    fn signed_by(&self, keys: impl IntoIterator<Item = PublicKey>) -> bool {
        keys.into_iter().any(|key| {
            self.signatures.iter().any(|signature| {
                signature.key_id == key.id()
                    && verify(&key, PayloadType::KeySet, &self.bytes, signature).is_ok()
            })
        })
    }
}

/// The verified versions of one partner's key set, from the first on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChain {
    versions: Vec<SignedKeySet>,
    /// Ids of the keys of the version in force, in their order: each bulletin asks for one.
    ids: Vec<KeyId>,
}

impl KeyChain {
    /// Starts from version 1, which must be signed by an agreement key of its own.
    pub fn start(first: SignedKeySet) -> Result<Self, KeySetError> {
        let key_set = first.claimed();
        if key_set.version != 1 {
            return Err(KeySetError::NotNext {
                partner: key_set.partner.clone(),
                version: key_set.version,
                known: 0,
            });
        }
        check_own_signature(&first)?;
        let ids = first.claimed().ids();
        Ok(Self {
            versions: vec![first],
            ids,
        })
    }

    /// Starts from version 1 where its hash is the pinned one, and follows the later versions.
    pub fn from_pin(
        pinned: Digest,
        versions: &[SignedKeySet],
    ) -> Result<Option<Self>, KeySetError> {
        let Some((first, later)) = versions.split_first() else {
            return Ok(None);
        };
        if first.hash() != pinned {
            return Err(KeySetError::NotPinned {
                partner: first.claimed().partner.clone(),
                found: first.hash(),
                pinned,
            });
        }
        let mut chain = Self::start(first.clone())?;
        for version in later {
            chain.push(version.clone())?;
        }
        Ok(Some(chain))
    }

    /// Appends the next version: chained to the current one, signed by an agreement key (or the
    /// recovery key) of the current one and by an agreement key of its own.
    pub fn push(&mut self, next: SignedKeySet) -> Result<(), KeySetError> {
        let current = self.current();
        let offered = next.claimed();
        let follows = offered.partner == current.partner
            && offered.version == current.version + 1
            && offered.previous == Some(self.last().hash());
        if !follows {
            return Err(KeySetError::NotNext {
                partner: current.partner.clone(),
                version: offered.version,
                known: current.version,
            });
        }
        check_own_signature(&next)?;
        let old = agreement_keys(current).chain([current.recovery_key]);
        if !next.signed_by(old) {
            return Err(KeySetError::Unsigned {
                partner: offered.partner.clone(),
                version: offered.version,
                by: "a key of the version before",
            });
        }
        self.ids = next.claimed().ids();
        self.versions.push(next);
        Ok(())
    }

    /// The version in force.
    pub fn current(&self) -> &KeySet {
        self.last().claimed()
    }

    /// Hash of version 1.
    pub fn pin(&self) -> Digest {
        self.versions[0].hash()
    }

    /// All versions, the first first.
    pub fn versions(&self) -> &[SignedKeySet] {
        &self.versions
    }

    /// The public key with this id, where the version in force lets it sign this at that moment.
    pub fn key_for(&self, id: &KeyId, used: KeyUse, at: Timestamp) -> Option<PublicKey> {
        let place = self.ids.iter().position(|one| one == id)?;
        let key = self.current().keys.get(place)?;
        let valid = key.uses.contains(&used) && key.not_before <= at && at < key.not_after;
        valid.then_some(key.public_key)
    }

    /// The public key with this id, where any version let it sign this. For evidence of what was
    /// recorded under an earlier version.
    pub fn key_ever(&self, id: &KeyId, used: KeyUse) -> Option<PublicKey> {
        let keys = self
            .versions
            .iter()
            .rev()
            .filter_map(|version| version.claimed().key(id));
        keys.into_iter()
            .find(|key| key.uses.contains(&used))
            .map(|key| key.public_key)
    }

    fn last(&self) -> &SignedKeySet {
        // INVARIANT: a chain begins with version 1 and only grows.
        &self.versions[self.versions.len() - 1]
    }
}

fn agreement_keys(key_set: &KeySet) -> impl Iterator<Item = PublicKey> + '_ {
    key_set
        .keys
        .iter()
        .filter(|key| key.uses.contains(&KeyUse::Agreements))
        .map(|key| key.public_key)
}

fn check_own_signature(signed: &SignedKeySet) -> Result<(), KeySetError> {
    if signed.signed_by(agreement_keys(signed.claimed())) {
        return Ok(());
    }
    Err(KeySetError::Unsigned {
        partner: signed.claimed().partner.clone(),
        version: signed.claimed().version,
        by: "an agreement key of its own",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::SecretKey;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed([seed; 32]).unwrap()
    }

    fn key_set(version: u64, previous: Option<Digest>, seed: u8) -> KeySet {
        KeySet {
            partner: "norland.example".parse().unwrap(),
            version,
            previous,
            keys: vec![SigningKey {
                public_key: key(seed).public_key(),
                uses: vec![KeyUse::Bulletins, KeyUse::Agreements],
                not_before: Timestamp::MIN,
                not_after: Timestamp::MAX,
            }],
            roots: vec![Bytes::from_static(b"root")],
            recovery_key: key(99).public_key(),
        }
    }

    fn signed(key_set: KeySet, seeds: &[u8]) -> SignedKeySet {
        let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
        let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
        SignedKeySet::sign(key_set, &signers).unwrap()
    }

    #[test]
    fn a_chain_follows_only_versions_signed_by_old_and_new() {
        let first = signed(key_set(1, None, 1), &[1]);
        let mut chain = KeyChain::start(first.clone()).unwrap();
        let second = |seeds: &[u8]| signed(key_set(2, Some(first.hash()), 2), seeds);
        assert!(matches!(
            chain.push(second(&[2])),
            Err(KeySetError::Unsigned { .. })
        ));
        assert!(matches!(
            chain.push(second(&[1])),
            Err(KeySetError::Unsigned { .. })
        ));
        assert!(matches!(
            chain.push(signed(key_set(3, Some(first.hash()), 2), &[1, 2])),
            Err(KeySetError::NotNext { .. })
        ));
        assert!(matches!(
            chain.push(signed(key_set(2, Some(Digest::of(b"other")), 2), &[1, 2])),
            Err(KeySetError::NotNext { .. })
        ));
        chain.push(second(&[1, 2])).unwrap();
        assert_eq!(chain.current().version, 2);
    }

    #[test]
    fn the_recovery_key_replaces_lost_keys() {
        let first = signed(key_set(1, None, 1), &[1]);
        let mut chain = KeyChain::start(first.clone()).unwrap();
        chain
            .push(signed(key_set(2, Some(first.hash()), 2), &[99, 2]))
            .unwrap();
        assert!(
            chain
                .key_for(&key(1).public_key().id(), KeyUse::Bulletins, Timestamp::MIN)
                .is_none()
        );
        // Each key of the version in force is found, and as what it is.
        for one in &chain.current().keys {
            for used in &one.uses {
                let found = chain.key_for(&one.public_key.id(), *used, one.not_before);
                assert_eq!(found, Some(one.public_key));
            }
        }
        let ids = |chain: &KeyChain| {
            chain
                .current()
                .keys
                .iter()
                .map(|key| key.public_key.id())
                .collect::<Vec<_>>()
        };
        assert_eq!(chain.ids, ids(&chain));
    }

    #[test]
    fn a_key_set_that_is_not_the_pinned_one_is_refused() {
        let first = signed(key_set(1, None, 1), &[1]);
        let error = KeyChain::from_pin(Digest::of(b"other"), &[first]).unwrap_err();
        assert!(matches!(error, KeySetError::NotPinned { .. }));
    }

    #[test]
    fn a_key_set_survives_its_file_and_refuses_fields_it_does_not_know() {
        let first = signed(key_set(1, None, 1), &[1]);
        assert_eq!(SignedKeySet::from_bytes(&first.to_bytes()).unwrap(), first);
        let mut bytes = first.bytes().to_vec();
        bytes.extend_from_slice(&[0xf8, 0x3e, 0x01]); // field 1007, varint 1
        let error = SignedKeySet::from_parts(bytes.into(), vec![]).unwrap_err();
        assert_eq!(error, InvalidKeySet::Malformed("format"));
    }
}
