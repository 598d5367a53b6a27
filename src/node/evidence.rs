//! What the evidence lets a node believe: agreements that it ratified itself, and through their
//! pins the keys of the other parties. The broker's registry is never asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use data_encoding::BASE64;

use super::config::Config;
use super::error::NodeError;
use super::link::{known_ledger, ledger_of};
use crate::agreement::{
    Agreement, AgreementError, AgreementId, Clause, ClauseRef, RatifiedAgreement, SignedAgreement,
};
use crate::bulletin::BulletinKeys;
use crate::clock::Timestamp;
use crate::ledger::LedgerId;
use crate::partner::{KeyChain, KeyUse, PartnerId, SignedKeySet};
use crate::proof::{Digest, KeyId, PublicKey, Signer};
use crate::session::{Evidence, MAX_EVIDENCE_AGREEMENTS};
use crate::store::NodeStore;
use crate::transport::Trouble;

/// Where the last evidence is kept.
const EVIDENCE: &str = "evidence";
/// Where agreements that are no longer in force are kept.
const PAST: &str = "evidence/past";

/// Agreements and keys that were verified from this partner's own pins.
#[derive(Clone, Debug, Default)]
pub(super) struct Trusted {
    pub(super) size: u64,
    pub(super) agreements: BTreeMap<AgreementId, RatifiedAgreement>,
    /// Those that the broker says are in force.
    pub(super) in_force: BTreeSet<AgreementId>,
    keys: BTreeMap<PartnerId, KeyChain>,
}

impl Trusted {
    /// A clause of an agreement that was verified.
    pub(super) fn clause(&self, named: &ClauseRef) -> Option<&Clause> {
        let agreement = self.agreements.get(&named.agreement)?;
        let mut clauses = agreement.agreement().clauses.iter();
        clauses.find(|clause| clause.id == named.clause)
    }

    /// The agreement that is in force in the place of the one that a clause is of, and that clause in it.
    pub(super) fn present(&self, named: &ClauseRef) -> Option<(&Agreement, &Clause)> {
        let replaces = |id: &&AgreementId| {
            let mut version = **id;
            // Hashes do not go in circles, and there are no more versions than agreements.
            for _ in 0..=self.agreements.len() {
                if version == named.agreement {
                    return true;
                }
                let known = self.agreements.get(&version);
                let Some(previous) = known.and_then(|one| one.agreement().previous) else {
                    return false;
                };
                version = AgreementId(previous);
            }
            false
        };
        let id = self.in_force.iter().find(replaces)?;
        let agreement = self.agreements.get(id)?.agreement();
        let mut clauses = agreement.clauses.iter();
        let clause = clauses.find(|clause| clause.id == named.clause)?;
        Some((agreement, clause))
    }
}

impl Trusted {
    /// The versions of a partner's key set, the first first; none where nothing here pins it.
    pub(super) fn key_sets(&self, partner: &PartnerId) -> Vec<SignedKeySet> {
        let chain = self.keys.get(partner);
        chain.map_or_else(Vec::new, |chain| chain.versions().to_vec())
    }
}

impl BulletinKeys for Trusted {
    fn bulletin_key(&self, partner: &PartnerId, key: &KeyId, _at: Timestamp) -> Option<PublicKey> {
        // The broker judged the key's validity when it accepted the bulletin; a bulletin that waited
        // in a lane may be older than the key set now in force.
        self.keys.get(partner)?.key_ever(key, KeyUse::Bulletins)
    }
}

/// A node's own keys must be in its own key set, for its own trust domain.
pub(super) fn check_own(
    config: &Config,
    key_set: &SignedKeySet,
    signer: &dyn Signer,
) -> Result<(), NodeError> {
    let claimed = key_set.claimed();
    if claimed.partner != *config.spiffe_id.partner() {
        return Err(NodeError::Keys(
            "the key set is of another partner than spiffe_id",
        ));
    }
    let key = claimed.key(&signer.public_key().id());
    let usable = key.is_some_and(|key| {
        key.uses.contains(&KeyUse::Bulletins) && key.uses.contains(&KeyUse::Acknowledgements)
    });
    if !usable {
        return Err(NodeError::Keys(
            "the signing key is not in the key set for bulletins and acknowledgements",
        ));
    }
    Ok(())
}

/// Verifies evidence. What does not hold is left out, with a warning: nothing of it is believed.
fn verify(evidence: &Evidence, own: &SignedKeySet, ledger: Option<LedgerId>) -> Trusted {
    let mut trusted = Trusted {
        size: evidence.size,
        ..Trusted::default()
    };
    let me = &own.claimed().partner;
    for signed in &evidence.agreements {
        let Ok(terms) = signed.terms() else { continue };
        if ledger.is_some_and(|ledger| ledger.0 != terms.ledger) {
            tracing::error!(agreement = %terms.name, "it is for another ledger");
            continue;
        }
        let mut chains = BTreeMap::new();
        for party in &terms.parties {
            let versions = evidence
                .key_sets
                .iter()
                .find(|set| set.partner == party.partner);
            let versions = versions
                .map(|set| set.versions.as_slice())
                .unwrap_or_default();
            match KeyChain::from_pin(party.key_set, versions) {
                Ok(Some(chain)) => {
                    chains.insert(party.partner.clone(), chain);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(agreement = %terms.name, %error, "a key set does not hold");
                }
            }
        }
        // Our own pin decides whether this is an agreement that we signed.
        let ours = chains.get(me).is_some_and(|chain| {
            chain
                .versions()
                .iter()
                .map(SignedKeySet::hash)
                .any(|version| {
                    // The next version may be in use here before the log has it.
                    version == own.hash() || Some(version) == own.claimed().previous
                })
        });
        if !ours {
            tracing::error!(agreement = %terms.name, "it does not pin this partner's own key set");
            continue;
        }
        match ratify(signed, &evidence.earlier, &chains) {
            Ok(ratified) => {
                trusted.agreements.insert(ratified.id(), ratified);
                trusted.keys.append(&mut chains);
            }
            Err(error) => {
                tracing::error!(agreement = %terms.name, %error, "an agreement does not hold");
            }
        }
    }
    trusted
}

