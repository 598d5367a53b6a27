//! Laws that hold for every value, tried on random ones. proptest prints what failed and its seed.

use bytes::Bytes;
use entente::agreement::{SignedAgreement, SignedWithdrawal, parse_draft};
use entente::bulletin::{
    BulletinKeys, Draft, Header, Part, Sealed, Tlp, VerifiedBursts, open, redact, seal,
};
use entente::clock::{SeededEntropy, Timestamp};
use entente::decision::RedLines;
use entente::formats::stix;
use entente::ledger::{
    Ack, Genesis, Promise, Record, RedLinesOrder, SignedDeclaration, SignedHoldDecision,
    StandingOrder,
};
use entente::partner::{PartnerId, SignedKeySet};
use entente::proof::{Checkpoint, KeyId, Note, NoteKey, PublicKey, SecretKey, Signer};
use entente::session::{Delivery, Evidence, decode};
use proptest::prelude::*;

struct Keys(PublicKey);

impl BulletinKeys for Keys {
    fn bulletin_key(&self, _: &PartnerId, key: &KeyId, _: Timestamp) -> Option<PublicKey> {
        (self.0.id() == *key).then_some(self.0)
    }
}

fn signer() -> SecretKey {
    SecretKey::from_seed([4; 32]).expect("a key")
}

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

/// A burst of bulletins with these texts as parts.
fn burst(texts: &[Vec<String>], seed: u64) -> Vec<Sealed> {
    let entropy = SeededEntropy::new(seed);
    let originator = "norland.example".parse().expect("a partner");
    let unsealed = texts.iter().map(|parts| {
        let mut file =
            String::from("kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n");
        for text in parts {
            file += &["[[part]]\ntype = \"narrative\"\ntext = \"", text, "\"\n"].concat();
        }
        let draft = Draft::from_toml(&file).expect("a bulletin");
        draft
            .into_unsealed(&originator, now(), &entropy)
            .expect("valid")
    });
    seal(unsealed.collect(), &signer(), &entropy).expect("sealed")
}

