//! What is decided upon, fetched from a broker or a node: agreements in force, standing, quotas.

use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64;

use super::error::CliError;
use super::files::{BrokerFile, NodeFile, read_text, unexpected};
use crate::agreement::{Agreement, AgreementId, SignedAgreement};
use crate::broker::{Reply, Request};
use crate::decision::{Rulebook, Spent, Usage};
use crate::node::{Command, Response};
use crate::partner::{PartnerId, Standing};

/// The configuration of a broker or of a node.
#[derive(Debug, clap::Args)]
pub(super) struct AnyFile {
    /// The configuration of a broker (all agreements) or a node (its own); absent: broker.toml or
    /// node.toml, whichever is here.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What is decided upon, at a broker or for one partner.
pub(super) struct Policy {
    pub(super) rulebook: Rulebook,
    pub(super) usage: Usage,
    pub(super) red_lines: Option<String>,
    /// The node's partner.
    pub(super) own: Option<PartnerId>,
}

/// Whose configuration it is.
pub(super) enum OneFile {
    Broker(BrokerFile),
    Node(NodeFile),
}

impl Policy {
    /// The agreement in force that bears an id or a name.
    pub(super) fn named(&self, named: &str) -> Result<(AgreementId, Arc<Agreement>), CliError> {
        let all = self.rulebook.agreements().iter();
        let mut found = all.filter(|(id, terms)| id.to_string() == named || *terms.name == *named);
        let one = found.next().ok_or_else(|| {
            let message =
                format!("no agreement `{named}` is in force; see: entente agreement list");
            CliError::refused("unknown_agreement", message)
        })?;
        if found.next().is_some() {
            let message = format!("several agreements are called `{named}`; name one by its id");
            return Err(CliError::refused("several", message));
        }
        Ok((*one.0, Arc::clone(one.1)))
    }
}

impl AnyFile {
    pub(super) async fn policy(&self) -> Result<Policy, CliError> {
        match self.of()? {
            OneFile::Broker(broker) => of_broker(&broker).await,
            OneFile::Node(node) => of_node(&node).await,
        }
    }

    /// The broker or the node.
    pub(super) fn of(&self) -> Result<OneFile, CliError> {
        let config = self.config.clone().unwrap_or_else(|| {
            let broker = PathBuf::from("broker.toml");
            if broker.exists() {
                broker
            } else {
                "node.toml".into()
            }
        });
        // A node names its broker; a broker does not.
        if read_text(&config)?.contains("broker_id") {
            Ok(OneFile::Node(NodeFile { config }))
        } else {
            Ok(OneFile::Broker(BrokerFile { config }))
        }
    }
}

fn insert(rulebook: &mut Rulebook, file: &str) -> Result<Vec<PartnerId>, CliError> {
    let bytes = BASE64.decode(file.as_bytes()).map_err(|_| unexpected())?;
    let signed = SignedAgreement::from_file(&bytes)?;
    let terms = signed.terms()?;
    let parties = terms.parties.iter().map(|party| party.partner.clone());
    let parties = parties.collect();
    rulebook.insert_terms(signed.id(), &Arc::new(terms));
    Ok(parties)
}

pub(super) async fn of_broker(file: &BrokerFile) -> Result<Policy, CliError> {
    let mut policy = Policy {
        rulebook: Rulebook::new(),
        usage: Usage::new(),
        red_lines: None,
        own: None,
    };
    let mut after = 0;
    loop {
        let Reply::Policy(page) = file.ask(Request::Policy { after }).await? else {
            return Err(unexpected());
        };
        for (partner, standing) in &page.standing {
            policy.rulebook.set_standing(partner.clone(), *standing);
        }
        for (position, agreement) in &page.agreements {
            insert(&mut policy.rulebook, agreement)?;
            after = *position;
        }
        if page.agreements.is_empty() {
            policy.red_lines.clone_from(&page.red_lines);
            for (agreement, clause, from, to, period, bulletins) in page.usage {
                let agreement: AgreementId = agreement.parse().map_err(CliError::failed)?;
                let share = (agreement, Arc::from(clause), from, to);
                policy.usage.restore(share, Spent { period, bulletins });
            }
            return Ok(policy);
        }
    }
}

/// A partner's own agreements. It does not know the others' standing: they count as active.
pub(super) async fn of_node(file: &NodeFile) -> Result<Policy, CliError> {
    let Response::Policy(files) = file.ask(&Command::Policy).await? else {
        return Err(unexpected());
    };
    let mut rulebook = Rulebook::new();
    for agreement in &files {
        for party in insert(&mut rulebook, agreement)? {
            rulebook.set_standing(party, Standing::Active);
        }
    }
    Ok(Policy {
        rulebook,
        usage: Usage::new(),
        red_lines: None,
        own: Some(file.load()?.spiffe_id.partner().clone()),
    })
}
