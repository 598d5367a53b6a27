//! Two frameworks of different operators, and a partner of both that carries from one into the other: real
//! brokers, nodes and bridges. `ENTENTE_SEED` repeats a run's choices.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "the seed is shown; a story is told in one piece"
)]

#[path = "support/frameworks.rs"]
mod frameworks;

use std::collections::BTreeSet;
use std::process::Command as Shell;
use std::time::Duration;

use data_encoding::BASE64;
use entente::agreement::{SignedAgreement, SignedWithdrawal, Withdrawal};
use entente::bulletin::{BulletinId, Crossing, Precedence, Relation, Tlp};
use entente::clock::{Entropy, SeededEntropy, random};
use entente::deployment::until;
use entente::node::{
    CarryAct, CarryAnswer, Command, Fate, FollowedView, NoticeDraft, Package, Response,
};
use entente::testing::{Cluster, Scratch};
use frameworks::{
    Bridge, PATIENCE, PROGRAM, agreement, arrived, ask, clause, draft, federation, framework,
    key_set, knows, log_key, metric, originals, partner, publish, start,
};

/// Short, so that tests see it end.
const LEASE: u64 = 6;

/// An alliance in which Norland gives to the carrier what may be carried into the region, and to Estmark; and a
/// region in which the carrier gives to Sudland, and to nobody else.
async fn two(scratch: &Scratch, more: &str) -> (Cluster, Cluster) {
    let feed = clause(
        "feed",
        &["carrier"],
        "sudland",
        "purposes = [\"network-defence\", \"research\"]",
    );
    let region = framework(
        scratch.path(),
        "region",
        &["carrier", "sudland", "ostland"],
        vec![agreement(
            "region",
            &["carrier", "sudland", "ostland"],
            &feed,
        )],
    )
    .await;
    let may = federation(&[region.ledger()]) + "withhold = [\"source\"]\n" + more;
    let give = clause("give", &["norland"], "carrier", &may);
    let keep = clause("keep", &["estmark"], "carrier", "");
    let alliance = framework(
        scratch.path(),
        "alliance",
        &["norland", "carrier", "estmark"],
        vec![
            agreement("open", &["norland", "carrier"], &give),
            agreement("closed", &["estmark", "carrier"], &keep),
        ],
    )
    .await;
    (alliance, region)
}

/// What the originator is told of what became of a bulletin at the carrier.
async fn declared(cluster: &Cluster, of: &str, id: BulletinId) -> Vec<String> {
    let Response::Followed(followed) = ask(cluster, of, &Command::Follow { id }).await else {
        panic!("not followed");
    };
    let carrier = |one: &FollowedView| one.recipient == Some(partner("carrier"));
    let found = followed.into_iter().find(carrier);
    found.expect("the carrier").declared
}

async fn declares(cluster: &Cluster, of: &str, id: BulletinId, what: &str) {
    let look = || async {
        let all = declared(cluster, of, id).await;
        all.iter().any(|one| one.starts_with(what)).then_some(())
    };
    until(what, PATIENCE, look).await.expect("it is declared");
}

fn notice(about: BulletinId, relation: Relation, tlp: Option<Tlp>) -> Command {
    let notice = NoticeDraft {
        id: None,
        about,
        relation,
        reason: "a false positive".into(),
        precedence: None,
        tlp,
        classification: None,
    };
    Command::Notice { notice }
}

/// Norland withdraws from an agreement.
async fn withdraw(alliance: &Cluster, name: &str) {
    let layout = alliance.layout();
    let file = std::fs::read(layout.agreement(name)).expect("a file");
    let signed = SignedAgreement::from_file(&file).expect("an agreement");
    let secret = layout.home(&partner("norland")).agreements_key();
    let secret = entente::identity::read_secret_key(&secret).expect("a key");
    let withdrawal = Withdrawal {
        ledger: alliance.ledger().0,
        agreement: signed.id(),
        partner: partner("norland"),
        time: entente::clock::Clock::now(&entente::clock::SystemClock),
        reason: "over".into(),
    };
    let signed = SignedWithdrawal::sign(withdrawal, &secret).expect("signed");
    let file = BASE64.encode(&signed.to_file());
    ask(alliance, "norland", &Command::Withdrawal { file }).await;
}

