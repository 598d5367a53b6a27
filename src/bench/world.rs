//! The deployment that a workload runs on: a broker, publishers and recipients, one agreement.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::BenchError;
use super::usage::{self, Usage};
use crate::broker;
use crate::clock::{SystemClock, SystemEntropy};
use crate::deployment::{AgreementPlan, Layout, Plan, Process, SharedLog, build};
use crate::partner::PartnerId;

/// How long a broker may take to start: it may have a million records to fold.
const PATIENCE: Duration = Duration::from_mins(2);

/// The framework of every benchmark.
pub(super) const FRAMEWORK: &str = "alliance.example";

/// Who takes part: names only, so that other processes can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct World {
    pub(super) root: std::path::PathBuf,
    pub(super) brokers: Vec<SocketAddr>,
    pub(super) publishers: Vec<PartnerId>,
    pub(super) recipients: Vec<PartnerId>,
}

/// So many partners with numbered names.
pub(super) fn partners(name: &str, count: usize) -> Result<Vec<PartnerId>, BenchError> {
    (1..=count)
        .map(|number| format!("{name}{number}.example").parse())
        .collect::<Result<_, _>>()
        .map_err(BenchError::worker)
}

impl World {
    /// Builds it in a new directory: everything that a publisher says goes to every recipient.
    pub(super) async fn build(
        directory: &Path,
        publishers: usize,
        recipients: usize,
    ) -> Result<Self, BenchError> {
        Self::build_shared(directory, publishers, recipients, None).await
    }

    /// The same with brokers that share a log.
    pub(super) async fn build_shared(
        directory: &Path,
        publishers: usize,
        recipients: usize,
        shared: Option<SharedLog>,
    ) -> Result<Self, BenchError> {
        let publishers = partners("publisher", publishers)?;
        let recipients = partners("recipient", recipients)?;
        let parties = [publishers.clone(), recipients.clone()].concat();
        let framework = FRAMEWORK.parse().map_err(BenchError::worker)?;
        let mut plan = Plan::new(framework, parties.clone());
        plan.shared = shared;
        if !recipients.is_empty() {
            plan.agreements.push(AgreementPlan {
                name: "feed".into(),
                title: "Everything to every recipient".into(),
                parties,
                clauses: clause(&publishers, &recipients),
            });
        }
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
        let (layout, _) = build(directory, &plan, clock, entropy).await?;
        let mut brokers = Vec::new();
        for number in plan.brokers() {
            let file = layout.broker_config_at(number);
            let text = std::fs::read_to_string(&file).map_err(BenchError::file(&file))?;
            // What is measured is the broker, not the fairness of its usual quotas.
            let text =
                format!("{text}\n[quota]\nbulletins_per_second = 1000000\nburst = 1000000\n");
            std::fs::write(&file, text).map_err(BenchError::file(&file))?;
            let config = broker::Config::load(&file).map_err(BenchError::worker)?;
            brokers.push(config.listen);
        }
        Ok(Self {
            root: directory.to_owned(),
            brokers,
            publishers,
            recipients,
        })
    }

    pub(super) fn layout(&self) -> Layout {
        Layout::at(&self.root)
    }

    /// The broker that a partner connects to, by number and address: each the next one.
    pub(super) fn broker_of(&self, partner: &PartnerId) -> Result<(usize, SocketAddr), BenchError> {
        let all = [&self.publishers, &self.recipients];
        let place = all
            .iter()
            .find_map(|some| some.iter().position(|one| one == partner));
        let number = place.unwrap_or(0) % self.brokers.len().max(1);
        let address = self.brokers.get(number).copied();
        let address = address.ok_or_else(|| BenchError::worker("there is no broker"))?;
        Ok((number + 1, address))
    }

    /// Starts the brokers as processes of this program, and waits until they serve.
    pub(super) async fn start(&self, program: &Path) -> Result<Server, BenchError> {
        let mut processes = Vec::new();
        for number in 1..=self.brokers.len() {
            let mut process = Process::broker(program, &self.layout().broker_config_at(number))?;
            process.broker_ready(PATIENCE).await?;
            processes.push(process);
        }
        Ok(Server { processes })
    }
}

fn clause(publishers: &[PartnerId], recipients: &[PartnerId]) -> String {
    let list = |partners: &[PartnerId]| {
        partners.iter().fold(String::new(), |mut text, partner| {
            let _ = write!(text, "\"{partner}\", ");
            text
        })
    };
    format!(
        "[[clause]]\nid = \"all\"\nfrom = [{}]\nto = [{}]\nkinds = [\"cyber\"]\ntopics = [\"*\"]\n\
         regions = [\"*\"]\ntlp = \"TLP:AMBER\"\n",
        list(publishers),
        list(recipients)
    )
}

/// The broker under test, or all that share a log.
#[derive(Debug)]
pub(super) struct Server {
    processes: Vec<Process>,
}

impl Server {
    /// What it used so far.
    pub(super) fn usage(&self) -> Result<Usage, BenchError> {
        let ended = || BenchError::worker("the broker ended");
        let mut all = Usage::default();
        for process in &self.processes {
            all.add(usage::of(process.id().ok_or_else(ended)?)?);
        }
        Ok(all)
    }

    pub(super) async fn stop(self) -> Result<(), BenchError> {
        for process in self.processes {
            process.stop().await?;
        }
        Ok(())
    }
}
