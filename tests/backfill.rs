//! What came before: a party that joins an agreement is given it afterwards, where a clause says so,
//! exactly as if it had been there from the start.

#![allow(
    clippy::format_push_string,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "figures are shown; a text is put together; a story is told in one piece"
)]

#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command as Shell;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use entente::agreement::{SignedAgreement, parse_draft};
use entente::audit::{Audited, Fault, Finding, Given, Simulation, verify};
use entente::broker::{BulletinView, Reply, Request};
use entente::bulletin::{BulletinId, Draft};
use entente::clock::Timestamp;
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::identity::read_secret_key;
use entente::ledger::{Engine, Fact, MemoryEngine, Outcome, Proposal, Record, State, StoredRecord};
use entente::partner::{PartnerId, SignedKeySet};
use entente::proof::Signer;
use entente::proto;
use entente::testing::{Cluster, Scratch};
use ledger::{Ledger, partner};
use prost::Message;
use words::{PARTNERS, Random, random_bulletin, random_clauses, seed, text};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_secs(40);

/// The partners of the random words, each with the seed of its agreements key; the last one joins.
const PARTIES: [(&str, u8); 4] = [
    ("norland", 10),
    ("estmark", 20),
    ("sudland", 30),
    ("ostland", 40),
];

fn four(seed: u64) -> (Ledger, BTreeMap<String, SignedKeySet>) {
    let mut ledger = Ledger::new(seed);
    let sets = PARTIES.map(|(name, seed)| (partner(name).to_string(), ledger.admit(name, seed)));
    (ledger, sets.into())
}

/// The words of an agreement between some of them.
fn written(
    clauses: &[words::Clause],
    head: &str,
    ledger: &Ledger,
    pins: &BTreeMap<String, SignedKeySet>,
) -> String {
    let mut text = text("a0", clauses)
        .replacen(&"0".repeat(64), &ledger.id().to_string(), 1)
        .replacen("version = 1", head, 1);
    for (at, name) in PARTNERS.iter().enumerate() {
        let pin = pins[*name].hash().to_string();
        text = text.replacen(&format!("{:064}", at + 1), &pin, 1);
    }
    text
}

fn draft(random: &mut Random, number: u64) -> (PartnerId, u8, Draft) {
    let words = random_bulletin(random);
    let (name, seed) = PARTIES[random.below(3)];
    let mut file = format!(
        "id = \"{}\"\nkinds = {:?}\ntopics = {:?}\nregions = {:?}\ntlp = \"{}\"\nprecedence = \
         \"{}\"\nexercise = {}\n",
        BulletinId::from_random((u128::from(number) << 32).to_be_bytes()),
        words.kinds,
        words.topics,
        words.regions,
        words.tlp,
        words.precedence,
        words.exercise,
    );
    if let Some(named) = words
        .releasable_to
        .as_ref()
        .filter(|named| !named.is_empty())
    {
        file += &format!("releasable_to = {named:?}\n");
    }
    for part in words.parts.iter().filter_map(|part| part.class) {
        file += match part {
            "network" => "[[part]]\ntype = \"ip\"\nvalue = \"192.0.2.1\"\n",
            "source" => "[[part]]\ntype = \"source\"\ndescription = \"s\"\n",
            "person" => "[[part]]\ntype = \"person\"\nname = \"P\"\n",
            _ => "[[part]]\ntype = \"narrative\"\ntext = \"n\"\n",
        };
    }
    file += "[[part]]\ntype = \"warning\"\ntext = \"w\"\n";
    let draft = Draft::from_toml(&file).unwrap_or_else(|error| panic!("{error}\n{file}"));
    (partner(name), seed + 1, draft)
}

