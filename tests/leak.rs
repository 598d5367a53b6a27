//! No leak: random agreements and bulletins, decided by the real decision and by a naive one.
//!
//! The naive one below is written from the rules in the documentation alone, over plain strings; it
//! shares no code with the real one. A hundred thousand pairs, from a seed that is printed;
//! `ENTENTE_SEED` repeats a run.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "the seed is shown; a story is told in one piece"
)]

#[path = "support/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use entente::agreement::{SignedAgreement, parse_draft};
use entente::clock::Timestamp;
use entente::decision::{Rulebook, Usage, decide, decide_for, explain};
use entente::partner::{PartnerId, Standing};
use words::{
    Bulletin, Clause, LEVELS, NOW, ONWARD, PARTNERS, Part, Random, TLPS, labels, random_bulletin,
    random_clauses, rank, read, seed, text,
};

const RULEBOOKS: usize = 4_000;
const BULLETINS: usize = 30;

/// `cyber/malware` is below `cyber`; `NO-03` is below `NO`.
fn below(whole: &str, part: &str, separator: char) -> bool {
    whole == "*"
        || part == whole
        || part
            .strip_prefix(whole)
            .is_some_and(|rest| rest.starts_with(separator))
}

fn class_allows(clause: &Clause, policy: &str, level: &str) -> bool {
    let below = |level: &str, highest: &str| rank(&LEVELS, level) <= rank(&LEVELS, highest);
    level == "UNCLASSIFIED"
        || clause.classification.is_some_and(|(own, highest)| {
            (own == policy && below(level, highest))
                || clause.equivalents.iter().any(|(from, to)| {
                    *from == (policy, level) && to.0 == own && below(to.1, highest)
                })
        })
}

fn good_enough(given: Option<usize>, least: Option<usize>) -> bool {
    least.is_none_or(|least| given.is_some_and(|given| given <= least))
}

/// What the recipient would see of the originator is what the clause says.
fn shows_enough(clause: &Clause, bulletin: &Bulletin, recipient: &str) -> bool {
    let Some(pseudonym) = &bulletin.pseudonym else {
        return clause.shown == "named";
    };
    let of_it = clause.name.split('@').next() == Some(pseudonym.agreement);
    let fits = match clause.shown {
        "named" => pseudonym.revealed_to.contains(&recipient),
        "alias" => true,
        _ => pseudonym.once,
    };
    of_it && fits
}

fn allows(clause: &Clause, bulletin: &Bulletin, recipient: &str) -> bool {
    let includes = |list: &[&str], one: &str| list.contains(&"*") || list.contains(&one);
    let party = |one: &str| clause.parties.contains(&one);
    party(bulletin.originator)
        && party(recipient)
        && includes(&clause.from, bulletin.originator)
        && includes(&clause.to, recipient)
        && clause.valid.0 <= NOW
        && NOW < clause.valid.1
        && bulletin
            .kinds
            .iter()
            .all(|kind| clause.kinds.contains(kind))
        && bulletin
            .topics
            .iter()
            .all(|topic| clause.topics.iter().any(|whole| below(whole, topic, '/')))
        && bulletin
            .regions
            .iter()
            .all(|region| clause.regions.iter().any(|whole| below(whole, region, '-')))
        && (!bulletin.regions.is_empty() || clause.regions.contains(&"*"))
        && rank(&TLPS, bulletin.tlp) <= rank(&TLPS, clause.tlp)
        && bulletin
            .classification
            .is_none_or(|(policy, level)| class_allows(clause, policy, level))
        && clause.precedences.contains(&bulletin.precedence)
        && (bulletin.exercise || !clause.exercise_only)
        && !(bulletin.caveats.contains(&"ORCON") && clause.onward == "within-agreement")
        && good_enough(bulletin.reliability, clause.reliability)
        && good_enough(bulletin.credibility, clause.credibility)
        && shows_enough(clause, bulletin, recipient)
        && !(clause.confidential
            && clause.shown == "named"
            && bulletin
                .pseudonym
                .as_ref()
                .is_some_and(|one| one.revealed_to.len() > 1))
        && !(clause.confidential
            && !bulletin.hidden_audience
            && bulletin
                .releasable_to
                .as_ref()
                .is_some_and(|named| named.len() > 1))
}

fn passes(clause: &Clause, bulletin: &Bulletin, part: &Part, recipient: &str) -> bool {
    let named = bulletin
        .releasable_to
        .as_ref()
        .is_some_and(|named| named.contains(&recipient));
    let Some(class) = part.class else {
        return false;
    };
    class != "audience"
        && (class != "identity" || clause.shown == "named")
        && !clause.withhold.contains(&class)
        && part.tlp.is_none_or(|tlp| {
            rank(&TLPS, tlp) <= rank(&TLPS, clause.tlp) && (tlp != "TLP:RED" || named)
        })
        && part.level.is_none_or(|level| {
            level == "UNCLASSIFIED"
                || bulletin
                    .classification
                    .is_some_and(|(policy, _)| class_allows(clause, policy, level))
        })
}

