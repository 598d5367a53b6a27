//! A bulletin crosses the alliance: real processes, real QUIC, real disk.

use std::path::Path;
use std::process::Command as Shell;

use entente::bulletin::{BulletinId, Draft};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::node::{Command, Response};
use entente::partner::PartnerId;
use entente::testing::{Cluster, Faults, Scratch};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

/// Norland and Estmark share cyber without sources; Ostland is only admitted.
fn plan() -> Plan {
    let partners = ["norland", "estmark", "ostland"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), partners);
    plan.agreements.push(AgreementPlan {
        name: "cyber".into(),
        title: "Cyber indicators".into(),
        parties: vec![partner("norland"), partner("estmark")],
        clauses: r#"
[[clause]]
id = "feed"
from = ["*"]
to = ["*"]
kinds = ["cyber"]
topics = ["cyber"]
regions = ["*"]
tlp = "TLP:AMBER"
withhold = ["source"]
"#
        .into(),
    });
    plan
}

fn draft(precedence: &str, text: &str) -> Draft {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\nprecedence = \
         \"{precedence}\"\n[[part]]\ntype = \"narrative\"\ntext = \"{text}\"\n[[part]]\ntype = \
         \"source\"\ndescription = \"secret of {text}\"\n"
    );
    Draft::from_toml(&file).expect("a bulletin")
}

async fn publish(cluster: &Cluster, drafts: Vec<Draft>) -> Vec<BulletinId> {
    let norland = partner("norland");
    let ids = cluster
        .publish(&norland, drafts)
        .await
        .expect("in the outbox");
    cluster.promised(&norland, &ids).await.expect("promised");
    ids
}

fn entente(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Shell::new(PROGRAM)
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the program");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_receives_what_it_may_and_nothing_else() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = Cluster::start(Runner::Processes(PROGRAM.into()), scratch.path(), plan(), 1)
        .await
        .expect("a cluster");
    let ids = publish(
        &cluster,
        vec![draft("FLASH", "one"), draft("ROUTINE", "two")],
    )
    .await;
    for id in &ids {
        let view = cluster.delivered(*id).await.expect("delivered");
        assert_eq!(view.recipients.len(), 1);
        assert_eq!(view.recipients[0].partner, partner("estmark"));
        assert_eq!(view.recipients[0].withheld, ["source"]);
        let item = cluster
            .received(&partner("estmark"), *id)
            .await
            .expect("an answer");
        let item = item.expect("received");
        assert_eq!(item.quarantined, None);
        assert_eq!(item.parts.iter().filter(|part| part.withheld).count(), 1);
        assert!(
            cluster
                .received(&partner("ostland"), *id)
                .await
                .expect("an answer")
                .is_none()
        );
    }
    // What was withheld or is another's is nowhere on the disk of a recipient.
    cluster.stop().await.expect("a clean end");
    for (who, forbidden) in [
        ("estmark", "secret of"),
        ("ostland", "narrative"),
        ("ostland", "two"),
    ] {
        let store = cluster.layout().node(&partner(who)).join("store");
        assert!(
            !holds(&store, forbidden.as_bytes()),
            "{who} holds `{forbidden}`"
        );
    }
    let store = cluster.layout().node(&partner("estmark")).join("store");
    assert!(
        holds(&store, b"narrative"),
        "what was released is there, and would be found"
    );
    let (fine, said) = entente(&cluster.layout().broker(), &["audit", "verify"]);
    assert!(fine, "{said}");
}

