//! A broker and two nodes over QUIC, one of which has a disk that fails once: it stops by itself, is
//! started again from what is there, and everything arrives, once and with its receipt. The broker's own
//! disk is the business of `commit.rs`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use entente::audit;
use entente::broker::{self, Broker};
use entente::bulletin::{BulletinId, Draft, Relation};
use entente::clock::{SystemClock, SystemEntropy};
use entente::deployment::{AgreementPlan, Alliance, Layout, Plan, Runner, build, until};
use entente::node::{self, Command, Node, NoticeDraft, Response, StatusView};
use entente::partner::PartnerId;
use entente::store::{Disk, EmbeddedEngine, HeadFile, OutboxState, SystemDisk};
use entente::testing::Scratch;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, LocalSet};
use tokio::time::timeout;

use crate::disk::{FAULTS, Fault, FaultyDisk, Then};
use crate::ledger::partner;

const PATIENCE: Duration = Duration::from_mins(2);
/// How long one answer may take: whoever stops meanwhile may never give it.
const ANSWER: Duration = Duration::from_secs(5);
/// Alliances that are played at once: they mostly wait for one another's disks.
const AT_ONCE: u64 = 4;

/// Whose disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Publisher,
    Recipient,
}

/// The bulletins of the story.
fn ids() -> Vec<BulletinId> {
    (1..=3).map(|at| BulletinId([at; 16])).collect()
}

fn plan() -> Plan {
    let parties = ["norland", "estmark"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), parties.clone());
    plan.agreements.push(AgreementPlan {
        name: "cyber".into(),
        title: String::new(),
        parties,
        clauses: "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\n\
                  regions = [\"*\"]\ntlp = \"TLP:AMBER\"\nacknowledge_within_seconds = 3600\n"
            .into(),
    });
    plan
}

fn draft(id: BulletinId) -> Draft {
    let text = "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\nprecedence = \"ROUTINE\"\n[[part]]\n\
                type = \"narrative\"\ntext = \"words\"\n";
    let mut draft = Draft::from_toml(text).expect("a bulletin");
    draft.id = Some(id);
    draft
}

/// Runs a program until it is told to stop. The first start is on a given disk; where the program ends,
/// or does not even begin, it is started again on a sound one, as a supervisor would.
fn supervise<S, F>(disk: Arc<dyn Disk>, mut stop: watch::Receiver<bool>, run: S) -> JoinHandle<()>
where
    S: Fn(Arc<dyn Disk>, watch::Receiver<bool>) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    tokio::spawn(async move {
        run(disk, stop.clone()).await;
        while !*stop.borrow_and_update() {
            run(Arc::new(SystemDisk), stop.clone()).await;
        }
    })
}

