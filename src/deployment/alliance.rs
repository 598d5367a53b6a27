//! A running deployment: one broker and its partners' nodes, as processes or as tasks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::error::DeploymentError;
use super::layout::Layout;
use super::process::{Process, until};
use crate::broker::{self, Broker, BulletinView, Reply, Request};
use crate::bulletin::{BulletinId, Draft};
use crate::clock::{SystemClock, SystemEntropy};
use crate::node::{self, Command, ItemView, Node, Response};
use crate::partner::PartnerId;
use crate::store::{OutboxState, OutboxStatus};

/// How long anything may take before it is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// Items read from an inbox at once.
const PAGE: usize = 64;

/// How the programs of an alliance are run.
#[derive(Clone, Debug)]
pub enum Runner {
    /// Each as a process of its own, of this `entente` binary.
    Processes(PathBuf),
    /// As tasks of this process: quicker to start, and cannot be killed, only stopped.
    Tasks,
}

/// A broker, or several that share their log, and the partners' nodes.
#[derive(Debug)]
pub struct Alliance {
    layout: Layout,
    runner: Runner,
    brokers: BTreeMap<usize, Host<Broker>>,
    /// What brokers are started with, by the argument's name.
    arguments: BTreeMap<usize, BTreeMap<&'static str, i64>>,
    nodes: BTreeMap<PartnerId, Host<Node>>,
}

/// A program that runs somehow.
#[derive(Debug)]
enum Host<T> {
    Process(Box<Process>),
    Task(T),
}

