//! No leak: random agreements and bulletins, decided by the real decision and by a naive one.
//!
//! The naive one below is written from the rules in the documentation alone, over plain strings; it
//! shares no code with the real one. A hundred thousand pairs, from a seed that is printed;
//! `ENTENTE_SEED` repeats a run.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::format_push_string,
    reason = "the seed is shown; a story is told in one piece"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use entente::agreement::{SignedAgreement, parse_draft};
use entente::bulletin::{Admiralty, Classification, Labels, Marking, PartClass, PartLabels};
use entente::clock::Timestamp;
use entente::decision::{Rulebook, Usage, decide, decide_for, explain};
use entente::partner::{PartnerId, Standing};

const RULEBOOKS: usize = 4_000;
const BULLETINS: usize = 30;

const PARTNERS: [&str; 4] = [
    "norland.example",
    "estmark.example",
    "sudland.example",
    "ostland.example",
];
const KINDS: [&str; 2] = ["counterterrorism", "cyber"];
const TOPICS: [&str; 6] = [
    "cyber",
    "cyber/malware",
    "cyber/malware/wiper",
    "cyber/phishing",
    "counterterrorism",
    "counterterrorism/attack/vehicle",
];
const REGIONS: [&str; 5] = ["NO", "NO-03", "SE", "EE", "EE-37"];
const TLPS: [&str; 5] = [
    "TLP:CLEAR",
    "TLP:GREEN",
    "TLP:AMBER",
    "TLP:AMBER+STRICT",
    "TLP:RED",
];
const LEVELS: [&str; 5] = [
    "UNCLASSIFIED",
    "RESTRICTED",
    "CONFIDENTIAL",
    "SECRET",
    "TOP SECRET",
];
const POLICIES: [&str; 2] = ["NATO", "NORLAND"];
const PRECEDENCES: [&str; 4] = ["ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH"];
const CLASSES: [&str; 6] = [
    "network",
    "narrative",
    "source",
    "person",
    "warning",
    "audience",
];
const ONWARD: [&str; 3] = ["none", "originator-consent", "within-agreement"];
/// The moment of the decisions, and those around it.
const NOW: &str = "2026-06-01T00:00:00Z";
const PAST: [&str; 2] = ["2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"];
const FUTURE: [&str; 2] = ["2026-06-01T00:00:01Z", "2027-01-01T00:00:00Z"];

