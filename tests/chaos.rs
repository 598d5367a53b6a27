//! Brokers, NATS servers and nodes are killed, stopped, cut off and given wrong clocks, again and again, while
//! partners publish and end agreements; a checker reads what they saw.
//!
//! `ENTENTE_SEED` repeats a run's choices, `ENTENTE_CHAOS_ROUNDS` makes it longer: 200 is the run by hand.

#![allow(
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "the seed is shown; a story is told in one piece"
)]

#[path = "chaos/checker.rs"]
mod checker;
#[path = "support/nats.rs"]
mod nats;
#[path = "support/python.rs"]
mod python;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use entente::agreement::{SignedAgreement, SignedWithdrawal, Withdrawal};
use entente::broker::{Reply, Request};
use entente::bulletin::{BulletinId, Draft, Precedence};
use entente::clock::{Clock, Entropy, SeededEntropy, SystemClock, SystemEntropy, random};
use entente::deployment::{AgreementPlan, Alliance, Plan, Runner, SharedLog, build, until};
use entente::identity::read_secret_key;
use entente::ledger::LedgerId;
use entente::node::{Command, Response};
use entente::partner::PartnerId;
use entente::store::OutboxState;
use entente::testing::Scratch;
use nats::{Cable, Nats, nats_server, pause};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_entente");
/// How long everything may take to be as it was, once nothing fails any more.
const PATIENCE: Duration = Duration::from_mins(3);
const BROKERS: usize = 3;
const SERVERS: usize = 3;
/// Agreements that are ended one after the other.
const ENDING: usize = TOPICS.len();
/// The topic of each: what is about it flows under no other.
const TOPICS: [&str; 6] = [
    "armed",
    "aviation",
    "cbrn",
    "explosive",
    "maritime",
    "vehicle",
];
const ROUNDS: usize = 16;

fn partner(name: &str) -> PartnerId {
    format!("{name}.example").parse().expect("a partner")
}

fn plan(shared: Option<SharedLog>) -> Plan {
    let parties = ["norland", "sudland", "estmark"].map(partner).to_vec();
    let mut plan = Plan::new(partner("alliance"), parties.clone());
    let ending = TOPICS.map(|name| (name, topic(name)));
    let all = std::iter::once(("cyber", "cyber".to_owned())).chain(ending);
    for (name, topic) in all {
        plan.agreements.push(AgreementPlan {
            name: name.into(),
            title: String::new(),
            parties: parties.clone(),
            clauses: format!(
                "[[clause]]\nid = \"feed\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = \
                 [\"{topic}\"]\nregions = [\"*\"]\ntlp = \"TLP:AMBER\"\n"
            ),
        });
    }
    plan.shared = shared;
    plan
}

fn topic(name: &str) -> String {
    format!("counterterrorism/attack/{name}")
}

