//! Several brokers on one log: a stream of real NATS servers.

#![allow(clippy::print_stdout, reason = "figures are shown")]

#[path = "support/nats.rs"]
mod nats;
#[path = "support/python.rs"]
mod python;

#[path = "stream/disks.rs"]
mod disks;
#[path = "stream/ends.rs"]
mod ends;
#[path = "stream/engine.rs"]
mod engine;
#[path = "stream/join.rs"]
mod join;
#[path = "stream/servers.rs"]
mod servers;
#[path = "stream/upgrade.rs"]
mod upgrade;

use std::collections::BTreeSet;
use std::time::Duration;

use entente::broker::{Reply, Request};
use entente::bulletin::{BulletinId, Draft};
use entente::clock::{SystemClock, SystemEntropy};
use entente::deployment::{AgreementPlan, Alliance, Plan, Runner, SharedLog, build, until};
use entente::node::{Command, Response};
use entente::partner::PartnerId;
use entente::testing::Scratch;
use nats::{Nats, nats_server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const PATIENCE: Duration = Duration::from_mins(1);

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

fn plan(servers: Vec<String>, replicas: usize) -> Plan {
    let parties = ["norland", "sudland", "estmark"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), parties.clone());
    plan.agreements.push(AgreementPlan {
        name: "cyber".into(),
        title: String::new(),
        parties,
        clauses: "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = \
                  [\"cyber\"]\ntopics = [\"*\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n"
            .into(),
    });
    plan.shared = Some(SharedLog {
        servers,
        name: "alliance".into(),
        replicas,
        lease_seconds: 2,
        more: String::new(),
    });
    plan
}

fn draft(number: usize) -> Draft {
    long_draft(number, 0)
}

/// A bulletin with so many bytes of text more.
fn long_draft(number: usize, more: usize) -> Draft {
    let more = "x".repeat(more);
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
         \"narrative\"\ntext = \"number {number}{more}\"\n"
    );
    Draft::from_toml(&file).expect("a bulletin")
}

async fn alliance(scratch: &Scratch, plan: &Plan) -> Alliance {
    let (clock, entropy) = (
        std::sync::Arc::new(SystemClock),
        std::sync::Arc::new(SystemEntropy::new()),
    );
    let at = scratch.path().join("alliance");
    std::fs::create_dir_all(&at).expect("a directory");
    let built = build(&at, plan, clock, entropy).await;
    let (layout, _) = built.expect("a deployment");
    Alliance::new(layout, Runner::Processes(PROGRAM.into()))
}

/// Has a node connect to one broker only: its configuration names that one first, and no other.
fn pin(alliance: &Alliance, who: &PartnerId, number: usize) {
    let layout = alliance.layout();
    let broker = entente::broker::Config::load(&layout.broker_config_at(number)).expect("a broker");
    let path = layout.node_config(who);
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let mut lines: Vec<String> = Vec::new();
    let own = text.split("\n[[other_broker]]").next().expect("some");
    for line in own.lines() {
        lines.push(match line.split(" = ").next() {
            Some("broker") => format!("broker = \"{}\"", broker.listen),
            Some("broker_id") => format!("broker_id = \"{}\"", broker.spiffe_id),
            _ => line.to_owned(),
        });
    }
    std::fs::write(&path, lines.join("\n") + "\n").expect("written");
}

/// A server with more lines of configuration, so many brokers on it, and all nodes, some of them pinned to one
/// broker; `None` where there is no server.
async fn started(
    brokers: usize,
    pins: &[(&str, usize)],
    more: &str,
) -> Option<(Scratch, Nats, Alliance)> {
    started_on(1, brokers, pins, more).await
}

/// The same on so many servers.
async fn started_on(
    servers: usize,
    brokers: usize,
    pins: &[(&str, usize)],
    more: &str,
) -> Option<(Scratch, Nats, Alliance)> {
    let scratch = Scratch::new().expect("a directory");
    let nats = Nats::start_with(nats_server()?, scratch.path(), servers, more).await;
    let alliance = started_with(&scratch, &nats, brokers, pins).await;
    Some((scratch, nats, alliance))
}

