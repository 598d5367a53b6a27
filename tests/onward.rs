//! Passing on: what `reach` says can be passed on, can; what clauses, originators or recalls forbid
//! does not go further; and a recall follows what was passed on. The seed is printed,
//! `ENTENTE_SEED` repeats a run.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "figures are shown; a story is told in one piece"
)]

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command as Shell;
use std::sync::Arc;
use std::time::Duration;

use entente::agreement::{SignedAgreement, SignedWithdrawal, Withdrawal};
use entente::audit::verify;
use entente::broker::BulletinView;
use entente::bulletin::{
    BulletinId, Caveat, Draft, Header, Part, PartClass, PlainPart, PseudonymDraft, PseudonymSecret,
    Reference, Relation, Shown, Tlp, Unsealed,
};
use entente::decision::{Hop, Question, Way, reach};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::ledger::{Consent, Fact, Outcome, Proposal, Record, SignedConsent};
use entente::partner::{PartnerId, SignedKeySet};
use entente::testing::{Cluster, Scratch};
use ledger::{Ledger, key, partner};
use words::{PARTNERS, Random, random_clauses, seed, text};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_secs(40);

/// The partners of the random words, each with the seed of its agreements key.
const PARTIES: [(&str, u8); 4] = [
    ("norland", 10),
    ("estmark", 20),
    ("sudland", 30),
    ("ostland", 40),
];

fn bulletins_key(of: &PartnerId) -> u8 {
    let found = PARTIES.iter().find(|(name, _)| partner(name) == *of);
    found.expect("a party").1 + 1
}

