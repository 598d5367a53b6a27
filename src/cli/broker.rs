//! `entente broker`: begins a ledger, and runs the broker.

use std::path::PathBuf;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use super::files::{BrokerFile, clock, entropy};
use super::report::Report;
use crate::broker::{Broker, init};
use crate::identity::read_secret_key;
use crate::ledger::Operator;
use crate::proof::Signer;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Begins a new ledger where the configuration says.
    ///
    /// Example: entente broker init --framework alliance.example --operator anna=anna.key
    Init {
        #[command(flatten)]
        file: BrokerFile,
        /// Name of the framework; checkpoints bear it.
        #[arg(long)]
        framework: String,
        /// An operator and the file of its key; may be repeated.
        #[arg(long, value_name = "NAME=KEYFILE", required = true, value_parser = named_file)]
        operator: Vec<(String, PathBuf)>,
    },
    /// Runs the broker until it is interrupted.
    Run(BrokerFile),
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write it as NAME=KEYFILE")?;
    Ok((name.to_owned(), path.into()))
}

pub(super) async fn run(command: Command, report: &Report) -> Result<(), CliError> {
    match command {
        Command::Init {
            file,
            framework,
            operator,
        } => {
            let config = file.load()?;
            let mut operators = Vec::new();
            for (name, path) in operator {
                let public_key = read_secret_key(&path)?.public_key();
                operators.push(Operator { name, public_key });
            }
            let ledger = init(
                &config,
                &framework,
                operators,
                clock().as_ref(),
                entropy(),
            )?;
            let value = json!({"framework": framework, "ledger": ledger.to_string()});
            report.show(&value, || format!("{framework}: the ledger is\n  {ledger}"))
        }
        Command::Run(file) => serve(&file).await,
    }
}

async fn serve(file: &BrokerFile) -> Result<(), CliError> {
    let broker = Broker::start(file.load()?, clock(), entropy()).await?;
    tokio::select! {
        () = interrupted()? => {
            broker.shutdown().await;
            Ok(())
        }
        error = broker.failed() => Err(error.into()),
    }
}

/// Waits for SIGINT or SIGTERM.
pub(super) fn interrupted() -> Result<impl Future<Output = ()>, CliError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
