//! What a decision costs: with the number of recipients, and with the number of agreements, beside
//! Cedar on the same question. `cargo bench --bench decision`.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a benchmark shows its figures, and is one story"
)]

#[path = "../tests/support/cedar.rs"]
mod cedar;

use std::sync::Arc;
use std::time::Instant;

use entente::agreement::{Agreement, SignedAgreement, parse_draft};
use entente::bulletin::{Admiralty, Labels, Marking, PartClass, PartLabels, Precedence, Tlp};
use entente::clock::Timestamp;
use entente::decision::{Rulebook, Usage, decide};
use entente::partner::{PartnerId, Standing};

const PARTNERS: usize = 1_000;
const NOW: &str = "2026-06-01T00:00:00Z";

fn partner(number: usize) -> String {
    format!("p{number:04}.example")
}

/// A bilateral agreement of three clauses, as two parties would write it.
fn agreement(number: usize, one: usize, other: usize) -> Agreement {
    let text = format!(
        "name = \"a{number}\"\nversion = 1\nledger = \"{:064}\"\n\
         valid_from = \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-01-01T00:00:00Z\"\n[parties]\n\
         \"{}\" = \"{:064}\"\n\"{}\" = \"{:064}\"\n\
         [[clause]]\nid = \"cyber\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\n\
         topics = [\"cyber\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\nwithhold = [\"source\"]\n\
         [[clause]]\nid = \"warning\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"counterterrorism\"]\n\
         topics = [\"counterterrorism/attack\"]\nregions = [\"EE\", \"NO\"]\ntlp = \"TLP:RED\"\n\
         [[clause]]\nid = \"exercise\"\nfrom = [\"*\"]\nto = [\"*\"]\n\
         kinds = [\"cyber\", \"counterterrorism\"]\ntopics = [\"*\"]\nregions = [\"*\"]\n\
         tlp = \"TLP:GREEN\"\nexercise_only = true\n",
        0,
        partner(one),
        one + 1,
        partner(other),
        other + 1
    );
    parse_draft(&text).expect("an agreement")
}

/// The originator (partner 0) has agreements with `recipients` partners; all others are among the
/// rest.
fn agreements(count: usize, recipients: usize) -> Vec<Agreement> {
    let rest = PARTNERS - 1;
    (0..count)
        .map(|number| {
            if number < recipients {
                agreement(number, 0, number + 1)
            } else {
                let one = number * 7_919 % rest;
                let other = (one + 1 + number * 104_729 % (rest - 1)) % rest;
                agreement(number, one + 1, other + 1)
            }
        })
        .collect()
}

fn rulebook(agreements: &[Agreement]) -> Rulebook {
    let mut rulebook = Rulebook::new();
    for number in 0..PARTNERS {
        let partner: PartnerId = partner(number).parse().expect("a partner");
        rulebook.set_standing(partner, Standing::Active);
    }
    for terms in agreements {
        let id = SignedAgreement::unsigned(terms).expect("terms").id();
        rulebook.insert_terms(id, &Arc::new(terms.clone()));
    }
    rulebook
}

fn bulletin() -> (Labels, Vec<PartLabels>) {
    let labels = Labels {
        originator: partner(0).parse().expect("a partner"),
        disguise: None,
        kinds: vec!["cyber".parse().expect("a kind")],
        topics: vec!["cyber/malware/wiper".parse().expect("a topic")],
        regions: vec![],
        tlp: Tlp::Green,
        classification: None,
        releasable_to: None,
        caveats: vec![],
        precedence: Precedence::Priority,
        exercise: false,
        valid_from: Timestamp::MIN,
        valid_until: "2030-01-01T00:00:00Z".parse().expect("a time"),
        admiralty: Admiralty::default(),
        names_recipients: false,
    };
    let classes = [
        PartClass::Network,
        PartClass::File,
        PartClass::Narrative,
        PartClass::Source,
    ];
    let parts = classes.into_iter().map(|class| PartLabels {
        class: Some(class),
        marking: Marking::default(),
        mentions: vec![],
    });
    (labels, parts.collect())
}

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
    let usage = Usage::new();
    let (labels, parts) = bulletin();
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
        let rulebook = rulebook(&agreements(count, recipients));
        let decided = decide(&rulebook, &usage, &labels, &parts, now);
        assert_eq!(decided.len(), recipients);
        let micros = median(20_000, || {
            std::hint::black_box(decide(&rulebook, &usage, &labels, &parts, now));
        });
        let each = micros * 1_000.0 / f64::from(u32::try_from(recipients).expect("few"));
        println!("{count:>12} {recipients:>12} {micros:>14.2} {each:>16.0}");
    }
    println!("Cedar, the same agreements and question: 4 parts to each of 30 recipients");
    for count in [100, 1_000] {
        let policies = cedar::policies(&agreements(count, 30), &[]);
        let questions: Vec<_> = (1..=30)
            .flat_map(|number| {
                let to: PartnerId = partner(number).parse().expect("a partner");
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