/// The words of a random agreement between some of them, in force now.
fn agreement(
    random: &mut Random,
    ledger: &Ledger,
    pins: &BTreeMap<String, SignedKeySet>,
    number: usize,
) -> (String, Vec<(&'static str, u8)>) {
    let mut clauses = random_clauses(random, number);
    for clause in &mut clauses {
        clause.valid = ("2026-01-01T00:00:00Z", "2027-06-01T00:00:00Z");
        // Who gives at each step has a name: a chain says nothing of pseudonyms.
        clause.shown = "named";
        clause.refuses_references = false;
        clause.exercise_only = false;
        clause.onward = random.one(&["within-agreement", "within-agreement", "originator-consent"]);
    }
    let parties = clauses[0].parties.clone();
    let mut text = text(&format!("a{number}"), &clauses);
    text = text.replacen(&"0".repeat(64), &ledger.id().to_string(), 1);
    for (at, name) in PARTNERS.iter().enumerate() {
        let pin = pins[*name].hash().to_string();
        text = text.replacen(&format!("{:064}", at + 1), &pin, 1);
    }
    let signers = PARTIES
        .into_iter()
        .filter(|(name, _)| parties.contains(&partner(name).as_str()));
    (text, signers.collect())
}

/// A bulletin with these labels and one part of a class.
fn first(ledger: &Ledger, way: &Way, number: u64) -> Unsealed {
    let labels = &way.example.labels;
    let text = format!(
        "id = \"{}\"\nkinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:CLEAR\"\n[[part]]\ntype \
         = \"narrative\"\ntext = \"n\"\n",
        BulletinId::from_random((u128::from(number) << 64).to_be_bytes())
    );
    let draft = Draft::from_toml(&text).expect("a bulletin");
    let unsealed = draft.into_unsealed(&labels.originator, ledger.now, &ledger.entropy);
    let mut unsealed = unsealed.expect("valid");
    unsealed.parts[0].class = way.example.part.class.expect("a class");
    unsealed.parts[0].marking = way.example.part.marking;
    let header = &mut unsealed.header;
    header.kinds.clone_from(&labels.kinds);
    header.topics.clone_from(&labels.topics);
    header.regions.clone_from(&labels.regions);
    header.tlp = labels.tlp;
    header.classification.clone_from(&labels.classification);
    header.caveats.clone_from(&labels.caveats);
    header.precedence = labels.precedence;
    header.exercise = labels.exercise;
    header.admiralty = labels.admiralty;
    let named = labels.releasable_to.iter().flatten();
    header.releasable_to = named.cloned().collect();
    unsealed
}

/// What a holder publishes who passes a bulletin on, as it received it.
fn passing(
    ledger: &Ledger,
    holder: &PartnerId,
    received: BulletinId,
    to: &[PartnerId],
    number: u64,
) -> Unsealed {
    let sealed = &ledger.bodies[&received];
    let header = Header::from_bytes(&sealed.header).expect("a header");
    let parts = sealed.parts.iter().filter_map(|part| match part {
        Part::Open(part) if part.class != "identity" => Some(PlainPart {
            class: part.class.parse().expect("a class"),
            marking: part.marking,
            body: part.body.clone(),
            salt: Some(part.salt),
        }),
        _ => None,
    });
    let all = std::iter::once(received).chain(header.passes_on());
    let references = all
        .map(|bulletin| Reference {
            relation: Relation::PassesOn,
            bulletin,
        })
        .collect();
    Unsealed {
        parts: parts.collect(),
        header: Header {
            id: BulletinId::from_random((u128::from(number) << 64 | 7).to_be_bytes()),
            originator: holder.clone().into(),
            created: ledger.now,
            valid_from: ledger.now,
            releasable_to: to.to_vec(),
            references,
            ..header
        },
    }
}

/// Publishes under a pseudonym for the agreement of a hop, shown to its recipient: no clause of another
/// agreement can be used then, and none binds.
fn submit(
    ledger: &mut Ledger,
    giver: &PartnerId,
    unsealed: Unsealed,
    hop: &Hop,
    about: Vec<Arc<Record>>,
) -> Outcome {
    let pseudonym = PseudonymDraft {
        agreement: hop.clause.name.to_string(),
        shown: Shown::Alias,
        reveal_to: vec![hop.to.clone()],
    };
    let own = key(bulletins_key(giver));
    let secret = PseudonymSecret::new(key(bulletins_key(giver)));
    let (unsealed, alias) = secret
        .disguise(unsealed, pseudonym, None, &own)
        .expect("an alias");
    if about.is_empty() {
        ledger.submit_sealed(giver, &alias, unsealed)
    } else {
        ledger.pass_on(giver, &alias, unsealed, about)
    }
}

/// The record of an accepted bulletin.
fn record(ledger: &Ledger, id: BulletinId) -> Arc<Record> {
    let position = ledger.state.seen(&id).expect("accepted").position;
    let at = usize::try_from(position).expect("few");
    Arc::new(ledger.records()[at].clone())
}

fn ancestors(ledger: &Ledger, unsealed: &Unsealed) -> Vec<Arc<Record>> {
    let ids = unsealed.header.passes_on();
    ids.map(|id| record(ledger, id)).collect()
}

/// Everybody who is asked consents.
fn consent_to_all(ledger: &mut Ledger, id: BulletinId) {
    let about = record(ledger, id);
    let Fact::Accepted(accepted) = &about.fact else {
        unreachable!("a bulletin")
    };
    let by: BTreeSet<PartnerId> = accepted.awaited.iter().map(|one| one.by.clone()).collect();
    for by in by {
        let signed = consent(ledger, &by, bulletins_key(&by), &about, true);
        let about = Arc::clone(&about);
        ledger.record(Proposal::Consent { signed, about });
    }
}

fn consent(
    ledger: &Ledger,
    by: &PartnerId,
    seed: u8,
    about: &Record,
    approve: bool,
) -> SignedConsent {
    let Fact::Accepted(accepted) = &about.fact else {
        unreachable!("a bulletin")
    };
    let dossier = ledger.state.dossiers().dossier(&accepted.header_hash());
    let consent = Consent {
        ledger: ledger.id(),
        partner: by.clone(),
        id: accepted.header.id,
        bulletin: accepted.header_hash(),
        asker: accepted.originator.clone(),
        questions: dossier.map(|one| one.questions(by)).unwrap_or_default(),
        approve,
        reason: String::new(),
        time: ledger.now,
    };
    SignedConsent::sign(consent, &key(seed)).expect("signed")
}

/// To whom a bulletin went, let go or not held at all.
fn given(ledger: &Ledger, id: BulletinId) -> BTreeSet<PartnerId> {
    let about = record(ledger, id);
    let Fact::Accepted(accepted) = &about.fact else {
        unreachable!("a bulletin")
    };
    let (dossiers, hash) = (ledger.state.dossiers(), accepted.header_hash());
    let releases = about.releases.iter().map(|one| &one.release);
    let went = releases.filter(|one| !one.held || dossiers.was_let_go(&hash, &one.recipient));
    went.map(|one| one.recipient.clone()).collect()
}

#[test]
fn what_can_be_reached_by_passing_on_is_reached() {
    // Chains of three steps are rare: it goes on until it has seen one.
    const LEDGERS: usize = 250;
    const LEDGERS_MAX: usize = 5_000;
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let (mut ways, mut longest, mut consented) = (0, 0, 0);
    for number in 0..LEDGERS_MAX {
        if number >= LEDGERS && longest > 2 {
            break;
        }
        let mut ledger = Ledger::new(random.next());
        let pins =
            PARTIES.map(|(name, seed)| (partner(name).to_string(), ledger.admit(name, seed)));
        let pins = pins.into();
        for number in 0..3 {
            let (text, signers) = agreement(&mut random, &ledger, &pins, number);
            ledger.ratify(&text, &signers);
        }
        let mut number = 0;
        for (from, to) in PARTNERS
            .iter()
            .flat_map(|from| PARTNERS.map(|to| (*from, to)))
        {
            let (from, to): (PartnerId, PartnerId) =
                (from.parse().expect("one"), to.parse().expect("one"));
            let question = Question {
                exercise: Some(false),
                ..Question::anything(from, to)
            };
            let now = ledger.now;
            let Some(way) = reach(ledger.state.rulebook(), &question, now) else {
                continue;
            };
            if way.hops.len() < 2 {
                continue;
            }
            let context = format!("ENTENTE_SEED={seed}: {way}\n{:#?}", way.example);
            number += 1;
            let published = first(&ledger, &way, number);
            let mut id = published.header.id;
            let giver = &way.hops[0].from;
            let outcome = submit(&mut ledger, giver, published, &way.hops[0], Vec::new());
            assert!(
                matches!(outcome, Outcome::Recorded(_)),
                "{outcome:?}\n{context}"
            );
            for (at, hop) in way.hops.iter().enumerate().skip(1) {
                number += 1;
                let further: Vec<PartnerId> =
                    way.hops[at..].iter().map(|hop| hop.to.clone()).collect();
                let passed = passing(&ledger, &hop.from, id, &further, number);
                id = passed.header.id;
                let about = ancestors(&ledger, &passed);
                let outcome = submit(&mut ledger, &hop.from, passed, hop, about);
                assert!(
                    matches!(outcome, Outcome::Recorded(_)),
                    "{outcome:?}\n{context}"
                );
                let held = !given(&ledger, id).contains(&hop.to);
                assert!(!held || way.consent, "{context}");
                consent_to_all(&mut ledger, id);
                assert!(given(&ledger, id).contains(&hop.to), "{context}");
            }
            ways += 1;
            longest = longest.max(way.hops.len());
            consented += usize::from(way.consent);
        }
        verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).expect("it holds");
    }
    println!("{ways} chains, {consented} of them with consent, the longest of {longest} steps");
    assert!(ways > 50 && consented > 5 && longest > 2);
}

