//! The audit names the first record that is wrong, whatever was done to the ledger.

use std::collections::VecDeque;
use std::time::Duration;

use entente::agreement::{SignedAgreement, SignedWithdrawal, Withdrawal, parse_draft};
use entente::audit::{Audited, Fault, Finding, verify};
use entente::bulletin::{Draft, Precedence, VerifiedBursts, open, seal};
use entente::clock::{SeededEntropy, Timestamp};
use entente::ledger::{
    Ack, Engine, Fact, Genesis, Group, LaneAck, LaneChain, LedgerId, MemoryEngine, Operator,
    OperatorSignature, PartnerAdmitted, Proposal, Record, SignedAck, State, StoredRecord, sequence,
};
use entente::partner::{KeySet, KeyUse, PartnerId, SignedKeySet, SigningKey};
use entente::proof::{Checkpoint, NoteKey, PayloadType, SecretKey, Signer};

const NAME: &str = "alliance.example";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32]).expect("a key")
}

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

fn start() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

/// A ledger in memory, written as the broker writes it.
struct Ledger {
    engine: MemoryEngine,
    state: State,
    entropy: SeededEntropy,
    now: Timestamp,
    bursts: VerifiedBursts,
}

impl Ledger {
    fn new(seed: u64) -> Self {
        let entropy = SeededEntropy::new(seed);
        let genesis = Genesis {
            framework: NAME.into(),
            log_key: NoteKey::new(NAME, key(1).public_key())
                .expect("a key")
                .to_string(),
            operators: vec![Operator {
                name: "anna".into(),
                public_key: key(2).public_key(),
            }],
            rules: 1,
            witness_policy: String::new(),
            nonce: [5; 32],
            created: start(),
        };
        let engine = MemoryEngine::new();
        let mut state = State::new();
        let group = Group::genesis(genesis, &entropy).expect("a group");
        group
            .append(&engine)
            .expect("written")
            .fold_into(&mut state);
        Self {
            engine,
            state,
            entropy,
            now: start(),
            bursts: VerifiedBursts::new(8),
        }
    }

    fn id(&self) -> LedgerId {
        self.state.ledger().expect("a ledger")
    }

    fn record(&mut self, proposal: Proposal) {
        self.now = self.now.saturating_add(Duration::from_secs(1));
        let before = self.state.size();
        let mut queue = VecDeque::from([proposal]);
        let group = sequence(&self.state, &mut queue, self.now, &self.entropy).expect("a group");
        group
            .append(&self.engine)
            .expect("written")
            .fold_into(&mut self.state);
        assert_eq!(self.state.size(), before + 1, "it was refused");
    }

    fn admit(&mut self, name: &str, seed: u8) -> SignedKeySet {
        let year = Duration::from_hours(8760);
        let uses = |seed, uses: &[KeyUse]| SigningKey {
            public_key: key(seed).public_key(),
            uses: uses.to_vec(),
            not_before: start(),
            not_after: start().saturating_add(year),
        };
        let key_set = KeySet {
            partner: partner(name),
            version: 1,
            previous: None,
            keys: vec![
                uses(seed, &[KeyUse::Agreements]),
                uses(seed + 1, &[KeyUse::Bulletins, KeyUse::Acknowledgements]),
            ],
            roots: vec![bytes::Bytes::from_static(b"a root")],
            recovery_key: key(seed + 2).public_key(),
        };
        let key_set = SignedKeySet::sign(key_set, &[&key(seed)]).expect("signed");
        let payload = PartnerAdmitted::payload(self.id(), &key_set);
        let signature = key(2)
            .sign(PayloadType::Admission, &payload)
            .expect("signed");
        let operator = OperatorSignature {
            operator: "anna".into(),
            signature,
        };
        let admitted = PartnerAdmitted {
            key_set: key_set.clone(),
            operator,
        };
        self.record(Proposal::Fact(Fact::PartnerAdmitted(admitted)));
        key_set
    }

    fn publish(&mut self, precedence: Precedence, text: &str) {
        let draft = format!(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\nprecedence = \
             \"{precedence}\"\n[[part]]\ntype = \"narrative\"\ntext = \"{text}\"\n[[part]]\ntype = \
             \"source\"\ndescription = \"secret\"\n"
        );
        let draft = Draft::from_toml(&draft).expect("a bulletin");
        let norland = partner("norland");
        let unsealed = draft
            .into_unsealed(&norland, self.now, &self.entropy)
            .expect("valid");
        let sealed = seal(vec![unsealed], &key(11), &self.entropy)
            .expect("sealed")
            .remove(0);
        let submission = open(sealed, self.now, self.state.registry(), &mut self.bursts)
            .and_then(|verified| verified.into_submission(&norland, self.now))
            .expect("verified");
        self.record(Proposal::Bulletin(Box::new(submission)));
    }

