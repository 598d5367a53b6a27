//! The structural MUSTs of STIX 2.1.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// A rule that an object breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// The property; empty: the object as a whole.
    pub(super) property: String,
    /// What is wrong.
    pub(super) reason: String,
}

impl Violation {
    pub(super) fn of(property: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            property: property.into(),
            reason: reason.into(),
        }
    }
}

type Checked<T = ()> = Result<T, Violation>;
type Properties = Map<String, Value>;

/// What an object of a type is: which common properties it must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Category {
    /// Domain and relationship objects, and the meta objects that are versioned like them.
    Versioned,
    /// Cyber-observable objects.
    Observable,
    /// Marking definitions: never versioned.
    Marking,
}

use Category::{Marking, Observable, Versioned};

/// Every type of the specification with the properties it requires beyond the common ones, and
/// those of which it requires at least one (section 4 to 7).
const TYPES: &[(&str, Category, &[&str], &[&str])] = &[
    ("attack-pattern", Versioned, &["name"], &[]),
    ("campaign", Versioned, &["name"], &[]),
    ("course-of-action", Versioned, &["name"], &[]),
    ("grouping", Versioned, &["context", "object_refs"], &[]),
    ("identity", Versioned, &["name"], &[]),
    ("incident", Versioned, &["name"], &[]),
    (
        "indicator",
        Versioned,
        &["pattern", "pattern_type", "valid_from"],
        &[],
    ),
    ("infrastructure", Versioned, &["name"], &[]),
    ("intrusion-set", Versioned, &["name"], &[]),
    (
        "location",
        Versioned,
        &[],
        &["region", "country", "latitude"],
    ),
    ("malware", Versioned, &["is_family"], &[]),
    (
        "malware-analysis",
        Versioned,
        &["product"],
        &["result", "analysis_sco_refs"],
    ),
    ("note", Versioned, &["content", "object_refs"], &[]),
    (
        "observed-data",
        Versioned,
        &["first_observed", "last_observed", "number_observed"],
        &["objects", "object_refs"],
    ),
    ("opinion", Versioned, &["opinion", "object_refs"], &[]),
    (
        "report",
        Versioned,
        &["name", "published", "object_refs"],
        &[],
    ),
    ("threat-actor", Versioned, &["name"], &[]),
    ("tool", Versioned, &["name"], &[]),
    ("vulnerability", Versioned, &["name"], &[]),
    (
        "relationship",
        Versioned,
        &["relationship_type", "source_ref", "target_ref"],
        &[],
    ),
    ("sighting", Versioned, &["sighting_of_ref"], &[]),
    (
        "language-content",
        Versioned,
        &["object_ref", "contents"],
        &[],
    ),
    (
        "extension-definition",
        Versioned,
        &[
            "name",
            "schema",
            "version",
            "extension_types",
            "created_by_ref",
        ],
        &[],
    ),
    (
        "marking-definition",
        Marking,
        &[],
        &["definition", "extensions"],
    ),
    ("artifact", Observable, &[], &["payload_bin", "url"]),
    ("autonomous-system", Observable, &["number"], &[]),
    ("directory", Observable, &["path"], &[]),
    ("domain-name", Observable, &["value"], &[]),
    ("email-addr", Observable, &["value"], &[]),
    ("email-message", Observable, &["is_multipart"], &[]),
    ("file", Observable, &[], &["name", "hashes"]),
    ("ipv4-addr", Observable, &["value"], &[]),
    ("ipv6-addr", Observable, &["value"], &[]),
    ("mac-addr", Observable, &["value"], &[]),
    ("mutex", Observable, &["name"], &[]),
    (
        "network-traffic",
        Observable,
        &["protocols"],
        &["src_ref", "dst_ref"],
    ),
    ("process", Observable, &[], &[]),
    ("software", Observable, &["name"], &[]),
    ("url", Observable, &["value"], &[]),
    ("user-account", Observable, &[], &[]),
    ("windows-registry-key", Observable, &[], &[]),
    ("x509-certificate", Observable, &[], &[]),
];