/// Acts as the broker does: offers every bulletin that came before, in order, and then says so.
fn give(ledger: &mut Ledger) {
    let Some((agreement, backfill)) = ledger
        .state
        .backfills()
        .iter()
        .next()
        .map(|(id, one)| (*id, *one))
    else {
        return;
    };
    for (position, record) in (0..backfill.until).zip(ledger.records()) {
        let bulletin = Some((position, Arc::new(record)));
        let again = bulletin.clone();
        let outcome = ledger.propose(Proposal::Backfill {
            agreement,
            bulletin,
        });
        assert!(
            matches!(outcome, Outcome::Recorded(_) | Outcome::Stale),
            "{outcome:?}"
        );
        // Nobody is given it twice.
        let bulletin = again;
        let outcome = ledger.propose(Proposal::Backfill {
            agreement,
            bulletin,
        });
        assert_eq!(outcome, Outcome::Stale);
    }
    let bulletin = None;
    // Nothing more is to be said where the last bulletin before it was given.
    ledger.propose(Proposal::Backfill {
        agreement,
        bulletin,
    });
    assert!(ledger.state.backfills().is_empty());
}

/// Who was given what: by bulletin and recipient, the clauses and what was withheld.
fn given(ledger: &Ledger) -> BTreeMap<(BulletinId, PartnerId), (Vec<String>, Vec<String>)> {
    let mut given = BTreeMap::new();
    for record in ledger.records() {
        let Fact::Accepted(accepted) = &record.fact else {
            continue;
        };
        for release in ledger.state.given(&record) {
            let class = |index: &u32| {
                let at = usize::try_from(*index).expect("few");
                accepted.parts[at].class.clone()
            };
            let mut withheld: Vec<String> = release.withheld.iter().map(class).collect();
            withheld.sort();
            let clauses = release.clauses.iter().map(|one| one.clause.to_string());
            let key = (accepted.header.id, release.recipient.clone());
            let known = given.insert(key, (clauses.collect(), withheld));
            assert!(known.is_none(), "given twice");
        }
    }
    given
}

#[test]
fn who_joins_is_given_what_it_would_have_received() {
    const LEDGERS: usize = 300;
    const BULLETINS: usize = 25;
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let (mut later, mut all) = (0, 0);
    for _ in 0..LEDGERS {
        let nonce = random.next();
        let ((mut real, pins), (mut replay, _)) = (four(nonce), four(nonce));
        let mut clauses = random_clauses(&mut random, 0);
        for clause in &mut clauses {
            clause.parties = PARTNERS[..3].to_vec();
            clause.valid = ("2026-01-01T00:00:00Z", "2027-06-01T00:00:00Z");
            clause.shown = "named";
            for who in [&mut clause.from, &mut clause.to] {
                who.retain(|one| *one != PARTNERS[3]);
                if who.is_empty() {
                    who.push("*");
                }
            }
        }
        let first = written(&clauses, "version = 1", &real, &pins);
        let first = real.ratify(&first, &PARTIES[..3]);
        for clause in &mut clauses {
            clause.parties = PARTNERS.to_vec();
        }
        let from_start = written(&clauses, "version = 1", &replay, &pins);
        replay.ratify(&from_start, &PARTIES);
        for at in 0..BULLETINS {
            let (originator, keys, draft) = draft(&mut random, at as u64 + 1);
            for ledger in [&mut real, &mut replay] {
                ledger.publish_as(&originator, keys, vec![draft.clone()]);
            }
        }
        let head = format!("version = 2\nprevious = \"{}\"", first.id());
        let second = written(&clauses, &head, &real, &pins).replace(
            "onward = ",
            "backfill_from = \"2026-01-01T00:00:00Z\"\nonward = ",
        );
        let before = given(&real).len();
        real.ratify(&second, &PARTIES);
        give(&mut real);
        let (given, expected) = (given(&real), given(&replay));
        assert_eq!(given, expected, "ENTENTE_SEED={seed}\n{second}");
        later += given.len() - before;
        all += given.len();
        verify(&real.engine, Some(real.checkpoint()), |_| {}).expect("it holds");
        let snapshot = real.state.to_snapshot();
        let restored = State::from_snapshot(&snapshot.clone().into()).expect("a snapshot");
        assert_eq!(restored.to_snapshot(), snapshot);
        assert_eq!(restored.backfills(), real.state.backfills());
        assert_eq!(restored.dossiers(), real.state.dossiers());
    }
    println!("{all} releases, {later} of them of what came before");
    assert!(later > 500 && all > later);
}

