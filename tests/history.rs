//! What operators are told is what happens: preview, explanation, simulation and audit agree with
//! what the ledger recorded, over random agreements, bulletins and histories; and an act that does
//! not follow is refused by name. The seed is printed, `ENTENTE_SEED` repeats a run.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "the seed is shown; a table is one piece"
)]

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use entente::agreement::{SignedAgreement, SignedWithdrawal, Withdrawal};
use entente::audit::{Simulation, verify};
use entente::bulletin::{BulletinId, Draft, Precedence, Reference, Relation, Unsealed};
use entente::clock::Timestamp;
use entente::decision::{RedLines, Release, decide, explain};
use entente::ledger::{
    Declaration, Fact, HoldDecision, LaneRelease, OperatorSignature, Outcome, Proposal, Record,
    RedLinesOrder, RedLinesSet, SignedDeclaration, SignedHoldDecision, State, What,
};
use entente::partner::{PartnerId, SignedKeySet};
use entente::proof::{PayloadType, Signer};
use ledger::{Ledger, key, partner, signed, unsealed};
use words::{
    Bulletin, LEVELS, PARTNERS, Random, TLPS, random_bulletin, random_clauses, rank, seed, text,
};

/// The partners of the random words, each with the seed of its agreements key.
const PARTIES: [(&str, u8); 4] = [
    ("norland", 10),
    ("estmark", 20),
    ("sudland", 30),
    ("ostland", 40),
];

/// A ledger with the four partners, and their pins.
fn four(seed: u64) -> (Ledger, BTreeMap<String, SignedKeySet>) {
    let mut ledger = Ledger::new(seed);
    let sets = PARTIES.map(|(name, seed)| (partner(name).to_string(), ledger.admit(name, seed)));
    (ledger, sets.into())
}

/// The words of an agreement between all four, for this ledger.
fn agreement(
    random: &mut Random,
    ledger: &Ledger,
    pins: &BTreeMap<String, SignedKeySet>,
) -> String {
    let mut clauses = random_clauses(random, 0);
    for clause in &mut clauses {
        clause.parties = PARTNERS.to_vec();
        clause.valid = ("2026-01-01T00:00:00Z", "2027-06-01T00:00:00Z");
    }
    let mut text = text("a0", &clauses).replacen(&"0".repeat(64), &ledger.id().to_string(), 1);
    for (at, name) in PARTNERS.iter().enumerate() {
        let pin = pins[*name].hash().to_string();
        text = text.replacen(&format!("{:064}", at + 1), &pin, 1);
    }
    if random.percent(30) {
        let quota = 1 + random.below(4);
        let limited = format!("quota = {{ bulletins = {quota}, hours = 1 }}\nonward");
        text = text.replacen("onward", &limited, 1);
    }
    text
}

/// A bulletin with real contents, some of which name others.
fn draft(random: &mut Random, number: u64) -> (usize, Draft) {
    let mut words = random_bulletin(random);
    let told = |class: &str| class != "audience" && class != "identity";
    words.parts.retain(|part| part.class.is_some_and(told));
    if words.parts.is_empty() {
        return draft(random, number);
    }
    let from = rank(&PARTNERS, words.originator);
    let text = toml(&words, number);
    let draft = Draft::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (from, draft)
}

fn toml(words: &Bulletin, number: u64) -> String {
    let name = |at: usize| match words.parts[at].class {
        Some("network") => format!("host{at}.example"),
        Some("person") => format!("Person Number {at}"),
        _ => format!("this is the text of {at}"),
    };
    let mut text = format!(
        "id = \"{}\"\nkinds = {:?}\ntopics = {:?}\nregions = {:?}\ntlp = \"{}\"\nprecedence = \
         \"{}\"\nexercise = {}\ncaveats = {:?}\n",
        BulletinId::from_random((u128::from(number) << 32).to_be_bytes()),
        words.kinds,
        words.topics,
        words.regions,
        words.tlp,
        words.precedence,
        words.exercise,
        words.caveats,
    );
    if let Some((policy, level)) = words.classification {
        let _ = writeln!(
            text,
            "classification = {{ policy = \"{policy}\", level = \"{level}\" }}"
        );
    }
    if let Some(named) = words
        .releasable_to
        .as_ref()
        .filter(|named| !named.is_empty())
    {
        let hidden = words.hidden_audience;
        let _ = writeln!(text, "releasable_to = {named:?}\nhide_audience = {hidden}");
    }
    if let Some(grade) = words.reliability {
        let _ = writeln!(text, "reliability = \"{}\"", &"ABCDEF"[grade - 1..grade]);
    }
    if let Some(grade) = words.credibility {
        let _ = writeln!(text, "credibility = {grade}");
    }
    if let Some(pseudonym) = &words.pseudonym {
        let shown = if pseudonym.once { "framework" } else { "alias" };
        let _ = writeln!(
            text,
            "[pseudonym]\nagreement = \"{}\"\nas = \"{shown}\"\nreveal_to = {:?}",
            pseudonym.agreement, pseudonym.revealed_to
        );
    }
    for (at, part) in words.parts.iter().enumerate() {
        let named: Vec<String> = part
            .names
            .iter()
            .filter(|at| **at < words.parts.len())
            .map(|at| name(*at))
            .collect();
        let says = format!("{}; {}", name(at), named.join("; "));
        let fields = match part.class {
            Some("network") => format!("type = \"domain\"\nvalue = \"{}\"", name(at)),
            Some("person") => {
                format!(
                    "type = \"person\"\nname = \"{}\"\ndescription = \"{says}\"",
                    name(at)
                )
            }
            Some("source") => format!("type = \"source\"\ndescription = \"{says}\""),
            Some(class) => format!("type = \"{class}\"\ntext = \"{says}\""),
            None => unreachable!("filtered"),
        };
        let _ = writeln!(text, "[[part]]\n{fields}");
        if let Some(tlp) = part
            .tlp
            .filter(|tlp| rank(&TLPS, tlp) >= rank(&TLPS, words.tlp))
        {
            let _ = writeln!(text, "tlp = \"{tlp}\"");
        }
        if let Some(level) = part.level {
            let least = words
                .classification
                .map_or(0, |(_, level)| rank(&LEVELS, level));
            if rank(&LEVELS, level) >= least {
                let _ = writeln!(text, "level = \"{level}\"");
            }
        }
    }
    text
}