/// So many brokers and all nodes, on servers that run.
async fn started_with(
    scratch: &Scratch,
    nats: &Nats,
    brokers: usize,
    pins: &[(&str, usize)],
) -> Alliance {
    let mut plan = plan(vec![nats.url(); brokers], nats.count());
    let monitors: Vec<String> = (0..nats.count()).map(|at| nats.monitor(at)).collect();
    if let Some(shared) = &mut plan.shared {
        shared.more = format!("monitors = {monitors:?}\n");
    }
    let mut alliance = alliance(scratch, &plan).await;
    for (who, number) in pins {
        pin(&alliance, &partner(who), *number);
    }
    for number in plan.brokers() {
        alliance.start_broker_at(number).await.expect("a broker");
    }
    let connected = alliance.start_nodes(&plan.partners).await;
    connected.expect("connected");
    alliance
}

async fn size_and_checkpoint(alliance: &Alliance, number: usize) -> Option<(u64, String)> {
    match alliance.ask_broker_at(number, &Request::Status).await {
        Ok(Reply::Status(status)) => Some((status.size, status.checkpoint?)),
        _ => None,
    }
}

/// Waits until all brokers have the same log and the same checkpoint over it.
async fn agreed(alliance: &Alliance, brokers: &[usize]) -> u64 {
    let look = || async {
        let mut all = Vec::new();
        for number in brokers {
            all.push(size_and_checkpoint(alliance, *number).await?);
        }
        let (size, note) = all.first()?.clone();
        let signed: u64 = note.lines().nth(1)?.parse().ok()?;
        (all.iter().all(|one| one.0 == size && one.1 == note) && signed == size).then_some(size)
    };
    until("one log and one checkpoint at all brokers", PATIENCE, look)
        .await
        .expect("they agree")
}

