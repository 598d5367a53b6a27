//! Which parts of a bulletin name which others: by an id that can be guessed, or by their display
//! text. A part that names a withheld part would tell what was withheld.
//!
//! An id can be guessed where it is computed from the content (STIX 2.1, section 2.9: a name-based UUID of a
//! cyber-observable object); a random id tells nothing. Text is compared without regard to case,
//! on word boundaries, and with the usual defanging undone (`192[.]0[.]2[.]1`, `hxxp`).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use memchr::{memchr_iter, memchr2, memmem};
use uuid::Uuid;

use super::content::Content;
use super::error::Refused;
use super::labels::PartClass;
use super::part::{OpenPart, Part};

/// The most mentions in a bulletin: several for each of the most parts.
const MAX_MENTIONS: usize = 262_144;
/// The most places looked at in a bulletin: a fraction of a second of work.
const MAX_HITS: usize = 8 * 1024 * 1024;
/// A name shorter than this says nothing.
const SHORTEST_NAME: usize = 4;
/// A longer text is looked for as the whole name of another part only: preparing to find it within
/// others costs memory for each of its bytes, and a quotation of a page is seldom exact.
const LONGEST_NAME: usize = 1_024;
/// Up to so many names, searching one by one is cheaper than preparing to search all at once.
const FEW: usize = 24;
/// At up to so many places a name is compared with the text, without preparing to search for it.
const FEW_PLACES: usize = 32;

/// For each part, the indexes of the parts that it names, ascending. Withheld parts and contents
/// that cannot be read name nothing and are not named; nor do the parts that are for the broker:
/// who may read is nothing that the bulletin says.
pub fn mentions(parts: &[Part]) -> Result<Vec<Vec<u32>>, Refused> {
    let mut named = vec![Vec::new(); parts.len()];
    if parts.len() < 2 {
        return Ok(named);
    }
    let bearers = names(parts);
    // Names of the same parts count once; a long one is borne, and not looked for.
    let mut lists: BTreeMap<&[u32], usize> = BTreeMap::new();
    let (mut names, mut list_of, mut borne) =
        (Vec::new(), Vec::new(), vec![Vec::new(); parts.len()]);
    for (name, bearing) in &bearers {
        let next = lists.len();
        let list = *lists.entry(bearing.as_slice()).or_insert(next);
        if name.len() <= LONGEST_NAME {
            names.push(name.as_str());
            list_of.push(list);
        } else if bearing.len() > 1 {
            let places = bearing
                .iter()
                .filter_map(|index| usize::try_from(*index).ok());
            places.for_each(|place| borne[place].push(list));
        }
    }
    let mut bearing: Vec<&[u32]> = vec![&[]; lists.len()];
    for (one, at) in lists {
        bearing[at] = one;
    }
    if names.is_empty() && borne.iter().all(Vec::is_empty) {
        return Ok(named);
    }
    let search = Search::new(&names)?;
    // What only this part bears it may say.
    let own = |at: usize, name: usize| {
        let at = u32::try_from(at).ok();
        matches!(bearing[list_of[name]], [only] if Some(*only) == at)
    };
    let (mut count, mut hits) = (0, 0);
    for (at, part) in parts.iter().enumerate() {
        let Some(part) = telling(part) else { continue };
        let mut found: BTreeSet<usize> = std::mem::take(&mut borne[at]).into_iter().collect();
        search.find(
            &plain(&part.body),
            &mut hits,
            |name| own(at, name),
            |name| {
                found.insert(list_of[name]);
            },
        )?;
        let mut others = BTreeSet::new();
        for list in found {
            hits += bearing[list].len();
            if hits > MAX_HITS {
                return Err(too_many(hits, MAX_HITS));
            }
            others.extend(bearing[list]);
        }
        others.retain(|index| usize::try_from(*index) != Ok(at));
        count += others.len();
        if count > MAX_MENTIONS {
            return Err(too_many(count, MAX_MENTIONS));
        }
        named[at] = others.into_iter().collect();
    }
    Ok(named)
}