/// Checks an agreement's signatures; where not every party signed, that it only narrows a version
/// that holds itself.
fn ratify(
    signed: &SignedAgreement,
    earlier: &[SignedAgreement],
    chains: &BTreeMap<PartnerId, KeyChain>,
) -> Result<RatifiedAgreement, AgreementError> {
    let terms = signed.terms()?;
    let known: BTreeMap<Digest, &SignedAgreement> =
        earlier.iter().map(|one| (one.id().0, one)).collect();
    // Hashes do not go in circles; the limit says so to whoever reads this.
    let mut versions = vec![signed];
    let mut previous = terms.previous;
    while let Some(before) = previous.and_then(|id| known.get(&id))
        && versions.len() <= earlier.len()
    {
        versions.push(before);
        previous = before.terms()?.previous;
    }
    let check = |version: &SignedAgreement, before: Option<&RatifiedAgreement>| {
        version.check_next(terms.ledger, |id| chains.get(id), None, before)
    };
    // From the oldest on: one that does not hold is none that the next could narrow.
    let oldest_first = versions[1..].iter().rev();
    let before = oldest_first.fold(None, |before, version| check(version, before.as_ref()).ok());
    check(signed, before.as_ref())
}

/// What was believed, and what is, where both hold.
fn join(
    past: &Evidence,
    present: &Evidence,
    own: &SignedKeySet,
    ledger: Option<LedgerId>,
) -> Trusted {
    let mut trusted = verify(past, own, ledger);
    let now = verify(present, own, ledger);
    trusted.size = now.size;
    trusted.in_force = now.agreements.keys().copied().collect();
    trusted.agreements.extend(now.agreements);
    trusted.keys.extend(now.keys);
    trusted
}

fn stored(store: &NodeStore, name: &str) -> Result<Evidence, NodeError> {
    let bytes = store.value(name)?;
    Ok(bytes.map_or_else(
        || Ok(Evidence::default()),
        |bytes| Evidence::from_bytes(&bytes),
    )?)
}

/// What the last evidence let this node believe.
pub(super) fn load(
    config: &Config,
    store: &NodeStore,
    own: &SignedKeySet,
) -> Result<Trusted, NodeError> {
    let ledger = ledger_of(config, store)?;
    Ok(join(
        &stored(store, PAST)?,
        &stored(store, EVIDENCE)?,
        own,
        ledger,
    ))
}

/// Takes up new evidence: keeps it, and believes what of it holds. Agreements that ended are kept
/// for what was permitted before they did and is still on its way.
pub(super) fn take_up(shared: &super::Shared, evidence: &Evidence) -> Result<(), NodeError> {
    let last = stored(&shared.store, EVIDENCE)?;
    let mut past = stored(&shared.store, PAST)?;
    for ended in last.agreements {
        let known = |one: &SignedAgreement| one.id() == ended.id();
        if !past.agreements.iter().any(known) && !evidence.agreements.iter().any(known) {
            past.agreements.push(ended);
        }
    }
    let excess = past
        .agreements
        .len()
        .saturating_sub(MAX_EVIDENCE_AGREEMENTS);
    past.agreements.drain(..excess);
    for version in last.earlier {
        if !past.earlier.iter().any(|one| one.id() == version.id()) {
            past.earlier.push(version);
        }
    }
    let excess = past.earlier.len().saturating_sub(MAX_EVIDENCE_AGREEMENTS);
    past.earlier.drain(..excess);
    for set in last.key_sets {
        past.key_sets.retain(|one| one.partner != set.partner);
        past.key_sets.push(set);
    }
    shared.store.put(PAST, &past.to_bytes())?;
    shared.store.put(EVIDENCE, &evidence.to_bytes())?;
    let trusted = join(&past, evidence, &shared.key_set, known_ledger(shared)?);
    let size = trusted.size;
    // Replaced in one step: a panic elsewhere leaves the old or the new.
    *shared
        .trusted
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(trusted);
    shared.evidence.send_replace(size);
    Ok(())
}

/// What is believed now.
pub(super) fn trusted(shared: &super::Shared) -> Arc<Trusted> {
    Arc::clone(
        &shared
            .trusted
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner),
    )
}

/// The files of the agreements in force that this node verified, in base64.
pub(super) fn in_force(shared: &super::Shared) -> Result<Vec<String>, Trouble> {
    let believed = trusted(shared);
    let evidence = stored(&shared.store, EVIDENCE).map_err(|error| Trouble::new("store", error))?;
    let verified = evidence
        .agreements
        .iter()
        .filter(|signed| believed.in_force.contains(&signed.id()));
    Ok(verified
        .map(|signed| BASE64.encode(&signed.to_file()))
        .collect())
}
