//! What becomes of a bulletin after it was published: recall, supersession, downgrade, and that it
//! was taken in time; and that nodes take up a version that only narrows.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

use std::path::Path;
use std::process::Command as Shell;
use std::time::Duration;

use entente::broker::{BulletinView, Reply, Request};
use entente::bulletin::{BulletinId, Draft, Relation};
use entente::clock::{Clock, SystemClock};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::node::{Command, Response};
use entente::partner::PartnerId;
use entente::store::OutboxState;
use entente::testing::{Cluster, Scratch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_secs(40);

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

/// Norland shares with Estmark and, under another agreement, with Sudland; Estmark has to take what
/// is FLASH within two seconds.
fn plan() -> Plan {
    let partners = ["norland", "estmark", "sudland"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    let clause = |more: &str| {
        format!(
            "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics \
             = [\"cyber\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n{more}"
        )
    };
    for (name, more) in [
        (
            "estmark",
            "precedences = [\"ROUTINE\", \"PRIORITY\"]\n[[clause]]\nid = \"brief\"\nfrom = \
             [\"*\"]\nto = [\"*\"]\nkinds = [\"counterterrorism\"]\ntopics = [\"*\"]\nregions = \
             [\"*\"]\ntlp = \"TLP:AMBER\"\nretention_seconds = 3\n",
        ),
        (
            "sudland",
            "purposes = [\"network-defence\", \"research\"]\n",
        ),
    ] {
        plan.agreements.push(AgreementPlan {
            name: format!("with-{name}"),
            title: String::new(),
            parties: vec![partner("norland"), partner(name)],
            clauses: clause(more),
        });
    }
    plan.agreements.push(AgreementPlan {
        name: "warning".into(),
        title: "Collective defence".into(),
        parties: ["norland", "estmark", "sudland"].map(partner).to_vec(),
        clauses: clause("precedences = [\"FLASH\"]\nacknowledge_within_seconds = 2\n"),
    });
    plan
}

async fn cluster(scratch: &Scratch) -> Cluster {
    let runner = Runner::Processes(PROGRAM.into());
    let cluster = Cluster::start(runner, scratch.path(), plan(), 3).await;
    cluster.expect("a cluster")
}

fn draft(precedence: &str, text: &str) -> Draft {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:AMBER\"\nprecedence = \
         \"{precedence}\"\n[[part]]\ntype = \"narrative\"\ntext = \"{text}\"\n"
    );
    Draft::from_toml(&file).expect("a bulletin")
}

async fn publish(cluster: &Cluster, precedence: &str, text: &str) -> BulletinId {
    let norland = partner("norland");
    let drafts = vec![draft(precedence, text)];
    let ids = cluster.publish(&norland, drafts).await.expect("published");
    cluster.promised(&norland, &ids).await.expect("promised");
    ids[0]
}

/// Runs a command; its output where it succeeds.
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

/// What the broker knows of a bulletin, once it is as it should be.
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

fn declared(view: &BulletinView, name: &str) -> Vec<String> {
    let one = view
        .recipients
        .iter()
        .find(|one| one.partner == partner(name));
    one.map(|one| one.declared.clone()).unwrap_or_default()
}

/// Whether a partner's node holds this text anywhere in its inbox.
async fn holds(cluster: &Cluster, name: &str, text: &str) -> bool {
    let inbox = cluster.inbox(&partner(name)).await.expect("an inbox");
    serde_json::to_string(&inbox).expect("JSON").contains(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_goes_to_exactly_those_who_received_it() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let (directory, node) = (scratch.path().to_owned(), "nodes/norland.example/node.toml");
    let first = publish(&cluster, "ROUTINE", "a wrong address").await;
    cluster.delivered(first).await.expect("delivered");
    assert!(holds(&cluster, "sudland", "a wrong address").await);
    // Sudland ends its agreement; what it received before can be taken back nevertheless.
    let broker = "broker/broker.toml";
    let home = "certs/sudland.example";
    entente(
        &directory,
        &[
            "agreement",
            "withdraw",
            "with-sudland",
            "--as",
            home,
            "-c",
            broker,
        ],
    );
    // One that Estmark has not fetched yet when it is taken back.
    cluster
        .kill_node(&partner("estmark"))
        .await
        .expect("killed");
    let second = publish(&cluster, "ROUTINE", "another mistake").await;
    for id in [first, second] {
        let id = id.to_string();
        entente(
            &directory,
            &["recall", &id, "--reason", "A false positive.", "-c", node],
        );
    }
    let view = known(&cluster, first, "the recall at Sudland", |view| {
        declared(view, "sudland") == ["applied"]
    })
    .await;
    assert_eq!(view.notices[0].0, Relation::Retracts);
    // The originator sees the list fill, and what is missing.
    let followed = entente(
        &directory,
        &["follow", &first.to_string(), "-c", node, "--json"],
    );
    let followed: serde_json::Value = serde_json::from_str(&followed).expect("JSON");
    assert_eq!(followed[0]["recipient"], "estmark.example");
    assert_eq!(followed[0]["declared"], serde_json::json!([]));
    assert_eq!(followed[1]["declared"], serde_json::json!(["applied"]));
    assert!(declared(&view, "estmark").is_empty(), "it is down");
    assert!(!holds(&cluster, "sudland", "a wrong address").await);
    cluster
        .start_nodes([&partner("estmark")])
        .await
        .expect("started");
    known(&cluster, first, "the recall at Estmark", |view| {
        declared(view, "estmark") == ["applied"]
    })
    .await;
    assert!(!holds(&cluster, "estmark", "a wrong address").await);
    // The second one was never delivered: its number came void.
    known(&cluster, second, "the end of the lane", |view| {
        view.recipients.iter().all(|one| one.acknowledged)
    })
    .await;
    let received = cluster
        .received(&partner("estmark"), second)
        .await
        .expect("an answer");
    assert!(received.is_none() && !holds(&cluster, "estmark", "another mistake").await);
    // The notice itself is handed to applications; what was taken back is not.
    let consume = Command::Consume {
        name: "siem".into(),
        limit: 9,
        purpose: None,
        wait: 0,
    };
    let estmark = partner("estmark");
    let Ok(Response::Items(items)) = cluster.ask_node(&estmark, &consume).await else {
        panic!("no items")
    };
    assert!(!items.is_empty());
    for item in &items {
        assert!(item.header.as_ref().expect("a header").notice, "{item:?}");
    }
    entente(&directory, &["audit", "verify", "-c", broker]);
    let shown = entente(
        &directory,
        &["audit", "show", &first.to_string(), "-c", broker],
    );
    assert!(
        shown.contains("taken back by the notice") && shown.contains("applied"),
        "{shown}"
    );
    // What Estmark was ever given, from the records: the second one may have come void, or not.
    let given = entente(
        &directory,
        &[
            "audit",
            "received",
            "estmark.example",
            "--json",
            "-c",
            broker,
        ],
    );
    let given: Vec<serde_json::Value> = serde_json::from_str(&given).expect("JSON");
    let state = |id: BulletinId| {
        let one = given.iter().find(|one| one["bulletin"] == id.to_string());
        one.expect("given")["state"].to_string()
    };
    assert_eq!(state(first), "[\"acknowledged\",\"applied\"]");
    assert!(state(second).contains("in doubt"), "{}", state(second));
    cluster.stop().await.expect("a clean end");
    entente(&directory, &["audit", "verify", "-c", broker]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_version_and_lower_labels_are_told_to_those_who_received_it() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let (directory, node) = (scratch.path().to_owned(), "nodes/norland.example/node.toml");
    let id = publish(&cluster, "ROUTINE", "first findings").await;
    cluster.delivered(id).await.expect("delivered");
    let file = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:AMBER\"\nprecedence = \
                \"ROUTINE\"\n[[part]]\ntype = \"narrative\"\ntext = \"second findings\"\n";
    std::fs::write(directory.join("second.toml"), file).expect("a file");
    let name = id.to_string();
    entente(
        &directory,
        &[
            "supersede",
            &name,
            "second.toml",
            "--reason",
            "More is known.",
            "-c",
            node,
        ],
    );
    known(&cluster, id, "the supersession", |view| {
        ["estmark", "sudland"]
            .iter()
            .all(|one| declared(view, one) == ["applied"])
    })
    .await;
    let item = cluster
        .received(&partner("estmark"), id)
        .await
        .expect("an answer")
        .expect("one");
    assert_eq!(item.mark.expect("a mark").relation, Relation::Supersedes);
    assert!(holds(&cluster, "estmark", "second findings").await);
    assert!(
        holds(&cluster, "estmark", "first findings").await,
        "it is not taken back"
    );
    entente(
        &directory,
        &[
            "downgrade",
            &name,
            "--tlp",
            "green",
            "--reason",
            "Published.",
            "-c",
            node,
        ],
    );
    known(&cluster, id, "the downgrade", |view| {
        declared(view, "sudland").len() == 2
    })
    .await;
    let shown = entente(
        &directory,
        &["inbox", &name, "-c", "nodes/sudland.example/node.toml"],
    );
    assert!(shown.contains("downgraded, now TLP:GREEN"), "{shown}");
    // Nobody else gives notice about it, and no notice goes to nobody.
    let output = Shell::new(PROGRAM)
        .args([
            "recall",
            &name,
            "--reason",
            "r",
            "-c",
            "nodes/estmark.example/node.toml",
        ])
        .current_dir(&directory)
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("was published here"), "{said}");
    let foreign = Command::Follow { id };
    let refused = cluster
        .ask_node(&partner("sudland"), &foreign)
        .await
        .expect_err("not its own");
    assert!(refused.to_string().contains("of this partner"), "{refused}");
    entente(&directory, &["audit", "verify", "-c", "broker/broker.toml"]);
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_take_a_warning_in_time_is_named() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let id = publish(&cluster, "FLASH", "an attack").await;
    cluster.delivered(id).await.expect("delivered");
    // Estmark's people take it, Sudland's do not.
    let take = Command::Acknowledge { id };
    cluster
        .ask_node(&partner("estmark"), &take)
        .await
        .expect("taken");
    known(&cluster, id, "the acknowledgement", |view| {
        declared(view, "estmark") == ["taken"]
    })
    .await;
    let alarms = || async {
        let Ok(Response::Status(status)) = cluster
            .ask_node(&partner("norland"), &Command::Status)
            .await
        else {
            return None;
        };
        Some(status.alarms)
    };
    let alarmed = || async {
        let alarms = alarms().await?;
        (!alarms.is_empty()).then_some(alarms)
    };
    let told = until("the originator's alarm", PATIENCE, alarmed)
        .await
        .expect("an alarm");
    assert!(
        told.len() == 1 && told[0].contains("sudland.example has not taken"),
        "{told:?}"
    );
    let Ok(Reply::Status(status)) = cluster.ask_broker(&Request::Status).await else {
        panic!("no status")
    };
    assert!(
        status.alarms.iter().any(|alarm| alarm.contains("sudland")),
        "{:?}",
        status.alarms
    );
    // An application of Sudland's takes it at last.
    let advance = Command::Advance {
        name: "siem".into(),
        to: 1,
    };
    cluster
        .ask_node(&partner("sudland"), &advance)
        .await
        .expect("taken");
    let quiet = || async { alarms().await?.is_empty().then_some(()) };
    until("the end of the alarm", PATIENCE, quiet)
        .await
        .expect("quiet");
    known(&cluster, id, "the late acknowledgement", |view| {
        view.recipients.iter().all(|one| one.due.is_none())
    })
    .await;
    cluster.stop().await.expect("a clean end");
    entente(
        scratch.path(),
        &["audit", "verify", "-c", "broker/broker.toml"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_version_of_one_party_is_believed_by_the_others() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let (directory, broker) = (scratch.path().to_owned(), "broker/broker.toml");
    let old =
        std::fs::read_to_string(directory.join("agreements/with-estmark.toml")).expect("text");
    let shown = entente(
        &directory,
        &["agreement", "show", "with-estmark", "-c", broker],
    );
    let id = shown
        .lines()
        .find_map(|line| line.strip_prefix("id "))
        .expect("an id");
    let next = old
        .replace("version = 1", &format!("version = 2\nprevious = \"{id}\""))
        .replace("TLP:AMBER", "TLP:GREEN");
    std::fs::write(directory.join("next.toml"), &next).expect("a file");
    let told = entente(
        &directory,
        &[
            "agreement",
            "diff",
            "with-estmark",
            "next.toml",
            "-c",
            broker,
        ],
    );
    assert!(
        told.contains("only narrows") && told.contains("removes: "),
        "{told}"
    );
    let lines = "[[never]]\nname = \"no red\"\nfrom = [\"norland.example\"]\nto = \
                 [\"estmark.example\"]\ntlp = [\"TLP:RED\"]\n";
    std::fs::write(directory.join("red-lines.toml"), lines).expect("a file");
    let held = entente(
        &directory,
        &["agreement", "assert", "red-lines.toml", "-c", broker],
    );
    assert!(held.contains("1 red lines hold"), "{held}");
    let reach = ["agreement", "reach", "--from", "norland.example", "--to"];
    let reach = [
        &reach[..],
        &["estmark.example", "--tlp", "amber", "-c", broker],
    ]
    .concat();
    assert!(entente(&directory, &reach).starts_with("yes: norland.example -> estmark.example"));
    entente(
        &directory,
        &[
            "agreement",
            "sign",
            "next.toml",
            "--as",
            "certs/estmark.example",
        ],
    );
    entente(
        &directory,
        &["agreement", "submit", "next.agreement", "-c", broker],
    );
    let amber = publish(&cluster, "ROUTINE", "too strict now").await;
    let view = cluster.decided(amber).await.expect("decided");
    assert!(
        view.recipients
            .iter()
            .all(|one| one.partner != partner("estmark"))
    );
    let mut green = draft("ROUTINE", "as narrow as it is");
    green.tlp = "TLP:GREEN".parse().expect("a label");
    let ids = cluster
        .publish(&partner("norland"), vec![green])
        .await
        .expect("published");
    cluster
        .promised(&partner("norland"), &ids)
        .await
        .expect("promised");
    cluster.delivered(ids[0]).await.expect("delivered");
    let item = cluster
        .received(&partner("estmark"), ids[0])
        .await
        .expect("an answer");
    let item = item.expect("received");
    assert_eq!(
        (item.quarantined, item.clauses),
        (None, vec!["with-estmark@2/feed".to_owned()])
    );
    cluster.stop().await.expect("a clean end");
    entente(&directory, &["audit", "verify", "-c", broker]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_kept_for_a_time_is_deleted_on_time_and_signed() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let mut brief = draft("ROUTINE", "for a moment only");
    brief.kinds = vec!["counterterrorism".parse().expect("a kind")];
    brief.topics = vec!["counterterrorism/travel".parse().expect("a topic")];
    let norland = partner("norland");
    let ids = cluster
        .publish(&norland, vec![brief])
        .await
        .expect("published");
    cluster.promised(&norland, &ids).await.expect("promised");
    cluster.delivered(ids[0]).await.expect("delivered");
    let item = cluster
        .received(&partner("estmark"), ids[0])
        .await
        .expect("an answer");
    let item = item.expect("received");
    assert!(item.obligations.keep_until.expect("a time") > item.accepted);
    assert!(item.parts.iter().any(|part| part.content.is_some()));
    // Its node dies meanwhile, and deletes when it is back.
    cluster
        .kill_node(&partner("estmark"))
        .await
        .expect("killed");
    cluster
        .start_nodes([&partner("estmark")])
        .await
        .expect("started");
    let gone = || async { (!holds(&cluster, "estmark", "for a moment only").await).then_some(()) };
    until("the deletion", PATIENCE, gone)
        .await
        .expect("deleted");
    let directory = scratch.path().to_owned();
    let declared = || async {
        let listed = entente(&directory, &["audit", "list", "-c", "broker/broker.toml"]);
        listed.contains("erased").then_some(())
    };
    until("the declaration", PATIENCE, declared)
        .await
        .expect("declared");
    entente(&directory, &["audit", "verify", "-c", "broker/broker.toml"]);
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_states_its_purpose_or_is_not_given_what_is_bound() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    for text in ["one", "another"] {
        let id = publish(&cluster, "ROUTINE", text).await;
        cluster.delivered(id).await.expect("delivered");
    }
    let items = |purpose: Option<&'static str>| {
        let consume = Command::Consume {
            name: format!("app-{purpose:?}"),
            limit: 9,
            purpose: purpose.map(|purpose| purpose.parse().expect("a purpose")),
            wait: 0,
        };
        let cluster = &cluster;
        async move {
            match cluster.ask_node(&partner("sudland"), &consume).await {
                Ok(Response::Items(items)) => items.len(),
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(items(None).await, 0);
    assert_eq!(items(Some("prosecution")).await, 0);
    assert_eq!(items(Some("network-defence")).await, 2);
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulletin_under_embargo_waits_and_then_goes() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let (norland, estmark) = (partner("norland"), partner("estmark"));
    let from = SystemClock.now().saturating_add(Duration::from_secs(3));
    let mut early = draft("ROUTINE", "not before its time");
    early.valid_from = Some(from);
    let ids = cluster
        .publish(&norland, vec![early])
        .await
        .expect("in the outbox");
    // One that is taken back before its time goes to nobody.
    let mut never = draft("ROUTINE", "not at all");
    never.valid_from = Some(from);
    let never = cluster.publish(&norland, vec![never]).await;
    let never = never.expect("in the outbox")[0];
    let recall = ["recall", &never.to_string(), "--reason", "r", "-c"];
    let recall = recall.map(str::to_owned).to_vec();
    let config = vec!["nodes/norland.example/node.toml".to_owned()];
    let arguments = [recall, config].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    entente(scratch.path(), &arguments);
    let ask = Command::Outbox {
        ids: vec![never],
        wait: 0,
    };
    let status = cluster.ask_node(&norland, &ask).await;
    let Ok(Response::Outbox(outbox)) = status else {
        panic!("{status:?}")
    };
    let settled = outbox.iter().find(|one| one.id == never).expect("known");
    assert!(matches!(&settled.state, OutboxState::Rejected { code, .. } if code == "taken_back"));
    // What is published after it does not wait for it, and neither does a restart lose it.
    let other = publish(&cluster, "ROUTINE", "at once").await;
    cluster.delivered(other).await.expect("delivered");
    assert!(!holds(&cluster, "estmark", "not before its time").await);
    cluster.kill_node(&norland).await.expect("killed");
    cluster.start_nodes([&norland]).await.expect("started");
    cluster.promised(&norland, &ids).await.expect("promised");
    cluster.delivered(ids[0]).await.expect("delivered");
    let item = cluster
        .received(&estmark, ids[0])
        .await
        .expect("an answer")
        .expect("received");
    assert!(item.accepted >= from, "{} is before {from}", item.accepted);
    cluster.stop().await.expect("a clean end");
}
