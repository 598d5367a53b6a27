//! The demo's closing table, and the same as JSON.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::CliError;
use super::claims::Observed;
use crate::audit::Audited;
use crate::cli::audit::sentence;
use crate::cli::report::{dash, list, titled_table};
use crate::partner::PartnerId;

/// What the demo has to tell.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    #[serde(skip_serializing_if = "String::is_empty")]
    scenario: String,
    partners: Vec<PartnerId>,
    bulletins: Vec<Observed>,
    audit: Audit,
    seconds: f64,
    /// What it claims and was not so.
    broken: Vec<String>,
    #[serde(skip)]
    killed: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Audit {
    records: u64,
    verified: bool,
    #[serde(flatten)]
    found: Audited,
}

impl Outcome {
    pub(super) fn new(
        partners: Vec<PartnerId>,
        bulletins: Vec<Observed>,
        audited: Audited,
        took: Duration,
        mut broken: Vec<String>,
    ) -> Self {
        // The ledger was verified before this is made; what is not under the broker's signature
        // yet was not promised to anybody either.
        let verified = audited.signed.is_some();
        if !verified {
            broken.push("the ledger has no signed checkpoint".to_owned());
        }
        let audit = Audit {
            records: audited.records,
            verified,
            found: audited,
        };
        Self {
            scenario: String::new(),
            partners,
            bulletins,
            audit,
            seconds: took.as_secs_f64(),
            broken,
            killed: false,
        }
    }

    /// Says which scenario it was, and whether a node was killed in it.
    pub(super) fn set_scenario(&mut self, title: &str, killed: bool) {
        title.clone_into(&mut self.scenario);
        self.killed = killed;
    }

    pub(super) fn verdict(&self) -> Result<(), CliError> {
        if self.broken.is_empty() {
            return Ok(());
        }
        Err(CliError::Untrue(format!(
            "not as promised:\n  {}",
            self.broken.join("\n  ")
        )))
    }
}

/// The first label of a partner's name that tells it from others, for narrow columns.
fn short(partner: &PartnerId) -> String {
    partner.as_str().trim_end_matches(".example").to_owned()
}

/// Clauses without the version, which is always the first here.
fn clauses(clauses: &[String]) -> String {
    list(clauses).replace("@1", "")
}

pub(super) fn people(outcome: &Outcome) -> String {
    let mut rows: Vec<[String; 5]> = Vec::new();
    for bulletin in &outcome.bulletins {
        let mut title = format!(
            "{}\n{}, {}, {}",
            bulletin.says,
            short(&bulletin.originator),
            bulletin.precedence,
            bulletin.tlp,
        );
        for one in &bulletin.recipients {
            rows.push([
                std::mem::take(&mut title),
                short(&one.partner),
                dash(list(&one.withheld)),
                clauses(&one.clauses),
                format!("{:.1}", one.latency_ms),
            ]);
        }
        let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
        for one in &bulletin.refused {
            let reason = one.code.replace('_', " ");
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, partners)) => partners.push(short(&one.partner)),
                None => reasons.push((reason, vec![short(&one.partner)])),
            }
        }
        for (reason, partners) in reasons {
            rows.push([
                std::mem::take(&mut title),
                format!("not {}", partners.join(", ")),
                String::new(),
                reason,
                String::new(),
            ]);
        }
    }
    format!(
        "{}\n{}{}",
        titled_table(
            &[32, 19, 13, 22, 6],
            [
                "bulletin",
                "received by",
                "withheld",
                "under / because",
                "ms"
            ],
            rows
        ),
        if outcome.killed {
            "One node was killed and came back; it missed nothing.\n"
        } else {
            ""
        },
        summary(outcome)
    )
}

/// The last lines.
pub(super) fn summary(outcome: &Outcome) -> String {
    let claims = if outcome.broken.is_empty() {
        "everything is as the agreements say".to_owned()
    } else {
        format!(
            "{} things are NOT as the agreements say",
            outcome.broken.len()
        )
    };
    format!(
        "{}\n{claims}, in {:.1} s",
        sentence(&outcome.audit.found),
        outcome.seconds
    )
}

/// How to go on with a deployment that stays.
pub(super) fn how_to_go_on(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "\nThe deployment is in {directory}. Start it again with:\n  entente broker run --config \
         {directory}/broker/broker.toml\n  entente node run --config \
         {directory}/nodes/norland.example/node.toml"
    )
}
