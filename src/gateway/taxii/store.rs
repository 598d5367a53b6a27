//! What a TAXII server stands on: who may see which collection, and what is in it.
//!
//! A store keeps entries in the order in which they were added and finds those of one object; filters,
//! versions and pages are made of these two alone (`page`), the same way for every store. Everything is
//! asked for a client: what a client may not see is, for it, not there.

use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::resource::{ApiRoot, Collection, Discovery, Status};
use super::version::{SpecVersion, Version};
use crate::clock::Timestamp;

/// Who asks: the name of a credential that was verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client(pub String);

/// A collection of an API root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The API root's name: its path without slashes.
    pub root: String,
    /// The collection's id, never its alias.
    pub collection: String,
}

/// Where an entry stands in its collection. Ascending; no two entries of a collection share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// When it was added.
    pub date_added: Timestamp,
    /// Its place among those that were added at the same moment. A store gives each entry a moment of its
    /// own where it can: clients page manifests by `added_after`, which knows no more than that.
    pub tie: u32,
}

impl Position {
    /// Behind everything that was added up to a moment.
    pub const fn after(date_added: Timestamp) -> Self {
        Self {
            date_added,
            tie: u32::MAX,
        }
    }
}

/// One version of an object in a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// `type--uuid`.
    pub id: String,
    /// The object's type.
    pub kind: String,
    /// Which STIX it is written in.
    pub spec_version: SpecVersion,
    /// Its version.
    pub version: Version,
}

/// The store cannot answer. Logged; clients are told nothing of it.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Fault(String);

impl Fault {
    /// For the log.
    pub fn new(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

/// Whether somebody still waits for an answer. Whoever walks far for one looks at it on the way.
#[derive(Clone, Debug, Default)]
pub struct Waiting(pub(super) CancellationToken);

impl Waiting {
    /// An error where nobody waits any more: what is done from here on is done for nobody.
    pub fn check(&self) -> Result<(), Fault> {
        if self.0.is_cancelled() {
            return Err(Fault::new("nobody waits for the answer any more"));
        }
        Ok(())
    }
}

/// Why objects were not taken at all. What can be said of a single object is in its status instead.
#[derive(Debug, Error)]
pub enum AddError {
    /// The client's fault, in words for it.
    #[error("{0}")]
    Unprocessable(String),
    /// The store's.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Collections, for each client as it may see them. Methods may block.
pub trait Store: Send + Sync + 'static {
    /// What the server is, and its API roots (section 4.1).
    fn discovery(&self, client: &Client) -> Result<Discovery, Fault>;

    /// An API root; `None` where there is none for this client (4.2).
    fn api_root(&self, client: &Client, root: &str) -> Result<Option<ApiRoot>, Fault>;

    /// An API root's collections, always in the same order (5.1). One that this client may neither read
    /// nor write may be among them, and says so.
    fn collections(
        &self,
        client: &Client,
        root: &str,
        waiting: &Waiting,
    ) -> Result<Vec<Collection>, Fault>;

    /// Up to `limit` entries that this client may see, after a position, ascending; fewer only where there
    /// are no more.
    fn entries(
        &self,
        client: &Client,
        at: &Place,
        after: Position,
        limit: usize,
        waiting: &Waiting,
    ) -> Result<Vec<Entry>, Fault>;

    /// All entries of one object that this client may see, ascending.
    fn versions(
        &self,
        client: &Client,
        at: &Place,
        object: &str,
        waiting: &Waiting,
    ) -> Result<Vec<Entry>, Fault>;

    /// An entry's object, byte for byte as it was added; `None` where it is gone by now.
    fn content(
        &self,
        client: &Client,
        at: &Place,
        entry: &Entry,
        waiting: &Waiting,
    ) -> Result<Option<Box<RawValue>>, Fault>;

    /// Takes objects of an envelope (5.5): what becomes of each is in the status. Where nobody waits any more
    /// before anything is kept, nothing is.
    fn add(
        &self,
        client: &Client,
        at: &Place,
        objects: &[&RawValue],
        waiting: &Waiting,
    ) -> Result<Status, AddError>;

    /// The status resource of an earlier request; `None` where this client never made it (4.3).
    fn status(&self, client: &Client, root: &str, id: &str) -> Result<Option<Value>, Fault>;

    /// Removes entries (5.7). Asked only where the client may read and write.
    fn delete(&self, client: &Client, at: &Place, entries: &[Entry]) -> Result<(), Fault>;
}
