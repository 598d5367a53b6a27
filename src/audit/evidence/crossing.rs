//! The original of a bulletin that was carried from another ledger.

use super::signed::of_key;
use super::{Evidence, Trusted, Unconvincing};
use crate::audit::keys::Keys;
use crate::bulletin::{Originator, Sealed, open_original};
use crate::ledger::logged;
use crate::partner::{PartnerId, SignedKeySet};

/// What is proved of an original, and what not.
pub(super) struct Original {
    /// Whether its originator's signature was verified.
    pub(super) signed: bool,
    proved: Vec<String>,
    details: Vec<String>,
    not_proved: Vec<String>,
}

impl Original {
    /// What it proves where nobody knows the keys of who carried it.
    pub(super) fn alone(&self, carrier: &PartnerId) -> Evidence {
        let mut not_proved = self.not_proved.clone();
        not_proved.push(format!(
            "that {carrier} carried it, and what it says of the terms: its key set is not known here"
        ));
        not_proved.push("that what it says is true".to_owned());
        Evidence {
            kind: "carried bulletin",
            proved: self.proved.clone(),
            details: self.details.clone(),
            not_proved,
        }
    }

    /// Adds it to what is proved of the bulletin that carries it.
    pub(super) fn join(
        self,
        proved: &mut Vec<String>,
        details: &mut Vec<String>,
        not_proved: &mut Vec<String>,
    ) {
        proved.extend(self.proved);
        details.extend(self.details);
        not_proved.extend(self.not_proved);
    }
}

/// Verifies the original, under a trusted key set of its originator. Where there is none, only who carried it
/// vouches for it.
pub(super) fn of_original(
    sealed: &Sealed,
    brought: &[SignedKeySet],
    trusted: &Trusted,
) -> Result<Original, Unconvincing> {
    let mut keys = Keys::default();
    let claimed = crate::bulletin::Header::from_bytes(&sealed.header)?;
    let originator = claimed
        .crossing
        .as_ref()
        .map(|one| &one.original.originator);
    let partner = originator.and_then(Originator::partner);
    let chain = partner.map(|partner| (partner, trusted.keys(partner, brought)));
    let unpinned = match chain {
        Some((partner, Ok(chain))) => {
            keys.0.insert(partner.clone(), chain);
            None
        }
        Some((partner, Err(Unconvincing::Unpinned { .. }))) => Some(partner),
        Some((_, Err(error))) => return Err(error),
        None => None,
    };
    let (Some(crossing), Some(unpinned)) = (&claimed.crossing, unpinned) else {
        return Ok(proved(sealed, &keys, trusted)?);
    };
    Ok(Original {
        signed: false,
        proved: Vec::new(),
        details: Vec::new(),
        not_proved: vec![format!(
            "that {unpinned} published it as {} in the ledger {}: only {} says so; name the key set of \
             {unpinned} with --key-set FILE",
            crossing.original.id,
            crossing
                .path
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
            claimed.originator
        )],
    })
}

fn proved(
    sealed: &Sealed,
    keys: &Keys,
    trusted: &Trusted,
) -> Result<Original, crate::bulletin::Refused> {
    let crossing = open_original(sealed, keys)?;
    let original = &crossing.original;
    let path: Vec<String> = crossing.path.iter().map(ToString::to_string).collect();
    let by = match &original.originator {
        Originator::Partner(partner) => partner.to_string(),
        Originator::Pseudonym(_) => format!("whoever holds the key {}", original.signing_key),
    };
    let mut proved = vec![format!(
        "its original is bulletin {}, which {by} signed: {}, {}; its header hashes to {}; every part here is \
         one of its {} parts, unchanged, and {} are missing",
        original.id,
        original.tlp,
        original.precedence,
        crossing.original_hash(),
        original.part_count,
        crossing.missing.len()
    )];
    let details = crossing.missing.iter().map(|(at, leaf)| {
        format!("part {at} of the original: not here; the hash {leaf} stands for it")
    });
    let mut not_proved = vec![format!(
        "that it came by way of the ledgers {}, and under which terms: who carried it says so",
        path.join(", ")
    )];
    let of_key = of_key(keys, &original.signing_key);
    not_proved.push(format!("of the original: {of_key}"));
    match logged(&crossing, &trusted.policy) {
        Some((summary, proven)) => proved.push(format!(
            "at {} the log `{}` accepted the original, as its record {}: a receipt that came along proves it",
            summary.time, proven.witnessed.checkpoint.origin, proven.position
        )),
        None if crossing.receipts.is_empty() => {
            not_proved.push("that a log accepted the original: no receipt came along".to_owned());
        }
        None => not_proved.push(
            "that a log accepted the original: a receipt came along; name the key of its log with --log-key"
                .to_owned(),
        ),
    }
    Ok(Original {
        signed: true,
        proved,
        details: details.collect(),
        not_proved,
    })
}