/// Properties that are strings in every type of the specification.
const STRINGS: &[&str] = &[
    "name",
    "description",
    "pattern",
    "pattern_type",
    "pattern_version",
    "context",
    "content",
    "abstract",
    "explanation",
    "opinion",
    "relationship_type",
    "identity_class",
    "contact_information",
    "objective",
    "product",
    "result",
    "lang",
    "definition_type",
    "schema",
    "country",
    "region",
    "administrative_area",
    "city",
    "street_address",
    "postal_code",
    "tool_version",
    "resource_level",
    "primary_motivation",
    "sophistication",
];

/// Properties that are timestamps in every type of the specification.
const TIMESTAMPS: &[&str] = &[
    "created",
    "modified",
    "valid_from",
    "valid_until",
    "first_seen",
    "last_seen",
    "first_observed",
    "last_observed",
    "published",
    "start_time",
    "stop_time",
    "submitted",
    "analysis_started",
    "analysis_ended",
    "ctime",
    "mtime",
    "atime",
    "start",
    "end",
    "created_time",
    "modified_time",
    "account_created",
    "account_expires",
    "credential_last_changed",
    "account_first_login",
    "account_last_login",
    "validity_not_before",
    "validity_not_after",
    "object_modified",
];

/// Properties that are booleans.
const BOOLEANS: &[&str] = &[
    "revoked",
    "is_family",
    "is_multipart",
    "defanged",
    "summary",
];

/// Properties that are lists of strings.
const LISTS: &[&str] = &[
    "labels",
    "aliases",
    "roles",
    "sectors",
    "goals",
    "indicator_types",
    "malware_types",
    "report_types",
    "tool_types",
    "threat_actor_types",
    "infrastructure_types",
    "secondary_motivations",
    "protocols",
    "authors",
    "extension_types",
    "architecture_execution_envs",
    "implementation_languages",
    "capabilities",
];

/// Pairs of times; the later one must not come first, and where `true` must be later.
const ORDERED: &[(&str, &str, bool)] = &[
    ("created", "modified", false),
    ("valid_from", "valid_until", true),
    ("first_seen", "last_seen", false),
    ("first_observed", "last_observed", false),
    ("start_time", "stop_time", true),
    ("start", "end", false),
    ("analysis_started", "analysis_ended", false),
];

/// Hash algorithms of known length, in hexadecimal digits.
const HASHES: &[(&str, usize)] = &[
    ("MD5", 32),
    ("SHA-1", 40),
    ("SHA-256", 64),
    ("SHA-512", 128),
    ("SHA3-256", 64),
    ("SHA3-512", 128),
];

/// References whose target's type is fixed.
const TARGETS: &[(&str, &str)] = &[
    ("created_by_ref", "identity"),
    ("object_marking_refs", "marking-definition"),
];

/// Checks an object; returns its type and id.
pub(super) fn check(object: &Properties) -> Checked<(&str, &str)> {
    let kind = text(object, "type")?;
    let well_named = (3..=250).contains(&kind.len())
        && kind
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !well_named {
        return Err(Violation::of("type", "a type is 3 to 250 of a-z 0-9 -"));
    }
    if kind == "bundle" {
        return Err(Violation::of("type", "a bundle holds no bundles"));
    }
    let rule = TYPES.iter().find(|(name, ..)| *name == kind);
    let category = match rule {
        Some((_, category, ..)) => *category,
        // Of a custom type it is known only that what has versions is versioned.
        None if object.contains_key("created") || object.contains_key("modified") => Versioned,
        None => Observable,
    };
    check_version(object, category)?;
    let id = text(object, "id")?;
    check_id("id", id, Some(kind))?;
    check_common(object, category, rule.is_some())?;
    if let Some((_, _, required, any)) = rule {
        for name in *required {
            if !object.contains_key(*name) {
                return Err(Violation::of(*name, format!("a {kind} must have it")));
            }
        }
        if !any.is_empty() && !any.iter().any(|name| object.contains_key(*name)) {
            let reason = format!("a {kind} must have {}", any.join(" or "));
            return Err(Violation::of(any[0], reason));
        }
        check_known(kind, object)?;
    }
    Ok((kind, id))
}

