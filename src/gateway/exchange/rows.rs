//! What the exchange keeps in the node's store, and under which keys.
//!
//! ```text
//! taxii/up_to                            the last number of the inbox that is indexed, u64
//! taxii/last                             the last date_added, i64 microseconds
//! taxii/name/NAME                        a collection's id
//! taxii/at/COLLECTION/DATE               an indexed object (JSON); DATE is u64 microseconds
//! taxii/of/COLLECTION/OBJECT 0 DATE      nothing; OBJECT in lower case
//! taxii/own/NUMBER                       the markings of its parts that are STIX (JSON), by the bulletin's number
//! taxii/superseded/BULLETIN              who put another in its place, and when (JSON)
//! taxii/status/ID                        a request (JSON)
//! taxii/old/DATE ID                      nothing: requests by age
//! taxii/posted/COLLECTION/OBJECT 0 BULLETIN  nothing: which bulletins an object was published in
//! taxii/carried/COLLECTION/BULLETIN      the objects of such a bulletin (JSON)
//! taxii/told/POLL                        what a poll said of objects that it cannot publish (JSON)
//! taxii/notice/DATE BULLETIN             a notice that has to be given yet (JSON)
//! ```
//!
//! Numbers are big-endian, so that rows stand in their order.

use serde::{Deserialize, Serialize};

use crate::bulletin::{BulletinId, Relation};
use crate::clock::Timestamp;
use crate::formats::stix::ObjectVersion;
use crate::gateway::Author;
use crate::node::NoticeDraft;

pub(super) const UP_TO: &[u8] = b"taxii/up_to";
pub(super) const LAST: &[u8] = b"taxii/last";
pub(super) const NAMES: &[u8] = b"taxii/name/";
pub(super) const OLD: &[u8] = b"taxii/old/";

/// An object of the inbox, in a collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Indexed {
    /// Of its bulletin, in the inbox.
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) spec_version: String,
    pub(super) version: String,
    /// Who published it, as far as that is shown; empty where nobody is named. Absent in rows of an earlier
    /// version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
    /// Where it is written with other bulletins, too: what these have in common with its own. One of them
    /// stands for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shared: Option<String>,
}

impl Indexed {
    /// Whether whoever published it is this one, as far as that is known.
    pub(super) fn is_by(&self, other: Option<&str>) -> bool {
        let both = self.by.as_deref().zip(other);
        both.is_none_or(|(one, other)| one == other)
    }
}

/// That somebody put another bulletin in the place of one: it counts where that is its own author.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Superseded {
    pub(super) by: Author,
    pub(super) at: Timestamp,
}

/// A request to add objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) client: String,
    pub(super) at: Timestamp,
    pub(super) objects: Vec<Requested>,
}

/// One object of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Requested {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) became: Became,
}

/// What it became.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Became {
    /// Part of this bulletin, whose outcome is its own.
    Bulletin(String),
    /// Nothing, and why.
    Failed(String),
}

/// A bulletin that was published through a collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Carried {
    /// Ids and versions.
    pub(super) objects: Vec<(String, ObjectVersion)>,
    /// The bulletins that it takes the place of, or takes back.
    pub(super) replaces: Vec<BulletinId>,
    /// This node itself did not take it, so that it has no outcome.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) refused: bool,
}

/// A notice that is given when the broker has taken the bulletin that it follows from, or one of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Owed {
    pub(super) newer: BulletinId,
    #[serde(default)]
    pub(super) also: Vec<BulletinId>,
    pub(super) notice: NoticeDraft,
}

fn date(at: Timestamp) -> [u8; 8] {
    u64::try_from(at.micros()).unwrap_or(0).to_be_bytes()
}

/// The moment at the end of a key.
pub(super) fn date_of(key: &[u8]) -> Option<Timestamp> {
    let (_, date) = key.split_last_chunk()?;
    Timestamp::from_micros(i64::try_from(u64::from_be_bytes(*date)).ok()?)
}

pub(super) fn name(name: &str) -> Vec<u8> {
    [NAMES, name.as_bytes()].concat()
}

pub(super) fn in_collection(collection: &str) -> Vec<u8> {
    format!("taxii/at/{collection}/").into_bytes()
}

pub(super) fn at(collection: &str, added: Timestamp) -> Vec<u8> {
    [in_collection(collection), date(added).to_vec()].concat()
}

pub(super) fn of_object(collection: &str, object: &str) -> Vec<u8> {
    let object = object.to_ascii_lowercase();
    format!("taxii/of/{collection}/{object}\0").into_bytes()
}

pub(super) fn of(collection: &str, object: &str, added: Timestamp) -> Vec<u8> {
    [of_object(collection, object), date(added).to_vec()].concat()
}

pub(super) fn own(number: u64) -> Vec<u8> {
    [b"taxii/own/".as_slice(), &number.to_be_bytes()].concat()
}

pub(super) fn superseded(bulletin: &BulletinId) -> Vec<u8> {
    format!("taxii/superseded/{bulletin}").into_bytes()
}

pub(super) fn status(id: &str) -> Vec<u8> {
    format!("taxii/status/{id}").into_bytes()
}

pub(super) fn old(asked: Timestamp, id: &str) -> Vec<u8> {
    [OLD, &date(asked), id.as_bytes()].concat()
}

/// Of a key of [`old`].
pub(super) fn old_of(key: &[u8]) -> Option<(Timestamp, &str)> {
    let (asked, id) = key.strip_prefix(OLD)?.split_first_chunk::<8>()?;
    Some((date_of(asked)?, std::str::from_utf8(id).ok()?))
}

pub(super) fn posted_in(collection: &str, object: &str) -> Vec<u8> {
    format!("taxii/posted/{collection}/{object}\0").into_bytes()
}

pub(super) fn posted(collection: &str, object: &str, bulletin: &BulletinId) -> Vec<u8> {
    let bulletin = bulletin.to_string().into_bytes();
    [posted_in(collection, object), bulletin].concat()
}

/// Of a key of [`posted`].
pub(super) fn posted_of(key: &[u8]) -> Option<BulletinId> {
    let at = key.iter().rposition(|byte| *byte == 0)?;
    std::str::from_utf8(key.get(at + 1..)?).ok()?.parse().ok()
}

pub(super) fn carried(collection: &str, bulletin: &BulletinId) -> Vec<u8> {
    format!("taxii/carried/{collection}/{bulletin}").into_bytes()
}

pub(super) const NOTICES: &[u8] = b"taxii/notice/";

pub(super) fn notice(owed: Timestamp, about: &BulletinId, relation: Relation) -> Vec<u8> {
    let notice = format!("{about}/{relation}");
    [NOTICES, &date(owed), notice.as_bytes()].concat()
}