    fn acknowledge(&mut self, lanes: Vec<LaneAck>) {
        let recipient = partner("estmark");
        let ack = Ack {
            ledger: self.id(),
            recipient,
            lanes,
            time: self.now,
        };
        let ack = SignedAck::sign(ack, &key(21)).expect("signed");
        self.record(Proposal::Acknowledgement(ack));
    }

    /// The chain over the first numbers of a recipient's ROUTINE lane, all delivered.
    fn chain(&self, recipient: &PartnerId, count: usize) -> LaneChain {
        let start = LaneChain::start(self.id(), recipient, Precedence::Routine);
        let records = self.engine.read(0, 1_000).expect("records");
        let records = records
            .iter()
            .map(|bytes| Record::from_bytes(bytes).expect("a record"));
        let released = records.flat_map(|record| record.releases).take(count);
        released.fold(start, |chain, one| {
            chain.delivered(one.number, &one.bulletin, &one.release.withheld)
        })
    }

    fn stored(&self) -> Vec<StoredRecord> {
        let records = self.engine.read(0, 1_000).expect("records");
        let entries = self.engine.entries(0, 1_000).expect("entries");
        (0..)
            .zip(records.into_iter().zip(entries))
            .map(|(at, (record, entry))| StoredRecord {
                record,
                entry,
                bodies: self.engine.bodies(at).expect("bodies"),
            })
            .collect()
    }

    fn checkpoint(&self) -> String {
        let checkpoint = Checkpoint {
            origin: NAME.into(),
            size: self.state.size(),
            root: self.state.root(),
        };
        checkpoint.sign(&key(1)).expect("signed")
    }
}

/// Bulletins under an agreement, and nothing acknowledged yet.
fn ledger_until_the_acknowledgement() -> Ledger {
    let mut ledger = Ledger::new(7);
    let norland = ledger.admit("norland", 10);
    let estmark = ledger.admit("estmark", 20);
    let text = format!(
        "name = \"cyber\"\nversion = 1\nledger = \"{}\"\nvalid_from = \
         \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n\
         \"norland.example\" = \"{}\"\n\"estmark.example\" = \"{}\"\n[[clause]]\nid = \
         \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\nregions = \
         [\"*\"]\ntlp = \"TLP:AMBER\"\nwithhold = [\"source\"]\n",
        ledger.id(),
        norland.hash(),
        estmark.hash()
    );
    let terms = parse_draft(&text).expect("terms");
    let mut signed = SignedAgreement::unsigned(&terms).expect("terms");
    signed
        .ratify(&partner("norland"), &key(10))
        .expect("signed");
    signed
        .ratify(&partner("estmark"), &key(20))
        .expect("signed");
    ledger.record(Proposal::Fact(Fact::AgreementRatified(signed)));
    for text in ["one", "two", "three"] {
        ledger.publish(Precedence::Routine, text);
    }
    ledger.publish(Precedence::Flash, "four");
    ledger
}

/// A ledger with something of everything.
fn ledger() -> Ledger {
    let mut ledger = ledger_until_the_acknowledgement();
    let chain = ledger.chain(&partner("estmark"), 2).0;
    ledger.acknowledge(vec![LaneAck {
        precedence: Precedence::Routine,
        up_to: 2,
        chain,
    }]);
    let agreement = *ledger
        .state
        .agreements()
        .keys()
        .next()
        .expect("an agreement");
    let withdrawal = Withdrawal {
        ledger: ledger.id().0,
        agreement,
        partner: partner("norland"),
        time: ledger.now,
        reason: "a test".into(),
    };
    let withdrawal = SignedWithdrawal::sign(withdrawal, &key(10)).expect("signed");
    ledger.record(Proposal::Fact(Fact::AgreementWithdrawn(withdrawal)));
    ledger.publish(Precedence::Routine, "to nobody");
    ledger
}

fn audit(records: &[StoredRecord], checkpoint: Option<String>) -> Result<Audited, Finding> {
    let engine = MemoryEngine::new();
    engine.append(0, records).expect("written");
    verify(&engine, checkpoint, |_| {})
}

fn position(finding: &Finding) -> Option<u64> {
    match finding {
        Finding::Record { position, .. } => Some(*position),
        _ => None,
    }
}

#[test]
fn an_honest_ledger_holds() {
    let ledger = ledger();
    let audited = audit(&ledger.stored(), Some(ledger.checkpoint())).expect("it holds");
    assert_eq!(audited.records, ledger.state.size());
    assert_eq!(audited.signed, Some(ledger.state.size()));
    assert_eq!(
        (
            audited.bulletins,
            audited.releases,
            audited.acknowledgements
        ),
        (5, 4, 1)
    );
    assert_eq!(audited.bodies, 5);
}

