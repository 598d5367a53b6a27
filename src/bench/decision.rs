//! W3: what a decision costs, with the number of agreements.

use std::sync::Arc;
use std::time::Instant;

use super::error::BenchError;
use super::figures::Figures;
use crate::agreement::{Agreement, SignedAgreement, parse_draft};
use crate::bulletin::{Admiralty, Labels, Marking, PartClass, PartLabels, Precedence, Tlp};
use crate::clock::Timestamp;
use crate::decision::{Rulebook, Usage, decide};
use crate::partner::{PartnerId, Standing};

const PARTNERS: usize = 1_000;
const RUNS: usize = 20_000;

/// Decisions about a bulletin of four parts for 30 recipients, among 1,000 partners with so many
/// agreements of three clauses.
pub fn decisions(counts: &[usize]) -> Result<Vec<Figures>, BenchError> {
    counts.iter().map(|count| decision(*count, 30)).collect()
}

fn name(number: usize) -> String {
    format!("p{number:04}.example")
}

/// A partner of the benchmark; 0 publishes.
pub fn partner(number: usize) -> Result<PartnerId, BenchError> {
    name(number).parse().map_err(BenchError::worker)
}

/// A bilateral agreement of three clauses, as two parties would write it.
fn agreement(number: usize, one: usize, other: usize) -> Result<Agreement, BenchError> {
    let clause = |id: &str, kinds: &str, topics: &str, regions: &str, rest: &str| {
        format!(
            "[[clause]]\nid = \"{id}\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [{kinds}]\ntopics = \
             [\"{topics}\"]\nregions = [{regions}]\n{rest}\n"
        )
    };
    let text = format!(
        "name = \"a{number}\"\nversion = 1\nledger = \"{:064}\"\nvalid_from = \
         \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-01-01T00:00:00Z\"\n[parties]\n\"{}\" = \
         \"{:064}\"\n\"{}\" = \"{:064}\"\n{}{}{}",
        0,
        name(one),
        one + 1,
        name(other),
        other + 1,
        clause(
            "cyber",
            "\"cyber\"",
            "cyber",
            "\"*\"",
            "tlp = \"TLP:AMBER\"\nwithhold = [\"source\"]"
        ),
        clause(
            "warning",
            "\"counterterrorism\"",
            "counterterrorism/attack",
            "\"EE\", \"NO\"",
            "tlp = \"TLP:RED\""
        ),
        clause(
            "exercise",
            "\"cyber\", \"counterterrorism\"",
            "*",
            "\"*\"",
            "tlp = \"TLP:GREEN\"\nexercise_only = true"
        ),
    );
    parse_draft(&text).map_err(BenchError::worker)
}

/// So many agreements of three clauses among 1,000 partners: the bulletin's originator has one with each of
/// `recipients` partners; all others are among the rest.
pub fn agreements(count: usize, recipients: usize) -> Result<Vec<Agreement>, BenchError> {
    let rest = PARTNERS - 1;
    (0..count)
        .map(|number| {
            if number < recipients {
                return agreement(number, 0, number + 1);
            }
            let one = number * 7_919 % rest;
            let other = (one + 1 + number * 104_729 % (rest - 1)) % rest;
            agreement(number, one + 1, other + 1)
        })
        .collect()
}

fn rulebook(agreements: Vec<Agreement>) -> Result<Rulebook, BenchError> {
    let mut rulebook = Rulebook::new();
    for number in 0..PARTNERS {
        rulebook.set_standing(partner(number)?, Standing::Active);
    }
    for terms in agreements {
        let signed = SignedAgreement::unsigned(&terms).map_err(BenchError::worker)?;
        rulebook.insert_terms(signed.id(), &Arc::new(terms));
    }
    Ok(rulebook)
}

/// The bulletin that is decided upon: what a decision looks at in its header and its four parts.
pub fn bulletin() -> Result<(Labels, Vec<PartLabels>), BenchError> {
    let labels = Labels {
        originator: partner(0)?,
        disguise: None,
        kinds: vec!["cyber".parse().map_err(BenchError::worker)?],
        topics: vec!["cyber/malware/wiper".parse().map_err(BenchError::worker)?],
        regions: vec![],
        tlp: Tlp::Green,
        classification: None,
        releasable_to: None,
        caveats: vec![],
        precedence: Precedence::Priority,
        exercise: false,
        valid_from: Timestamp::MIN,
        valid_until: Timestamp::MAX,
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
    Ok((labels, parts.collect()))
}

/// The cost of a decision for so many recipients, with so many agreements in force.
pub fn decision(count: usize, recipients: usize) -> Result<Figures, BenchError> {
    let now: Timestamp = "2026-06-01T00:00:00Z".parse().map_err(BenchError::worker)?;
    let (rulebook, usage) = (rulebook(agreements(count, recipients)?)?, Usage::new());
    let (labels, parts) = bulletin()?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let started = Instant::now();
        let decided = decide(&rulebook, &usage, &labels, &parts, now);
        times.push(started.elapsed().as_secs_f64() * 1e6);
        if decided.len() != recipients {
            let text = format!(
                "{} were decided to receive, not {recipients}",
                decided.len()
            );
            return Err(BenchError::Untrue(text));
        }
    }
    times.sort_by(f64::total_cmp);
    let median = times[RUNS / 2];
    let mut figures = Figures::of("W3", "entente")
        .with("agreements", count)
        .with("recipients", recipients);
    figures.p50_us = Some(median);
    figures.p99_us = Some(times[RUNS * 99 / 100]);
    figures.throughput = Some(1e6 / median);
    Ok(figures)
}
