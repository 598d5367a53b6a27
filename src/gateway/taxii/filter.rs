//! The query of a request: filters and paging (sections 3.4 and 3.5). What is malformed is refused; what
//! an endpoint does not know is passed over.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use thiserror::Error;
use url::form_urlencoded;

use super::store::{Entry, Position};
use super::version::{SpecVersion, Version, read_timestamp};
use crate::clock::Timestamp;

/// Bytes of a page token: format, moment, place among those of one moment, and what it was made for.
const TOKEN: usize = 1 + 8 + 4 + 8;
/// The format of page tokens.
const FORMAT: u8 = 1;

/// A query that is not understood: status 400.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum InvalidQuery {
    /// A parameter comes more than once.
    #[error("`{0}` is there more than once")]
    Twice(String),
    /// A value is malformed.
    #[error("`{name}` has to be {wanted}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What would be right.
        wanted: &'static str,
    },
    /// `next` comes with other filters than it was made for.
    #[error("`next` goes with the collection and the filters of the request that it came from")]
    OtherPage,
}

/// Which parameters an endpoint knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Of manifests and objects: all.
    Objects,
    /// Of one object: not id and type.
    Object,
    /// Of an object's versions: not version, either.
    Versions,
    /// To delete: version and specification only.
    Delete,
}

impl Known {
    fn has(self, name: &str) -> bool {
        match name {
            "match[id]" | "match[type]" => self == Self::Objects,
            "match[version]" => self != Self::Versions,
            "match[spec_version]" => true,
            "added_after" | "limit" | "next" => self != Self::Delete,
            _ => false,
        }
    }
}

/// Which versions of an object are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    All,
    Some {
        first: bool,
        last: bool,
        exact: Vec<Version>,
    },
}

impl Versions {
    const LAST: Self = Self::Some {
        first: false,
        last: true,
        exact: Vec::new(),
    };

    fn read(values: &[&str]) -> Result<Self, InvalidQuery> {
        let invalid = |wanted| InvalidQuery::Value {
            name: "match[version]",
            wanted,
        };
        if values == ["all"] {
            return Ok(Self::All);
        }
        let (mut first, mut last, mut exact) = (false, false, Vec::new());
        for value in values {
            let twice = match *value {
                "all" => return Err(invalid("`all` alone, or other versions without it")),
                "first" => std::mem::replace(&mut first, true),
                "last" => std::mem::replace(&mut last, true),
                text => {
                    let version = Version::read(text).ok_or_else(|| {
                        invalid("`first`, `last`, `all` or times such as 2016-01-01T01:01:01.000Z")
                    })?;
                    let twice = exact.contains(&version);
                    exact.push(version);
                    twice
                }
            };
            if twice {
                return Err(invalid("without a version that comes twice"));
            }
        }
        Ok(Self::Some { first, last, exact })
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) ids: Option<BTreeSet<String>>,
    pub(super) kinds: Option<BTreeSet<String>>,
    /// `None`: the latest specification of each object.
    pub(super) spec_versions: Option<BTreeSet<SpecVersion>>,
    pub(super) versions: Versions,
    pub(super) added_after: Option<Timestamp>,
    pub(super) limit: Option<usize>,
    /// The page begins after this position.
    pub(super) next: Option<Position>,
    /// Tells this request's filters from others, in page tokens.
    scope: [u8; 8],
}