#[test]
fn a_clause_that_holds_or_counts_gives_nothing_afterwards() {
    let (ledger, pins) = four(3);
    let mut clauses = random_clauses(&mut Random(1), 0);
    for clause in &mut clauses {
        clause.parties = PARTNERS.to_vec();
    }
    let text = written(&clauses, "version = 1", &ledger, &pins).replacen(
        "onward = ",
        "backfill_from = \"2026-01-01T00:00:00Z\"\nquota = { bulletins = 1, hours = 1 }\nonward = ",
        1,
    );
    let refused = parse_draft(&text).expect_err("refused");
    assert!(
        refused.message.contains("neither be held nor counted"),
        "{}",
        refused.message
    );
}

/// An agreement about `cyber` between some of them, with what its one clause says beside that.
fn simple(
    (ledger, pins): (&Ledger, &BTreeMap<String, SignedKeySet>),
    (name, version): (&str, &str),
    parties: &[(&str, u8)],
    terms: &str,
) -> String {
    let mut text = format!(
        "name = \"{name}\"\n{version}\nledger = \"{}\"\nvalid_from = \
         \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n",
        ledger.id()
    );
    for (name, _) in parties {
        let id = partner(name).to_string();
        text += &format!("\"{id}\" = \"{}\"\n", pins[&id].hash());
    }
    text + &format!(
        "[[clause]]\nid = \"all\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\nregions = \
         [\"*\"]\ntlp = \"TLP:AMBER\"\n{terms}"
    )
}

const SINCE: &str = "topics = [\"*\"]\nbackfill_from = \"2026-01-01T00:00:00Z\"\n";

/// What says that a version follows another.
fn next_of(previous: &SignedAgreement, version: u64) -> String {
    format!("version = {version}\nprevious = \"{}\"", previous.id())
}

/// Norland publishes about a topic.
fn publish_about(ledger: &mut Ledger, topic: &str) -> BulletinId {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"{topic}\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
         \"narrative\"\ntext = \"n\"\n"
    );
    let draft = Draft::from_toml(&file).expect("a bulletin");
    ledger.publish_as(&partner("norland"), 11, vec![draft]);
    let Fact::Accepted(accepted) = ledger.last().fact else {
        panic!("it was not accepted");
    };
    accepted.header.id
}

fn went_to(ledger: &Ledger, id: BulletinId, name: &str) -> bool {
    given(ledger).contains_key(&(id, partner(name)))
}

#[test]
fn what_another_agreement_holds_is_not_given_past_it() {
    let (mut ledger, pins) = four(4);
    let hold = |topic: &str| {
        let person = |name: &str, seed: u8| {
            let key = ledger::key(seed).public_key();
            format!("[persons.{name}]\npartner = \"norland.example\"\nkey = \"{key}\"\n")
        };
        format!(
            "topics = [\"{topic}\"]\nhold = {{ persons = [\"anna\", \"bo\"], seconds = 3600 }}\n{}{}",
            person("anna", 80),
            person("bo", 81)
        )
    };
    let any = "topics = [\"*\"]\n";
    let text = simple(
        (&ledger, &pins),
        ("feed", "version = 1"),
        &PARTIES[..2],
        any,
    );
    let first = ledger.ratify(&text, &PARTIES[..2]);
    // Held for somebody else when it came.
    let others = [PARTIES[0], PARTIES[3]];
    let text = hold("cyber/phishing");
    let text = simple((&ledger, &pins), ("other", "version = 1"), &others, &text);
    ledger.ratify(&text, &others);
    let plain = publish_about(&mut ledger, "cyber");
    let held_now = publish_about(&mut ledger, "cyber/malware");
    let held_then = publish_about(&mut ledger, "cyber/phishing");
    // What comes to Sudland about malware waits for persons, from now on.
    let both = [PARTIES[0], PARTIES[2]];
    let text = hold("cyber/malware");
    let text = simple((&ledger, &pins), ("careful", "version = 1"), &both, &text);
    ledger.ratify(&text, &both);
    let head = next_of(&first, 2);
    let text = simple((&ledger, &pins), ("feed", &head), &PARTIES[..3], SINCE);
    ledger.ratify(&text, &PARTIES[..3]);
    give(&mut ledger);
    let went = [plain, held_now, held_then].map(|id| went_to(&ledger, id, "sudland"));
    assert_eq!(went, [true, false, false]);
    verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).expect("it holds");
}