/// An open part that says something to recipients.
fn telling(part: &Part) -> Option<&OpenPart> {
    let for_broker = [PartClass::Audience, PartClass::Identity].map(PartClass::as_str);
    match part {
        Part::Open(part) if !for_broker.contains(&part.class.as_str()) => Some(part),
        _ => None,
    }
}

fn too_many(count: usize, limit: usize) -> Refused {
    Refused::Count {
        what: "references between parts",
        count,
        limit,
    }
}

/// The names of all parts, each once, with the indexes of the parts that bear it.
fn names(parts: &[Part]) -> BTreeMap<String, Vec<u32>> {
    let mut all: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (index, part) in (0..).zip(parts) {
        let Some(part) = telling(part) else { continue };
        for name in names_of(part) {
            let name = undo_defanging(name.to_lowercase());
            if name.len() >= SHORTEST_NAME {
                let bearers = all.entry(name).or_default();
                if bearers.last() != Some(&index) {
                    bearers.push(index);
                }
            }
        }
    }
    all
}

fn names_of(part: &OpenPart) -> Vec<String> {
    let content = part.class.parse::<PartClass>().ok();
    let content = content.and_then(|class| Content::decode(class, &part.body).ok());
    match content {
        Some(Content::Stix(stix)) => names_of_stix(&stix.json),
        Some(content) => content.names(),
        None => Vec::new(),
    }
}

/// Properties by which STIX objects are shown, and the id where it can be guessed.
fn names_of_stix(json: &str) -> Vec<String> {
    const SHOWN: [&str; 7] = [
        "name",
        "value",
        "path",
        "user_id",
        "account_login",
        "subject",
        "key",
    ];
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(json) else {
        return Vec::new();
    };
    let text = |key: &str| object.get(key).and_then(|value| value.as_str());
    let mut names: Vec<String> = SHOWN
        .iter()
        .filter_map(|key| text(key))
        .map(ToOwned::to_owned)
        .collect();
    if let Some(id) = text("id").filter(|id| is_computed(id)) {
        names.push(id.to_owned());
    }
    if let Some(hashes) = object.get("hashes").and_then(|value| value.as_object()) {
        names.extend(
            hashes
                .values()
                .filter_map(|hash| hash.as_str())
                .map(ToOwned::to_owned),
        );
    }
    names
}

/// Whether a STIX id is computed from the content (a name-based UUID) instead of random.
fn is_computed(id: &str) -> bool {
    let uuid = id.rsplit_once("--").map(|(_, uuid)| Uuid::try_parse(uuid));
    matches!(uuid, Some(Ok(uuid)) if matches!(uuid.get_version_num(), 3 | 5))
}

/// What a body says, in lower case. The encoding keeps texts as they are; a STIX object may hide a
/// letter behind an escape.
fn plain(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len() + 8);
    // As `String::from_utf8_lossy` and then `to_lowercase`: the replacement character is no letter, so that
    // nothing before it depends on what follows. Not by `utf8_chunks`, which looks at each byte by itself.
    let mut rest = body;
    loop {
        let (valid, invalid) = match str::from_utf8(rest) {
            Ok(valid) => (valid, None),
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                let invalid = error.error_len().unwrap_or(after.len());
                (str::from_utf8(valid).unwrap_or_default(), Some(invalid))
            }
        };
        if valid.is_ascii() {
            let start = text.len();
            text.push_str(valid);
            text[start..].make_ascii_lowercase();
        } else {
            text.push_str(&valid.to_lowercase());
        }
        let Some(invalid) = invalid else { break };
        text.push(char::REPLACEMENT_CHARACTER);
        rest = &rest[valid.len() + invalid..];
    }
    let escaped = memchr_iter(b'\\', text.as_bytes());
    let mut next = escaped.map(|at| text.as_bytes().get(at + 1));
    if next.any(|next| matches!(next, Some(b'u' | b'/'))) {
        text = unescape(&text);
    }
    undo_defanging(text)
}