/// Norland gives to Estmark with consent; Estmark and Sudland share within their agreement; Sudland
/// and Ostland share, too.
fn chain() -> (Ledger, BTreeMap<String, SignedKeySet>) {
    let mut ledger = Ledger::new(5);
    let pins = PARTIES.map(|(name, seed)| (partner(name).to_string(), ledger.admit(name, seed)));
    let pins = pins.into();
    for (name, parties, onward) in [
        ("north", ["norland", "estmark"], "originator-consent"),
        ("south", ["estmark", "sudland"], "within-agreement"),
        ("east", ["sudland", "ostland"], "none"),
    ] {
        let text = bilateral(&ledger, &pins, name, parties, onward);
        let signers = PARTIES
            .into_iter()
            .filter(|(name, _)| parties.contains(name));
        ledger.ratify(&text, &signers.collect::<Vec<_>>());
    }
    (ledger, pins)
}

fn bilateral(
    ledger: &Ledger,
    pins: &BTreeMap<String, SignedKeySet>,
    name: &str,
    parties: [&str; 2],
    onward: &str,
) -> String {
    let [one, other] = parties.map(|name| partner(name).to_string());
    format!(
        "name = \"{name}\"\nversion = 1\nledger = \"{}\"\nvalid_from = \
         \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n\"{one}\" = \
         \"{}\"\n\"{other}\" = \"{}\"\n[[clause]]\nid = \"all\"\nfrom = [\"*\"]\nto = \
         [\"*\"]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \
         \"TLP:AMBER\"\nwithhold = [\"source\"]\nonward = \"{onward}\"\n",
        ledger.id(),
        pins[&one].hash(),
        pins[&other].hash(),
    )
}

