//! Who a bulletin says it is from: a partner, or a key behind which a partner stands.
//!
//! Under a pseudonym the header names a key and nobody, and the key signs. Who holds it is a part of
//! class `identity`: the partner's own signature over
//!
//! ```text
//! partner || "\n" || agreement || "\n" || public key in hexadecimal || "\n"
//! DSSE payload type "application/vnd.entente.pseudonym.v1"
//! ```
//!
//! with the key that it signs bulletins with. The broker sees that part and keeps it in the record, so
//! that an auditor can tell who spoke; a recipient sees it only where a clause shows the originator
//! and the originator shows itself to this recipient. To everybody else its salted leaf is a
//! commitment that only the originator, the broker and an auditor can open.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::labels::closed_set;
use crate::partner::PartnerId;
use crate::proof::{
    Digest, KeyId, PayloadType, PublicKey, SignError, Signature, Signer, decode_base64, verify,
};

closed_set! {
    /// How much recipients see of who published a bulletin, from the least to the most.
    Shown, "way to show the originator" {
        /// That it is a party of the agreement: a key that signs one bulletin only.
        Framework = "framework",
        /// An alias: a key that signs all that its holder publishes so under one agreement.
        Alias = "alias",
        /// The partner.
        Named = "named",
    }
}

/// The longest name of an agreement or clause.
const MAX_NAME: usize = 63;

/// Whether a text can name an agreement, or a clause of one: 1 to 63 of a-z 0-9 -. Names are kept
/// for ever, so they are short.
pub(crate) fn is_agreement_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('-')
}

/// Who a header says the bulletin is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Originator {
    /// A partner.
    Partner(PartnerId),
    /// Whoever holds a key.
    Pseudonym(Pseudonym),
}

/// A key behind which a partner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pseudonym {
    /// Signs the bulletin.
    #[serde(with = "key_as_text")]
    pub key: PublicKey,
    /// Signs this bulletin and notices about it, and nothing else: nothing links it to others.
    pub single_use: bool,
}

impl Originator {
    /// The partner, where it is named.
    pub fn partner(&self) -> Option<&PartnerId> {
        match self {
            Self::Partner(partner) => Some(partner),
            Self::Pseudonym(_) => None,
        }
    }

    /// The pseudonym, where there is one.
    pub fn pseudonym(&self) -> Option<&Pseudonym> {
        match self {
            Self::Partner(_) => None,
            Self::Pseudonym(pseudonym) => Some(pseudonym),
        }
    }
}

impl From<PartnerId> for Originator {
    fn from(partner: PartnerId) -> Self {
        Self::Partner(partner)
    }
}

impl fmt::Display for Originator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partner(partner) => partner.fmt(f),
            Self::Pseudonym(pseudonym) => f.pad(&pseudonym.to_string()),
        }
    }
}

/// `alias-0123456789ab`, or `undisclosed` for a key that is used once.
impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.single_use {
            return f.pad("undisclosed");
        }
        let id = HEXLOWER.encode(&self.key.id().0.as_bytes()[..6]);
        f.pad(&format!("alias-{id}"))
    }
}

/// Who stands behind a pseudonym, for which agreement, and who may know: the body of a part of class
/// `identity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Who.
    pub partner: PartnerId,
    /// Name of the agreement under which the pseudonym is used, and under no other.
    pub agreement: String,
    /// Recipients to whom the originator shows itself, where a clause does, too.
    #[serde(default)]
    pub reveal_to: Vec<PartnerId>,
    /// By a bulletins key of the partner.
    #[serde(with = "signature_as_text")]
    pub signature: Signature,
}

impl Identity {
    /// Binds a pseudonymous key to its holder.
    pub fn sign(
        partner: PartnerId,
        agreement: String,
        reveal_to: Vec<PartnerId>,
        key: &PublicKey,
        signer: &dyn Signer,
    ) -> Result<Self, SignError> {
        let payload = payload(&partner, &agreement, key);
        let signature = signer.sign(PayloadType::Pseudonym, &payload)?;
        Ok(Self {
            partner,
            agreement,
            reveal_to,
            signature,
        })
    }

