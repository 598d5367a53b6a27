//! This partner's pseudonyms: the file of their secret, and which of them an earlier bulletin bears.

use std::path::PathBuf;

use super::config::Config;
use super::{Shared, evidence};
use crate::bulletin::{Header, PseudonymDraft, PseudonymSecret, Shown, Unsealed};
use crate::identity::{KeyFileError, new_secret_key, read_secret_key, write_secret_key};
use crate::proof::{SecretKey, Signer};
use crate::transport::Trouble;

/// Where the secret is kept: where the configuration says, or else beside the signing key.
fn path(config: &Config) -> PathBuf {
    let beside = || config.signing_key.with_file_name("pseudonyms.key");
    config.pseudonyms.clone().unwrap_or_else(beside)
}

/// The secret; made when it is first needed.
fn secret(shared: &Shared) -> Result<PseudonymSecret, Trouble> {
    let path = path(&shared.config);
    let failed = |error: &dyn std::fmt::Display| Trouble::new("pseudonyms", error);
    if !path.exists() {
        let secret = new_secret_key(shared.entropy.as_ref()).map_err(|error| failed(&error))?;
        match write_secret_key(&path, &secret) {
            // Whoever was quicker made it.
            Ok(()) | Err(KeyFileError::Exists(_)) => {}
            Err(error) => return Err(failed(&error)),
        }
    }
    let secret = read_secret_key(&path).map_err(|error| failed(&error))?;
    Ok(PseudonymSecret::new(secret))
}

/// Puts a pseudonym in the place of this partner's name; the key that must seal the bulletin.
pub(super) fn disguise(
    shared: &Shared,
    unsealed: Unsealed,
    draft: PseudonymDraft,
) -> Result<(Unsealed, SecretKey), Trouble> {
    let trusted = evidence::trusted(shared);
    let mut in_force = trusted.in_force.iter();
    let known = in_force.any(|id| {
        let ratified = trusted.agreements.get(id);
        ratified.is_some_and(|one| *one.agreement().name == draft.agreement)
    });
    if !known {
        let message = format!(
            "no agreement `{}` is in force here, and a pseudonym is for one; see: entente status",
            draft.agreement
        );
        return Err(Trouble::new("invalid", message));
    }
    let disguised = secret(shared)?.disguise(unsealed, draft, None, shared.signer.as_ref());
    disguised.map_err(|error| Trouble::new("invalid", error))
}

/// Puts the pseudonym of an earlier bulletin of this partner upon a notice about it; the key that
/// must seal it. `original` is the header of that bulletin.
pub(super) fn disguise_as(
    shared: &Shared,
    mut notice: Unsealed,
    original: &Header,
) -> Result<(Unsealed, SecretKey), Trouble> {
    let lost = || {
        Trouble::new(
            "pseudonyms",
            "its pseudonym is none of this partner any more",
        )
    };
    let failed = |error: &dyn std::fmt::Display| Trouble::new("pseudonyms", error);
    let pseudonym = original.originator.pseudonym().ok_or_else(lost)?;
    let secret = secret(shared)?;
    let once = pseudonym.single_use.then_some(&original.id);
    notice.header.originator = shared.config.spiffe_id.partner().clone().into();
    // The header does not say for which agreement it was.
    for ratified in evidence::trusted(shared).agreements.values() {
        let agreement = &ratified.agreement().name;
        let key = secret
            .key(agreement, once)
            .map_err(|error| failed(&error))?;
        if key.public_key() != pseudonym.key {
            continue;
        }
        let draft = PseudonymDraft {
            agreement: agreement.to_string(),
            shown: once.map_or(Shown::Alias, |_| Shown::Framework),
            reveal_to: Vec::new(),
        };
        let own = shared.signer.as_ref();
        let disguised = secret.disguise(notice, draft, Some(&original.id), own);
        return disguised.map_err(|error| failed(&error));
    }
    Err(lost())
}
