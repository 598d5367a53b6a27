//! Attacks on what travels and what is proved, each against its defence: rows of the table in SECURITY.md
//! that no other test has.

use std::collections::BTreeSet;

use bytes::Bytes;
use entente::agreement::Onward;
use entente::bulletin::{
    BulletinKeys, Draft, Header, OpenPart, Part, Refused, Sealed, VerifiedBursts, open, redact,
    seal,
};
use entente::clock::{SystemEntropy, Timestamp};
use entente::ledger::Inherited;
use entente::partner::PartnerId;
use entente::proof::merkle::{self, leaf_hash};
use entente::proof::{
    AddCheckpoint, Checkpoint, Digest, KeyId, MlDsaSecretKey, Note, NoteKey, PayloadType, Policy,
    PublicKey, SecretKey, Signer, TlogProof, cosign_as_log,
};
use entente::session::{Delivery, Frame, encode};
use entente::store::{NodeStore, Outgoing};
use proptest::prelude::*;
use zeroize::Zeroizing;

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

fn opened(sealed: Sealed) -> Result<Header, Refused> {
    let keys = Keys(signer().public_key());
    let verified = open(sealed, now(), &keys, &mut VerifiedBursts::new(4))?;
    Ok(verified.header().clone())
}

fn drafted(parts: &str) -> Draft {
    let head = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n";
    Draft::from_toml(&[head, parts].concat()).expect("a bulletin")
}

fn narrative(text: &str) -> String {
    format!("[[part]]\ntype = \"narrative\"\ntext = \"{text}\"\n")
}

/// Bulletins of one burst, each of these parts.
fn sealed(parts: &[String]) -> Vec<Sealed> {
    let entropy = SystemEntropy::new();
    let originator: PartnerId = "norland.example".parse().expect("a partner");
    let unsealed = parts.iter().map(|parts| {
        let draft = drafted(parts).into_unsealed(&originator, now(), &entropy);
        draft.expect("valid")
    });
    seal(unsealed.collect(), &signer(), &entropy).expect("sealed")
}

/// Signs whatever bytes as a header, in a burst of one.
fn signed(header: Vec<u8>, like: &Sealed) -> Sealed {
    let leaf = leaf_hash(&[b"entente/bulletin/v1\n", Digest::of(&header).as_bytes()]);
    let payload = [&1u32.to_be_bytes()[..], leaf.as_bytes()].concat();
    let mut sealed = like.clone();
    sealed.header = header.into();
    (sealed.burst.size, sealed.burst.index) = (1, 0);
    sealed.burst.path = vec![];
    sealed.burst.signature = signer().sign(PayloadType::Burst, &payload).expect("signed");
    sealed
}

/// What goes over a lane to somebody who is not given these parts.
fn delivered(sealed: &Sealed, withheld: &[u32]) -> Bytes {
    let delivery = Delivery {
        bulletin: redact(sealed, withheld),
        position: 7,
        released: 7,
        time: now(),
        clauses: vec![],
        onward: Onward::None,
        inherited: Inherited::default(),
    };
    encode(&Frame::Deliver {
        number: 1,
        item: Some(Box::new(delivery)),
    })
}

fn whole(part: &Part) -> &OpenPart {
    match part {
        Part::Open(part) => part,
        Part::Withheld(_) => panic!("whole at first"),
    }
}

