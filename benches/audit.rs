//! How fast an auditor goes through a ledger, and with how much memory: bulletins of four parts to three
//! recipients, signed in bursts of 16 and one by one, each acknowledged. `cargo bench --bench audit` uses
//! 100,000 records; `RECORDS=1000000` a million.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::cast_precision_loss,
    reason = "a benchmark shows its figures, and is one story"
)]

#[path = "../tests/support/ledger.rs"]
mod ledger;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use entente::audit::{Audited, verify};
use entente::bulletin::{Draft, Precedence, VerifiedBursts, open, seal};
use entente::clock::SeededEntropy;
use entente::ledger::{
    Ack, Engine, Fact, Group, LaneAck, LaneChain, Proposal, SignedAck, State, sequence,
};
use entente::partner::PartnerId;
use entente::proof::Checkpoint;
use entente::store::EmbeddedEngine;
use entente::testing::Scratch;
use ledger::{Ledger, NAME, key, partner};

const DRAFT: &str = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n\
[[part]]\ntype = \"ip\"\nvalue = \"192.0.2.1\"\n\
[[part]]\ntype = \"domain\"\nvalue = \"bad.example\"\n\
[[part]]\ntype = \"narrative\"\ntext = \"seen this morning in three networks\"\n\
[[part]]\ntype = \"source\"\ndescription = \"a sensor\"\n";
const RECIPIENTS: [(&str, u8); 3] = [("estmark", 20), ("sudland", 30), ("ostland", 40)];
/// Bulletins between two acknowledgements of a recipient.
const ACKNOWLEDGED: usize = 64;

fn main() {
    // The auditor is a process of its own: its memory is nobody else's.
    if let Ok(directory) = std::env::var("AUDIT_LEDGER") {
        return audit(Path::new(&directory));
    }
    let records = std::env::var("RECORDS").ok();
    let records = records.and_then(|count| count.parse().ok());
    let records: u64 = records.unwrap_or(100_000);
    for burst in [16, 1] {
        let scratch = Scratch::new().expect("a directory");
        let began = Instant::now();
        let size = write(&scratch.path().join("ledger"), records, burst);
        let written = began.elapsed().as_secs_f64();
        println!("bursts of {burst}: {size} records written in {written:.0} s");
        let program = std::env::current_exe().expect("this program");
        let status = Command::new(program)
            .env("AUDIT_LEDGER", scratch.path())
            .status();
        assert!(status.expect("an auditor").success());
    }
}

/// Audits the ledger in a directory, and says how long that took and how much memory.
fn audit(directory: &Path) {
    let engine = EmbeddedEngine::open(&directory.join("ledger")).expect("a ledger");
    let note = std::fs::read_to_string(directory.join("head")).expect("a checkpoint");
    let began = Instant::now();
    let mut quarters = Vec::new();
    let quarter = engine.size() / 4;
    let progress = |done: u64| {
        if done >= quarter * (quarters.len() as u64 + 1) {
            quarters.push(resident());
        }
    };
    let audited: Audited = verify(&engine, Some(note), progress).expect("it holds");
    let elapsed = began.elapsed();
    assert_eq!(audited.signed, Some(audited.records));
    println!(
        "  audited in {:.1} s: {:.0} records/s, {} releases; resident after each quarter {quarters:?} MiB",
        elapsed.as_secs_f64(),
        audited.records as f64 / elapsed.as_secs_f64(),
        audited.releases
    );
}

/// MiB of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    number.unwrap_or(0) / 1024
}