/// A release in words: recipient, clauses, classes withheld, onward rule.
type Told = (String, Vec<String>, Vec<String>, String);

fn told(release: &Release, classes: &[String]) -> Told {
    let class = |index: &u32| classes[usize::try_from(*index).expect("few")].clone();
    let mut withheld: Vec<String> = release.withheld.iter().map(class).collect();
    withheld.sort();
    (
        release.recipient.to_string(),
        release.clauses.iter().map(ToString::to_string).collect(),
        withheld,
        release.onward.to_string(),
    )
}

fn recorded(record: &Record) -> Vec<Told> {
    let Fact::Accepted(accepted) = &record.fact else {
        panic!("no bulletin")
    };
    let classes: Vec<String> = accepted
        .parts
        .iter()
        .map(|part| part.class.clone())
        .collect();
    record
        .releases
        .iter()
        .map(|one| told(&one.release, &classes))
        .collect()
}

#[test]
fn preview_explanation_and_audit_are_what_was_recorded() {
    const LEDGERS: usize = 1_700;
    const BULLETINS: usize = 60;
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let (mut cases, mut releases, mut partly) = (0, 0, 0);
    for number in 0..LEDGERS {
        let (mut ledger, pins) = four(random.next());
        let text = agreement(&mut random, &ledger, &pins);
        ledger.ratify(&text, &PARTIES);
        for at in 0..BULLETINS {
            let (from, draft) = draft(&mut random, at as u64 + 1);
            let (name, keys) = PARTIES[from];
            let originator = partner(name);
            let next = ledger.now.saturating_add(Duration::from_secs(1));
            // As `agreement preview` computes it.
            let (unsealed, _) =
                unsealed(draft.clone(), &originator, keys + 1, next, &ledger.entropy);
            let (labels, parts) = unsealed.labels().expect("labels");
            let classes: Vec<String> = unsealed
                .parts
                .iter()
                .map(|part| part.class.to_string())
                .collect();
            let (rulebook, usage) = (ledger.state.rulebook(), ledger.state.usage());
            let preview: Vec<Told> = decide(rulebook, usage, &labels, &parts, next)
                .iter()
                .map(|release| told(release, &classes))
                .collect();
            for name in PARTNERS {
                let to: PartnerId = name.parse().expect("a partner");
                let why = explain(rulebook, Some(usage), &labels, &parts, next, &to);
                let shown = preview.iter().any(|(recipient, ..)| recipient == name);
                assert_eq!(why.decision.is_ok(), shown);
                // Every part that is withheld has its reason under every clause that allows it.
                if let Ok(release) = &why.decision {
                    let allowing: Vec<_> = why
                        .clauses
                        .iter()
                        .filter(|one| one.misses.is_empty())
                        .collect();
                    for index in &release.withheld {
                        let explained = |one: &&entente::decision::ClauseExplanation| {
                            one.withheld.iter().any(|(at, _)| at == index)
                        };
                        assert!(!allowing.is_empty() && allowing.iter().all(explained));
                    }
                }
            }
            ledger.publish_as(&originator, keys + 1, vec![draft]);
            let records = ledger.last();
            assert_eq!(
                recorded(&records),
                preview,
                "ENTENTE_SEED={seed}, {number}/{at}\n{text}"
            );
            cases += 1;
            releases += preview.len();
            partly += preview
                .iter()
                .filter(|(_, _, withheld, _)| !withheld.is_empty())
                .count();
        }
        let audited = verify(&ledger.engine, Some(ledger.checkpoint()), |_| {});
        assert_eq!(audited.expect("it holds").bulletins, BULLETINS as u64);
        // What a snapshot keeps is what was folded.
        let snapshot = ledger.state.to_snapshot();
        let restored = State::from_snapshot(&snapshot.clone().into()).expect("a snapshot");
        assert_eq!(restored.to_snapshot(), snapshot);
    }
    println!("{cases} bulletins, {releases} releases, {partly} of them in part");
    assert!(cases >= 100_000 && releases > cases / 20 && partly > releases / 10);
}

