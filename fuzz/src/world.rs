//! A log with two partners, an agreement and bulletins, and all that was signed about it.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use entente::agreement::{SignedAgreement, SignedWithdrawal, Withdrawal};
use entente::bulletin::{
    BulletinKeys, Crossing, Header, Part, PlainPart, Precedence, Sealed, Unsealed, redact, seal,
};
use entente::clock::Timestamp;
use entente::ledger::{
    Engine, Fact, LaneAck, LedgerId, Promise, PromiseItem, Proposal, Reader, Receipt, Record,
    SignedAck, SignedPromise,
};
use entente::partner::{PartnerId, SignedKeySet};
use entente::proof::merkle::{self, leaf_hash};
use entente::proof::tree::{self, Tiled};
use entente::proof::{
    AddCheckpoint, Checkpoint, Cosigner, Digest, ForkProof, KeyId, Note, NoteKey, Policy,
    PublicKey, Signer,
};

use crate::ledger::{Ledger, NAME, key, partner, signed};

/// The sizes at which a checkpoint was signed.
const HEADS: [usize; 3] = [3, 5, 8];

/// Everything that targets compare with.
pub struct World {
    /// The log's key.
    pub log: NoteKey,
    /// The ledger's id.
    pub ledger: LedgerId,
    /// A policy: the log, its witness, and that the witness counts.
    pub policy: Policy,
    /// The checkpoints with the log's signature and the witness's.
    pub notes: Vec<String>,
    /// What they say.
    pub heads: Vec<Checkpoint>,
    /// Requests to cosign them, one after the other.
    pub requests: Vec<AddCheckpoint>,
    /// A proof that the log's key signed two histories: it did, in this world.
    pub fork: ForkProof,
    /// The records.
    pub records: Vec<Bytes>,
    /// Their entries.
    pub entries: Vec<[u8; 33]>,
    /// Receipts for each reader of each record.
    pub receipts: Vec<Receipt>,
    /// The bulletins, whole and with a part withheld.
    pub sealed: Vec<Sealed>,
    /// A snapshot of the fold.
    pub snapshot: Bytes,
    /// The partners' key sets.
    pub key_sets: Vec<SignedKeySet>,
    /// The agreement, as its operators wrote it.
    pub draft: String,
    /// As its parties signed it.
    pub agreement: SignedAgreement,
    /// As one of them ended it.
    pub withdrawal: SignedWithdrawal,
    /// A promise of the broker.
    pub promise: SignedPromise,
    /// An acknowledgement.
    pub ack: SignedAck,
    /// The moment after all of it.
    pub now: Timestamp,
}

/// The bulletins keys of the partners.
pub struct Keys;

impl BulletinKeys for Keys {
    fn bulletin_key(&self, partner: &PartnerId, id: &KeyId, _: Timestamp) -> Option<PublicKey> {
        let seed = match partner.as_str() {
            "norland.example" => 11,
            "estmark.example" => 21,
            _ => return None,
        };
        let known = key(seed).public_key();
        (known.id() == *id).then_some(known)
    }
}

/// Made once.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(build)
}

