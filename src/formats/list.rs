//! Lists of indicators for firewalls and SIEMs: plain, a value on a line, or CSV; and plain lists in.
//!
//! What has expired or does not hold yet, was taken back or superseded, is an exercise or is not for
//! detection (confidence 0, or STIX's `benign`) is in no list. A list has no room for markings: CSV tells the TLP of each value, and a plain list is for what
//! its reader has sorted out before.

use std::collections::BTreeMap;

use thiserror::Error;

use super::stix::typed_indicator;
use super::{Disclosed, DisclosedPart, Labels};
use crate::bulletin::content::{Context, Indicator, Line, Md5, Sha1, Sha256, Sha512};
use crate::bulletin::{BulletinId, Content, Draft, DraftPart, Tlp};
use crate::clock::Timestamp;

/// The most lines of a list that is read.
pub const MAX_LINES: usize = 1_000_000;
/// Indicators of one bulletin, as for STIX.
const MAX_PARTS: usize = 1_000;
/// The largest list that is read.
pub const MAX_LIST_BYTES: usize = 64 * 1024 * 1024;

/// A value in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is: `ip`, `ip-range`, `domain`, `url`, `email`, `md5`, `sha1`, `sha256`, `sha512`.
    pub kind: &'static str,
    /// The value.
    pub value: String,
    /// From then on it is not good any more.
    pub expires: Timestamp,
    /// How far it may go.
    pub tlp: Tlp,
    /// 0 to 100, where that was said.
    pub confidence: Option<u8>,
    /// Where it comes from.
    pub bulletin: BulletinId,
    /// For analysts.
    pub comment: String,
}

/// The values of bulletins that are good at one moment, each once: of several, that which is good longest,
/// and at the strictest level of them.
#[derive(Clone, Debug)]
pub struct Entries {
    now: Timestamp,
    found: BTreeMap<(&'static str, String), Entry>,
}

impl Entries {
    /// None yet.
    pub const fn new(now: Timestamp) -> Self {
        Self {
            now,
            found: BTreeMap::new(),
        }
    }

    /// Adds those of a bulletin.
    pub fn add(&mut self, bulletin: &Disclosed) {
        let now = self.now;
        let good = bulletin.ended().is_none() && !bulletin.exercise && bulletin.valid_from <= now;
        if !good {
            return;
        }
        let entries = bulletin
            .parts
            .iter()
            .flat_map(|part| entries_of(bulletin, part, now));
        for entry in entries {
            if entry.expires <= now || entry.confidence == Some(0) {
                continue;
            }
            let key = (entry.kind, entry.value.clone());
            match self.found.get_mut(&key) {
                None => {
                    self.found.insert(key, entry);
                }
                Some(known) => {
                    let tlp = known.tlp.max(entry.tlp);
                    if known.expires < entry.expires {
                        *known = entry;
                    }
                    known.tlp = tlp;
                }
            }
        }
    }

    /// All of them, by kind and value.
    pub fn finish(self) -> Vec<Entry> {
        self.found.into_values().collect()
    }
}

/// [`Entries`] of these bulletins.
pub fn entries<'a>(
    bulletins: impl IntoIterator<Item = &'a Disclosed>,
    now: Timestamp,
) -> Vec<Entry> {
    let mut entries = Entries::new(now);
    for bulletin in bulletins {
        entries.add(bulletin);
    }
    entries.finish()
}

fn entries_of(bulletin: &Disclosed, part: &DisclosedPart, now: Timestamp) -> Vec<Entry> {
    let (contents, until) = match &part.content {
        Content::Stix(stix) => match typed_indicator(&stix.json) {
            Some(typed) if typed.valid_from.is_none_or(|from| from <= now) => {
                (typed.contents, typed.valid_until)
            }
            _ => return Vec::new(),
        },
        content => (vec![content.clone()], None),
    };
    let expires = until.map_or(bulletin.valid_until, |until| {
        until.min(bulletin.valid_until)
    });
    let mut entries = Vec::new();
    for content in &contents {
        let (values, context) = values_of(content);
        for (kind, value) in values {
            let comment = context.and_then(|context| context.comment.as_ref());
            entries.push(Entry {
                kind,
                value,
                expires,
                tlp: bulletin.tlp_of(part),
                confidence: context.and_then(|context| context.confidence),
                bulletin: bulletin.id,
                comment: comment.map(ToString::to_string).unwrap_or_default(),
            });
        }
    }
    entries
}

