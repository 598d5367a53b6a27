//! What is no indicator: addresses of everybody's resolvers, empty files' hashes, reserved ranges. In
//! the JSON format of MISP's warninglists, so that theirs can be used as they are.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use thiserror::Error;

use crate::bulletin::Content;

/// The largest list.
pub const MAX_WARNINGLIST_BYTES: usize = 64 * 1024 * 1024;
/// The largest compiled expression.
const MAX_REGEX_BYTES: usize = 1024 * 1024;
/// What PHP and JavaScript allow after the closing delimiter of an expression.
const FLAGS: &[u8] = b"imsxuADSUXJgyvd";

/// A file that is no warninglist.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WarninglistError {
    /// Too large.
    #[error("the list has {0} bytes; at most {MAX_WARNINGLIST_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON, or not a list's.
    #[error("it is no warninglist: {0}")]
    NoList(String),
    /// An entry that is not of the list's type.
    #[error("`{0}` is no entry of a list of type `{1}`")]
    Entry(String, &'static str),
}

#[derive(Deserialize)]
struct File {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    list: Vec<String>,
    #[serde(default)]
    matching_attributes: Vec<String>,
}

#[derive(Debug)]
enum Entries {
    /// By length of the prefix.
    Cidr(BTreeMap<u8, HashSet<IpNet>>),
    Hostname(HashSet<String>),
    String(HashSet<String>),
    Substring(Vec<String>),
    Regex(Vec<Regex>),
}

#[derive(Debug)]
struct List {
    name: String,
    /// MISP's types of attributes to which it applies; none: all.
    attributes: Vec<String>,
    entries: Entries,
}

/// Warninglists that are checked together.
#[derive(Debug, Default)]
pub struct Warninglists(Vec<List>);

impl Warninglists {
    /// Adds a list.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), WarninglistError> {
        if bytes.len() > MAX_WARNINGLIST_BYTES {
            return Err(WarninglistError::TooLarge(bytes.len()));
        }
        let file: File = serde_json::from_slice(bytes)
            .map_err(|error| WarninglistError::NoList(error.to_string()))?;
        let entries = entries(&file.kind, &file.list)?;
        self.0.push(List {
            name: file.name,
            attributes: file.matching_attributes,
            entries,
        });
        Ok(())
    }

    /// The names of the lists on which an indicator is.
    pub fn check(&self, content: &Content) -> Vec<&str> {
        let values = values(content);
        let on = |list: &&List| {
            values.iter().any(|(kinds, value)| {
                let applies = list.attributes.is_empty()
                    || list
                        .attributes
                        .iter()
                        .any(|one| kinds.contains(&one.as_str()));
                applies && list.entries.has(value)
            })
        };
        self.0
            .iter()
            .filter(on)
            .map(|list| list.name.as_str())
            .collect()
    }
}

fn entries(kind: &str, list: &[String]) -> Result<Entries, WarninglistError> {
    let wrong = |entry: &str, kind| WarninglistError::Entry(entry.chars().take(80).collect(), kind);
    let lower = || list.iter().map(|entry| entry.trim().to_lowercase());
    Ok(match kind {
        "cidr" => {
            let mut nets: BTreeMap<u8, HashSet<IpNet>> = BTreeMap::new();
            for entry in list {
                let net = entry.trim().parse::<IpNet>().ok();
                let net = net.or_else(|| Some(entry.trim().parse::<IpAddr>().ok()?.into()));
                let net = net.ok_or_else(|| wrong(entry, "cidr"))?.trunc();
                nets.entry(net.prefix_len()).or_default().insert(net);
            }
            Entries::Cidr(nets)
        }
        "hostname" => Entries::Hostname(
            lower()
                .map(|name| name.trim_matches('.').to_owned())
                .collect(),
        ),
        "string" => Entries::String(lower().collect()),
        "substring" => Entries::Substring(lower().filter(|entry| !entry.is_empty()).collect()),
        "regex" => {
            let compiled = list.iter().map(|entry| {
                let regex = RegexBuilder::new(undelimited(entry))
                    .case_insensitive(true)
                    .size_limit(MAX_REGEX_BYTES)
                    .build();
                regex.map_err(|_| wrong(entry, "regex"))
            });
            Entries::Regex(compiled.collect::<Result<_, _>>()?)
        }
        other => {
            let reason = format!(
                "its type is `{}`",
                other.chars().take(40).collect::<String>()
            );
            return Err(WarninglistError::NoList(reason));
        }
    })
}

