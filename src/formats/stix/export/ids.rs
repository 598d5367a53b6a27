//! Ids that depend on nothing but what they name.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::formats::derived::{derived, uuid5};

/// The namespace of deterministic ids of cyber-observable objects (STIX 2.1, section 2.9).
const OBSERVABLES: Uuid = Uuid::from_u128(0x00ab_edb4_aa42_466c_9c01_fed2_3315_a9b7);
/// The properties that contribute to an observable's id, by type (section 6).
const CONTRIBUTING: &[(&str, &[&str])] = &[
    ("artifact", &["hashes", "payload_bin"]),
    ("autonomous-system", &["number"]),
    ("directory", &["path"]),
    ("domain-name", &["value"]),
    ("email-addr", &["value"]),
    ("email-message", &["from_ref", "subject", "body"]),
    (
        "file",
        &["hashes", "name", "extensions", "parent_directory_ref"],
    ),
    ("ipv4-addr", &["value"]),
    ("ipv6-addr", &["value"]),
    ("mac-addr", &["value"]),
    ("mutex", &["name"]),
    (
        "network-traffic",
        &[
            "start",
            "end",
            "src_ref",
            "dst_ref",
            "src_port",
            "dst_port",
            "protocols",
            "extensions",
        ],
    ),
    ("software", &["name", "cpe", "swid", "vendor", "version"]),
    ("url", &["value"]),
    (
        "user-account",
        &["account_type", "user_id", "account_login"],
    ),
    ("windows-registry-key", &["key", "values"]),
    ("x509-certificate", &["hashes", "serial_number"]),
];

/// Of several hashes one contributes: the first of these, or else the first by name.
const PREFERRED: [&str; 4] = ["MD5", "SHA-1", "SHA-256", "SHA-512"];

/// The one written form of a JSON value (RFC 8785).
pub(super) fn canonical(value: &Value) -> String {
    // A value without floats out of range has one; ours come from JSON, which has none.
    serde_json_canonicalizer::to_string(value).unwrap_or_default()
}

/// The deterministic id of an observable; `None` where the specification has none for it.
pub fn observable_id(kind: &str, object: &Map<String, Value>) -> Option<String> {
    let (_, names) = CONTRIBUTING.iter().find(|(name, _)| *name == kind)?;
    let mut contributing = Map::new();
    for name in *names {
        let Some(value) = object.get(*name) else {
            continue;
        };
        let value = match value {
            Value::Object(hashes) if *name == "hashes" => {
                let preferred = PREFERRED.iter().find(|one| hashes.contains_key(**one));
                let first = preferred.map(|one| (*one).to_owned());
                let chosen = first.or_else(|| hashes.keys().min().cloned())?;
                let hash = hashes.get(&chosen)?.clone();
                Value::Object(Map::from_iter([(chosen, hash)]))
            }
            value => value.clone(),
        };
        contributing.insert((*name).to_owned(), value);
    }
    if contributing.is_empty() {
        return None;
    }
    let text = canonical(&Value::Object(contributing));
    Some(format!("{kind}--{}", uuid5(OBSERVABLES, text.as_bytes())))
}

/// The id of an object of ours, which depends on these words.
pub(super) fn own_id(kind: &str, words: &[&str]) -> String {
    let words: Vec<&str> = std::iter::once(kind).chain(words.iter().copied()).collect();
    format!("{kind}--{}", derived(&words))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_observables_id_depends_on_its_contributing_properties_alone() {
        let id = |kind: &str, object: Value| observable_id(kind, object.as_object().unwrap());
        assert_eq!(
            id("ipv4-addr", json!({"value": "198.51.100.3"})).as_deref(),
            Some("ipv4-addr--28bb3599-77cd-5a82-a950-b5bc3caf07c4")
        );
        assert_eq!(id("process", json!({"pid": 7})), None);
        let one = id("file", json!({"name": "a", "size": 7}));
        assert_eq!(one, id("file", json!({"size": 8, "name": "a"})));
        assert_ne!(one, id("file", json!({"name": "b"})));
    }
}
