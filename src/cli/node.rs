//! `entente node`: runs a partner's node.

use tokio_util::task::TaskTracker;

use super::broker::interrupted;
use super::error::CliError;
use super::files::{NodeFile, clock};
use super::taxii;
use crate::gateway::exchange::give_owed;
use crate::node::{Node, PollConfig, TaxiiConfig};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Runs the node until it is interrupted.
    Run(NodeFile),
}

pub(super) async fn run(command: Command) -> Result<(), CliError> {
    let Command::Run(file) = command;
    let config = file.load()?;
    let (server, polls) = (config.taxii.clone(), config.poll.clone());
    let node = Node::start(config, clock())?;
    let doors = match open_doors(&node, server.as_ref(), &polls).await {
        Ok(doors) => doors,
        Err(error) => {
            node.shutdown().await;
            return Err(error);
        }
    };
    tokio::select! {
        () = interrupted()? => {
            node.shutdown().await;
            doors.close();
            doors.wait().await;
            Ok(())
        }
        () = node.failed() => Err(CliError::failed("the node stopped: its store failed")),
    }
}

/// Starts what other tools come through. It ends with the node.
async fn open_doors(
    node: &Node,
    server: Option<&TaxiiConfig>,
    polls: &[PollConfig],
) -> Result<TaskTracker, CliError> {
    let doors = TaskTracker::new();
    let polls: Result<Vec<_>, _> = polls.iter().map(|poll| taxii::poll(node, poll)).collect();
    let polls = polls?;
    if server.is_some() || !polls.is_empty() {
        doors.spawn(give_owed(node.applications()));
    }
    for poll in polls {
        doors.spawn(poll.run());
    }
    if let Some(config) = server {
        let exchange = taxii::serve(node, config).await?;
        doors.spawn(exchange.ended());
    }
    Ok(doors)
}