/// Writes a ledger of about so many records; how many they are.
fn write(path: &Path, records: u64, burst: usize) -> u64 {
    let mut begun = Ledger::new(1);
    let norland = begun.admit("norland", 10);
    let mut parties = format!("\"norland.example\" = \"{}\"\n", norland.hash());
    let mut signers = vec![("norland", 10)];
    for (name, seed) in RECIPIENTS {
        let key_set = begun.admit(name, seed);
        let _ = writeln!(parties, "\"{name}.example\" = \"{}\"", key_set.hash());
        signers.push((name, seed));
    }
    let text = format!(
        "name = \"cyber\"\nversion = 1\nledger = \"{}\"\nvalid_from = \"2026-01-01T00:00:00Z\"\n\
         valid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n{parties}[[clause]]\nid = \"feed\"\n\
         from = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\n\
         tlp = \"TLP:AMBER\"\nwithhold = [\"source\"]\n",
        begun.id(),
    );
    begun.ratify(&text, &signers);
    let engine = EmbeddedEngine::open(path).expect("a ledger");
    engine.append(0, &begun.stored()).expect("written");
    let mut writer = Writer {
        now: begun.now,
        state: begun.state,
        engine,
        entropy: SeededEntropy::new(2),
        bursts: VerifiedBursts::new(64),
        chains: Vec::new(),
    };
    writer.chains = RECIPIENTS
        .map(|(name, seed)| Lane {
            recipient: partner(name),
            seed,
            chain: LaneChain::start(
                writer.state.ledger().expect("a ledger"),
                &partner(name),
                Precedence::Routine,
            ),
            number: 0,
        })
        .into();
    let draft = Draft::from_toml(DRAFT).expect("a bulletin");
    while writer.state.size() < records {
        writer.publish(&draft, burst);
    }
    let checkpoint = Checkpoint {
        origin: NAME.into(),
        size: writer.state.size(),
        root: writer.state.root(),
    };
    let note = checkpoint.sign(&key(1)).expect("signed");
    std::fs::write(path.with_file_name("head"), note).expect("written");
    checkpoint.size
}

struct Lane {
    recipient: PartnerId,
    seed: u8,
    chain: LaneChain,
    number: u64,
}

struct Writer {
    now: entente::clock::Timestamp,
    state: State,
    engine: EmbeddedEngine,
    entropy: SeededEntropy,
    bursts: VerifiedBursts,
    chains: Vec<Lane>,
}

impl Writer {
    /// As many bulletins as are acknowledged together.
    fn publish(&mut self, draft: &Draft, burst: usize) {
        self.now = self.now.saturating_add(Duration::from_millis(10));
        let norland = partner("norland");
        let mut proposals = VecDeque::new();
        for _ in 0..ACKNOWLEDGED / burst {
            let unsealed = (0..burst).map(|_| {
                let draft = draft.clone();
                draft
                    .into_unsealed(&norland, self.now, &self.entropy)
                    .expect("valid")
            });
            let sealed = seal(unsealed.collect(), &key(11), &self.entropy).expect("sealed");
            for one in sealed {
                let submission = open(one, self.now, self.state.registry(), &mut self.bursts)
                    .and_then(|verified| verified.into_submission(&norland, self.now))
                    .expect("verified");
                proposals.push_back(Proposal::Bulletin(Box::new(submission)));
            }
        }
        self.commit(proposals);
        let ledger = self.state.ledger().expect("a ledger");
        let acks = self.chains.iter().map(|lane| {
            let lanes = vec![LaneAck {
                precedence: Precedence::Routine,
                up_to: lane.number,
                chain: lane.chain.0,
            }];
            let ack = Ack {
                ledger,
                recipient: lane.recipient.clone(),
                lanes,
                time: self.now,
            };
            let signed = SignedAck::sign(ack, &key(lane.seed + 1)).expect("signed");
            Proposal::Acknowledgement(signed)
        });
        self.commit(acks.collect());
    }

    fn commit(&mut self, mut proposals: VecDeque<Proposal>) {
        while !proposals.is_empty() {
            let group: Group =
                sequence(&self.state, &mut proposals, self.now, &self.entropy).expect("a group");
            let durable = group.append(&self.engine).expect("written");
            durable.fold_into(&mut self.state);
            for one in durable.records() {
                if !matches!(one.record.fact, Fact::Accepted(_)) {
                    continue;
                }
                for release in &one.record.releases {
                    let lane = self
                        .chains
                        .iter_mut()
                        .find(|lane| lane.recipient == release.release.recipient)
                        .expect("a recipient");
                    let withheld = &release.release.withheld;
                    lane.chain = lane
                        .chain
                        .delivered(release.number, &release.bulletin, withheld);
                    lane.number = release.number;
                }
            }
        }
    }
}
