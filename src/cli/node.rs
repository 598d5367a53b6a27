//! `entente node`: runs a partner's node.

use super::broker::interrupted;
use super::error::CliError;
use super::files::{NodeFile, clock};
use crate::node::Node;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Runs the node until it is interrupted.
    Run(NodeFile),
}

pub(super) async fn run(command: Command) -> Result<(), CliError> {
    let Command::Run(file) = command;
    let node = Node::start(file.load()?, clock())?;
    tokio::select! {
        () = interrupted()? => {
            node.shutdown().await;
            Ok(())
        }
        () = node.failed() => Err(CliError::failed("the node stopped: its store failed")),
    }
}
