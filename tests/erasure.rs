//! Contents go when a rule says so; the record, the tree and every proof stay, and the audit says which
//! went and why.

#[path = "support/alliance.rs"]
mod alliance;
#[path = "support/ledger.rs"]
mod ledger;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alliance::{PATIENCE, PROGRAM, entente};
use entente::audit::{Audited, Fault, Finding, verify, verify_with_contents};
use entente::broker::{Reply, Request};
use entente::bulletin::{BulletinId, Draft, Precedence, Reference, Relation};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::ledger::{
    Engine, ErasureOrder, ErasureOrdered, ErasureRule, Fact, LaneAck, MemoryEngine,
    OperatorSignature, Outcome, Proposal, Reader, Record, StoredRecord, erasure_rule,
};
use entente::node::{Command, Response};
use entente::partner::PartnerId;
use entente::proof::{PayloadType, Signer};
use entente::testing::{Cluster, Scratch};
use ledger::{Ledger, key, partner, start};

const HOUR: Duration = Duration::from_hours(1);

/// Norland and Estmark share cyber, kept for an hour, and counterterrorism, kept for good.
fn shared() -> Ledger {
    let mut ledger = Ledger::new(3);
    let pins = [ledger.admit("norland", 10), ledger.admit("estmark", 20)];
    let clause = |id: &str, kind: &str, more: &str| {
        format!(
            "[[clause]]\nid = \"{id}\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"{kind}\"]\ntopics \
             = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n{more}"
        )
    };
    let text = format!(
        "name = \"both\"\nversion = 1\nledger = \"{}\"\nvalid_from = \"2026-01-01T00:00:00Z\"\n\
         valid_until = \"2027-06-01T00:00:00Z\"\n[parties]\n\"norland.example\" = \"{}\"\n\
         \"estmark.example\" = \"{}\"\n{}{}",
        ledger.id(),
        pins[0].hash(),
        pins[1].hash(),
        clause("feed", "cyber", "retention_seconds = 3600\n"),
        clause("brief", "counterterrorism", ""),
    );
    ledger.ratify(&text, &[("norland", 10), ("estmark", 20)]);
    ledger
}

fn file(kind: &str, more: &str) -> String {
    format!(
        "kinds = [\"{kind}\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n{more}[[part]]\ntype = \
         \"narrative\"\ntext = \"{kind}\"\n"
    )
}

/// Publishes for Norland; the position.
fn publish(ledger: &mut Ledger, kind: &str, more: &str) -> u64 {
    let draft = Draft::from_toml(&file(kind, more)).expect("a bulletin");
    ledger.publish_as(&partner("norland"), 11, vec![draft]);
    ledger.state.size() - 1
}

fn record(ledger: &Ledger, position: u64) -> Arc<Record> {
    let bytes = ledger.engine.read(position, 1).expect("a record");
    Arc::new(Record::from_bytes(&bytes[0]).expect("a record"))
}

fn rule(ledger: &Ledger, position: u64) -> Option<ErasureRule> {
    erasure_rule(
        &ledger.state,
        position,
        &record(ledger, position),
        ledger.now,
    )
}

fn erase(ledger: &mut Ledger, rule: ErasureRule, position: u64) -> Outcome {
    let about = vec![(position, record(ledger, position))];
    ledger.propose(Proposal::Erasure { rule, about })
}

/// Estmark holds its first ROUTINE bulletins.
fn acknowledge(ledger: &mut Ledger, up_to: u64) {
    let chain = ledger.chain(&partner("estmark"), usize::try_from(up_to).expect("few"));
    ledger.acknowledge(vec![LaneAck {
        precedence: Precedence::Routine,
        up_to,
        chain: chain.0,
    }]);
}

