//! Where everything of a deployment is.
//!
//! ```text
//! broker/broker.toml  ledger/  head  control.sock  log.key  operator.key
//! certs/PARTNER/      ca.pem  ca.key  signing.key  agreements.key  key-set.pem  node-1.pem ...
//! nodes/PARTNER/      node.toml  store/  control.sock
//! agreements/         NAME.toml  NAME.agreement
//! ```

use std::path::{Path, PathBuf};

use crate::identity::Home;
use crate::partner::{InvalidSpiffeId, PartnerId, SpiffeId};

/// The operator's name in the genesis.
pub const OPERATOR: &str = "operator";

/// The paths of a deployment.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The deployment in a directory.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The broker's directory.
    pub fn broker(&self) -> PathBuf {
        self.root.join("broker")
    }

    /// The directory of one of several brokers, from 1 on: `broker`, `broker-2`, ...
    pub fn broker_at(&self, number: usize) -> PathBuf {
        match number {
            1 => self.broker(),
            number => self.root.join(format!("broker-{number}")),
        }
    }

    /// The broker's configuration.
    pub fn broker_config(&self) -> PathBuf {
        self.broker_config_at(1)
    }

    /// The configuration of one of several brokers.
    pub fn broker_config_at(&self, number: usize) -> PathBuf {
        self.broker_at(number).join("broker.toml")
    }

    /// The broker's control socket.
    pub fn broker_control(&self) -> PathBuf {
        self.broker_control_at(1)
    }

    /// The control socket of one of several brokers.
    pub fn broker_control_at(&self, number: usize) -> PathBuf {
        self.broker_at(number).join("control.sock")
    }

    /// The operator's key.
    pub fn operator_key(&self) -> PathBuf {
        self.broker().join("operator.key")
    }

    /// The key that signs checkpoints.
    pub fn log_key(&self) -> PathBuf {
        self.broker().join("log.key")
    }

    /// A partner's keys and certificates.
    pub fn home(&self, partner: &PartnerId) -> Home {
        Home::at(&self.root.join("certs").join(partner.as_str()))
    }

    /// A partner's node.
    pub fn node(&self, partner: &PartnerId) -> PathBuf {
        self.root.join("nodes").join(partner.as_str())
    }

    /// A node's configuration.
    pub fn node_config(&self, partner: &PartnerId) -> PathBuf {
        self.node(partner).join("node.toml")
    }

    /// A node's local socket.
    pub fn node_control(&self, partner: &PartnerId) -> PathBuf {
        self.node(partner).join("control.sock")
    }

    /// The agreements.
    pub fn agreements(&self) -> PathBuf {
        self.root.join("agreements")
    }

    /// The signed agreement of a name.
    pub fn agreement(&self, name: &str) -> PathBuf {
        self.agreements().join(format!("{name}.agreement"))
    }

    /// The broker's SPIFFE ID.
    pub fn broker_id(framework: &PartnerId) -> Result<SpiffeId, InvalidSpiffeId> {
        Self::broker_id_at(framework, 1)
    }

    /// The SPIFFE ID of one of several brokers.
    pub fn broker_id_at(framework: &PartnerId, number: usize) -> Result<SpiffeId, InvalidSpiffeId> {
        SpiffeId::new(framework, &format!("/broker/{number}"))
    }

    /// A partner's node's SPIFFE ID.
    pub fn node_id(partner: &PartnerId) -> Result<SpiffeId, InvalidSpiffeId> {
        SpiffeId::new(partner, "/node/1")
    }
}