/// A ledger with something of everything, the text of its agreement, and what was signed in it.
fn written(
    seed: u64,
) -> (
    Ledger,
    String,
    SignedAgreement,
    Vec<SignedKeySet>,
    SignedAck,
) {
    let mut ledger = Ledger::new(seed);
    let key_sets = vec![ledger.admit("norland", 10), ledger.admit("estmark", 20)];
    let draft = format!(
        "name = \"cyber\"\nversion = 1\nledger = \"{}\"\nvalid_from = \"2026-01-01T00:00:00Z\"\nvalid_until = \
         \"2027-06-01T00:00:00Z\"\n[parties]\n\"norland.example\" = \"{}\"\n\"estmark.example\" = \"{}\"\n\
         [[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = \
         [\"cyber/malware\", \"cyber\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\nclassification = {{ policy = \
         \"NATO\", level = \"SECRET\" }}\nwithhold = [\"source\"]\nonward = \"within-agreement\"\npurposes = \
         [\"network-defence\"]\nretention_seconds = 86400\n",
        ledger.id(),
        key_sets[0].hash(),
        key_sets[1].hash()
    );
    let agreement = signed(&draft, &[("norland", 10), ("estmark", 20)]);
    ledger.record(Proposal::Fact(Fact::AgreementRatified(agreement.clone())));
    ledger.publish(Precedence::Routine, "one");
    ledger.publish(Precedence::Routine, "two");
    ledger.publish(Precedence::Flash, "three");
    let chain = ledger.chain(&partner("estmark"), 2).0;
    let lane = LaneAck {
        precedence: Precedence::Routine,
        up_to: 2,
        chain,
    };
    ledger.acknowledge(vec![lane]);
    let Fact::Acknowledged(ack) = ledger.last().fact else {
        panic!("an acknowledgement")
    };
    let withdrawal = withdrawal(&ledger, &agreement);
    ledger.record(Proposal::Fact(Fact::AgreementWithdrawn(withdrawal)));
    (ledger, draft, agreement, key_sets, ack)
}

fn withdrawal(ledger: &Ledger, agreement: &SignedAgreement) -> SignedWithdrawal {
    let withdrawal = Withdrawal {
        ledger: ledger.id().0,
        agreement: agreement.id(),
        partner: partner("norland"),
        time: ledger.now,
        reason: "a test".into(),
    };
    SignedWithdrawal::sign(withdrawal, &key(10)).expect("signed")
}

fn head(leaves: &[Digest], size: usize) -> Checkpoint {
    Checkpoint {
        origin: NAME.into(),
        size: size as u64,
        root: merkle::root(&leaves[..size]),
    }
}

fn leaves(entries: &[[u8; 33]]) -> Vec<Digest> {
    entries.iter().map(|entry| leaf_hash(&[entry])).collect()
}

fn build() -> World {
    let (ledger, draft, agreement, key_sets, ack) = written(7);
    let records = ledger.records();
    let entries = ledger.engine.entries(0, 99).expect("entries");
    let all = leaves(&entries);
    let log = NoteKey::new(NAME, key(1).public_key()).expect("a key");
    let cosigner = Cosigner::new("witness.example", Arc::new(key(3)));
    let witness = cosigner.keys().expect("a key").remove(0);
    let policy = format!(
        "log {log}\nwitness w {witness} https://witness.example/\ngroup g any w\nquorum g\n"
    );
    let policy: Policy = policy.parse().expect("a policy");
    let heads = HEADS.map(|size| head(&all, size)).to_vec();
    let alone = heads.iter().map(|head| head.sign(&key(1)).expect("signed"));
    let notes: Vec<String> = alone
        .map(|note| {
            cosigner
                .cosign_note(&note, 1_790_000_000)
                .expect("cosigned")
        })
        .collect();
    let mut old = 0;
    let requests = HEADS.iter().zip(&notes).map(|(size, note)| {
        let proof = merkle::consistency_path(&all[..*size], old).unwrap_or_default();
        let request = AddCheckpoint {
            old: old as u64,
            proof,
            note: note.clone(),
        };
        old = *size;
        request
    });
    let requests = requests.collect();
    let mut sealed = sealed(&ledger, &records);
    sealed.push(carried(&ledger, &sealed[0]));
    let promise = promise(&ledger, &sealed[0]);
    World {
        fork: fork(&notes[0]),
        receipts: receipts(&records, &all, &notes[2]),
        withdrawal: withdrawal(&ledger, &agreement),
        snapshot: ledger.state.to_snapshot().into(),
        records: ledger.engine.read(0, 99).expect("records"),
        ledger: ledger.id(),
        now: ledger.now,
        log,
        policy,
        notes,
        heads,
        requests,
        entries,
        sealed,
        key_sets,
        draft,
        agreement,
        promise,
        ack,
    }
}

