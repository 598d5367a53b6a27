//! The keys of a partner's pseudonyms: one for each agreement, and one for each bulletin that nothing
//! may link to others. All are derived from one secret, so that a notice about an old bulletin can
//! still be signed.

use thiserror::Error;

use super::content::InvalidContent;
use super::draft::PseudonymDraft;
use super::header::BulletinId;
use super::originator::{Identity, Pseudonym, Shown};
use super::seal::Unsealed;
use crate::proof::{InvalidKey, SecretKey, SignError, Signer};

/// What all pseudonyms of a partner are derived from.
#[derive(Debug)]
pub struct PseudonymSecret(SecretKey);

/// A bulletin cannot be published under a pseudonym.
#[derive(Debug, Error)]
pub enum DisguiseError {
    /// It would bear the name.
    #[error("a pseudonym is published as \"alias\" or as \"framework\"")]
    Named,
    /// It bears one already.
    #[error("it is published under a pseudonym already")]
    Twice,
    /// No such key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The partner's own key does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The identity cannot be written.
    #[error(transparent)]
    Content(#[from] InvalidContent),
}

impl PseudonymSecret {
    /// From a secret key that signs nothing itself.
    pub const fn new(secret: SecretKey) -> Self {
        Self(secret)
    }

    /// The key of the alias under agreements of a name, or of one bulletin under them.
    pub fn key(&self, agreement: &str, once: Option<&BulletinId>) -> Result<SecretKey, InvalidKey> {
        let name = agreement.as_bytes();
        match once {
            None => self.0.derive(&[b"alias\n", name]),
            Some(id) => self.0.derive(&[b"single-use\n", name, b"\n", &id.0]),
        }
    }

    /// Puts a pseudonym in the place of a bulletin's originator, and the identity behind it, signed
    /// with the originator's own key, into a part; the key that must seal the bulletin. For a notice,
    /// `about` is the bulletin whose pseudonym it bears.
    pub fn disguise(
        &self,
        bulletin: Unsealed,
        draft: PseudonymDraft,
        about: Option<&BulletinId>,
        own: &dyn Signer,
    ) -> Result<(Unsealed, SecretKey), DisguiseError> {
        let single_use = match draft.shown {
            Shown::Alias => false,
            Shown::Framework => true,
            Shown::Named => return Err(DisguiseError::Named),
        };
        let once = single_use.then(|| about.unwrap_or(&bulletin.header.id));
        let key = self.key(&draft.agreement, once)?;
        let public_key = key.public_key();
        let partner = bulletin.header.originator.partner().cloned();
        let partner = partner.ok_or(DisguiseError::Twice)?;
        let (agreement, reveal_to) = (draft.agreement, draft.reveal_to);
        let identity = Identity::sign(partner, agreement, reveal_to, &public_key, own)?;
        let pseudonym = Pseudonym {
            key: public_key,
            single_use,
        };
        Ok((bulletin.disguise(pseudonym, identity)?, key))
    }
}