async fn told(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn run_broker(layout: &Layout, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let path = layout.broker_config();
    tokio::spawn(async move {
        let config = broker::Config::load(&path).expect("a configuration");
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
        let broker = Broker::start(config, clock, entropy).await;
        let broker = broker.expect("a broker");
        told(stop).await;
        broker.shutdown().await;
    })
}

fn run_node(
    layout: &Layout,
    who: &PartnerId,
    disk: Arc<dyn Disk>,
    stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let path = layout.node_config(who);
    supervise(disk, stop, move |disk, stop| {
        let config = node::Config::load(&path).expect("a configuration");
        async move {
            let Ok(node) = Node::start_on(disk, config, Arc::new(SystemClock)) else {
                return;
            };
            tokio::select! {
                () = told(stop) => {}
                () = node.failed() => {}
            }
            node.shutdown().await;
        }
    })
}

/// Everything that a partner published, by id; `None` where its node does not answer just now.
async fn outbox(alliance: &Alliance, who: &PartnerId) -> Option<Vec<(BulletinId, OutboxState)>> {
    let command = Command::Outbox {
        ids: Vec::new(),
        wait: 0,
    };
    let Ok(Response::Outbox(all)) = alliance.ask_node(who, &command).await else {
        return None;
    };
    Some(all.into_iter().map(|one| (one.id, one.state)).collect())
}

/// Asks a node until it says yes, or something else shows that it was done.
async fn insist(
    alliance: &Alliance,
    who: &PartnerId,
    command: Command,
    done: impl AsyncFn() -> bool,
) {
    let look = || async {
        let asked = timeout(ANSWER, alliance.ask_node(who, &command)).await;
        (asked.is_ok_and(|asked| asked.is_ok()) || done().await).then_some(())
    };
    let what = format!("{command:?}");
    until(&what, PATIENCE, look).await.expect("it is done");
}

async fn status(alliance: &Alliance, who: &PartnerId) -> Option<StatusView> {
    match alliance.ask_node(who, &Command::Status).await {
        Ok(Response::Status(status)) => Some(*status),
        _ => None,
    }
}

/// Plays the story with a fault at a step of one of the three. Whether it came to the fault.
async fn play(role: Role, at: u64, fault: Fault) -> bool {
    let scratch = Scratch::new().expect("a directory");
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    let built = build(scratch.path(), &plan(), clock, entropy).await;
    let (layout, _) = built.expect("a deployment");
    let faulty = Arc::new(FaultyDisk::new(at, fault, Then::GoesOn));
    let disk = |of: Role| -> Arc<dyn Disk> {
        if of == role {
            Arc::clone(&faulty) as _
        } else {
            Arc::new(SystemDisk)
        }
    };
    let (norland, estmark) = (partner("norland"), partner("estmark"));
    let (stop, stopped) = watch::channel(false);
    let programs = [
        run_broker(&layout, stopped.clone()),
        run_node(&layout, &norland, disk(Role::Publisher), stopped.clone()),
        run_node(&layout, &estmark, disk(Role::Recipient), stopped),
    ];
    let alliance = Alliance::new(layout.clone(), Runner::Tasks);
    story(&alliance, &norland, &estmark).await;
    stop.send_replace(true);
    for program in programs {
        program.await.expect("a clean end");
    }
    let config = broker::Config::load(&layout.broker_config()).expect("a configuration");
    check_ledger(&config.ledger, &config.head);
    faulty.failed()
}

/// Two bulletins in one burst, a third, which is recalled; all taken, all with their receipts.
async fn story(alliance: &Alliance, norland: &PartnerId, estmark: &PartnerId) {
    let ids = ids();
    for drafts in [vec![draft(ids[0]), draft(ids[1])], vec![draft(ids[2])]] {
        let last = drafts.last().and_then(|draft| draft.id).expect("an id");
        let there = async || {
            let all = outbox(alliance, norland).await;
            all.is_some_and(|all| all.iter().any(|(id, _)| *id == last))
        };
        insist(alliance, norland, Command::Publish { drafts }, there).await;
    }
    let received = || async {
        let inbox = alliance.inbox(estmark).await.ok()?;
        let all = ids.iter().all(|id| inbox.iter().any(|item| item.id == *id));
        all.then_some(())
    };
    until("the bulletins", PATIENCE, received)
        .await
        .expect("received");
    insist(
        alliance,
        estmark,
        Command::Acknowledge { id: ids[0] },
        async || false,
    )
    .await;
    let advance = Command::Advance {
        name: "siem".into(),
        to: 2,
    };
    insist(alliance, estmark, advance, async || false).await;
    let notice = NoticeDraft {
        id: None,
        about: ids[2],
        relation: Relation::Retracts,
        reason: "a mistake".into(),
        precedence: None,
        tlp: None,
        classification: None,
    };
    let given = async || {
        outbox(alliance, norland)
            .await
            .is_some_and(|all| all.len() > 3)
    };
    insist(alliance, norland, Command::Notice { notice }, given).await;
    settled(alliance, norland, estmark).await;
}

/// Everything is in the log and at its recipient once, in order, and with its receipt.
async fn settled(alliance: &Alliance, norland: &PartnerId, estmark: &PartnerId) {
    let ids = ids();
    // All four are in the log, each once.
    let promised = || async {
        let all = outbox(alliance, norland).await?;
        let positions: Option<Vec<u64>> = all
            .iter()
            .map(|(_, state)| match state {
                OutboxState::Promised { position, .. } => Some(*position),
                OutboxState::Pending => None,
                OutboxState::Rejected { code, .. } => panic!("{code}"),
            })
            .collect();
        positions
    };
    let positions = until("the promises", PATIENCE, promised)
        .await
        .expect("promised");
    let mut different = positions.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(
        different.len(),
        positions.len(),
        "a position was used twice"
    );
    assert_eq!(positions.len(), 4);
    // All of them are there, each once, and in the order of the log.
    let arrived = || async {
        let inbox = alliance.inbox(estmark).await.ok()?;
        (inbox.len() == 4).then_some(inbox)
    };
    let inbox = until("the inbox", PATIENCE, arrived)
        .await
        .expect("arrived");
    assert!(inbox.iter().all(|item| item.quarantined.is_none()));
    assert_eq!(
        inbox.iter().map(|item| item.id).collect::<Vec<_>>()[..3],
        ids
    );
    for who in [norland, estmark] {
        let proved = || async {
            let status = status(alliance, who).await?;
            (status.receipts >= 4 && status.pending_receipts == 0).then_some(status)
        };
        let status = until("the receipts", PATIENCE, proved)
            .await
            .expect("proved");
        // Whoever was contradicted would say so.
        assert_eq!(status.alarms, Vec::<String>::new());
    }
    let followed = || async {
        let view = alliance.decided(ids[2]).await.ok()?;
        view.recipients
            .iter()
            .all(|one| one.acknowledged)
            .then_some(())
    };
    until("the acknowledgement", PATIENCE, followed)
        .await
        .expect("acknowledged");
}

fn check_ledger(ledger: &Path, head: &Path) {
    let engine = EmbeddedEngine::open(ledger).expect("a ledger");
    let head = HeadFile::new(head).load().expect("a file");
    let audited = audit::verify_with_contents(&engine, head, |_| {});
    let audited = audited.unwrap_or_else(|finding| panic!("{finding}"));
    assert!(audited.disputed.is_empty());
    assert_eq!(audited.bulletins, 4);
}

/// Every step of one role, until the story ends before the fault.
async fn every_step_of(role: Role, least: u64) {
    let stories = async {
        for fault in FAULTS {
            let mut from = 1;
            loop {
                let mut playing = JoinSet::new();
                for at in from..from + AT_ONCE {
                    playing.spawn_local(play(role, at, fault));
                }
                from += AT_ONCE;
                if playing.join_all().await.contains(&false) {
                    break;
                }
            }
            assert!(from > least, "fewer than {least} steps");
        }
    };
    LocalSet::new().run_until(stories).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_step_of_the_publisher_fails_everything_arrives() {
    every_step_of(Role::Publisher, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_step_of_the_recipient_fails_everything_arrives() {
    every_step_of(Role::Recipient, 10).await;
}
