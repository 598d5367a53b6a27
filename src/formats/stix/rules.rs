//! The structural MUSTs of STIX 2.1.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::tables::{
    BOOLEANS, COMMON, Category, HASHES, LISTS, ORDERED, STRINGS, TARGETS, TIMESTAMPS, TYPES,
};
use super::values;

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

pub(super) type Checked<T = ()> = Result<T, Violation>;
type Properties = Map<String, Value>;

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
        None if object.contains_key("created") || object.contains_key("modified") => {
            Category::Versioned
        }
        None => Category::Observable,
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
        values::check(kind, object)?;
    }
    Ok((kind, id))
}

/// Whether a type of the specification has versions.
pub(super) fn is_versioned(kind: &str) -> bool {
    let rule = TYPES.iter().find(|(name, ..)| *name == kind);
    rule.is_some_and(|(_, category, ..)| *category == Category::Versioned)
}

/// STIX 2.0 objects have no `spec_version` of their own: they are refused by name.
fn check_version(object: &Properties, category: Category) -> Checked {
    match object.get("spec_version").map(Value::as_str) {
        Some(Some("2.1")) => Ok(()),
        None if category == Category::Observable => Ok(()),
        Some(Some("2.0")) | None => Err(Violation::of(
            "spec_version",
            "this is STIX 2.0, and not upgraded here: see docs/stix.md",
        )),
        Some(_) => Err(Violation::of("spec_version", "it must be \"2.1\"")),
    }
}

/// What holds for every object.
fn check_common(object: &Properties, category: Category, known: bool) -> Checked {
    if category != Category::Observable {
        text(object, "created")?;
    }
    if category == Category::Versioned {
        text(object, "modified")?;
    }
    if category == Category::Marking && object.contains_key("modified") {
        return Err(Violation::of(
            "modified",
            "a marking definition has no versions",
        ));
    }
    for (name, value) in object {
        let well_named = (1..=250).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !well_named {
            let shown: String = name.chars().take(60).collect();
            return Err(Violation::of(
                shown,
                "a property's name is 1 to 250 of a-z 0-9 _, from a letter on",
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
        && Uuid::try_parse(uuid).is_ok_and(|uuid| is_rfc(&uuid));
    if right { Ok(()) } else { Err(wrong()) }
}

/// A UUID of RFC 9562, of any of its versions: other tools refuse what only looks like one.
fn is_rfc(uuid: &Uuid) -> bool {
    uuid.get_variant() == uuid::Variant::RFC4122 && (1..=8).contains(&uuid.get_version_num())
}

/// A timestamp is RFC 3339 in UTC, with `T` and `Z` (section 2.15).
pub(super) fn moment(text: &str) -> Option<OffsetDateTime> {
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
        // The keys of a dictionary (section 2.7).
        if !(3..=250).contains(&algorithm.len()) {
            return Err(Violation::of(
                at,
                "an algorithm's name has 3 to 250 characters",
            ));
        }
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
        check_external_id(path, item)?;
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

/// Ids of CVE and CAPEC are written as their authorities write them (section 2.5).
fn check_external_id(path: &str, item: &Properties) -> Checked {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
    let digits =
        |text: &str, least: usize| text.len() >= least && text.bytes().all(|b| b.is_ascii_digit());
    let (source, id) = (text("source_name"), text("external_id"));
    let (right, example) = match source.to_ascii_lowercase().as_str() {
        "cve" => {
            let number = id
                .strip_prefix("CVE-")
                .and_then(|rest| rest.split_once('-'));
            let right = |(year, number): (&str, &str)| {
                year.len() == 4 && digits(year, 4) && digits(number, 4)
            };
            (
                source == "cve" && number.is_some_and(right),
                "cve: CVE-2026-12345",
            )
        }
        "capec" => {
            let number = id.strip_prefix("CAPEC-");
            let right = number.is_some_and(|number| digits(number, 1));
            (source == "capec" && right, "capec: CAPEC-163")
        }
        _ => return Ok(()),
    };
    if right {
        return Ok(());
    }
    Err(Violation::of(
        format!("{path}.external_id"),
        format!("source and id are written as in {example}"),
    ))
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