/// Undoes the escapes of JSON that stand for a character (RFC 8259, section 7).
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let escaped = rest.strip_prefix('u').and_then(|code| code.get(..4));
        let character = escaped
            .and_then(|code| u32::from_str_radix(code, 16).ok())
            .and_then(char::from_u32);
        if let Some(character) = character {
            out.extend(character.to_lowercase());
            rest = &rest[5..];
        }
    }
    out.push_str(rest);
    out
}

/// What stands for `http` where a URL is defanged.
static HXXP: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"hxxp"));

fn undo_defanging(text: String) -> String {
    let bytes = text.as_bytes();
    if memchr2(b'[', b'(', bytes).is_none() && HXXP.find(bytes).is_none() {
        return text;
    }
    text.replace("[.]", ".")
        .replace("(.)", ".")
        .replace("[:]", ":")
        .replace("[@]", "@")
        .replace("hxxp", "http")
}

/// A name, and what finds it: made when a text may contain it.
struct Name<'a> {
    name: &'a str,
    finder: OnceCell<memmem::Finder<'a>>,
}

impl<'a> Name<'a> {
    fn new(name: &&'a str) -> Self {
        Self {
            name,
            finder: OnceCell::new(),
        }
    }

    /// Whether it stands in a text as a whole word.
    fn is_in(&self, text: &str) -> bool {
        let (name, text_bytes) = (self.name, text.as_bytes());
        let Some(places) = text.len().checked_sub(name.len()) else {
            return false;
        };
        if places <= FEW_PLACES {
            // As a search does, it goes on behind what it found.
            let mut start = 0;
            while start <= places {
                if !text_bytes[start..].starts_with(name.as_bytes()) {
                    start += 1;
                } else if is_whole(text, start, start + name.len()) {
                    return true;
                } else {
                    start += name.len();
                }
            }
            return false;
        }
        let finder = self.finder.get_or_init(|| memmem::Finder::new(name));
        let mut places = finder.find_iter(text_bytes);
        places.any(|start| is_whole(text, start, start + name.len()))
    }
}

/// Finds every name in a text.
enum Search<'a> {
    Few(Vec<Name<'a>>),
    Many(AhoCorasick),
}