/// Has a node give a bulletin out for another ledger, as a bridge does.
async fn given_out(node: (&Cluster, &str), bulletin: BulletinId, into: &Cluster) -> Package {
    let act = CarryAct::Take {
        bulletin,
        into: into.ledger().0,
        lease: LEASE,
        receipt: false,
    };
    let Response::Carry(taken) = ask(node.0, node.1, &Command::Carry { act }).await else {
        panic!("not given out");
    };
    match *taken {
        CarryAnswer::Taken { package, .. } => package,
        other => panic!("{other:?}"),
    }
}

/// What a carrier makes of it that lies.
fn changed(package: &Package, change: impl Fn(&mut Crossing)) -> Package {
    let mut lie = serde_json::to_value(package).expect("JSON");
    let bytes = BASE64.decode(lie["crossing"].as_str().expect("a crossing").as_bytes());
    let mut crossing = Crossing::from_bytes(&bytes.expect("base64").into()).expect("a crossing");
    change(&mut crossing);
    lie["crossing"] = BASE64.encode(&crossing.to_bytes()).into();
    serde_json::from_value(lie).expect("a package")
}

/// Has a node of the other ledger take it, and waits for what becomes of it.
async fn landed(node: (&Cluster, &str), package: Package) -> (BulletinId, Fate) {
    let act = CarryAct::Land { package };
    let Response::Carry(landed) = ask(node.0, node.1, &Command::Carry { act }).await else {
        panic!("not taken");
    };
    let CarryAnswer::Landed(copy) = *landed else {
        panic!("not taken");
    };
    let act = CarryAct::Fate { copy, wait: 30_000 };
    let Response::Carry(fate) = ask(node.0, node.1, &Command::Carry { act }).await else {
        panic!("no fate");
    };
    match *fate {
        CarryAnswer::Fate(fate) => (copy, fate),
        other => panic!("{other:?}"),
    }
}

