//! The files of a feed directory, which MISP and `PyMISP` read as it stands.

use md5::{Digest, Md5};
use serde_json::{Map, Value};

use super::export::event_of;
use crate::formats::Disclosed;
use crate::formats::derived::derived;

/// What a feed directory holds.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// `manifest.json`.
    pub manifest: String,
    /// `UUID.json`, by UUID.
    pub events: Vec<(String, String)>,
    /// `hashes.csv`.
    pub hashes: String,
}

/// One event of a feed, as its three files have it.
#[derive(Clone, Debug)]
pub struct FeedEvent {
    /// Its UUID.
    pub uuid: String,
    /// Its own file.
    pub event: String,
    /// Its value in `manifest.json`, under the UUID.
    pub manifest: String,
    /// Its lines in `hashes.csv`.
    pub hashes: String,
}

/// A bulletin in a feed. One that was taken back or superseded stays in it, with its attributes marked as
/// deleted, so that whoever has read it before forgets it. `None` where nothing of it is there.
pub fn feed_event(bulletin: &Disclosed) -> Option<FeedEvent> {
    let whole = event_of(bulletin)?;
    let event = &whole["Event"];
    let uuid = event["uuid"].as_str().unwrap_or_default().to_owned();
    let inner = event["Object"].as_array().into_iter().flatten();
    let inner = inner.flat_map(|object| object["Attribute"].as_array().into_iter().flatten());
    let outer = event["Attribute"].as_array().into_iter().flatten();
    let mut hashes = String::new();
    for attribute in outer.chain(inner) {
        for value in parts_of(attribute) {
            let hash = data_encoding::HEXLOWER.encode(&Md5::digest(value.as_bytes()));
            hashes.extend([&hash, ",", &uuid, "\n"]);
        }
    }
    Some(FeedEvent {
        manifest: entry_of(event),
        event: whole.to_string(),
        hashes,
        uuid,
    })
}

/// An event's value in `manifest.json`.
pub(super) fn entry_of(event: &Value) -> String {
    let names = [
        "Orgc",
        "Tag",
        "info",
        "date",
        "analysis",
        "threat_level_id",
        "timestamp",
    ];
    let entry = names.map(|name| (name.to_owned(), event[name].clone()));
    Value::Object(Map::from_iter(entry)).to_string()
}

/// The feed of these bulletins, held whole: for a few of them.
pub fn feed<'a>(bulletins: impl IntoIterator<Item = &'a Disclosed>) -> Feed {
    let mut feed = Feed::default();
    let mut manifest = Vec::new();
    for one in bulletins.into_iter().filter_map(feed_event) {
        manifest.push(format!("\"{}\":{}", one.uuid, one.manifest));
        feed.hashes.push_str(&one.hashes);
        feed.events.push((one.uuid, one.event));
    }
    feed.manifest = format!("{{{}}}", manifest.join(","));
    feed
}

/// Whether a text is the event of this UUID as [`feed`] writes it: our ids of organisations are no
/// others'.
pub fn is_of(text: &str, uuid: &str) -> bool {
    let Ok(whole) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    let event = &whole["Event"];
    let name = event["Orgc"]["name"].as_str();
    let organisation = name.map(|name| derived(&["misp-organisation", name]).to_string());
    event["uuid"] == uuid
        && event["Orgc"]["uuid"].as_str() == organisation.as_deref()
        && name.is_some()
}

/// A composite value's parts each have a line of their own.
fn parts_of(attribute: &Value) -> Vec<&str> {
    let text = |name: &str| attribute[name].as_str().unwrap_or_default();
    let (kind, value) = (text("type"), text("value"));
    if kind.contains('|') || kind == "malware-sample" {
        value.split('|').collect()
    } else {
        vec![value]
    }
}