#[test]
fn a_simulation_is_what_a_replay_gives() {
    const PAIRS: usize = 1_300;
    const BULLETINS: usize = 80;
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let (mut differences, mut same) = (0, 0);
    for _ in 0..PAIRS {
        let nonce = random.next();
        let (mut real, pins) = four(nonce);
        let (mut replay, _) = four(nonce);
        let one = agreement(&mut random, &real, &pins);
        let other = agreement(&mut random, &real, &pins);
        real.ratify(&one, &PARTIES);
        let other = replay.ratify(&other, &PARTIES);
        for at in 0..BULLETINS {
            let (from, draft) = draft(&mut random, at as u64 + 1);
            let (name, keys) = PARTIES[from];
            for ledger in [&mut real, &mut replay] {
                ledger.publish_as(&partner(name), keys + 1, vec![draft.clone()]);
            }
        }
        let terms = other.terms().expect("terms");
        let mut simulation = Simulation::new(other.id(), &terms, Timestamp::MIN);
        real.records()
            .iter()
            .for_each(|record| simulation.take(record));
        assert_eq!(simulation.bulletins(), BULLETINS as u64);
        let mut simulated = BTreeMap::new();
        for one in simulation.finish() {
            let sorted = |mut classes: Vec<String>| {
                classes.sort();
                classes
            };
            let key = (one.position, one.recipient.to_string());
            simulated.insert(key, (sorted(one.newly), sorted(one.no_longer)));
        }
        let mut replayed = BTreeMap::new();
        for (position, (was, is)) in (0..).zip(real.records().iter().zip(&replay.records())) {
            replayed.extend(changes(position, was, is));
        }
        assert_eq!(simulated, replayed, "ENTENTE_SEED={seed}");
        differences += replayed.len();
        // What is in force simulated is what was.
        let own = signed(&one, &[]);
        let mut simulation =
            Simulation::new(own.id(), &own.terms().expect("terms"), Timestamp::MIN);
        real.records()
            .iter()
            .for_each(|record| simulation.take(record));
        assert_eq!(simulation.finish(), []);
        same += 1;
    }
    println!("{differences} differences, {same} histories without one");
    assert!(differences > PAIRS);
}

type Changes = Vec<((u64, String), (Vec<String>, Vec<String>))>;

/// For each recipient whose parts differ between two records of one bulletin: the classes it newly
/// sees, and those it no longer does.
fn changes(position: u64, was: &Record, is: &Record) -> Changes {
    let (Fact::Accepted(one), Fact::Accepted(_)) = (&was.fact, &is.fact) else {
        return Vec::new();
    };
    let seen = |record: &Record, to: &str| -> BTreeSet<usize> {
        let of = |one: &&LaneRelease| one.release.recipient.as_str() == to;
        let release = record.releases.iter().find(of);
        (0..one.parts.len())
            .filter(|at| {
                let at = u32::try_from(*at).expect("few");
                release.is_some_and(|one| !one.release.withheld.contains(&at))
            })
            .collect()
    };
    let mut changes = Vec::new();
    for to in PARTNERS {
        let (before, after) = (seen(was, to), seen(is, to));
        let classes = |some: BTreeSet<usize>| {
            let mut classes: Vec<_> = some
                .into_iter()
                .map(|at| one.parts[at].class.clone())
                .collect();
            classes.sort();
            classes
        };
        if before != after {
            let (newly, gone) = (&after - &before, &before - &after);
            changes.push(((position, to.to_owned()), (classes(newly), classes(gone))));
        }
    }
    changes
}

/// An agreement between Norland and Estmark with these terms.
fn bilateral(
    ledger: &Ledger,
    pins: &BTreeMap<String, SignedKeySet>,
    head: &str,
    terms: &str,
) -> String {
    let pin = |name: &str| pins[&partner(name).to_string()].hash().to_string();
    format!(
        "name = \"cyber\"\n{head}\nledger = \"{}\"\nvalid_from = \"2026-01-01T00:00:00Z\"\n\
         valid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n\"norland.example\" = \"{}\"\n\
         \"estmark.example\" = \"{}\"\n[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\n\
         kinds = [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\n{terms}\n",
        ledger.id(),
        pin("norland"),
        pin("estmark")
    )
}

const BOTH: [(&str, u8); 2] = [("norland", 10), ("estmark", 20)];

fn ratified(signed: &SignedAgreement) -> Fact {
    Fact::AgreementRatified(signed.clone())
}

