//! A ledger in memory, written as the broker writes it, and the keys of those who act in it.

#![allow(dead_code, reason = "each test uses its share")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use entente::agreement::{SignedAgreement, parse_draft};
use entente::bulletin::{
    BulletinId, Draft, Precedence, PseudonymSecret, Sealed, Submission, Unsealed, VerifiedBursts,
    open, seal,
};
use entente::clock::{SeededEntropy, Timestamp};
use entente::decision::RULES_VERSION;
use entente::ledger::{
    Ack, Engine, Fact, Genesis, Group, LaneAck, LaneChain, LedgerId, MemoryEngine, Operator,
    OperatorSignature, Outcome, PartnerAdmitted, Proposal, Record, SignedAck, State, StoredRecord,
    sequence,
};
use entente::partner::{KeySet, KeyUse, PartnerId, SignedKeySet, SigningKey};
use entente::proof::{Checkpoint, NoteKey, PayloadType, SecretKey, Signer};

pub(crate) const NAME: &str = "alliance.example";

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32]).expect("a key")
}

pub(crate) fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

pub(crate) fn start() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

/// A ledger in memory, written as the broker writes it.
pub(crate) struct Ledger {
    pub(crate) engine: MemoryEngine,
    pub(crate) state: State,
    pub(crate) entropy: SeededEntropy,
    pub(crate) now: Timestamp,
    pub(crate) bursts: VerifiedBursts,
    /// What was submitted, whole.
    pub(crate) bodies: BTreeMap<BulletinId, Sealed>,
}

impl Ledger {
    pub(crate) fn new(seed: u64) -> Self {
        Self::numbered(5, seed)
    }

