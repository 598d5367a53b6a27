//! An alliance of 10,000 nodes and 100 brokers, on paper: what each part costs, and where it breaks first.
//!
//! Not a measurement: unit costs that were measured (`RESULTS.md`, `UNITS` below) put together, and a simulation of the
//! one thing that does not add up, brokers that append at once. `cargo bench --bench alliance`; the seed is printed.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a model prints its figures, in floating point"
)]

use std::collections::BinaryHeap;

/// Unit costs, microseconds of one core of the machine of `RESULTS.md`: its W1 profile in shares of 99 µs for a
/// bulletin to three recipients, W4 for nodes, W9 for appends.
struct Units {
    /// Reading, verifying and deciding a submission; signing its promise.
    take: f64,
    /// Decoding and folding a record that another broker appended.
    fold: f64,
    /// Finding, permitting, redacting and sending one delivery, and reading what acknowledges it.
    deliver: f64,
    /// One handshake, both ends.
    handshake: f64,
    /// Memory of an idle node, KiB.
    idle_kib: f64,
    /// Bytes of a record in the log with 1 KiB of contents beside it, and of an acknowledgement.
    record: f64,
    acknowledgement: f64,
    /// An append at three copies, synced, until it is acknowledged, milliseconds; and the news of it elsewhere.
    append_ms: f64,
    news_ms: f64,
}

const UNITS: Units = Units {
    take: 45.0,
    fold: 17.0,
    deliver: 12.0,
    handshake: 1_900.0,
    idle_kib: 76.0,
    record: 1_500.0,
    acknowledgement: 420.0,
    append_ms: 6.0,
    news_ms: 2.0,
};

/// What a broker leaves to others after it appended, where they append, too (`broker/writer.rs`).
const YIELD_MS: f64 = 4.0;

/// What an alliance does.
struct Alliance {
    nodes: f64,
    brokers: usize,
    /// Bulletins in a second, of all.
    rate: f64,
    /// To how many each goes.
    recipients: f64,
    /// A recipient that receives steadily acknowledges once in so many milliseconds at most.
    acknowledge_ms: f64,
}

/// Numbers from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// When a broker sends a group, or (`true`) when the leader decides about it.
#[derive(PartialEq)]
struct At(f64, usize, bool);

impl Eq for At {}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.total_cmp(&self.0)
    }
}

/// What came of brokers that append at once.
struct Raced {
    groups: f64,
    conflicts: f64,
    records: f64,
    wait_ms: f64,
}

/// Brokers append what came since their last group, each knowing the end of the log as of the last news. One whose
/// place is taken waits for the news and a moment that doubles (`broker/writer.rs`), and tries again.
fn race(brokers: usize, records_a_second: f64, dice: &mut Dice) -> Raced {
    const SECONDS: f64 = 20.0;
    let (append, news) = (UNITS.append_ms, UNITS.news_ms);
    let each = records_a_second / 1_000.0 / brokers as f64;
    let mut tries = vec![0u32; brokers];
    // Records that came before this moment are in a group of their broker.
    let mut until = vec![0.0; brokers];
    // When it sent what is under way, and how many groups it knew of then.
    let mut sent = vec![0.0; brokers];
    let mut after = vec![0; brokers];
    // When each group was decided: others hear of it later.
    let mut log: Vec<f64> = Vec::new();
    let mut due: BinaryHeap<At> = (0..brokers)
        .map(|broker| At(dice.next() * append, broker, false))
        .collect();
    let (mut conflicts, mut records, mut waited) = (0u64, 0.0, 0.0);
    while let Some(At(now, broker, decided)) = due.pop() {
        if now > SECONDS * 1_000.0 {
            break;
        }
        if !decided {
            sent[broker] = now;
            let heard = log.partition_point(|at| at + news <= now);
            // Of its own groups it knows when they are acknowledged, which it waits for.
            after[broker] = after[broker].max(heard);
            due.push(At(now + append / 2.0, broker, true));
            continue;
        }
        let answered = now + append / 2.0;
        let next = if after[broker] == log.len() {
            let group = ((sent[broker] - until[broker]) * each).min(1_024.0);
            records += group;
            waited += group * (answered - f64::midpoint(sent[broker], until[broker]));
            until[broker] = sent[broker];
            log.push(now);
            after[broker] = log.len();
            tries[broker] = 0;
            // At once where something came meanwhile, or when something comes.
            let idle = (1.0 / each - append).max(0.0);
            answered + idle * 2.0 * dice.next() + if brokers > 1 { YIELD_MS } else { 0.0 }
        } else {
            conflicts += 1;
            let pause = f64::from(1u32 << tries[broker].min(3)) * dice.next();
            tries[broker] += 1;
            // It reads what was appended, from the leader.
            after[broker] = log.len();
            answered + news + if tries[broker] > 1 { pause } else { 0.0 }
        };
        due.push(At(next, broker, false));
    }
    let groups = log.len();
    Raced {
        groups: groups as f64 / SECONDS,
        conflicts: conflicts as f64 / SECONDS,
        records: records / SECONDS,
        wait_ms: waited / records.max(1.0),
    }
}