#[test]
fn a_withheld_address_cannot_be_found_by_trying_all() {
    let parts = narrative("n") + "[[part]]\ntype = \"ip\"\nvalue = \"198.51.100.7\"\n";
    let sealed = sealed(&[parts]).remove(0);
    let is_address = |part: &Part| whole(part).class == "network";
    let at = sealed
        .parts
        .iter()
        .position(is_address)
        .expect("an address");
    let part = whole(&sealed.parts[at]).clone();
    let wire = delivered(&sealed, &[u32::try_from(at).expect("few")]);
    let leaf = part.digest().leaf();
    let holds = |needle: &[u8]| wire.windows(needle.len()).any(|window| window == needle);
    assert!(holds(leaf.as_bytes()), "its hash is there");
    assert!(!holds(&part.salt), "its salt is not");

    // The body of an address differs from that of another in four bytes; the attacker knows the rest.
    let body = part.body.to_vec();
    let octets = [198u8, 51, 100, 7];
    let text = b"198.51.100.7";
    let place = body.windows(4).position(|window| window == octets);
    let written = body.windows(text.len()).position(|window| window == text);
    let guess = |host: u8, subnet: u8| -> Vec<u8> {
        let mut guess = body.clone();
        if let Some(place) = place {
            guess[place..place + 4].copy_from_slice(&[198, 51, subnet, host]);
            return guess;
        }
        let place = written.expect("an address in the body");
        let other = format!("198.51.{subnet}.{host}");
        guess.splice(place..place + text.len(), other.into_bytes());
        guess
    };
    let found = |salt: [u8; 32], tried: &dyn Fn(u8) -> Vec<Vec<u8>>| {
        (0..=255).flat_map(tried).any(|body| {
            let body = body.into();
            let tried = OpenPart {
                salt,
                body,
                ..part.clone()
            };
            tried.digest().leaf() == leaf
        })
    };
    let all = |subnet: u8| (0..=255).map(|host| guess(host, subnet)).collect();
    let near = |subnet: u8| {
        if subnet == 100 {
            vec![guess(7, 100)]
        } else {
            vec![]
        }
    };
    assert!(found(part.salt, &near), "with its salt it is found at once");
    // Without it: neither with none, nor with a salt of another part; and not with any 32 bytes of all
    // that was sent, for the right address.
    let told = sealed.parts.iter().map(whole).filter(|one| **one != part);
    for salt in told.map(|one| one.salt).chain([[0; 32]]) {
        assert!(!found(salt, &all));
    }
    for window in wire.windows(32) {
        let salt = window.try_into().expect("32 bytes");
        assert!(!found(salt, &near));
    }
}

#[test]
fn no_salt_is_used_twice_in_a_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = NodeStore::open(directory.path()).expect("a store");
    // The same words again and again: only salts tell them apart.
    let parts = narrative("the same") + &narrative("the same");
    let mut published = 0;
    for _ in 0..40 {
        let burst = sealed(&vec![parts.clone(); 25]);
        let outgoing = burst.iter().map(|one| Outgoing {
            id: one.id,
            precedence: one.precedence,
            envelope: one.to_bytes(),
            header: one.header.clone(),
            passes_on: None,
        });
        let outgoing: Vec<Outgoing> = outgoing.collect();
        published += outgoing.len();
        store.enqueue(&outgoing, now()).expect("kept");
    }
    let (mut salts, mut leaves, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
    for one in store.pending(published).expect("read") {
        let sealed = Sealed::from_bytes(&one.envelope).expect("a bulletin");
        for part in &sealed.parts {
            salts.insert(whole(part).salt);
            leaves.insert(part.leaf());
            count += 1;
        }
    }
    assert_eq!(count, 2 * published);
    assert_eq!((salts.len(), leaves.len()), (count, count));
}

#[test]
fn parts_of_one_version_do_not_fit_into_the_next() {
    let versions = sealed(&[narrative("first"), narrative("second")]);
    for (one, other) in [(0, 1), (1, 0)] {
        let mut mixed = versions[one].clone();
        mixed.parts[0] = versions[other].parts[0].clone();
        assert_eq!(opened(mixed), Err(Refused::WrongRoot));
        let mut hidden = versions[one].clone();
        hidden.parts[0] = Part::Withheld(versions[other].parts[0].leaf());
        assert_eq!(opened(hidden), Err(Refused::WrongRoot));
    }
}

#[test]
fn one_header_has_one_content_whoever_receives_it() {
    let sealed = sealed(&[narrative("told to both")]).remove(0);
    assert!(opened(sealed.clone()).is_ok());
    let mut other = sealed;
    let part = whole(&other.parts[0]).clone();
    let text = String::from_utf8_lossy(&part.body).replace("both", "one ");
    other.parts[0] = Part::Open(OpenPart {
        body: text.into_bytes().into(),
        ..part
    });
    assert_eq!(opened(other), Err(Refused::WrongRoot));
}