fn published(ledger: &mut Ledger) -> BulletinId {
    let text = "kinds = [\"cyber\"]\ntopics = [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype \
                = \"ip\"\nvalue = \"192.0.2.1\"\n[[part]]\ntype = \"source\"\ndescription = \"s\"\n";
    let draft = Draft::from_toml(text).expect("a bulletin");
    let unsealed = draft.into_unsealed(&partner("norland"), ledger.now, &ledger.entropy);
    let unsealed = unsealed.expect("valid");
    let id = unsealed.header.id;
    let outcome = ledger.submit(&partner("norland"), 11, unsealed);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    id
}

fn code(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Refused(error) => error.code(),
        other => panic!("it was not refused: {other:?}"),
    }
}

/// What a refusal to pass on says.
fn refusal(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused(error) if error.code() == "passed_on" => error.to_string(),
        other => panic!("it was not refused: {other:?}"),
    }
}

/// As Estmark received it: without the source.
fn by_estmark(ledger: &Ledger, id: BulletinId, to: &[&str], number: u64) -> Unsealed {
    let to: Vec<PartnerId> = to.iter().map(|name| partner(name)).collect();
    let mut passed = passing(ledger, &partner("estmark"), id, &to, number);
    passed.parts.retain(|part| part.class != PartClass::Source);
    passed
}

type Change<'a> = &'a dyn Fn(&mut Unsealed);

