//! The rules for what comes from another ledger, and for what goes into one: in ledgers in memory, written as
//! brokers write them. The seed is printed, `ENTENTE_SEED` repeats a run.

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
use std::sync::Arc;
use std::time::Duration;

use entente::agreement::{Difference, SignedWithdrawal, Withdrawal, parse_draft};
use entente::audit::verify;
use entente::bulletin::{
    BulletinId, BulletinKeys, Crossing, Draft, Header, MAX_HOPS, Part, PartClass, PlainPart,
    Precedence, PseudonymDraft, PseudonymSecret, Reference, Refused, Relation, Sealed, Tlp,
    Unsealed, VerifiedBursts, open, open_original, seal,
};
use entente::clock::Timestamp;
use entente::decision::{Question, reach};
use entente::ledger::OperatorSignature;
use entente::ledger::{
    Declaration, Fact, LedgerId, Outcome, Proposal, Record, SignedDeclaration, StandingChanged,
    StandingOrder, State, What, may_carry,
};
use entente::partner::{PartnerId, SignedKeySet, Standing};
use entente::proof::{Digest, PayloadType, Signer};
use ledger::{Ledger, key, partner};
use words::{PARTNERS, Random, random_clauses, seed, text};

const PARTIES: [(&str, u8); 4] = [
    ("norland", 10),
    ("estmark", 20),
    ("sudland", 30),
    ("ostland", 40),
];

type Pins = BTreeMap<String, SignedKeySet>;

fn admitted(ledger: &mut Ledger) -> Pins {
    PARTIES
        .map(|(name, seed)| (partner(name).to_string(), ledger.admit(name, seed)))
        .into()
}

fn agreement(ledger: &Ledger, pins: &Pins, name: &str, parties: [&str; 2], more: &str) -> String {
    let [one, other] = parties.map(|name| partner(name).to_string());
    format!(
        "name = \"{name}\"\nversion = 1\nledger = \"{}\"\nvalid_from = \
         \"2026-01-01T00:00:00Z\"\nvalid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n\"{one}\" = \
         \"{}\"\n\"{other}\" = \"{}\"\n[[clause]]\nid = \"all\"\nfrom = [\"{one}\"]\nto = \
         [\"{other}\"]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \
         \"TLP:AMBER\"\nwithhold = [\"source\"]\n{more}",
        ledger.id(),
        pins[&one].hash(),
        pins[&other].hash(),
    )
}

fn into(ledgers: &[Digest]) -> String {
    let named: Vec<String> = ledgers.iter().map(|one| format!("\"{one}\"")).collect();
    format!("federation = [{}]\n", named.join(", "))
}

/// Norland gives to Estmark what it may carry into another ledger, where it gives to Sudland.
fn two() -> (Ledger, Ledger) {
    let (mut alliance, mut region) = (Ledger::numbered(5, 1), Ledger::numbered(6, 2));
    let pins = admitted(&mut alliance);
    let may = into(&[region.id().0]);
    let terms = agreement(&alliance, &pins, "north", ["norland", "estmark"], &may);
    alliance.ratify(&terms, &[("norland", 10), ("estmark", 20)]);
    let pins = admitted(&mut region);
    let terms = agreement(&region, &pins, "south", ["estmark", "sudland"], "");
    region.ratify(&terms, &[("estmark", 20), ("sudland", 30)]);
    (alliance, region)
}

fn published(ledger: &mut Ledger, more: &str) -> BulletinId {
    let text = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n{more}\n[[part]]\ntype = \
         \"ip\"\nvalue = \"192.0.2.1\"\n[[part]]\ntype = \"narrative\"\ntext = \"n\"\n[[part]]\ntype = \
         \"source\"\ndescription = \"s\"\n"
    );
    let draft = Draft::from_toml(&text).expect("a bulletin");
    let unsealed = draft.into_unsealed(&partner("norland"), ledger.now, &ledger.entropy);
    let unsealed = unsealed.expect("valid");
    let id = unsealed.header.id;
    let outcome = ledger.submit(&partner("norland"), 11, unsealed);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    id
}