#[test]
fn what_was_to_be_deleted_by_now_is_not_given() {
    let (mut ledger, pins) = four(5);
    let any = "topics = [\"*\"]\n";
    let text = simple(
        (&ledger, &pins),
        ("feed", "version = 1"),
        &PARTIES[..2],
        any,
    );
    let first = ledger.ratify(&text, &PARTIES[..2]);
    let old = publish_about(&mut ledger, "cyber");
    ledger.now = ledger.now.saturating_add(Duration::from_hours(1));
    let young = publish_about(&mut ledger, "cyber");
    let terms = format!("{SINCE}retention_seconds = 3600\n");
    let text = simple(
        (&ledger, &pins),
        ("feed", &next_of(&first, 2)),
        &PARTIES[..3],
        &terms,
    );
    ledger.ratify(&text, &PARTIES[..3]);
    give(&mut ledger);
    assert!(!went_to(&ledger, old, "sudland") && went_to(&ledger, young, "sudland"));
    // Nor can anybody be late for it.
    let text = text.replace("retention_seconds", "acknowledge_within_seconds");
    let refused = parse_draft(&text).expect_err("refused");
    assert!(
        refused.message.contains("taken in time"),
        "{}",
        refused.message
    );
}

/// One offer of the bulletin at a position, or of the end.
fn offer(ledger: &mut Ledger, signed: &SignedAgreement, position: Option<u64>) -> Outcome {
    let record = |at: u64| {
        let at = usize::try_from(at).expect("few");
        Arc::new(ledger.records().swap_remove(at))
    };
    let bulletin = position.map(|at| (at, record(at)));
    let agreement = signed.id();
    ledger.propose(Proposal::Backfill {
        agreement,
        bulletin,
    })
}

#[test]
fn an_agreement_that_is_not_valid_yet_gives_what_came_before_when_it_is() {
    let (mut ledger, pins) = four(6);
    let any = "topics = [\"*\"]\n";
    let text = simple(
        (&ledger, &pins),
        ("feed", "version = 1"),
        &PARTIES[..2],
        any,
    );
    let first = ledger.ratify(&text, &PARTIES[..2]);
    let id = publish_about(&mut ledger, "cyber");
    let at = ledger.state.seen(&id).expect("accepted").position;
    ledger.record(Proposal::Fact(Fact::Tick));
    let head = next_of(&first, 2);
    let text = simple((&ledger, &pins), ("feed", &head), &PARTIES[..3], SINCE).replace(
        "valid_from = \"2026-01-01T00:00:00Z\"",
        "valid_from = \"2026-12-01T00:00:00Z\"",
    );
    let second = ledger.ratify(&text, &PARTIES[..3]);
    assert_eq!(offer(&mut ledger, &second, Some(at)), Outcome::Stale);
    assert_eq!(offer(&mut ledger, &second, None), Outcome::Stale);
    assert!(ledger.state.backfills().contains_key(&second.id()));
    ledger.now = "2026-12-01T00:00:00Z".parse().expect("a time");
    give(&mut ledger);
    assert!(went_to(&ledger, id, "sudland"));
    verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).expect("it holds");
    // Nor may a record say before that nothing is to be given.
    let mut stored = ledger.stored();
    let mut end = stored.pop().expect("the end");
    stored.pop().expect("what was given");
    let before = Record::from_bytes(&stored.last().expect("a record").record);
    let early = before.expect("a record").time.micros();
    let mut wire = proto::Record::decode(end.record.clone()).expect("a record");
    let mut fact = proto::Fact::decode(wire.fact.clone()).expect("a fact");
    (wire.time, fact.time) = (early, early);
    wire.fact = fact.encode_to_vec().into();
    stored.push(end.clone());
    audited(&stored).expect("it holds");
    stored.pop();
    end.record = wire.encode_to_vec().into();
    let forged = Record::from_bytes(&end.record).expect("a record");
    end.entry = forged.commitment.entry();
    stored.push(end);
    let found = audited(&stored).expect_err("forged");
    assert!(is_no_backfill(&found), "{found}");
}

