//! What partners signed: bulletins with their redactions, agreements with their ratifications.

use std::collections::BTreeMap;

use super::{Evidence, Trusted, Unconvincing, crossing};
use crate::agreement::SignedAgreement;
use crate::audit::keys::Keys;
use crate::bulletin::{Header, Originator, Part, Sealed, VerifiedBursts, open};
use crate::partner::{PartnerId, SignedKeySet};
use crate::proof::KeyId;

/// Verifies a bulletin with its redactions, under a trusted key set of its originator or, where a pin is
/// trusted, under those that come with it.
pub fn examine_bulletin(
    sealed: Sealed,
    brought: &[SignedKeySet],
    trusted: &Trusted,
) -> Result<Evidence, Unconvincing> {
    let claimed = Header::from_bytes(&sealed.header)?;
    let original = claimed
        .crossing
        .as_ref()
        .map(|_| crossing::of_original(&sealed, brought, trusted));
    if let (Some(Ok(original)), Originator::Partner(carrier)) = (&original, &claimed.originator)
        && original.signed
        && trusted.keys(carrier, brought).is_err()
    {
        // Who carried it need not be known: the original does not rest on that.
        return Ok(original.alone(carrier));
    }
    let original = original.transpose()?;
    let mut keys = Keys::default();
    if let Originator::Partner(partner) = &claimed.originator {
        keys.0
            .insert(partner.clone(), trusted.keys(partner, brought)?);
    }
    let verified = open(
        sealed,
        claimed.valid_from,
        &keys,
        &mut VerifiedBursts::new(1),
    )?;
    let header = verified.header();
    let by = match &header.originator {
        Originator::Partner(partner) => format!("{partner} signed"),
        Originator::Pseudonym(_) => {
            format!("whoever holds the key {} signed", header.signing_key)
        }
    };
    let mut proved = vec![format!(
        "{by} bulletin {}: {}, {}, valid from {} until {}; its header hashes to {}",
        header.id,
        header.tlp,
        header.precedence,
        header.valid_from,
        header.valid_until,
        verified.header_hash()
    )];
    let (mut details, mut withheld) = (Vec::new(), 0);
    let parts = &verified.sealed().parts;
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Open(part) => details.push(format!(
                "part {at}, {}: {} bytes, as they were signed",
                part.class,
                part.body.len()
            )),
            Part::Withheld(leaf) => {
                withheld += 1;
                details.push(format!(
                    "part {at}: withheld; the hash {leaf} stands for it"
                ));
            }
        }
    }
    proved.push(format!(
        "its {} parts are those that were signed, {withheld} of them withheld: nothing was added, changed \
         or left out",
        parts.len()
    ));
    let mut not_proved = vec![
        "when it was published, and who was given it: receipts say so".to_owned(),
        "that what it says is true".to_owned(),
    ];
    not_proved.push(of_key(&keys, &header.signing_key));
    if withheld > 0 {
        not_proved.push("what the withheld parts say, and who withheld them".to_owned());
    }
    if header.originator.partner().is_none() {
        not_proved.push("who stands behind the key".to_owned());
    }
    if let Some(original) = original {
        original.join(&mut proved, &mut details, &mut not_proved);
    }
    Ok(Evidence {
        kind: "bulletin",
        proved,
        details,
        not_proved,
    })
}

/// What a signature leaves open: whether its key was still its originator's alone.
pub(super) fn of_key(keys: &Keys, signing_key: &KeyId) -> String {
    let superseded = keys
        .0
        .values()
        .any(|chain| chain.current().key(signing_key).is_none());
    if superseded {
        "that its originator made it: a later key set no longer has the key that signed it, so that whoever \
         stole the key can have signed it since"
            .to_owned()
    } else {
        "that the key that signed it was not replaced since: only the key sets that are here are known"
            .to_owned()
    }
}

pub(super) fn of_agreement(
    signed: &SignedAgreement,
    trusted: &Trusted,
) -> Result<Evidence, Unconvincing> {
    let terms = signed.terms()?;
    let mut chains = BTreeMap::new();
    for party in &terms.parties {
        let chain = trusted.keys(&party.partner, &[])?;
        chains.insert(party.partner.clone(), chain);
    }
    let keys = |partner: &PartnerId| chains.get(partner);
    let ratified = signed.check(terms.ledger, keys, None)?;
    let agreement = ratified.agreement();
    let parties = agreement.parties.iter().map(|party| {
        format!(
            "{} signed it, under key sets that begin with the hash {}",
            party.partner, party.key_set
        )
    });
    let mut details: Vec<String> = parties.collect();
    details.extend(agreement.clauses.iter().map(ToString::to_string));
    Ok(Evidence {
        kind: "agreement",
        proved: vec![format!(
            "all {} parties signed exactly these terms: {}@{}, whose bytes hash to {}, valid from {} until \
             {}, for the ledger {}",
            agreement.parties.len(),
            agreement.name,
            agreement.version,
            ratified.id(),
            agreement.valid_from,
            agreement.valid_until,
            terms.ledger
        )],
        details,
        not_proved: vec![
            "that it is in force, or was: receipts of the log say when it began and ended"
                .to_owned(),
        ],
    })
}