/// Everything that a ledger says is as it should be.
async fn audited(mut cluster: Cluster) {
    cluster.stop().await.expect("a clean end");
    let output = Shell::new(PROGRAM)
        .args(["audit", "verify"])
        .current_dir(cluster.layout().broker())
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crosses_is_verified_to_its_originator_and_recalled_with_it() {
    let scratch = Scratch::new().expect("a directory");
    let terms = "retention_seconds = 86400\npurposes = [\"research\", \"prevention\"]\nlegal_basis = \
                 \"the alliance treaty\"\n";
    let (mut alliance, mut region) = two(&scratch, terms).await;
    knows((&region, "sudland"), (&alliance, "alliance"), &["norland"]);
    start(&mut alliance, &["norland", "carrier", "estmark"]).await;
    start(&mut region, &["carrier", "sudland", "ostland"]).await;
    let bridge = Bridge::start(&alliance, &region, "carrier", LEASE);
    let id = publish(&alliance, "norland", draft("a grid is attacked", "")).await;
    let item = arrived(&region, "sudland", id).await;

    // The original, by its originator's signature and its log's receipt; what was withheld is a hash.
    let origin = item.origin.as_ref().expect("an origin");
    assert!(origin.verified, "{origin:?}");
    assert_eq!(origin.originator, Some(partner("norland")));
    assert_eq!(origin.path, ["alliance.example"]);
    assert!(origin.logged.is_some(), "no receipt came along: {origin:?}");
    assert_eq!(origin.missing.len(), 1);
    assert!(item.quarantined.is_none(), "{item:?}");
    assert_eq!(item.parts.iter().filter(|part| !part.withheld).count(), 2);

    // The terms of both ledgers bind: the stricter.
    let owed = &item.obligations;
    let purposes: Vec<String> = owed
        .purposes
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    assert_eq!(purposes, ["research"]);
    assert_eq!(owed.legal_bases, ["the alliance treaty"]);
    assert!(owed.keep_until.is_some());
    // Who has no agreement there has nothing of it.
    assert!(originals(&region, "ostland").await.is_empty());
    // The originator is told that it went further, and into which ledger.
    let told = format!("carried into another ledger: {}", region.ledger());
    declares(&alliance, "norland", id, &told).await;

    // Evidence for anybody, from its text, the originator's key set and the log's key alone.
    let config = region.layout().node_config(&partner("sudland"));
    let exported = ask(&region, "sudland", &Command::Export { id: item.id }).await;
    let Response::Exported(text) = exported else {
        panic!("{exported:?} at {}", config.display());
    };
    let file = scratch.path().join("carried.pem");
    std::fs::write(&file, text).expect("written");
    let verify = |arguments: &[String]| {
        let output = Shell::new(PROGRAM)
            .arg("verify")
            .arg(&file)
            .args(arguments)
            .output()
            .expect("the program");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), said)
    };
    let norland = key_set(&alliance, "norland").display().to_string();
    let (holds, said) = verify(&[
        "--key-set".into(),
        norland.clone(),
        "--log-key".into(),
        log_key(&alliance),
    ]);
    assert!(holds, "{said}");
    for sentence in [
        "which norland.example signed",
        "the log `alliance.example` accepted",
        "1 are missing",
        "of the original: that the key that signed it was not replaced since",
    ] {
        assert!(said.contains(sentence), "{sentence}: {said}");
    }
    let carrier = key_set(&region, "carrier").display().to_string();
    let (holds, said) = verify(&[
        "--key-set".into(),
        norland,
        "--key-set".into(),
        carrier.clone(),
    ]);
    assert!(
        holds && said.contains("carrier.example signed bulletin"),
        "{said}"
    );
    // Without the originator's key set only the carrier vouches for it, and that is said.
    let (holds, said) = verify(&["--key-set".into(), carrier]);
    assert!(
        holds && said.contains("only carrier.example says so"),
        "{said}"
    );
    // Under another's key set it does not hold.
    let other = key_set(&alliance, "estmark").display().to_string();
    assert!(!verify(&["--key-set".into(), other]).0);

    // A downgrade, and then a recall, follow it.
    ask(
        &alliance,
        "norland",
        &notice(id, Relation::Downgrades, Some(Tlp::Clear)),
    )
    .await;
    let marked = |relation: Relation| {
        let (region, copy) = (&region, item.id);
        async move {
            let look = || async {
                let item = region.received(&partner("sudland"), copy).await.ok()??;
                let mark = item.mark.as_ref()?;
                (mark.relation == relation).then_some(item)
            };
            until("a mark", PATIENCE, look).await.expect("a mark")
        }
    };
    assert_eq!(
        marked(Relation::Downgrades).await.mark.expect("one").tlp,
        Some(Tlp::Clear)
    );
    ask(&alliance, "norland", &notice(id, Relation::Retracts, None)).await;
    let recalled = marked(Relation::Retracts).await;
    assert!(
        recalled.parts.iter().all(|part| part.withheld),
        "its contents are there"
    );
    declares(
        &alliance,
        "norland",
        id,
        "given notice of in another ledger",
    )
    .await;
    bridge
        .listed("its end", |all| all.iter().any(|one| one.over.is_some()))
        .await;

    // The key that signed it was replaced: whoever stole it may have signed it since, and that is said, in
    // evidence and by the node that holds it.
    let path = key_set(&alliance, "norland");
    let first = scratch.path().join("norland-1.pem");
    std::fs::copy(&path, &first).expect("copied");
    let rotated = Shell::new(PROGRAM)
        .args(["pki", "rotate", "norland.example", "--grace", "0"])
        .current_dir(alliance.layout().root())
        .output()
        .expect("the program");
    assert!(rotated.status.success(), "{rotated:?}");
    let (first, second) = (first.display().to_string(), path.display().to_string());
    let (holds, said) = verify(&[
        "--key-set".into(),
        first.clone(),
        "--key-set".into(),
        second.clone(),
    ]);
    let sentence =
        "of the original: that its originator made it: a later key set no longer has the key";
    assert!(holds && said.contains(sentence), "{said}");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let both = text.replace(
        &format!("\"{second}\""),
        &format!("\"{first}\", \"{second}\""),
    );
    assert_ne!(text, both);
    std::fs::write(&config, both).expect("written");
    let sudland = partner("sudland");
    region.kill_node(&sudland).await.expect("killed");
    region.start_nodes([&sudland]).await.expect("back");
    let item = region.received(&sudland, item.id).await.expect("an answer");
    let origin = item.expect("the bulletin").origin.expect("an origin");
    assert!(origin.verified, "{origin:?}");
    assert!(
        origin
            .because
            .contains("a later one no longer has that key"),
        "{origin:?}"
    );
    audited(alliance).await;
    audited(region).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_in_one_ledger_is_given_to_nobody_more_in_the_other() {
    let scratch = Scratch::new().expect("a directory");
    let (mut alliance, mut region) = two(&scratch, "").await;
    start(&mut alliance, &["norland", "carrier", "estmark"]).await;
    start(&mut region, &["carrier", "sudland", "ostland"]).await;
    let bridge = Bridge::start(&alliance, &region, "carrier", LEASE);

    // A clause that says nothing of other ledgers keeps a bulletin in its own; nor may ORCON go.
    let kept = publish(&alliance, "estmark", draft("for the carrier only", "")).await;
    let orcon = publish(
        &alliance,
        "norland",
        draft("ask me first", "caveats = [\"ORCON\"]"),
    )
    .await;
    let first = publish(&alliance, "norland", draft("one", "")).await;
    let item = arrived(&region, "sudland", first).await;
    // Nobody there has compared Norland's keys: it says so.
    let origin = item.origin.expect("an origin");
    assert!(
        !origin.verified && origin.because.contains("only carrier.example"),
        "{origin:?}"
    );
    assert_eq!(originals(&region, "sudland").await, [first]);
    let known = bridge.list().await;
    assert!(
        known
            .iter()
            .all(|one| one.bulletin != kept && one.bulletin != orcon),
        "{known:?}"
    );

    // Sudland is away; what is carried waits for it; then Norland withdraws.
    region.kill_node(&partner("sudland")).await.expect("killed");
    let second = publish(&alliance, "norland", draft("two", "")).await;
    let carried = |all: &[entente::node::Carriage]| all.iter().any(|one| one.bulletin == second);
    let list = bridge.listed("the second", carried).await;
    let copy = list
        .iter()
        .find(|one| one.bulletin == second)
        .expect("one")
        .copy;
    let accepted = || async { region.decided(copy).await.ok() };
    let view = until("its acceptance", PATIENCE, accepted)
        .await
        .expect("accepted");
    assert_eq!(view.recipients.len(), 1);
    withdraw(&alliance, "open").await;
    let over = |all: &[entente::node::Carriage]| all.iter().all(|one| one.over.is_some());
    let list = bridge.listed("the end of both", over).await;
    assert!(list.iter().all(|one| {
        one.over
            .as_deref()
            .is_some_and(|why| why.contains("may not"))
    }));
    // The notice that ends it is in the other log; so it is decided by that.
    let ended = || async {
        let view = region.decided(copy).await.ok()?;
        (!view.notices.is_empty()).then_some(())
    };
    until("the notice", PATIENCE, ended)
        .await
        .expect("recorded");
    region
        .start_nodes(&[partner("sudland")])
        .await
        .expect("back");
    let id = region
        .publish(&partner("carrier"), vec![draft("after it", "")])
        .await
        .expect("sent")[0];
    region.delivered(id).await.expect("delivered");
    let told = || async { region.received(&partner("sudland"), id).await.ok()? };
    until("what came after it", PATIENCE, told)
        .await
        .expect("it came");
    assert_eq!(
        originals(&region, "sudland").await,
        [first],
        "it came after the withdrawal"
    );
    // Who had it, keeps it, and knows.
    let item = region
        .received(&partner("sudland"), item.id)
        .await
        .expect("asked")
        .expect("there");
    assert!(item.parts.iter().any(|part| !part.withheld));
    assert_eq!(item.mark.expect("a mark").relation, Relation::Ends);
    audited(alliance).await;
    audited(region).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_in_a_circle() {
    let scratch = Scratch::new().expect("a directory");
    let names = ["one", "two", "three"];
    // Each gives to the next; ledgers are known only once they are made, so clauses come afterwards.
    let mut rings = Vec::new();
    for name in names {
        rings.push(
            framework(
                scratch.path(),
                name,
                &["norland", "carrier", "other", "sudland"],
                vec![],
            )
            .await,
        );
    }
    let all: Vec<_> = rings.iter().map(Cluster::ledger).collect();
    let now = entente::clock::Clock::now(&entente::clock::SystemClock);
    for at in 0..3 {
        let others: Vec<_> = all.iter().copied().filter(|one| *one != all[at]).collect();
        let may = federation(&others);
        let parties = ["norland", "carrier", "other", "sudland"];
        let clauses = clause("out", &["norland", "carrier"], "other", &may)
            + &clause("in", &["carrier"], "sudland", "")
            + &clause("home", &["norland"], "sudland", "");
        let plan = agreement("ring", &parties, &clauses);
        let ring = &mut rings[at];
        let signed =
            entente::deployment::ratified(ring.layout(), all[at], &plan, now).expect("signed");
        start(ring, &parties).await;
        let file = BASE64.encode(&signed.to_file());
        ask(ring, "norland", &Command::Agreement { file }).await;
    }
    // In each ring `other` receives, and carries into the next, where it is called `carrier`.
    let mut bridges = Vec::new();
    for at in 0..3 {
        bridges.push(Bridge::between(
            (&rings[at], "other"),
            (&rings[(at + 1) % 3], "carrier"),
            LEASE,
        ));
    }
    let id = publish(&rings[0], "norland", draft("round and round", "")).await;
    for ring in &rings[1..] {
        let item = arrived(ring, "sudland", id).await;
        assert_eq!(
            item.origin.expect("an origin").originator,
            Some(partner("norland"))
        );
    }
    // The last bridge does not carry it home, and says so.
    let circle = |all: &[entente::node::Carriage]| {
        let over = all.iter().filter_map(|one| one.over.as_ref());
        over.clone().any(|why| why.starts_with("refused: loop"))
    };
    bridges[2].listed("the circle", circle).await;
    assert!(originals(&rings[0], "sudland").await.is_empty());
    for ring in &rings {
        assert_eq!(
            originals(ring, "sudland").await.len(),
            usize::from(ring.ledger() != all[0])
        );
    }
    // A carrier that leaves out where it was does not get it in either: the broker knows its own originals.
    let copy = arrived(&rings[1], "sudland", id).await.id;
    let package = given_out((&rings[1], "other"), copy, &rings[2]).await;
    let lie = changed(&package, |crossing| {
        assert_eq!(crossing.path, [all[0].0, all[1].0]);
        crossing.into = all[0].0;
        crossing.path.remove(0);
        crossing.federation.insert(all[0].0);
    });
    let (_, fate) = landed((&rings[0], "carrier"), lie).await;
    let is_loop = matches!(fate, Fate::Refused { ref code, .. } if code == "loop");
    assert!(is_loop, "{fate:?}");
    assert_eq!(
        metric(&rings[0], "entente_broker_refusals_total{code=\"loop\"}"),
        1
    );
    for ring in rings {
        audited(ring).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_carrier_forges_is_not_believed_where_the_originators_keys_are_known() {
    let scratch = Scratch::new().expect("a directory");
    let (mut alliance, mut region) = two(&scratch, "").await;
    knows((&region, "sudland"), (&alliance, "alliance"), &["norland"]);
    start(&mut alliance, &["norland", "carrier"]).await;
    start(&mut region, &["carrier", "sudland"]).await;
    let id = publish(&alliance, "norland", draft("so it was said", "")).await;
    alliance.delivered(id).await.expect("delivered");
    let package = given_out((&alliance, "carrier"), id, &region).await;
    let forged = changed(&package, |crossing| crossing.burst.signature.bytes[9] ^= 1);
    // The other broker does not know Norland, and its carrier answers for it.
    let (copy, fate) = landed((&region, "carrier"), forged).await;
    assert_eq!(fate, Fate::Taken);
    let look = || async {
        let inbox = region.inbox(&partner("sudland")).await.ok()?;
        inbox.into_iter().find(|item| item.quarantined.is_some())
    };
    let item = until("the forgery", PATIENCE, look)
        .await
        .expect("it is kept apart");
    let reason = item.quarantined.expect("a reason");
    assert!(
        reason.contains("its original, from alliance.example"),
        "{reason}"
    );
    let told = || async {
        let view = region.decided(copy).await.ok()?;
        let declared = &view.recipients.first()?.declared;
        declared
            .iter()
            .any(|one| one.starts_with("refused"))
            .then_some(())
    };
    until("the refusal", PATIENCE, told)
        .await
        .expect("the broker is told");
    audited(region).await;
    alliance.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_too_long_is_asked_about_again_and_what_ended_meanwhile_never_comes_in() {
    let scratch = Scratch::new().expect("a directory");
    let (mut alliance, mut region) = two(&scratch, "").await;
    start(&mut alliance, &["norland", "carrier"]).await;
    start(&mut region, &["carrier", "sudland"]).await;
    let bridge = Bridge::start(&alliance, &region, "carrier", LEASE);
    // The other broker is away while something waits for it, for longer than the first one's word is good.
    region.kill_broker().await.expect("killed");
    let first = publish(&alliance, "norland", draft("one", "")).await;
    let list = bridge.listed("the first", |all| all.len() == 1).await;
    let lease = list[0].lease_until;
    let clock = entente::clock::SystemClock;
    let late = || async { (entente::clock::Clock::now(&clock) > lease).then_some(()) };
    until("the end of the lease", PATIENCE, late)
        .await
        .expect("it ends");
    region.start_broker().await.expect("back");
    arrived(&region, "sudland", first).await;
    assert!(
        metric(
            &region,
            "entente_broker_refusals_total{code=\"crossing_lease\"}"
        ) >= 1
    );

    // Away again; what waits is recalled, and the bridge hears of it before the broker is back.
    region.kill_broker().await.expect("killed");
    let second = publish(&alliance, "norland", draft("two", "")).await;
    bridge.listed("the second", |all| all.len() == 2).await;
    ask(
        &alliance,
        "norland",
        &notice(second, Relation::Retracts, None),
    )
    .await;
    let ends = |all: &[entente::node::Carriage]| {
        let mut own = all.iter().filter(|one| one.bulletin == second);
        own.any(|one| !one.owed.is_empty() || one.over.is_some())
    };
    let list = bridge.listed("that it ends", ends).await;
    let copy = list
        .iter()
        .find(|one| one.bulletin == second)
        .expect("one")
        .copy;
    let taken_back = || async {
        let ids = vec![copy];
        let outbox = ask(&region, "carrier", &Command::Outbox { ids, wait: 0 }).await;
        let Response::Outbox(all) = outbox else {
            return None;
        };
        (all[0].state != entente::store::OutboxState::Pending).then_some(())
    };
    until("that it is taken back", PATIENCE, taken_back)
        .await
        .expect("it is");
    region.start_broker().await.expect("back");
    let third = publish(&alliance, "norland", draft("three", "")).await;
    arrived(&region, "sudland", third).await;
    assert_eq!(originals(&region, "sudland").await, [first, third]);
    assert!(region.decided(copy).await.is_err(), "it came in");
    let over = |all: &[entente::node::Carriage]| {
        all.iter()
            .any(|one| one.bulletin == second && one.over.is_some())
    };
    bridge.listed("its end", over).await;
    audited(alliance).await;
    audited(region).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_waits_for_nothing_that_is_being_carried() {
    let scratch = Scratch::new().expect("a directory");
    let (mut alliance, mut region) = two(&scratch, "").await;
    start(&mut alliance, &["norland", "carrier"]).await;
    start(&mut region, &["carrier", "sudland"]).await;
    let lease = 600;
    let mut bridge = Bridge::start(&alliance, &region, "carrier", lease);
    let first = publish(&alliance, "norland", draft("one", "")).await;
    arrived(&region, "sudland", first).await;
    // Something is under way that the other broker does not answer for, and more waits behind it.
    region.kill_broker().await.expect("killed");
    let second = publish(&alliance, "norland", draft("two", "")).await;
    bridge.listed("the second", |all| all.len() == 2).await;
    let third = publish(&alliance, "norland", draft("three", "")).await;
    for one in [first, third] {
        ask(&alliance, "norland", &notice(one, Relation::Retracts, None)).await;
    }
    let recalled = |all: &[entente::node::Carriage]| {
        all.iter().any(|one| one.bulletin == first && one.recalled)
    };
    let list = bridge.listed("the recall of the first", recalled).await;
    assert!(list.iter().all(|one| one.bulletin != third), "{list:?}");
    // What was recalled while it waited never comes in.
    region.start_broker().await.expect("back");
    arrived(&region, "sudland", second).await;
    let marked = || async {
        let item = arrived(&region, "sudland", first).await;
        let mark = item.mark.filter(|mark| mark.relation == Relation::Retracts);
        mark.map(|_| ())
    };
    until("the recall", PATIENCE, marked)
        .await
        .expect("recalled");
    let fourth = publish(&alliance, "norland", draft("four", "")).await;
    arrived(&region, "sudland", fourth).await;
    assert_eq!(originals(&region, "sudland").await, [first, second, fourth]);
    bridge.stop().await;
    audited(alliance).await;
    audited(region).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_begins_when_the_broker_is_asked() {
    let scratch = Scratch::new().expect("a directory");
    let (mut alliance, region) = two(&scratch, "").await;
    start(&mut alliance, &["norland", "carrier"]).await;
    let bulletin = publish(&alliance, "norland", draft("one", "")).await;
    let carrier = partner("carrier");
    let there = || async { alliance.received(&carrier, bulletin).await.ok().flatten() };
    until("the bulletin", PATIENCE, there)
        .await
        .expect("received");
    let act = CarryAct::Take {
        bulletin,
        into: region.ledger().0,
        lease: LEASE,
        receipt: false,
    };
    // The broker takes two seconds to answer.
    let broker = alliance.broker_process().expect("a process");
    signal(broker, rustix::process::Signal::STOP);
    let resumed = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = entente::clock::Clock::now(&entente::clock::SystemClock);
        signal(broker, rustix::process::Signal::CONT);
        now
    };
    let command = Command::Carry { act };
    let (taken, resumed) = tokio::join!(alliance.ask_node(&carrier, &command), resumed);
    let Ok(Response::Carry(taken)) = taken else {
        panic!("not given out: {taken:?}");
    };
    let CarryAnswer::Taken { carriage, .. } = *taken else {
        panic!("not given out: {taken:?}");
    };
    let latest = resumed.saturating_add(Duration::from_secs(LEASE));
    assert!(
        carriage.lease_until < latest,
        "{} {latest}",
        carriage.lease_until
    );
    alliance.stop().await.expect("a clean end");
}

fn signal(process: u32, signal: rustix::process::Signal) {
    let id = i32::try_from(process)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(id.expect("an id"), signal).expect("signalled");
}

/// An operator changes a partner's standing.
fn stand(cluster: &Cluster, verb: &str, of: &str) {
    let output = Shell::new(PROGRAM)
        .args(["partner", verb, &format!("{of}.example")])
        .args(["--operator", "operator", "--key", "operator.key"])
        .current_dir(cluster.layout().broker())
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_suspended_in_one_ledger_gives_nothing_more_in_the_other() {
    let scratch = Scratch::new().expect("a directory");
    let (mut alliance, mut region) = two(&scratch, "").await;
    start(&mut alliance, &["norland", "carrier"]).await;
    start(&mut region, &["carrier"]).await;
    let bridge = Bridge::impatient(&alliance, &region, "carrier", LEASE, LEASE);
    let ended = |id: BulletinId| {
        move |all: &[entente::node::Carriage]| {
            all.iter()
                .any(|one| one.bulletin == id && one.over.is_some())
        }
    };
    let first = publish(&alliance, "norland", draft("one", "")).await;
    bridge.listed("the first", |all| all.len() == 1).await;
    stand(&alliance, "suspend", "norland");
    bridge.listed("the end of the first", ended(first)).await;
    stand(&alliance, "restore", "norland");
    // The carrier cannot be told that it is suspended: nobody answers it any more.
    let look = || async {
        alliance
            .publish(&partner("norland"), vec![draft("two", "")])
            .await
            .ok()
    };
    let second = until("the second", PATIENCE, look)
        .await
        .expect("published")[0];
    alliance
        .promised(&partner("norland"), &[second])
        .await
        .expect("promised");
    bridge.listed("the second", |all| all.len() == 2).await;
    stand(&alliance, "suspend", "carrier");
    bridge.listed("the end of the second", ended(second)).await;
    // Sudland comes, and gets nothing of it.
    region
        .start_nodes(&[partner("sudland")])
        .await
        .expect("a node");
    let id = region
        .publish(&partner("carrier"), vec![draft("after it", "")])
        .await
        .expect("sent")[0];
    let told = || async { region.received(&partner("sudland"), id).await.ok()? };
    until("what came after it", PATIENCE, told)
        .await
        .expect("it came");
    assert!(originals(&region, "sudland").await.is_empty());
    audited(alliance).await;
    audited(region).await;
}

/// Numbers below a limit, from a seed.
struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, limit: usize) -> usize {
        let bytes: [u8; 4] = random(&self.0 as &dyn Entropy).expect("numbers");
        u32::from_be_bytes(bytes) as usize % limit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_comes_twice_when_the_bridge_dies() {
    const ROUNDS: usize = 12;
    let seed = std::env::var("ENTENTE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("ENTENTE_SEED={seed}");
    let dice = Dice(SeededEntropy::new(seed));
    let scratch = Scratch::new().expect("a directory");
    let (mut alliance, mut region) = two(&scratch, "").await;
    start(&mut alliance, &["norland", "carrier"]).await;
    start(&mut region, &["carrier", "sudland"]).await;
    let mut bridge = Bridge::start(&alliance, &region, "carrier", LEASE);
    let (mut sent, mut recalled) = (Vec::new(), BTreeSet::new());
    for round in 0..ROUNDS {
        for number in 0..4 {
            let precedence = Precedence::ALL[dice.below(4)];
            let more = format!("precedence = \"{precedence}\"");
            sent.push(
                publish(
                    &alliance,
                    "norland",
                    draft(&format!("{round}.{number}"), &more),
                )
                .await,
            );
        }
        if dice.below(2) == 0 {
            let id = sent[dice.below(sent.len())];
            ask(&alliance, "norland", &notice(id, Relation::Retracts, None)).await;
            recalled.insert(id);
        }
        let moment = u64::try_from(dice.below(400)).expect("small");
        tokio::time::sleep(Duration::from_millis(moment)).await;
        bridge.crash(LEASE).await;
        match round % 4 {
            1 => {
                region.kill_broker().await.expect("killed");
                region.start_broker().await.expect("back");
            }
            3 => {
                let (cluster, who) = match dice.below(2) {
                    0 => (&mut alliance, partner("carrier")),
                    _ => (&mut region, partner("carrier")),
                };
                cluster.kill_node(&who).await.expect("killed");
                cluster.launch_node(&who).expect("back");
            }
            _ => {}
        }
    }
    // Each original once, and of those that were recalled nothing is left.
    let wanted: BTreeSet<BulletinId> = sent
        .iter()
        .copied()
        .filter(|id| !recalled.contains(id))
        .collect();
    let look = || async {
        let inbox = region.inbox(&partner("sudland")).await.ok()?;
        let of = |item: &entente::node::ItemView| item.origin.as_ref().map(|one| one.id);
        let there: BTreeSet<BulletinId> = inbox.iter().filter_map(of).collect();
        let emptied = |item: &&entente::node::ItemView| {
            of(item).is_none_or(|id| !recalled.contains(&id))
                || item.parts.iter().all(|part| part.withheld)
        };
        let all = wanted.is_subset(&there) && inbox.iter().filter(emptied).count() == inbox.len();
        all.then_some(inbox)
    };
    let inbox = until("every original", PATIENCE, look).await;
    let inbox = inbox.unwrap_or_else(|error| panic!("{error}: {}", bridge.log()));
    assert!(inbox.iter().all(|item| item.quarantined.is_none()));
    let all = originals(&region, "sudland").await;
    let once: BTreeSet<BulletinId> = all.iter().copied().collect();
    assert_eq!(once.len(), all.len(), "an original came twice");
    println!(
        "{ROUNDS} crashes, {} carried, {} recalled",
        all.len(),
        recalled.len()
    );
    bridge.stop().await;
    audited(alliance).await;
    audited(region).await;
}
