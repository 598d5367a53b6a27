//! Scenarios: who, under which agreements, publishes what; and who should receive it.
//!
//! The files in `tests/scenarios/` are documentation, demo and multi-node test at once. What should
//! happen is written in them by hand, from the agreements' text alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use super::CliError;
use crate::bulletin::Shown;
use crate::deployment::{AgreementPlan, Plan};
use crate::partner::PartnerId;
use crate::proof::PublicKey;

/// The scenarios that come with the program, by name.
const SCENARIOS: &[(&str, &str)] = &[
    ("ais", include_str!("../../../tests/scenarios/ais.toml")),
    (
        "alliance",
        include_str!("../../../tests/scenarios/alliance.toml"),
    ),
    (
        "bilateral-defence",
        include_str!("../../../tests/scenarios/bilateral-defence.toml"),
    ),
    (
        "collective-defence",
        include_str!("../../../tests/scenarios/collective-defence.toml"),
    ),
    (
        "escalation",
        include_str!("../../../tests/scenarios/escalation.toml"),
    ),
    (
        "exercise",
        include_str!("../../../tests/scenarios/exercise.toml"),
    ),
    (
        "mission",
        include_str!("../../../tests/scenarios/mission.toml"),
    ),
    (
        "neutral-broker",
        include_str!("../../../tests/scenarios/neutral-broker.toml"),
    ),
    (
        "regional-forum",
        include_str!("../../../tests/scenarios/regional-forum.toml"),
    ),
    (
        "regional-organisation",
        include_str!("../../../tests/scenarios/regional-organisation.toml"),
    ),
];

/// The one that is played where none is named.
pub(super) const USUAL: &str = "alliance";

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// One line.
    pub(super) title: String,
    /// What it shows, for readers.
    #[serde(rename = "about")]
    _about: String,
    /// The broker's trust domain; absent: `alliance.example`.
    framework: Option<PartnerId>,
    /// Each with one node.
    partners: Vec<PartnerId>,
    /// Persons who release what is held, by name; their keys are made for the run.
    #[serde(default)]
    pub(super) persons: BTreeMap<String, PartnerId>,
    /// In force from the start.
    agreement: Vec<AgreementFile>,
    /// What happens, in order.
    #[serde(rename = "step")]
    pub(super) steps: Vec<Step>,
}

/// An agreement of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgreementFile {
    pub(super) name: String,
    #[serde(default)]
    title: String,
    pub(super) parties: Vec<PartnerId>,
    /// Its clauses and equivalents, as in an agreement's draft.
    terms: String,
}

/// One thing that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "does", rename_all = "kebab-case")]
pub(super) enum Step {
    /// A bulletin is published; other steps name it by what it says.
    Publish(Box<Publication>),
    /// A node dies.
    Kill { partner: PartnerId },
    /// It comes back.
    Start { partner: PartnerId },
    /// A party ends an agreement.
    Withdraw { agreement: String, by: PartnerId },
    /// Persons let a held bulletin go.
    Release {
        says: String,
        under: String,
        persons: Vec<String>,
    },
    /// Recipients take a bulletin.
    Take { says: String, by: Vec<PartnerId> },
    /// A bulletin is taken back; exactly these apply it.
    Recall {
        says: String,
        reason: String,
        applied: Vec<PartnerId>,
    },
    /// An operator draws red lines.
    RedLines { lines: String },
    /// An agreement that all parties sign is refused with this code.
    RefusedAgreement {
        agreement: AgreementFile,
        code: String,
    },
}

/// A bulletin with what should become of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publication {
    pub(super) says: String,
    pub(super) from: PartnerId,
    /// As `entente publish` takes it.
    pub(super) bulletin: String,
    /// Who receives it.
    #[serde(default)]
    pub(super) to: BTreeMap<PartnerId, Expected>,
    /// Everybody else, with the reason's code.
    #[serde(default)]
    pub(super) not_to: BTreeMap<PartnerId, String>,
    /// Looked at when everything else has happened: a node is down, or persons hold it.
    #[serde(default)]
    pub(super) later: bool,
}

/// What a recipient should receive.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// As `name@version/clause`.
    pub(super) under: Vec<String>,
    /// Classes withheld.
    #[serde(default)]
    pub(super) withheld: Vec<String>,
    /// How the originator is shown.
    #[serde(default = "named_partner")]
    pub(super) originator: Shown,
}

const fn named_partner() -> Shown {
    Shown::Named
}

/// Names and titles of all scenarios.
pub(super) fn all() -> Result<Vec<(&'static str, String)>, CliError> {
    let read = |(name, _): &(&'static str, &str)| Ok((*name, named(name)?.title));
    SCENARIOS.iter().map(read).collect()
}

/// The scenario of a name.
pub(super) fn named(name: &str) -> Result<Scenario, CliError> {
    let found = SCENARIOS.iter().find(|(known, _)| *known == name);
    let (_, text) = found.ok_or_else(|| {
        let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        let message = format!("no scenario `{name}`; there are {}", names.join(", "));
        CliError::refused("unknown_scenario", message)
    })?;
    toml::from_str(text).map_err(|error| CliError::failed(format!("{name}: {error}")))
}

impl Scenario {
    /// The deployment that it needs, with the keys of its persons.
    pub(super) fn plan(&self, keys: &BTreeMap<String, PublicKey>) -> Result<Plan, CliError> {
        let usual = || "alliance.example".parse().map_err(CliError::failed);
        let framework = self.framework.clone().map_or_else(usual, Ok)?;
        let mut plan = Plan::new(framework, self.partners.clone());
        let agreements = self.agreement.iter();
        plan.agreements = agreements.map(|one| self.agreement(one, keys)).collect();
        Ok(plan)
    }

    /// An agreement's plan; the persons of its parties are named in it.
    pub(super) fn agreement(
        &self,
        file: &AgreementFile,
        keys: &BTreeMap<String, PublicKey>,
    ) -> AgreementPlan {
        let mut clauses = file.terms.clone();
        for (name, partner) in &self.persons {
            if let Some(key) = keys.get(name).filter(|_| file.parties.contains(partner)) {
                let _ = write!(
                    clauses,
                    "\n[persons.{name}]\npartner = \"{partner}\"\nkey = \"{key}\"\n"
                );
            }
        }
        AgreementPlan {
            name: file.name.clone(),
            title: file.title.clone(),
            parties: file.parties.clone(),
            clauses,
        }
    }
}
