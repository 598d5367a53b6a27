//! Under which class agreements withhold an object.

use serde_json::{Map, Value};

use crate::bulletin::PartClass;

/// The class of an object, by its type; that of an identity by what it is of.
pub(super) fn class_of(kind: &str, object: &Map<String, Value>) -> PartClass {
    match kind {
        "ipv4-addr" | "ipv6-addr" | "domain-name" | "url" | "network-traffic"
        | "autonomous-system" | "mac-addr" | "infrastructure" => PartClass::Network,
        "file"
        | "artifact"
        | "directory"
        | "process"
        | "mutex"
        | "software"
        | "windows-registry-key"
        | "malware-analysis" => PartClass::File,
        "email-addr" | "email-message" => PartClass::Email,
        "x509-certificate" => PartClass::Certificate,
        "vulnerability" => PartClass::Vulnerability,
        "indicator" => PartClass::Detection,
        "user-account" => PartClass::Person,
        // Of an unknown kind of identity it is not known that it is no person.
        "identity" => match object.get("identity_class").and_then(Value::as_str) {
            Some("group" | "system" | "organization" | "class") => PartClass::Context,
            _ => PartClass::Person,
        },
        "note" | "opinion" | "report" | "grouping" | "language-content" => PartClass::Narrative,
        "course-of-action" => PartClass::Action,
        "sighting" | "observed-data" => PartClass::Sighting,
        _ => PartClass::Context,
    }
}