/// What Estmark publishes in another ledger of what it received without its source.
fn carried(from: &Ledger, to: &Ledger, id: BulletinId) -> Unsealed {
    let sealed = &from.bodies[&id];
    let original = Header::from_bytes(&sealed.header).expect("a header");
    let stays = |part: &Part| matches!(part, Part::Open(open) if open.class == "source");
    let missing = (0..).zip(&sealed.parts).filter(|(_, part)| stays(part));
    let crossing = Crossing {
        into: to.id().0,
        path: vec![from.id().0],
        header: sealed.header.clone(),
        original: Box::new(original.clone()),
        burst: sealed.burst.clone(),
        missing: missing.map(|(at, part)| (at, part.leaf())).collect(),
        federation: BTreeSet::from([to.id().0]),
        keep_until: None,
        purposes: None,
        legal_bases: Vec::new(),
        lease_until: to.now.saturating_add(Duration::from_mins(1)),
        receipts: Vec::new(),
    };
    let parts = sealed.parts.iter().filter(|part| !stays(part));
    let parts = parts.filter_map(|part| match part {
        Part::Open(part) => Some(PlainPart {
            class: part.class.parse().expect("a class"),
            marking: part.marking,
            body: part.body.clone(),
            salt: Some(part.salt),
        }),
        Part::Withheld(_) => None,
    });
    Unsealed {
        parts: parts.collect(),
        header: Header {
            id: Crossing::id(&crossing.into, &crossing.original_hash()),
            originator: partner("estmark").into(),
            created: to.now,
            valid_from: to.now.max(original.valid_from),
            references: Vec::new(),
            as_of: 0,
            crossing: Some(Box::new(crossing)),
            ..original
        },
    }
}

/// What becomes of it at the broker of a ledger.
fn outcome(ledger: &mut Ledger, unsealed: Unsealed) -> Result<Outcome, Refused> {
    let sealed = seal(vec![unsealed], &key(21), &ledger.entropy);
    let sealed = sealed.map_err(|error| match error {
        entente::bulletin::SealError::Refused(refused) => refused,
        other => panic!("{other}"),
    })?;
    submitted(ledger, sealed[0].clone())
}

fn submitted(ledger: &mut Ledger, sealed: Sealed) -> Result<Outcome, Refused> {
    let estmark = partner("estmark");
    let verified = open(
        sealed,
        ledger.now,
        ledger.state.registry(),
        &mut ledger.bursts,
    )?;
    let submission = verified.into_submission(&estmark, ledger.now)?;
    Ok(ledger.propose(Proposal::Bulletin(Box::new(submission))))
}

fn refusal(ledger: &mut Ledger, unsealed: Unsealed) -> (&'static str, String) {
    match outcome(ledger, unsealed) {
        Err(refused) => (refused.code(), refused.to_string()),
        Ok(Outcome::Refused(refused)) => (refused.code(), refused.to_string()),
        Ok(other) => panic!("it was not refused: {other:?}"),
    }
}

fn crossing(unsealed: &mut Unsealed) -> &mut Crossing {
    unsealed.header.crossing.as_mut().expect("a crossing")
}

fn record(ledger: &Ledger, id: BulletinId) -> Arc<Record> {
    let position = ledger.state.seen(&id).expect("accepted").position;
    let at = usize::try_from(position).expect("few");
    Arc::new(ledger.records()[at].clone())
}

type Change<'a> = &'a dyn Fn(&mut Unsealed);

