//! A running deployment: one broker and its partners' nodes, each a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::DeploymentError;
use super::layout::Layout;
use super::process::{Process, until};
use crate::broker::{self, BulletinView, Reply, Request};
use crate::bulletin::{BulletinId, Draft};
use crate::node::{self, Command, ItemView, Response};
use crate::partner::PartnerId;
use crate::store::{OutboxState, OutboxStatus};

/// How long anything may take before it is given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// Items read from an inbox at once.
const PAGE: usize = 64;

/// One broker and its partners' nodes.
#[derive(Debug)]
pub struct Alliance {
    layout: Layout,
    program: PathBuf,
    broker: Option<Process>,
    nodes: BTreeMap<PartnerId, Process>,
}

impl Alliance {
    /// A built deployment that is not running yet; `program` is the `entente` binary.
    pub fn new(layout: Layout, program: &Path) -> Self {
        Self {
            layout,
            program: program.to_owned(),
            broker: None,
            nodes: BTreeMap::new(),
        }
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Starts the broker and waits until it answers.
    pub async fn start_broker(&mut self) -> Result<(), DeploymentError> {
        let mut broker = Process::broker(&self.program, &self.layout.broker_config())?;
        broker.broker_ready(PATIENCE).await?;
        self.broker = Some(broker);
        Ok(())
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
            if let Some(node) = self.nodes.get_mut(partner) {
                node.node_ready(PATIENCE).await?;
            }
        }
        Ok(())
    }

    /// Starts a node without waiting for it.
    pub fn launch_node(&mut self, partner: &PartnerId) -> Result<(), DeploymentError> {
        let node = Process::node(&self.program, &self.layout.node_config(partner))?;
        self.nodes.insert(partner.clone(), node);
        Ok(())
    }

    /// Kills the broker at once, as a power failure would.
    pub async fn kill_broker(&mut self) -> Result<(), DeploymentError> {
        match self.broker.take() {
            Some(broker) => broker.kill().await,
            None => Ok(()),
        }
    }

    /// Kills a partner's node at once, as a power failure would.
    pub async fn kill_node(&mut self, partner: &PartnerId) -> Result<(), DeploymentError> {
        match self.nodes.remove(partner) {
            Some(node) => node.kill().await,
            None => Ok(()),
        }
    }

    /// Stops everybody in good order.
    pub async fn stop(&mut self) -> Result<(), DeploymentError> {
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.stop().await?;
        }
        match self.broker.take() {
            Some(broker) => broker.stop().await,
            None => Ok(()),
        }
    }

    /// The broker's process id, while it runs.
    pub fn broker_process(&self) -> Option<u32> {
        self.broker.as_ref().and_then(Process::id)
    }

    /// The partners whose nodes run.
    pub fn running(&self) -> impl Iterator<Item = &PartnerId> {
        self.nodes.keys()
    }

    /// Asks the broker.
    pub async fn ask_broker(&self, request: &Request) -> Result<Reply, DeploymentError> {
        let control = self.layout.broker_control();
        match crate::transport::ask(&control, request).await? {
            Reply::Error(broker::Trouble { code, message }) => {
                Err(DeploymentError::Trouble { code, message })
            }
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
            Response::Error(node::Trouble { code, message }) => {
                Err(DeploymentError::Trouble { code, message })
            }
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
