//! The broker's commit path: bulletins, an acknowledgement, a withdrawal and checkpoints between them,
//! with a fault at every step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use entente::agreement::{SignedWithdrawal, Withdrawal};
use entente::audit;
use entente::broker::{Answer, Config, Log, open_log, open_log_on};
use entente::bulletin::{BulletinId, Draft, Precedence, Sealed, VerifiedBursts, open, seal};
use entente::clock::{Entropy, ManualClock, SeededEntropy};
use entente::identity::write_secret_key;
use entente::ledger::{Ack, Engine, Fact, LaneAck, LaneChain, Proposal, Record, SignedAck};
use entente::proof::merkle::{self, leaf_hash};
use entente::proof::{Checkpoint, Digest, NoteKey, Signer};
use entente::store::{Disk, EmbeddedEngine, HeadFile, released};

use crate::disk::{FAULTS, Fault, FaultyDisk, Then};
use crate::ledger::{Ledger, NAME, key, partner, signed, start};

/// What is done to the log, in order.
enum Act {
    Publish(Vec<Sealed>),
    Propose(Box<dyn Fn() -> Proposal>),
    Sign,
}

/// A broker's directory before anything happens, and what will.
struct Script {
    directory: tempfile::TempDir,
    acts: Vec<Act>,
}

fn bulletin(text: &str, entropy: &SeededEntropy) -> Sealed {
    let draft = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\nprecedence = \"ROUTINE\"\n[[part]]\n\
         type = \"narrative\"\ntext = \"{text}\"\n"
    );
    let draft = Draft::from_toml(&draft).expect("a bulletin");
    let unsealed = draft.into_unsealed(&partner("norland"), start(), entropy);
    seal(vec![unsealed.expect("valid")], &key(11), entropy)
        .expect("sealed")
        .remove(0)
}

impl Script {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut ledger = Ledger::new(7);
        let parties = [ledger.admit("norland", 10), ledger.admit("estmark", 20)];
        let text = format!(
            "name = \"cyber\"\nversion = 1\nledger = \"{}\"\nvalid_from = \
             \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n\
             \"norland.example\" = \"{}\"\n\"estmark.example\" = \"{}\"\n[[clause]]\nid = \
             \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\nregions = \
             [\"*\"]\ntlp = \"TLP:AMBER\"\n",
            ledger.id(),
            parties[0].hash(),
            parties[1].hash()
        );
        let agreement = signed(&text, &[("norland", 10), ("estmark", 20)]);
        ledger.record(Proposal::Fact(Fact::AgreementRatified(agreement.clone())));
        let root = directory.path();
        let engine = EmbeddedEngine::open(&root.join("ledger")).expect("an engine");
        engine.append(0, &ledger.stored()).expect("written");
        drop(engine);
        write_secret_key(&root.join("log.key"), &key(1)).expect("a key");
        let config = "spiffe_id = \"spiffe://alliance.example/broker/1\"\nlisten = \"127.0.0.1:0\"\nledger = \
                      \"ledger\"\nhead = \"head\"\ncontrol = \"broker.sock\"\nlog_key = \
                      \"log.key\"\n[tls]\ncertificate = \"none\"\nkey = \"none\"\n";
        std::fs::write(root.join("broker.toml"), config).expect("written");

