//! The resources of TAXII 2.1 as JSON. Empty lists are forbidden: the property is left out (section 2).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What a server is (section 4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// For people.
    pub title: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// One of the API roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// URLs, or paths that begin with one slash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_roots: Vec<String>,
}

/// What an API root is (4.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiRoot {
    /// For people.
    pub title: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// TAXII's media type, with its version.
    pub versions: Vec<String>,
    /// Bytes of the largest body that is taken.
    pub max_content_length: u64,
}

/// What a collection is, for the client that asks (5.2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// A UUID.
    pub id: String,
    /// For people.
    pub title: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Another name for the id in paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whether this client gets its objects.
    pub can_read: bool,
    /// Whether this client adds objects.
    pub can_write: bool,
    /// Media types of its objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media_types: Vec<String>,
    /// Custom property (7.1): the TLP markings of which this client may see objects, as `TLP:GREEN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub x_entente_markings: Vec<String>,
}

/// All collections of an API root (5.1.1).
#[derive(Debug, Serialize)]
pub(super) struct Collections {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) collections: Vec<Collection>,
}

/// Objects (3.7). `more` is left out with the objects: an empty envelope is `{}`.
#[derive(Debug, Serialize)]
pub(super) struct Envelope {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) more: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) objects: Vec<Box<RawValue>>,
}

/// What a collection holds (5.3.1). `next` is not of the specification, which lets clients pass it to
/// this endpoint all the same, and ignore what they do not know (7.1).
#[derive(Debug, Serialize)]
pub(super) struct Manifest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) more: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) objects: Vec<ManifestRecord>,
}

/// One version of an object.
#[derive(Debug, Serialize)]
pub(super) struct ManifestRecord {
    pub(super) id: String,
    pub(super) date_added: String,
    pub(super) version: String,
    pub(super) media_type: String,
}

/// The versions of an object (5.8.1); `next` as in [`Manifest`].
#[derive(Debug, Serialize)]
pub(super) struct VersionList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) more: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) versions: Vec<String>,
}

/// What became of a request to add objects (4.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// A UUID.
    pub id: String,
    /// `complete` or `pending`.
    pub status: String,
    /// When the request came.
    pub request_timestamp: String,
    /// Objects of the request.
    pub total_count: usize,
    /// Those that were added.
    pub success_count: usize,
    /// Which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successes: Vec<StatusDetails>,
    /// Those that were not.
    pub failure_count: usize,
    /// Which, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<StatusDetails>,
    /// Those of which it is not known yet.
    pub pending_count: usize,
    /// Which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pendings: Vec<StatusDetails>,
}

impl Status {
    /// From what became of each object.
    pub fn new(
        id: String,
        request_timestamp: String,
        successes: Vec<StatusDetails>,
        failures: Vec<StatusDetails>,
        pendings: Vec<StatusDetails>,
    ) -> Self {
        let status = if pendings.is_empty() {
            "complete"
        } else {
            "pending"
        };
        Self {
            id,
            status: status.to_owned(),
            request_timestamp,
            total_count: successes.len() + failures.len() + pendings.len(),
            success_count: successes.len(),
            successes,
            failure_count: failures.len(),
            failures,
            pending_count: pendings.len(),
            pendings,
        }
    }
}

/// One object of such a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDetails {
    /// The object's id.
    pub id: String,
    /// The object's version.
    pub version: String,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An error (3.6.1). `http_status` is a string there.
pub(super) fn error(status: u16, title: &str, description: &str) -> Value {
    let mut error = Map::new();
    error.insert("title".to_owned(), title.into());
    error.insert("description".to_owned(), description.into());
    error.insert("http_status".to_owned(), status.to_string().into());
    Value::Object(error)
}