#[test]
fn narrowing_needs_one_signature_and_widening_all() {
    let (mut ledger, pins) = four(5);
    let first = bilateral(&ledger, &pins, "version = 1", "tlp = \"TLP:AMBER\"");
    let first = ledger.ratify(&first, &BOTH);
    let next = |ledger: &Ledger, version: u64, previous: &SignedAgreement, terms: &str| {
        let head = format!("version = {version}\nprevious = \"{}\"", previous.id());
        bilateral(ledger, &pins, &head, terms)
    };
    // Wider, signed by one.
    let wider = next(&ledger, 2, &first, "tlp = \"TLP:RED\"");
    let fact = ratified(&signed(&wider, &BOTH[..1]));
    assert_eq!(ledger.refused(fact), "widens");
    // A looser obligation is wider, too.
    let looser = next(
        &ledger,
        2,
        &first,
        "tlp = \"TLP:AMBER\"\nonward = \"within-agreement\"",
    );
    assert_eq!(
        ledger.refused(ratified(&signed(&looser, &BOTH[1..]))),
        "widens"
    );
    // So is a claim to what came before.
    let terms = "tlp = \"TLP:AMBER\"\nbackfill_from = \"2026-06-01T00:00:00Z\"";
    let more = next(&ledger, 2, &first, terms);
    let fact = ratified(&signed(&more, &BOTH[..1]));
    assert_eq!(ledger.refused(fact), "widens");
    // Nobody's signature is nobody's version.
    let narrower = next(
        &ledger,
        2,
        &first,
        "tlp = \"TLP:GREEN\"\nwithhold = [\"person\"]",
    );
    assert_eq!(
        ledger.refused(ratified(&signed(&narrower, &[]))),
        "not_ratified"
    );
    // Narrower, signed by one, is in force; the version before is not.
    let second = ledger.ratify(&narrower, &BOTH[1..]);
    let in_force: Vec<_> = ledger
        .state
        .rulebook()
        .agreements()
        .keys()
        .copied()
        .collect();
    assert_eq!(in_force, [second.id()]);
    // Back to where it was is wider again, and needs both.
    let back = next(&ledger, 3, &second, "tlp = \"TLP:AMBER\"");
    assert_eq!(
        ledger.refused(ratified(&signed(&back, &BOTH[..1]))),
        "widens"
    );
    let back = ledger.ratify(&back, &BOTH);
    // Signed by both, what came before is given; who narrows alone gives itself nothing more.
    let since =
        |date: &str, tlp: &str| format!("tlp = \"{tlp}\"\nbackfill_from = \"{date}T00:00:00Z\"");
    let terms = since("2026-06-01", "TLP:AMBER");
    let given = next(&ledger, 4, &back, &terms);
    let given = ledger.ratify(&given, &BOTH);
    assert!(ledger.state.backfills().contains_key(&given.id()));
    let older = next(&ledger, 5, &given, &since("2026-01-01", "TLP:AMBER"));
    let fact = ratified(&signed(&older, &BOTH[..1]));
    assert_eq!(ledger.refused(fact), "widens");
    let narrower = next(&ledger, 5, &given, &since("2026-06-01", "TLP:GREEN"));
    let running = ledger.state.backfills()[&given.id()];
    // It goes on with what all have signed.
    let narrower = ledger.ratify(&narrower, &BOTH[..1]);
    assert_eq!(ledger.state.backfills()[&narrower.id()], running);
    assert_eq!(ledger.state.backfills().len(), 1);
    assert!(verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).is_ok());
}

#[test]
fn a_red_line_is_never_crossed() {
    let (mut ledger, pins) = four(6);
    let lines = |ledger: &Ledger, text: &str, signer: u8| {
        let order = RedLinesOrder {
            ledger: ledger.id(),
            text: text.into(),
            lines: RedLines::parse(text).expect("red lines"),
            time: ledger.now,
        };
        let bytes = order.to_bytes();
        let signature = key(signer)
            .sign(PayloadType::RedLines, &bytes)
            .expect("signed");
        let operator = OperatorSignature {
            operator: "anna".into(),
            signature,
        };
        Fact::RedLinesSet(RedLinesSet {
            bytes,
            order,
            operator,
        })
    };
    let text = "[[never]]\nname = \"no persons south\"\nfrom = [\"norland.example\"]\nto = \
                [\"sudland.example\", \"estmark.example\"]\nclasses = [\"person\"]\ntlp = \
                [\"TLP:AMBER\", \"TLP:RED\"]\n";
    let forged = lines(&ledger, text, 3);
    assert_eq!(ledger.refused(forged), "bad_operator_signature");
    let set = lines(&ledger, text, 2);
    ledger.record(Proposal::Fact(set.clone()));
    assert_eq!(ledger.refused(set), "stale_red_lines");
    let crossing = bilateral(&ledger, &pins, "version = 1", "tlp = \"TLP:AMBER\"");
    let fact = ratified(&signed(&crossing, &BOTH));
    let Outcome::Refused(error) = ledger.propose(Proposal::Fact(fact)) else {
        panic!("it crosses")
    };
    assert!(error.to_string().contains("`no persons south`"), "{error}");
    assert_eq!(error.code(), "red_line");
    let terms = "tlp = \"TLP:AMBER\"\nwithhold = [\"person\"]";
    let kept = bilateral(&ledger, &pins, "version = 1", terms);
    ledger.ratify(&kept, &BOTH);
    // A line that is crossed already is not drawn.
    let late = "[[never]]\nname = \"late\"\nfrom = [\"norland.example\"]\nto = \
                [\"estmark.example\"]\n";
    let late = lines(&ledger, late, 2);
    assert_eq!(ledger.refused(late), "red_line");
    assert!(verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).is_ok());
}