impl<'a> Search<'a> {
    fn new(names: &'a [&'a str]) -> Result<Self, Refused> {
        if names.len() <= FEW {
            return Ok(Self::Few(names.iter().map(Name::new).collect()));
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            // The automatic choice may be a DFA, which takes gigabytes for a hundred long names.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(names)
            .map_err(|_| Refused::Malformed("names of the parts"))?;
        Ok(Self::Many(search))
    }

    /// Tells each name that stands in a text as a whole word. Counts what it looks at: a text made
    /// to contain every name everywhere is refused instead of searched to the end.
    fn find(
        &self,
        text: &str,
        hits: &mut usize,
        skip: impl Fn(usize) -> bool,
        mut found: impl FnMut(usize),
    ) -> Result<(), Refused> {
        match self {
            Self::Few(names) => {
                for (at, name) in names.iter().enumerate() {
                    if !skip(at) && name.is_in(text) {
                        found(at);
                    }
                }
            }
            Self::Many(search) => {
                for hit in search.find_overlapping_iter(text) {
                    *hits += 1;
                    if *hits > MAX_HITS {
                        return Err(too_many(*hits, MAX_HITS));
                    }
                    if is_whole(text, hit.start(), hit.end()) {
                        found(hit.pattern().as_usize());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether a hit is not in the middle of a longer word.
fn is_whole(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    let after = text[end..].chars().next();
    !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulletin::labels::Marking;
    use crate::partner::PartnerId;

    fn part(json: &str) -> Part {
        let content: Content = serde_json::from_str(json).unwrap();
        Part::Open(OpenPart {
            salt: [0; 32],
            class: content.class().as_str().to_owned(),
            marking: Marking::default(),
            body: content.encode().unwrap(),
        })
    }

    fn stix(object: &str) -> Part {
        let content = serde_json::json!({"type": "stix", "class": "context", "json": object});
        part(&content.to_string())
    }

    #[test]
    fn a_text_names_what_it_shows_and_not_what_it_only_contains() {
        let parts = [
            part(r#"{"type": "person", "name": "Ada Invented"}"#),
            part(r#"{"type": "domain", "value": "evil.example"}"#),
            part(r#"{"type": "narrative", "text": "We saw ADA INVENTED at evil[.]example."}"#),
            part(
                r#"{"type": "narrative", "text": "Devil.example is another; Ada Inventedly too."}"#,
            ),
            part(r#"{"type": "url", "value": "https://evil.example/x"}"#),
        ];
        let found = mentions(&parts).unwrap();
        assert_eq!(found, [vec![], vec![], vec![0, 1], vec![], vec![1]]);
    }

    #[test]
    fn a_computed_id_is_a_name_and_a_random_one_is_not() {
        let computed = "ipv4-addr--ff26c055-6336-5bc5-b98d-13d6226742dd";
        let random = "identity--a463ffb3-1bd9-4d94-b02d-74e4f1658283";
        let parts = [
            stix(&format!(
                r#"{{"type":"ipv4-addr","spec_version":"2.1","id":"{computed}","value":"198.51.100.3"}}"#
            )),
            stix(&format!(
                r#"{{"type":"identity","spec_version":"2.1","id":"{random}","created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z","name":"\u00c5se Example","identity_class":"individual"}}"#
            )),
            stix(&format!(
                r#"{{"type":"note","spec_version":"2.1","id":"note--0c7b5b88-8ff7-4a4d-aa9d-feb398cd0061","created":"2026-01-01T00:00:00Z","modified":"2026-01-01T00:00:00Z","content":"n","object_refs":["{computed}"],"created_by_ref":"{random}"}}"#
            )),
            part(r#"{"type": "narrative", "text": "It was åse example."}"#),
        ];
        let found = mentions(&parts).unwrap();
        assert_eq!(found, [vec![], vec![], vec![0], vec![1]]);
    }

    #[test]
    fn many_names_are_found_as_few_are() {
        let mut parts: Vec<Part> = (0..100)
            .map(|n| {
                part(&format!(
                    r#"{{"type": "domain", "value": "host{n}.example"}}"#
                ))
            })
            .collect();
        parts.push(part(
            r#"{"type": "narrative", "text": "host7.example spoke to host77.example"}"#,
        ));
        let found = mentions(&parts).unwrap();
        assert_eq!(found[100], [7, 77]);
        assert!(found[..100].iter().all(Vec::is_empty));
    }

    #[test]
    fn long_texts_cost_no_more_than_their_length() {
        let text = |n: usize| format!("{n} {}", "lorem ipsum dolor ".repeat(16_667));
        let narrative =
            |text: &str| part(&serde_json::json!({"type": "narrative", "text": text}).to_string());
        let mut parts: Vec<Part> = (0..30).map(|n| narrative(&text(n))).collect();
        assert!(mentions(&parts).unwrap().iter().all(Vec::is_empty));
        // Equal ones name one another all the same.
        parts.push(narrative(&text(7)));
        let found = mentions(&parts).unwrap();
        assert_eq!((&found[7], &found[30]), (&vec![30], &vec![7]));
        // A hundred names of a kilobyte, and each text has them all.
        let name = |n: usize| format!("{n:03}{}", "x".repeat(LONGEST_NAME - 3));
        let all: String = (0..100).map(|n| name(n) + " ").collect();
        let mut parts: Vec<Part> = (0..100).map(|n| narrative(&name(n))).collect();
        parts.extend((0..10).map(|_| narrative(&all)));
        let found = mentions(&parts).unwrap();
        assert_eq!(found[105][..100], (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn many_names_of_the_same_parts_are_all_told() {
        let aliases = |person: usize| -> Vec<String> {
            (0..250).map(|n| format!("Alias {person} {n}")).collect()
        };
        // 40 parts with 250 names each: no bearer gets lost in the count.
        let json = serde_json::json!({"type": "person", "name": "Same", "aliases": aliases(0)});
        let mut parts: Vec<Part> = (0..40).map(|_| part(&json.to_string())).collect();
        let last = serde_json::json!({"type": "person", "name": "Last One"});
        parts.push(part(&last.to_string()));
        let text = format!("{}, last one", aliases(0).join(", "));
        let text = serde_json::json!({"type": "narrative", "text": text});
        parts.push(part(&text.to_string()));
        let found = mentions(&parts).unwrap();
        assert_eq!(found[41], (0..41).collect::<Vec<u32>>());
    }

    #[test]
    fn what_is_for_the_broker_names_nothing_and_is_not_named() {
        let mut audience = part(r#"{"type": "narrative", "text": "x"}"#);
        let named: PartnerId = "norland.example".parse().unwrap();
        if let Part::Open(part) = &mut audience {
            part.class = PartClass::Audience.as_str().to_owned();
            part.body = Content::Audience(vec![named]).encode().unwrap();
        }
        let parts = [
            part(r#"{"type": "domain", "value": "norland.example"}"#),
            audience,
        ];
        assert_eq!(mentions(&parts).unwrap(), [vec![], vec![]] as [Vec<u32>; 2]);
    }

    #[test]
    fn a_bulletin_made_to_be_searched_for_ever_is_refused() {
        // Names within one another, and a text that is full of all of them.
        let mut parts: Vec<Part> = (4..400)
            .map(|length| {
                let name = "a".repeat(length);
                part(&format!(r#"{{"type": "source", "description": "{name}"}}"#))
            })
            .collect();
        let text = "a".repeat(100_000);
        parts.push(part(&format!(
            r#"{{"type": "narrative", "text": "{text}"}}"#
        )));
        assert!(matches!(mentions(&parts), Err(Refused::Count { .. })));
        // The same name a thousand times is one name.
        let mut parts: Vec<Part> = (0..1_000)
            .map(|_| part(r#"{"type": "person", "name": "Same Person"}"#))
            .collect();
        parts.push(part(&format!(
            r#"{{"type": "narrative", "text": "{}"}}"#,
            "same person ".repeat(10_000)
        )));
        // Each of them shows the name of all others.
        assert!(matches!(mentions(&parts), Err(Refused::Count { .. })));
        assert_eq!(mentions(&parts[900..]).unwrap()[100].len(), 100);
    }

    proptest::proptest! {
        #[test]
        fn a_name_is_found_in_short_texts_as_in_long_ones(
            before in "[ab.é ]{0,24}",
            name in "[abé.]{1,6}",
            after in "[ab.é ]{0,24}",
            bears in proptest::prelude::any::<bool>(),
        ) {
            let text = if bears { format!("{before}{name}{after}") } else { before + &after };
            // A space ends a word, so that what is far behind changes nothing.
            let long = format!("{text}{}", " ".repeat(2 * FEW_PLACES));
            let name = name.as_str();
            let name = Name::new(&name);
            proptest::prop_assert_eq!(name.is_in(&text), name.is_in(&long));
        }

        #[test]
        fn a_body_in_lower_case_is_as_the_library_has_it(
            parts in proptest::collection::vec(
                proptest::prop_oneof![
                    "[ -~]{0,12}", "\\PC{0,6}", proptest::strategy::Just("ΑΣ".to_owned()),
                    proptest::strategy::Just("İSTANBUL".to_owned()),
                    proptest::strategy::Just("hxxp://a[.]b".to_owned()),
                    proptest::strategy::Just("\\U0041\\u0042 \\/".to_owned()),
                ],
                0..6,
            ),
            between in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4),
        ) {
            let body = parts.iter().flat_map(|part| [part.as_bytes(), &between].concat());
            let body: Vec<u8> = body.collect();
            let text = String::from_utf8_lossy(&body).to_lowercase();
            let text = if text.contains("\\u") || text.contains("\\/") {
                unescape(&text)
            } else {
                text
            };
            let expected = text
                .replace("[.]", ".")
                .replace("(.)", ".")
                .replace("[:]", ":")
                .replace("[@]", "@")
                .replace("hxxp", "http");
            proptest::prop_assert_eq!(plain(&body), expected);
        }
    }
}