/// `SplitMix64`, so that a seed means the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("small")
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    fn some(&mut self, of: &[&'static str], chance: usize) -> Vec<&'static str> {
        of.iter()
            .copied()
            .filter(|_| self.percent(chance))
            .collect()
    }

    /// Never empty.
    fn several(&mut self, of: &[&'static str], chance: usize) -> Vec<&'static str> {
        let some = self.some(of, chance);
        if some.is_empty() {
            vec![self.one(of)]
        } else {
            some
        }
    }
}

/// A clause as plain words; `*` stands for all.
#[derive(Debug)]
struct Clause {
    name: String,
    parties: Vec<&'static str>,
    valid: (&'static str, &'static str),
    from: Vec<&'static str>,
    to: Vec<&'static str>,
    kinds: Vec<&'static str>,
    topics: Vec<&'static str>,
    regions: Vec<&'static str>,
    tlp: &'static str,
    classification: Option<(&'static str, &'static str)>,
    precedences: Vec<&'static str>,
    withhold: Vec<&'static str>,
    exercise_only: bool,
    onward: &'static str,
    reliability: Option<usize>,
    credibility: Option<usize>,
    refuses_references: bool,
    confidential: bool,
    /// A level of the first scheme counts as one of the second.
    equivalents: Vec<((&'static str, &'static str), (&'static str, &'static str))>,
}

/// A bulletin as plain words.
#[derive(Debug)]
struct Bulletin {
    originator: &'static str,
    kinds: Vec<&'static str>,
    topics: Vec<&'static str>,
    regions: Vec<&'static str>,
    tlp: &'static str,
    classification: Option<(&'static str, &'static str)>,
    releasable_to: Option<Vec<&'static str>>,
    caveats: Vec<&'static str>,
    precedence: &'static str,
    exercise: bool,
    valid: (&'static str, &'static str),
    reliability: Option<usize>,
    credibility: Option<usize>,
    hidden_audience: bool,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// `None`: a class that is not known.
    class: Option<&'static str>,
    tlp: Option<&'static str>,
    level: Option<&'static str>,
    names: Vec<usize>,
}

fn rank(of: &[&str], what: &str) -> usize {
    of.iter()
        .position(|one| *one == what)
        .expect("a known word")
}

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

fn random_clauses(random: &mut Random, agreement: usize) -> Vec<Clause> {
    let parties = loop {
        let parties = random.some(&PARTNERS, 70);
        if parties.len() >= 2 {
            break parties;
        }
    };
    let valid = if random.percent(92) {
        (random.one(&PAST), random.one(&FUTURE))
    } else {
        (FUTURE[0], FUTURE[1])
    };
    let who = |random: &mut Random| {
        if random.percent(60) {
            vec!["*"]
        } else {
            random.several(&parties, 50)
        }
    };
    let count = 1 + random.below(3);
    let mut equivalents = Vec::new();
    if random.percent(40) {
        let highest = 1 + random.below(3);
        for level in 1..=highest {
            // A higher level never counts for less.
            equivalents.push((("NORLAND", LEVELS[level]), ("NATO", LEVELS[level + 1])));
        }
    }
    (0..count)
        .map(|number| Clause {
            name: format!("a{agreement}@1/c{number}"),
            from: who(random),
            to: who(random),
            parties: parties.clone(),
            valid,
            kinds: random.several(&KINDS, 75),
            topics: if random.percent(40) {
                vec!["*"]
            } else {
                random.several(&TOPICS, 45)
            },
            regions: if random.percent(50) {
                vec!["*"]
            } else {
                random.several(&REGIONS, 45)
            },
            tlp: TLPS[4 - random.below(5).min(random.below(5))],
            classification: random
                .percent(50)
                .then(|| (random.one(&POLICIES), random.one(&LEVELS))),
            precedences: random.several(&PRECEDENCES, 80),
            withhold: random.some(&CLASSES, 20),
            exercise_only: random.percent(10),
            onward: random.one(&ONWARD),
            reliability: random.percent(10).then(|| 1 + random.below(6)),
            credibility: random.percent(10).then(|| 1 + random.below(6)),
            refuses_references: random.percent(20),
            confidential: random.percent(15),
            equivalents: equivalents.clone(),
        })
        .collect()
}

fn random_bulletin(random: &mut Random) -> Bulletin {
    let tlp = TLPS[random.below(5).min(random.below(5))];
    let classification = random
        .percent(30)
        .then(|| (random.one(&POLICIES), LEVELS[random.below(3)]));
    let releasable_to = match random.below(10) {
        0..=5 => None,
        6 => Some(Vec::new()),
        _ => Some(random.several(&PARTNERS, 50)),
    };
    let count = 1 + random.below(5);
    let parts = (0..count)
        .map(|own| Part {
            names: (0..count)
                .filter(|at| *at != own && random.percent(12))
                .collect(),
            class: random.percent(95).then(|| random.one(&CLASSES)),
            // Stricter than the header's, as sealing demands.
            tlp: random.percent(25).then(|| {
                let least = rank(&TLPS, tlp);
                TLPS[least + random.below(TLPS.len() - least)]
            }),
            level: random.percent(20).then(|| {
                let least = classification.map_or(0, |(_, level)| rank(&LEVELS, level));
                LEVELS[least + random.below(LEVELS.len() - least)]
            }),
        })
        .collect();
    let valid = match random.below(20) {
        0 => (FUTURE[0], FUTURE[1]),
        1 => (PAST[0], PAST[1]),
        _ => (random.one(&PAST), random.one(&FUTURE)),
    };
    Bulletin {
        originator: random.one(&PARTNERS),
        kinds: random.several(&KINDS, 40),
        topics: random.several(&TOPICS, 20),
        regions: random.some(&REGIONS, 15),
        tlp,
        classification,
        releasable_to,
        caveats: random.some(&["ORCON", "LIMDIS"], 10),
        precedence: random.one(&PRECEDENCES),
        exercise: random.percent(15),
        valid,
        reliability: random.percent(60).then(|| 1 + random.below(6)),
        credibility: random.percent(60).then(|| 1 + random.below(6)),
        hidden_audience: random.percent(50),
        parts,
    }
}

fn quoted(list: &[&str]) -> String {
    let words: Vec<String> = list.iter().map(|one| format!("\"{one}\"")).collect();
    format!("[{}]", words.join(", "))
}

/// The agreement as its parties would write it: what is really decided on went through the same
/// reader as theirs.
fn text(name: &str, clauses: &[Clause]) -> String {
    let first = &clauses[0];
    let mut text = format!(
        "name = \"{name}\"\nversion = 1\nledger = \"{}\"\nvalid_from = \"{}\"\nvalid_until = \
         \"{}\"\n[parties]\n",
        "0".repeat(64),
        first.valid.0,
        first.valid.1
    );
    for party in &first.parties {
        let number = rank(&PARTNERS, party) + 1;
        text += &format!("\"{party}\" = \"{number:064}\"\n");
    }
    for ((scheme, level), (other, counts_as)) in &first.equivalents {
        text +=
            &format!("[equivalents.{scheme}.{other}]\n").repeat(usize::from(*level == LEVELS[1]));
        text += &format!("\"{level}\" = \"{counts_as}\"\n");
    }
    for clause in clauses {
        let id = clause.name.split('/').nth(1).expect("a clause");
        text += &format!(
            "[[clause]]\nid = \"{id}\"\nfrom = {}\nto = {}\nkinds = {}\ntopics = {}\nregions = \
             {}\ntlp = \"{}\"\nprecedences = {}\nwithhold = {}\nexercise_only = {}\nonward = \
             \"{}\"\n",
            quoted(&clause.from),
            quoted(&clause.to),
            quoted(&clause.kinds),
            quoted(&clause.topics),
            quoted(&clause.regions),
            clause.tlp,
            quoted(&clause.precedences),
            quoted(&clause.withhold),
            clause.exercise_only,
            clause.onward
        );
        if let Some(grade) = clause.reliability {
            text += &format!("least_reliability = \"{}\"\n", &"ABCDEF"[grade - 1..grade]);
        }
        if let Some(grade) = clause.credibility {
            text += &format!("least_credibility = {grade}\n");
        }
        if clause.refuses_references {
            text += "references = \"refuse\"\n";
        }
        text += &format!("confidential_recipients = {}\n", clause.confidential);
        if let Some((policy, level)) = clause.classification {
            text += &format!("classification = {{ policy = \"{policy}\", level = \"{level}\" }}\n");
        }
    }
    text
}

fn read<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a known word")
}

fn all<T: std::str::FromStr<Err: std::fmt::Debug>, C: FromIterator<T>>(list: &[&str]) -> C {
    list.iter().map(|one| read(one)).collect()
}

fn labels(bulletin: &Bulletin) -> (Labels, Vec<PartLabels>) {
    let labels = Labels {
        originator: read(bulletin.originator),
        kinds: all(&bulletin.kinds),
        topics: all(&bulletin.topics),
        regions: all(&bulletin.regions),
        tlp: read(bulletin.tlp),
        classification: bulletin
            .classification
            .map(|(policy, level)| Classification {
                policy: policy.into(),
                level: read(level),
            }),
        releasable_to: bulletin.releasable_to.as_ref().map(|named| all(named)),
        caveats: all(&bulletin.caveats),
        precedence: read(bulletin.precedence),
        exercise: bulletin.exercise,
        valid_from: read(bulletin.valid.0),
        valid_until: read(bulletin.valid.1),
        admiralty: Admiralty {
            reliability: bulletin
                .reliability
                .map(|grade| u8::try_from(grade).expect("small")),
            credibility: bulletin
                .credibility
                .map(|grade| u8::try_from(grade).expect("small")),
        },
        names_recipients: !bulletin.hidden_audience
            && bulletin
                .releasable_to
                .as_ref()
                .is_some_and(|named| named.len() > 1),
    };
    let parts = bulletin.parts.iter().map(|part| PartLabels {
        class: part.class.map(read::<PartClass>),
        marking: Marking {
            tlp: part.tlp.map(read),
            level: part.level.map(read),
        },
        mentions: part
            .names
            .iter()
            .map(|at| u32::try_from(*at).expect("few"))
            .collect(),
    });
    (labels, parts.collect())
}

#[test]
fn the_decision_is_what_the_rules_say() {
    let seed = std::env::var("ENTENTE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("after 1970");
        u64::try_from(now.as_micros()).expect("before 586524")
    });
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
                    (clauses, release.withheld.clone(), onward)
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