        let entropy = SeededEntropy::new(9);
        let [one, two, three, four] =
            ["one", "two", "three", "four"].map(|text| bulletin(text, &entropy));
        let id = ledger.id();
        let chain = LaneChain::start(id, &partner("estmark"), Precedence::Routine);
        let ack = Ack {
            ledger: id,
            recipient: partner("estmark"),
            lanes: vec![LaneAck {
                precedence: Precedence::Routine,
                up_to: 1,
                chain: chain.delivered(1, &one.header_hash(), &[]).0,
            }],
            time: start(),
        };
        let ack = SignedAck::sign(ack, &key(21)).expect("signed");
        let withdrawal = Withdrawal {
            ledger: id.0,
            agreement: agreement.id(),
            partner: partner("norland"),
            time: start(),
            reason: "a test".into(),
        };
        let withdrawal = SignedWithdrawal::sign(withdrawal, &key(10)).expect("signed");
        let acknowledge = move || Proposal::Acknowledgement(ack.clone());
        let withdraw = move || Proposal::Fact(Fact::AgreementWithdrawn(withdrawal.clone()));
        let acts = vec![
            Act::Publish(vec![one]),
            Act::Sign,
            Act::Publish(vec![two, three]),
            Act::Propose(Box::new(acknowledge)),
            Act::Sign,
            Act::Propose(Box::new(withdraw)),
            Act::Publish(vec![four]),
            Act::Sign,
        ];
        Self { directory, acts }
    }

    /// A copy of the directory, to be spoilt.
    fn stage(&self) -> tempfile::TempDir {
        let stage = tempfile::tempdir().expect("a directory");
        copy(self.directory.path(), stage.path());
        stage
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// What somebody was told.
#[derive(Debug, Default)]
struct Told {
    /// Where bulletins stand: promises, and everything that is delivered, follow from this.
    positions: BTreeMap<BulletinId, u64>,
    /// How far the log has come: whatever stands below is delivered.
    size: u64,
    /// The checkpoints that were shown.
    notes: BTreeSet<String>,
}

impl Told {
    async fn act(&mut self, log: &Log, act: &Act) -> Result<(), String> {
        match act {
            Act::Publish(bulletins) => {
                // Proposed together: one group, or as the writer finds them.
                let proposed = bulletins.iter().map(|sealed| {
                    let (proposal, log) = (submission(log, sealed), log.clone());
                    tokio::spawn(async move { log.propose(proposal).await })
                });
                let proposed: Vec<_> = proposed.collect();
                for (sealed, answer) in bulletins.iter().zip(proposed) {
                    let answer = answer.await.expect("no panic");
                    let answer = answer.map_err(|error| error.to_string())?;
                    let Answer::Recorded { position, .. } = answer else {
                        panic!("{answer:?}")
                    };
                    let before = self.positions.insert(sealed.id, position);
                    assert!(
                        before.is_none_or(|before| before == position),
                        "{} was promised at {before:?} and at {position}",
                        sealed.id
                    );
                }
            }
            Act::Propose(proposal) => {
                let answer = log.propose(proposal()).await;
                answer.map_err(|error| error.to_string())?;
            }
            Act::Sign => {
                let signed = log.close(&key(1), start());
                self.look(log);
                signed.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn look(&mut self, log: &Log) {
        self.size = self.size.max(log.size());
        self.notes.extend(log.checkpoint());
    }

    /// Everything that was told is so.
    fn check(&self, engine: &dyn Engine, head: &Path) {
        assert!(engine.size() >= self.size, "records are missing");
        let records = engine.read(0, 9_999).expect("records");
        let mut accepted: BTreeMap<BulletinId, u64> = BTreeMap::new();
        for (position, bytes) in (0..).zip(&records) {
            if let Fact::Accepted(one) = Record::from_bytes(bytes).expect("a record").fact {
                let before = accepted.insert(one.header.id, position);
                assert_eq!(before, None, "{} is there twice", one.header.id);
            }
        }
        for (id, position) in &self.positions {
            assert_eq!(accepted.get(id), Some(position), "{id} was promised there");
        }
        let leaves: Vec<Digest> = engine
            .entries(0, 9_999)
            .expect("entries")
            .iter()
            .map(|entry| leaf_hash(&[entry]))
            .collect();
        let log = NoteKey::new(NAME, key(1).public_key()).expect("a key");
        let kept = HeadFile::new(head).load().expect("a file");
        for note in self.notes.iter().chain(&kept) {
            let shown = Checkpoint::verify(note, &log).expect("signed");
            let size = usize::try_from(shown.size).expect("small");
            assert!(size <= leaves.len(), "{size} records were signed");
            assert_eq!(merkle::root(&leaves[..size]), shown.root, "another history");
        }
        let newest = |note: &String| Checkpoint::verify(note, &log).expect("signed").size;
        let shown = self.notes.iter().map(newest).max();
        assert!(kept.as_ref().map(newest) >= shown, "a head was taken back");
        let audited = audit::verify_with_contents(engine, kept, |_| {});
        let audited = audited.unwrap_or_else(|finding| panic!("{finding}"));
        assert!(audited.disputed.is_empty());
    }
}

fn submission(log: &Log, sealed: &Sealed) -> Proposal {
    let mut bursts = VerifiedBursts::new(1);
    let state = log.state();
    let verified = open(sealed.clone(), start(), state.registry(), &mut bursts);
    let submission = verified.and_then(|one| one.into_submission(&partner("norland"), start()));
    Proposal::Bulletin(Box::new(submission.expect("verified")))
}

fn entropy() -> Arc<dyn Entropy> {
    // Another stream each time: a record made again has other salts.
    Arc::new(entente::clock::SystemEntropy::new())
}

fn config(stage: &Path) -> (Config, PathBuf) {
    let config = Config::load(&stage.join("broker.toml")).expect("a configuration");
    let head = config.head.clone();
    (config, head)
}

async fn leave(log: Log) {
    let held = log.engine().held();
    drop(log);
    released(&held).await;
}

/// Plays the script on a disk that fails, starts again, and looks. Whether it came to the fault.
async fn play(script: &Script, at: u64, fault: Fault, then: Then) -> bool {
    let stage = script.stage();
    let (config, head) = config(stage.path());
    let disk = Arc::new(FaultyDisk::new(at, fault, then));
    let mut told = Told::default();
    let clock = || Arc::new(ManualClock::new(start()));
    let on: Arc<dyn Disk> = Arc::clone(&disk) as _;
    if let Ok(log) = open_log_on(on, &config, clock(), entropy()) {
        for act in &script.acts {
            let done = told.act(&log, act).await;
            told.look(&log);
            if done.is_err() && then == Then::Dies {
                break;
            }
        }
        leave(log).await;
    }
    // From what is there.
    let log = open_log(&config, clock(), entropy()).expect("it starts again");
    told.check(log.engine().as_ref(), &head);
    for act in &script.acts {
        told.act(&log, act).await.expect("work goes on");
        told.look(&log);
    }
    told.check(log.engine().as_ref(), &head);
    assert_eq!(told.positions.len(), 4);
    leave(log).await;
    disk.failed()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_step_of_the_brokers_fails_nobody_was_told_what_is_not_so() {
    let script = Script::new();
    for then in [Then::GoesOn, Then::Dies] {
        for fault in FAULTS {
            let mut at = 1;
            while play(&script, at, fault, then).await {
                at += 1;
            }
            // Appends, snapshots, and four steps for each checkpoint.
            assert!(at > 15, "only {at} steps");
        }
    }
}
