//! MUSTs about the values of single types, cyber-observable objects above all (section 6).

use serde_json::{Map, Value};

use super::pattern;
use super::registries::{is_character_set, is_language};
use super::rules::{Checked, Violation, moment};
use crate::bulletin::content::{Email, IpAddress};

type Properties = Map<String, Value>;

/// Times that stand deeper in an observable than its own properties.
const INNER_TIMES: [&str; 3] = [
    "time_date_stamp",
    "private_key_usage_period_not_before",
    "private_key_usage_period_not_after",
];

/// Checks what the properties of this type say.
pub(super) fn check(kind: &str, object: &Properties) -> Checked {
    let value = object.get("value").and_then(Value::as_str);
    let must = |name: &str, right: bool, what: &str| {
        if right {
            Ok(())
        } else {
            Err(Violation::of(name, format!("it must be {what}")))
        }
    };
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    match kind {
        "ipv4-addr" | "ipv6-addr" => {
            let right = value.is_some_and(|value| is_network(value, kind == "ipv6-addr"));
            must("value", right, "an address or a range of them")
        }
        "url" => must("value", value.is_some_and(is_uri), "an absolute URI"),
        "email-addr" => {
            // The address alone: a display name has a property of its own.
            let right = |value: &str| value.parse::<Email>().is_ok() && !value.ends_with('>');
            must("value", value.is_some_and(right), "an e-mail address")
        }
        "email-message" if object.get("is_multipart") == Some(&Value::Bool(false)) => {
            let right = !object.contains_key("body_multipart");
            must(
                "body_multipart",
                right,
                "left out where is_multipart is false",
            )
        }
        "artifact" => check_artifact(object),
        "process" => {
            let id = text("id").unwrap_or_default();
            let version = id.bytes().rev().nth(21);
            must("id", version == Some(b'4'), "a random UUID (version 4)")
        }
        "software" => {
            let right = text("cpe").is_none_or(is_cpe);
            must("cpe", right, "a name of CPE 2.3")?;
            let languages = object.get("languages").and_then(Value::as_array);
            let mut codes = languages.into_iter().flatten().map(Value::as_str);
            let right = codes.all(|code| code.is_some_and(is_language));
            must("languages", right, "codes of ISO 639-2")
        }
        "directory" | "file" => {
            let name = if kind == "file" {
                "name_enc"
            } else {
                "path_enc"
            };
            let right = text(name).is_none_or(is_character_set);
            must(name, right, "a character set of IANA's registry")
        }
        "windows-registry-key" => {
            let hives = ["hklm", "hkcc", "hkcr", "hkcu", "hku"];
            let key = text("key").unwrap_or_default().to_ascii_lowercase();
            let hive = key.split('\\').next().unwrap_or_default();
            must(
                "key",
                !hives.contains(&hive),
                "written with the hive's full name",
            )
        }
        "observed-data" => check_observed(object),
        "indicator" if text("pattern_type") == Some("stix") => check_pattern(object),
        _ => Ok(()),
    }?;
    if !super::rules::is_versioned(kind) && object.contains_key("action") {
        let reason = "the OASIS schema of observables reserves this name";
        return Err(Violation::of("action", reason));
    }
    if let Some(extensions) = object.get("extensions") {
        check_extensions(extensions)?;
    }
    let inner = ["extensions", "x509_v3_extensions"];
    inner
        .iter()
        .filter_map(|name| object.get(*name))
        .try_for_each(check_inner_times)
}

/// An address, or with a prefix length of decimal digits a range.
fn is_network(text: &str, v6: bool) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let right_prefix = prefix.is_none_or(|prefix| {
        let canonical = prefix == "0" || !prefix.starts_with('0');
        let digits = prefix.bytes().all(|b| b.is_ascii_digit());
        let length = prefix.parse::<u8>();
        canonical && digits && length.is_ok_and(|bits| bits <= if v6 { 128 } else { 32 })
    });
    address.parse::<IpAddress>().is_ok() && address.contains(':') == v6 && right_prefix
}

/// By its scheme: what follows is whatever was observed.
fn is_uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && !rest.is_empty()
    })
}