#[test]
fn every_attack_on_an_agreement_is_refused_by_name() {
    let (mut ledger, pins) = four(8);
    let terms = "tlp = \"TLP:AMBER\"";
    let text = bilateral(&ledger, &pins, "version = 1", terms);
    let good = signed(&text, &BOTH);
    let mut attacks: Vec<(&str, SignedAgreement, &str)> = vec![
        (
            "forged: another's key under Estmark's name",
            signed(&text, &[("norland", 10), ("estmark", 30)]),
            "unknown_key",
        ),
        (
            "a bulletins key signs no agreement",
            signed(&text, &[("norland", 10), ("estmark", 21)]),
            "unknown_key",
        ),
        (
            "one key under two parties",
            signed(&text, &[("norland", 10), ("estmark", 10)]),
            "unknown_key",
        ),
        (
            "a dropped signature",
            signed(&text, &BOTH[..1]),
            "not_ratified",
        ),
        (
            "a stranger signs, too",
            signed(&text, &[("norland", 10), ("estmark", 20), ("sudland", 30)]),
            "not_party",
        ),
    ];
    // A signature under other bytes: the ratification of another version counts for none.
    let other = bilateral(&ledger, &pins, "version = 1", "tlp = \"TLP:GREEN\"");
    let lent = signed(&other, &BOTH);
    let mut wire = signed(&text, &[]).to_wire();
    wire.ratifications = lent.to_wire().ratifications;
    attacks.push((
        "signatures of another text",
        SignedAgreement::from_wire(&wire).expect("wire"),
        "bad_signature",
    ));
    let twice = {
        let mut wire = good.to_wire();
        wire.ratifications.push(wire.ratifications[0].clone());
        SignedAgreement::from_wire(&wire).expect("wire")
    };
    attacks.push(("one party twice", twice, "shared_key"));
    let pin = pins["estmark.example"].hash().to_string();
    let repinned = text.replace(&pin, &"7".repeat(64));
    attacks.push((
        "another key set than the registry's",
        signed(&repinned, &BOTH),
        "other_key_set",
    ));
    let elsewhere = text.replace(&ledger.id().to_string(), &"8".repeat(64));
    attacks.push((
        "for another ledger",
        signed(&elsewhere, &BOTH),
        "other_ledger",
    ));
    let over = text.replace("2027-06-01T00:00:00Z", "2026-10-01T00:00:00Z");
    attacks.push(("over before it began", signed(&over, &BOTH), "over"));
    let orphan = bilateral(
        &ledger,
        &pins,
        &format!("version = 2\nprevious = \"{}\"", "9".repeat(64)),
        terms,
    );
    attacks.push((
        "a next version of nothing",
        signed(&orphan, &BOTH),
        "not_next_version",
    ));
    for (what, attack, code) in attacks {
        assert_eq!(ledger.refused(ratified(&attack)), code, "{what}");
    }
    ledger.record(Proposal::Fact(ratified(&good)));
    assert_eq!(
        ledger.refused(ratified(&good)),
        "already_ratified",
        "replayed"
    );
    // Equivocation: two second versions, both signed by all. The log takes one.
    let head = format!("version = 2\nprevious = \"{}\"", good.id());
    let second = bilateral(&ledger, &pins, &head, "tlp = \"TLP:GREEN\"");
    let rival = bilateral(&ledger, &pins, &head, "tlp = \"TLP:RED\"");
    let second = ledger.ratify(&second, &BOTH);
    assert_eq!(
        ledger.refused(ratified(&signed(&rival, &BOTH))),
        "not_next_version"
    );
    // An older version does not come back.
    assert_eq!(
        ledger.refused(ratified(&good)),
        "already_ratified",
        "rollback"
    );
    // A key set does not go back either.
    let old = pins["norland.example"].clone();
    assert_eq!(ledger.refused(Fact::KeySetRotated(old)), "key_set");
    // A withdrawal by somebody else, of another agreement, and twice.
    let withdrawal = |agreement: &SignedAgreement, name: &str, seed: u8, ledger: &Ledger| {
        let withdrawal = Withdrawal {
            ledger: ledger.id().0,
            agreement: agreement.id(),
            partner: partner(name),
            time: ledger.now,
            reason: String::new(),
        };
        let signed = SignedWithdrawal::sign(withdrawal, &key(seed)).expect("signed");
        Fact::AgreementWithdrawn(signed)
    };
    let stranger = withdrawal(&second, "sudland", 30, &ledger);
    assert_eq!(ledger.refused(stranger), "not_party");
    let forged = withdrawal(&second, "estmark", 30, &ledger);
    assert_eq!(ledger.refused(forged), "unknown_key");
    let past = withdrawal(&good, "norland", 10, &ledger);
    assert_eq!(ledger.refused(past), "not_in_force");
    // In flight: released, and then withdrawn before it was delivered.
    let text = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
                \"narrative\"\ntext = \"n\"\n";
    let draft = Draft::from_toml(text).expect("a bulletin");
    ledger.publish_as(&partner("norland"), 11, vec![draft.clone()]);
    let released = ledger.last();
    let Fact::Accepted(accepted) = &released.fact else {
        panic!("a bulletin")
    };
    let permit = |ledger: &Ledger| {
        ledger
            .state
            .permit(accepted, &released.releases[0], ledger.now)
    };
    assert!(permit(&ledger).is_some());
    let genuine = withdrawal(&second, "estmark", 20, &ledger);
    ledger.record(Proposal::Fact(genuine.clone()));
    assert!(
        permit(&ledger).is_none(),
        "what waits in a lane is not delivered any more"
    );
    assert_eq!(ledger.refused(genuine), "not_in_force");
    // An originator that has seen the withdrawal is not decided upon without it.
    let mut ahead = draft;
    ahead.as_of = Some(ledger.state.size() + 1);
    let unsealed = ahead.into_unsealed(&partner("norland"), ledger.now, &ledger.entropy);
    let outcome = ledger.submit(&partner("norland"), 11, unsealed.expect("valid"));
    let Outcome::Refused(error) = outcome else {
        panic!("the log is behind")
    };
    assert_eq!(error.code(), "ahead_of_log");
    for (from, to, code) in [
        ("[parties]\n", "[parties]\n\"a.example\" = \"0\"\n", "64"),
        ("to = [\"*\"]", "to = []", "empty"),
        ("tlp = ", "purposes = [\"fun\"]\ntlp = ", "fun"),
    ] {
        let text = bilateral(&ledger, &pins, "version = 1", terms).replace(from, to);
        let error = entente::agreement::parse_draft(&text).expect_err("a mistake");
        assert!(error.message.contains(code) && error.line > 1, "{error}");
    }
    let single = bilateral(&ledger, &pins, "version = 1", terms);
    let line = format!(
        "\"estmark.example\" = \"{}\"\n",
        pins["estmark.example"].hash()
    );
    let error = entente::agreement::parse_draft(&single.replace(&line, "")).expect_err("one party");
    assert!(error.message.contains("2 to"), "{error}");
    assert!(verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).is_ok());
}