fn order(ledger: &Ledger, signer: u8, change: impl Fn(&mut ErasureOrder)) -> Fact {
    let mut order = ErasureOrder {
        ledger: ledger.id(),
        before: ledger.now,
        reason: "ninety days".into(),
        time: ledger.now,
    };
    change(&mut order);
    let bytes = order.to_bytes();
    let signature = key(signer).sign(PayloadType::ErasureOrder, &bytes);
    Fact::ErasureOrdered(ErasureOrdered {
        bytes,
        order,
        operator: OperatorSignature {
            operator: "anna".into(),
            signature: signature.expect("signed"),
        },
    })
}

fn recall(ledger: &mut Ledger, position: u64) {
    let about = record(ledger, position);
    let Fact::Accepted(accepted) = &about.fact else {
        panic!("a bulletin")
    };
    let text = file("counterterrorism", "").replace("narrative", "action");
    let draft = Draft::from_toml(&text).expect("a bulletin");
    let norland = partner("norland");
    let unsealed = draft.into_unsealed(&norland, ledger.now, &ledger.entropy);
    let mut unsealed = unsealed.expect("valid");
    unsealed.header.notice = true;
    unsealed.header.references = vec![Reference {
        relation: Relation::Retracts,
        bulletin: accepted.header.id,
    }];
    let given = ledger.give(&norland, 11, unsealed, Some(&about));
    assert!(matches!(given, Outcome::Recorded(_)), "{given:?}");
}

fn audit(ledger: &Ledger) -> Result<Audited, Finding> {
    verify_with_contents(&ledger.engine, Some(ledger.checkpoint()), |_| {})
}

fn audit_of(records: &[StoredRecord]) -> Result<Audited, Finding> {
    let engine = MemoryEngine::new();
    engine.append(0, records).expect("written");
    verify_with_contents(&engine, None, |_| {})
}

/// A ledger in which each rule has erased something.
fn with_everything() -> (Ledger, Vec<(u64, ErasureRule)>) {
    let mut ledger = shared();
    let kept_for_an_hour = publish(&mut ledger, "cyber", "");
    let until = start().saturating_add(HOUR / 2);
    let valid = format!("valid_until = \"{until}\"\n");
    let expires = publish(&mut ledger, "counterterrorism", &valid);
    let recalled = publish(&mut ledger, "counterterrorism", "");
    let ordered = publish(&mut ledger, "counterterrorism", "");
    let awaited = publish(&mut ledger, "counterterrorism", "");
    let all = [kept_for_an_hour, expires, recalled, ordered, awaited];
    assert_eq!(all.map(|at| rule(&ledger, at)), [None; 5]);

    recall(&mut ledger, recalled);
    assert_eq!(rule(&ledger, recalled), Some(ErasureRule::Recall));
    ledger.now = start().saturating_add(HOUR / 2);
    assert_eq!(rule(&ledger, expires), Some(ErasureRule::Validity));
    ledger.now = start().saturating_add(2 * HOUR);
    assert_eq!(rule(&ledger, kept_for_an_hour), None, "nobody has it");
    acknowledge(&mut ledger, 1);
    assert_eq!(
        rule(&ledger, kept_for_an_hour),
        Some(ErasureRule::Retention)
    );
    let fact = order(&ledger, 2, |_| {});
    ledger.record(Proposal::Fact(fact));
    assert_eq!(rule(&ledger, ordered), None, "nobody has it");
    acknowledge(&mut ledger, 4);
    assert_eq!(rule(&ledger, ordered), Some(ErasureRule::Order));
    assert_eq!(rule(&ledger, awaited), None, "nobody has it");

    let erased = vec![
        (kept_for_an_hour, ErasureRule::Retention),
        (expires, ErasureRule::Validity),
        (recalled, ErasureRule::Recall),
        (ordered, ErasureRule::Order),
    ];
    for (position, rule) in &erased {
        let done = erase(&mut ledger, *rule, *position);
        assert!(matches!(done, Outcome::Recorded(_)), "{rule}: {done:?}");
    }
    (ledger, erased)
}

