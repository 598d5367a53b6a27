//! `entente backup` and `entente restore`: the store of a stopped broker or node in one file.

use std::path::PathBuf;

use serde_json::json;

use super::error::CliError;
use super::files::{BrokerFile, NodeFile, read_text};
use super::report::Report;
use crate::store;
use crate::stream::is_stream;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The backup.
    file: PathBuf,
    /// The configuration of the broker or node.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Args {
    /// The store's directory.
    fn store(&self) -> Result<PathBuf, CliError> {
        let config = self.config.clone();
        if read_text(&config)?.contains("broker_id") {
            return Ok(NodeFile { config }.load()?.store);
        }
        let ledger = BrokerFile { config }.load()?.ledger;
        if is_stream(&ledger) {
            return Err(CliError::refused(
                "shared_ledger",
                "this ledger is a stream, and its servers keep it; copy it into a directory with `entente \
                 broker copy`, and back that up",
            ));
        }
        Ok(ledger)
    }
}

pub(super) fn backup(args: &Args, report: &Report) -> Result<(), CliError> {
    let entries = store::backup(&args.store()?, &args.file)?;
    report.show(&json!({"entries": entries, "file": args.file}), || {
        format!("{entries} entries are in {}", args.file.display())
    })
}

pub(super) fn restore(args: &Args, report: &Report) -> Result<(), CliError> {
    let entries = store::restore(&args.file, &args.store()?)?;
    report.show(&json!({"entries": entries, "file": args.file}), || {
        format!(
            "{entries} entries were restored from {}",
            args.file.display()
        )
    })
}
