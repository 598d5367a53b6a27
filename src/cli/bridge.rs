//! `entente bridge`: carries what one partner receives in one framework into another.

use std::path::PathBuf;

use super::broker::interrupted;
use super::error::CliError;
use super::files::clock;
use super::report::{Report, dash, table};
use crate::gateway::bridge::{Bridge, BridgeConfig, BridgeError};
use crate::node::Config;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Carries until it is interrupted. Both nodes are this partner's, and run.
    Run(RunArgs),
    /// Lists what was carried, and what came to an end.
    List(Nodes),
}

#[derive(Debug, clap::Args)]
pub(super) struct Nodes {
    /// The configuration of the node where bulletins come from.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The configuration of the node of the ledger they go into.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What may be carried, the clauses say under which it comes (`federation`); to whom it goes \
                  there,\nthe agreements there.\n\nTry it: entente bridge run --from alliance.toml --to \
                  regional.toml"
)]
pub(super) struct RunArgs {
    #[command(flatten)]
    nodes: Nodes,
    /// For so many seconds after the first broker's word the other ledger may take a bulletin. Three times in
    /// it is asked again whether what was carried still may be.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(3..=3600))]
    lease: u64,
    /// Gives no receipts along. They prove that the first log has the bulletin, and name the clauses under
    /// which it came.
    #[arg(long)]
    without_receipts: bool,
    /// After so many seconds in which the first broker could not be asked, what was carried is given to nobody
    /// any more. Absent: it is given on, and nothing new is carried.
    #[arg(long, value_name = "SECONDS")]
    silence: Option<u64>,
}

impl Nodes {
    fn config(
        &self,
        lease: u64,
        receipts: bool,
        silence: Option<u64>,
    ) -> Result<BridgeConfig, CliError> {
        Ok(BridgeConfig {
            from: Config::load(&self.from)?.control,
            to: Config::load(&self.to)?.control,
            lease,
            receipts,
            silence,
        })
    }
}

pub(super) async fn run(command: Command, report: &Report) -> Result<(), CliError> {
    let clock = clock();
    match command {
        Command::Run(args) => {
            let config = args
                .nodes
                .config(args.lease, !args.without_receipts, args.silence)?;
            let bridge = Bridge::new(config, clock.as_ref());
            tokio::select! {
                () = interrupted()? => Ok(()),
                error = bridge.run() => Err(trouble(error)),
            }
        }
        Command::List(nodes) => {
            let bridge = Bridge::new(nodes.config(60, true, None)?, clock.as_ref());
            let carried = bridge.carried(true).await.map_err(trouble)?;
            report.show(&carried, || {
                let rows = carried.iter().map(|one| {
                    let state = match (&one.over, one.owed.first()) {
                        (Some(why), _) => why.clone(),
                        (None, Some((notice, _))) => format!("to be {}", notice.relation),
                        (None, None) => String::new(),
                    };
                    [one.bulletin.to_string(), one.copy.to_string(), dash(state)]
                });
                table(["bulletin", "there", "ended"], rows)
            })
        }
    }
}

fn trouble(error: BridgeError) -> CliError {
    match error {
        BridgeError::Trouble(trouble) => trouble.into(),
        other => CliError::failed(other),
    }
}