#[test]
fn what_may_not_be_passed_on_so_is_refused() {
    let (mut ledger, _) = chain();
    let estmark = partner("estmark");
    let id = published(&mut ledger);
    // What was withheld from it, under the very salt that it does not have.
    let withheld = passing(&ledger, &estmark, id, &[], 9).parts;
    let source = withheld
        .into_iter()
        .find(|part| part.class == PartClass::Source);
    let source = source.expect("a source");
    let parts = "were not received";
    let labels = "its labels are not those";
    let changes: [(&str, &str, Change<'_>); 10] = [
        ("more than it received", parts, &|one| {
            one.parts.push(source.clone());
        }),
        ("something else", parts, &|one| {
            one.parts[0].body = vec![1, 2, 3].into();
        }),
        ("the same under another salt", parts, &|one| {
            one.parts[0].salt = None;
        }),
        ("weaker", labels, &|one| one.header.tlp = Tlp::Clear),
        ("of another topic", labels, &|one| {
            one.header.topics = vec!["cyber/phishing".parse().expect("a topic")];
        }),
        ("more urgent", labels, &|one| {
            one.header.precedence = entente::bulletin::Precedence::Flash;
        }),
        ("an exercise", labels, &|one| one.header.exercise = true),
        ("for longer", labels, &|one| {
            let later = one.header.valid_until;
            one.header.valid_until = later.saturating_add(Duration::from_hours(1));
        }),
        ("to all", "must say to whom", &|one| {
            one.header.releasable_to.clear();
        }),
        ("of what is not there", "not accepted", &|one| {
            one.header.references[0].bulletin = BulletinId::from_random([9; 16]);
        }),
    ];
    for (at, (name, reason, change)) in (10u64..).zip(changes) {
        let mut passed = by_estmark(&ledger, id, &["sudland"], at);
        change(&mut passed);
        let about = vec![record(&ledger, id)];
        let outcome = ledger.pass_on(&estmark, &key(21), passed, about);
        let said = refusal(outcome);
        assert!(said.contains(reason), "{name}: {said}");
    }
    // Without the record of what it passes on, and by who never received it.
    let passed = by_estmark(&ledger, id, &["sudland"], 30);
    assert_eq!(code(ledger.submit(&estmark, 21, passed)), "passed_on");
    let stranger = passing(&ledger, &partner("sudland"), id, &[partner("ostland")], 31);
    let about = vec![record(&ledger, id)];
    let outcome = ledger.pass_on(&partner("sudland"), &key(31), stranger, about);
    assert_eq!(code(outcome), "passed_on");
    // A stricter caveat is no harm. It waits for Norland, and for nobody else.
    let mut passed = by_estmark(&ledger, id, &["sudland"], 32);
    passed.header.caveats.push(Caveat::Limdis);
    let held = passed.header.id;
    let about = vec![record(&ledger, id)];
    let outcome = ledger.pass_on(&estmark, &key(21), passed, about);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    assert!(given(&ledger, held).is_empty());
    let about = record(&ledger, held);
    let answers = [
        ("sudland", 31, "consent_not_asked"),
        ("estmark", 21, "consent_not_asked"),
        ("norland", 21, "consent_unknown_key"),
        ("norland", 10, "consent_unknown_key"),
    ];
    for (by, seed, expected) in answers {
        let signed = consent(&ledger, &partner(by), seed, &about, true);
        let about = Arc::clone(&about);
        let outcome = ledger.propose(Proposal::Consent { signed, about });
        assert_eq!(code(outcome), expected, "{by}");
    }
    // Nor to another question than the one that is asked.
    let mut signed = consent(&ledger, &partner("norland"), 11, &about, true);
    signed.consent.questions[0].recipients = vec![partner("ostland")];
    let signed = SignedConsent::sign(signed.consent, &key(11)).expect("signed");
    let other = Arc::clone(&about);
    let outcome = ledger.propose(Proposal::Consent {
        signed,
        about: other,
    });
    assert_eq!(code(outcome), "consent_other_question");
    // Denied, it is kept for good.
    let signed = consent(&ledger, &partner("norland"), 11, &about, false);
    let denied = Arc::clone(&about);
    ledger.record(Proposal::Consent {
        signed,
        about: denied,
    });
    let signed = consent(&ledger, &partner("norland"), 11, &about, true);
    let outcome = ledger.propose(Proposal::Consent { signed, about });
    assert_eq!(code(outcome), "consent_not_asked");
    assert!(given(&ledger, held).is_empty());
    // Granted, it goes to Sudland; no further than that, for it is no party of what it came under.
    let passed = by_estmark(&ledger, id, &["sudland"], 40);
    let second = passed.header.id;
    let about = vec![record(&ledger, id)];
    ledger.pass_on(&estmark, &key(21), passed, about);
    consent_to_all(&mut ledger, second);
    assert_eq!(given(&ledger, second), BTreeSet::from([partner("sudland")]));
    let further = passing(
        &ledger,
        &partner("sudland"),
        second,
        &[partner("ostland")],
        41,
    );
    let about = ancestors(&ledger, &further);
    let outcome = ledger.pass_on(&partner("sudland"), &key(31), further, about);
    assert_eq!(code(outcome), "passed_on");
    // Who hides where it came from, in part, is refused.
    let mut hiding = passing(
        &ledger,
        &partner("sudland"),
        second,
        &[partner("estmark")],
        42,
    );
    hiding.header.references.truncate(1);
    let about = ancestors(&ledger, &hiding);
    let outcome = ledger.pass_on(&partner("sudland"), &key(31), hiding, about);
    assert_eq!(code(outcome), "passed_on");
    verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).expect("it holds");
    // And a fold from a snapshot goes on where this one stands.
    let snapshot = ledger.state.to_snapshot();
    let restored = entente::ledger::State::from_snapshot(&snapshot.clone().into());
    let restored = restored.expect("a snapshot");
    assert_eq!(restored.to_snapshot(), snapshot);
    assert_eq!(restored.dossiers(), ledger.state.dossiers());
}