#[test]
fn contents_go_by_each_rule_and_proofs_stay() {
    let (mut ledger, erased) = with_everything();
    for (position, _) in &erased {
        assert_eq!(ledger.engine.bodies(*position).expect("an answer"), None);
        // What the record proved, it proves.
        let opening = record(&ledger, *position).open(Reader::Recipient(&partner("estmark")));
        let (commitment, _) = opening.expect("a release").verify().expect("it holds");
        assert_eq!(commitment, record(&ledger, *position).commitment);
        assert_eq!(rule(&ledger, *position), None, "once");
    }
    let audited = audit(&ledger).expect("it holds");
    let told: Vec<_> = audited
        .erased
        .iter()
        .map(|one| (one.position, one.rule))
        .collect();
    let expected: Vec<_> = erased.iter().map(|(at, rule)| (*at, rule.name())).collect();
    assert_eq!(told, expected);
    let orders: Vec<_> = audited
        .erased
        .iter()
        .map(|one| one.order.as_deref())
        .collect();
    assert_eq!(orders, [None, None, None, Some("anna: ninety days")]);
    // An audit without contents sees the same.
    let without = verify(&ledger.engine, None, |_| {}).expect("it holds");
    assert_eq!(without.erased, audited.erased);
    // The fold of a snapshot knows it, too.
    let snapshot = ledger.state.to_snapshot();
    let again = entente::ledger::State::from_snapshot(&snapshot.into()).expect("a snapshot");
    ledger.state = again;
    assert_eq!(erased.iter().find_map(|(at, _)| rule(&ledger, *at)), None);
    assert!(ledger.state.erasure_order().is_some());
    assert_eq!(
        erase(&mut ledger, ErasureRule::Order, erased[3].0),
        Outcome::Stale
    );
}

type Change = Box<dyn Fn(&mut ErasureOrder)>;

#[test]
fn nothing_is_erased_without_its_rule() {
    let mut ledger = shared();
    let position = publish(&mut ledger, "counterterrorism", "");
    for rule in ErasureRule::ALL {
        assert_eq!(erase(&mut ledger, rule, position), Outcome::Stale, "{rule}");
    }
    assert!(ledger.engine.bodies(position).expect("an answer").is_some());
    // An order is an operator's, of this ledger, newer than the last, and about the past.
    let now = ledger.now;
    let attacks: [(u8, Change, &str); 5] = [
        (11, Box::new(|_| {}), "bad_operator_signature"),
        (2, Box::new(|one| one.ledger.0.0[0] ^= 1), "stale_erasure"),
        (
            2,
            Box::new(move |one| one.before = now.saturating_add(HOUR)),
            "erases_future",
        ),
        (
            2,
            Box::new(move |one| {
                one.time = now.saturating_add(HOUR);
                one.before = now.saturating_add(HOUR);
            }),
            "erases_future",
        ),
        (2, Box::new(|_| {}), ""),
    ];
    for (signer, change, expected) in attacks {
        let fact = order(&ledger, signer, change);
        if expected.is_empty() {
            ledger.record(Proposal::Fact(fact.clone()));
            assert_eq!(ledger.refused(fact), "stale_erasure", "replayed");
        } else {
            assert_eq!(ledger.refused(fact), expected);
        }
    }
    // What says that something was erased is not proposed as a fact.
    let erased = Fact::ContentsErased(entente::ledger::ContentsErased {
        rule: ErasureRule::Order,
        bulletins: vec![],
    });
    assert_eq!(ledger.refused(erased), "not_governance");
    // A backfill does not give what is gone, nor is it repeated.
    acknowledge(&mut ledger, 1);
    assert!(matches!(
        erase(&mut ledger, ErasureRule::Order, position),
        Outcome::Recorded(_)
    ));
}

