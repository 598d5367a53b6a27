//! Ed25519 signatures (RFC 8032) over the DSSE v1 pre-authentication encoding.
//!
//! Every signature of Entente covers a [`PayloadType`], so that bytes signed for one purpose never
//! pass for another. Signed notes (C2SP) sign their text directly; it cannot begin with `DSSEv1 `
//! followed by one of our types, since a checkpoint begins with its origin and a line feed.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ring::hkdf;
use ring::signature::{self, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use thiserror::Error;
use zeroize::Zeroizing;

use super::hash::{Digest, Hasher};

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadType {
    /// The tree of a burst of bulletins, by their originator.
    Burst,
    /// An agreement's bytes, by a party.
    Agreement,
    /// The withdrawal of an agreement, by a party.
    Withdrawal,
    /// A key set, by keys of the old and of the new version.
    KeySet,
    /// What a recipient holds durably, by the recipient.
    Acknowledgement,
    /// Positions in the log, by the broker.
    Promise,
    /// The admission of a partner, by an operator.
    Admission,
    /// A change of a partner's standing, by an operator.
    StandingOrder,
    /// What must never flow, by an operator.
    RedLines,
    /// An operator's order that contents be erased.
    ErasureOrder,
    /// A disclosure statement.
    Disclosure,
    /// What a recipient says about a bulletin.
    Declaration,
    /// That a person releases what is held, or keeps it.
    HoldDecision,
    /// That an originator consents to its bulletin being passed on, or does not.
    Consent,
    /// That a partner stands behind a pseudonymous key.
    Pseudonym,
    /// Records appended together to a shared log, by a broker.
    StreamGroup,
    /// A snapshot of a shared log, by a broker.
    StreamSnapshot,
}

impl PayloadType {
    /// The DSSE payload type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Burst => "application/vnd.entente.burst.v1",
            Self::Agreement => "application/vnd.entente.agreement.v1",
            Self::Withdrawal => "application/vnd.entente.withdrawal.v1",
            Self::KeySet => "application/vnd.entente.key-set.v1",
            Self::Acknowledgement => "application/vnd.entente.acknowledgement.v1",
            Self::Promise => "application/vnd.entente.promise.v1",
            Self::Admission => "application/vnd.entente.admission.v1",
            Self::StandingOrder => "application/vnd.entente.standing-order.v1",
            Self::RedLines => "application/vnd.entente.red-lines.v1",
            Self::ErasureOrder => "application/vnd.entente.erasure-order.v1",
            Self::Disclosure => "application/vnd.entente.disclosure.v1+json",
            Self::Declaration => "application/vnd.entente.declaration.v1",
            Self::HoldDecision => "application/vnd.entente.hold-decision.v1",
            Self::Consent => "application/vnd.entente.consent.v1",
            Self::Pseudonym => "application/vnd.entente.pseudonym.v1",
            Self::StreamGroup => "application/vnd.entente.stream-group.v1",
            Self::StreamSnapshot => "application/vnd.entente.stream-snapshot.v1",
        }
    }
}

/// The DSSE v1.0.2 pre-authentication encoding of a payload.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// SHA-256 over a domain separator and a public key: names a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0.short())
    }
}

/// Bytes that are no Ed25519 key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("an Ed25519 key is 32 bytes")]
pub struct InvalidKey;

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId(
            Hasher::new()
                .chain(b"entente/key/v1\n")
                .chain(&self.0)
                .finish(),
        )
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = InvalidKey;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| InvalidKey)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidKey)?;
        Self::try_from(bytes.as_slice())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A signature with the id of the key that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// A hint to find the key, never a reason to believe it.
    pub key_id: KeyId,
    /// The 64 bytes of RFC 8032.
    pub bytes: [u8; 64],
}

/// A signature that does not verify: other key, other bytes, or other purpose.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A signer that did not sign.
#[derive(Debug, Error)]
#[error("the signing key `{key}` could not sign: {reason}")]
pub struct SignError {
    /// The key's id.
    pub key: KeyId,
    /// What its holder says.
    pub reason: String,
}

/// Holds a private key and signs with it: a file's key, or later a token's.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The public half.
    fn public_key(&self) -> PublicKey;

    /// The Ed25519 signature over exactly these bytes. Callers use [`Signer::sign`], except for
    /// signed notes.
    fn sign_message(&self, message: &[u8]) -> Result<[u8; 64], SignError>;

    /// A signature over the DSSE encoding of a payload.
    fn sign(&self, payload_type: PayloadType, payload: &[u8]) -> Result<Signature, SignError> {
        let bytes = self.sign_message(&pae(payload_type.as_str(), payload))?;
        Ok(Signature {
            key_id: self.public_key().id(),
            bytes,
        })
    }
}

/// Verifies a signature over the DSSE encoding of a payload.
pub fn verify(
    key: &PublicKey,
    payload_type: PayloadType,
    payload: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    verify_message(key, &pae(payload_type.as_str(), payload), &signature.bytes)
}

/// Verifies a signature over exactly these bytes.
pub(super) fn verify_message(
    key: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(&signature::ED25519, &key.0)
        .verify(message, signature)
        .map_err(|_| BadSignature)
}