/// Whether some file below a directory has these bytes in it.
fn holds(directory: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(directory)
        .expect("a directory")
        .any(|entry| {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                return holds(&path, needle);
            }
            let bytes = std::fs::read(&path).expect("a file");
            bytes.windows(needle.len()).any(|window| window == needle)
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_are_handed_each_bulletin_once() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = Cluster::start(Runner::Processes(PROGRAM.into()), scratch.path(), plan(), 2)
        .await
        .expect("a cluster");
    let estmark = partner("estmark");
    let ids = publish(
        &cluster,
        (0..5).map(|n| draft("ROUTINE", &n.to_string())).collect(),
    )
    .await;
    for id in &ids {
        cluster.delivered(*id).await.expect("delivered");
    }
    let consume = Command::Consume {
        name: "siem".into(),
        purpose: None,
        limit: 3,
        wait: 0,
    };
    let first = items(
        cluster
            .ask_node(&estmark, &consume)
            .await
            .expect("an answer"),
    );
    assert_eq!(first.len(), 3);
    // Not noted as taken: given again, also after a crash.
    cluster.kill_node(&estmark).await.expect("killed");
    cluster.start_nodes([&estmark]).await.expect("back");
    let again = items(
        cluster
            .ask_node(&estmark, &consume)
            .await
            .expect("an answer"),
    );
    assert_eq!(first, again);
    let advance = Command::Advance {
        name: "siem".into(),
        to: again[2],
    };
    cluster.ask_node(&estmark, &advance).await.expect("noted");
    let rest = items(
        cluster
            .ask_node(&estmark, &consume)
            .await
            .expect("an answer"),
    );
    assert_eq!(rest.len(), 2);
    assert!(rest[0] > again[2]);
    let other = Command::Consume {
        name: "desk".into(),
        purpose: None,
        limit: 10,
        wait: 0,
    };
    assert_eq!(
        items(cluster.ask_node(&estmark, &other).await.expect("an answer")).len(),
        5
    );
}

fn items(response: Response) -> Vec<u64> {
    match response {
        Response::Items(items) => items.iter().map(|item| item.number).collect(),
        other => panic!("not items: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_stops_what_is_already_queued() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = Cluster::start(Runner::Processes(PROGRAM.into()), scratch.path(), plan(), 3)
        .await
        .expect("a cluster");
    let estmark = partner("estmark");
    cluster.kill_node(&estmark).await.expect("killed");
    let ids = publish(&cluster, vec![draft("ROUTINE", "queued")]).await;
    assert_eq!(
        cluster
            .decided(ids[0])
            .await
            .expect("decided")
            .recipients
            .len(),
        1
    );
    // One party alone ends it, while the other's node is away.
    let home = "../certs/norland.example";
    let (fine, said) = entente(
        &cluster.layout().broker(),
        &["agreement", "withdraw", "cyber", "--as", home],
    );
    assert!(fine, "{said}");
    cluster.start_nodes([&estmark]).await.expect("back");
    // The lane's number comes void, and is acknowledged like any other.
    cluster.delivered(ids[0]).await.expect("acknowledged");
    assert!(
        cluster
            .received(&estmark, ids[0])
            .await
            .expect("an answer")
            .is_none()
    );
    let after = publish(&cluster, vec![draft("ROUTINE", "after")]).await;
    let view = cluster.decided(after[0]).await.expect("decided");
    assert!(view.recipients.is_empty());
    cluster.stop().await.expect("a clean end");
    let (fine, said) = entente(&cluster.layout().broker(), &["audit", "verify"]);
    assert!(fine && !said.contains("disputed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flash_does_not_wait_behind_a_backlog() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = Cluster::start(Runner::Processes(PROGRAM.into()), scratch.path(), plan(), 4)
        .await
        .expect("a cluster");
    let estmark = partner("estmark");
    cluster.kill_node(&estmark).await.expect("killed");
    // 24 MiB of routine, more than any window, and then one FLASH.
    let large = "x".repeat(1024 * 1024);
    for _ in 0..24 {
        publish(&cluster, vec![draft("ROUTINE", &large)]).await;
    }
    let flash = publish(&cluster, vec![draft("FLASH", "now")]).await;
    cluster.start_nodes([&estmark]).await.expect("back");
    let look = || async { cluster.received(&estmark, flash[0]).await.ok()? };
    let item = until("the FLASH", Duration::from_mins(1), look)
        .await
        .expect("received");
    let before = item.number - 1;
    assert!(
        before < 12,
        "{before} of 24 routine bulletins came before the FLASH"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_to_a_broker_that_has_forgotten_gets_each_once_and_in_order() {
    let scratch = Scratch::new().expect("a directory");
    let mut plan = plan();
    plan.agreements[0].parties.push(partner("ostland"));
    let runner = Runner::Processes(PROGRAM.into());
    let cluster = Cluster::start(runner, scratch.path(), plan, 7).await;
    let mut cluster = cluster.expect("a cluster");
    let away = ["estmark", "ostland"].map(partner);
    for partner in &away {
        cluster.kill_node(partner).await.expect("killed");
    }
    // More than is read at once, some too large to be kept for long.
    let mut ids = Vec::new();
    for hundred in 0..12 {
        let mut drafts: Vec<Draft> = (0..100)
            .map(|n| draft("ROUTINE", &format!("{hundred} and {n}")))
            .collect();
        if hundred % 3 == 1 {
            drafts.insert(50, draft("ROUTINE", &"x".repeat(3 * 512 * 1024)));
        }
        ids.extend(publish(&cluster, drafts).await);
    }
    // What it reads again it reads from its log.
    cluster.kill_broker().await.expect("killed");
    cluster.start_broker().await.expect("again");
    cluster.start_nodes(&away).await.expect("back");
    let last = *ids.last().expect("many");
    cluster.delivered(last).await.expect("delivered");
    for partner in &away {
        let inbox = cluster.inbox(partner).await.expect("an inbox");
        let received: Vec<BulletinId> = inbox.iter().map(|item| item.id).collect();
        assert_eq!(received.len(), ids.len());
        assert!(received == ids, "{partner}: another order");
    }
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_loses_nothing() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = Cluster::start(Runner::Processes(PROGRAM.into()), scratch.path(), plan(), 5)
        .await
        .expect("a cluster");
    let (norland, estmark) = (partner("norland"), partner("estmark"));
    let bad = Faults {
        lost: 50,
        doubled: 50,
        late: Duration::from_millis(20),
        ..Faults::default()
    };
    cluster.link(&norland).set(bad);
    cluster.link(&estmark).set(bad);
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.extend(publish(&cluster, vec![draft("PRIORITY", &n.to_string())]).await);
    }
    cluster.link(&estmark).cut();
    ids.extend(publish(&cluster, vec![draft("PRIORITY", "while cut")]).await);
    cluster.link(&estmark).heal();
    for id in &ids {
        cluster.delivered(*id).await.expect("delivered");
    }
    let inbox = cluster.inbox(&estmark).await.expect("an inbox");
    let received: Vec<BulletinId> = inbox.iter().map(|item| item.id).collect();
    assert_eq!(received, ids, "each once, in the order of the lane");
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_have_limits_and_what_is_within_them_passes() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = Cluster::start(Runner::Processes(PROGRAM.into()), scratch.path(), plan(), 6)
        .await
        .expect("a cluster");
    let file = scratch.path().join("large.toml");
    let bulletin = |size: usize| {
        format!(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
             \"narrative\"\ntext = \"{}\"\n",
            "n".repeat(size)
        )
    };
    let config = cluster.layout().node_config(&partner("norland"));
    let config = config.to_str().expect("a path");
    let arguments = ["publish", "large.toml", "--config", config];
    std::fs::write(&file, bulletin(1_000_000)).expect("a file");
    let (fine, said) = entente(scratch.path(), &arguments);
    assert!(fine, "{said}");
    for size in [5_000_000, 100_000_000] {
        std::fs::write(&file, bulletin(size)).expect("a file");
        let (fine, said) = entente(scratch.path(), &arguments);
        assert!(
            !fine && (said.contains("4 MiB") || said.contains("4194304")),
            "{size}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alliance_of_tasks_is_the_same() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = Cluster::start(Runner::Tasks, scratch.path(), plan(), 8).await;
    let mut cluster = cluster.expect("a cluster");
    let ids = publish(&cluster, vec![draft("IMMEDIATE", "in one process")]).await;
    cluster.delivered(ids[0]).await.expect("delivered");
    let estmark = partner("estmark");
    cluster.kill_node(&estmark).await.expect("stopped");
    let ids = publish(&cluster, vec![draft("IMMEDIATE", "while it was away")]).await;
    cluster.start_nodes([&estmark]).await.expect("back");
    cluster.delivered(ids[0]).await.expect("delivered");
    assert_eq!(cluster.inbox(&estmark).await.expect("an inbox").len(), 2);
    cluster.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_delivered_under_what_still_holds() {
    let scratch = Scratch::new().expect("a directory");
    let mut plan = plan();
    let mut wide = plan.agreements[0].clone();
    wide.name = "wide".into();
    wide.clauses = wide.clauses.replace("withhold = [\"source\"]", "");
    plan.agreements.push(wide);
    let cluster = Cluster::start(Runner::Processes(PROGRAM.into()), scratch.path(), plan, 9).await;
    let mut cluster = cluster.expect("a cluster");
    let estmark = partner("estmark");
    cluster.kill_node(&estmark).await.expect("killed");
    let ids = publish(&cluster, vec![draft("ROUTINE", "twice allowed")]).await;
    let view = cluster.decided(ids[0]).await.expect("decided");
    assert!(
        view.recipients[0].withheld.is_empty(),
        "the wider agreement gives all of it"
    );
    let home = "../certs/estmark.example";
    let (fine, said) = entente(
        &cluster.layout().broker(),
        &["agreement", "withdraw", "wide", "--as", home],
    );
    assert!(fine, "{said}");
    cluster.start_nodes([&estmark]).await.expect("back");
    cluster.delivered(ids[0]).await.expect("delivered");
    let item = cluster
        .received(&estmark, ids[0])
        .await
        .expect("an answer")
        .expect("received");
    assert_eq!(item.clauses, ["cyber@1/feed"]);
    assert_eq!(item.parts.iter().filter(|part| part.withheld).count(), 1);
    cluster.stop().await.expect("a clean end");
    let store = cluster.layout().node(&estmark).join("store");
    assert!(!holds(&store, b"secret of"), "the source went out");
    let (fine, said) = entente(&cluster.layout().broker(), &["audit", "verify"]);
    assert!(fine && !said.contains("disputed"), "{said}");
}