async fn received(alliance: &Alliance, who: &PartnerId, ids: &[BulletinId]) {
    for id in ids {
        let look = || async { alliance.received(who, *id).await.ok()? };
        until(&format!("{id} at {who}"), PATIENCE, look)
            .await
            .expect("received");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_broker_takes_every_broker_delivers() {
    let Some((_scratch, _nats, mut alliance)) =
        started(2, &[("norland", 1), ("sudland", 2), ("estmark", 1)], "").await
    else {
        return;
    };
    let [norland, sudland, estmark] = ["norland", "sudland", "estmark"].map(partner);
    let mut ids = Vec::new();
    for number in 0..20 {
        let who = if number % 2 == 0 { &norland } else { &sudland };
        let published = alliance.publish(who, vec![draft(number)]).await;
        ids.push((who.clone(), published.expect("published")[0]));
    }
    for who in [&norland, &sudland, &estmark] {
        let others: Vec<BulletinId> = ids
            .iter()
            .filter(|(by, _)| by != who)
            .map(|(_, id)| *id)
            .collect();
        received(&alliance, who, &others).await;
        let inbox = alliance.inbox(who).await.expect("an inbox");
        assert_eq!(inbox.len(), others.len(), "{who} has each once");
    }
    agreed(&alliance, &[1, 2]).await;
    // Receipts: what both brokers signed is one history, which a node verifies.
    let proved = || async {
        match alliance.ask_node(&norland, &Command::Status).await.ok()? {
            Response::Status(status) => (status.pending_receipts == 0).then_some(()),
            _ => None,
        }
    };
    until("receipts", PATIENCE, proved).await.expect("proved");
    alliance.stop().await.expect("stopped");
}

/// Publishes so many at a node and waits until the broker has promised them.
async fn promised(
    alliance: &Alliance,
    who: &PartnerId,
    numbers: std::ops::Range<usize>,
) -> Vec<BulletinId> {
    let drafts = numbers.map(draft).collect();
    let ids = alliance.publish(who, drafts).await.expect("published");
    alliance.promised(who, &ids).await.expect("promised");
    ids
}

/// What a command says, and whether it succeeded.
fn run(arguments: &[&str]) -> (bool, String) {
    let output = std::process::Command::new(PROGRAM)
        .args(arguments)
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

async fn status_of(alliance: &Alliance, who: &PartnerId) -> Option<entente::node::StatusView> {
    match alliance.ask_node(who, &Command::Status).await.ok()? {
        Response::Status(status) => Some(*status),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_moves_to_another_broker_and_resumes_its_lanes() {
    let Some((_scratch, _nats, mut alliance)) = started(2, &[], "").await else {
        return;
    };
    let [norland, sudland, estmark] = ["norland", "sudland", "estmark"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..5).await;
    for broker in [1, 2, 1] {
        let mut moving = Vec::new();
        for who in [&norland, &sudland, &estmark] {
            let status = status_of(&alliance, who).await.expect("a status");
            if status.broker.path().ends_with(&format!("/{broker}")) {
                moving.push(who);
            }
        }
        let killed = std::time::Instant::now();
        alliance.kill_broker_at(broker).await.expect("killed");
        for who in &moving {
            let look = || async {
                let status = status_of(&alliance, who).await?;
                let elsewhere = !status.broker.path().ends_with(&format!("/{broker}"));
                (status.connected && elsewhere).then_some(())
            };
            until(&format!("{who} at another broker"), PATIENCE, look)
                .await
                .expect("it moves");
        }
        println!("{} nodes moved within {:?}", moving.len(), killed.elapsed());
        let next = ids.len();
        ids.extend(promised(&alliance, &norland, next..next + 5).await);
        alliance.start_broker_at(broker).await.expect("back");
    }
    for who in [&sudland, &estmark] {
        received(&alliance, who, &ids).await;
        let inbox = alliance.inbox(who).await.expect("an inbox");
        let order: Vec<BulletinId> = inbox.iter().map(|item| item.id).collect();
        assert_eq!(order, ids, "{who} has each once, in order");
    }
    alliance.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_a_partner_at_two_brokers_hold_its_lanes_in_turn() {
    let Some((_scratch, _nats, mut alliance)) =
        started(2, &[("norland", 1), ("sudland", 1)], "").await
    else {
        return;
    };
    let sudland = partner("sudland");
    // A second node of sudland's, pinned to the other broker.
    let layout = alliance.layout().clone();
    let second = layout.root().join("nodes/second");
    std::fs::create_dir_all(&second).expect("a directory");
    let home = layout.home(&sudland);
    let id = entente::partner::SpiffeId::new(&sudland, "/node/2").expect("an id");
    let (now, entropy) = (
        entente::clock::Clock::now(&SystemClock),
        SystemEntropy::new(),
    );
    home.issue(&id, now, Duration::from_hours(1), &entropy)
        .expect("a certificate");
    let broker = entente::broker::Config::load(&layout.broker_config_at(2)).expect("a broker");
    let text = std::fs::read_to_string(layout.node_config(&sudland)).expect("a configuration");
    let text = text.replace("node/1", "node/2").replace("node-1", "node-2");
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        lines.push(match line.split(" = ").next() {
            Some("broker") => format!("broker = \"{}\"", broker.listen),
            Some("broker_id") => format!("broker_id = \"{}\"", broker.spiffe_id),
            _ => line.to_owned(),
        });
    }
    let config = second.join("node.toml");
    std::fs::write(&config, lines.join("\n")).expect("written");
    let node = entente::deployment::Process::node(std::path::Path::new(PROGRAM), &config);
    let mut node = node.expect("a process");
    let refused = || async {
        let said: Response = node.ask(&Command::Status).await.ok()?;
        match said {
            Response::Status(status) => status.reason.filter(|why| why.contains("holds the lanes")),
            _ => None,
        }
    };
    until("the refusal of the second node", PATIENCE, refused)
        .await
        .expect("it is refused");
    alliance.kill_node(&sudland).await.expect("killed");
    node.node_ready(PATIENCE).await.expect("it takes over");
    node.stop().await.expect("stopped");
    alliance.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_moves_from_a_directory_to_a_stream_and_back() {
    let Some(program) = nats_server() else { return };
    let scratch = Scratch::new().expect("a directory");
    let nats = Nats::start(program, scratch.path(), 1).await;
    let mut plan = plan(Vec::new(), 1);
    plan.shared = None;
    let mut alliance = alliance(&scratch, &plan).await;
    alliance.start_broker().await.expect("a broker");
    alliance
        .start_nodes(&plan.partners)
        .await
        .expect("connected");
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..7).await;
    received(&alliance, &sudland, &ids).await;
    alliance.checkpointed().await.expect("a checkpoint");
    alliance.kill_broker().await.expect("stopped");

    let broker = alliance.layout().broker();
    let at = |name: &str| broker.join(name).display().to_string();
    let original = std::fs::read_to_string(at("broker.toml")).expect("a configuration");
    let shared = original
        .replace("\"ledger\"", &format!("\"{}\"", nats.url()))
        .replace("\"head\"", "\"head-2\"")
        + &format!(
            "\n[stream]\nname = \"moved\"\nreplicas = 1\nmonitors = [\"{}\"]\n",
            nats.monitor(0)
        );
    std::fs::write(at("shared.toml"), shared).expect("written");
    let back = original
        .replace("\"ledger\"", "\"ledger-3\"")
        .replace("\"head\"", "\"head-3\"");
    std::fs::write(at("back.toml"), back).expect("written");
    let audited = |file: &str| {
        let (good, said) = run(&["audit", "verify", "--config", &at(file), "--json"]);
        assert!(good, "{file}: {said}");
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        said["audit"]["records"].as_u64().expect("a number")
    };
    let records = audited("broker.toml");
    for (from, to) in [("broker.toml", "shared.toml"), ("shared.toml", "back.toml")] {
        let (good, said) = run(&["broker", "copy", "--config", &at(from), "--to", &at(to)]);
        assert!(good, "{said}");
        assert_eq!(audited(to), records, "{to}");
        // Again it finds everything there.
        let (good, said) = run(&["broker", "copy", "--config", &at(from), "--to", &at(to)]);
        assert!(good, "{said}");
    }
    let (good, said) = run(&["backup", &at("b"), "--config", &at("shared.toml")]);
    assert!(!good && said.contains("entente broker copy"), "{said}");

    // The nodes go on with the broker on the stream as if nothing had been.
    std::fs::copy(at("shared.toml"), at("broker.toml")).expect("copied");
    alliance.start_broker().await.expect("a broker");
    ids.extend(promised(&alliance, &norland, 7..9).await);
    received(&alliance, &sudland, &ids).await;
    assert_eq!(alliance.inbox(&sudland).await.expect("an inbox").len(), 9);
    alliance.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_servers_lose_is_given_to_them_again_and_a_deleted_stream_stops_the_broker() {
    let Some((_scratch, mut nats, mut alliance)) = started(1, &[], "").await else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..5).await;
    received(&alliance, &sudland, &ids).await;

    // The server comes back from a copy that is older than what it acknowledged.
    nats.kill(0).await;
    nats.keep(0);
    nats.launch(0);
    nats.ready().await;
    ids.extend(promised(&alliance, &norland, 5..10).await);
    received(&alliance, &sudland, &ids).await;
    alliance.kill_broker().await.expect("killed");
    nats.kill(0).await;
    nats.put_back(0);
    nats.launch(0);
    nats.ready().await;
    alliance.start_broker().await.expect("it serves");
    ids.extend(promised(&alliance, &norland, 10..12).await);
    received(&alliance, &sudland, &ids).await;
    let log = alliance.layout().broker().join("broker.log");
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(said.contains("given to them again"), "{said}");
    assert_eq!(alliance.inbox(&sudland).await.expect("an inbox").len(), 12);

    // Deleted, it is not made anew by itself: the broker stops and says what to do.
    nats.delete_stream("alliance").await;
    let waiting = alliance
        .publish(&norland, vec![draft(12)])
        .await
        .expect("in the outbox");
    nats.create_empty("alliance").await;
    let stopped = || async { alliance.ask_broker(&Request::Status).await.err() };
    until("the broker's end", PATIENCE, stopped)
        .await
        .expect("it stops");
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(said.contains("The stream is shorter"), "{said}");
    // Nothing is lost: the node keeps what was not promised.
    let status = status_of(&alliance, &norland).await.expect("a status");
    assert!(status.pending >= 1, "{waiting:?}");
    alliance.stop().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_contents_are_gone_from_the_servers_too() {
    let Some((_scratch, nats, mut alliance)) =
        started(2, &[("norland", 1), ("sudland", 2), ("estmark", 2)], "").await
    else {
        return;
    };
    let norland = partner("norland");
    let old = promised(&alliance, &norland, 0..6).await;
    for id in &old {
        alliance.delivered(*id).await.expect("delivered");
    }
    assert!(nats.contents("alliance").await > 0);
    let layout = alliance.layout();
    let now = entente::clock::Clock::now(&SystemClock).to_string();
    let (good, said) = run(&[
        "audit",
        "erase",
        "--before",
        &now,
        "--reason",
        "over",
        "--operator",
        "operator",
        "--key",
        &layout.operator_key().display().to_string(),
        "--config",
        &layout.broker_config().display().to_string(),
    ]);
    assert!(good, "{said}");
    let empty = || async { (nats.contents("alliance").await == 0).then_some(()) };
    until("no bodies on the servers", PATIENCE, empty)
        .await
        .expect("erased");
    // Whoever comes later learns that there was something, and not what.
    alliance.kill_broker_at(2).await.expect("killed");
    std::fs::remove_dir_all(layout_cache(&alliance, 2)).expect("removed");
    alliance.start_broker_at(2).await.expect("a broker");
    agreed(&alliance, &[1, 2]).await;
    for number in [1, 2] {
        let asked = alliance.ask_broker_at(number, &Request::Records { from: 0 });
        let Ok(Reply::Records(records)) = asked.await else {
            panic!("records of broker {number}");
        };
        assert!(records.iter().all(|record| record.bodies.is_none()));
    }
    alliance.stop().await.expect("stopped");
}

fn layout_cache(alliance: &Alliance, number: usize) -> std::path::PathBuf {
    alliance.layout().broker_at(number).join("cache")
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_room_make_publishers_wait_and_lose_nothing() {
    let limit = ", max_file_store: 2MB";
    let Some((_scratch, mut nats, mut alliance)) = started(1, &[], limit).await else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = Vec::new();
    loop {
        let drafts = (0..10).map(|number| long_draft(ids.len() + number, 20_000));
        let drafts = drafts.collect();
        ids.extend(alliance.publish(&norland, drafts).await.expect("durable"));
        let log = alliance.layout().broker().join("broker.log");
        let said = std::fs::read_to_string(log).expect("a log");
        if said.contains("nothing can be recorded") {
            break;
        }
        assert!(ids.len() < 20_000, "it is never full");
    }
    let status = status_of(&alliance, &norland).await.expect("a status");
    assert!(status.pending > 0, "the outbox keeps what has no room");
    // The operator gives it room.
    nats.kill(0).await;
    nats.configure(0, limit, "");
    nats.launch(0);
    nats.ready().await;
    alliance.promised(&norland, &ids).await.expect("promised");
    received(&alliance, &sudland, &ids[ids.len() - 5..]).await;
    let complete = || async {
        let inbox = alliance.inbox(&sudland).await.ok()?;
        (inbox.len() == ids.len()).then_some(inbox)
    };
    let inbox = until("all of it", PATIENCE, complete).await.expect("all");
    // What had to wait may come after what did not; nothing comes twice.
    let there: BTreeSet<BulletinId> = inbox.iter().map(|item| item.id).collect();
    assert!(there == ids.iter().copied().collect(), "each once");
    alliance.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_to_the_stream_is_passed_over_by_every_broker() {
    let Some((_scratch, nats, mut alliance)) = started(2, &[], "").await else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..3).await;
    nats.disturb("alliance").await;
    ids.extend(promised(&alliance, &norland, 3..6).await);
    received(&alliance, &sudland, &ids).await;
    agreed(&alliance, &[1, 2]).await;
    // Whoever comes later sees the same.
    alliance.kill_broker_at(2).await.expect("killed");
    std::fs::remove_dir_all(layout_cache(&alliance, 2)).expect("removed");
    alliance.start_broker_at(2).await.expect("a broker");
    agreed(&alliance, &[1, 2]).await;
    let log = alliance.layout().broker().join("broker.log");
    let said = std::fs::read_to_string(log).expect("a log");
    assert!(said.contains("is no broker's: it is passed over"), "{said}");
    assert!(
        said.contains("was there before: it is passed over"),
        "{said}"
    );
    alliance.stop().await.expect("stopped");
}
