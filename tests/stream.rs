//! Several brokers on one log: a stream of real NATS servers.

#[path = "support/nats.rs"]
mod nats;
#[path = "support/python.rs"]
mod python;

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
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
         \"narrative\"\ntext = \"number {number}\"\n"
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
    let Some(program) = nats_server() else { return };
    let scratch = Scratch::new().expect("a directory");
    let nats = Nats::start(program, scratch.path(), 1).await;
    let plan = plan(vec![nats.url(), nats.url()], 1);
    let mut alliance = alliance(&scratch, &plan).await;
    let [norland, sudland, estmark] = ["norland", "sudland", "estmark"].map(partner);
    pin(&alliance, &norland, 1);
    pin(&alliance, &sudland, 2);
    pin(&alliance, &estmark, 1);
    for number in [1, 2] {
        alliance.start_broker_at(number).await.expect("a broker");
    }
    alliance
        .start_nodes(&plan.partners)
        .await
        .expect("connected");
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
