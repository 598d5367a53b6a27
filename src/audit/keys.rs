//! Partners' keys as evidence needs them: of any version, since what was signed under an earlier one stays.

use std::collections::BTreeMap;

use crate::bulletin::BulletinKeys;
use crate::clock::Timestamp;
use crate::partner::{KeyChain, KeySetError, KeyUse, PartnerId, SignedKeySet};
use crate::proof::{KeyId, PayloadType, PublicKey, Signature, verify};

/// The verified key sets of partners.
#[derive(Debug, Default)]
pub(super) struct Keys(pub(super) BTreeMap<PartnerId, KeyChain>);

impl Keys {
    /// Adds a partner's next key set, which must follow.
    pub(super) fn add(&mut self, next: &SignedKeySet) -> Result<(), KeySetError> {
        let partner = next.claimed().partner.clone();
        if let Some(chain) = self.0.get_mut(&partner) {
            return chain.push(next.clone());
        }
        let chain = KeyChain::start(next.clone())?;
        self.0.insert(partner, chain);
        Ok(())
    }

    /// Whether a partner signed, with a key that may sign this.
    pub(super) fn verifies(
        &self,
        partner: &PartnerId,
        used: KeyUse,
        signed: (PayloadType, &[u8], &Signature),
    ) -> bool {
        let chain = self.0.get(partner);
        let key = chain.and_then(|chain| chain.key_ever(&signed.2.key_id, used));
        key.is_some_and(|key| verify(&key, signed.0, signed.1, signed.2).is_ok())
    }
}

impl BulletinKeys for Keys {
    fn bulletin_key(&self, partner: &PartnerId, key: &KeyId, _: Timestamp) -> Option<PublicKey> {
        self.0.get(partner)?.key_ever(key, KeyUse::Bulletins)
    }
}
