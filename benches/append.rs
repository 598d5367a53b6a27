//! What the ledger on a stream takes in, without sessions and originators: prepared records of bulletins of 1 KiB through
//! the engine, in groups, each of which waits for its contents and then for itself, beside messages of 1 KiB that are published to a stream with as many
//! copies, on the same three servers, in turn. `cargo bench --bench append` uses 20,000 of each; `RECORDS`, `ROUNDS`, and
//! `GROUP` (how many records in each: `64,256,1024`) change that.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark shows its figures"
)]

#[path = "../tests/support/nats.rs"]
mod nats;
#[path = "../tests/support/python.rs"]
mod python;
#[allow(dead_code, reason = "each benchmark uses its part")]
mod written;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use entente::broker::LogEngine;
use entente::identity::read_secret_key;
use entente::ledger::{Engine, StoredRecord};
use entente::proof::Signer;
use entente::stream::{StreamConfig, StreamEngine};
use nats::{Nats, nats_server};
use written::Written;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COPIES: usize = 3;
/// Bytes of contents of a bulletin, and of a message.
const BYTES: usize = 1024;
/// Publishers of messages, and how many each has under way: as in `entente bench W9`.
const PUBLISHERS: usize = 4;
const OUTSTANDING: usize = 256;

fn main() {
    let number = |name: &str, default: u64| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let groups = std::env::var("GROUP").unwrap_or_else(|_| "64,256,1024".into());
    let groups = groups
        .split(',')
        .map(|one| one.parse::<usize>().expect("a number").max(1));
    let (records, rounds) = (number("RECORDS", 20_000), number("ROUNDS", 3));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(records, rounds, &groups.collect::<Vec<_>>()));
}