#[test]
fn a_newer_field_travels_byte_for_byte_and_a_critical_one_is_refused_by_number() {
    let plain = sealed(&[narrative("n")]).remove(0);
    let mut header = plain.header.to_vec();
    // Field 1500, length-delimited: "newer".
    header.extend([0xe2, 0x5d, 5]);
    header.extend(b"newer");
    let newer = signed(header.clone(), &plain);
    // In, through the log's bytes, redacted, out.
    let read = Sealed::from_bytes(&newer.to_bytes()).expect("readable");
    assert!(opened(read.clone()).is_ok());
    let sent = redact(&read, &[0]).to_bytes();
    let received = Sealed::from_bytes(&sent).expect("readable");
    assert_eq!(received.header, header);
    assert!(opened(received).is_ok());
    let mut header = plain.header.to_vec();
    // Field 900 is none that may be passed over.
    header.extend([0xa2, 0x38, 1, b'x']);
    let critical = signed(header, &plain);
    assert_eq!(opened(critical), Err(Refused::UnknownCriticalField(900)));
}

#[test]
fn a_number_is_written_in_one_way() {
    let key = NoteKey::new("log.example", signer().public_key()).expect("a key");
    let root = data_encoding::BASE64.encode(&[0; 32]);
    let witness = |seed: u8| {
        let key = SecretKey::from_seed([seed; 32]).expect("a key");
        NoteKey::cosigner(&format!("w{seed}.example"), key.public_key()).expect("a key")
    };
    let bad = [
        "+5",
        "05",
        "",
        " 5",
        "5 ",
        "-5",
        "5.",
        "0x5",
        "5e0",
        "٥",
        "18446744073709551616",
        "99999999999999999999999999",
        "5\r",
    ];
    for number in bad.iter().copied().chain(["1"]) {
        let good = number == "1";
        let size = Checkpoint::parse(&format!("log.example\n{number}\n{root}\n"));
        assert_eq!(size.is_ok(), good, "a checkpoint's size {number:?}");
        let index = format!("c2sp.org/tlog-proof@v1\nindex {number}\n\ncheckpoint\n");
        assert_eq!(
            index.parse::<TlogProof>().is_ok(),
            good,
            "an index {number:?}"
        );
        let old = format!("old {number}\n\nlog.example\n1\n{root}\n");
        assert_eq!(
            old.parse::<AddCheckpoint>().is_ok(),
            good,
            "an old size {number:?}"
        );
        // Words are parted by spaces there.
        if number.trim() != "5" {
            let policy = format!(
                "log {key}\nwitness one {}\nwitness two {}\ngroup both {number} one two\nquorum both\n",
                witness(1),
                witness(2)
            );
            assert_eq!(
                policy.parse::<Policy>().is_ok(),
                good,
                "a threshold {number:?}"
            );
        }
    }
}

#[test]
fn without_the_second_algorithms_signature_a_policy_that_names_it_is_not_satisfied() {
    let log = signer();
    let key = NoteKey::new("log.example", log.public_key()).expect("a key");
    let second = MlDsaSecretKey::from_seed(&Zeroizing::new([5; 32])).expect("a key");
    let second_key = NoteKey::ml_dsa("log.example", second.public_key().clone()).expect("a key");
    let head = Checkpoint {
        origin: "log.example".into(),
        size: 1,
        root: Digest::of(b"root"),
    };
    let note = head.sign(&log).expect("signed");
    let both = cosign_as_log("log.example", &second, &note, 1_768_435_200).expect("signed");
    let policy = format!("log {key}\nwitness second {second_key}\nquorum second\n");
    let policy: Policy = policy.parse().expect("a policy");
    assert!(policy.check(&both).is_ok());
    assert!(policy.check(&note).is_err(), "stripped");
    // One by another key under the same name counts for nothing, and a broken one rejects the note.
    let other = MlDsaSecretKey::from_seed(&Zeroizing::new([6; 32])).expect("a key");
    let forged = cosign_as_log("log.example", &other, &note, 1_768_435_200).expect("signed");
    assert!(policy.check(&forged).is_err());
    let read: Note = both.parse().expect("a note");
    let moved = Checkpoint { size: 2, ..head }.sign(&log).expect("signed");
    let mut moved: Note = moved.parse().expect("a note");
    let line = read.lines().iter().find(|line| line.is_of(&second_key));
    moved.add(line.expect("the second line").clone());
    assert!(
        policy.check(&moved.to_string()).is_err(),
        "of another checkpoint"
    );
}