fn withdraw(ledger: &mut Ledger, agreement: &SignedAgreement, by: &str, seed: u8) {
    let withdrawal = Withdrawal {
        ledger: ledger.id().0,
        agreement: agreement.id(),
        partner: partner(by),
        reason: "enough".into(),
        time: ledger.now,
    };
    let signed = SignedWithdrawal::sign(withdrawal, &key(seed)).expect("signed");
    ledger.record(Proposal::Fact(Fact::AgreementWithdrawn(signed)));
}

/// Whether what was released of a bulletin may be delivered now.
fn is_permitted(ledger: &Ledger, id: BulletinId) -> bool {
    let record = record(ledger, id);
    let Fact::Accepted(accepted) = &record.fact else {
        unreachable!("a bulletin")
    };
    let release = &record.releases[0];
    ledger.state.permit(accepted, release, ledger.now).is_some()
}

/// Three who share, each of whom may pass on to the others; two of them share, too.
fn within(until: &str) -> (Ledger, BTreeMap<String, SignedKeySet>, SignedAgreement) {
    let mut ledger = Ledger::new(6);
    let pins = PARTIES.map(|(name, seed)| (partner(name).to_string(), ledger.admit(name, seed)));
    let pins: BTreeMap<_, _> = pins.into();
    let mut text = bilateral(
        &ledger,
        &pins,
        "alliance",
        ["norland", "estmark"],
        "within-agreement",
    );
    let third = partner("sudland").to_string();
    let pin = format!("\"{third}\" = \"{}\"\n[[clause]]", pins[&third].hash());
    text = text
        .replace("[[clause]]", &pin)
        .replace("2027-06-01", until);
    // Norland gives to Estmark alone: what Sudland has of it was passed on.
    text = text.replace(
        "from = [\"*\"]\nto = [\"*\"]",
        "from = [\"norland.example\"]\nto = [\"estmark.example\"]",
    );
    let signers = PARTIES.into_iter().filter(|(name, _)| *name != "ostland");
    let alliance = ledger.ratify(&text, &signers.collect::<Vec<_>>());
    let parties = ["estmark", "sudland"];
    let text = bilateral(&ledger, &pins, "south", parties, "within-agreement");
    let signers = PARTIES
        .into_iter()
        .filter(|(name, _)| parties.contains(name));
    ledger.ratify(&text, &signers.collect::<Vec<_>>());
    (ledger, pins, alliance)
}

#[test]
fn the_right_to_pass_on_lasts_as_long_as_the_agreement_that_gives_it() {
    let estmark = partner("estmark");
    let (mut ledger, pins, alliance) = within("2027-06-01");
    let id = published(&mut ledger);
    let pass = |ledger: &mut Ledger, to: &str, number| {
        let passed = by_estmark(ledger, id, &[to], number);
        let (id, about) = (passed.header.id, ancestors(ledger, &passed));
        (id, ledger.pass_on(&estmark, &key(21), passed, about))
    };
    let (queued, outcome) = pass(&mut ledger, "sudland", 50);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    assert!(is_permitted(&ledger, queued));
    // Others' agreement of the same name is not Norland's.
    for (name, number) in [("south", 51), ("alliance", 52)] {
        let parties = ["estmark", "ostland"];
        let text = bilateral(&ledger, &pins, name, parties, "within-agreement");
        let signers = PARTIES
            .into_iter()
            .filter(|(name, _)| parties.contains(name));
        ledger.propose(Proposal::Fact(Fact::AgreementRatified(ledger::signed(
            &text,
            &signers.collect::<Vec<_>>(),
        ))));
        let said = refusal(pass(&mut ledger, "ostland", number).1);
        assert!(said.contains("does not let it go"), "{said}");
    }
    // Withdrawn, it ends for what is queued, too.
    withdraw(&mut ledger, &alliance, "norland", 10);
    assert!(!is_permitted(&ledger, queued));
    let said = refusal(pass(&mut ledger, "sudland", 53).1);
    assert!(said.contains("any more"), "{said}");
    verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).expect("it holds");
}

