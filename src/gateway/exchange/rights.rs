//! What a client may see and do. Whatever is not said, it may not.

use std::collections::{BTreeMap, BTreeSet};

use crate::bulletin::{Relation, Tlp};
use crate::node::{ItemView, TaxiiClientConfig, TaxiiConfig};

/// Of one client.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    read: BTreeSet<String>,
    write: BTreeSet<String>,
    tlp: Tlp,
    client: TaxiiClientConfig,
}

/// Of all clients, by their names.
pub(super) fn all(config: &TaxiiConfig) -> BTreeMap<String, Rights> {
    let rights = |client: &TaxiiClientConfig| Rights {
        read: client.read.iter().cloned().collect(),
        write: client.write.iter().map(|name| publishes(name)).collect(),
        tlp: client.tlp,
        client: client.clone(),
    };
    let clients = config.client.iter();
    clients
        .map(|client| (client.name.clone(), rights(client)))
        .collect()
}

/// The name of a collection that takes objects.
pub(super) fn publishes(name: &str) -> String {
    format!("publish:{name}")
}

impl Rights {
    pub(super) fn reads(&self, collection: &str) -> bool {
        let received = !collection.starts_with("publish:");
        received && (self.read.contains("*") || self.read.contains(collection))
    }

    pub(super) fn writes(&self, collection: &str) -> bool {
        self.write.contains(collection)
    }

    /// The collections that are named to it.
    pub(super) fn named(&self) -> impl Iterator<Item = &String> {
        let read = self.read.iter().filter(|name| *name != "*");
        read.chain(&self.write)
    }

    /// The markings of which it sees anything, as they are written.
    pub(super) fn markings(&self) -> Vec<String> {
        let all = Tlp::ALL.iter().filter(|tlp| **tlp <= self.tlp);
        all.map(ToString::to_string).collect()
    }

    /// Whether it may see anything of a bulletin.
    pub(super) fn sees(&self, item: &ItemView) -> bool {
        let shown = item.header.as_ref();
        let shown = shown.is_some_and(|header| self.client.exercise || !header.exercise);
        let taken_back = item
            .mark
            .as_ref()
            .is_some_and(|mark| mark.relation == Relation::Retracts);
        shown
            && item.quarantined.is_none()
            && !taken_back
            && item.obligations.permit(self.client.purpose)
    }

    /// The strictest level of which it sees anything.
    pub(super) const fn tlp(&self) -> Tlp {
        self.tlp
    }
}