fn main() {
    let seed = std::env::var("ENTENTE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(1);
    println!("ENTENTE_SEED={seed}\n");
    let mut dice = Dice(seed);
    println!("Brokers that append at once, 2,000 records a second together:");
    println!(
        "{:>8} {:>10} {:>12} {:>12} {:>10}",
        "brokers", "groups/s", "conflicts/s", "records/s", "wait ms"
    );
    for brokers in [1, 2, 3, 10, 30, 100] {
        let raced = race(brokers, 2_000.0, &mut dice);
        println!(
            "{brokers:>8} {:>10.0} {:>12.0} {:>12.0} {:>10.1}",
            raced.groups, raced.conflicts, raced.records, raced.wait_ms
        );
    }
    println!();
    for (name, rate, recipients) in [
        ("a quiet day: 2 bulletins a second to 50", 2.0, 50.0),
        ("a busy day: 50 a second to 50", 50.0, 50.0),
        ("a crisis: 200 a second to 500", 200.0, 500.0),
    ] {
        let alliance = Alliance {
            nodes: 10_000.0,
            brokers: 100,
            rate,
            recipients,
            acknowledge_ms: 5.0,
        };
        show(name, &alliance);
    }
}

fn show(name: &str, alliance: &Alliance) {
    let brokers = alliance.brokers as f64;
    // Each recipient acknowledges what came within its window at once, and every bulletin at least with others.
    let to_each = alliance.rate * alliance.recipients / alliance.nodes;
    let acknowledged = (1_000.0 / alliance.acknowledge_ms).min(to_each) * alliance.nodes;
    let records = alliance.rate + acknowledged;
    let take = alliance.rate / brokers * UNITS.take;
    let fold = records * UNITS.fold;
    let deliver = alliance.rate * alliance.recipients / brokers * UNITS.deliver;
    let core = (take + fold + deliver) / 1e6;
    let log = alliance.rate * UNITS.record + acknowledged * UNITS.acknowledgement;
    let day = log * 86_400.0 / 1e9;
    let memory = alliance.nodes / brokers * UNITS.idle_kib / 1_024.0;
    let storm = alliance.nodes / (brokers - 1.0) * UNITS.handshake / 1e6;
    println!("{name}, 10,000 nodes, 100 brokers");
    println!("  records: {records:.0}/s, {acknowledged:.0} of them acknowledgements");
    println!(
        "  each broker: {:.1} % of a core: taking {:.2}, folding all {:.2}, delivering {:.2}; {memory:.1} MiB of idle nodes",
        core * 100.0,
        take / 1e4,
        fold / 1e4,
        deliver / 1e4
    );
    println!(
        "  the stream: {day:.1} GB a day on each server, {:.1} Mbit/s to each broker, {:.0} Mbit/s from the servers",
        log * 8.0 / 1e6,
        log * 8.0 * brokers / 1e6
    );
    println!(
        "  a broker dies: its nodes are elsewhere after {storm:.2} s of one core at each of the others"
    );
    let limits = [
        (
            "folding on one core at each broker",
            1e6 / UNITS.fold / records,
        ),
        (
            "appending in groups of 1,024",
            1_024.0 * 1_000.0 / UNITS.append_ms / records,
        ),
        (
            "1 Gbit/s of the stream's leader",
            1e9 / (log * 8.0 * brokers),
        ),
        (
            "1 TB of log on each server in a year",
            1_000.0 / (day * 365.0),
        ),
    ];
    let mut limits = limits.to_vec();
    limits.sort_by(|a, b| a.1.total_cmp(&b.1));
    let all: Vec<String> = limits
        .iter()
        .map(|(what, times)| format!("{what} at {times:.2} x"))
        .collect();
    println!("  breaks first: {}\n", all.join("; "));
}