/// What Estmark carries of the first into another ledger.
fn carried(ledger: &Ledger, first: &Sealed) -> Sealed {
    let original = Header::from_bytes(&first.header).expect("a header");
    let into = Digest::of(b"another ledger");
    let crossing = Crossing {
        into,
        path: vec![ledger.id().0],
        header: first.header.clone(),
        original: Box::new(original.clone()),
        burst: first.burst.clone(),
        missing: [(0, first.parts[0].leaf())].into(),
        federation: [into].into(),
        keep_until: Some(ledger.now),
        purposes: Some(["network-defence".to_owned()].into()),
        legal_bases: vec!["a treaty".into()],
        lease_until: ledger.now,
        receipts: vec!["a receipt".into()],
    };
    let parts = first.parts.iter().skip(1).filter_map(|part| match part {
        Part::Open(part) => Some(PlainPart {
            class: part.class.parse().expect("a class"),
            marking: part.marking,
            body: part.body.clone(),
            salt: Some(part.salt),
        }),
        Part::Withheld(_) => None,
    });
    let unsealed = Unsealed {
        parts: parts.collect(),
        header: Header {
            id: Crossing::id(&into, &crossing.original_hash()),
            originator: partner("estmark").into(),
            crossing: Some(Box::new(crossing)),
            ..original
        },
    };
    let sealed = seal(vec![unsealed], &key(21), &ledger.entropy);
    sealed.expect("sealed").remove(0)
}

/// The same steps under other salts: another tree, signed with the same key.
fn fork(first: &str) -> ForkProof {
    let (other, ..) = written(8);
    let all = leaves(&other.engine.entries(0, 99).expect("entries"));
    let (small, large) = (HEADS[0] as u64, HEADS[1]);
    let second = head(&all, large).sign(&key(1)).expect("signed");
    let tiles = Tiled::new(large as u64, |path: &_| other.engine.tile(path));
    let path = tree::prefix_path(&tiles, small, large as u64).expect("tiles");
    let note: Note = first.parse().expect("a note");
    let first = Checkpoint::parse(note.text()).expect("a checkpoint");
    ForkProof {
        first: first.sign(&key(1)).expect("signed"),
        second,
        path: path.expect("a path"),
    }
}

fn receipts(records: &[Record], leaves: &[Digest], note: &str) -> Vec<Receipt> {
    let (estmark, nobody) = (partner("estmark"), BTreeSet::new());
    let size = HEADS[2];
    let mut receipts = Vec::new();
    for (at, record) in records.iter().take(size).enumerate() {
        let readers = [
            Reader::Recipient(&estmark),
            Reader::Originator(&nobody),
            Reader::Party,
        ];
        for opening in readers.into_iter().filter_map(|reader| record.open(reader)) {
            receipts.push(Receipt {
                opening,
                position: at as u64,
                path: merkle::inclusion_path(&leaves[..size], at).expect("a path"),
                checkpoint: note.to_owned(),
            });
        }
    }
    receipts
}

fn sealed(ledger: &Ledger, records: &[Record]) -> Vec<Sealed> {
    let mut sealed = Vec::new();
    for (at, record) in (0..).zip(records) {
        if let Fact::Accepted(accepted) = &record.fact {
            let bodies = ledger.engine.bodies(at).expect("bodies");
            let whole = accepted.to_sealed(bodies.as_ref()).expect("a bulletin");
            sealed.push(redact(&whole, &[0]));
            sealed.push(whole);
        }
    }
    sealed
}

fn promise(ledger: &Ledger, sealed: &Sealed) -> SignedPromise {
    let promise = Promise {
        ledger: ledger.id(),
        originator: partner("norland"),
        items: vec![PromiseItem {
            bulletin: sealed.id,
            header: sealed.header_hash(),
            position: 4,
        }],
        time: ledger.now,
        merge_delay: entente::ledger::MERGE_DELAY,
    };
    SignedPromise::sign(&promise, &key(1)).expect("signed")
}