#[test]
fn what_should_not_come_from_another_ledger_is_refused() {
    let (mut alliance, mut region) = two();
    let id = published(
        &mut alliance,
        "releasable_to = [\"estmark.example\", \"sudland.example\"]",
    );
    let third = Digest::of(b"a third ledger");
    let home = alliance.id().0;
    let here = region.id().0;
    let changes: [(&str, &str, Change<'_>); 19] = [
        ("another id", "its id is not the one", &|one| {
            one.header.id = BulletinId([7; 16]);
        }),
        ("for another ledger", "its id is not the one", &|one| {
            crossing(one).into = third;
        }),
        (
            "for another ledger, under its id",
            "do not let it into this ledger",
            &|one| {
                crossing(one).into = third;
                one.header.id = Crossing::id(&third, &crossing(one).original_hash());
            },
        ),
        (
            "made for another ledger",
            "made for another ledger",
            &|one| {
                crossing(one).into = third;
                crossing(one).federation.insert(third);
                one.header.id = Crossing::id(&third, &crossing(one).original_hash());
            },
        ),
        ("been here", "it would go in a circle", &|one| {
            crossing(one).path.push(here);
        }),
        ("twice in one ledger", "it would go in a circle", &|one| {
            crossing(one).path.push(home);
        }),
        ("from nowhere", "ledgers in its path", &|one| {
            crossing(one).path.clear();
        }),
        ("too far", "ledgers in its path", &|one| {
            let far = (0..=u8::try_from(MAX_HOPS).expect("few")).map(|at| Digest::of(&[at]));
            crossing(one).path = far.collect();
        }),
        (
            "not let into this one",
            "do not let it into this ledger",
            &|one| {
                crossing(one).federation = BTreeSet::from([third]);
            },
        ),
        ("weaker", "its labels are not those", &|one| {
            one.header.tlp = Tlp::Clear;
        }),
        ("for others", "its labels are not those", &|one| {
            one.header.releasable_to.push(partner("ostland"));
        }),
        ("for all", "its labels are not those", &|one| {
            one.header.releasable_to.clear();
        }),
        ("for longer", "its labels are not those", &|one| {
            one.header.valid_until = one
                .header
                .valid_until
                .saturating_add(Duration::from_secs(1));
        }),
        ("more urgent", "its labels are not those", &|one| {
            one.header.precedence = Precedence::Flash;
        }),
        ("a part less", "are not all of the original", &|one| {
            drop(one.parts.pop());
        }),
        (
            "something else",
            "not those that the originator signed",
            &|one| {
                one.parts[0].body = vec![1, 2, 3].into();
            },
        ),
        (
            "the same under another salt",
            "not those that the originator signed",
            &|one| {
                one.parts[0].salt = None;
            },
        ),
        (
            "another leaf",
            "not those that the originator signed",
            &|one| {
                let missing = &mut crossing(one).missing;
                for leaf in missing.values_mut() {
                    *leaf = Digest::of(b"another");
                }
            },
        ),
        ("and more", "does nothing else", &|one| {
            one.header.references.push(Reference {
                relation: Relation::Retracts,
                bulletin: BulletinId([8; 16]),
            });
        }),
    ];
    for (what, reason, change) in changes {
        let mut unsealed = carried(&alliance, &region, id);
        change(&mut unsealed);
        let (_, said) = refusal(&mut region, unsealed);
        assert!(said.contains(reason), "{what}: {said}");
    }
    // Late: the ledger it comes from may have changed its mind.
    let mut late = carried(&alliance, &region, id);
    crossing(&mut late).lease_until = region.now;
    assert_eq!(refusal(&mut region, late).0, "crossing_lease");
    // By its carrier only.
    let mut nested = carried(&alliance, &region, id);
    let inner = seal(
        vec![carried(&alliance, &region, id)],
        &key(21),
        &region.entropy,
    )
    .expect("sealed");
    crossing(&mut nested).header = inner[0].header.clone();
    let nested = seal(vec![nested], &key(21), &region.entropy);
    if let Ok(nested) = nested {
        let said = submitted(&mut region, nested[0].clone())
            .expect_err("refused")
            .to_string();
        assert!(said.contains("came from another ledger itself"), "{said}");
    }

    // As it should be, it comes in, once: the same again is the same, and no other takes its place.
    let sealed = seal(
        vec![carried(&alliance, &region, id)],
        &key(21),
        &region.entropy,
    )
    .expect("sealed");
    let first = submitted(&mut region, sealed[0].clone()).expect("accepted");
    assert!(matches!(first, Outcome::Recorded(_)), "{first:?}");
    let again = submitted(&mut region, sealed[0].clone()).expect("accepted");
    assert!(matches!(again, Outcome::Again(_)), "{again:?}");
    let other = carried(&alliance, &region, id);
    assert_eq!(refusal(&mut region, other).0, "duplicate_id");
    let releases = region
        .records()
        .into_iter()
        .flat_map(|record| record.releases);
    let to: Vec<PartnerId> = releases.map(|one| one.release.recipient).collect();
    assert_eq!(to, [partner("sudland")]);

    // What its originator published here does not come in by way of anywhere.
    let at_home = published(&mut region, "");
    let mut lie = carried(&region, &region, at_home);
    crossing(&mut lie).path = vec![home];
    assert_eq!(refusal(&mut region, lie).0, "loop");
    verify(&region.engine, Some(region.checkpoint()), |_| {}).expect("it holds");
}

#[test]
fn what_nobody_may_carry_is_refused_whatever_clauses_say() {
    let (mut alliance, mut region) = two();
    for (more, reason) in [
        ("caveats = [\"ORCON\"]", "ORCON"),
        (
            "releasable_to = [\"estmark.example\"]\nhide_audience = true",
            "keeps its recipients from one another",
        ),
    ] {
        let id = published(&mut alliance, more);
        let refused = may_carry(
            &alliance.state,
            &record(&alliance, id),
            &partner("estmark"),
            &region.id().0,
            alliance.now,
        );
        let said = refused.expect_err("refused").to_string();
        assert!(said.contains(reason), "{said}");
        let mut unsealed = carried(&alliance, &region, id);
        unsealed.header.audience_part = false;
        let (_, said) = refusal(&mut region, unsealed);
        assert!(said.contains(reason), "{said}");
    }
}

/// Knows nobody's keys.
struct Nobody;

impl BulletinKeys for Nobody {
    fn bulletin_key(
        &self,
        _: &PartnerId,
        _: &entente::proof::KeyId,
        _: Timestamp,
    ) -> Option<entente::proof::PublicKey> {
        None
    }
}

#[test]
fn an_original_is_its_originators_whoever_carries_it() {
    let (mut alliance, region) = two();
    let id = published(&mut alliance, "");
    let sealed = seal(
        vec![carried(&alliance, &region, id)],
        &key(21),
        &region.entropy,
    )
    .expect("sealed");
    let whole = &sealed[0];
    let crossing = open_original(whole, alliance.state.registry()).expect("it verifies");
    assert_eq!(crossing.original.id, id);
    // With a part withheld in the other ledger, too.
    let less = entente::bulletin::redact(whole, &[0]);
    open_original(&less, alliance.state.registry()).expect("it verifies");
    // Signed by another, or nobody's bulletin at all: the other broker cannot know, and who has the keys does.
    let forge = |change: &dyn Fn(&mut Crossing)| {
        let mut unsealed = carried(&alliance, &region, id);
        change(unsealed.header.crossing.as_mut().expect("a crossing"));
        let sealed = seal(vec![unsealed], &key(21), &region.entropy).expect("sealed");
        let bursts = &mut VerifiedBursts::new(1);
        open(
            sealed[0].clone(),
            region.now,
            region.state.registry(),
            bursts,
        )
        .expect("by its carrier");
        open_original(&sealed[0], alliance.state.registry()).expect_err("it is no original")
    };
    assert_eq!(
        forge(&|one| one.burst.signature.bytes[0] ^= 1),
        Refused::BadSignature
    );
    assert_eq!(forge(&|one| one.burst.index ^= 1), Refused::NotInBurst);
    let unknown = open_original(whole, &Nobody).expect_err("no keys");
    assert_eq!(unknown.code(), "unknown_key");
}

fn declared(ledger: &mut Ledger, id: BulletinId, into: LedgerId) -> Outcome {
    let about = record(ledger, id);
    let Fact::Accepted(accepted) = &about.fact else {
        unreachable!("a bulletin")
    };
    let declaration = Declaration {
        ledger: ledger.id(),
        partner: partner("estmark"),
        id,
        bulletin: accepted.header_hash(),
        time: ledger.now,
        what: What::Carried {
            into: into.0,
            notice: None,
        },
    };
    let signed = SignedDeclaration::sign(declaration, &key(21)).expect("signed");
    ledger.propose(Proposal::Declaration { signed, about })
}

fn is_refused(outcome: &Outcome, reason: &str) {
    let Outcome::Refused(error) = outcome else {
        panic!("it was not refused: {outcome:?}")
    };
    assert_eq!(error.code(), "declaration_not_carried");
    assert!(error.to_string().contains(reason), "{error}");
}

fn notice(ledger: &mut Ledger, id: BulletinId, relation: Relation) {
    let about = record(ledger, id);
    let Fact::Accepted(accepted) = &about.fact else {
        unreachable!("a bulletin")
    };
    let text = "kinds = [\"cyber\"]\ntopics = [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
                \"action\"\ntext = \"gone\"\n";
    let draft = Draft::from_toml(text).expect("a notice");
    let unsealed = draft.into_unsealed(&partner("norland"), ledger.now, &ledger.entropy);
    let mut unsealed = unsealed.expect("valid");
    unsealed.header.notice = true;
    unsealed.header.precedence = accepted.header.precedence;
    unsealed.header.references = vec![Reference {
        relation,
        bulletin: id,
    }];
    let outcome = ledger.give(&partner("norland"), 11, unsealed, Some(&about));
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
}

fn standing(ledger: &mut Ledger, of: &str, standing: Standing) {
    let order = StandingOrder {
        ledger: ledger.id(),
        partner: partner(of),
        standing,
        reason: String::new(),
        time: ledger.now,
    };
    let bytes = order.to_bytes();
    let operator = OperatorSignature {
        operator: "anna".into(),
        signature: key(2)
            .sign(PayloadType::StandingOrder, &bytes)
            .expect("signed"),
    };
    ledger.record(Proposal::Fact(Fact::StandingChanged(StandingChanged {
        bytes,
        order,
        operator,
    })));
}

#[test]
fn a_declaration_that_it_is_carried_needs_every_clause_then_and_now() {
    let (mut alliance, region) = two();
    let (there, elsewhere) = (region.id(), LedgerId(Digest::of(b"elsewhere")));
    let id = published(&mut alliance, "");
    is_refused(
        &declared(&mut alliance, id, elsewhere),
        "does not let it be carried",
    );
    let own = alliance.id();
    is_refused(&declared(&mut alliance, id, own), "in a circle");
    let first = declared(&mut alliance, id, there);
    assert!(matches!(first, Outcome::Recorded(_)), "{first:?}");
    // Said again, it is a question: it may still be.
    assert_eq!(declared(&mut alliance, id, there), Outcome::Stale);

    // A restart from a snapshot knows it, too.
    let again = State::from_snapshot(&alliance.state.to_snapshot().into()).expect("a snapshot");
    assert_eq!(again.dossiers(), alliance.state.dossiers());

    // Its originator is suspended, and active again.
    standing(&mut alliance, "norland", Standing::Suspended);
    is_refused(&declared(&mut alliance, id, there), "would not be given");
    standing(&mut alliance, "norland", Standing::Active);
    assert_eq!(declared(&mut alliance, id, there), Outcome::Stale);

    // A second clause under which it would come now says nothing of that ledger, and binds.
    let pins: Pins = PARTIES
        .map(|(name, _)| {
            let known = alliance
                .state
                .registry()
                .partner(&partner(name))
                .expect("known");
            (partner(name).to_string(), known.keys.versions()[0].clone())
        })
        .into();
    let silent = agreement(&alliance, &pins, "silent", ["norland", "estmark"], "");
    let silent = alliance.ratify(&silent, &[("norland", 10), ("estmark", 20)]);
    is_refused(
        &declared(&mut alliance, id, there),
        "silent@1/all does not let it",
    );
    let withdrawal = Withdrawal {
        ledger: alliance.id().0,
        agreement: silent.id(),
        partner: partner("norland"),
        time: alliance.now,
        reason: String::new(),
    };
    let withdrawal = SignedWithdrawal::sign(withdrawal, &key(10)).expect("signed");
    alliance.record(Proposal::Fact(Fact::AgreementWithdrawn(withdrawal)));
    assert_eq!(declared(&mut alliance, id, there), Outcome::Stale);

    // What came under a clause that ended since is not carried; nor what is recalled, superseded or ended.
    for relation in [Relation::Retracts, Relation::Supersedes, Relation::Ends] {
        let id = published(&mut alliance, "");
        notice(&mut alliance, id, relation);
        is_refused(
            &declared(&mut alliance, id, there),
            "took it back or put another",
        );
    }
    let lowered = published(&mut alliance, "");
    notice(&mut alliance, lowered, Relation::Downgrades);
    let outcome = declared(&mut alliance, lowered, there);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    verify(&alliance.engine, Some(alliance.checkpoint()), |_| {}).expect("it holds");

    // When the agreement is over, so is the right.
    alliance.now = "2027-06-01T00:00:00Z".parse().expect("a time");
    is_refused(&declared(&mut alliance, id, there), "");
}

#[test]
fn what_came_from_another_ledger_goes_on_only_as_its_clauses_say() {
    let (mut alliance, mut region) = two();
    let id = published(&mut alliance, "");
    let unsealed = carried(&alliance, &region, id);
    let copy = unsealed.header.id;
    outcome(&mut region, unsealed).expect("accepted");
    // Sudland may not pass it on here, whatever its clause says: those of the other ledger say nothing of it.
    let about = record(&region, copy);
    let Fact::Accepted(accepted) = &about.fact else {
        unreachable!("a bulletin")
    };
    let unsealed = Unsealed {
        header: Header {
            id: BulletinId([9; 16]),
            originator: partner("sudland").into(),
            releasable_to: vec![partner("ostland")],
            references: vec![Reference {
                relation: Relation::PassesOn,
                bulletin: copy,
            }],
            crossing: None,
            ..accepted.header.clone()
        },
        parts: carried(&alliance, &region, id).parts,
    };
    let refused = region.pass_on(
        &partner("sudland"),
        &key(31),
        unsealed,
        vec![Arc::clone(&about)],
    );
    let Outcome::Refused(refused) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        refused.to_string().contains("came from another ledger"),
        "{refused}"
    );
    // Nor may it go further than the first clauses let it, even where the second would.
    let third = Digest::of(b"a third");
    let may = may_carry(
        &region.state,
        &about,
        &partner("sudland"),
        &third,
        region.now,
    );
    assert!(
        may.expect_err("refused")
            .to_string()
            .contains("a ledger that it came from")
    );
    let home = may_carry(
        &region.state,
        &about,
        &partner("sudland"),
        &alliance.id().0,
        region.now,
    );
    assert!(
        home.expect_err("refused")
            .to_string()
            .contains("in a circle")
    );
}

