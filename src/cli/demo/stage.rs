//! The demo's alliance, and the audit of its ledger.

use std::path::Path;

use super::CliError;
use super::scenario;
use crate::audit::Audited;
use crate::cli::audit;
use crate::cli::files::{BrokerFile, clock, entropy};
use crate::cli::report::Report;
use crate::deployment::{Alliance, Runner, build};

/// Builds the deployment and starts everybody.
pub(super) async fn raise(directory: &Path) -> Result<Alliance, CliError> {
    let plan = scenario::plan()?;
    let (layout, _) = build(directory, &plan, clock(), entropy()).await?;
    let program = std::env::current_exe().map_err(CliError::failed)?;
    let mut alliance = Alliance::new(layout, Runner::Processes(program));
    alliance.start_broker().await?;
    alliance.start_nodes(&plan.partners).await?;
    Ok(alliance)
}

/// Verifies the ledger from its records, once a signed checkpoint covers all of them.
pub(super) async fn audited(alliance: &Alliance, report: &Report) -> Result<Audited, CliError> {
    alliance.checkpointed().await?;
    let file = BrokerFile {
        config: alliance.layout().broker_config(),
    };
    audit::verified(&file, report).await
}

/// What somebody who plays with a served demo needs.
pub(super) fn addresses(alliance: &Alliance) -> String {
    let layout = alliance.layout();
    let node = alliance
        .running()
        .next()
        .map(|one| layout.node_config(one))
        .unwrap_or_default();
    format!(
        "\nThe alliance is up; stop it with Ctrl-C. In another terminal:\n  entente status --config \
         {}\n  entente inbox --config {}",
        layout.broker_config().display(),
        node.display()
    )
}