#[test]
fn the_audit_finds_what_was_erased_without_a_rule_and_what_was_not() {
    let (ledger, erased) = with_everything();
    let honest = ledger.stored();
    audit_of(&honest).expect("it holds");
    // Contents that are gone, and nobody says why.
    let mut silent = honest.clone();
    let kept = silent.iter_mut().filter(|one| one.bodies.is_some());
    kept.for_each(|one| one.bodies = None);
    let finding = audit_of(&silent).expect_err("silently");
    assert!(
        matches!(finding, Finding::ContentsMissing { .. }),
        "{finding}"
    );
    // Contents that are there, and should not be.
    let mut kept = honest.clone();
    let position = usize::try_from(erased[0].0).expect("small");
    kept[position].bodies = Some(bodies_of(&ledger, erased[0].0));
    for one in &mut kept {
        one.erases.clear();
    }
    let finding = audit_of(&kept).expect_err("kept");
    let fault = match &finding {
        Finding::Record { fault, .. } => Some(fault),
        _ => None,
    };
    assert!(
        matches!(fault, Some(Fault::NotErased(at)) if *at == erased[0].0),
        "{finding}"
    );
    // A recall that never was: the same records without the notice.
    let notice = |one: &StoredRecord| match Record::from_bytes(&one.record).expect("read").fact {
        Fact::Accepted(accepted) => accepted.header.notice,
        _ => false,
    };
    let mut invented = honest.clone();
    let at = invented.iter().position(notice).expect("a notice");
    let last = invented.iter().rposition(|one| one.erases == [erased[2].0]);
    invented.truncate(last.expect("an erasure") + 1);
    invented.remove(at);
    let finding = audit_of(&invented).expect_err("invented");
    let fault = match &finding {
        Finding::Record { fault, .. } => fault.to_string(),
        other => other.to_string(),
    };
    assert!(fault.contains("rule `recall`"), "{fault}");
}

/// The contents that a bulletin had.
fn bodies_of(ledger: &Ledger, position: u64) -> bytes::Bytes {
    // The same ledger, before anything was erased: everything in it comes from one seed.
    let mut again = shared();
    while again.state.size() <= position {
        publish(&mut again, "cyber", "");
    }
    assert_eq!(
        record(&again, position).commitment,
        record(ledger, position).commitment
    );
    let bodies = again.engine.bodies(position).expect("an answer");
    bodies.expect("contents")
}