/// A path is a walk that comes nowhere twice: however carriers go, they go at most so far.
#[test]
fn every_way_through_ledgers_ends() {
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let (mut longest, mut circles) = (0, 0);
    for _ in 0..2_000 {
        let ledgers = 1 + random.below(14);
        let name = |at: usize| Digest::of(&at.to_be_bytes());
        let mut path = vec![name(random.below(ledgers))];
        // Whoever stands at a dead end tries some more.
        for _ in 0..64 {
            let next = name(random.below(ledgers));
            let may = Crossing::check_path(&path, &next);
            let been = path.contains(&next);
            assert_eq!(
                may.is_ok(),
                !been && path.len() <= MAX_HOPS,
                "{may:?}: {path:?}"
            );
            match may {
                Ok(()) => path.push(next),
                Err(Refused::Loop(at)) => {
                    assert_eq!(at, next);
                    circles += 1;
                }
                Err(_) => assert!(path.len() > MAX_HOPS),
            }
        }
        let once: BTreeSet<&Digest> = path.iter().collect();
        assert_eq!(once.len(), path.len());
        assert!(path.len() <= MAX_HOPS + 1);
        longest = longest.max(path.len());
    }
    println!("the longest of {longest} ledgers, {circles} circles");
    assert!(longest == MAX_HOPS + 1 && circles > 0);
}