/// A regular expression without delimiters and flags, where it has them: `/^a/i`.
fn undelimited(entry: &str) -> &str {
    let inner = entry
        .strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'));
    match inner {
        Some((inner, flags)) if flags.bytes().all(|b| FLAGS.contains(&b)) => inner,
        _ => entry,
    }
}

impl Entries {
    fn has(&self, value: &str) -> bool {
        match self {
            Self::Cidr(nets) => {
                let net = value.parse::<IpNet>().ok();
                let net = net.or_else(|| Some(value.parse::<IpAddr>().ok()?.into()));
                // A range is on the list where all of it is.
                net.is_some_and(|net| {
                    nets.iter().any(|(length, nets)| {
                        let wider = IpNet::new(net.addr(), *length).ok();
                        *length <= net.prefix_len()
                            && wider.is_some_and(|wider| nets.contains(&wider.trunc()))
                    })
                })
            }
            Self::Hostname(names) => {
                let lower = value.to_lowercase();
                let mut rest = lower.as_str();
                loop {
                    if names.contains(rest) {
                        return true;
                    }
                    match rest.split_once('.') {
                        Some((_, parent)) => rest = parent,
                        None => return false,
                    }
                }
            }
            Self::String(values) => values.contains(&value.to_lowercase()),
            Self::Substring(parts) => {
                let lower = value.to_lowercase();
                parts.iter().any(|part| lower.contains(part))
            }
            Self::Regex(all) => all.iter().any(|regex| regex.is_match(value)),
        }
    }
}