#[test]
fn a_draft_is_warned_of_clauses_that_do_nothing() {
    let (ledger, pins) = four(9);
    let more = "[[clause]]\nid = \"same\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics \
                = [\"cyber\"]\nregions = [\"*\"]\ntlp = \"TLP:GREEN\"\n[[clause]]\nid = \
                \"alone\"\nfrom = [\"norland.example\"]\nto = [\"norland.example\"]\nkinds = \
                [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:RED\"\n[[clause]]\nid \
                = \"other\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = \
                [\"counterterrorism\"]\nregions = [\"*\"]\ntlp = \"TLP:RED\"\n[[clause]]\nid = \
                \"more\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = \
                [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:RED\"\nexercise_only = true\n";
    let text = bilateral(&ledger, &pins, "version = 1", "tlp = \"TLP:AMBER\"") + more;
    let terms = entente::agreement::parse_draft(&text).expect("terms");
    let warned: Vec<String> = terms
        .warnings(ledger.now)
        .iter()
        .map(|one| one.clause.to_string())
        .collect();
    assert_eq!(warned, ["same", "alone", "other"]);
}

#[test]
fn what_is_held_goes_when_two_persons_let_it_go_and_not_before() {
    let (mut ledger, pins) = four(11);
    let persons = |keys: [u8; 3]| {
        let [anna, bo, cleo] = keys.map(|seed| key(seed).public_key());
        format!(
            "[persons.anna]\npartner = \"norland.example\"\nkey = \"{anna}\"\n[persons.bo]\npartner \
             = \"norland.example\"\nkey = \"{bo}\"\n[persons.cleo]\npartner = \
             \"estmark.example\"\nkey = \"{cleo}\"\n"
        )
    };
    let hold = "tlp = \"TLP:AMBER\"\nhold = { persons = [\"anna\", \"bo\"], seconds = 3600 }";
    let text = |head: &str, ledger: &Ledger, keys: [u8; 3]| {
        let text = bilateral(ledger, &pins, head, hold);
        text.replace("[parties]", &format!("{}[parties]", persons(keys)))
    };
    let first = text("version = 1", &ledger, [91, 92, 93]);
    let agreement = ledger.ratify(&first, &BOTH);
    let publish = |ledger: &mut Ledger, number: u64| {
        let text = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
                    \"narrative\"\ntext = \"n\"\n";
        let mut draft = Draft::from_toml(text).expect("a bulletin");
        draft.id = Some(BulletinId::from_random((u128::from(number)).to_be_bytes()));
        ledger.publish_as(&partner("norland"), 11, vec![draft]);
        std::sync::Arc::new(ledger.last())
    };
    let decide =
        |ledger: &Ledger, about: &std::sync::Arc<Record>, who: &str, seed: u8, go: bool| {
            let Fact::Accepted(accepted) = &about.fact else {
                panic!("a bulletin")
            };
            let decision = HoldDecision {
                ledger: ledger.id(),
                id: accepted.header.id,
                bulletin: accepted.header_hash(),
                agreement: agreement.id(),
                person: who.into(),
                release: go,
                time: ledger.now,
            };
            Proposal::HoldDecision {
                signed: SignedHoldDecision::sign(decision, &key(seed)).expect("signed"),
                about: std::sync::Arc::clone(about),
            }
        };
    let code = |outcome: Outcome| match outcome {
        Outcome::Refused(error) => error.code(),
        other => panic!("{other:?}"),
    };
    let estmark = partner("estmark");
    let issued = |ledger: &Ledger| ledger.state.lanes().issued(&estmark, Precedence::Routine);
    let held = publish(&mut ledger, 1);
    assert!(held.releases[0].release.held && held.releases[0].number == 0);
    assert_eq!(issued(&ledger), 0, "nothing is on its way");
    for (who, seed, expected) in [
        ("anna", 92, "hold_bad_signature"),
        ("cleo", 93, "unknown_person"),
        ("dora", 94, "unknown_person"),
    ] {
        let forged = decide(&ledger, &held, who, seed, true);
        assert_eq!(code(ledger.propose(forged)), expected, "{who}");
    }
    let one = decide(&ledger, &held, "anna", 91, true);
    ledger.record(one);
    assert_eq!(issued(&ledger), 0, "one person is not enough");
    let again = decide(&ledger, &held, "anna", 91, true);
    assert_eq!(code(ledger.propose(again)), "decided_already");
    // A fold from a snapshot goes on where this one stands.
    let snapshot = ledger.state.to_snapshot().into();
    let restored = State::from_snapshot(&snapshot).expect("a snapshot");
    assert_eq!(restored.dossiers(), ledger.state.dossiers());
    let two = decide(&ledger, &held, "bo", 92, true);
    ledger.record(two);
    assert_eq!(issued(&ledger), 1);
    let let_go = ledger.last();
    assert_eq!((let_go.releases.len(), let_go.releases[0].number), (1, 1));
    // Kept for good by one of them.
    let second = publish(&mut ledger, 2);
    let kept = decide(&ledger, &second, "bo", 92, false);
    ledger.record(kept);
    let late = decide(&ledger, &second, "anna", 91, true);
    assert_eq!(code(ledger.propose(late)), "not_held");
    // Nobody in time.
    let third = publish(&mut ledger, 3);
    let early = decide(&ledger, &third, "anna", 91, true);
    ledger.record(early);
    ledger.now = ledger.now.saturating_add(Duration::from_hours(2));
    let late = decide(&ledger, &third, "bo", 92, true);
    assert_eq!(code(ledger.propose(late)), "hold_over");
    assert_eq!(issued(&ledger), 1);
    // One party alone does not put its own people in the place of others.
    let head = format!("version = 2\nprevious = \"{}\"", agreement.id());
    let usurped = text(&head, &ledger, [95, 96, 93]);
    assert_eq!(
        ledger.refused(ratified(&signed(&usurped, &BOTH[..1]))),
        "not_ratified"
    );
    assert!(verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).is_ok());
}