#[test]
fn more_ledgers_widen_and_fewer_narrow() {
    let (alliance, region) = two();
    let mut ledger = Ledger::numbered(7, 3);
    let pins = admitted(&mut ledger);
    let terms = |more: &str| {
        let text = agreement(&ledger, &pins, "north", ["norland", "estmark"], more);
        parse_draft(&text).expect("terms")
    };
    let (none, one) = (terms(""), terms(&into(&[alliance.id().0])));
    let both = terms(&into(&[alliance.id().0, region.id().0]));
    let widens = |old, new| {
        let found = Difference::between(old, new).widens;
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (less, more) in [(&none, &one), (&one, &both)] {
        let said = widens(less, more);
        assert!(
            said.len() == 1 && said[0].contains("federation"),
            "{said:?}"
        );
        assert!(widens(more, less).is_empty());
    }
    let text = one.clauses[0].to_string();
    assert!(
        text.contains(&format!("carried into ledger {}", alliance.id())),
        "{text}"
    );
    // Of its own ledger a clause cannot say so.
    let own = agreement(
        &ledger,
        &pins,
        "north",
        ["norland", "estmark"],
        &into(&[ledger.id().0]),
    );
    assert!(parse_draft(&own).is_err());
}

/// `reach` says that something can be carried exactly where something can.
#[test]
fn what_can_be_carried_is_known_beforehand() {
    const LEDGERS: usize = 12;
    let seed = seed();
    println!("ENTENTE_SEED={seed}");
    let mut random = Random(seed);
    let there = Digest::of(b"there");
    let (mut ways, mut none) = (0, 0);
    for number in 0..LEDGERS {
        let mut ledger = Ledger::new(random.next());
        let pins = admitted(&mut ledger);
        let mut all = Vec::new();
        for at in 0..2 {
            let mut clauses = random_clauses(&mut random, at);
            for clause in &mut clauses {
                clause.valid = ("2026-01-01T00:00:00Z", "2027-06-01T00:00:00Z");
                clause.shown = "named";
                clause.refuses_references = false;
            }
            let parties = clauses[0].parties.clone();
            let mut text = text(&format!("a{at}"), &clauses);
            text = text.replacen(&"0".repeat(64), &ledger.id().to_string(), 1);
            for (at, name) in PARTNERS.iter().enumerate() {
                let pin = pins[*name].hash().to_string();
                text = text.replacen(&format!("{:064}", at + 1), &pin, 1);
            }
            let lines = text.lines().map(|line| {
                let may = line.starts_with("onward = ") && random.percent(60);
                let more = if may { into(&[there]) } else { String::new() };
                format!("{line}\n{more}")
            });
            let text: String = lines.collect();
            let signers = PARTIES.into_iter();
            let signers = signers.filter(|(name, _)| parties.contains(&partner(name).as_str()));
            ledger.ratify(&text, &signers.collect::<Vec<_>>());
            all.push(text);
        }
        let pairs = PARTNERS
            .iter()
            .flat_map(|from| PARTNERS.map(|to| (*from, to)));
        for (from, to) in pairs.filter(|(from, to)| from != to) {
            let (from, to): (PartnerId, PartnerId) =
                (from.parse().expect("one"), to.parse().expect("one"));
            let question = Question {
                into: Some(there),
                ..Question::anything(from.clone(), to.clone())
            };
            let context = || {
                format!(
                    "ENTENTE_SEED={seed}, {number}: {from} to {to}\n{}",
                    all.join("\n")
                )
            };
            let way = reach(ledger.state.rulebook(), &question, ledger.now);
            if let Some(way) = way {
                let id = publish_example(&mut ledger, &from, &way.example);
                let about = record(&ledger, id);
                let may = may_carry(&ledger.state, &about, &to, &there, ledger.now);
                may.unwrap_or_else(|error| panic!("{error}: {way}\n{}", context()));
                ways += 1;
            } else {
                // Then nothing that goes there at all can be carried: of each clause its most and its plainest.
                let plain = Question::anything(from.clone(), to.clone());
                let Some(way) = reach(ledger.state.rulebook(), &plain, ledger.now) else {
                    continue;
                };
                if way.hops.len() > 1 {
                    continue;
                }
                let id = publish_example(&mut ledger, &from, &way.example);
                let may = may_carry(&ledger.state, &record(&ledger, id), &to, &there, ledger.now);
                assert!(may.is_err(), "{way}\n{}", context());
                none += 1;
            }
        }
    }
    println!("{ways} can be carried, {none} cannot");
    assert!(ways > 2 && none > 2);
}

fn publish_example(
    ledger: &mut Ledger,
    from: &PartnerId,
    example: &entente::agreement::Example,
) -> BulletinId {
    let labels = &example.labels;
    let text = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:CLEAR\"\n[[part]]\ntype = \
                \"narrative\"\ntext = \"n\"\n";
    let draft = Draft::from_toml(text).expect("a bulletin");
    let unsealed = draft.into_unsealed(from, ledger.now, &ledger.entropy);
    let mut unsealed = unsealed.expect("valid");
    unsealed.parts[0].class = example.part.class.unwrap_or(PartClass::Narrative);
    unsealed.parts[0].marking = example.part.marking;
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
    header.releasable_to = labels.releasable_to.iter().flatten().cloned().collect();
    let id = unsealed.header.id;
    let seed = PARTIES
        .iter()
        .find(|(name, _)| partner(name) == *from)
        .expect("a party")
        .1;
    let mut signer = key(seed + 1);
    if let Some(disguise) = &labels.disguise {
        let pseudonym = PseudonymDraft {
            agreement: disguise.agreement.to_string(),
            shown: disguise.shown(),
            reveal_to: disguise.reveal_to.iter().cloned().collect(),
        };
        let own = key(seed + 1);
        let secret = PseudonymSecret::new(key(seed + 1));
        (unsealed, signer) = secret
            .disguise(unsealed, pseudonym, None, &own)
            .expect("an alias");
    }
    let outcome = ledger.submit_sealed(from, &signer, unsealed);
    assert!(matches!(outcome, Outcome::Recorded(_)), "{outcome:?}");
    id
}