/// STIX 2.0 objects have no `spec_version` of their own: they are refused by name.
fn check_version(object: &Properties, category: Category) -> Checked {
    match object.get("spec_version").map(Value::as_str) {
        Some(Some("2.1")) => Ok(()),
        None if category == Observable => Ok(()),
        Some(Some("2.0")) | None => Err(Violation::of(
            "spec_version",
            "this is STIX 2.0; upgrade it to 2.1 first, for instance with the STIX elevator",
        )),
        Some(_) => Err(Violation::of("spec_version", "it must be \"2.1\"")),
    }
}

/// What holds for every object.
fn check_common(object: &Properties, category: Category, known: bool) -> Checked {
    if category != Observable {
        text(object, "created")?;
    }
    if category == Versioned {
        text(object, "modified")?;
    }
    if category == Marking && object.contains_key("modified") {
        return Err(Violation::of(
            "modified",
            "a marking definition has no versions",
        ));
    }
    for (name, value) in object {
        let well_named = (1..=250).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !well_named {
            let shown: String = name.chars().take(60).collect();
            return Err(Violation::of(
                shown,
                "a property's name is 1 to 250 of a-z 0-9 _",
            ));
        }
        if value.is_null() {
            return Err(Violation::of(name, "a property is left out, never null"));
        }
        if value.as_array().is_some_and(Vec::is_empty) {
            return Err(Violation::of(name, "a list is left out, never empty"));
        }
        if known || COMMON.contains(&name.as_str()) {
            check_value(name, value)?;
        }
    }
    check_hashes("hashes", object.get("hashes"))?;
    check_references(object)?;
    check_granular(object)?;
    for (first, second, strictly) in ORDERED {
        let time = |name: &str| object.get(name).and_then(Value::as_str).and_then(moment);
        if let (Some(earlier), Some(later)) = (time(first), time(second))
            && (later < earlier || (*strictly && later == earlier))
        {
            return Err(Violation::of(*second, format!("it is not after `{first}`")));
        }
    }
    Ok(())
}

/// Properties that mean the same in every type, custom ones too.
const COMMON: &[&str] = &[
    "created",
    "modified",
    "created_by_ref",
    "revoked",
    "labels",
    "confidence",
    "lang",
    "external_references",
    "object_marking_refs",
    "granular_markings",
    "defanged",
];

fn check_value(name: &str, value: &Value) -> Checked {
    let must = |right: bool, what: &str| {
        if right {
            Ok(())
        } else {
            Err(Violation::of(name, format!("it must be {what}")))
        }
    };
    if STRINGS.contains(&name) {
        return must(value.is_string(), "a string");
    }
    if TIMESTAMPS.contains(&name) {
        let right = value.as_str().and_then(moment).is_some();
        return must(right, "a time such as 2026-11-23T12:00:00Z");
    }
    if BOOLEANS.contains(&name) {
        return must(value.is_boolean(), "true or false");
    }
    if LISTS.contains(&name) {
        let strings = value
            .as_array()
            .is_some_and(|list| list.iter().all(Value::is_string));
        return must(strings, "a list of strings");
    }
    if name == "confidence" {
        return must(
            value.as_i64().is_some_and(|n| (0..=100).contains(&n)),
            "a whole number, 0 to 100",
        );
    }
    if name == "number_observed" {
        let right = value
            .as_i64()
            .is_some_and(|n| (1..=999_999_999).contains(&n));
        return must(right, "a whole number, 1 to 999999999");
    }
    if name == "count" {
        let right = value
            .as_i64()
            .is_some_and(|n| (0..=999_999_999).contains(&n));
        return must(right, "a whole number, 0 to 999999999");
    }
    if name.ends_with("_ref") {
        let id = value
            .as_str()
            .ok_or_else(|| Violation::of(name, "it must be an id"))?;
        return check_id(name, id, target(name));
    }
    if name.ends_with("_refs") {
        let list = value
            .as_array()
            .ok_or_else(|| Violation::of(name, "it must be a list of ids"))?;
        for (at, item) in list.iter().enumerate() {
            let path = format!("{name}[{at}]");
            let id = item
                .as_str()
                .ok_or_else(|| Violation::of(&path, "it must be an id"))?;
            check_id(&path, id, target(name))?;
        }
    }
    Ok(())
}

