//! What a piece of evidence proves, from files and trusted keys alone: in sentences, together with what
//! it does not.

mod crossing;
mod receipt;
mod signed;
mod whole;

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use super::finding::Finding;
use super::statement::{InvalidStatement, Statement, verify_statement};
use crate::agreement::{AgreementError, SignedAgreement};
use crate::bulletin::Refused;
use crate::ledger::{InvalidReceipt, Receipt};
use crate::partner::{KeyChain, KeySetError, PartnerId, SignedKeySet};
use crate::proof::{Digest, ForkProof, InvalidForkProof, NoFork, Policy, Unwitnessed};

pub use signed::examine_bulletin;
pub use whole::examine_ledger;

/// What a checkpoint without trusted cosignatures does not prove.
pub(super) const UNWITNESSED: &str =
    "that others were shown the same log: no witness that is trusted here cosigned it";

/// What was proved, and what was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What kind of evidence it is.
    pub kind: &'static str,
    /// What holds, in sentences.
    pub proved: Vec<String>,
    /// The single things that hold, one in a line, where there are many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What a reader may think holds, and this does not say.
    pub not_proved: Vec<String>,
}

/// What is trusted beforehand.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// Logs, witnesses and the quorum that is asked for.
    pub policy: Policy,
    /// Key sets of partners, of any version.
    pub key_sets: Vec<SignedKeySet>,
    /// Hashes of the first key sets of partners, compared out of band.
    pub pins: BTreeMap<PartnerId, Digest>,
}

impl Trusted {
    /// The hash of a partner's first key set, where it is trusted.
    pub(super) fn pin(&self, partner: &PartnerId) -> Option<Digest> {
        let mut own = self.key_sets.iter().map(|one| (one.claimed(), one.hash()));
        let first = own.find(|(one, _)| one.partner == *partner && one.version == 1);
        let pin = self.pins.get(partner).copied();
        pin.or_else(|| first.map(|(_, hash)| hash))
    }

    /// A partner's keys: from its pin, or from the first key set that was named, on through all later
    /// ones, wherever these come from.
    fn keys(
        &self,
        partner: &PartnerId,
        brought: &[SignedKeySet],
    ) -> Result<KeyChain, Unconvincing> {
        let of_partner = |one: &&SignedKeySet| one.claimed().partner == *partner;
        let own = self.key_sets.iter().filter(of_partner);
        let pin = self.pin(partner);
        let mut versions: Vec<&SignedKeySet> =
            own.chain(brought.iter().filter(of_partner)).collect();
        versions.sort_by_key(|one| one.claimed().version);
        versions.dedup_by_key(|one| one.claimed().version);
        let versions: Vec<SignedKeySet> = versions.into_iter().cloned().collect();
        let usable = versions
            .first()
            .is_some_and(|one| one.claimed().version == 1);
        let (Some(pin), true) = (pin, usable) else {
            return Err(Unconvincing::Unpinned {
                partner: partner.clone(),
                hash: versions.first().filter(|_| usable).map(SignedKeySet::hash),
            });
        };
        let unpinned = || Unconvincing::Unpinned {
            partner: partner.clone(),
            hash: None,
        };
        KeyChain::from_pin(pin, &versions)?.ok_or_else(unpinned)
    }
}

/// Evidence that does not hold.
#[derive(Debug, Error)]
pub enum Unconvincing {
    /// A receipt.
    #[error("the receipt does not hold: {0}")]
    Receipt(#[from] InvalidReceipt),
    /// Not the form of a fork proof.
    #[error(transparent)]
    Form(#[from] InvalidForkProof),
    /// It proves no fork.
    #[error("this proves no fork: {0}")]
    NoFork(#[from] NoFork),
    /// A statement.
    #[error("the statement does not hold: {0}")]
    Statement(#[from] InvalidStatement),
    /// A bulletin.
    #[error("the bulletin does not hold: {0}")]
    Bulletin(#[from] Refused),
    /// An agreement.
    #[error("the agreement does not hold: {0}")]
    Agreement(#[from] AgreementError),
    /// A key set.
    #[error("a key set does not hold: {0}")]
    KeySet(#[from] KeySetError),
    /// A whole ledger.
    #[error("the ledger does not hold: {0}")]
    Ledger(#[from] Finding),
    /// Its checkpoint is not believed.
    #[error("the ledger's checkpoint: {0}")]
    Checkpoint(#[from] Unwitnessed),
    /// Records that nobody signed.
    #[error(
        "it has {records} records, and the checkpoint covers {signed}: whoever exported it can have added \
         the others"
    )]
    Beyond {
        /// What the checkpoint covers.
        signed: u64,
        /// What there is.
        records: u64,
    },
    /// Its log is none that is trusted.
    #[error("the ledger's log key is not one that is trusted here")]
    OtherLog,
    /// Nobody said which keys are the partner's.
    #[error(
        "whose keys these are is not known: name the first key set of {partner} and all later ones with \
         --key-set FILE, or the first one's hash with --pin {partner}=HASH{}",
        hash.map_or_else(String::new, |hash| format!("; the file brings one with the hash {hash}"))
    )]
    Unpinned {
        /// Whose.
        partner: PartnerId,
        /// Hash of the one that the evidence brings.
        hash: Option<Digest>,
    },
    /// No log is named whose key could have signed it.
    #[error("name the log whose key it should be: --log-key VKEY, or a policy with a `log` line")]
    NoLog,
    /// None of those known.
    #[error(
        "this is no evidence that is known here: a receipt, a statement, a proof of a fork, a bulletin, \
         an agreement or an exported ledger"
    )]
    Unknown,
}

/// Verifies a receipt, a statement, a fork proof or an agreement.
pub fn examine(bytes: &[u8], trusted: &Trusted) -> Result<Evidence, Unconvincing> {
    let policy = &trusted.policy;
    if let Ok(text) = std::str::from_utf8(bytes) {
        if text.starts_with("c2sp.org/tlog-proof") {
            let receipt: Receipt = text.parse()?;
            return Ok(receipt::of_receipt(&receipt.verify(policy)?));
        }
        if text.starts_with("entente/fork-proof/") {
            let proof: ForkProof = text.parse()?;
            return receipt::of_fork(&proof, policy);
        }
        if Statement::is_meant(text) {
            if policy.logs().is_empty() {
                return Err(Unconvincing::NoLog);
            }
            return Ok(verify_statement(text, trusted)?);
        }
    }
    if let Ok(agreement) = SignedAgreement::from_file(bytes) {
        return signed::of_agreement(&agreement, trusted);
    }
    Err(Unconvincing::Unknown)
}
