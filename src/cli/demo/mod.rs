//! `entente demo`: a whole alliance on this machine. Real processes, real QUIC, real disk; what it
//! says at the end was read back from the broker and from every recipient, and compared with what
//! the agreements of the scenario promise.

mod claims;
mod directory;
mod play;
mod scenario;
mod show;
mod stage;
mod stix;

use std::path::PathBuf;

use super::error::CliError;
use super::report::{Report, table};
use directory::Directory;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 4 if anything it claims was not so.\n\nExample: entente demo --dir \
    alliance --serve"
)]
pub(super) struct Args {
    /// Plays this scenario.
    #[arg(long, value_name = "NAME", default_value = scenario::USUAL)]
    scenario: String,
    /// Lists the scenarios.
    #[arg(long)]
    list_scenarios: bool,
    /// Publishes the objects of these STIX 2.1 bundles instead of the built-in scenario.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    stix: Vec<PathBuf>,
    /// Leaves the whole deployment in this new directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Stays up until interrupted.
    #[arg(long)]
    serve: bool,
}

pub(super) async fn run(args: Args, report: &Report) -> Result<(), CliError> {
    if args.list_scenarios {
        let all = scenario::all()?;
        return report.show(&all, || {
            let rows = all
                .iter()
                .map(|(name, title)| [(*name).to_owned(), title.clone()]);
            table(["scenario", "what it shows"], rows)
        });
    }
    let scenario = scenario::named(&args.scenario)?;
    let directory = Directory::new(args.dir)?;
    report.note(&format!(
        "building an alliance in {}",
        directory.path().display()
    ));
    let mut stage = stage::raise(directory.path(), &scenario).await?;
    let outcome = if args.stix.is_empty() {
        play::play(&mut stage, &scenario, report).await
    } else {
        stix::play(&stage.alliance, &args.stix, report).await
    };
    if outcome.is_ok() && args.serve {
        report.note(&stage::addresses(&stage.alliance));
        super::broker::interrupted()?.await;
    }
    let stopped = stage.alliance.stop().await;
    if directory.stays() {
        report.note(&show::how_to_go_on(directory.path()));
    }
    outcome?;
    Ok(stopped?)
}