fn target(name: &str) -> Option<&'static str> {
    TARGETS
        .iter()
        .find(|(property, _)| *property == name)
        .map(|(_, kind)| *kind)
}

/// An id is `type--UUID` (section 2.9).
fn check_id(property: &str, id: &str, kind: Option<&str>) -> Checked {
    let wrong = || {
        let shown: String = id.chars().take(100).collect();
        Violation::of(
            property,
            format!("`{shown}` is no id: {}--UUID", kind.unwrap_or("type")),
        )
    };
    let (found, uuid) = id.split_once("--").ok_or_else(wrong)?;
    let right = kind.is_none_or(|kind| found == kind)
        && !found.is_empty()
        && uuid.len() == 36
        && Uuid::try_parse(uuid).is_ok();
    if right { Ok(()) } else { Err(wrong()) }
}

/// A timestamp is RFC 3339 in UTC, with `T` and `Z` (section 2.15).
fn moment(text: &str) -> Option<OffsetDateTime> {
    let formed = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
    formed.then(|| OffsetDateTime::parse(text, &Rfc3339).ok())?
}

fn text<'a>(object: &'a Properties, name: &str) -> Checked<&'a str> {
    match object.get(name) {
        None => Err(Violation::of(name, "it is missing")),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Violation::of(name, "it must be a string")),
    }
}

fn check_hashes(path: &str, hashes: Option<&Value>) -> Checked {
    let Some(hashes) = hashes else { return Ok(()) };
    let hashes = hashes
        .as_object()
        .filter(|hashes| !hashes.is_empty())
        .ok_or_else(|| Violation::of(path, "it must name at least one hash"))?;
    for (algorithm, value) in hashes {
        let at = format!("{path}.{algorithm}");
        let value = value
            .as_str()
            .ok_or_else(|| Violation::of(&at, "it must be a string"))?;
        let length = HASHES
            .iter()
            .find(|(name, _)| name == algorithm)
            .map(|(_, length)| *length);
        if let Some(length) = length {
            let right = value.len() == length && value.bytes().all(|b| b.is_ascii_hexdigit());
            if !right {
                return Err(Violation::of(
                    at,
                    format!("it must have {length} hexadecimal digits"),
                ));
            }
        }
    }
    Ok(())
}

/// External references and kill chain phases (sections 2.5 and 2.11).
fn check_references(object: &Properties) -> Checked {
    let each = |name: &'static str, check: &dyn Fn(&str, &Properties) -> Checked| -> Checked {
        let Some(value) = object.get(name) else {
            return Ok(());
        };
        let list = value
            .as_array()
            .ok_or_else(|| Violation::of(name, "it must be a list"))?;
        for (at, item) in list.iter().enumerate() {
            let path = format!("{name}[{at}]");
            let item = item.as_object();
            check(
                &path,
                item.ok_or_else(|| Violation::of(&path, "it must be an object"))?,
            )?;
        }
        Ok(())
    };
    let has = |path: &str, item: &Properties, name: &str| {
        let right = item.get(name).is_some_and(Value::is_string);
        let wrong = || Violation::of(format!("{path}.{name}"), "it must be there, and a string");
        if right { Ok(()) } else { Err(wrong()) }
    };
    each("external_references", &|path, item| {
        has(path, item, "source_name")?;
        check_hashes(&format!("{path}.hashes"), item.get("hashes"))?;
        if ["description", "url", "external_id"]
            .iter()
            .any(|name| item.contains_key(*name))
        {
            return Ok(());
        }
        Err(Violation::of(
            path,
            "it must have a description, a url or an external_id",
        ))
    })?;
    each("kill_chain_phases", &|path, item| {
        has(path, item, "kill_chain_name")?;
        has(path, item, "phase_name")
    })
}