fn texts() -> impl Strategy<Value = Vec<Vec<String>>> {
    let part = "[a-z]{12,40}";
    prop::collection::vec(prop::collection::vec(part, 1..6), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_withheld_the_rest_verifies_and_the_withheld_is_gone(
        texts in texts(),
        chosen in any::<u64>(),
        seed in any::<u64>(),
    ) {
        let keys = Keys(signer().public_key());
        let mut bursts = VerifiedBursts::new(4);
        for (sealed, parts) in burst(&texts, seed).iter().zip(&texts) {
            let count = u32::try_from(sealed.parts.len()).expect("few");
            let withheld: Vec<u32> = (0..count).filter(|at| chosen >> at & 1 == 1).collect();
            let redacted = redact(sealed, &withheld);
            let bytes = redacted.to_bytes();
            let again = Sealed::from_bytes(&bytes).expect("readable");
            prop_assert_eq!(&again, &redacted);
            let verified = open(again, now(), &keys, &mut bursts).expect("it verifies");
            prop_assert_eq!(verified.header().part_count, count);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let hidden: Vec<&Part> = withheld.iter().map(|at| &sealed.parts[*at as usize]).collect();
            for part in hidden {
                let Part::Open(part) = part else { panic!("whole at first") };
                let body = String::from_utf8_lossy(&part.body).into_owned();
                let said = parts.iter().find(|one| body.contains(one.as_str())).expect("a text");
                // The same words may stand in a part that is released.
                let twice = parts.iter().filter(|one| one.contains(said.as_str())).count() > 1;
                prop_assert!(twice || !text.contains(said.as_str()));
                prop_assert!(!bytes.windows(32).any(|window| window == part.salt));
            }
        }
    }

    #[test]
    fn a_part_of_another_bulletin_never_fits(texts in texts(), seed in any::<u64>()) {
        let keys = Keys(signer().public_key());
        let sealed = burst(&texts, seed);
        for (one, other) in sealed.iter().zip(sealed.iter().skip(1)) {
            let mut mixed = one.clone();
            mixed.parts[0] = other.parts[0].clone();
            prop_assert!(open(mixed, now(), &keys, &mut VerifiedBursts::new(4)).is_err());
            let mut mixed = one.clone();
            mixed.header = other.header.clone();
            prop_assert!(open(mixed, now(), &keys, &mut VerifiedBursts::new(4)).is_err());
        }
    }

    #[test]
    fn a_changed_bit_never_verifies(
        texts in texts(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        seed in any::<u64>(),
    ) {
        let keys = Keys(signer().public_key());
        let sealed = burst(&texts, seed).remove(0);
        let mut bytes = sealed.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = Sealed::from_bytes(&bytes.into()) {
            let same = changed == sealed;
            let opened = open(changed, now(), &keys, &mut VerifiedBursts::new(4));
            prop_assert!(same || opened.is_err());
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
    }

    #[test]
    fn no_changed_bytes_make_a_reader_panic(
        texts in texts(),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        seed in any::<u64>(),
    ) {
        let sealed = burst(&texts, seed).remove(0);
        let mut bytes = sealed.to_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_all(&bytes);
        let mut header = sealed.header.to_vec();
        let at = at % header.len();
        header[at] = byte;
        read_all(&header);
    }

    #[test]
    fn a_stix_object_never_goes_further_than_its_markings(
        floor in 0usize..5,
        levels in prop::collection::vec(prop::option::of(0usize..6), 1..12),
    ) {
        let all = [Tlp::Clear, Tlp::Green, Tlp::Amber, Tlp::AmberStrict, Tlp::Red];
        let words = ["clear", "green", "amber", "amber+strict", "red", "unheard-of"];
        let objects: Vec<String> = levels.iter().enumerate().map(|(number, level)| {
            let labels = level.map_or_else(String::new, |level| {
                format!(",\"labels\":[\"tlp:{}\"]", words[level])
            });
            format!(
                "{{\"type\":\"tool\",\"spec_version\":\"2.1\",\"id\":\"tool--00000000-0000-4000-8000-{number:012}\",\
                 \"created\":\"2026-01-01T00:00:00Z\",\"modified\":\"2026-01-01T00:00:00Z\",\"name\":\"t\"{labels}}}"
            )
        }).collect();
        let bundle = format!("{{\"type\":\"bundle\",\"id\":\"bundle--1\",\"objects\":[{}]}}", objects.join(","));
        let bundle = stix::read_bundle(bundle.as_bytes()).expect("a bundle");
        prop_assert_eq!(bundle.objects.len(), levels.len());
        let labels = stix::Labels {
            kinds: vec![], topics: vec![], regions: vec![], tlp: all[floor],
            precedence: entente::bulletin::Precedence::Routine, releasable_to: vec![], exercise: false,
        };
        let mut seen = 0;
        for draft in stix::drafts(bundle, &labels) {
            prop_assert!(draft.tlp >= all[floor]);
            for part in &draft.parts {
                let json = serde_json::to_string(&part.content).expect("JSON");
                for (word, tlp) in words.iter().zip(all.iter().chain([&Tlp::Red])) {
                    if json.contains(&format!("tlp:{word}\\\"")) {
                        prop_assert!(draft.tlp >= *tlp, "{} went out as {}", word, draft.tlp);
                    }
                }
                seen += 1;
            }
        }
        prop_assert_eq!(seen, levels.len());
    }
}

/// Everything that reads bytes from outside.
fn read_all(bytes: &[u8]) {
    let owned = Bytes::copy_from_slice(bytes);
    let _ = decode(owned.clone());
    let _ = Header::from_bytes(&owned);
    let _ = Record::from_bytes(&owned);
    let _ = Genesis::from_bytes(&owned);
    let _ = Ack::from_bytes(&owned);
    let _ = SignedDeclaration::from_bytes(&owned);
    let _ = SignedHoldDecision::from_bytes(&owned);
    let _ = RedLinesOrder::from_bytes(&owned);
    let _ = Promise::from_bytes(&owned);
    let _ = StandingOrder::from_bytes(&owned);
    let _ = SignedAgreement::from_file(bytes);
    let _ = SignedWithdrawal::from_file(bytes);
    let _ = SignedKeySet::from_bytes(bytes);
    let _ = Delivery::from_bytes(bytes);
    let _ = Evidence::from_bytes(bytes);
    let _ = stix::read_bundle(bytes);
    let text = String::from_utf8_lossy(bytes);
    let _ = Draft::from_toml(&text);
    let _ = parse_draft(&text);
    let _ = RedLines::parse(&text);
    let _ = text.parse::<Note>();
    let _ = text.parse::<NoteKey>();
    let _ = Checkpoint::parse(&text);
    let _ = text.parse::<Timestamp>();
    let _ = text.parse::<PartnerId>();
    let keys = Keys(signer().public_key());
    if let Ok(sealed) = Sealed::from_bytes(&owned) {
        let _ = open(sealed, now(), &keys, &mut VerifiedBursts::new(1));
    }
}