/// The audit of a ledger without its checkpoint.
fn audited(stored: &[StoredRecord]) -> Result<Audited, Finding> {
    let engine = MemoryEngine::new();
    engine.append(0, stored).expect("written");
    verify(&engine, None, |_| {})
}

fn is_no_backfill(found: &Finding) -> bool {
    let Finding::Record { fault, .. } = found else {
        return false;
    };
    matches!(fault, Fault::Backfill)
}

#[test]
fn a_narrower_version_goes_on_with_what_was_being_given() {
    let (mut ledger, pins) = four(7);
    let any = "topics = [\"*\"]\n";
    let text = simple(
        (&ledger, &pins),
        ("feed", "version = 1"),
        &PARTIES[..2],
        any,
    );
    let first = ledger.ratify(&text, &PARTIES[..2]);
    let topics = ["cyber", "cyber", "cyber/phishing", "cyber"];
    let ids = topics.map(|topic| publish_about(&mut ledger, topic));
    let at = |ledger: &Ledger, id| ledger.state.seen(&id).expect("accepted").position;
    let head = next_of(&first, 2);
    let text = simple((&ledger, &pins), ("feed", &head), &PARTIES[..3], SINCE);
    let mut signed = ledger.ratify(&text, &PARTIES[..3]);
    let mut position = at(&ledger, ids[0]);
    for (version, narrower) in [(3, "TLP:AMBER"), (4, "TLP:GREEN")] {
        let outcome = offer(&mut ledger, &signed, Some(position));
        assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
        let running = ledger.state.backfills()[&signed.id()];
        assert_eq!(running.done, position + 1);
        let terms = SINCE.replace("[\"*\"]", "[\"cyber\"]");
        let head = next_of(&signed, version);
        let text = simple((&ledger, &pins), ("feed", &head), &PARTIES[..3], &terms)
            .replace("TLP:AMBER", narrower);
        let old = signed;
        signed = ledger.ratify(&text, &PARTIES[2..3]);
        assert_eq!(ledger.state.backfills()[&signed.id()], running);
        assert!(!ledger.state.backfills().contains_key(&old.id()));
        let restored = State::from_snapshot(&ledger.state.to_snapshot().into());
        let restored = restored.expect("a snapshot");
        assert_eq!(restored.backfills(), ledger.state.backfills());
        position = at(&ledger, ids[1]);
    }
    give(&mut ledger);
    assert!(ids.iter().all(|id| went_to(&ledger, *id, "sudland")));
    let restored = State::from_snapshot(&ledger.state.to_snapshot().into());
    assert!(restored.expect("a snapshot").backfills().is_empty());
    verify(&ledger.engine, Some(ledger.checkpoint()), |_| {}).expect("it holds");
}

#[test]
fn what_two_backfills_give_is_known_of_both_recipients() {
    let (mut ledger, pins) = four(8);
    let any = "topics = [\"*\"]\n";
    let text = simple(
        (&ledger, &pins),
        ("feed", "version = 1"),
        &PARTIES[..2],
        any,
    );
    let first = ledger.ratify(&text, &PARTIES[..2]);
    let id = publish_about(&mut ledger, "cyber");
    let others = [PARTIES[0], PARTIES[3]];
    let text = simple((&ledger, &pins), ("other", "version = 1"), &others, SINCE);
    ledger.ratify(&text, &others);
    give(&mut ledger);
    let head = next_of(&first, 2);
    let text = simple((&ledger, &pins), ("feed", &head), &PARTIES[..3], SINCE);
    let second = ledger.ratify(&text, &PARTIES[..3]);
    give(&mut ledger);
    for name in ["estmark", "sudland", "ostland"] {
        let mut received = Given::new(partner(name));
        let records = ledger.records();
        for record in &records {
            received.note(record);
        }
        for record in &records {
            received.take(record);
        }
        let received = received.finish();
        assert_eq!(received.len(), 1, "{name}");
        assert_eq!(received[0].bulletin, id);
    }
    // Whoever has it would not receive it anew.
    let terms = second.terms().expect("terms");
    let mut simulation = Simulation::new(second.id(), &terms, Timestamp::MIN);
    let records = ledger.records();
    for record in &records {
        simulation.note(record);
    }
    for record in &records {
        simulation.take(record);
    }
    assert_eq!(simulation.finish(), []);
}