    /// One of several ledgers.
    pub(crate) fn numbered(number: u8, seed: u64) -> Self {
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
            rules: RULES_VERSION,
            witness_policy: String::new(),
            nonce: [number; 32],
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
            bodies: BTreeMap::new(),
        }
    }

    pub(crate) fn id(&self) -> LedgerId {
        self.state.ledger().expect("a ledger")
    }

    pub(crate) fn record(&mut self, proposal: Proposal) {
        let outcome = self.propose(proposal);
        assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    }

    /// What becomes of a proposal, a second later.
    pub(crate) fn propose(&mut self, proposal: Proposal) -> Outcome {
        self.now = self.now.saturating_add(Duration::from_secs(1));
        let mut queue = VecDeque::from([proposal]);
        let group = sequence(&self.state, &mut queue, self.now, &self.entropy).expect("a group");
        let durable = group.append(&self.engine).expect("written");
        durable.fold_into(&mut self.state);
        durable.outcomes()[0].clone()
    }

    /// The code with which a governing fact is refused.
    pub(crate) fn refused(&mut self, fact: Fact) -> &'static str {
        match self.propose(Proposal::Fact(fact)) {
            Outcome::Refused(error) => error.code(),
            other => panic!("it was not refused: {other:?}"),
        }
    }

    /// Puts an agreement in force, signed with these parties' agreements keys.
    pub(crate) fn ratify(&mut self, text: &str, signers: &[(&str, u8)]) -> SignedAgreement {
        let signed = signed(text, signers);
        self.record(Proposal::Fact(Fact::AgreementRatified(signed.clone())));
        signed
    }

    /// Publishes drafts of one partner as a burst, with its bulletins key, and records them.
    pub(crate) fn publish_as(&mut self, originator: &PartnerId, seed: u8, drafts: Vec<Draft>) {
        let unsealed: Vec<(Unsealed, SecretKey)> = drafts
            .into_iter()
            .map(|draft| unsealed(draft, originator, seed, self.now, &self.entropy))
            .collect();
        let mut sealed = Vec::new();
        for one in unsealed.chunk_by(|(_, one), (_, other)| one.public_key() == other.public_key())
        {
            let (burst, key) = (one.iter().map(|(one, _)| one.clone()), &one[0].1);
            sealed.extend(seal(burst.collect(), key, &self.entropy).expect("sealed"));
        }
        for one in sealed {
            let submission = open(one, self.now, self.state.registry(), &mut self.bursts)
                .and_then(|verified| verified.into_submission(originator, self.now))
                .expect("verified");
            self.record(Proposal::Bulletin(Box::new(submission)));
        }
    }

    /// What becomes of a notice that refers to a bulletin's record.
    pub(crate) fn give(
        &mut self,
        originator: &PartnerId,
        seed: u8,
        unsealed: Unsealed,
        about: Option<&Arc<Record>>,
    ) -> Outcome {
        let submission = self.submission(originator, &key(seed), unsealed);
        self.propose(match about {
            Some(about) => Proposal::Notice {
                notice: Box::new(submission),
                about: Arc::clone(about),
            },
            None => Proposal::Bulletin(Box::new(submission)),
        })
    }

    /// What becomes of one sealed bulletin.
    pub(crate) fn submit(
        &mut self,
        originator: &PartnerId,
        seed: u8,
        unsealed: Unsealed,
    ) -> Outcome {
        let submission = self.submission(originator, &key(seed), unsealed);
        self.propose(Proposal::Bulletin(Box::new(submission)))
    }

    /// What becomes of a bulletin that passes others on, with their records.
    pub(crate) fn pass_on(
        &mut self,
        originator: &PartnerId,
        key: &SecretKey,
        unsealed: Unsealed,
        about: Vec<Arc<Record>>,
    ) -> Outcome {
        let bulletin = Box::new(self.submission(originator, key, unsealed));
        self.propose(Proposal::PassedOn { bulletin, about })
    }

    /// What becomes of one bulletin sealed with this key.
    pub(crate) fn submit_sealed(
        &mut self,
        originator: &PartnerId,
        key: &SecretKey,
        unsealed: Unsealed,
    ) -> Outcome {
        let submission = self.submission(originator, key, unsealed);
        self.propose(Proposal::Bulletin(Box::new(submission)))
    }

    fn submission(
        &mut self,
        originator: &PartnerId,
        key: &SecretKey,
        unsealed: Unsealed,
    ) -> Submission {
        let sealed = seal(vec![unsealed], key, &self.entropy)
            .expect("sealed")
            .remove(0);
        self.bodies.insert(sealed.id, sealed.clone());
        open(sealed, self.now, self.state.registry(), &mut self.bursts)
            .and_then(|verified| verified.into_submission(originator, self.now))
            .expect("verified")
    }

    /// The last record.
    pub(crate) fn last(&self) -> Record {
        let last = self
            .engine
            .read(self.state.size() - 1, 1)
            .expect("a record");
        Record::from_bytes(&last[0]).expect("a record")
    }

    /// All records.
    pub(crate) fn records(&self) -> Vec<Record> {
        let records = self.engine.read(0, 1_000_000).expect("records");
        let read = |bytes: &bytes::Bytes| Record::from_bytes(bytes).expect("a record");
        records.iter().map(read).collect()
    }

    pub(crate) fn admit(&mut self, name: &str, seed: u8) -> SignedKeySet {
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

    pub(crate) fn publish(&mut self, precedence: Precedence, text: &str) {
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

    pub(crate) fn acknowledge(&mut self, lanes: Vec<LaneAck>) {
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
    pub(crate) fn chain(&self, recipient: &PartnerId, count: usize) -> LaneChain {
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

    pub(crate) fn stored(&self) -> Vec<StoredRecord> {
        let records = self.engine.read(0, 1_000).expect("records");
        let entries = self.engine.entries(0, 1_000).expect("entries");
        (0..)
            .zip(records.into_iter().zip(entries))
            .map(|(at, (record, entry))| StoredRecord {
                erases: match Record::from_bytes(&record).expect("a record").fact {
                    Fact::ContentsErased(erased) => {
                        erased.bulletins.iter().map(|one| one.position).collect()
                    }
                    _ => Vec::new(),
                },
                record,
                entry,
                bodies: self.engine.bodies(at).expect("bodies"),
            })
            .collect()
    }

    pub(crate) fn checkpoint(&self) -> String {
        let checkpoint = Checkpoint {
            origin: NAME.into(),
            size: self.state.size(),
            root: self.state.root(),
        };
        checkpoint.sign(&key(1)).expect("signed")
    }
}

/// A bulletin of a partner with a bulletins key, and the key that must seal it: of its pseudonym,
/// where it asks for one.
pub(crate) fn unsealed(
    mut draft: Draft,
    originator: &PartnerId,
    seed: u8,
    now: Timestamp,
    entropy: &SeededEntropy,
) -> (Unsealed, SecretKey) {
    let pseudonym = draft.take_pseudonym();
    let unsealed = draft
        .into_unsealed(originator, now, entropy)
        .expect("valid");
    match pseudonym {
        None => (unsealed, key(seed)),
        Some(pseudonym) => PseudonymSecret::new(key(seed))
            .disguise(unsealed, pseudonym, None, &key(seed))
            .expect("a pseudonym"),
    }
}

/// An agreement's text, signed with these parties' agreements keys.
pub(crate) fn signed(text: &str, signers: &[(&str, u8)]) -> SignedAgreement {
    let terms = parse_draft(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut signed = SignedAgreement::unsigned(&terms).expect("terms");
    for (name, seed) in signers {
        signed.ratify(&partner(name), &key(*seed)).expect("signed");
    }
    signed
}
