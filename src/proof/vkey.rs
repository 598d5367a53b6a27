//! Verifier keys (C2SP signed-note, v1.0.0) and what a signature under each kind of them covers.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use thiserror::Error;

use super::base64::decode_base64;
use super::cosignature;
use super::hash::Hasher;
use super::ml_dsa::MlDsaPublicKey;
use super::sign::{BadSignature, PublicKey, verify_message};

/// Ed25519 over the text of the note.
const ED25519: u8 = 0x01;
/// Ed25519 over a cosignature's message.
const COSIGNATURE: u8 = 0x04;
/// ML-DSA-44 over a cosignature's message.
const ML_DSA_44: u8 = 0x06;

/// Text that is no verifier key that can be used here.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidVkey {
    /// Not the form of a verifier key.
    #[error("`{0}` is not a verifier key such as example.com/log+530d903a+Aek...")]
    Malformed(String),
    /// Of a type that is not known here.
    #[error(
        "the verifier key is of type {0:#04x}; Ed25519 (0x01) and cosignatures with Ed25519 (0x04) \
         or ML-DSA-44 (0x06) are read"
    )]
    Type(u8),
}

/// A verifier key: a name, and a public key of some kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    material: Material,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Ed25519(PublicKey),
    Cosigner(PublicKey),
    MlDsa44(MlDsaPublicKey),
}

impl NoteKey {
    /// The key of a signer of notes, as a log is.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, InvalidVkey> {
        Self::named(name, Material::Ed25519(key))
    }

    /// The key of a cosigner, as a witness is.
    pub fn cosigner(name: &str, key: PublicKey) -> Result<Self, InvalidVkey> {
        Self::named(name, Material::Cosigner(key))
    }

    /// The key of a cosigner that signs with ML-DSA-44.
    pub fn ml_dsa(name: &str, key: MlDsaPublicKey) -> Result<Self, InvalidVkey> {
        Self::named(name, Material::MlDsa44(key))
    }

    /// A name without spaces and plus signs.
    fn named(name: &str, material: Material) -> Result<Self, InvalidVkey> {
        if !name_ok(name) {
            return Err(InvalidVkey::Malformed(name.chars().take(80).collect()));
        }
        let name = name.to_owned();
        Ok(Self { name, material })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 key of a signer of notes; `None` for a cosigner.
    pub fn signs_notes(&self) -> Option<&PublicKey> {
        match &self.material {
            Material::Ed25519(key) => Some(key),
            Material::Cosigner(_) | Material::MlDsa44(_) => None,
        }
    }

    /// Whether it is a cosigner's: its signatures say that the log only grew.
    pub fn is_cosigner(&self) -> bool {
        self.signs_notes().is_none()
    }

    /// The public key itself: two keys are the same one if only their names or types differ.
    pub fn key_bytes(&self) -> &[u8] {
        match &self.material {
            Material::Ed25519(key) | Material::Cosigner(key) => &key.0,
            Material::MlDsa44(key) => key.as_bytes(),
        }
    }

    const fn kind(&self) -> u8 {
        match &self.material {
            Material::Ed25519(_) => ED25519,
            Material::Cosigner(_) => COSIGNATURE,
            Material::MlDsa44(_) => ML_DSA_44,
        }
    }

    /// The first four bytes of SHA-256(name || 0x0A || type || key).
    pub fn id(&self) -> [u8; 4] {
        let digest = Hasher::new()
            .chain(self.name.as_bytes())
            .chain(&[b'\n', self.kind()])
            .chain(self.key_bytes())
            .finish();
        [digest.0[0], digest.0[1], digest.0[2], digest.0[3]]
    }

    /// Verifies what stands after the key's id in a signature line; gives the time of a cosignature,
    /// in seconds since 1970.
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, BadSignature> {
        match &self.material {
            Material::Ed25519(key) => {
                verify_message(key, text.as_bytes(), signature)?;
                Ok(None)
            }
            Material::Cosigner(key) => {
                let (time, signature) = cosignature::split(signature).ok_or(BadSignature)?;
                let message = cosignature::ed25519_message(time, text);
                verify_message(key, &message, signature)?;
                Ok(Some(time))
            }
            Material::MlDsa44(key) => {
                let (time, signature) = cosignature::split(signature).ok_or(BadSignature)?;
                let message = cosignature::ml_dsa_message(&self.name, time, text);
                key.verify(&message.ok_or(BadSignature)?, signature)?;
                Ok(Some(time))
            }
        }
    }
}

/// Whether a name may stand in a signature line.
pub(super) fn name_ok(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// The vkey.
impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(&[&[self.kind()], self.key_bytes()].concat());
        write!(f, "{}+{}+{key}", self.name, HEXLOWER.encode(&self.id()))
    }
}

impl FromStr for NoteKey {
    type Err = InvalidVkey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidVkey::Malformed(text.chars().take(80).collect());
        let mut fields = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (fields.next(), fields.next(), fields.next())
        else {
            return Err(invalid());
        };
        let key = decode_base64(key).ok_or_else(invalid)?;
        let (kind, key) = key.split_first().ok_or_else(invalid)?;
        let ed25519 = || PublicKey::try_from(key).map_err(|_| invalid());
        let material = match *kind {
            ED25519 => Material::Ed25519(ed25519()?),
            COSIGNATURE => Material::Cosigner(ed25519()?),
            ML_DSA_44 => Material::MlDsa44(key.try_into().map_err(|_| invalid())?),
            other => return Err(InvalidVkey::Type(other)),
        };
        let key = Self::named(name, material)?;
        if HEXLOWER.encode(&key.id()) == id {
            Ok(key)
        } else {
            Err(invalid())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn the_ids_are_those_of_the_specification() {
        let key: NoteKey = VKEY.parse().unwrap();
        assert_eq!(key.to_string(), VKEY);
        let cosigner = NoteKey::cosigner(key.name(), *key.signs_notes().unwrap()).unwrap();
        assert_eq!(HEXLOWER.encode(&cosigner.id()), "7c264079");
        assert!(cosigner.is_cosigner() && !key.is_cosigner());
        assert_eq!(cosigner.key_bytes(), key.key_bytes());
        assert_eq!(cosigner.to_string().parse(), Ok(cosigner));
    }

    #[test]
    fn what_is_no_verifier_key_is_an_error() {
        for bad in [
            "",
            "a+b",
            "example.com/foo+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+Aeky",
            "example.com/foo+530d903a+BukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ] {
            assert!(bad.parse::<NoteKey>().is_err(), "{bad:?}");
        }
        let other = "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        assert_eq!(other.parse::<NoteKey>(), Err(InvalidVkey::Type(2)));
    }
}