/// What of a content a list can say. Of several hashes of a file each is a value; its name is none,
/// which would be found everywhere.
fn values_of(content: &Content) -> (Vec<(&'static str, String)>, Option<&Context>) {
    fn one<'a, T: ToString>(
        kind: &'static str,
        one: &'a Indicator<T>,
    ) -> (Vec<(&'static str, String)>, Option<&'a Context>) {
        (vec![(kind, one.value.to_string())], one.context.as_ref())
    }
    match content {
        Content::Ip(ip) => one("ip", ip),
        Content::IpRange(range) => one("ip-range", range),
        Content::Domain(domain) => one("domain", domain),
        Content::Url(url) => one("url", url),
        Content::Email(email) => one("email", email),
        Content::File(file) => {
            let hashes = [
                ("md5", file.md5.as_ref().map(Md5::as_str)),
                ("sha1", file.sha1.as_ref().map(Sha1::as_str)),
                ("sha256", file.sha256.as_ref().map(Sha256::as_str)),
                ("sha512", file.sha512.as_ref().map(Sha512::as_str)),
            ];
            let hashes = hashes
                .into_iter()
                .filter_map(|(kind, hash)| Some((kind, hash?.to_owned())));
            (hashes.collect(), file.context.as_ref())
        }
        _ => (Vec::new(), None),
    }
}

/// A plain list: the values of one kind, a line each.
pub fn plain(entries: &[Entry], kind: &str) -> String {
    let values = entries.iter().filter(|entry| entry.kind == kind);
    values
        .flat_map(|entry| [entry.value.as_str(), "\n"])
        .collect()
}

/// All values as CSV (RFC 4180) with a header. A cell that a spreadsheet would take for a formula
/// begins with an apostrophe.
pub fn csv(entries: &[Entry]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = [
        "type",
        "value",
        "expires",
        "tlp",
        "confidence",
        "bulletin",
        "comment",
    ];
    // Writing to memory does not fail.
    let _ = writer.write_record(header);
    for entry in entries {
        let cells = [
            entry.kind.to_owned(),
            entry.value.clone(),
            entry.expires.to_string(),
            entry.tlp.to_string(),
            entry
                .confidence
                .map(|grade| grade.to_string())
                .unwrap_or_default(),
            entry.bulletin.to_string(),
            entry.comment.clone(),
        ];
        let _ = writer.write_record(cells.map(|cell| inert(&cell)));
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// A cell that no spreadsheet runs.
fn inert(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

/// What a plain list says.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// The indicators.
    pub contents: Vec<Content>,
    /// Lines that are none, by number from 1.
    pub refused: Vec<(usize, String)>,
}

/// Reads a plain list, one value on a line; `#` begins a comment. What a value is, its form tells.
/// `None`: it is larger than what is read.
pub fn read_plain(text: &str) -> Option<Listed> {
    if text.len() > MAX_LIST_BYTES {
        return None;
    }
    let mut listed = Listed::default();
    for (number, line) in (1..).zip(text.lines()) {
        if number > MAX_LINES {
            return None;
        }
        let value = line.split(" #").next().unwrap_or_default().trim();
        if value.is_empty() || value.starts_with('#') {
            continue;
        }
        match content_of(value) {
            Some(content) => listed.contents.push(content),
            None => listed.refused.push((
                number,
                value.chars().filter(|c| !c.is_control()).take(80).collect(),
            )),
        }
    }
    Some(listed)
}

/// A CSV list that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ListError {
    /// Too large.
    #[error(
        "it is larger than what is read, {MAX_LIST_BYTES} bytes and {MAX_LINES} lines: split it"
    )]
    TooLarge,
    /// Without values.
    #[error("its first line names no column `value` (or `indicator`)")]
    NoValues,
    /// No CSV.
    #[error("it is no CSV: {0}")]
    NoCsv(String),
}