#[test]
fn an_agreement_that_lapsed_lets_nothing_be_passed_on() {
    let (mut ledger, ..) = within("2026-11-24");
    let id = published(&mut ledger);
    let passed = by_estmark(&ledger, id, &["sudland"], 60);
    let (queued, about) = (passed.header.id, ancestors(&ledger, &passed));
    let outcome = ledger.pass_on(&partner("estmark"), &key(21), passed, about);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    assert!(is_permitted(&ledger, queued));
    ledger.now = ledger.now.saturating_add(Duration::from_hours(24));
    assert!(!is_permitted(&ledger, queued));
    let passed = by_estmark(&ledger, id, &["sudland"], 61);
    let about = ancestors(&ledger, &passed);
    let said = refusal(ledger.pass_on(&partner("estmark"), &key(21), passed, about));
    assert!(said.contains("any more"), "{said}");
}

#[test]
fn nobody_learns_by_passing_on_whose_a_nameless_bulletin_is_or_who_has_it() {
    let mut ledger = Ledger::new(7);
    let pins = PARTIES.map(|(name, seed)| (partner(name).to_string(), ledger.admit(name, seed)));
    let pins: BTreeMap<_, _> = pins.into();
    let text = bilateral(&ledger, &pins, "shy", ["norland", "estmark"], "none");
    let text = text + "originator = \"alias\"\n";
    let signers = [("norland", 10), ("estmark", 20)];
    ledger.ratify(&text, &signers);
    let text = bilateral(
        &ledger,
        &pins,
        "open",
        ["norland", "estmark"],
        "within-agreement",
    );
    ledger.ratify(&text, &signers);
    let draft = |more: &str| {
        let text = format!(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n{more}[[part]]\ntype = \
             \"ip\"\nvalue = \"192.0.2.1\"\n"
        );
        Draft::from_toml(&text).expect("a bulletin")
    };
    let unsealed = draft("").into_unsealed(&partner("norland"), ledger.now, &ledger.entropy);
    let secret = PseudonymSecret::new(key(99));
    let pseudonym = PseudonymDraft {
        agreement: "shy".into(),
        shown: Shown::Alias,
        reveal_to: Vec::new(),
    };
    let (nameless, alias) = secret
        .disguise(unsealed.expect("valid"), pseudonym, None, &key(11))
        .expect("an alias");
    let first = nameless.header.id;
    let outcome = ledger.submit_sealed(&partner("norland"), &alias, nameless);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    let hidden =
        draft("releasable_to = [\"estmark.example\", \"sudland.example\"]\nhide_audience = true\n");
    let hidden = hidden.into_unsealed(&partner("norland"), ledger.now, &ledger.entropy);
    let hidden = hidden.expect("valid");
    let second = hidden.header.id;
    let outcome = ledger.submit(&partner("norland"), 11, hidden);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    for (at, id) in (70u64..).step_by(10).zip([first, second]) {
        let mut answers = BTreeSet::new();
        for (number, (name, _)) in (at..)
            .zip(PARTIES)
            .filter(|(_, (name, _))| *name != "estmark")
        {
            let mut passed = passing(&ledger, &partner("estmark"), id, &[partner(name)], number);
            passed
                .parts
                .retain(|part| part.class != PartClass::Audience);
            passed.header.audience_part = false;
            let about = ancestors(&ledger, &passed);
            let said = refusal(ledger.pass_on(&partner("estmark"), &key(21), passed, about));
            answers.insert(said.replace(name, "NAME"));
        }
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
}

/// The same chain, with real processes.
fn plan() -> Plan {
    let partners = ["norland", "estmark", "sudland"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    for (name, parties, onward) in [
        ("north", ["norland", "estmark"], "originator-consent"),
        ("south", ["estmark", "sudland"], "within-agreement"),
    ] {
        plan.agreements.push(AgreementPlan {
            name: name.into(),
            title: String::new(),
            parties: parties.map(partner).to_vec(),
            clauses: format!(
                "[[clause]]\nid = \"all\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = \
                 [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\nonward = \"{onward}\"\n"
            ),
        });
    }
    plan
}

fn entente(directory: &Path, node: &str, arguments: &[&str]) -> serde_json::Value {
    let config = format!("nodes/{node}.example/node.toml");
    let output = Shell::new(PROGRAM)
        .args(arguments)
        .args(["-c", &config, "--json"])
        .current_dir(directory)
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn known(
    cluster: &Cluster,
    id: BulletinId,
    what: &str,
    good: impl Fn(&BulletinView) -> bool,
) -> BulletinView {
    let look = || async {
        let view = cluster.decided(id).await.ok()?;
        good(&view).then_some(view)
    };
    until(what, PATIENCE, look).await.expect("as it should be")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_originator_consents_and_its_recall_follows() {
    let scratch = Scratch::new().expect("a directory");
    let runner = Runner::Processes(PROGRAM.into());
    let mut cluster = Cluster::start(runner, scratch.path(), plan(), 4)
        .await
        .expect("a cluster");
    let directory = scratch.path().to_owned();
    let draft = Draft::from_toml(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:AMBER\"\n[[part]]\ntype = \
         \"narrative\"\ntext = \"a breach\"\n[[part]]\ntype = \"ip\"\nvalue = \"192.0.2.9\"\n",
    );
    let drafts = vec![draft.expect("a bulletin")];
    let norland = partner("norland");
    let first = cluster.publish(&norland, drafts).await.expect("taken")[0];
    cluster
        .promised(&norland, &[first])
        .await
        .expect("promised");
    cluster.delivered(first).await.expect("delivered");
    let asked = entente(
        &directory,
        "estmark",
        &[
            "pass-on",
            &first.to_string(),
            "--to",
            "sudland.example",
            "--without",
            "network",
        ],
    );
    let second: BulletinId = asked[0]["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    let view = cluster.decided(second).await.expect("a bulletin");
    let held = view.recipients[0].held.as_deref().expect("held");
    assert!(held.contains("norland.example"), "{held}");
    // It asks, also after a restart of the broker.
    cluster.kill_broker().await.expect("killed");
    cluster.start_broker().await.expect("started");
    let asking = || async {
        let asking = entente(&directory, "norland", &["consent", "list"]);
        (asking[0]["questions"][0]["about"] == first.to_string()).then_some(asking)
    };
    let asking = until("the question", PATIENCE, asking)
        .await
        .expect("asked");
    assert_eq!(asking[0]["asker"], "estmark.example");
    assert_eq!(
        asking[0]["questions"][0]["recipients"],
        serde_json::json!(["sudland.example"])
    );
    let arguments = [
        "consent",
        "approve",
        &second.to_string(),
        "--reason",
        "Go ahead.",
    ];
    entente(&directory, "norland", &arguments);
    cluster.delivered(second).await.expect("delivered");
    let received = cluster.received(&partner("sudland"), second).await;
    let received = received.expect("an answer").expect("a bulletin");
    assert!(received.quarantined.is_none());
    let text = serde_json::to_string(&received).expect("JSON");
    assert!(
        text.contains("a breach") && !text.contains("192.0.2.9"),
        "{text}"
    );
    let asking = || async {
        let asking = entente(&directory, "norland", &["consent", "list"]);
        asking.as_array().is_some_and(Vec::is_empty).then_some(())
    };
    until("no more questions", PATIENCE, asking)
        .await
        .expect("answered");
    // The recall follows.
    entente(
        &directory,
        "norland",
        &["recall", &first.to_string(), "--reason", "An error."],
    );
    let expected = ["applied; passed on to sudland.example"];
    known(&cluster, first, "the recall at Estmark", |view| {
        view.recipients[0].declared == expected
    })
    .await;
    known(&cluster, second, "the recall at Sudland", |view| {
        view.recipients[0].declared == ["applied"]
    })
    .await;
    let left = cluster.received(&partner("sudland"), second).await;
    let text = serde_json::to_string(&left.expect("an answer")).expect("JSON");
    assert!(!text.contains("a breach"), "{text}");
    let followed = entente(&directory, "norland", &["follow", &first.to_string()]);
    assert_eq!(followed[0]["declared"], serde_json::json!(expected));
    let audited = Shell::new(PROGRAM)
        .args(["audit", "verify", "-c", "broker/broker.toml"])
        .current_dir(&directory)
        .output()
        .expect("the program");
    assert!(audited.status.success());
}
