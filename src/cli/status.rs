//! `entente status`: how a broker or node stands.

use std::path::PathBuf;
use std::time::Duration;

use super::error::CliError;
use super::files::{BrokerFile, NodeFile, read_text, unexpected};
use super::report::{Report, dash, list, titled_table};
use crate::broker::{Reply, Request, StatusView};
use crate::node::{self, Command, Response};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration of a broker or node; absent: broker.toml or node.toml, whichever is here.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Waits up to so many seconds until the broker runs, or the node is connected.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
}

/// How often a program that is not there yet is asked again.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn run(args: Args, report: &Report) -> Result<(), CliError> {
    let config = args.config.unwrap_or_else(|| {
        let broker = PathBuf::from("broker.toml");
        if broker.exists() {
            broker
        } else {
            "node.toml".into()
        }
    });
    let wait = Duration::from_secs(args.wait);
    // A node names its broker; a broker does not.
    if read_text(&config)?.contains("broker_id") {
        let status = node_status(&NodeFile { config }, wait).await?;
        return report.show(&status, || node(&status));
    }
    let file = BrokerFile { config };
    if !wait.is_zero() {
        file.running(wait).await?;
    }
    let Reply::Status(status) = file.ask(Request::Status).await? else {
        return Err(unexpected());
    };
    report.show(&status, || broker(&status))
}

/// Asks until the node is connected, or the patience is at its end.
async fn node_status(file: &NodeFile, wait: Duration) -> Result<node::StatusView, CliError> {
    let end = tokio::time::Instant::now() + wait;
    loop {
        let asked = file.ask(&Command::Status).await;
        let late = tokio::time::Instant::now() >= end;
        match asked {
            Ok(Response::Status(status)) if status.connected || late => return Ok(*status),
            Ok(Response::Status(_)) => {}
            Ok(_) => return Err(unexpected()),
            Err(CliError::NotRunning(_)) if !late => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn broker(status: &StatusView) -> String {
    let rows = [
        ["framework".to_owned(), status.framework.clone()],
        ["ledger".to_owned(), status.ledger.clone()],
        [
            "records".to_owned(),
            format!("{}, the last at {}", status.size, status.time),
        ],
        ["root".to_owned(), status.root.clone()],
        ["log key".to_owned(), status.log_key.clone()],
        [
            "witnessed".to_owned(),
            format!("{} records", status.witnessed),
        ],
        ["partners".to_owned(), status.partners.to_string()],
        [
            "agreements in force".to_owned(),
            status.agreements.to_string(),
        ],
        ["bulletins".to_owned(), status.bulletins.to_string()],
        ["connected".to_owned(), dash(list(&status.connected))],
    ];
    let rows = rows.into_iter().chain(alarms(&status.alarms));
    titled_table(&[22, 75], ["broker", ""], rows)
}

fn alarms(alarms: &[String]) -> impl Iterator<Item = [String; 2]> {
    alarms
        .iter()
        .map(|alarm| ["ALARM".to_owned(), alarm.clone()])
}

fn node(status: &node::StatusView) -> String {
    let reason = status.reason.clone().unwrap_or_default();
    let link = if status.connected {
        "connected".to_owned()
    } else {
        format!("down: {reason}")
    };
    let agreements: Vec<&str> = status
        .agreements
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let rows = [
        ["broker".to_owned(), format!("{}: {link}", status.broker)],
        [
            "ledger".to_owned(),
            dash(status.ledger.clone().unwrap_or_default()),
        ],
        [
            "published".to_owned(),
            format!(
                "{} in the log, {} of them not witnessed yet, {} waiting, {} refused",
                status.promised, status.kept, status.pending, status.rejected
            ),
        ],
        [
            "received".to_owned(),
            format!("{}, {} quarantined", status.received, status.quarantined),
        ],
        ["agreements verified".to_owned(), dash(list(&agreements))],
        [
            "receipts".to_owned(),
            format!(
                "{}, {} pending; {} records witnessed",
                status.receipts, status.pending_receipts, status.witnessed
            ),
        ],
        ["log key".to_owned(), dash(status.log_key.clone())],
        ["witness key".to_owned(), dash(list(&status.witness))],
    ];
    let rows = rows.into_iter().chain(alarms(&status.alarms));
    titled_table(&[22, 75], ["node", status.node.to_string().as_str()], rows)
}