/// Reads a CSV list with a header: a column `value` or `indicator`, and where they are there `comment`
/// and `confidence` (0 to 100). What a value is, its form tells; what [`csv`] writes is read, too.
pub fn read_csv(text: &str) -> Result<Listed, ListError> {
    if text.len() > MAX_LIST_BYTES {
        return Err(ListError::TooLarge);
    }
    let no_csv = |error: csv::Error| ListError::NoCsv(error.to_string());
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(no_csv)?;
    let column = |name: &str| {
        let mut names = header.iter();
        names.position(|one| {
            one.trim_start_matches('\u{feff}')
                .eq_ignore_ascii_case(name)
        })
    };
    let value = column("value").or_else(|| column("indicator"));
    let value = value.ok_or(ListError::NoValues)?;
    let (comment, confidence) = (column("comment"), column("confidence"));
    let mut listed = Listed::default();
    for (number, record) in (2..).zip(reader.records()) {
        if number > MAX_LINES {
            return Err(ListError::TooLarge);
        }
        let record = record.map_err(no_csv)?;
        let cell = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
        let text = cell(Some(value)).trim_start_matches('\'');
        if text.is_empty() {
            continue;
        }
        let context = Context {
            first_seen: None,
            last_seen: None,
            confidence: cell(confidence).parse().ok(),
            comment: cell(comment).trim_start_matches('\'').parse().ok(),
        };
        let context = Some(context).filter(|context| *context != Context::default());
        let content = content_of(text).map(|content| in_context(content, context));
        match content.filter(|content| content.validate().is_ok()) {
            Some(content) => listed.contents.push(content),
            None => listed.refused.push((
                number,
                text.chars().filter(|c| !c.is_control()).take(80).collect(),
            )),
        }
    }
    Ok(listed)
}

fn in_context(mut content: Content, said: Option<Context>) -> Content {
    match &mut content {
        Content::Ip(one) => one.context = said,
        Content::IpRange(one) => one.context = said,
        Content::Domain(one) => one.context = said,
        Content::Url(one) => one.context = said,
        Content::Email(one) => one.context = said,
        Content::File(one) => one.context = said,
        _ => {}
    }
    content
}

/// Bulletins of what a list says, in its order.
pub fn drafts(parts: impl Iterator<Item = DraftPart>, labels: &Labels) -> Vec<Draft> {
    let mut drafts = Vec::new();
    let mut some = Vec::new();
    for part in parts {
        some.push(part);
        if some.len() == MAX_PARTS {
            drafts.push(labels.draft(labels.tlp, std::mem::take(&mut some)));
        }
    }
    if !some.is_empty() {
        drafts.push(labels.draft(labels.tlp, some));
    }
    drafts
}

