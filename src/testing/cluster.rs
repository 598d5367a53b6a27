//! A deployment under test.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;

use super::fault::FaultLink;
use crate::broker;
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::deployment::{Alliance, DeploymentError, Plan, Runner, build};
use crate::identity::write_public;
use crate::ledger::LedgerId;
use crate::partner::PartnerId;

/// A running [`Alliance`] in which each node reaches its broker through a [`FaultLink`].
#[derive(Debug)]
pub struct Cluster {
    alliance: Alliance,
    plan: Plan,
    ledger: LedgerId,
    links: BTreeMap<PartnerId, FaultLink>,
}

impl Cluster {
    /// Builds a deployment in a new directory and starts everybody. `seed` decides what the faults
    /// of the network do.
    pub async fn start(
        runner: Runner,
        directory: &Path,
        plan: Plan,
        seed: u64,
    ) -> Result<Self, DeploymentError> {
        let mut cluster = Self::prepare(runner, directory, plan, seed).await?;
        cluster.alliance.start_broker().await?;
        cluster.alliance.start_nodes(&cluster.plan.partners).await?;
        Ok(cluster)
    }

    /// Builds a deployment in a new directory and starts nobody.
    pub async fn prepare(
        runner: Runner,
        directory: &Path,
        plan: Plan,
        seed: u64,
    ) -> Result<Self, DeploymentError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let (layout, ledger) = build(directory, &plan, clock, entropy).await?;
        let address = broker::Config::load(&layout.broker_config())?.listen;
        let mut links = BTreeMap::new();
        for (number, partner) in (1..).zip(&plan.partners) {
            let link = FaultLink::open(address, seed.wrapping_mul(1_000).wrapping_add(number));
            let link = link.await.map_err(|error| DeploymentError::Port {
                address: address.ip(),
                error,
            })?;
            // The node is told the relay's address instead of the broker's.
            let path = layout.node_config(partner);
            let text = std::fs::read_to_string(&path).map_err(|error| DeploymentError::File {
                path: path.clone(),
                error,
            })?;
            let text = text.replace(&address.to_string(), &link.address().to_string());
            write_public(&path, text.as_bytes())?;
            links.insert(partner.clone(), link);
        }
        let alliance = Alliance::new(layout, runner);
        Ok(Self {
            alliance,
            plan,
            ledger,
            links,
        })
    }

    /// The network between a partner's node and the broker.
    ///
    /// # Panics
    ///
    /// Where the partner is not of the plan.
    pub fn link(&self, partner: &PartnerId) -> &FaultLink {
        &self.links[partner]
    }

    /// The ledger's id.
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The plan it was built from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Deref for Cluster {
    type Target = Alliance;

    fn deref(&self) -> &Alliance {
        &self.alliance
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Alliance {
        &mut self.alliance
    }
}