/// An Ed25519 private key in memory. The seed is wiped when it goes; `Debug` shows the public half.
pub struct SecretKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// The key of a 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, InvalidKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| InvalidKey)?;
        Ok(Self {
            seed: Zeroizing::new(seed),
            pair,
        })
    }

    /// A key of its own for each purpose, by HKDF-SHA256 (RFC 5869) from this key's seed; from the
    /// derived key nobody learns this one or another derived one.
    pub fn derive(&self, purpose: &[&[u8]]) -> Result<Self, InvalidKey> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"entente/derived-key/v1");
        let mut seed = Zeroizing::new([0; 32]);
        salt.extract(self.seed.as_slice())
            .expand(purpose, hkdf::HKDF_SHA256)
            .and_then(|expanded| expanded.fill(seed.as_mut_slice()))
            .map_err(|_| InvalidKey)?;
        Self::from_seed(*seed)
    }

    /// The seed, for the key file only.
    pub fn seed(&self) -> &Zeroizing<[u8; 32]> {
        &self.seed
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey(bytes)
    }

    fn sign_message(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pae_is_the_vector_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_signature_holds_for_its_key_its_bytes_and_its_purpose_only() {
        let key = SecretKey::from_seed([7; 32]).unwrap();
        let other = SecretKey::from_seed([8; 32]).unwrap();
        let signature = key.sign(PayloadType::Burst, b"payload").unwrap();
        let check = |key: &SecretKey, purpose, payload: &[u8]| {
            verify(&key.public_key(), purpose, payload, &signature)
        };
        assert_eq!(check(&key, PayloadType::Burst, b"payload"), Ok(()));
        assert_eq!(
            check(&other, PayloadType::Burst, b"payload"),
            Err(BadSignature)
        );
        assert_eq!(
            check(&key, PayloadType::Agreement, b"payload"),
            Err(BadSignature)
        );
        assert_eq!(
            check(&key, PayloadType::Burst, b"payloaD"),
            Err(BadSignature)
        );
    }

    /// Ed25519 leaves room for disagreement (small orders, unreduced points and scalars): what one
    /// verifies, all must. The vectors are those of C2SP's CCTV.
    #[test]
    fn edge_vectors_have_one_answer_here_and_under_tls() {
        use std::io::Read;
        let tls = |key: &[u8], message: &[u8], signature: &[u8]| {
            let provider = rustls::crypto::ring::default_provider();
            let known = provider.signature_verification_algorithms.all;
            let ed25519 = webpki::ring::ED25519.public_key_alg_id();
            let mut known = known
                .iter()
                .filter(|one| one.public_key_alg_id() == ed25519);
            let verifier = known.next().unwrap();
            verifier.verify_signature(key, message, signature).is_ok()
        };
        let agree = |key: [u8; 32], message: &[u8], signature: [u8; 64]| {
            let ours = verify_message(&PublicKey(key), message, &signature).is_ok();
            assert_eq!(ours, tls(&key, message, &signature), "{key:x?}");
            ours
        };
        // A signature whose scalar was not reduced: S + L, L = 2^252 + 2774...8493.
        let order = HEXLOWER
            .decode(b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
            .unwrap();
        let secret = SecretKey::from_seed([7; 32]).unwrap();
        let good = secret.sign_message(b"message").unwrap();
        assert!(agree(secret.public_key().0, b"message", good));
        let (mut unreduced, mut carry) = (good, 0u16);
        for (byte, add) in unreduced[32..].iter_mut().zip(order) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        assert!(!agree(secret.public_key().0, b"message", unreduced));

        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/crypto");
        let Ok(packed) = std::fs::File::open(format!("{corpus}/cctv-ed25519.tar.gz")) else {
            return;
        };
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        let mut text = String::new();
        let mut entries = archive.entries().unwrap();
        let vectors = entries.find_map(|entry| {
            let entry = entry.unwrap();
            entry.header().entry_type().is_file().then_some(entry)
        });
        vectors.unwrap().read_to_string(&mut text).unwrap();
        let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let mut accepted = 0;
        for vector in &vectors {
            let bytes = |name: &str| HEXLOWER.decode(vector[name].as_str().unwrap().as_bytes());
            let key = bytes("key").unwrap().try_into().unwrap();
            let signature = bytes("sig").unwrap().try_into().unwrap();
            let message = vector["msg"].as_str().unwrap().as_bytes();
            let verified = agree(key, message, signature);
            accepted += usize::from(verified);
            let flags = vector["flags"].as_array();
            let has = |flag: &str| flags.is_some_and(|all| all.iter().any(|one| one == flag));
            // Without a cofactor, and over the bytes as they stand.
            let expected = !has("low_order_residue") && !has("non_canonical_R");
            assert_eq!(verified, expected, "{vector}");
        }
        assert!(vectors.len() > 900 && accepted > 0 && accepted < vectors.len());
    }

    #[test]
    fn a_secret_key_does_not_show_itself() {
        let key = SecretKey::from_seed([7; 32]).unwrap();
        assert!(!format!("{key:?}").contains("0707070707"));
    }
}