#[test]
fn a_forged_header_of_what_was_given_is_found() {
    let (mut ledger, pins) = four(9);
    let any = "topics = [\"*\"]\n";
    let text = simple(
        (&ledger, &pins),
        ("feed", "version = 1"),
        &PARTIES[..2],
        any,
    );
    let first = ledger.ratify(&text, &PARTIES[..2]);
    let id = publish_about(&mut ledger, "cyber");
    let seen = ledger.state.seen(&id).expect("accepted");
    let head = next_of(&first, 2);
    let text = simple((&ledger, &pins), ("feed", &head), &PARTIES[..3], SINCE);
    let second = ledger.ratify(&text, &PARTIES[..3]);
    let outcome = offer(&mut ledger, &second, Some(seen.position));
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    let mut stored = ledger.stored();
    audited(&stored).expect("it holds");
    let last = stored.last_mut().expect("a record");
    let mut bytes = last.record.to_vec();
    // The fact stands before its openings, which name the header, too.
    let hash = seen.header.as_bytes();
    let at = bytes.windows(hash.len()).position(|window| window == hash);
    bytes[at.expect("the header's hash")] ^= 1;
    last.record = bytes.into();
    let forged = Record::from_bytes(&last.record).expect("a record");
    last.entry = forged.commitment.entry();
    let found = audited(&stored).expect_err("forged");
    assert!(is_no_backfill(&found), "{found}");
}

fn plan() -> Plan {
    let partners = ["norland", "estmark", "sudland"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    plan.agreements.push(AgreementPlan {
        name: "feed".into(),
        title: String::new(),
        parties: ["norland", "estmark"].map(partner).to_vec(),
        clauses:
            "[[clause]]\nid = \"all\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = \
                  [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\nwithhold = [\"source\"]\n"
                .into(),
    });
    plan
}

async fn publish(cluster: &Cluster, text: &str) -> BulletinId {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
         \"narrative\"\ntext = \"{text}\"\n[[part]]\ntype = \"source\"\ndescription = \"s\"\n"
    );
    let drafts = vec![Draft::from_toml(&file).expect("a bulletin")];
    let norland = partner("norland");
    let ids = cluster.publish(&norland, drafts).await.expect("taken");
    cluster.promised(&norland, &ids).await.expect("promised");
    cluster.delivered(ids[0]).await.expect("delivered");
    ids[0]
}

/// More than the broker gives in the moment before it is killed.
const MANY: usize = 400;

/// Publishes many at once; returns the last.
async fn publish_many(cluster: &Cluster) -> BulletinId {
    let file = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
                \"narrative\"\ntext = \"one of many\"\n";
    let norland = partner("norland");
    let mut last = None;
    for _ in 0..MANY / 50 {
        let drafts = (0..50).map(|_| Draft::from_toml(file).expect("a bulletin"));
        let ids = cluster.publish(&norland, drafts.collect()).await;
        let ids = ids.expect("taken");
        cluster.promised(&norland, &ids).await.expect("promised");
        last = ids.last().copied();
    }
    last.expect("some")
}

/// How many bulletins the broker's ledger says were given to Sudland.
fn given_to_sudland(directory: &Path) -> usize {
    let file = "broker/broker.toml";
    let arguments = ["audit", "received", "sudland.example", "--json", "-c", file];
    entente(directory, &arguments)
        .matches("\"bulletin\"")
        .count()
}

