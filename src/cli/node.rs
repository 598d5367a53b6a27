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
    let config = file.load()?;
    let taxii = config.taxii.clone();
    let node = Node::start(config, clock())?;
    let exchange = match &taxii {
        Some(taxii) => match super::taxii::serve(&node, taxii).await {
            Ok(exchange) => Some(exchange),
            Err(error) => {
                node.shutdown().await;
                return Err(error);
            }
        },
        None => None,
    };
    tokio::select! {
        () = interrupted()? => {
            node.shutdown().await;
            if let Some(exchange) = exchange {
                exchange.ended().await;
            }
            Ok(())
        }
        () = node.failed() => Err(CliError::failed("the node stopped: its store failed")),
    }
}