#[test]
fn each_hold_has_a_deadline_of_its_own_and_what_is_let_go_has_to_be_taken_in_time() {
    let (mut ledger, pins) = four(13);
    let [anna, bo] = [91, 92].map(|seed| key(seed).public_key());
    let persons = format!(
        "[persons.anna]\npartner = \"norland.example\"\nkey = \"{anna}\"\n[persons.bo]\npartner \
         = \"norland.example\"\nkey = \"{bo}\"\n[parties]"
    );
    let hold = |seconds: u32| {
        format!(
            "tlp = \"TLP:AMBER\"\nacknowledge_within_seconds = 60\nhold = {{ persons = [\"anna\", \
             \"bo\"], seconds = {seconds} }}\n"
        )
    };
    let second = "[[clause]]\nid = \"slow\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics \
                  = [\"*\"]\nregions = [\"*\"]\n";
    let terms = format!("{}{second}{}", hold(3_600), hold(86_400));
    let text = bilateral(&ledger, &pins, "version = 1", &terms).replace("[parties]", &persons);
    let agreement = ledger.ratify(&text, &BOTH);
    let estmark = partner("estmark");
    let mut go = |after: Duration| {
        let text = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
                    \"narrative\"\ntext = \"n\"\n";
        let draft = Draft::from_toml(text).expect("a bulletin");
        ledger.publish_as(&partner("norland"), 11, vec![draft]);
        let about = std::sync::Arc::new(ledger.last());
        let Fact::Accepted(accepted) = &about.fact else {
            panic!("a bulletin")
        };
        ledger.now = ledger.now.saturating_add(after);
        for (who, seed) in [("anna", 91), ("bo", 92)] {
            let decision = HoldDecision {
                ledger: ledger.id(),
                id: accepted.header.id,
                bulletin: accepted.header_hash(),
                agreement: agreement.id(),
                person: who.into(),
                release: true,
                time: ledger.now,
            };
            ledger.record(Proposal::HoldDecision {
                signed: SignedHoldDecision::sign(decision, &key(seed)).expect("signed"),
                about: std::sync::Arc::clone(&about),
            });
        }
        let issued = ledger.state.lanes().issued(&estmark, Precedence::Routine);
        let soon = ledger.now.saturating_add(Duration::from_secs(61));
        (issued, ledger.state.dossiers().overdue(soon).len())
    };
    // In time for both; and for one of them only, which is not enough.
    assert_eq!(go(Duration::from_mins(1)), (1, 1));
    assert_eq!(go(Duration::from_hours(2)), (1, 1));
    assert!(verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).is_ok());
}

type Change<'a> = &'a dyn Fn(&mut Unsealed);