/// An indicator by its form.
pub(super) fn content_of(text: &str) -> Option<Content> {
    fn of<T: std::str::FromStr>(text: &str) -> Option<Indicator<T>> {
        let value = text.parse().ok()?;
        Some(Indicator {
            value,
            context: None,
        })
    }
    let file = |name: &str| {
        let json = serde_json::json!({"type": "file", name: text});
        serde_json::from_value(json).ok()
    };
    let hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
    match (hexadecimal, text.len()) {
        (true, 32) => return file("md5"),
        (true, 40) => return file("sha1"),
        (true, 64) => return file("sha256"),
        (true, 128) => return file("sha512"),
        _ => {}
    }
    of(text)
        .map(Content::Ip)
        .or_else(|| of(text).map(Content::IpRange))
        .or_else(|| of(text).map(Content::Url))
        .or_else(|| of(text).map(Content::Email))
        .or_else(|| {
            // A domain, and no name of a file with a version in it.
            text.parse::<Line>().ok()?;
            of(text).map(Content::Domain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulletin::{Draft, OpenPart, Part};
    use crate::clock::SeededEntropy;

    #[test]
    fn a_csv_list_is_read_by_the_names_of_its_columns() {
        let text = "\u{feff}Comment,Indicator,Confidence\nbeacons,c2.example,80\n,'198.51.100.7,\n,=1+1,\n";
        let listed = read_csv(text).unwrap();
        let said: Vec<String> = listed.contents.iter().map(Content::summary).collect();
        assert_eq!(said, ["c2.example", "198.51.100.7"]);
        let Content::Domain(one) = &listed.contents[0] else {
            panic!("a domain")
        };
        let context = one.context.as_ref().unwrap();
        assert_eq!(context.confidence, Some(80));
        assert_eq!(context.comment.as_ref().unwrap().as_str(), "beacons");
        assert_eq!(listed.refused, [(4, "=1+1".to_owned())]);
        assert_eq!(read_csv("a,b\n1,2\n").unwrap_err(), ListError::NoValues);
    }

    /// A bulletin of these parts, all of them there.
    fn disclosed(parts: &str) -> Disclosed {
        let text =
            format!("kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n{parts}");
        let mut draft = Draft::from_toml(&text).unwrap();
        draft.id = Some(BulletinId::from_random([7; 16]));
        let originator = "norland.example".parse().unwrap();
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let unsealed = draft
            .into_unsealed(&originator, now, &SeededEntropy::new(1))
            .unwrap();
        let parts = (0..).zip(unsealed.parts).map(|(salt, part)| {
            Part::Open(OpenPart {
                salt: [salt; 32],
                class: part.class.to_string(),
                marking: part.marking,
                body: part.body,
            })
        });
        let parts: Vec<Part> = parts.collect();
        Disclosed::of(&unsealed.header, &parts, None)
    }

    fn listed(bulletin: &Disclosed) -> Vec<String> {
        let now = "2026-11-23T13:00:00Z".parse().unwrap();
        let entries = entries([bulletin], now);
        entries.into_iter().map(|entry| entry.value).collect()
    }

    #[test]
    fn what_does_not_hold_any_more_is_in_no_list() {
        let mut bulletin = disclosed("[[part]]\ntype = \"domain\"\nvalue = \"c2.example\"\n");
        assert_eq!(listed(&bulletin), ["c2.example"]);
        let at = Some("2026-11-23T12:30:00Z".parse().unwrap());
        bulletin.superseded = at;
        assert_eq!(listed(&bulletin), [""; 0]);
        (bulletin.superseded, bulletin.taken_back) = (None, at);
        assert_eq!(listed(&bulletin), [""; 0]);
    }

    #[test]
    fn stix_indicators_that_are_not_for_blocking_are_in_no_list() {
        let indicator = |more: &str| {
            let json = format!(
                "{{\"type\":\"indicator\",\"spec_version\":\"2.1\",\
                 \"id\":\"indicator--00000000-0000-4000-8000-000000000001\",\
                 \"created\":\"2026-01-01T00:00:00Z\",\"modified\":\"2026-01-01T00:00:00Z\",\
                 \"pattern\":\"[domain-name:value = 'c2.example']\",\"pattern_type\":\"stix\",{more}}}"
            );
            disclosed(&format!(
                "[[part]]\ntype = \"stix\"\nclass = \"network\"\njson = '''{json}'''\n"
            ))
        };
        let from = "\"valid_from\":\"2026-01-01T00:00:00Z\"";
        assert_eq!(listed(&indicator(from)), ["c2.example"]);
        for more in [
            format!("{from},\"confidence\":0"),
            format!("{from},\"indicator_types\":[\"benign\"]"),
            format!("{from},\"valid_until\":\"2026-11-23T12:30:00Z\""),
            "\"valid_from\":\"2026-11-24T00:00:00Z\"".to_owned(),
        ] {
            assert_eq!(listed(&indicator(&more)), [""; 0], "{more}");
        }
    }

    #[test]
    fn a_plain_list_is_read_by_the_form_of_its_values() {
        let text = format!(
            "# a list\n198.51.100.7\n203.0.113.0/24 # a range\nc2.example\nhttps://c2.example/a#b\n\
             a@c2.example\n{}\nno value\n\n",
            "a".repeat(64)
        );
        let listed = read_plain(&text).unwrap();
        let kinds: Vec<&str> = listed
            .contents
            .iter()
            .flat_map(|one| values_of(one).0)
            .map(|(kind, _)| kind)
            .collect();
        assert_eq!(
            kinds,
            ["ip", "ip-range", "domain", "url", "email", "sha256"]
        );
        assert_eq!(listed.refused, [(8, "no value".to_owned())]);
        assert!(read_plain(&"\n".repeat(MAX_LINES + 2)).is_none());
    }

    #[test]
    fn no_cell_is_a_formula() {
        let entry = |value: &str, comment: &str| Entry {
            kind: "url",
            value: value.into(),
            expires: Timestamp::MAX,
            tlp: Tlp::Green,
            confidence: Some(80),
            bulletin: BulletinId([7; 16]),
            comment: comment.into(),
        };
        let text = csv(&[
            entry("https://a.example/", "=cmd|' /C calc'!A0"),
            entry("@a", "x,\"y\""),
        ]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        for record in reader.records() {
            for cell in &record.unwrap() {
                assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell}");
            }
        }
        assert!(text.contains("\"x,\"\"y\"\"\""), "{text}");
    }
}