/// The values of an indicator, each with the types that it has in MISP.
fn values(content: &Content) -> Vec<(&'static [&'static str], String)> {
    const IP: &[&str] = &[
        "ip-src",
        "ip-dst",
        "domain|ip",
        "ip-src|port",
        "ip-dst|port",
    ];
    const NAME: &[&str] = &["domain", "hostname", "domain|ip"];
    const FILE: [&[&str]; 5] = [
        &["filename"],
        &["md5", "filename|md5"],
        &["sha1", "filename|sha1"],
        &["sha256", "filename|sha256"],
        &["sha512", "filename|sha512"],
    ];
    let own =
        |kinds: &'static [&'static str], value: &dyn ToString| vec![(kinds, value.to_string())];
    match content {
        Content::Ip(one) => own(IP, &one.value),
        Content::IpRange(one) => own(IP, &one.value),
        Content::Domain(one) => own(NAME, &one.value),
        Content::Url(one) => {
            let mut values = own(&["url", "link", "uri"], &one.value);
            let url = url::Url::parse(one.value.as_str()).ok();
            // A list of names that applies to URLs applies to their hosts.
            if let Some(host) = url.as_ref().and_then(url::Url::host_str) {
                values.push((
                    &["url", "domain", "hostname"],
                    host.trim_matches(['[', ']']).to_owned(),
                ));
            }
            values
        }
        Content::Email(one) => {
            let mut values = own(&["email", "email-src", "email-dst"], &one.value);
            if let Some((_, domain)) = one.value.as_str().rsplit_once('@') {
                values.push((
                    &["email", "email-src", "email-dst", "domain"],
                    domain.to_owned(),
                ));
            }
            values
        }
        Content::AsNumber(one) => own(&["AS"], &format!("AS{}", one.value)),
        Content::Telephone(one) => own(&["phone-number"], &one.number),
        Content::File(file) => {
            let known = [
                file.name.as_ref().map(ToString::to_string),
                file.md5.as_ref().map(ToString::to_string),
                file.sha1.as_ref().map(ToString::to_string),
                file.sha256.as_ref().map(ToString::to_string),
                file.sha512.as_ref().map(ToString::to_string),
            ];
            let pairs = FILE.into_iter().zip(known);
            pairs
                .filter_map(|(kinds, value)| Some((kinds, value?)))
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lists() -> Warninglists {
        let mut lists = Warninglists::default();
        for (name, kind, list, attributes) in [
            (
                "resolvers",
                "cidr",
                json!(["8.8.8.8/32", "2001:db8::/32"]),
                json!(["ip-src", "ip-dst", "url"]),
            ),
            ("private", "cidr", json!(["10.0.0.0/8"]), json!([])),
            (
                "top",
                "hostname",
                json!([".example.com", "a.test"]),
                json!(["domain", "hostname", "url"]),
            ),
            (
                "empty",
                "string",
                json!(["D41D8CD98F00B204E9800998ECF8427E"]),
                json!(["md5"]),
            ),
            ("words", "substring", json!(["simulat"]), json!(["domain"])),
            (
                "numbers",
                "regex",
                json!(["/((?:\\+|00)1)?([0-9]{3})55501([0-9]{2})/g"]),
                json!(["phone-number"]),
            ),
        ] {
            let file = json!({"name": name, "type": kind, "list": list, "matching_attributes": attributes});
            lists.add(file.to_string().as_bytes()).unwrap();
        }
        lists
    }

    #[test]
    fn each_type_of_list_matches_as_it_says() {
        let lists = lists();
        for (kind, field, value, expected) in [
            ("ip", "value", "8.8.8.8", &["resolvers"][..]),
            ("ip", "value", "8.8.8.9", &[]),
            ("ip", "value", "2001:db8::1", &["resolvers"]),
            ("ip-range", "value", "10.1.0.0/16", &["private"]),
            ("ip-range", "value", "0.0.0.0/0", &[]),
            ("domain", "value", "WWW.example.com", &["top"]),
            ("domain", "value", "notexample.com", &[]),
            ("domain", "value", "simulation.test", &["words"]),
            ("url", "value", "https://a.test/x", &["top"]),
            ("url", "value", "https://8.8.8.8/x", &["resolvers"]),
            (
                "file",
                "md5",
                "d41d8cd98f00b204e9800998ecf8427e",
                &["empty"],
            ),
            ("telephone", "number", "+12125550123", &["numbers"]),
        ] {
            let content = serde_json::from_value(json!({"type": kind, field: value})).unwrap();
            assert_eq!(lists.check(&content), expected, "{value}");
        }
    }

    #[test]
    fn only_what_has_delimiters_loses_them() {
        for (entry, bare) in [
            ("/^a$/", "^a$"),
            ("/^a$/i", "^a$"),
            (r"/^https:\/\/a\//", r"^https:\/\/a\/"),
            (r"^https?://a\.example/b$", r"^https?://a\.example/b$"),
            ("a/b", "a/b"),
            ("/etc/passwd", "/etc/passwd"),
            ("/a", "/a"),
        ] {
            assert_eq!(undelimited(entry), bare);
        }
        let mut lists = Warninglists::default();
        let file = json!({"name": "x", "type": "regex", "list": [r"^https://a\.example/b$"]});
        lists.add(file.to_string().as_bytes()).unwrap();
        let url = |value: &str| {
            let content = json!({"type": "url", "value": value});
            serde_json::from_value::<Content>(content).unwrap()
        };
        assert_eq!(lists.check(&url("https://a.example/b")), ["x"]);
        assert_eq!(lists.check(&url("https://a.example/c")), [""; 0]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let mut lists = Warninglists::default();
        let mut add = |kind: &str, entry: &str| {
            let file = json!({"name": "x", "type": kind, "list": [entry]});
            lists.add(file.to_string().as_bytes())
        };
        assert!(matches!(
            add("cidr", "no net"),
            Err(WarninglistError::Entry(..))
        ));
        assert!(matches!(
            add("regex", "("),
            Err(WarninglistError::Entry(..))
        ));
        let bomb = "(((a{100}){100}){100}){100}";
        assert!(matches!(
            add("regex", bomb),
            Err(WarninglistError::Entry(..))
        ));
        assert!(matches!(add("poem", "a"), Err(WarninglistError::NoList(_))));
    }
}
