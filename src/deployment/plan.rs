//! What a deployment consists of.

use std::net::{IpAddr, Ipv4Addr};

use crate::partner::PartnerId;
use crate::transport::Kex;

/// What to build.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The framework's name, which is the broker's trust domain.
    pub framework: PartnerId,
    /// The partners, each with one node.
    pub partners: Vec<PartnerId>,
    /// Agreements, ratified by all their parties.
    pub agreements: Vec<AgreementPlan>,
    /// Where the broker listens; its ports are free ones.
    pub address: IpAddr,
    /// Key exchange of all.
    pub kex: Kex,
    /// The stream that several brokers share; absent: there is one broker, with a ledger of its own.
    pub shared: Option<SharedLog>,
}

/// Brokers that share a log.
#[derive(Clone, Debug)]
pub struct SharedLog {
    /// Where each broker reaches the NATS servers: one broker for each.
    pub servers: Vec<String>,
    /// The stream's name.
    pub name: String,
    /// Servers that hold a copy each.
    pub replicas: usize,
    /// For how long a broker may deliver after it confirmed the end of the log, in seconds.
    pub lease_seconds: u64,
    /// More lines of `[stream]`, such as how the servers are reached by TLS.
    pub more: String,
}

/// An agreement to be ratified.
#[derive(Clone, Debug)]
pub struct AgreementPlan {
    /// Its name.
    pub name: String,
    /// One line.
    pub title: String,
    /// Its parties.
    pub parties: Vec<PartnerId>,
    /// Its `[[clause]]` tables.
    pub clauses: String,
}

impl Plan {
    /// The numbers of its brokers, from 1 on.
    pub fn brokers(&self) -> std::ops::RangeInclusive<usize> {
        1..=self
            .shared
            .as_ref()
            .map_or(1, |shared| shared.servers.len())
    }

    /// A framework of partners on loopback, without agreements.
    pub fn new(framework: PartnerId, partners: Vec<PartnerId>) -> Self {
        Self {
            framework,
            partners,
            agreements: Vec::new(),
            address: Ipv4Addr::LOCALHOST.into(),
            kex: Kex::default(),
            shared: None,
        }
    }
}