impl Filter {
    /// Reads a query. `scope` is the resource that it is about: a page token is good there only.
    pub(super) fn read(query: &str, known: Known, scope: &str) -> Result<Self, InvalidQuery> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if known.has(&name) {
                if found.iter().any(|(other, _)| *other == name) {
                    return Err(InvalidQuery::Twice(name.into_owned()));
                }
                found.push((name.into_owned(), value.into_owned()));
            }
        }
        let value = |name: &str| {
            let found = found.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| value.as_str())
        };
        let versions = match list(&value, "match[version]")? {
            Some(values) => Versions::read(&values)?,
            None if known == Known::Versions => Versions::All,
            None => Versions::LAST,
        };
        let scope = digest_of(scope, &found);
        let next = value("next").map(|token| position(token, scope));
        Ok(Self {
            ids: list(&value, "match[id]")?.map(owned),
            kinds: list(&value, "match[type]")?.map(owned),
            spec_versions: specifications(&value)?,
            versions,
            added_after: value("added_after").map(added_after).transpose()?,
            limit: value("limit").map(limit).transpose()?,
            next: next.transpose()?,
            scope,
        })
    }

    /// Whether an entry is asked for, as far as that is seen from it alone.
    pub(super) fn matches(&self, entry: &Entry) -> bool {
        let added = entry.position.date_added;
        self.ids.as_ref().is_none_or(|ids| ids.contains(&entry.id))
            && self
                .kinds
                .as_ref()
                .is_none_or(|kinds| kinds.contains(&entry.kind))
            && self.added_after.is_none_or(|after| added > after)
    }

    /// The page token for what comes after a position.
    pub(super) fn token(&self, last: Position) -> String {
        let mut token = vec![FORMAT];
        token.extend(last.date_added.micros().to_be_bytes());
        token.extend(last.tie.to_be_bytes());
        token.extend(self.scope);
        BASE64URL_NOPAD.encode(&token)
    }
}

fn list<'a>(
    value: &impl Fn(&str) -> Option<&'a str>,
    name: &'static str,
) -> Result<Option<Vec<&'a str>>, InvalidQuery> {
    let Some(text) = value(name) else {
        return Ok(None);
    };
    let values: Vec<&str> = text.split(',').collect();
    if values.iter().any(|value| value.is_empty()) {
        let wanted = "values with commas between them";
        return Err(InvalidQuery::Value { name, wanted });
    }
    Ok(Some(values))
}

fn owned(values: Vec<&str>) -> BTreeSet<String> {
    values.into_iter().map(str::to_owned).collect()
}

fn specifications<'a>(
    value: &impl Fn(&str) -> Option<&'a str>,
) -> Result<Option<BTreeSet<SpecVersion>>, InvalidQuery> {
    let name = "match[spec_version]";
    let Some(values) = list(value, name)? else {
        return Ok(None);
    };
    let read: Result<_, ()> = values.iter().map(|value| value.parse()).collect();
    let wanted = "versions of STIX such as 2.1";
    read.map(Some)
        .map_err(|()| InvalidQuery::Value { name, wanted })
}

fn added_after(text: &str) -> Result<Timestamp, InvalidQuery> {
    read_timestamp(text).ok_or(InvalidQuery::Value {
        name: "added_after",
        wanted: "a time such as 2016-02-01T00:00:01.000000Z",
    })
}

fn limit(text: &str) -> Result<usize, InvalidQuery> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // One that is too large for us is more than any page holds.
    let number = digits.then(|| text.parse().unwrap_or(usize::MAX));
    number
        .filter(|number| *number > 0)
        .ok_or(InvalidQuery::Value {
            name: "limit",
            wanted: "a whole number above 0",
        })
}

/// Of the resource and every parameter but the place and size of a page.
fn digest_of(scope: &str, parameters: &[(String, String)]) -> [u8; 8] {
    let mut parameters: Vec<_> = parameters.iter().collect();
    parameters.retain(|(name, _)| name != "next" && name != "limit");
    parameters.sort();
    let mut text = scope.to_owned();
    for (name, value) in parameters {
        text.push('\0');
        text.push_str(name);
        text.push('\0');
        text.push_str(value);
    }
    let mut short = [0; 8];
    let whole = digest(&SHA256, text.as_bytes());
    for (to, from) in short.iter_mut().zip(whole.as_ref()) {
        *to = *from;
    }
    short
}