#[test]
fn a_changed_byte_anywhere_is_found_in_its_record() {
    let ledger = ledger();
    let stored = ledger.stored();
    let checkpoint = ledger.checkpoint();
    for at in 0..stored.len() {
        let length = stored[at].record.len();
        // Every byte of short records, a sample of long ones.
        for byte in (0..length).step_by(length / 64 + 1) {
            let mut changed = stored.clone();
            let mut bytes = changed[at].record.to_vec();
            bytes[byte] ^= 0x40;
            changed[at].record = bytes.into();
            let finding = audit(&changed, Some(checkpoint.clone())).expect_err("changed");
            assert_eq!(
                position(&finding),
                Some(at as u64),
                "byte {byte} of record {at}: {finding}"
            );
        }
        let mut changed = stored.clone();
        changed[at].entry[7] ^= 1;
        let finding = audit(&changed, Some(checkpoint.clone())).expect_err("changed");
        assert_eq!(position(&finding), Some(at as u64), "entry {at}: {finding}");
        if let Some(bodies) = &stored[at].bodies {
            let mut changed = stored.clone();
            let mut bytes = bodies.to_vec();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            changed[at].bodies = Some(bytes.into());
            let finding = audit(&changed, Some(checkpoint.clone())).expect_err("changed");
            assert_eq!(
                position(&finding),
                Some(at as u64),
                "bodies of {at}: {finding}"
            );
        }
    }
}

#[test]
fn records_left_out_swapped_repeated_or_cut_off_are_found() {
    let ledger = ledger();
    let stored = ledger.stored();
    let checkpoint = Some(ledger.checkpoint());
    for at in 1..stored.len() - 1 {
        let mut fewer = stored.clone();
        fewer.remove(at);
        assert!(audit(&fewer, checkpoint.clone()).is_err(), "without {at}");
        let mut swapped = stored.clone();
        swapped.swap(at, at + 1);
        let finding = audit(&swapped, checkpoint.clone()).expect_err("swapped");
        // The records are timed one after the other: the second of a swapped pair comes too late.
        assert!(
            position(&finding).is_some_and(|found| found <= at as u64 + 1),
            "{at}: {finding}"
        );
        let mut twice = stored.clone();
        twice.insert(at, stored[at].clone());
        assert!(audit(&twice, checkpoint.clone()).is_err(), "{at} twice");
    }
    let short = &stored[..stored.len() - 1];
    let finding = audit(short, checkpoint.clone()).expect_err("cut off");
    assert!(matches!(finding, Finding::Shortened { .. }), "{finding}");
    assert!(matches!(audit(&[], checkpoint), Err(Finding::Empty)));
}

#[test]
fn a_record_forged_with_its_entry_does_not_fit_the_checkpoint() {
    let honest = ledger();
    // The same admission under other salts, with an entry that fits it: only the root tells.
    let mut other = Ledger::new(8);
    other.admit("norland", 10);
    let mut stored = honest.stored();
    assert_eq!(other.id(), honest.id());
    assert_ne!(other.stored()[1].record, stored[1].record);
    stored[1] = other.stored()[1].clone();
    let finding = audit(&stored, Some(honest.checkpoint())).expect_err("another root");
    assert!(matches!(finding, Finding::OtherRoot { .. }), "{finding}");
    let finding = audit(&stored[..2], None);
    assert!(
        finding.is_ok(),
        "without a checkpoint nothing tells: {finding:?}"
    );
    let mut checkpoint = honest.checkpoint();
    checkpoint = checkpoint.replace("alliance.example\n", "other.example\n");
    assert!(matches!(
        audit(&honest.stored(), Some(checkpoint)),
        Err(Finding::Checkpoint(_) | Finding::OtherLog { .. })
    ));
}

#[test]
fn a_release_that_the_agreements_do_not_give_is_found() {
    // The records of a ledger in which the agreement was in force, without the record that put it
    // in force: what was released then has no right any more.
    let ledger = ledger();
    let mut stored = ledger.stored();
    let withheld = stored.remove(3);
    assert!(withheld.record.len() > 100);
    let finding = audit(&stored, None).expect_err("no agreement");
    match finding {
        Finding::Record {
            position: 3,
            kind: "accepted",
            fault: Fault::Decision { partner, .. },
        } => {
            assert_eq!(partner.as_str(), "estmark.example");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn an_acknowledgement_of_something_else_than_was_released_is_in_dispute() {
    let estmark = partner("estmark");
    for (void, wrong) in [(true, true), (false, false)] {
        let mut ledger = ledger_until_the_acknowledgement();
        let chain = if void {
            LaneChain::start(ledger.id(), &estmark, Precedence::Routine)
                .void(1)
                .void(2)
        } else {
            ledger.chain(&estmark, 2)
        };
        let lanes = vec![LaneAck {
            precedence: Precedence::Routine,
            up_to: 2,
            chain: chain.0,
        }];
        ledger.acknowledge(lanes);
        let audited = audit(&ledger.stored(), Some(ledger.checkpoint())).expect("it holds");
        assert_eq!(
            !audited.disputed.is_empty(),
            wrong,
            "{:?}",
            audited.disputed
        );
    }
}
