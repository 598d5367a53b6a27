//! No loss: kill -9 of broker and nodes at random moments, again and again.
//!
//! `ENTENTE_SEED` repeats a run's choices; the moments themselves are the machine's.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "the seed is shown; a story is told in one piece"
)]

use std::collections::{BTreeMap, HashSet};
use std::process::Command as Shell;
use std::time::Duration;

use entente::bulletin::{BulletinId, Draft, Precedence};
use entente::clock::{Entropy, SeededEntropy, random};
use entente::deployment::{AgreementPlan, Plan, Runner, until};
use entente::node::{Command, Response};
use entente::partner::PartnerId;
use entente::store::OutboxState;
use entente::testing::{Cluster, Scratch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
const ROUNDS: usize = 54;
const PATIENCE: Duration = Duration::from_mins(1);

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

fn plan() -> Plan {
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
    plan
}

fn draft(precedence: Precedence, number: usize) -> Draft {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\nprecedence = \
         \"{precedence}\"\n[[part]]\ntype = \"narrative\"\ntext = \"number {number}\"\n"
    );
    Draft::from_toml(&file).expect("a bulletin")
}

/// Numbers below a limit, from a seed.
struct Dice(SeededEntropy);

impl Dice {
    fn below(&self, limit: usize) -> usize {
        let bytes: [u8; 4] = random(&self.0 as &dyn Entropy).expect("numbers");
        u32::from_be_bytes(bytes) as usize % limit
    }
}

/// Publishes while anything may die: what the node said is durable is returned.
async fn publish(cluster: &Cluster, who: &PartnerId, draft: Draft) -> Option<BulletinId> {
    let ids = cluster.publish(who, vec![draft]).await.ok()?;
    ids.first().copied()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_every_crash() {
    let seed = std::env::var("ENTENTE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("ENTENTE_SEED={seed}");
    let dice = Dice(SeededEntropy::new(seed));
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = Cluster::start(
        Runner::Processes(PROGRAM.into()),
        scratch.path(),
        plan(),
        seed,
    )
    .await
    .expect("a cluster");
    let (norland, sudland, estmark) = (partner("norland"), partner("sudland"), partner("estmark"));
    let publishers = [norland.clone(), sudland.clone()];
    let mut durable: BTreeMap<PartnerId, Vec<BulletinId>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for number in 0..6 {
            let who = &publishers[dice.below(2)];
            let precedence = Precedence::ALL[dice.below(4)];
            if let Some(id) = publish(&cluster, who, draft(precedence, round * 10 + number)).await {
                durable.entry(who.clone()).or_default().push(id);
            }
        }
        // A random moment of what follows: sending, committing, delivering, acknowledging.
        let moment = u64::try_from(dice.below(8_000)).expect("small");
        tokio::time::sleep(Duration::from_micros(moment)).await;
        match round % 3 {
            0 => {
                cluster.kill_broker().await.expect("killed");
                cluster.start_broker().await.expect("back");
            }
            1 => {
                cluster.kill_node(&estmark).await.expect("killed");
                cluster.launch_node(&estmark).expect("back");
            }
            _ => {
                let who = &publishers[dice.below(2)];
                cluster.kill_node(who).await.expect("killed");
                cluster.launch_node(who).expect("back");
                let look = || async { cluster.ask_node(who, &Command::Status).await.ok() };
                until("the node", PATIENCE, look).await.expect("it answers");
            }
        }
    }
    let look = || async { cluster.ask_node(&estmark, &Command::Status).await.ok() };
    until("the node", PATIENCE, look).await.expect("it answers");

    // Everything that a node called durable is promised now, and delivered.
    let mut promised: Vec<(u64, BulletinId, Precedence)> = Vec::new();
    for (who, ids) in &durable {
        cluster.promised(who, ids).await.expect("promised");
        let asked = cluster
            .ask_node(
                who,
                &Command::Outbox {
                    ids: vec![],
                    wait: 0,
                },
            )
            .await;
        let Ok(Response::Outbox(statuses)) = asked else {
            panic!("an outbox")
        };
        let known: HashSet<BulletinId> = statuses.iter().map(|status| status.id).collect();
        assert!(
            ids.iter().all(|id| known.contains(id)),
            "an outbox lost a bulletin"
        );
        for status in statuses {
            let OutboxState::Promised { position, .. } = status.state else {
                panic!("{status:?}");
            };
            promised.push((position, status.id, status.precedence));
        }
    }
    for (_, id, _) in &promised {
        cluster.delivered(*id).await.expect("delivered");
    }
    promised.sort_unstable();
    let inbox = cluster.inbox(&estmark).await.expect("an inbox");
    assert!(inbox.iter().all(|item| item.quarantined.is_none()));
    for precedence in Precedence::ALL {
        let sent: Vec<BulletinId> = promised
            .iter()
            .filter(|(_, _, of)| of == precedence)
            .map(|(_, id, _)| *id)
            .collect();
        let received: Vec<BulletinId> = inbox
            .iter()
            .filter(|item| {
                item.header
                    .as_ref()
                    .is_some_and(|header| header.precedence == *precedence)
            })
            .map(|item| item.id)
            .collect();
        assert_eq!(
            received, sent,
            "{precedence}: each once, in the order of the lane"
        );
    }
    // Whatever died while a checkpoint was signed, cosigned or kept: none was contradicted, and every
    // record that concerns a node has its receipt there.
    let mut receipts = 0;
    for who in [&norland, &sudland, &estmark] {
        let look = || async {
            match cluster.ask_node(who, &Command::Status).await {
                Ok(Response::Status(status)) => {
                    Some(*status).filter(|one| one.pending_receipts == 0)
                }
                _ => None,
            }
        };
        let status = until("the receipts", PATIENCE, look).await.expect("all");
        assert_eq!(status.alarms, Vec::<String>::new());
        receipts += status.receipts;
    }
    assert!(receipts >= 2 * promised.len(), "{receipts} receipts");
    println!(
        "{ROUNDS} crashes, {} bulletins, {receipts} receipts",
        promised.len()
    );
    cluster.stop().await.expect("a clean end");
    let output = Shell::new(PROGRAM)
        .args(["audit", "verify"])
        .current_dir(cluster.layout().broker())
        .output()
        .expect("the program");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!said.contains("disputed"), "{said}");
}