/// Granular markings (section 7.2.3): what they select must be there.
fn check_granular(object: &Properties) -> Checked {
    let Some(value) = object.get("granular_markings") else {
        return Ok(());
    };
    let list = value
        .as_array()
        .ok_or_else(|| Violation::of("granular_markings", "it must be a list"))?;
    for (at, marking) in list.iter().enumerate() {
        let path = format!("granular_markings[{at}]");
        let one = match (marking.get("marking_ref"), marking.get("lang")) {
            (Some(id), None) => {
                let path = format!("{path}.marking_ref");
                let id = id
                    .as_str()
                    .ok_or_else(|| Violation::of(&path, "it must be an id"))?;
                check_id(&path, id, Some("marking-definition"))
            }
            (None, Some(lang)) if lang.is_string() => Ok(()),
            _ => Err(Violation::of(
                &path,
                "it must have either a marking_ref or a lang",
            )),
        };
        one?;
        let selectors = marking.get("selectors").and_then(Value::as_array);
        let selectors = selectors.filter(|selectors| !selectors.is_empty());
        let path = format!("{path}.selectors");
        let selectors =
            selectors.ok_or_else(|| Violation::of(&path, "it must be a list of selectors"))?;
        for selector in selectors {
            let text = selector.as_str().unwrap_or_default();
            if text.is_empty() || !selects(object, text) {
                let shown: String = text.chars().take(100).collect();
                return Err(Violation::of(&path, format!("`{shown}` selects nothing")));
            }
        }
    }
    Ok(())
}

/// Whether a selector such as `external_references.[2].url` finds something.
fn selects(object: &Properties, selector: &str) -> bool {
    let mut steps = selector.split('.');
    let mut here = steps.next().and_then(|name| object.get(name));
    for step in steps {
        let index = step
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        here = match (here, index) {
            (Some(Value::Array(list)), Some(index)) => {
                index.parse::<usize>().ok().and_then(|at| list.get(at))
            }
            (Some(Value::Object(map)), None) => map.get(step),
            _ => None,
        };
    }
    here.is_some()
}

/// Rules of single types.
fn check_known(kind: &str, object: &Properties) -> Checked {
    let has = |name: &str| object.contains_key(name);
    match kind {
        "location" => {
            if has("latitude") != has("longitude") {
                return Err(Violation::of(
                    "latitude",
                    "latitude and longitude come together",
                ));
            }
            let within = |name: &str, limit: f64| {
                let number = object
                    .get(name)
                    .map(|value| value.as_f64().unwrap_or(f64::NAN));
                number.is_none_or(|number| number.abs() <= limit)
            };
            if !within("latitude", 90.0) {
                return Err(Violation::of("latitude", "it must be a number, -90 to 90"));
            }
            if !within("longitude", 180.0) {
                return Err(Violation::of(
                    "longitude",
                    "it must be a number, -180 to 180",
                ));
            }
            Ok(())
        }
        "malware" if object.get("is_family") == Some(&Value::Bool(true)) && !has("name") => {
            Err(Violation::of("name", "a malware family must have it"))
        }
        "marking-definition" if has("definition") != has("definition_type") => Err(Violation::of(
            "definition_type",
            "definition and definition_type come together",
        )),
        "observed-data" if has("objects") && has("object_refs") => Err(Violation::of(
            "objects",
            "it must have objects or object_refs, not both",
        )),
        "artifact" if has("payload_bin") && has("url") => Err(Violation::of(
            "url",
            "it must have payload_bin or url, not both",
        )),
        "artifact" if has("url") && !has("hashes") => {
            Err(Violation::of("hashes", "an artifact by url must have them"))
        }
        "process" | "user-account" | "windows-registry-key" | "x509-certificate" => {
            let general = [
                "type",
                "id",
                "spec_version",
                "object_marking_refs",
                "granular_markings",
                "defanged",
            ];
            if object.keys().all(|name| general.contains(&name.as_str())) {
                return Err(Violation::of("", format!("a {kind} must say something")));
            }
            Ok(())
        }
        "autonomous-system" if !object.get("number").is_some_and(Value::is_u64) => {
            Err(Violation::of("number", "it must be a whole number"))
        }
        "domain-name" | "email-addr" | "ipv4-addr" | "ipv6-addr" | "mac-addr" | "url" => {
            text(object, "value").map(|_| ())
        }
        "directory" => text(object, "path").map(|_| ()),
        _ => Ok(()),
    }
}