fn position(token: &str, scope: [u8; 8]) -> Result<Position, InvalidQuery> {
    let invalid = InvalidQuery::Value {
        name: "next",
        wanted: "what the page before said",
    };
    let read = || {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let bytes: [u8; TOKEN] = bytes.try_into().ok()?;
        let (format, rest) = bytes.split_first()?;
        let (moment, rest) = rest.split_first_chunk()?;
        let (tie, made_for) = rest.split_first_chunk()?;
        let position = Position {
            date_added: Timestamp::from_micros(i64::from_be_bytes(*moment))?,
            tie: u32::from_be_bytes(*tie),
        };
        (*format == FORMAT).then_some((position, made_for == scope))
    };
    match read() {
        None => Err(invalid),
        Some((_, false)) => Err(InvalidQuery::OtherPage),
        Some((position, true)) => Ok(position),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(query: &str) -> Result<Filter, InvalidQuery> {
        Filter::read(query, Known::Objects, "/a/")
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=-20", "limit"),
            ("limit=ten", "limit"),
            ("limit=", "limit"),
            ("limit=%2B1", "limit"),
            ("limit=1&limit=2", "limit"),
            ("added_after=2016", "added_after"),
            ("added_after=", "added_after"),
            (
                "added_after=2016-01-01T00:00:00Z&added_after=2016-01-01T00:00:00Z",
                "added_after",
            ),
            (
                "added_after=2016-01-01T00:00:00Z,2017-01-01T00:00:00Z",
                "added_after",
            ),
            ("match[version]=all,last", "match[version]"),
            ("match[version]=last,last", "match[version]"),
            ("match[version]=2016", "match[version]"),
            (
                "match[version]=2016-01-01T00:00:00Z,2016-01-01T00:00:00.000Z",
                "match[version]",
            ),
            ("match[type]=", "match[type]"),
            ("match[type]=a&match[type]=b", "match[type]"),
            ("match%5Bid%5D=a,,b", "match[id]"),
            ("match[spec_version]=two", "match[spec_version]"),
            ("next=", "next"),
            ("next=AAAA", "next"),
        ] {
            let error = read(query).unwrap_err().to_string();
            assert!(error.contains(name), "{query}: {error}");
        }
    }

    #[test]
    fn what_an_endpoint_does_not_know_is_passed_over() {
        let plain = read("").unwrap();
        assert_eq!(read("match[colour]=red&x=1&x=2").unwrap(), plain);
        let object = Filter::read("match[type]=,&match[id]=,", Known::Object, "/a/").unwrap();
        assert_eq!(object.kinds, None);
        assert_eq!(plain.versions, Versions::LAST);
        let versions = Filter::read("match[version]=first", Known::Versions, "/a/").unwrap();
        assert_eq!(versions.versions, Versions::All);
        assert_eq!(
            read("limit=99999999999999999999999").unwrap().limit,
            Some(usize::MAX)
        );
    }

    #[test]
    fn a_page_token_is_good_for_the_same_filters_only() {
        let filter = read("match[type]=indicator&limit=2").unwrap();
        let position = Position {
            date_added: Timestamp::from_micros(1_700_000_000_000_001).unwrap(),
            tie: 3,
        };
        let token = filter.token(position);
        let next = |query: &str| read(&format!("{query}&next={token}"));
        assert_eq!(
            next("limit=5&match[type]=indicator").unwrap().next,
            Some(position)
        );
        assert_eq!(
            next("match[type]=indicator,malware"),
            Err(InvalidQuery::OtherPage)
        );
        assert_eq!(next(""), Err(InvalidQuery::OtherPage));
        let other = format!("match[type]=indicator&next={token}");
        let other = Filter::read(&other, Known::Objects, "/b/");
        assert_eq!(other, Err(InvalidQuery::OtherPage));
    }

    proptest! {
        #[test]
        fn no_query_breaks_it(query in ".{0,200}", names in "(limit|next|added_after|match\\[[a-z_]{2,12}\\])=.{0,40}") {
            let _ = read(&query);
            let _ = read(&names);
        }
    }
}