impl Alliance {
    /// A built deployment that is not running yet.
    pub fn new(layout: Layout, runner: Runner) -> Self {
        Self {
            layout,
            runner,
            brokers: BTreeMap::new(),
            arguments: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Starts the broker and waits until it answers.
    pub async fn start_broker(&mut self) -> Result<(), DeploymentError> {
        self.start_broker_at(1).await
    }

    /// Starts one of several brokers and waits until it answers.
    pub async fn start_broker_at(&mut self, number: usize) -> Result<(), DeploymentError> {
        self.launch_broker_at(number).await?;
        if let Some(Host::Process(broker)) = self.brokers.get_mut(&number) {
            broker.broker_ready(PATIENCE).await?;
        }
        Ok(())
    }

    /// Has a broker's clock be ahead by so many milliseconds, from its next start as a process on.
    pub fn set_clock_ahead(&mut self, number: usize, millis: i64) {
        let arguments = self.arguments.entry(number).or_default();
        arguments.insert("--clock-ahead", millis);
    }

    /// Has a broker pass for one of a version that reads messages of the stream up to this format, from its next start
    /// as a process on.
    pub fn set_stream_format(&mut self, number: usize, format: u32) {
        let arguments = self.arguments.entry(number).or_default();
        arguments.insert("--stream-format", format.into());
    }

    /// Starts one of several brokers without waiting for it.
    pub async fn launch_broker_at(&mut self, number: usize) -> Result<(), DeploymentError> {
        let config = self.layout.broker_config_at(number);
        let broker = match &self.runner {
            Runner::Processes(program) => {
                let more = self.arguments.get(&number).into_iter().flatten();
                let more: Vec<String> = more
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                let broker = Process::broker_with(program, &config, &more)?;
                Host::Process(Box::new(broker))
            }
            Runner::Tasks => {
                let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
                let config = broker::Config::load(&config)?;
                Host::Task(Broker::start(config, clock, entropy).await?)
            }
        };
        self.brokers.insert(number, broker);
        Ok(())
    }

    /// Whether a broker's process ended by itself.
    pub fn broker_ended(&mut self, number: usize) -> bool {
        match self.brokers.get_mut(&number) {
            Some(Host::Process(broker)) => broker.check_alive().is_err(),
            _ => false,
        }
    }

    /// Starts nodes together and waits until each is connected.
    pub async fn start_nodes(
        &mut self,
        partners: impl IntoIterator<Item = &PartnerId>,
    ) -> Result<(), DeploymentError> {
        let mut started = Vec::new();
        for partner in partners {
            self.launch_node(partner)?;
            started.push(partner.clone());
        }
        for partner in &started {
            if let Some(Host::Process(node)) = self.nodes.get_mut(partner) {
                node.node_ready(PATIENCE).await?;
                continue;
            }
            let look = || async {
                match self.ask_node(partner, &Command::Status).await.ok()? {
                    Response::Status(status) => status.connected.then_some(()),
                    _ => None,
                }
            };
            until(&format!("the connection of {partner}"), PATIENCE, look).await?;
        }
        Ok(())
    }

    /// Starts a node without waiting for it.
    pub fn launch_node(&mut self, partner: &PartnerId) -> Result<(), DeploymentError> {
        let config = self.layout.node_config(partner);
        let node = match &self.runner {
            Runner::Processes(program) => Host::Process(Box::new(Process::node(program, &config)?)),
            Runner::Tasks => {
                let config = node::Config::load(&config)?;
                Host::Task(Node::start(config, Arc::new(SystemClock))?)
            }
        };
        self.nodes.insert(partner.clone(), node);
        Ok(())
    }

    /// Kills the broker at once, as a power failure would.
    pub async fn kill_broker(&mut self) -> Result<(), DeploymentError> {
        self.kill_broker_at(1).await
    }

    /// Kills one of several brokers at once.
    pub async fn kill_broker_at(&mut self, number: usize) -> Result<(), DeploymentError> {
        match self.brokers.remove(&number) {
            Some(Host::Process(broker)) => broker.kill().await?,
            Some(Host::Task(broker)) => broker.shutdown().await,
            None => {}
        }
        Ok(())
    }

    /// Kills a partner's node at once, as a power failure would.
    pub async fn kill_node(&mut self, partner: &PartnerId) -> Result<(), DeploymentError> {
        match self.nodes.remove(partner) {
            Some(Host::Process(node)) => node.kill().await?,
            Some(Host::Task(node)) => node.shutdown().await,
            None => {}
        }
        Ok(())
    }

    /// Stops everybody in good order.
    pub async fn stop(&mut self) -> Result<(), DeploymentError> {
        for (_, node) in std::mem::take(&mut self.nodes) {
            match node {
                Host::Process(node) => node.stop().await?,
                Host::Task(node) => node.shutdown().await,
            }
        }
        for (_, broker) in std::mem::take(&mut self.brokers) {
            match broker {
                Host::Process(broker) => broker.stop().await?,
                Host::Task(broker) => broker.shutdown().await,
            }
        }
        Ok(())
    }

    /// The partners whose nodes run.
    pub fn running(&self) -> impl Iterator<Item = &PartnerId> {
        self.nodes.keys()
    }

    /// The broker's process id, while it runs as a process.
    pub fn broker_process(&self) -> Option<u32> {
        self.broker_process_at(1)
    }

    /// The process id of one of several brokers.
    pub fn broker_process_at(&self, number: usize) -> Option<u32> {
        match self.brokers.get(&number) {
            Some(Host::Process(broker)) => broker.id(),
            _ => None,
        }
    }

    /// Asks the broker.
    pub async fn ask_broker(&self, request: &Request) -> Result<Reply, DeploymentError> {
        self.ask_broker_at(1, request).await
    }

    /// Asks one of several brokers.
    pub async fn ask_broker_at(
        &self,
        number: usize,
        request: &Request,
    ) -> Result<Reply, DeploymentError> {
        let control = self.layout.broker_control_at(number);
        match crate::transport::ask(&control, request).await? {
            Reply::Error(trouble) => Err(trouble.into()),
            reply => Ok(reply),
        }
    }

    /// Asks a partner's node.
    pub async fn ask_node(
        &self,
        partner: &PartnerId,
        command: &Command,
    ) -> Result<Response, DeploymentError> {
        let control = self.layout.node_control(partner);
        match crate::transport::ask(&control, command).await? {
            Response::Error(trouble) => Err(trouble.into()),
            response => Ok(response),
        }
    }

    /// Publishes at a partner's node: returns once the bulletins are durable in its outbox.
    pub async fn publish(
        &self,
        partner: &PartnerId,
        drafts: Vec<Draft>,
    ) -> Result<Vec<BulletinId>, DeploymentError> {
        match self.ask_node(partner, &Command::Publish { drafts }).await? {
            Response::Published(ids) => Ok(ids),
            _ => Err(DeploymentError::Unexpected),
        }
    }

    /// Waits until the broker has answered for these bulletins.
    pub async fn settled(
        &self,
        partner: &PartnerId,
        ids: &[BulletinId],
    ) -> Result<Vec<OutboxStatus>, DeploymentError> {
        let wait = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let command = Command::Outbox {
            ids: ids.to_vec(),
            wait,
        };
        let Response::Outbox(statuses) = self.ask_node(partner, &command).await? else {
            return Err(DeploymentError::Unexpected);
        };
        match statuses
            .iter()
            .find(|status| status.state == OutboxState::Pending)
        {
            None => Ok(statuses),
            Some(status) => Err(DeploymentError::TimedOut {
                what: format!("the broker's answer to {}", status.id),
                seconds: PATIENCE.as_secs(),
            }),
        }
    }

    /// Waits until the broker has promised these bulletins; an error where it refused one.
    pub async fn promised(
        &self,
        partner: &PartnerId,
        ids: &[BulletinId],
    ) -> Result<(), DeploymentError> {
        for status in self.settled(partner, ids).await? {
            if let OutboxState::Rejected { code, message } = status.state {
                return Err(DeploymentError::Trouble { code, message });
            }
        }
        Ok(())
    }

    /// What the broker says about a bulletin.
    pub async fn decided(&self, id: BulletinId) -> Result<BulletinView, DeploymentError> {
        match self.ask_broker(&Request::Bulletin { id }).await? {
            Reply::Bulletin(view) => Ok(*view),
            _ => Err(DeploymentError::Unexpected),
        }
    }

    /// Waits until every recipient whose node runs has acknowledged a bulletin.
    pub async fn delivered(&self, id: BulletinId) -> Result<BulletinView, DeploymentError> {
        let look = || async {
            let view = self.decided(id).await.ok()?;
            let done = view
                .recipients
                .iter()
                .all(|one| one.acknowledged || !self.nodes.contains_key(&one.partner));
            done.then_some(view)
        };
        until(&format!("the delivery of {id}"), PATIENCE, look).await
    }

    /// A bulletin as a partner received it; `None` where it did not.
    pub async fn received(
        &self,
        partner: &PartnerId,
        id: BulletinId,
    ) -> Result<Option<ItemView>, DeploymentError> {
        match self.ask_node(partner, &Command::Item { id }).await {
            Ok(Response::Item(item)) => Ok(Some(*item)),
            Err(DeploymentError::Trouble { code, .. }) if code == "unknown_bulletin" => Ok(None),
            Ok(_) => Err(DeploymentError::Unexpected),
            Err(error) => Err(error),
        }
    }

    /// Everything in a partner's inbox, in order.
    pub async fn inbox(&self, partner: &PartnerId) -> Result<Vec<ItemView>, DeploymentError> {
        let mut all: Vec<ItemView> = Vec::new();
        loop {
            let after = all.last().map_or(0, |item| item.number);
            let asked = self
                .ask_node(partner, &Command::Inbox { after, limit: PAGE })
                .await?;
            let Response::Items(page) = asked else {
                return Err(DeploymentError::Unexpected);
            };
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Waits until a signed checkpoint covers every record.
    pub async fn checkpointed(&self) -> Result<(), DeploymentError> {
        let look = || async {
            let Ok(Reply::Status(status)) = self.ask_broker(&Request::Status).await else {
                return None;
            };
            // The second line of a checkpoint is the size it covers (C2SP tlog-checkpoint).
            let note = status.checkpoint.as_deref()?;
            let signed: u64 = note.lines().nth(1)?.parse().ok()?;
            (signed == status.size).then_some(())
        };
        until("a signed checkpoint over all records", PATIENCE, look).await
    }
}
