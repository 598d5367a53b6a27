//! How long a broker takes to join others on a stream: reading all of it, and from a snapshot, side by side in one
//! run. What reading and folding cost each is measured one after the other; a broker that joins folds what it has just read. `cargo bench --bench join` uses 200,000 records; `RECORDS`, and `GROUP` records in each message, change that.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark shows its figures"
)]

#[path = "../tests/support/nats.rs"]
mod nats;
#[path = "../tests/support/python.rs"]
mod python;
mod written;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use entente::broker::{Config, LogEngine, join, open_engine, open_log};
use entente::identity::read_secret_key;
use entente::ledger::{Engine, StoredRecord};
use entente::proof::merkle::{Frontier, leaf_hash};
use entente::proof::{Checkpoint, Signer};
use entente::stream::{StreamConfig, StreamEngine};
use nats::{Nats, nats_server};
use written::Written;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let number = |name: &str, default| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (records, group) = (number("RECORDS", 200_000), number("GROUP", 16));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(records, usize::try_from(group).expect("small")));
}

/// A moment, and the processor time of this process until then.
struct Since(Instant, Duration);

impl Since {
    fn now() -> Self {
        let own = procfs::process::Process::myself().and_then(|own| own.stat());
        let stat = own.expect("a process");
        let ticks = stat.utime + stat.stime;
        let processor = ticks as f64 / procfs::ticks_per_second() as f64;
        Self(Instant::now(), Duration::from_secs_f64(processor))
    }

    fn show(&self, what: &str, records: u64) {
        let Self(until, processor) = Self::now();
        let took = until.saturating_duration_since(self.0).as_secs_f64();
        let processor = processor.saturating_sub(self.1).as_secs_f64();
        let (rate, each) = (records as f64 / took, 1e6 * processor / records as f64);
        let million = 1e7 / rate / 60.0;
        println!(
            "{what}: {took:.1} s, {rate:.0} records/s, {each:.0} \u{b5}s of processor each; ten million in {million:.1} min"
        );
    }
}

async fn measure(records: u64, group: usize) {
    let Some(program) = nats_server() else { return };
    let written = written::write(records, written::SHORT).await;
    let nats = Nats::start(program, written.scratch.path(), 1).await;
    let stream = |name: &str| Config {
        ledger: nats.url().into(),
        head: written.scratch.path().join(format!("head-{name}")),
        stream: StreamConfig {
            name: "join".into(),
            replicas: 1,
            cache: written.scratch.path().join(format!("cache-{name}")),
            ..StreamConfig::default()
        },
        ..written.config.clone()
    };
    tokio::task::block_in_place(|| {
        let bytes = fill(&stream("first"), &written, group);
        println!(
            "{records} records, {group} in a message, {} bytes each",
            bytes / records
        );
        read(&stream("second"), &written, records);
        let began = Since::now();
        open(&stream("fourth"), &written, records);
        began.show("from the stream, all", records);
        let file = snapshot(&stream("second"), &written, records);
        begin(&stream("third"), &written, records, &file);
    });
}

/// Puts the ledger into the stream, so many records in a message; how many bytes they are.
fn fill(config: &Config, written: &Written, group: usize) -> u64 {
    let key = Arc::new(read_secret_key(&config.log_key).expect("a key"));
    let target = LogEngine::create(config, key, Arc::clone(&written.entropy)).expect("a stream");
    let source = written.log.engine();
    let (mut next, mut bytes) = (0, 0);
    while next < source.size() {
        // Without bodies: a broker that joins leaves them on the servers.
        let records = source.read(next, group).expect("records");
        let entries = source.entries(next, group).expect("entries");
        bytes += records.iter().map(|one| one.len() as u64).sum::<u64>();
        let stored = records.into_iter().zip(entries);
        let stored: Vec<StoredRecord> = stored
            .map(|(record, entry)| StoredRecord {
                record,
                bodies: None,
                entry,
                erases: Vec::new(),
            })
            .collect();
        next = target.append(next, &stored).expect("appended");
    }
    bytes
}

/// Joins by reading the whole stream.
fn read(config: &Config, written: &Written, records: u64) {
    let began = Since::now();
    let engine = open_engine(config, Arc::clone(&written.entropy)).expect("an engine");
    assert_eq!(engine.size(), records);
    began.show("reading, verifying, writing", records);
    let held = engine.held();
    drop(engine);
    while held.upgrade().is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let folding = Since::now();
    open(config, written, records);
    folding.show("folding", records);
    began.show("one after the other", records);
}

fn open(config: &Config, written: &Written, records: u64) {
    let (clock, entropy) = (Arc::clone(&written.clock), Arc::clone(&written.entropy));
    let log = open_log(config, clock, entropy).expect("a log");
    assert_eq!(log.size(), records);
}

/// Writes a snapshot, under a checkpoint over all.
fn snapshot(config: &Config, written: &Written, records: u64) -> PathBuf {
    let key = Arc::new(read_secret_key(&config.log_key).expect("a key"));
    let engine = StreamEngine::open(
        &config.ledger,
        &config.stream,
        "broker",
        Arc::clone(&key) as Arc<dyn Signer>,
        Arc::clone(&written.entropy),
    );
    let engine = engine.expect("an engine");
    let mut tree = Frontier::new();
    while tree.size() < records {
        for entry in engine.entries(tree.size(), 4_096).expect("entries") {
            tree.push(leaf_hash(&[&entry]));
        }
    }
    let checkpoint = Checkpoint {
        origin: "alliance.example".to_owned(),
        size: records,
        root: tree.root(),
    };
    let note = checkpoint.sign(key.as_ref()).expect("signed");
    let began = Since::now();
    let (file, _) = engine.snapshot(&note, records).expect("a snapshot");
    began.show("writing a snapshot", records);
    let bytes = std::fs::metadata(&file).expect("a file").len();
    println!("the snapshot has {} bytes for each record", bytes / records);
    file
}

/// Joins from a snapshot.
fn begin(config: &Config, written: &Written, records: u64, file: &Path) {
    let (clock, entropy) = (Arc::clone(&written.clock), Arc::clone(&written.entropy));
    let began = Since::now();
    let mut shown = false;
    let joined = join(config, file, clock, entropy, |done, all| {
        if done == all && !shown {
            shown = true;
            began.show("verifying, writing", records);
        }
    });
    assert_eq!(joined.expect("joined").records, records);
    began.show("from a snapshot, all", records);
}