fn draft(topic: &str, precedence: Precedence, number: usize) -> Draft {
    let file = format!(
        "kinds = [\"cyber\"]\ntopics = [\"{topic}\"]\ntlp = \"TLP:GREEN\"\nprecedence = \
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

    fn moment(&self, most: Duration) -> Duration {
        let most = usize::try_from(most.as_micros()).expect("short");
        Duration::from_micros(self.below(most) as u64)
    }
}

/// What is under test, and what was seen of it.
struct World {
    alliance: Alliance,
    ledger: LedgerId,
    parties: Vec<PartnerId>,
    nats: Option<Nats>,
    /// From each broker to each server.
    cables: Vec<Vec<Cable>>,
    history: String,
    published: BTreeMap<PartnerId, Vec<(BulletinId, String)>>,
    ended: BTreeSet<usize>,
    number: usize,
}

impl World {
    fn saw(&mut self, event: &serde_json::Value) {
        let _ = writeln!(self.history, "{event}");
    }

    /// Everybody publishes something, as far as their nodes take it.
    async fn publish(&mut self, dice: &Dice) {
        for who in self.parties.clone() {
            let ending = dice.below(2 * ENDING);
            let topic = if ending < ENDING {
                topic(TOPICS[ending])
            } else {
                "cyber".to_owned()
            };
            let precedence = Precedence::ALL[dice.below(4)];
            self.number += 1;
            let draft = draft(&topic, precedence, self.number);
            if let Ok(ids) = self.alliance.publish(&who, vec![draft]).await {
                let published = self.published.entry(who).or_default();
                published.push((ids[0], topic));
            }
        }
    }

    /// A party ends an agreement; what became of it is noted where it was confirmed.
    async fn withdraw(&mut self, number: usize) {
        let (name, by) = (TOPICS[number], self.parties[number % 3].clone());
        let layout = self.alliance.layout();
        let file = std::fs::read(layout.agreement(name)).expect("an agreement");
        let agreement = SignedAgreement::from_file(&file).expect("an agreement");
        let key = read_secret_key(&layout.home(&by).agreements_key()).expect("a key");
        let withdrawal = Withdrawal {
            ledger: self.ledger.0,
            agreement: agreement.id(),
            partner: by.clone(),
            time: SystemClock.now(),
            reason: String::new(),
        };
        let signed = SignedWithdrawal::sign(withdrawal, &key).expect("signed");
        let file = BASE64.encode(&signed.to_file());
        let command = Command::Withdrawal { file };
        let asked = self.alliance.ask_node(&by, &command);
        if let Ok(Ok(Response::Recorded(position))) =
            tokio::time::timeout(Duration::from_secs(20), asked).await
        {
            // Several brokers confirm an end when nothing is under way any more. One confirms it when it is
            // recorded, and what was sent before may still arrive: no node and no network stands still here.
            let under_way = if self.nats.is_some() {
                Duration::ZERO
            } else {
                Duration::from_secs(2)
            };
            let last = SystemClock.now().saturating_add(under_way);
            self.ended.insert(number);
            self.saw(&json!({
                "event": "withdrawn", "agreement": name, "position": position,
                "last": last.to_string(),
            }));
        }
    }

    /// Now and then an agreement ends while a broker cannot hear of it.
    async fn perhaps_withdraw(&mut self, dice: &Dice) {
        let left = (0..ENDING).find(|number| !self.ended.contains(number));
        if let Some(number) = left.filter(|_| dice.below(3) == 0) {
            self.withdraw(number).await;
        }
    }

    /// What brokers show of the log's head.
    async fn look(&mut self) {
        for number in 1..=BROKERS {
            let asked = self.alliance.ask_broker_at(number, &Request::Status);
            let answer = tokio::time::timeout(Duration::from_millis(500), asked).await;
            let Ok(Ok(Reply::Status(status))) = answer else {
                continue;
            };
            if let Some(note) = status.checkpoint {
                let mut lines = note.lines().skip(1);
                let size: u64 = lines.next().expect("a size").parse().expect("a size");
                let root = lines.next().expect("a root");
                self.saw(&json!({"event": "checkpoint", "size": size, "root": root}));
            }
        }
    }

    fn set_cut(&self, broker: usize, cut: bool) {
        for cable in &self.cables[broker - 1] {
            cable.cut(cut);
        }
    }

    /// One thing goes wrong, for a while.
    async fn fail(&mut self, dice: &Dice) -> &'static str {
        let broker = 1 + dice.below(BROKERS);
        let server = dice.below(SERVERS);
        let while_short = dice.moment(Duration::from_millis(2_500));
        match dice.below(9) {
            0 | 1 => {
                self.alliance.kill_broker_at(broker).await.expect("killed");
                self.wait(while_short, dice).await;
                self.start_broker(broker, dice).await;
                "a broker is killed"
            }
            2 => {
                if let Some(id) = self.alliance.broker_process_at(broker) {
                    pause(id, true);
                    self.wait(2 * while_short, dice).await;
                    self.perhaps_withdraw(dice).await;
                    pause(id, false);
                }
                "a broker stands still"
            }
            3 => {
                self.set_cut(broker, true);
                self.wait(2 * while_short, dice).await;
                self.perhaps_withdraw(dice).await;
                self.set_cut(broker, false);
                "a broker is cut off"
            }
            4 => {
                self.nats.as_mut().expect("servers").kill(server).await;
                self.wait(while_short, dice).await;
                self.nats.as_mut().expect("servers").launch(server);
                "a server is killed"
            }
            5 => {
                let nats = self.nats.as_ref().expect("servers");
                nats.pause(server, true);
                self.wait(while_short, dice).await;
                self.nats.as_ref().expect("servers").pause(server, false);
                "a server stands still"
            }
            6 => {
                // Two of three: nobody has a quorum, and nobody guesses.
                let others = [server, (server + 1) % SERVERS];
                for one in others {
                    self.nats.as_ref().expect("servers").pause(one, true);
                }
                self.wait(while_short, dice).await;
                for one in others {
                    self.nats.as_ref().expect("servers").pause(one, false);
                }
                "there is no quorum"
            }
            7 => {
                let who = self.parties[dice.below(3)].clone();
                self.alliance.kill_node(&who).await.expect("killed");
                self.wait(while_short / 4, dice).await;
                self.alliance.launch_node(&who).expect("back");
                "a node is killed"
            }
            _ => {
                let left = (0..ENDING).find(|number| !self.ended.contains(number));
                if let Some(number) = left {
                    self.withdraw(number).await;
                }
                "an agreement ends"
            }
        }
    }

    /// Starts a broker, with a clock that is up to half a minute off.
    async fn start_broker(&mut self, number: usize, dice: &Dice) {
        let offset = i64::try_from(dice.below(60_000)).expect("small") - 30_000;
        self.alliance.set_clock_ahead(number, offset);
        self.alliance.launch_broker_at(number).await.expect("back");
    }

    /// Starts brokers again that stopped by themselves, as whoever supervises them does.
    async fn supervise(&mut self) {
        for number in 1..=BROKERS {
            if self.alliance.broker_ended(number) {
                self.alliance.launch_broker_at(number).await.expect("back");
            }
        }
    }

    /// Publishes until a time has passed.
    async fn wait(&mut self, time: Duration, dice: &Dice) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.publish(dice).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a broker serves, starting it again where it stopped.
    async fn revived(&mut self, number: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let asked = self.alliance.ask_broker_at(number, &Request::Status).await;
            if asked.is_ok() {
                return;
            }
            assert!(
                Instant::now() < until,
                "broker {number} does not serve again"
            );
            self.supervise().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until all that was published is promised, and received by those who are to have it.
    async fn settle(&mut self) {
        if let Some(nats) = &self.nats {
            nats.ready().await;
        }
        for (who, published) in self.published.clone() {
            let mut promised = BTreeMap::new();
            let look = || async {
                let asked = Command::Outbox {
                    ids: vec![],
                    wait: 0,
                };
                let asked = self.alliance.ask_node(&who, &asked).await;
                let Ok(Response::Outbox(all)) = asked else {
                    return None;
                };
                let pending = all.iter().any(|one| one.state == OutboxState::Pending);
                (!pending).then_some(all)
            };
            let all = until(&format!("the promises to {who}"), PATIENCE, look).await;
            for status in all.expect("promised") {
                if let OutboxState::Promised { position, .. } = status.state {
                    promised.insert(status.id, position);
                }
            }
            for (id, position) in &promised {
                self.saw(&json!({"event": "promised", "id": id, "position": position}));
            }
            for (id, topic) in published {
                let others = self.parties.iter().filter(|other| **other != who);
                let to: Vec<&PartnerId> = others.filter(|_| topic == "cyber").collect();
                let event = json!({"event": "published", "id": id, "to": to});
                self.saw(&event);
            }
        }
        for who in self.parties.clone() {
            let expected: Vec<BulletinId> = self
                .published
                .iter()
                .filter(|(by, _)| **by != who)
                .flat_map(|(_, all)| all)
                .filter(|(_, topic)| topic == "cyber")
                .map(|(id, _)| *id)
                .collect();
            let look = || async {
                let inbox = self.alliance.inbox(&who).await.ok()?;
                let there: BTreeSet<BulletinId> = inbox.iter().map(|item| item.id).collect();
                expected
                    .iter()
                    .all(|id| there.contains(id))
                    .then_some(inbox)
            };
            let inbox = match until(&format!("the inbox of {who}"), PATIENCE, look).await {
                Ok(inbox) => inbox,
                // What is missing the checker names.
                Err(_) => self.alliance.inbox(&who).await.expect("an inbox"),
            };
            for item in inbox {
                let under = item
                    .clauses
                    .first()
                    .and_then(|clause| clause.split('@').next());
                let header = item.header.as_ref().expect("labels");
                let event = json!({
                    "event": "received", "who": who, "id": item.id, "number": item.number,
                    "position": item.position, "precedence": header.precedence.to_string(),
                    "under": under, "at": item.received.to_string(),
                });
                self.saw(&event);
            }
        }
    }

    /// Reads every record of every broker.
    async fn read_logs(&mut self, brokers: usize) {
        let mut sizes = BTreeSet::new();
        for number in 1..=brokers {
            let mut from = 0;
            loop {
                let request = Request::Records { from };
                let asked = self.alliance.ask_broker_at(number, &request);
                let Ok(Reply::Records(page)) = asked.await else {
                    panic!("records of broker {number}");
                };
                if page.is_empty() {
                    break;
                }
                for record in page {
                    from = record.position + 1;
                    self.saw(&json!({
                        "event": "entry", "position": record.position, "entry": record.entry,
                    }));
                }
            }
            sizes.insert(from);
        }
        println!("{} records", sizes.last().expect("a log"));
    }
}

fn seed() -> u64 {
    let seed = std::env::var("ENTENTE_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    seed.unwrap_or_else(|| u64::from(std::process::id()))
}

async fn world(scratch: &Scratch, shared: bool) -> Option<World> {
    let (mut nats, mut cables, mut log) = (None, Vec::new(), None);
    if shared {
        let servers = Nats::start(nats_server()?, scratch.path(), SERVERS).await;
        let mut urls = Vec::new();
        for broker in 0..BROKERS {
            let mut own = Vec::new();
            for server in 0..SERVERS {
                // Each has another server first.
                let server = servers.address((broker + server) % SERVERS);
                own.push(Cable::to(server).await);
            }
            let all = own.iter().map(|cable| cable.address().to_string());
            urls.push(format!("nats://{}", all.collect::<Vec<_>>().join(",")));
            cables.push(own);
        }
        nats = Some(servers);
        log = Some(SharedLog {
            servers: urls,
            name: "alliance".into(),
            replicas: 3,
            lease_seconds: 4,
            more: String::new(),
        });
    }
    let plan = plan(log);
    let at = scratch.path().join("alliance");
    std::fs::create_dir_all(&at).expect("a directory");
    let entropy = Arc::new(SystemEntropy::new());
    let built = build(&at, &plan, Arc::new(SystemClock), entropy).await;
    let (layout, ledger) = built.expect("a deployment");
    let mut alliance = Alliance::new(layout, Runner::Processes(PROGRAM.into()));
    for number in plan.brokers() {
        alliance.start_broker_at(number).await.expect("a broker");
    }
    let started = alliance.start_nodes(&plan.partners).await;
    started.expect("connected");
    Some(World {
        alliance,
        ledger,
        parties: plan.partners,
        nats,
        cables,
        history: String::new(),
        published: BTreeMap::new(),
        ended: BTreeSet::new(),
        number: 0,
    })
}

fn judge(world: &World, seed: u64) {
    let found = checker::violations(&world.history);
    let published: usize = world.published.values().map(Vec::len).sum();
    println!(
        "{published} bulletins acknowledged, {} agreements ended, {} lines of history",
        world.ended.len(),
        world.history.lines().count()
    );
    assert!(
        found.is_empty(),
        "ENTENTE_SEED={seed}: {} violations: {:#?}",
        found.len(),
        &found[..found.len().min(10)]
    );
    assert!(published > 50, "hardly anything happened");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_brokers_are_one_whatever_fails() {
    let rounds = std::env::var("ENTENTE_CHAOS_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok());
    let (seed, rounds): (u64, usize) = (seed(), rounds.unwrap_or(ROUNDS));
    println!("ENTENTE_SEED={seed}");
    let dice = Dice(SeededEntropy::new(seed));
    let scratch = Scratch::new().expect("a directory");
    let Some(mut world) = world(&scratch, true).await else {
        return;
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..rounds {
        let what = world.fail(&dice).await;
        *counts.entry(what).or_default() += 1;
        world
            .wait(dice.moment(Duration::from_millis(800)), &dice)
            .await;
        world.supervise().await;
        world.look().await;
    }
    println!("{rounds} rounds: {counts:?}");
    for number in 1..=BROKERS {
        world.revived(number).await;
    }
    world.settle().await;
    world.look().await;
    world.read_logs(BROKERS).await;
    judge(&world, seed);
    world.alliance.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_broker_is_one_whatever_fails() {
    let rounds = std::env::var("ENTENTE_CHAOS_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok());
    let (seed, rounds): (u64, usize) = (seed(), rounds.unwrap_or(ROUNDS));
    println!("ENTENTE_SEED={seed}");
    let dice = Dice(SeededEntropy::new(seed));
    let scratch = Scratch::new().expect("a directory");
    let mut world = world(&scratch, false).await.expect("no servers are needed");
    for _ in 0..rounds {
        let while_short = dice.moment(Duration::from_millis(500));
        match dice.below(4) {
            0 => {
                world.alliance.kill_broker().await.expect("killed");
                world.wait(while_short, &dice).await;
                world.start_broker(1, &dice).await;
            }
            1 => {
                let id = world.alliance.broker_process().expect("it runs");
                pause(id, true);
                world.wait(while_short, &dice).await;
                pause(id, false);
            }
            2 => {
                let who = world.parties[dice.below(3)].clone();
                world.alliance.kill_node(&who).await.expect("killed");
                world.wait(while_short, &dice).await;
                world.alliance.launch_node(&who).expect("back");
            }
            _ => {
                let left = (0..ENDING).find(|number| !world.ended.contains(number));
                if let Some(number) = left {
                    world.withdraw(number).await;
                }
            }
        }
        world
            .wait(dice.moment(Duration::from_millis(400)), &dice)
            .await;
        world.look().await;
    }
    world.settle().await;
    world.look().await;
    world.read_logs(1).await;
    judge(&world, seed);
    world.alliance.stop().await.expect("stopped");
}
