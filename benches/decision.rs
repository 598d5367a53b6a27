//! What a decision costs: with the number of recipients, and with the number of agreements, beside
//! Cedar on the same question. `cargo bench --bench decision`.

#![allow(clippy::print_stdout, reason = "a benchmark shows its figures")]

#[path = "../tests/support/cedar.rs"]
mod cedar;

use std::time::Instant;

use entente::bench::decision::{agreements, bulletin, decision, partner};
use entente::clock::Timestamp;

const NOW: &str = "2026-06-01T00:00:00Z";

/// The median of many runs, in microseconds.
fn median(runs: usize, mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn main() {
    let now: Timestamp = NOW.parse().expect("a time");
    println!("1,000 partners, agreements of 3 clauses, a bulletin of 4 parts; median of 20,000");
    println!(
        "{:>12} {:>12} {:>14} {:>16}",
        "agreements", "recipients", "decision µs", "per recipient ns"
    );
    for (count, recipients) in [
        (100, 30),
        (1_000, 30),
        (10_000, 30),
        (10_000, 3),
        (10_000, 300),
    ] {
        let decided = decision(count, recipients).expect("a decision");
        let micros = decided.p50_us.expect("a median");
        let each = micros * 1_000.0 / f64::from(u32::try_from(recipients).expect("few"));
        println!("{count:>12} {recipients:>12} {micros:>14.2} {each:>16.0}");
    }
    println!("Cedar, the same agreements and question: 4 parts to each of 30 recipients");
    let (labels, parts) = bulletin().expect("a bulletin");
    for count in [100, 1_000] {
        let policies = cedar::policies(&agreements(count, 30).expect("agreements"), &[]);
        let questions: Vec<_> = (1..=30)
            .flat_map(|number| {
                let to = partner(number).expect("a partner");
                let classes = parts.iter().filter_map(|part| part.class);
                classes
                    .map(|class| cedar::request(&labels, class, &to, now))
                    .collect::<Vec<_>>()
            })
            .collect();
        let allowed = || {
            questions
                .iter()
                .filter(|one| cedar::allows(&policies, one))
                .count()
        };
        assert_eq!(allowed(), 90, "all but the source");
        let micros = median(5, || {
            std::hint::black_box(allowed());
        });
        println!("{count:>12} {:>12} {micros:>14.0}", 30);
    }
}