/// `cpe:2.3:` and eleven components, of which `\:` ends none (NISTIR 7695, section 6.2).
fn is_cpe(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("cpe:2.3:") else {
        return false;
    };
    let mut components = 1;
    let mut escaped = false;
    for c in rest.chars() {
        match c {
            ':' if !escaped => components += 1,
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    components == 11 && rest.starts_with(['a', 'h', 'o', '*', '-'])
}

fn check_artifact(object: &Properties) -> Checked {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    if let Some(kind) = text("mime_type")
        && !is_media_type(kind)
    {
        return Err(Violation::of("mime_type", "it must be a media type"));
    }
    if let Some(payload) = object.get("payload_bin") {
        let right = payload.as_str().is_some_and(is_base64);
        if !right {
            return Err(Violation::of("payload_bin", "it must be base64"));
        }
    }
    if text("url").is_some_and(|url| !is_uri(url)) {
        return Err(Violation::of("url", "it must be an absolute URI"));
    }
    let algorithm = text("encryption_algorithm");
    let known = ["AES-256-GCM", "ChaCha20-Poly1305", "mime-type-indicated"];
    if algorithm.is_some_and(|name| !known.contains(&name)) {
        let reason = format!("it must be one of {}", known.join(", "));
        return Err(Violation::of("encryption_algorithm", reason));
    }
    if object.contains_key("decryption_key") && algorithm.is_none() {
        let reason = "it comes with an encryption_algorithm";
        return Err(Violation::of("decryption_key", reason));
    }
    Ok(())
}

/// A type of IANA's registry, by its top level.
pub(super) fn is_media_type(text: &str) -> bool {
    let known = [
        "application",
        "audio",
        "font",
        "image",
        "message",
        "model",
        "multipart",
        "text",
        "video",
    ];
    text.split_once('/').is_some_and(|(first, second)| {
        known.contains(&first)
            && !second.is_empty()
            && second
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-+._".contains(&b))
    })
}

/// Base64 (RFC 4648) by its alphabet and padding; real payloads have bits left over at their end.
fn is_base64(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    text.len().is_multiple_of(4)
        && text.len() - bare.len() <= 2
        && !bare.is_empty()
        && bare.bytes().all(alphabet)
}

/// What is observed are observables and relations between them (section 4.14).
fn check_observed(object: &Properties) -> Checked {
    if object
        .get("objects")
        .is_some_and(|objects| !objects.is_object())
    {
        return Err(Violation::of("objects", "it must be a dictionary"));
    }
    let refs = object.get("object_refs").and_then(Value::as_array);
    for (at, id) in refs.into_iter().flatten().enumerate() {
        let kind = id.as_str().and_then(|id| id.split("--").next());
        let kind = kind.unwrap_or_default();
        if super::rules::is_versioned(kind) && !matches!(kind, "relationship" | "sighting") {
            let path = format!("object_refs[{at}]");
            return Err(Violation::of(path, format!("a {kind} is not observed")));
        }
    }
    Ok(())
}

fn check_pattern(object: &Properties) -> Checked {
    let Some(text) = object.get("pattern").and_then(Value::as_str) else {
        return Ok(());
    };
    match pattern::parse(text) {
        Err(error) if !error.beyond_limits => Err(Violation::of(
            "pattern",
            format!("it is no pattern: {error}"),
        )),
        // What is too long to be looked into is not therefore wrong.
        _ => Ok(()),
    }
}

/// Extensions of an observable are named `...-ext` or by their definition (sections 6 and 7.3).
fn check_extensions(extensions: &Value) -> Checked {
    let Some(extensions) = extensions.as_object() else {
        return Err(Violation::of("extensions", "it must be a dictionary"));
    };
    for (name, extension) in extensions {
        let shown: String = name.chars().take(80).collect();
        let path = format!("extensions.{shown}");
        let words = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let right = name.starts_with("extension-definition--") || (name.ends_with("-ext") && words);
        if !right {
            let reason = "an extension is named by its definition, or -ext";
            return Err(Violation::of(path, reason));
        }
        if !extension.is_object() {
            return Err(Violation::of(path, "it must be a dictionary"));
        }
    }
    Ok(())
}

/// Times within extensions; as deep as JSON is read, which has a limit.
fn check_inner_times(value: &Value) -> Checked {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(name, inner)| {
            let time = inner
                .as_str()
                .filter(|_| INNER_TIMES.contains(&name.as_str()));
            if time.is_some_and(|time| moment(time).is_none()) {
                return Err(Violation::of(
                    name,
                    "it must be a time such as 2026-11-23T12:00:00Z",
                ));
            }
            check_inner_times(inner)
        }),
        Value::Array(list) => list.iter().try_for_each(check_inner_times),
        _ => Ok(()),
    }
}
