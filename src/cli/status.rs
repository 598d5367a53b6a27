//! `entente status`: how a broker or node stands.

use std::path::PathBuf;

use super::error::CliError;
use super::files::{BrokerFile, NodeFile, read_text, unexpected};
use super::report::{Report, dash, list, table};
use crate::broker::{Reply, Request, StatusView};
use crate::node::{self, Command, Response};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration of a broker or node; absent: broker.toml or node.toml, whichever is here.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(args: Args, report: &Report) -> Result<(), CliError> {
    let config = args.config.unwrap_or_else(|| {
        let broker = PathBuf::from("broker.toml");
        if broker.exists() {
            broker
        } else {
            "node.toml".into()
        }
    });
    // A node names its broker; a broker does not.
    if read_text(&config)?.contains("broker_id") {
        let asked = NodeFile { config }.ask(&Command::Status).await?;
        let Response::Status(status) = asked else {
            return Err(unexpected());
        };
        return report.show(&status, || node(&status));
    }
    let asked = BrokerFile { config }.ask(Request::Status).await?;
    let Reply::Status(status) = asked else {
        return Err(unexpected());
    };
    report.show(&status, || broker(&status))
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
        ["partners".to_owned(), status.partners.to_string()],
        [
            "agreements in force".to_owned(),
            status.agreements.to_string(),
        ],
        ["bulletins".to_owned(), status.bulletins.to_string()],
        ["connected".to_owned(), dash(list(&status.connected))],
    ];
    table(["broker", ""], rows)
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
                "{} in the log, {} waiting, {} refused",
                status.promised, status.pending, status.rejected
            ),
        ],
        [
            "received".to_owned(),
            format!("{}, {} quarantined", status.received, status.quarantined),
        ],
        ["agreements verified".to_owned(), dash(list(&agreements))],
    ];
    table([&format!("node {}", status.node), ""], rows)
}
