//! Bulletins that were carried here from other ledgers: what this partner compared itself of those ledgers, and
//! what can therefore be verified of an original.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::config::FederationConfig;
use super::error::NodeError;
use crate::bulletin::{BulletinId, BulletinKeys, Crossing, Originator};
use crate::clock::Timestamp;
use crate::identity::read_key_set;
use crate::ledger::logged;
use crate::partner::{KeyChain, KeyUse, PartnerId, SignedKeySet};
use crate::proof::{Digest, KeyId, NoteKey, Policy, PublicKey};

/// The other ledgers of which something was compared, by their ids.
#[derive(Debug, Default)]
pub(super) struct Federation {
    ledgers: BTreeMap<Digest, Known>,
}

/// What was compared of another ledger.
#[derive(Debug)]
struct Known {
    framework: String,
    keys: BTreeMap<PartnerId, KeyChain>,
    policy: Option<Policy>,
}

impl BulletinKeys for Known {
    fn bulletin_key(&self, partner: &PartnerId, key: &KeyId, _at: Timestamp) -> Option<PublicKey> {
        // The other broker judged the key's validity when it took the bulletin.
        self.keys.get(partner)?.key_ever(key, KeyUse::Bulletins)
    }
}

impl Known {
    /// Whether a later key set of a partner no longer has a key that signed.
    fn replaced(&self, partner: &PartnerId, key: &KeyId) -> bool {
        let chain = self.keys.get(partner);
        chain.is_some_and(|chain| chain.current().key(key).is_none())
    }
}

/// Where a bulletin comes from that was carried here, and what of it is proved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OriginView {
    /// Its id where it was published.
    pub id: BulletinId,
    /// Who published it there; absent where that is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator: Option<PartnerId>,
    /// The ledgers through which it came, the first first; by name where this node knows one.
    pub path: Vec<String>,
    /// Whether its originator's signature was verified, under a key set that is configured here.
    pub verified: bool,
    /// What a receipt proves of it, under a log key or policy that is configured here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<Timestamp>,
    /// The hashes of the leaves of its parts that did not come here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// In words: what this rests upon.
    pub because: String,
}

impl Federation {
    /// Reads what the configuration names.
    pub(super) fn load(config: &[FederationConfig]) -> Result<Self, NodeError> {
        let mut ledgers = BTreeMap::new();
        for one in config {
            let mut sets: BTreeMap<PartnerId, Vec<SignedKeySet>> = BTreeMap::new();
            for path in &one.key_sets {
                let set = read_key_set(path)?;
                sets.entry(set.claimed().partner.clone())
                    .or_default()
                    .push(set);
            }
            let mut keys = BTreeMap::new();
            for (partner, mut versions) in sets {
                versions.sort_by_key(|set| set.claimed().version);
                // A file that was put here by hand is the pin.
                let pin = versions.first().map(SignedKeySet::hash);
                let chain = pin
                    .map(|pin| KeyChain::from_pin(pin, &versions))
                    .transpose();
                let wrong =
                    |_| NodeError::Keys("a key set of a federation does not follow the one before");
                if let Some(chain) = chain.map_err(wrong)?.flatten() {
                    keys.insert(partner, chain);
                }
            }
            let policy = match (&one.policy, &one.log_key) {
                (Some(path), _) => Some(super::read_policy(path)?),
                (None, Some(key)) => {
                    Some(Policy::of_log(key.parse::<NoteKey>().map_err(|_| {
                        NodeError::Keys("the log_key of a federation is no verifier key")
                    })?))
                }
                (None, None) => None,
            };
            let known = Known {
                framework: one.framework.clone(),
                keys,
                policy,
            };
            ledgers.insert(one.ledger, known);
        }
        Ok(Self { ledgers })
    }

