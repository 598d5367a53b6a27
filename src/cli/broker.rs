//! `entente broker`: begins a ledger, and runs the broker.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use super::files::{BrokerFile, clock, entropy, unexpected};
use super::report::Report;
use crate::broker::{Broker, Config, Reply, Request, copy, init, join};
use crate::clock::{Clock, SkewedClock};
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
    /// Copies the ledger of a stopped broker into the empty place of another configuration: from a directory to
    /// a stream that several brokers share, or back.
    ///
    /// Interrupted, it goes on where it was. Prove the copy before you use it: entente audit verify.
    ///
    /// Example: entente broker copy --config broker.toml --to shared.toml
    Copy {
        #[command(flatten)]
        file: BrokerFile,
        /// The configuration of the place to copy to.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Has a running broker write a snapshot of its stream into a file, from which a new broker begins.
    ///
    /// The file lies beside its copy of the stream and replaces the one before; it is as confidential as the ledger.
    ///
    /// Example: entente broker snapshot --config broker.toml
    Snapshot {
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Begins a new broker of a stream from a snapshot, instead of reading the whole stream.
    ///
    /// Every record is verified against the snapshot's checkpoint, which needs the quorum of the witness policy in the
    /// configuration. What came since then is read from the stream.
    ///
    /// Example: entente broker join cache.snapshot --config broker-2.toml
    Join {
        /// The snapshot.
        snapshot: PathBuf,
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Runs the broker until it is interrupted.
    Run {
        #[command(flatten)]
        file: BrokerFile,
        /// Milliseconds by which its clock is ahead: for tests of what a wrong clock does.
        #[arg(long, hide = true, default_value_t = 0, allow_negative_numbers = true)]
        clock_ahead: i64,
        /// The newest format of a stream's messages that it passes for reading: for tests of upgrades.
        #[arg(long, hide = true, value_name = "N")]
        stream_format: Option<u32>,
    },
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
            let ledger = init(&config, &framework, operators, clock().as_ref(), entropy())?;
            let value = json!({"framework": framework, "ledger": ledger.to_string()});
            report.show(&value, || format!("{framework}: the ledger is\n  {ledger}"))
        }
        Command::Copy { file, to } => {
            let (from, to) = (file.load()?, BrokerFile { config: to }.load()?);
            let bar = report.progress("copying", 1);
            let copied = copy(&from, &to, &entropy(), |done, all| {
                bar.set_length(all);
                bar.set_position(done);
            });
            bar.finish_and_clear();
            let records = copied?;
            let place = to.ledger.display().to_string();
            let value = json!({"records": records, "ledger": place});
            report.show(&value, || format!("{records} records are in {place}"))
        }
        Command::Snapshot { file } => {
            let Reply::Snapshot {
                file,
                records,
                covered,
            } = file.ask(Request::Snapshot).await?
            else {
                return Err(unexpected());
            };
            let shown = file.display().to_string();
            let value = json!({"file": shown, "records": records, "covered": covered});
            report.show(&value, || {
                format!("{records} records are in {shown}; its checkpoint is over {covered}")
            })
        }
        Command::Join { snapshot, file } => {
            let config = file.load()?;
            let bar = report.progress("verifying", 1);
            let joined = join(&config, &snapshot, clock(), entropy(), |done, all| {
                bar.set_length(all);
                bar.set_position(done);
            });
            bar.finish_and_clear();
            let joined = joined?;
            let value = json!({
                "snapshot": joined.snapshot,
                "covered": joined.covered,
                "witnesses": joined.witnesses,
                "records": joined.records,
            });
            report.show(&value, || {
                format!(
                    "{} records, of which {} are from the snapshot; {} are under a checkpoint that {} witnesses of \
                     the policy cosigned",
                    joined.records, joined.snapshot, joined.covered, joined.witnesses
                )
            })
        }
        Command::Run {
            file,
            clock_ahead,
            stream_format,
        } => {
            let mut config = file.load()?;
            config.stream.format = stream_format.unwrap_or(config.stream.format);
            serve(config, clock_ahead).await
        }
    }
}

async fn serve(config: Config, clock_ahead: i64) -> Result<(), CliError> {
    let clock: Arc<dyn Clock> = match clock_ahead {
        0 => clock(),
        millis => Arc::new(SkewedClock::ahead(millis)),
    };
    let broker = Broker::start(config, clock, entropy()).await?;
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
