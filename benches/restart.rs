//! How long a broker takes to start: from a snapshot, and from the whole log, side by side in one
//! run. `cargo bench --bench restart` uses 100,000 records; `RECORDS=1000000` a million.

#![allow(clippy::print_stdout, reason = "a benchmark shows its figures")]

mod written;

use std::sync::Arc;
use std::time::{Duration, Instant};

use entente::broker::open_log;
use entente::identity::read_secret_key;
use written::Written;

fn main() {
    let records = std::env::var("RECORDS")
        .ok()
        .and_then(|count| count.parse().ok());
    let records: u64 = records.unwrap_or(100_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(records));
}

async fn measure(records: u64) {
    let began = Instant::now();
    let Written {
        scratch: _scratch,
        config,
        log,
        clock,
        entropy,
    } = written::write(records, written::SHORT).await;
    println!(
        "{records} records written in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    let key = read_secret_key(&config.log_key).expect("a key");
    log.close(&key, clock.now()).expect("closed");
    let timed = |log: entente::broker::Log| {
        drop(log);
        // The writer lets go of the log a moment after its last owner.
        let began = loop {
            let began = Instant::now();
            if let Ok(log) = open_log(&config, Arc::clone(&clock), Arc::clone(&entropy)) {
                break (began.elapsed(), log);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(began.1.size(), records);
        began
    };
    let (with, log) = timed(log);
    let (again, log) = timed(log);
    log.forget_snapshot().expect("forgotten");
    let (without, _log) = timed(log);
    let with = with.min(again);
    println!(
        "start with a snapshot {:.2} s, without {:.2} s: {:.1} times",
        with.as_secs_f64(),
        without.as_secs_f64(),
        without.as_secs_f64() / with.as_secs_f64()
    );
}