    /// Whether the partner's key, which is `by`, binds a pseudonymous key.
    pub fn binds(&self, key: &PublicKey, by: &PublicKey) -> bool {
        let payload = payload(&self.partner, &self.agreement, key);
        verify(by, PayloadType::Pseudonym, &payload, &self.signature).is_ok()
    }
}

/// What the partner signs. None of the three can contain a line feed.
fn payload(partner: &PartnerId, agreement: &str, key: &PublicKey) -> Vec<u8> {
    format!("{partner}\n{agreement}\n{key}\n").into_bytes()
}

/// What a decision looks at in a pseudonym.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disguise {
    /// Nothing links it to other bulletins.
    pub single_use: bool,
    /// Only clauses of agreements of this name may be used.
    pub agreement: Arc<str>,
    /// To whom its originator shows itself.
    pub reveal_to: BTreeSet<PartnerId>,
}

impl Disguise {
    /// Of a pseudonym with the identity behind it.
    pub fn of(pseudonym: &Pseudonym, identity: &Identity) -> Self {
        Self {
            single_use: pseudonym.single_use,
            agreement: Arc::from(identity.agreement.as_str()),
            reveal_to: identity.reveal_to.iter().cloned().collect(),
        }
    }

    /// How much of the originator a recipient sees who is not shown it.
    pub const fn shown(&self) -> Shown {
        if self.single_use {
            Shown::Framework
        } else {
            Shown::Alias
        }
    }
}

mod key_as_text {
    use super::{Deserialize, Deserializer, PublicKey, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &PublicKey, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PublicKey, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The key's id in hexadecimal, a colon, and the signature in base64.
mod signature_as_text {
    use super::{
        BASE64, Deserialize, Deserializer, Digest, KeyId, Serializer, Signature, decode_base64,
    };

    pub(super) fn serialize<S: Serializer>(one: &Signature, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!(
            "{}:{}",
            one.key_id,
            BASE64.encode(&one.bytes)
        ))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Signature, D::Error> {
        let text = String::deserialize(from)?;
        let read = || {
            let (key, bytes) = text.split_once(':')?;
            Some(Signature {
                key_id: KeyId(key.parse::<Digest>().ok()?),
                bytes: decode_base64(bytes)?.try_into().ok()?,
            })
        };
        read().ok_or_else(|| serde::de::Error::custom("no signature"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::SecretKey;

    #[test]
    fn an_identity_binds_one_key_of_one_partner_for_one_agreement() {
        let (own, alias) = (
            SecretKey::from_seed([1; 32]).unwrap(),
            SecretKey::from_seed([2; 32]).unwrap(),
        );
        let (by, key) = (own.public_key(), alias.public_key());
        let partner: PartnerId = "norland.example".parse().unwrap();
        let identity = Identity::sign(partner, "feed".into(), vec![], &key, &own).unwrap();
        assert!(identity.binds(&key, &by));
        assert!(!identity.binds(&by, &by) && !identity.binds(&key, &key));
        let mut other = identity.clone();
        other.partner = "sudland.example".parse().unwrap();
        assert!(!other.binds(&key, &by));
        let mut other = identity.clone();
        other.agreement = "other".into();
        assert!(!other.binds(&key, &by));
        let text = serde_json::to_string(&identity).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity);
    }

    #[test]
    fn an_alias_is_told_from_others_and_a_single_use_key_is_not() {
        let named = |seed, single_use| {
            let key = SecretKey::from_seed([seed; 32]).unwrap().public_key();
            Pseudonym { key, single_use }.to_string()
        };
        assert_ne!(named(1, false), named(2, false));
        assert_eq!(named(1, true), named(2, true));
    }
}
