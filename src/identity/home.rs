//! A partner's directory: its authority, its signing keys and its key set.
//!
//! | file | what | who needs it |
//! |---|---|---|
//! | `ca.pem`, `ca.key` | root certificate and its key | whoever issues certificates |
//! | `agreements.key` | signs agreements, withdrawals and key sets | whoever may bind the partner |
//! | `recovery.key` | signs the next key set when the others are lost; keep it offline | nobody, daily |
//! | `signing.key` | signs bulletins and acknowledgements | the node |
//! | `key-set.pem` | the public halves, signed | everybody |

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::authority::{Authority, AuthorityError};
use super::keyfile::{
    KeyFileError, read_key_set, read_secret_key, write_key_set, write_private, write_public,
    write_secret_key,
};
use crate::clock::{Entropy, NoEntropy, Timestamp, random};
use crate::partner::{KeySet, KeyUse, PartnerId, SignedKeySet, SigningKey, SpiffeId};
use crate::proof::{InvalidKey, SecretKey, SignError, Signer};

/// How long a signing key may sign.
const KEY_VALIDITY: Duration = Duration::from_hours(17520);
/// Keys sign from a little before they are made: clocks differ.
const BACKDATE: Duration = Duration::from_mins(5);

/// A partner's directory that cannot be used.
#[derive(Debug, Error)]
pub enum HomeError {
    /// A file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// A key that cannot be made.
    #[error("a key could not be made: {0}")]
    Key(#[from] InvalidKey),
    /// Signing.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A partner's directory.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
}

/// A leaf's files.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Certificate.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Makes a secret key.
pub fn new_secret_key(entropy: &dyn Entropy) -> Result<SecretKey, HomeError> {
    Ok(SecretKey::from_seed(random(entropy)?)?)
}

impl Home {
    /// The directory of a partner, which may not exist yet.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Makes a partner: an authority, its keys, and version 1 of its key set.
    pub fn create(
        path: &Path,
        partner: &PartnerId,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Self, HomeError> {
        let home = Self::at(path);
        let authority = Authority::create(partner, path, now, entropy)?;
        let (agreements, signing, recovery) = (
            new_secret_key(entropy)?,
            new_secret_key(entropy)?,
            new_secret_key(entropy)?,
        );
        write_secret_key(&home.agreements_key(), &agreements)?;
        write_secret_key(&home.signing_key(), &signing)?;
        write_secret_key(&home.recovery_key(), &recovery)?;
        let key_set = KeySet {
            partner: partner.clone(),
            version: 1,
            previous: None,
            keys: keys(&agreements, &signing, now),
            roots: vec![Bytes::copy_from_slice(authority.root())],
            recovery_key: recovery.public_key(),
        };
        let signed = SignedKeySet::sign(key_set, &[&agreements])?;
        write_key_set(&home.key_set_path(), &signed)?;
        Ok(home)
    }

    /// Replaces the signing key, with the next version of the key set. The old key may sign for
    /// `grace` longer, so that a node goes over to the new one without losing a bulletin; none for
    /// a key that was stolen. The old files get the version's number.
    pub fn rotate(
        &self,
        now: Timestamp,
        grace: Duration,
        entropy: &dyn Entropy,
    ) -> Result<SignedKeySet, HomeError> {
        let current = self.key_set()?;
        let agreements = read_secret_key(&self.agreements_key())?;
        let signing = new_secret_key(entropy)?;
        let old = current.claimed();
        let mut next = old.clone();
        next.version += 1;
        next.previous = Some(current.hash());
        // What the old key signed before stays verifiable under the version before.
        let end = now.saturating_add(grace);
        let kept = old.keys.iter().filter(|key| {
            !grace.is_zero() && key.public_key != agreements.public_key() && key.not_after > now
        });
        let kept = kept.cloned().map(|mut key| {
            key.not_after = key.not_after.min(end);
            key
        });
        next.keys = keys(&agreements, &signing, now)
            .into_iter()
            .chain(kept)
            .collect();
        let signed = SignedKeySet::sign(next, &[&agreements])?;
        let key = self.signing_key();
        let retired = self.path.join(format!("signing.{}.key", old.version));
        let kept = self.path.join(format!("key-set.{}.pem", old.version));
        let renamed = |error| KeyFileError::Io {
            path: key.clone(),
            error,
        };
        std::fs::rename(&key, retired).map_err(renamed)?;
        std::fs::rename(self.key_set_path(), kept).map_err(renamed)?;
        write_secret_key(&key, &signing)?;
        write_key_set(&self.key_set_path(), &signed)?;
        Ok(signed)
    }

    /// Issues a certificate for a node or broker of this partner into `NAME.pem` and `NAME.key`,
    /// where `NAME` is the SPIFFE ID's path with dashes: `node-1` for `/node/1`. A certificate that
    /// is there already is renewed; the old one goes.
    pub fn issue(
        &self,
        id: &SpiffeId,
        now: Timestamp,
        valid_for: Duration,
        entropy: &dyn Entropy,
    ) -> Result<Leaf, HomeError> {
        let leaf = self.leaf(id);
        let issued = self.authority()?.issue(id, now, valid_for, entropy)?;
        match std::fs::remove_file(&leaf.key) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let path = leaf.key.clone();
                return Err(KeyFileError::Io { path, error }.into());
            }
            _ => {}
        }
        write_private(&leaf.key, issued.key.as_bytes())?;
        write_public(&leaf.certificate, issued.certificate.as_bytes())?;
        Ok(leaf)
    }

    /// Where a leaf's files are.
    pub fn leaf(&self, id: &SpiffeId) -> Leaf {
        let name = id.path().trim_matches('/').replace('/', "-");
        Leaf {
            certificate: self.path.join(format!("{name}.pem")),
            key: self.path.join(format!("{name}.key")),
        }
    }

    /// The authority.
    pub fn authority(&self) -> Result<Authority, HomeError> {
        let partner = self.key_set()?.claimed().partner.clone();
        Ok(Authority::open(&partner, &self.path)?)
    }

    /// The key set in use.
    pub fn key_set(&self) -> Result<SignedKeySet, HomeError> {
        Ok(read_key_set(&self.key_set_path())?)
    }

    /// The root certificate.
    pub fn roots(&self) -> PathBuf {
        self.path.join("ca.pem")
    }

    /// Signs bulletins and acknowledgements.
    pub fn signing_key(&self) -> PathBuf {
        self.path.join("signing.key")
    }

    /// Signs agreements, withdrawals and key sets.
    pub fn agreements_key(&self) -> PathBuf {
        self.path.join("agreements.key")
    }

    /// Signs the next key set when the others are lost.
    pub fn recovery_key(&self) -> PathBuf {
        self.path.join("recovery.key")
    }

    /// The public halves.
    pub fn key_set_path(&self) -> PathBuf {
        self.path.join("key-set.pem")
    }
}

fn keys(agreements: &SecretKey, signing: &SecretKey, now: Timestamp) -> Vec<SigningKey> {
    let valid = |key: &SecretKey, uses: &[KeyUse]| SigningKey {
        public_key: key.public_key(),
        uses: uses.to_vec(),
        not_before: now.saturating_sub(BACKDATE),
        not_after: now.saturating_add(KEY_VALIDITY),
    };
    vec![
        valid(agreements, &[KeyUse::Agreements]),
        valid(signing, &[KeyUse::Bulletins, KeyUse::Acknowledgements]),
    ]
}
