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
    /// A framework of partners on loopback, without agreements.
    pub fn new(framework: PartnerId, partners: Vec<PartnerId>) -> Self {
        Self {
            framework,
            partners,
            agreements: Vec::new(),
            address: Ipv4Addr::LOCALHOST.into(),
            kex: Kex::default(),
        }
    }
}