/// The naive decision: clauses, parts withheld and the onward rule; `None` where nothing is shared.
fn naive(
    clauses: &[Clause],
    active: &BTreeSet<&str>,
    bulletin: &Bulletin,
    recipient: &str,
) -> Option<(BTreeSet<String>, Vec<u32>, &'static str)> {
    if recipient == bulletin.originator
        || !active.contains(bulletin.originator)
        || !active.contains(recipient)
        || NOW < bulletin.valid.0
        || bulletin.valid.1 <= NOW
    {
        return None;
    }
    let must_name = bulletin.tlp == "TLP:RED" || bulletin.caveats.contains(&"LIMDIS");
    match &bulletin.releasable_to {
        Some(named) if !named.contains(&recipient) => return None,
        None if must_name => return None,
        _ => {}
    }
    let allowing: Vec<&Clause> = clauses
        .iter()
        .filter(|clause| allows(clause, bulletin, recipient))
        .collect();
    let flows =
        |clause: &Clause, at: usize| passes(clause, bulletin, &bulletin.parts[at], recipient);
    let all = 0..bulletin.parts.len();
    let mut allowing = allowing;
    let mut hidden: BTreeSet<usize>;
    loop {
        hidden = all
            .clone()
            .filter(|at| !allowing.iter().any(|clause| flows(clause, *at)))
            .collect();
        let tells = |at: usize| {
            !hidden.contains(&at)
                && bulletin.parts[at]
                    .names
                    .iter()
                    .any(|name| hidden.contains(name))
        };
        let before = allowing.len();
        allowing.retain(|clause| {
            !clause.refuses_references || !all.clone().any(|at| tells(at) && flows(clause, at))
        });
        if allowing.len() == before {
            break;
        }
    }
    while let Some(at) = all.clone().find(|at| {
        !hidden.contains(at)
            && bulletin.parts[*at]
                .names
                .iter()
                .any(|name| hidden.contains(name))
    }) {
        hidden.insert(at);
    }
    let mut used = BTreeSet::new();
    let mut onward = 2;
    for clause in allowing {
        if all
            .clone()
            .filter(|at| bulletin.parts[*at].class != Some("identity"))
            .any(|at| !hidden.contains(&at) && flows(clause, at))
        {
            used.insert(clause.name.clone());
            onward = onward.min(rank(&ONWARD, clause.onward));
        }
    }
    let withheld = hidden
        .into_iter()
        .map(|at| u32::try_from(at).expect("few"))
        .collect();
    (!used.is_empty()).then_some((used, withheld, ONWARD[onward]))
}

#[test]
fn the_decision_is_what_the_rules_say() {
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let now: Timestamp = read(NOW);
    let (mut cases, mut released, mut partly) = (0, 0, 0);
    for _ in 0..RULEBOOKS {
        let mut rulebook = Rulebook::new();
        let active: BTreeSet<&str> = random.some(&PARTNERS, 93).into_iter().collect();
        for partner in PARTNERS {
            let standing = if active.contains(partner) {
                Standing::Active
            } else {
                Standing::Suspended
            };
            rulebook.set_standing(read(partner), standing);
        }
        let mut clauses = Vec::new();
        for agreement in 0..=random.below(3) {
            let of_one = random_clauses(&mut random, agreement);
            let text = text(&format!("a{agreement}"), &of_one);
            let terms =
                parse_draft(&text).unwrap_or_else(|error| panic!("{}\n{text}", error.message));
            let id = SignedAgreement::unsigned(&terms).expect("terms").id();
            rulebook.insert_terms(id, &Arc::new(terms));
            // Now and then one is withdrawn again.
            if random.percent(10) {
                rulebook.remove(&id);
            } else {
                clauses.extend(of_one);
            }
        }
        for _ in 0..BULLETINS {
            let bulletin = random_bulletin(&mut random);
            let (labels, parts) = labels(&bulletin);
            let decision = decide(&rulebook, &Usage::new(), &labels, &parts, now);
            let by_recipient: BTreeMap<&str, _> = decision
                .iter()
                .map(|release| (release.recipient.as_str(), release))
                .collect();
            assert_eq!(by_recipient.len(), decision.len(), "a recipient twice");
            for recipient in PARTNERS {
                let expected = naive(&clauses, &active, &bulletin, recipient);
                let real = by_recipient.get(recipient).map(|release| {
                    let clauses = release.clauses.iter().map(ToString::to_string).collect();
                    let onward = ONWARD[rank(&ONWARD, &release.onward.to_string())];
                    (clauses, release.withheld.to_vec(), onward)
                });
                assert_eq!(
                    real, expected,
                    "ENTENTE_SEED={seed}: {recipient}\n{bulletin:#?}\n{clauses:#?}"
                );
                let id: PartnerId = read(recipient);
                let alone = decide_for(&rulebook, None, &labels, &parts, now, &id);
                assert_eq!(alone.is_ok(), expected.is_some());
                let explained = explain(&rulebook, None, &labels, &parts, now, &id).decision;
                assert_eq!(explained, alone, "what is explained is what is decided");
                released += usize::from(expected.is_some());
                partly +=
                    usize::from(expected.is_some_and(|(_, withheld, _)| !withheld.is_empty()));
            }
            cases += 1;
        }
    }
    println!("{cases} bulletins, {released} releases, {partly} of them in part");
    assert!(cases >= 100_000);
    assert!(
        released > cases / 20 && partly > cases / 40,
        "the cases do not reach the rules"
    );
}