/// Every way in which a list of hashes can be tampered with.
fn tampered(path: &[Digest], other: Digest) -> Vec<Vec<Digest>> {
    let mut all = Vec::new();
    for at in 0..path.len() {
        for bit in 0..256 {
            let mut one = path.to_vec();
            one[at].0[bit / 8] ^= 1 << (bit % 8);
            all.push(one);
        }
        let mut without = path.to_vec();
        without.remove(at);
        let mut twice = path.to_vec();
        twice.insert(at, path[at]);
        let mut replaced = path.to_vec();
        replaced[at] = other;
        all.extend([without, twice, replaced, path[..at].to_vec()]);
        if at > 0 {
            let mut swapped = path.to_vec();
            swapped.swap(at - 1, at);
            all.push(swapped);
        }
    }
    let mut before = path.to_vec();
    before.insert(0, other);
    let mut after = path.to_vec();
    after.push(other);
    all.extend([before, after, [path, path].concat()]);
    all.retain(|one| one != path);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_proof_that_was_tampered_with_proves_nothing(
        (size, at, old) in (2usize..70).prop_flat_map(|size| (Just(size), 0..size, 1..=size)),
        salt: u64,
    ) {
        let leaf = |at: usize| leaf_hash(&[&salt.to_be_bytes(), &at.to_be_bytes()]);
        let leaves: Vec<Digest> = (0..size).map(leaf).collect();
        let (root, before) = (merkle::root(&leaves), merkle::root(&leaves[..old]));
        let strange = Digest::of(&salt.to_be_bytes());
        let (n, i, m) = (size as u64, at as u64, old as u64);

        let path = merkle::inclusion_path(&leaves, at).expect("a leaf");
        let holds = |leaf: &Digest, index, path: &[Digest], root: &Digest| {
            merkle::verify_inclusion(leaf, index, n, path, root).is_ok()
        };
        prop_assert!(holds(&leaves[at], i, &path, &root));
        for one in tampered(&path, strange) {
            prop_assert!(!holds(&leaves[at], i, &one, &root));
        }
        for index in (0..n + 2).chain([u64::MAX]).filter(|index| *index != i) {
            prop_assert!(!holds(&leaves[at], index, &path, &root));
        }
        prop_assert!(!holds(&strange, i, &path, &root));
        prop_assert!(!holds(&leaves[at], i, &path, &strange));
        prop_assert!(!holds(&root, i, &path, &root));

        let path = merkle::consistency_path(&leaves, old).expect("a prefix");
        let grew = |old, new, before: &Digest, root: &Digest, path: &[Digest]| {
            merkle::verify_consistency(old, new, before, root, path).is_ok()
        };
        prop_assert!(grew(m, n, &before, &root, &path));
        for one in tampered(&path, strange) {
            prop_assert!(!grew(m, n, &before, &root, &one));
        }
        prop_assert!(!grew(m, n, &strange, &root, &path));
        prop_assert!(!grew(m, n, &before, &strange, &path));
        prop_assert!(m == n || !grew(m, n, &root, &before, &path));
        prop_assert!(m == n || !grew(n, m, &root, &before, &path));
        for other in (1..=n).filter(|other| *other != m) {
            // A path says nothing of where it began: the root that it leads to does.
            let root_there = merkle::root(&leaves[..usize::try_from(other).expect("small")]);
            prop_assert!(!grew(other, n, &before, &root, &path) || root_there == before);
        }
    }
}