/// Processor time of processes until now.
fn processor(processes: &[i32]) -> Duration {
    let of = |id: &i32| {
        let process = procfs::process::Process::new(*id).and_then(|one| one.stat());
        let stat = process.expect("a process");
        (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
    };
    Duration::from_secs_f64(processes.iter().map(of).sum())
}

/// A moment, and what the servers and this process had used by then.
struct Since {
    at: Instant,
    servers: Duration,
    own: Duration,
}

impl Since {
    fn now(nats: &Nats) -> Self {
        let process = |at| i32::try_from(nats.process(at)).expect("an id");
        let servers: Vec<i32> = (0..COPIES).map(process).collect();
        let own = i32::try_from(std::process::id()).expect("an id");
        Self {
            at: Instant::now(),
            servers: processor(&servers),
            own: processor(&[own]),
        }
    }

    /// Shows what was done since, and returns how many a second.
    fn show(&self, nats: &Nats, what: &str, count: u64) -> f64 {
        let until = Self::now(nats);
        let rate = count as f64 / until.at.duration_since(self.at).as_secs_f64();
        let each = |until: Duration, since: Duration| {
            1e6 * until.saturating_sub(since).as_secs_f64() / count as f64
        };
        println!(
            "{what}: {rate:.0}/s; processor time of each: servers {:.0} \u{b5}s, this process {:.0} \u{b5}s",
            each(until.servers, self.servers),
            each(until.own, self.own)
        );
        rate
    }
}

async fn measure(records: u64, rounds: u64, groups: &[usize]) {
    let Some(program) = nats_server() else { return };
    let told = BYTES - "192.0.2.1".len();
    let sentence = "Three organisations saw connections to this server in the last night. ";
    let text: String = sentence.chars().cycle().take(told).collect();
    let short = written::SHORT;
    let says = format!("{short}[[part]]\ntype = \"narrative\"\ntext = \"{text}\"\n");
    let written = written::write(records, &says).await;
    let source = written.log.engine().read(2, 1).expect("a record");
    println!(
        "{records} records of {} bytes, contents beside",
        source[0].len()
    );
    let nats = Nats::start(program, written.scratch.path(), COPIES).await;
    let mut ratios = vec![Vec::new(); groups.len()];
    for round in 1..=rounds {
        let peer = publish(&nats, round, records).await;
        for (group, ratios) in groups.iter().zip(&mut ratios) {
            let home = written
                .scratch
                .path()
                .join(format!("cache-{round}-{group}"));
            let config = StreamConfig {
                name: format!("append-{round}-{group}"),
                replicas: COPIES,
                cache: home,
                ..StreamConfig::default()
            };
            let url = nats.url();
            let rate = tokio::task::block_in_place(|| {
                append(&nats, Path::new(&url), &config, &written, *group)
            });
            ratios.push(rate / peer);
        }
    }
    for (group, mut ratios) in groups.iter().zip(ratios) {
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        println!("{group} records in a group: {median:.2} x (median of {rounds})");
    }
}

/// Messages to a stream, as publishers send them: with so many under way.
async fn publish(nats: &Nats, round: u64, count: u64) -> f64 {
    let name = format!("messages-{round}");
    let config = stream::Config {
        name: name.clone(),
        subjects: vec![format!("{name}.*")],
        storage: stream::StorageType::File,
        num_replicas: COPIES,
        ..stream::Config::default()
    };
    let url = nats.url();
    let servers: Vec<async_nats::ServerAddr> = (url.trim_start_matches("nats://").split(','))
        .map(|one| format!("nats://{one}").parse().expect("an address"))
        .collect();
    let mut clients = Vec::new();
    for _ in 0..PUBLISHERS {
        let client = async_nats::connect(servers.clone())
            .await
            .expect("a server");
        clients.push(jetstream::new(client));
    }
    clients[0].create_stream(config).await.expect("a stream");
    let body = Bytes::from(vec![b'x'; BYTES]);
    let since = Since::now(nats);
    let mut publishing = tokio::task::JoinSet::new();
    for (number, context) in clients.into_iter().enumerate() {
        let (subject, body) = (format!("{name}.{number}"), body.clone());
        publishing.spawn(async move {
            let mut open = VecDeque::with_capacity(OUTSTANDING);
            for _ in 0..count / PUBLISHERS as u64 {
                if open.len() == OUTSTANDING
                    && let Some(first) = open.pop_front()
                {
                    let first: jetstream::context::PublishAckFuture = first;
                    first.await.expect("stored");
                }
                let sent = context.publish(subject.clone(), body.clone()).await;
                open.push_back(sent.expect("sent"));
            }
            for one in open {
                one.await.expect("stored");
            }
        });
    }
    while let Some(done) = publishing.join_next().await {
        done.expect("published");
    }
    let each = count / PUBLISHERS as u64 * PUBLISHERS as u64;
    since.show(nats, "JetStream alone, messages of 1 KiB", each)
}

/// The ledger's records through the engine, so many in a group.
fn append(
    nats: &Nats,
    servers: &Path,
    config: &StreamConfig,
    written: &Written,
    group: usize,
) -> f64 {
    let key = Arc::new(read_secret_key(&written.config.log_key).expect("a key"));
    let entropy = Arc::clone(&written.entropy);
    let signer = key as Arc<dyn Signer>;
    let target = StreamEngine::create(servers, config, "broker", signer, entropy);
    let target = target.expect("a stream");
    // The ledger's beginning, and the partner: what a broker has when it starts.
    let source = written.log.engine();
    let next = target.append(0, &stored(source, 0, 2)).expect("appended");
    let starts = (next..source.size()).step_by(group);
    let all: Vec<Vec<StoredRecord>> = starts.map(|start| stored(source, start, group)).collect();
    let since = Since::now(nats);
    let mut size = next;
    for one in &all {
        size = target.append(size, one).expect("appended");
    }
    assert_eq!(size, source.size());
    let what = format!("the ledger, {group} records in a group");
    since.show(nats, &what, size - next)
}

fn stored(source: &LogEngine, from: u64, count: usize) -> Vec<StoredRecord> {
    let stored = source.stored(from, count, usize::MAX).expect("records");
    let all = usize::try_from(source.size() - from).expect("few");
    assert_eq!(stored.len(), count.min(all), "all of them at once");
    stored
}