fn entente(directory: &Path, arguments: &[&str]) -> String {
    let output = Shell::new(PROGRAM)
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// The second version, to which Sudland is a party.
fn second(cluster: &Cluster) -> SignedAgreement {
    let layout = cluster.layout();
    let path = layout.agreements().join("feed.toml");
    let first = std::fs::read_to_string(path).expect("an agreement");
    let id = SignedAgreement::unsigned(&parse_draft(&first).expect("terms"))
        .expect("terms")
        .id();
    let pin = layout
        .home(&partner("sudland"))
        .key_set()
        .expect("a key set")
        .hash();
    let text = first
        .replace("version = 1", &format!("version = 2\nprevious = \"{id}\""))
        .replace(
            "[parties]\n",
            &format!("[parties]\n\"sudland.example\" = \"{pin}\"\n"),
        )
        + "backfill_from = \"2020-01-01T00:00:00Z\"\n";
    let terms = parse_draft(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut signed = SignedAgreement::unsigned(&terms).expect("terms");
    for name in ["norland", "estmark", "sudland"] {
        let key = read_secret_key(&layout.home(&partner(name)).agreements_key());
        signed
            .ratify(&partner(name), &key.expect("a key"))
            .expect("signed");
    }
    signed
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
async fn a_partner_that_joins_is_given_what_came_before() {
    let scratch = Scratch::new().expect("a directory");
    let runner = Runner::Processes(PROGRAM.into());
    let cluster = Cluster::start(runner, scratch.path(), plan(), 6).await;
    let mut cluster = cluster.expect("a cluster");
    let directory = scratch.path().to_owned();
    let mut ids = Vec::new();
    for at in 0..20 {
        ids.push(publish(&cluster, &format!("breach {at}")).await);
    }
    let node = "nodes/norland.example/node.toml";
    let wrong = ids[7].to_string();
    entente(
        &directory,
        &["recall", &wrong, "--reason", "An error.", "-c", node],
    );
    known(&cluster, ids[7], "the recall", |view| {
        view.recipients[0].declared == ["applied"]
    })
    .await;
    let last = publish_many(&cluster).await;
    let all = ids.len() - 1 + MANY;
    let agreement = BASE64.encode(&second(&cluster).to_file());
    let reply = cluster.ask_broker(&Request::Ratify { agreement }).await;
    assert!(matches!(reply, Ok(Reply::Recorded { .. })), "{reply:?}");
    // It may die in the middle of it, and goes on where it was.
    let sudland = partner("sudland");
    known(&cluster, ids[0], "the first", |view| {
        let mut all = view.recipients.iter();
        all.any(|one| one.partner == sudland)
    })
    .await;
    cluster.kill_broker().await.expect("killed");
    let before = given_to_sudland(&directory);
    println!("{before} of {all} were given when it died");
    assert!(0 < before && before < all);
    cluster.start_broker().await.expect("started");
    known(&cluster, last, "the last", |view| {
        let mut all = view.recipients.iter();
        all.any(|one| one.partner == sudland)
    })
    .await;
    assert_eq!(given_to_sudland(&directory), all);
    for (at, id) in ids.iter().enumerate().filter(|(at, _)| *at != 7) {
        let view = known(&cluster, *id, "what came before", |view| {
            let mut all = view.recipients.iter();
            all.any(|one| one.partner == sudland && one.acknowledged)
        })
        .await;
        let one = view.recipients.iter().find(|one| one.partner == sudland);
        assert_eq!(one.expect("a recipient").clauses, ["feed@2/all"]);
        let item = cluster
            .received(&sudland, *id)
            .await
            .expect("an answer")
            .expect("one");
        assert!(item.quarantined.is_none());
        let text = serde_json::to_string(&item).expect("JSON");
        assert!(text.contains(&format!("breach {at}\"")), "{text}");
    }
    assert!(
        cluster
            .received(&sudland, ids[7])
            .await
            .expect("an answer")
            .is_none()
    );
    // A recall reaches those who were given it later, too.
    let late = ids[3].to_string();
    entente(
        &directory,
        &["recall", &late, "--reason", "An error.", "-c", node],
    );
    known(&cluster, ids[3], "the recall at Sudland", |view| {
        view.recipients
            .iter()
            .all(|one| one.declared == ["applied"])
    })
    .await;
    let broker = "broker/broker.toml";
    let listed = entente(
        &directory,
        &[
            "audit",
            "received",
            "sudland.example",
            "--json",
            "-c",
            broker,
        ],
    );
    assert!(
        listed.contains(&late) && !listed.contains(&wrong),
        "{listed}"
    );
    entente(&directory, &["audit", "verify", "-c", broker]);
}
