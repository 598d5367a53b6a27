//! The partners, as the log knows them: the fold's view of admissions, rotations and standing.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::bulletin::BulletinKeys;
use crate::clock::Timestamp;
use crate::partner::{KeyChain, KeyUse, PartnerId, Standing};
use crate::proof::{KeyId, PublicKey};

/// One partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// All versions of its key set.
    pub keys: KeyChain,
    /// Whether it may act.
    pub standing: Standing,
    /// Time of the last order about its standing.
    pub ordered: Timestamp,
    /// The revocation list of its authority, in DER, where it published one.
    pub revocations: Option<Bytes>,
    /// Where it was admitted.
    pub admitted: u64,
}

/// All partners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    partners: BTreeMap<PartnerId, Partner>,
}

impl Registry {
    /// The partner with this id.
    pub fn partner(&self, id: &PartnerId) -> Option<&Partner> {
        self.partners.get(id)
    }

    /// All partners, by id.
    pub fn partners(&self) -> impl ExactSizeIterator<Item = (&PartnerId, &Partner)> {
        self.partners.iter()
    }

    pub(super) fn partner_mut(&mut self, id: &PartnerId) -> Option<&mut Partner> {
        self.partners.get_mut(id)
    }

    pub(super) fn admit(&mut self, id: PartnerId, keys: KeyChain, admitted: u64) {
        let partner = Partner {
            keys,
            standing: Standing::Active,
            ordered: Timestamp::MIN,
            revocations: None,
            admitted,
        };
        self.partners.insert(id, partner);
    }

    /// The key with which an active partner may sign this at that moment.
    pub fn key(
        &self,
        partner: &PartnerId,
        id: &KeyId,
        used: KeyUse,
        at: Timestamp,
    ) -> Option<PublicKey> {
        let partner = self.partners.get(partner)?;
        if partner.standing == Standing::Active {
            partner.keys.key_for(id, used, at)
        } else {
            None
        }
    }
}

impl BulletinKeys for Registry {
    fn bulletin_key(&self, partner: &PartnerId, key: &KeyId, at: Timestamp) -> Option<PublicKey> {
        self.key(partner, key, KeyUse::Bulletins, at)
    }
}
