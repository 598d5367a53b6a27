//! Pseudonyms in use: a key that was used once must not sign anything else, and an alias stands for one
//! partner and one agreement. Otherwise what recipients see would link what its originator keeps apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bulletin::{BulletinId, Disguise, Header, Refused};
use crate::partner::PartnerId;
use crate::proof::PublicKey;

/// What a pseudonymous key was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    /// By this partner.
    pub(super) partner: PartnerId,
    /// Under agreements of this name.
    pub(super) agreement: Arc<str>,
    /// For this bulletin, and notices about it, only.
    pub(super) once: Option<BulletinId>,
}

/// All pseudonymous keys that signed an accepted bulletin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pseudonyms {
    used: BTreeMap<PublicKey, Used>,
}

impl Pseudonyms {
    /// Whether a bulletin of a partner may bear its pseudonym after all that was accepted.
    pub fn check(
        &self,
        header: &Header,
        partner: &PartnerId,
        disguise: Option<&Disguise>,
    ) -> Result<(), Refused> {
        let (Some(pseudonym), Some(disguise)) = (header.originator.pseudonym(), disguise) else {
            return Ok(());
        };
        let Some(used) = self.used.get(&pseudonym.key) else {
            return Ok(());
        };
        let linked = match used.once {
            None => !pseudonym.single_use,
            Some(bulletin) => {
                let about = header.references.first().map(|one| one.bulletin);
                pseudonym.single_use && header.notice && about == Some(bulletin)
            }
        };
        // Whoever is told who holds a key would believe that of all that it signs.
        if linked && used.agreement == disguise.agreement && used.partner == *partner {
            Ok(())
        } else {
            Err(Refused::PseudonymReused)
        }
    }

    /// Notes that a bulletin was accepted.
    pub(super) fn note(
        &mut self,
        header: &Header,
        partner: &PartnerId,
        disguise: Option<&Disguise>,
    ) {
        if let (Some(pseudonym), Some(disguise)) = (header.originator.pseudonym(), disguise) {
            self.used.entry(pseudonym.key).or_insert_with(|| Used {
                partner: partner.clone(),
                agreement: Arc::clone(&disguise.agreement),
                once: pseudonym.single_use.then_some(header.id),
            });
        }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&PublicKey, &Used)> {
        self.used.iter()
    }

    pub(super) fn restore(&mut self, key: PublicKey, used: Used) {
        self.used.insert(key, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulletin::{Draft, PseudonymDraft, PseudonymSecret, Shown};
    use crate::clock::SystemEntropy;
    use crate::proof::SecretKey;

    #[test]
    fn a_pseudonym_is_of_one_partner_for_good() {
        let draft = Draft::from_toml(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
             \"narrative\"\ntext = \"n\"\n",
        );
        let norland: PartnerId = "norland.example".parse().unwrap();
        let mallory: PartnerId = "mallory.example".parse().unwrap();
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        let one = draft
            .unwrap()
            .into_unsealed(&norland, now, &SystemEntropy::new());
        let key = |seed| SecretKey::from_seed([seed; 32]).unwrap();
        let pseudonym = PseudonymDraft {
            agreement: "feed".into(),
            shown: Shown::Alias,
            reveal_to: Vec::new(),
        };
        let disguised =
            PseudonymSecret::new(key(1)).disguise(one.unwrap(), pseudonym, None, &key(2));
        let (one, _) = disguised.unwrap();
        let (labels, _) = one.labels().unwrap();
        let (header, disguise) = (&one.header, labels.disguise.as_ref());
        let mut used = Pseudonyms::default();
        assert_eq!(used.check(header, &mallory, disguise), Ok(()));
        used.note(header, &norland, disguise);
        assert_eq!(used.check(header, &norland, disguise), Ok(()));
        let refused = used.check(header, &mallory, disguise);
        assert_eq!(refused, Err(Refused::PseudonymReused));
    }
}
