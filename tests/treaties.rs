//! Agreements as treaties: what a version widens and narrows is exact, and an independent policy
//! engine decides as Entente does. Random agreements; the seed is printed, `ENTENTE_SEED` repeats
//! a run.

#![allow(clippy::print_stdout, reason = "the seed is shown")]

#[path = "support/cedar.rs"]
mod cedar;
#[path = "support/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use entente::agreement::{Agreement, Change, Difference, Example, SignedAgreement, parse_draft};
use entente::bulletin::{Labels, PartClass, PartLabels};
use entente::clock::Timestamp;
use entente::decision::{Release, Rulebook, Usage, decide};
use entente::partner::Standing;
use words::{
    Clause, NOW, PARTNERS, REGIONS, Random, labels, random_bulletin, random_clauses, read, seed,
    text,
};

/// An agreement between all partners, valid now.
fn random_agreement(random: &mut Random) -> Vec<Clause> {
    loop {
        let mut clauses = random_clauses(random, 0);
        for clause in &mut clauses {
            clause.parties = PARTNERS.to_vec();
            clause.valid = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        }
        if clauses[0].parties.len() == PARTNERS.len() {
            return clauses;
        }
    }
}

/// The next version: terms of some clauses taken from elsewhere, clauses dropped or added.
fn changed(random: &mut Random, old: &str) -> String {
    let other = text("a0", &random_agreement(random));
    let head = old.find("[[clause]]").expect("a clause");
    let of = |text: &str| -> Vec<Vec<String>> {
        let clauses = text[text.find("[[clause]]").expect("a clause")..].split("[[clause]]\n");
        let clauses = clauses.filter(|clause| !clause.is_empty());
        clauses
            .map(|clause| clause.lines().map(ToOwned::to_owned).collect())
            .collect()
    };
    let (mut own, others) = (of(old), of(&other));
    for _ in 0..=random.below(3) {
        let at = random.below(own.len());
        match random.below(8) {
            0 if own.len() > 1 => drop(own.remove(at)),
            1 => own.push(others[random.below(others.len())].clone()),
            _ => {
                let from = &others[random.below(others.len())];
                let line = from[random.below(from.len())].clone();
                let key = line.split('=').next().expect("a key").to_owned();
                own[at].retain(|one| !one.starts_with(&key));
                own[at].push(line);
            }
        }
    }
    let mut text = old[..head].to_owned();
    for (number, clause) in own.iter().enumerate() {
        let terms = clause.iter().filter(|line| !line.starts_with("id ="));
        let terms: Vec<&str> = terms.map(String::as_str).collect();
        let _ = write!(
            text,
            "[[clause]]\nid = \"c{number}\"\n{}\n",
            terms.join("\n")
        );
    }
    text
}

fn parse(text: &str) -> Agreement {
    parse_draft(text).unwrap_or_else(|error| panic!("{}\n{text}", error.message))
}

fn rulebook(agreement: &Agreement) -> Rulebook {
    let mut rulebook = Rulebook::new();
    for partner in PARTNERS {
        rulebook.set_standing(read(partner), Standing::Active);
    }
    let id = SignedAgreement::unsigned(agreement).expect("terms").id();
    rulebook.insert_terms(id, &Arc::new(agreement.clone()));
    rulebook
}

fn released(rulebook: &Rulebook, labels: &Labels, parts: &[PartLabels]) -> Vec<Release> {
    decide(
        rulebook,
        &Usage::new(),
        labels,
        parts,
        read::<Timestamp>(NOW),
    )
}

/// What flows: recipient and part.
fn flows(releases: &[Release], parts: usize) -> BTreeSet<(String, u32)> {
    let mut flows = BTreeSet::new();
    for release in releases {
        let parts = 0..u32::try_from(parts).expect("few");
        for part in parts.filter(|part| !release.withheld.contains(part)) {
            flows.insert((release.recipient.to_string(), part));
        }
    }
    flows
}

fn is_released(rulebook: &Rulebook, example: &Example) -> Option<Release> {
    let releases = released(
        rulebook,
        &example.labels,
        std::slice::from_ref(&example.part),
    );
    releases
        .into_iter()
        .find(|release| release.recipient == example.recipient)
}

