//! The demo's alliance, and the audit of its ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::CliError;
use super::scenario::Scenario;
use crate::audit::Audited;
use crate::cli::audit;
use crate::cli::files::{BrokerFile, clock, entropy};
use crate::cli::report::Report;
use crate::deployment::{Alliance, Runner, build};
use crate::identity::{new_secret_key, write_secret_key};
use crate::ledger::LedgerId;
use crate::proof::{PublicKey, Signer};

/// A scenario's alliance, running.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) alliance: Alliance,
    pub(super) ledger: LedgerId,
    /// The persons' public keys.
    pub(super) keys: BTreeMap<String, PublicKey>,
}

impl Stage {
    /// Where a person's key is.
    pub(super) fn person_key(&self, name: &str) -> PathBuf {
        person_key(self.alliance.layout().root(), name)
    }
}

fn person_key(root: &Path, name: &str) -> PathBuf {
    root.join("persons").join(format!("{name}.key"))
}

/// Builds the deployment and starts everybody.
pub(super) async fn raise(directory: &Path, scenario: &Scenario) -> Result<Stage, CliError> {
    let mut secrets = BTreeMap::new();
    for name in scenario.persons.keys() {
        let key = new_secret_key(entropy().as_ref())?;
        secrets.insert(name.clone(), key);
    }
    let keys = secrets
        .iter()
        .map(|(name, key)| (name.clone(), key.public_key()))
        .collect();
    let plan = scenario.plan(&keys)?;
    let (layout, ledger) = build(directory, &plan, clock(), entropy()).await?;
    for (name, key) in &secrets {
        write_secret_key(&person_key(directory, name), key)?;
    }
    let program = std::env::current_exe().map_err(CliError::failed)?;
    let mut alliance = Alliance::new(layout, Runner::Processes(program));
    alliance.start_broker().await?;
    alliance.start_nodes(&plan.partners).await?;
    Ok(Stage {
        alliance,
        ledger,
        keys,
    })
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