    /// The key sets that are configured for an original's originator.
    pub(super) fn key_sets(&self, crossing: &Crossing) -> Vec<SignedKeySet> {
        let known = crossing
            .path
            .first()
            .and_then(|first| self.ledgers.get(first));
        let partner = crossing.original.originator.partner();
        let chain = known
            .zip(partner)
            .and_then(|(known, partner)| known.keys.get(partner));
        chain.map_or_else(Vec::new, |chain| chain.versions().to_vec())
    }

    /// Why an original is none that its originator signed, where its keys are known here; `None` where
    /// nothing speaks against it.
    pub(super) fn fault(&self, crossing: &Crossing) -> Option<String> {
        let first = crossing.path.first();
        let partner = match &crossing.original.originator {
            Originator::Partner(partner) => partner,
            Originator::Pseudonym(_) => {
                let known = first.and_then(|first| self.ledgers.get(first))?;
                let error = crossing.verify(known).err()?;
                return Some(format!("its original, from {}: {error}", known.framework));
            }
        };
        // The path is the carrier's word: keys that are known count whatever it says.
        let mut all = self.ledgers.values();
        let pinned = all
            .by_ref()
            .filter(|known| known.keys.contains_key(partner));
        let judged: Vec<_> = pinned
            .map(|known| (known, crossing.verify(known).err()))
            .collect();
        if judged.iter().any(|(_, error)| error.is_none()) {
            return None;
        }
        let (known, error) = judged.into_iter().next()?;
        Some(format!(
            "its original, from {}: {}",
            known.framework, error?
        ))
    }

    /// What is proved of an original.
    pub(super) fn look(&self, crossing: &Crossing, carrier: &PartnerId) -> OriginView {
        let original = &crossing.original;
        let name = |ledger: &Digest| {
            let known = self.ledgers.get(ledger);
            known.map_or_else(|| ledger.to_string(), |known| known.framework.clone())
        };
        let known = crossing
            .path
            .first()
            .and_then(|first| self.ledgers.get(first));
        let partner = original.originator.partner();
        let pinned = known
            .zip(partner)
            .is_some_and(|(known, partner)| known.keys.contains_key(partner));
        let verified = pinned && known.is_some_and(|known| crossing.verify(known).is_ok());
        let policy = known.and_then(|known| known.policy.as_ref());
        let logged = policy.and_then(|policy| logged(crossing, policy));
        let because = match (verified, partner, known) {
            (true, Some(partner), Some(known))
                if known.replaced(partner, &original.signing_key) =>
            {
                format!(
                    "{partner} signed it, under a key set configured here; a later one no longer has that key, so \
                 that whoever stole it can have signed it since"
                )
            }
            (true, Some(partner), _) => {
                format!("{partner} signed it, under a key set configured here")
            }
            (_, None, _) => {
                format!("it bears no name there: only {carrier}, who carried it, vouches for it")
            }
            (_, _, None) => format!(
                "only {carrier}, who carried it, vouches for it: no [[federation]] here names its ledger"
            ),
            (_, Some(partner), _) => format!(
                "only {carrier}, who carried it, vouches for it: no key set of {partner} is configured here"
            ),
        };
        OriginView {
            id: original.id,
            originator: partner.cloned(),
            path: crossing.path.iter().map(name).collect(),
            verified,
            logged: logged.map(|(summary, _)| summary.time),
            because,
            missing: crossing.missing.values().map(Digest::to_string).collect(),
        }
    }
}

/// What is wrong with federations, in words.
pub(super) fn check_federations(all: &[FederationConfig]) -> Result<(), String> {
    let mut ledgers = BTreeSet::new();
    for one in all {
        if !ledgers.insert(one.ledger) {
            return Err(format!("federation: ledger {} is there twice", one.ledger));
        }
        if one.framework.is_empty() || one.framework.len() > 253 {
            return Err(
                "federation: `framework` is the other framework's name, as alliance.example".into(),
            );
        }
        if one.policy.is_some() && one.log_key.is_some() {
            return Err(format!(
                "federation `{}`: name its `log_key` or a `policy`, not both",
                one.framework
            ));
        }
    }
    Ok(())
}
