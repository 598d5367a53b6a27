//! What a recipient says of a bulletin that it received: that something of it was seen, is a false positive
//! or has expired. It is a bulletin to the originator alone, with the labels of the one that it is about, on
//! which agreements decide as on any other.

use serde_json::{Map, Value};
use thiserror::Error;

use super::Disclosed;
use super::stix::{export, typed_indicator};
use crate::bulletin::content::{Line, Sighting, SightingMark};
use crate::bulletin::{BulletinId, Content, Draft, DraftPart, Marking, Precedence};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::Digest;

/// Sightings of one bulletin, as for parts of other formats.
pub const MAX_SIGHTINGS: usize = 1_000;

/// A part that can be sighted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The hash of its leaf.
    pub leaf: Digest,
    /// It in a line.
    pub of: Line,
    /// The id by which STIX exports name it, where they make an object of it.
    pub object: Option<Line>,
    /// As strict as the part is.
    pub marking: Marking,
    /// Every text by which it is shown.
    names: Vec<String>,
}

/// What is said of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Absent: that it was seen.
    pub mark: Option<SightingMark>,
    /// How often it was seen.
    pub count: u64,
    /// First.
    pub first: Option<Timestamp>,
    /// Last.
    pub last: Option<Timestamp>,
    /// Where.
    pub place: Option<Line>,
}

/// A bulletin of which nothing can be said.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NoSighting {
    /// Of nothing.
    #[error("it says nothing that could be seen")]
    Nothing,
    /// Of more than one bulletin has.
    #[error("a bulletin has at most {MAX_SIGHTINGS} sightings; publish them in several")]
    TooMany,
}

impl Target {
    /// Whether it is shown by this text, or has this STIX id or this leaf.
    pub fn is(&self, text: &str) -> bool {
        self.of.as_str() == text
            || self.object.as_ref().is_some_and(|id| id.as_str() == text)
            || self.leaf.to_string() == text
            || self.names.iter().any(|name| name == text)
    }
}

/// The parts of a bulletin that can be sighted: all but sightings and what is said in words only.
pub fn targets(bulletin: &Disclosed) -> Vec<Target> {
    let objects = export::object_ids(bulletin);
    let parts = bulletin.parts.iter().filter(|part| {
        !matches!(
            part.content,
            Content::Sighting(_) | Content::Narrative(_) | Content::Action(_) | Content::Source(_)
        )
    });
    let target = |part: &super::DisclosedPart| {
        let (of, mut names) = shown(&part.content);
        let object = objects.get(&part.leaf);
        names.retain(|name| !name.is_empty());
        Some(Target {
            leaf: part.leaf.parse().ok()?,
            of: of.parse().ok()?,
            object: object.and_then(|id| id.parse().ok()),
            marking: part.marking,
            names,
        })
    };
    parts.filter_map(target).collect()
}

/// A part in a line, and every text by which it is shown.
fn shown(content: &Content) -> (String, Vec<String>) {
    let Content::Stix(stix) = content else {
        return (in_a_line(content), content.names());
    };
    let typed = typed_indicator(&stix.json);
    let typed: Vec<Content> = typed.map_or_else(Vec::new, |one| one.contents);
    let object: Map<String, Value> = serde_json::from_str(&stix.json).unwrap_or_default();
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let named = ["name", "value", "id"].into_iter().find_map(text);
    let named: String = named.unwrap_or_default().chars().take(200).collect();
    let of = match typed.as_slice() {
        [only] => in_a_line(only),
        _ => named.clone(),
    };
    let mut names: Vec<String> = typed.iter().flat_map(Content::names).collect();
    names.push(named);
    (of, names)
}

/// A value by which tools find it: a file's hash rather than its name.
fn in_a_line(content: &Content) -> String {
    let Content::File(file) = content else {
        return content.summary();
    };
    let sha256 = file.sha256.as_ref().map(ToString::to_string);
    let sha1 = || file.sha1.as_ref().map(ToString::to_string);
    let md5 = || file.md5.as_ref().map(ToString::to_string);
    let hash = sha256.or_else(sha1).or_else(md5);
    hash.unwrap_or_else(|| content.summary())
}

/// The bulletin that says these things of a received one to whoever published it. `None` for a target
/// stands for all of the bulletin.
pub fn draft(
    about: &Disclosed,
    to: &PartnerId,
    said: &[(Option<&Target>, Observation)],
    precedence: Precedence,
) -> Result<Draft, NoSighting> {
    if said.len() > MAX_SIGHTINGS {
        return Err(NoSighting::TooMany);
    }
    let parts = said
        .iter()
        .map(|(target, one)| part(about.id, *target, one.clone()));
    let parts: Vec<DraftPart> = parts.collect::<Option<_>>().ok_or(NoSighting::Nothing)?;
    if parts.is_empty() {
        return Err(NoSighting::Nothing);
    }
    Ok(Draft {
        pseudonym: None,
        as_of: None,
        id: None,
        kinds: about.kinds.clone(),
        topics: about.topics.clone(),
        regions: about.regions.clone(),
        tlp: about.tlp,
        classification: about.classification.clone(),
        releasable_to: vec![to.clone()],
        // What a recipient saw is between the two, and some clauses let no header name anybody.
        hide_audience: true,
        caveats: about.caveats.clone(),
        precedence,
        exercise: about.exercise,
        reliability: None,
        credibility: None,
        valid_from: None,
        valid_until: None,
        supersedes: Vec::new(),
        retracts: Vec::new(),
        parts,
    })
}

fn part(bulletin: BulletinId, target: Option<&Target>, one: Observation) -> Option<DraftPart> {
    let of = match target {
        Some(target) => target.of.clone(),
        None => bulletin.to_string().parse().ok()?,
    };
    let sighting = Sighting {
        of,
        count: one.count,
        first: one.first,
        last: one.last,
        place: one.place,
        mark: one.mark.filter(|mark| *mark != SightingMark::Seen),
        bulletin: Some(bulletin),
        part: target.map(|target| target.leaf),
        object: target.and_then(|target| target.object.clone()),
    };
    Some(DraftPart {
        content: Content::Sighting(sighting),
        marking: target.map_or_else(Marking::default, |target| target.marking),
    })
}