#[test]
fn a_difference_is_exact() {
    const PAIRS: usize = 3_000;
    const BULLETINS: usize = 40;
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let (mut widened, mut same, mut examples, mut newly) = (0, 0, 0, 0);
    for _ in 0..PAIRS {
        let old = text("a0", &random_agreement(&mut random));
        let new = parse(&changed(&mut random, &old));
        let old = parse(&old);
        let difference = Difference::between(&old, &new);
        let (before, after) = (rulebook(&old), rulebook(&new));
        widened += usize::from(!difference.widens.is_empty());
        same += usize::from(difference.widens.is_empty() && difference.narrows.is_empty());
        // Every flow that it names is shown by its example.
        let shown = [
            (&difference.widens, &after, &before),
            (&difference.narrows, &before, &after),
        ];
        for (flows, with, without) in shown {
            for flow in flows {
                let context = || format!("ENTENTE_SEED={seed}: {flow}\n{:#?}", flow.example);
                let has = is_released(with, &flow.example);
                assert!(has.is_some(), "{}", context());
                let lacks = is_released(without, &flow.example);
                match flow.change {
                    Change::Flows => assert!(lacks.is_none(), "{}", context()),
                    Change::Looser("onward") => {
                        let (has, lacks) = (has.expect("one"), lacks.expect("one"));
                        assert!(has.onward > lacks.onward, "{}", context());
                    }
                    Change::Looser(_) | Change::Validity => {}
                }
                examples += 1;
            }
        }
        // No flow that it does not name.
        for _ in 0..BULLETINS {
            let mut bulletin = random_bulletin(&mut random);
            // References between parts are a matter of several parts.
            bulletin
                .parts
                .iter_mut()
                .for_each(|part| part.names.clear());
            let (labels, parts) = labels(&bulletin);
            let (then, now) = (
                released(&before, &labels, &parts),
                released(&after, &labels, &parts),
            );
            let added = flows(&now, parts.len())
                .difference(&flows(&then, parts.len()))
                .count();
            let looser = now.iter().any(|release| {
                let then = then.iter().find(|then| then.recipient == release.recipient);
                then.is_some_and(|then| release.onward > then.onward)
            });
            newly += added;
            assert!(
                !difference.widens.is_empty() || (added == 0 && (!looser || parts.len() > 1)),
                "ENTENTE_SEED={seed}: it widens unseen\n{bulletin:#?}\n{old:#?}\n{new:#?}"
            );
        }
    }
    println!(
        "{PAIRS} pairs, {widened} wider, {same} the same; {examples} examples; {newly} new flows in \
         {} bulletins",
        PAIRS * BULLETINS
    );
    assert!(widened > PAIRS / 5 && widened < PAIRS && same > 0 && newly > 0);
}

#[test]
fn an_independent_engine_decides_the_same() {
    const AGREEMENTS: usize = 300;
    const BULLETINS: usize = 12;
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let now: Timestamp = read(NOW);
    let regions: Vec<_> = REGIONS.iter().map(|region| read(region)).collect();
    let (mut questions, mut allowed) = (0, 0);
    for _ in 0..AGREEMENTS {
        let agreement = parse(&text("a0", &random_clauses(&mut random, 0)));
        let policies = cedar::policies([&agreement], &regions);
        let rulebook = rulebook(&agreement);
        for _ in 0..BULLETINS {
            let mut bulletin = random_bulletin(&mut random);
            // One part, marked as its header: what a single request to Cedar can ask.
            bulletin.parts.truncate(1);
            bulletin.parts[0].tlp = None;
            bulletin.parts[0].level = None;
            bulletin.parts[0].names.clear();
            let (labels, parts) = labels(&bulletin);
            let class = parts[0].class.unwrap_or(PartClass::Audience);
            let ours = released(&rulebook, &labels, &parts);
            for partner in PARTNERS {
                let to = read(partner);
                let theirs = to != labels.originator
                    && cedar::allows(&policies, &cedar::request(&labels, class, &to, now));
                let own = ours.iter().any(|release| release.recipient == to);
                assert_eq!(
                    own, theirs,
                    "ENTENTE_SEED={seed}: to {partner}\n{bulletin:#?}\n{agreement:#?}"
                );
                questions += 1;
                allowed += usize::from(own);
            }
        }
    }
    println!("{questions} questions, {allowed} allowed");
    assert!(allowed > questions / 100);
}
