//! The running alliance: one broker and its partners' nodes, each a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::CliError;
use super::scenario;
use crate::audit::Audited;
use crate::broker::{BulletinView, Reply, Request};
use crate::bulletin::{BulletinId, Draft};
use crate::cli::audit;
use crate::cli::files::{BrokerFile, clock, entropy, unexpected};
use crate::cli::report::Report;
use crate::deployment::{DeploymentError, Layout, Process, build, until};
use crate::node::{Command, ItemView, Response};
use crate::partner::PartnerId;
use crate::store::{OutboxState, OutboxStatus};

/// How long anything may take before the demo gives up.
const PATIENCE: Duration = Duration::from_mins(1);

/// One broker and its partners' nodes.
#[derive(Debug)]
pub(super) struct Stage {
    layout: Layout,
    program: PathBuf,
    broker: Process,
    nodes: BTreeMap<PartnerId, Process>,
}

impl Stage {
    /// Builds the deployment and starts everybody.
    pub(super) async fn build(directory: &Path) -> Result<Self, CliError> {
        let plan = scenario::plan()?;
        let (layout, _) = build(directory, &plan, clock(), entropy()).await?;
        let program = std::env::current_exe().map_err(CliError::failed)?;
        let mut broker = Process::broker(&program, &layout.broker_config())?;
        broker.broker_ready(PATIENCE).await?;
        let mut nodes = BTreeMap::new();
        for partner in &plan.partners {
            let node = Process::node(&program, &layout.node_config(partner))?;
            nodes.insert(partner.clone(), node);
        }
        for node in nodes.values_mut() {
            node.node_ready(PATIENCE).await?;
        }
        Ok(Self {
            layout,
            program,
            broker,
            nodes,
        })
    }

    pub(super) fn partners(&self) -> impl Iterator<Item = &PartnerId> {
        self.nodes.keys()
    }

    fn node(&self, partner: &PartnerId) -> Result<&Process, CliError> {
        let gone = || CliError::failed(format!("the node of {partner} does not run"));
        self.nodes.get(partner).ok_or_else(gone)
    }

    async fn ask(&self, partner: &PartnerId, command: &Command) -> Result<Response, CliError> {
        match self.node(partner)?.ask(command).await? {
            Response::Error(trouble) => Err(trouble.into()),
            response => Ok(response),
        }
    }

    /// Publishes at a partner's node; returns once the broker has promised or refused all of it.
    pub(super) async fn publish(
        &self,
        partner: &PartnerId,
        drafts: Vec<Draft>,
    ) -> Result<Vec<BulletinId>, CliError> {
        let Response::Published(ids) = self.ask(partner, &Command::Publish { drafts }).await?
        else {
            return Err(unexpected());
        };
        Ok(ids)
    }

    /// Waits until the broker has answered for these bulletins; an error where it refused one.
    pub(super) async fn promised(
        &self,
        partner: &PartnerId,
        ids: &[BulletinId],
    ) -> Result<Vec<OutboxStatus>, CliError> {
        let wait = u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let command = Command::Outbox {
            ids: ids.to_vec(),
            wait,
        };
        let Response::Outbox(statuses) = self.ask(partner, &command).await? else {
            return Err(unexpected());
        };
        for status in &statuses {
            match &status.state {
                OutboxState::Promised { .. } => {}
                OutboxState::Rejected { message, .. } => return Err(CliError::failed(message)),
                OutboxState::Pending => {
                    let what = format!("the broker's answer to {}", status.id);
                    let seconds = PATIENCE.as_secs();
                    return Err(DeploymentError::TimedOut { what, seconds }.into());
                }
            }
        }
        Ok(statuses)
    }

    /// What the broker says about a bulletin.
    pub(super) async fn decided(&self, id: BulletinId) -> Result<BulletinView, CliError> {
        match self.broker.ask(&Request::Bulletin { id }).await? {
            Reply::Bulletin(view) => Ok(*view),
            Reply::Error(trouble) => Err(trouble.into()),
            _ => Err(unexpected()),
        }
    }

    /// Waits until everybody who runs has acknowledged a bulletin.
    pub(super) async fn delivered(&self, id: BulletinId) -> Result<BulletinView, CliError> {
        let look = || async {
            let view = self.decided(id).await.ok()?;
            let done = view
                .recipients
                .iter()
                .all(|one| one.acknowledged || !self.nodes.contains_key(&one.partner));
            done.then_some(view)
        };
        Ok(until(&format!("the delivery of {id}"), PATIENCE, look).await?)
    }

    /// A bulletin as a partner received it; `None` where it did not.
    pub(super) async fn received(
        &self,
        partner: &PartnerId,
        id: BulletinId,
    ) -> Result<Option<ItemView>, CliError> {
        match self.node(partner)?.ask(&Command::Item { id }).await? {
            Response::Item(item) => Ok(Some(*item)),
            Response::Error(trouble) if trouble.code == "unknown_bulletin" => Ok(None),
            Response::Error(trouble) => Err(trouble.into()),
            _ => Err(unexpected()),
        }
    }

    /// Kills a partner's node at once, as a power failure would.
    pub(super) async fn kill(&mut self, partner: &PartnerId) -> Result<(), CliError> {
        if let Some(node) = self.nodes.remove(partner) {
            node.kill().await?;
        }
        Ok(())
    }

    /// Starts a partner's node again.
    pub(super) async fn restart(&mut self, partner: &PartnerId) -> Result<(), CliError> {
        let mut node = Process::node(&self.program, &self.layout.node_config(partner))?;
        node.node_ready(PATIENCE).await?;
        self.nodes.insert(partner.clone(), node);
        Ok(())
    }

    /// Verifies the ledger from its records, once a signed checkpoint covers all of them.
    pub(super) async fn audit(&self, report: &Report) -> Result<Audited, CliError> {
        let look = || async {
            let Ok(Reply::Status(status)) = self.broker.ask(&Request::Status).await else {
                return None;
            };
            let signed = status
                .checkpoint
                .as_deref()
                .and_then(|note| note.lines().nth(1)?.parse().ok());
            (signed == Some(status.size)).then_some(())
        };
        until("a signed checkpoint over all records", PATIENCE, look).await?;
        let file = BrokerFile {
            config: self.layout.broker_config(),
        };
        audit::verified(&file, report).await
    }

    /// What somebody who plays with a served demo needs.
    pub(super) fn addresses(&self) -> String {
        let first = self.nodes.keys().next();
        let node = first
            .map(|one| self.layout.node_config(one))
            .unwrap_or_default();
        format!(
            "\nThe alliance is up; stop it with Ctrl-C. In another terminal:\n  entente status \
             --config {}\n  entente inbox --config {}",
            self.layout.broker_config().display(),
            node.display()
        )
    }

    /// Stops everybody in good order.
    pub(super) async fn stop(self) -> Result<(), CliError> {
        for node in self.nodes.into_values() {
            node.stop().await?;
        }
        Ok(self.broker.stop().await?)
    }
}