#[test]
fn nobody_declares_or_gives_notice_for_another() {
    let (mut ledger, pins) = four(12);
    let text = bilateral(
        &ledger,
        &pins,
        "version = 1",
        "tlp = \"TLP:AMBER\"\nacknowledge_within_seconds = 60",
    );
    ledger.ratify(&text, &BOTH);
    let file = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\nprecedence = \
                \"PRIORITY\"\n[[part]]\ntype = \"narrative\"\ntext = \"n\"\n";
    let draft = |file: &str| Draft::from_toml(file).expect("a bulletin");
    ledger.publish_as(&partner("norland"), 11, vec![draft(file)]);
    let about = std::sync::Arc::new(ledger.last());
    let Fact::Accepted(original) = &about.fact else {
        panic!("a bulletin")
    };
    let code = |outcome: Outcome| match outcome {
        Outcome::Refused(error) => error.code(),
        other => panic!("{other:?}"),
    };
    let declare = |ledger: &Ledger, who: &str, seed: u8, change: fn(&mut Declaration)| {
        let mut declaration = Declaration {
            ledger: ledger.id(),
            partner: partner(who),
            id: original.header.id,
            bulletin: original.header_hash(),
            time: ledger.now,
            what: What::Taken,
        };
        change(&mut declaration);
        Proposal::Declaration {
            signed: SignedDeclaration::sign(declaration, &key(seed)).expect("signed"),
            about: std::sync::Arc::clone(&about),
        }
    };
    for (who, seed, change, expected) in [
        (
            "sudland",
            31,
            (|_| {}) as fn(&mut Declaration),
            "declaration_not_recipient",
        ),
        ("norland", 11, |_| {}, "declaration_not_recipient"),
        ("estmark", 31, |_| {}, "declaration_unknown_key"),
        ("estmark", 20, |_| {}, "declaration_unknown_key"),
        (
            "estmark",
            21,
            |one| one.ledger.0.0[0] ^= 1,
            "declaration_other_ledger",
        ),
        (
            "estmark",
            21,
            |one| one.bulletin.0[0] ^= 1,
            "declaration_unknown_bulletin",
        ),
        (
            "estmark",
            21,
            |one| one.id.0[0] ^= 1,
            "declaration_unknown_bulletin",
        ),
    ] {
        let forged = declare(&ledger, who, seed, change);
        assert_eq!(code(ledger.propose(forged)), expected, "{who}");
    }
    let honest = declare(&ledger, "estmark", 21, |_| {});
    ledger.record(honest);
    let again = declare(&ledger, "estmark", 21, |_| {});
    assert_eq!(
        ledger.propose(again),
        Outcome::Stale,
        "said once, recorded once"
    );
    // Notices: by another, about nothing, with more in them than their bulletin, less urgent.
    let action = file.replace("narrative", "action");
    let notice = |ledger: &Ledger, who: &str, file: &str, change: &dyn Fn(&mut Unsealed)| {
        let unsealed = draft(file).into_unsealed(&partner(who), ledger.now, &ledger.entropy);
        let mut unsealed = unsealed.expect("valid");
        unsealed.header.notice = true;
        unsealed.header.references = vec![Reference {
            relation: Relation::Retracts,
            bulletin: original.header.id,
        }];
        change(&mut unsealed);
        unsealed
    };
    let keep = |_: &mut Unsealed| {};
    let wider = |one: &mut Unsealed| {
        one.header.topics = vec!["cyber/ddos".parse().expect("a topic")];
    };
    let named = |one: &mut Unsealed| one.header.releasable_to = vec![partner("ostland")];
    let attacks: [(&str, u8, &str, Change<'_>); 5] = [
        ("estmark", 21, &action, &keep),
        ("norland", 11, file, &keep),
        ("norland", 11, &action, &wider),
        ("norland", 11, &action, &named),
        ("norland", 11, &action.replace("PRIORITY", "ROUTINE"), &keep),
    ];
    for (who, seed, file, change) in attacks {
        let unsealed = notice(&ledger, who, file, change);
        let forged = ledger.give(&partner(who), seed, unsealed, Some(&about));
        assert_eq!(code(forged), "notice", "{who} {file}");
    }
    let unsealed = notice(&ledger, "norland", &action, &keep);
    let loose = ledger.give(&partner("norland"), 11, unsealed, None);
    assert_eq!(code(loose), "notice", "about nothing");
    assert!(
        !ledger
            .state
            .dossiers()
            .is_retracted(&original.header_hash())
    );
    let unsealed = notice(&ledger, "norland", &action, &keep);
    let given = ledger.give(&partner("norland"), 11, unsealed, Some(&about));
    assert!(matches!(given, Outcome::Recorded(_)), "{given:?}");
    assert!(
        ledger
            .state
            .dossiers()
            .is_retracted(&original.header_hash())
    );
    let to: Vec<_> = ledger
        .last()
        .releases
        .iter()
        .map(|one| one.release.recipient.clone())
        .collect();
    assert_eq!(to, [partner("estmark")], "exactly those who received it");
    assert!(
        ledger
            .state
            .permit(original, &about.releases[0], ledger.now)
            .is_none()
    );
    let audited = verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).expect("it holds");
    assert_eq!((audited.declarations, audited.bulletins), (1, 2));
}