fn plan() -> Plan {
    let partners = ["norland", "estmark"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    let clause = |id: &str, kind: &str, more: &str| {
        format!(
            "[[clause]]\nid = \"{id}\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"{kind}\"]\ntopics \
             = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n{more}"
        )
    };
    plan.agreements.push(AgreementPlan {
        name: "both".into(),
        title: String::new(),
        parties: ["norland", "estmark"].map(partner).to_vec(),
        clauses: clause("feed", "cyber", "retention_seconds = 2\n")
            + &clause("brief", "counterterrorism", ""),
    });
    plan
}

async fn share(cluster: &Cluster, kind: &str, text: &str) -> BulletinId {
    let text = file(kind, "").replace(&format!("text = \"{kind}\""), &format!("text = \"{text}\""));
    let norland = partner("norland");
    let draft = Draft::from_toml(&text).expect("a bulletin");
    let ids = cluster.publish(&norland, vec![draft]).await;
    let ids = ids.expect("in the outbox");
    cluster.promised(&norland, &ids).await.expect("promised");
    cluster.delivered(ids[0]).await.expect("delivered");
    ids[0]
}

/// Whether a text lies in any file below a directory.
fn lies_in(directory: &Path, text: &str) -> bool {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.into_iter().any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return lies_in(&path, text);
        }
        // A file may have gone meanwhile.
        let bytes = fs::read(&path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

async fn receipt(cluster: &Cluster, of: &PartnerId, about: BulletinId) -> String {
    let asked = Command::Receipts {
        about: about.to_string(),
        wait: 30_000,
    };
    match cluster.ask_node(of, &asked).await {
        Ok(Response::Receipts(receipts)) => receipts[0].clone(),
        other => panic!("no receipt: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_broker_erases_also_from_its_tables() {
    let scratch = Scratch::new().expect("a directory");
    let runner = Runner::Processes(PROGRAM.into());
    let mut cluster = Cluster::start(runner, scratch.path(), plan(), 1)
        .await
        .expect("a cluster");
    // Letters that no compression shortens to less than themselves.
    let texts = ["kVq9xTz1RmWb", "h7YpQd3LsNfe", "uJ2cGa8XoEvM"];
    let kept = share(&cluster, "counterterrorism", "Zb5tKy0HwIrC").await;
    let short = share(&cluster, "cyber", texts[0]).await;
    let recalled = share(&cluster, "counterterrorism", texts[1]).await;
    let ordered = share(&cluster, "counterterrorism", texts[2]).await;
    let estmark = partner("estmark");
    let proof = receipt(&cluster, &estmark, recalled).await;

    let config = cluster.layout().broker_config();
    let config = config.to_str().expect("a path").to_owned();
    let norland = cluster.layout().node_config(&partner("norland"));
    let norland = norland.to_str().expect("a path");
    let id = recalled.to_string();
    let (code, text) = entente(&["recall", &id, "--reason", "wrong", "--config", norland]);
    assert_eq!(code, 0, "{text}");
    let Ok(Reply::Bulletin(view)) = cluster.ask_broker(&Request::Bulletin { id: ordered }).await
    else {
        panic!("no bulletin")
    };
    // The order is about what is older; the bulletin that is to stay is younger.
    let late = share(&cluster, "counterterrorism", "Pf6sMn4OaQxD").await;
    let before = view
        .accepted
        .saturating_add(Duration::from_micros(1))
        .to_string();
    let operator = cluster.layout().operator_key();
    let operator = operator.to_str().expect("a path");
    let (code, text) = entente(&[
        "audit",
        "erase",
        "--before",
        &before,
        "--reason",
        "ninety days",
        "--operator",
        "operator",
        "--key",
        operator,
        "--config",
        &config,
    ]);
    assert_eq!(code, 0, "{text}");

    let ledger = entente::broker::Config::load(Path::new(&config))
        .expect("a file")
        .ledger;
    let audited = || entente(&["--json", "audit", "verify", "--config", &config]);
    let gone = until("erasures", PATIENCE, || async {
        let (code, text) = audited();
        assert_eq!(code, 0, "{text}");
        let audit: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let erased = audit["audit"]["erased"].as_array().expect("a list").clone();
        // The journal goes with time.
        let tables = ledger.join("db/keyspaces");
        let on_disk = texts.iter().any(|text| lies_in(&tables, text));
        (erased.len() >= 4 && !on_disk).then_some(erased)
    });
    let gone = gone.await.expect("erased from the disk, too");
    let rules: std::collections::BTreeMap<&str, &str> = gone
        .iter()
        .map(|one| {
            (
                one["bulletin"].as_str().expect("an id"),
                one["rule"].as_str().expect("one"),
            )
        })
        .collect();
    let rule = |id: BulletinId| rules.get(id.to_string().as_str()).copied();
    assert_eq!(rule(short), Some("retention"));
    assert_eq!(rule(recalled), Some("recall"));
    assert_eq!(rule(ordered), Some("order"));
    assert_eq!(rule(kept), Some("order"));
    assert_eq!(rule(late), None);
    let (code, text) = entente(&["audit", "verify", "--config", &config]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("by the rule `order` by operator: ninety days"),
        "{text}"
    );

    // A restart keeps to it, and the old receipt proves what it proved.
    let Ok(Reply::Status(status)) = cluster.ask_broker(&Request::Status).await else {
        panic!("no status")
    };
    cluster.kill_broker().await.expect("killed");
    cluster.start_broker().await.expect("a broker");
    let (code, text) = audited();
    assert_eq!(code, 0, "{text}");
    let path = scratch.path().join("receipt");
    fs::write(&path, proof).expect("written");
    let path = path.to_str().expect("a path");
    let (code, text) = entente(&["verify", path, "--log-key", &status.log_key]);
    assert_eq!(code, 0, "{text}");
    cluster.stop().await.expect("stopped");
}
