//! Events into bulletins.

use super::attributes::{self, contents};
use super::event::{Attribute, Event, MispError, MispObject, Tag, seconds};
use crate::bulletin::content::{Action, Context, File, Narrative, Person, Sighting};
use crate::bulletin::{BulletinId, Content, Draft, DraftPart, Marking, Tlp};
use crate::formats::Labels;

/// Parts of one bulletin, as for STIX.
const MAX_PARTS: usize = 1_000;
/// Aliases and nationalities of one person; more are parts of their own.
const MAX_NAMES: usize = 64;
/// Bytes of files and texts of one bulletin.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Something of an event that does not go along, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The attribute's, object's or report's UUID or name.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// What became of an event.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The bulletins to publish.
    pub drafts: Vec<Draft>,
    /// What does not go along.
    pub left_out: Vec<LeftOut>,
    /// Everything in it was deleted: what was published of it before is taken back.
    pub is_emptied: bool,
}

/// Makes bulletins of an event. `earlier` are those made of an older state of it: the new ones take
/// their place, and what was deleted since then is not in them; where everything was, they are taken
/// back.
pub fn drafts(
    event: &Event,
    labels: &Labels,
    earlier: &[BulletinId],
) -> Result<Imported, MispError> {
    if let Some(why) = forbidden(event.distribution) {
        return Err(MispError::NotShared(why));
    }
    let mut import = Import {
        tlp: tlp_of(&event.tags).map_or(labels.tlp, |tlp| tlp.max(labels.tlp)),
        parts: Vec::new(),
        left_out: Vec::new(),
    };
    for attribute in &event.attributes {
        import.attribute(attribute);
    }
    for object in &event.objects {
        import.object(object);
    }
    for report in event.reports.iter().filter(|report| !report.deleted) {
        let text = report.content.as_deref().unwrap_or_default();
        match (forbidden(report.distribution), text.parse()) {
            (Some(why), _) => import.leave_out(&report.name, format!("its distribution is {why}")),
            (None, Ok(text)) => import.add(
                Content::Narrative(Narrative {
                    text,
                    title: report.name.parse().ok(),
                    language: None,
                }),
                None,
            ),
            (None, Err(error)) => import.leave_out(&report.name, error.to_string()),
        }
    }
    let is_emptied = import.parts.is_empty() && import.left_out.is_empty();
    let mut drafts = import.drafts(event, labels);
    if let Some(first) = drafts.first_mut() {
        let references = if is_emptied {
            &mut first.retracts
        } else {
            &mut first.supersedes
        };
        references.extend_from_slice(earlier);
    }
    Ok(Imported {
        drafts,
        left_out: import.left_out,
        is_emptied,
    })
}

/// Why something may not be shared on; `None`: it may.
fn forbidden(distribution: Option<u64>) -> Option<&'static str> {
    match distribution {
        Some(0) => Some("0, this organisation only"),
        Some(4) => Some("4, a sharing group"),
        // 5 inherits, and where nothing is said there is no restriction beyond tags.
        None | Some(1..=3 | 5) => None,
        Some(_) => Some("one that is not known"),
    }
}

/// The strictest of the TLP tags; one that cannot be read is RED.
fn tlp_of(tags: &[Tag]) -> Option<Tlp> {
    let level = |tag: &Tag| {
        let lower = tag.name.trim().to_ascii_lowercase();
        let level = lower.strip_prefix("tlp:")?;
        Some(match level {
            "clear" | "white" => Tlp::Clear,
            "green" => Tlp::Green,
            "amber" => Tlp::Amber,
            "amber+strict" => Tlp::AmberStrict,
            _ => Tlp::Red,
        })
    };
    tags.iter().filter_map(level).max()
}

/// The value of a machine tag, `predicate="value"`.
fn machine<'a>(tags: &'a [Tag], predicate: &str) -> Option<&'a str> {
    tags.iter().find_map(|tag| {
        let rest = tag.name.strip_prefix(predicate)?.strip_prefix("=\"")?;
        rest.strip_suffix('"')
    })
}

struct Import {
    tlp: Tlp,
    parts: Vec<DraftPart>,
    left_out: Vec<LeftOut>,
}

impl Import {
    fn leave_out(&mut self, what: &str, reason: String) {
        self.left_out.push(LeftOut {
            what: what.to_owned(),
            reason,
        });
    }

    fn add(&mut self, content: Content, tlp: Option<Tlp>) {
        let marking = Marking {
            tlp: tlp.filter(|tlp| *tlp > self.tlp),
            level: None,
        };
        self.parts.push(DraftPart { content, marking });
    }

    fn attribute(&mut self, attribute: &Attribute) {
        // Taken back: it is not published, and what takes the place of what was has it no more.
        if attribute.deleted {
            return;
        }
        let what = format!("{} `{}`", attribute.kind, short(&attribute.value));
        if let Some(why) = forbidden(attribute.distribution) {
            self.leave_out(&what, format!("its distribution is {why}"));
            return;
        }
        let tlp = tlp_of(&attribute.tags);
        match contents(attribute) {
            Ok(contents) => {
                for content in contents {
                    match content.validate() {
                        Ok(()) => self.add(content, tlp),
                        Err(error) => self.leave_out(&what, error.to_string()),
                    }
                }
                self.sightings(attribute, tlp);
            }
            Err(unfit) => self.leave_out(&what, unfit.0),
        }
    }

    /// Sightings of an attribute, counted together.
    fn sightings(&mut self, attribute: &Attribute, tlp: Option<Tlp>) {
        let seen = attribute
            .sightings
            .iter()
            .filter(|one| one.kind.unwrap_or(0) == 0);
        let times: Vec<_> = seen
            .map(|one| one.date_sighting.and_then(seconds))
            .collect();
        let Ok(of) = attribute.value.parse() else {
            return;
        };
        if times.is_empty() {
            return;
        }
        let sighting = Sighting {
            of,
            count: times.len() as u64,
            first: times.iter().flatten().min().copied(),
            last: times.iter().flatten().max().copied(),
            place: None,
            mark: None,
            bulletin: None,
            part: None,
            object: None,
        };
        self.add(Content::Sighting(sighting), tlp);
    }

    /// Files and persons are one part; of other objects each attribute is one.
    fn object(&mut self, object: &MispObject) {
        if object.deleted {
            return;
        }
        if let Some(why) = forbidden(object.distribution) {
            let what = format!("object {} {}", object.name, object.uuid);
            self.leave_out(&what, format!("its distribution is {why}"));
            return;
        }
        let here = |one: &&Attribute| !one.deleted && forbidden(one.distribution).is_none();
        let used = match object.name.as_str() {
            "file" => self.file(object.attributes.iter().filter(here)),
            "person" => self.person(object.attributes.iter().filter(here)),
            _ => Vec::new(),
        };
        for (at, attribute) in object.attributes.iter().enumerate() {
            let uuid = (attribute.uuid.as_str(), attribute.value.as_str());
            if !used.contains(&uuid) || attribute.deleted {
                self.attribute(attribute);
            } else {
                self.sightings(&object.attributes[at], tlp_of(&attribute.tags));
            }
        }
    }

    /// One file of what a file object says; which attributes that were.
    fn file<'a>(
        &mut self,
        attributes: impl Iterator<Item = &'a Attribute> + Clone,
    ) -> Vec<(&'a str, &'a str)> {
        let mut used = Vec::new();
        // For detection only where each of its names and hashes is.
        let of_file = |one: &&Attribute| {
            let relation = one.object_relation.as_deref().unwrap_or_default();
            matches!(
                relation,
                "filename" | "md5" | "sha1" | "sha256" | "sha512" | "size-in-bytes"
            ) && one.data.is_none()
        };
        let mut file: File = attributes::no_file(None);
        let mut tlp = None;
        let mut for_detection = true;
        for one in attributes.filter(of_file) {
            let relation = one.object_relation.as_deref().unwrap_or_default();
            if attributes::set(&mut file, relation, &one.value).unwrap_or(false) {
                used.push((one.uuid.as_str(), one.value.as_str()));
                tlp = tlp.max(tlp_of(&one.tags));
                for_detection &= one.to_ids || matches!(relation, "filename" | "size-in-bytes");
                let mut context = file.context.take().unwrap_or_default();
                context.first_seen = context.first_seen.or(one.first_seen);
                context.last_seen = context.last_seen.or(one.last_seen);
                let comment = one.comment.as_deref().unwrap_or_default();
                context.comment = context.comment.or_else(|| comment.parse().ok());
                file.context = Some(context);
            }
        }
        if let Some(context) = &mut file.context {
            context.confidence = (!for_detection).then_some(0);
        }
        file.context = file
            .context
            .filter(|context| *context != Context::default());
        let content = Content::File(file);
        if content.validate().is_err() {
            return Vec::new();
        }
        self.add(content, tlp);
        used
    }

    /// One person of what a person object says; which attributes that were.
    fn person<'a>(
        &mut self,
        attributes: impl Iterator<Item = &'a Attribute> + Clone,
    ) -> Vec<(&'a str, &'a str)> {
        let of = |relation: &'static str| {
            attributes
                .clone()
                .filter(move |one| one.object_relation.as_deref() == Some(relation))
        };
        let names = of("full-name").next();
        let Some((named, name)) = names.and_then(|one| Some((one, one.value.parse().ok()?))) else {
            return Vec::new();
        };
        let mut used = vec![named];
        let mut person = Person {
            name,
            aliases: Vec::new(),
            born: None,
            nationalities: Vec::new(),
            description: None,
        };
        for one in of("alias").take(MAX_NAMES) {
            if let Ok(alias) = one.value.parse() {
                person.aliases.push(alias);
                used.push(one);
            }
        }
        for one in of("nationality").take(MAX_NAMES) {
            if let Ok(country) = one.value.parse() {
                person.nationalities.push(country);
                used.push(one);
            }
        }
        if let Some(one) = of("date-of-birth").next() {
            let date = one.value.get(..10).and_then(|date| date.parse().ok());
            if date.is_some() {
                used.push(one);
            }
            person.born = date;
        }
        let tlp = used.iter().filter_map(|one| tlp_of(&one.tags)).max();
        self.add(Content::Person(Box::new(person)), tlp);
        let used = used.into_iter();
        used.map(|one| (one.uuid.as_str(), one.value.as_str()))
            .collect()
    }

    fn drafts(&mut self, event: &Event, labels: &Labels) -> Vec<Draft> {
        let mut all: Vec<DraftPart> = about(event).into_iter().map(DraftPart::from).collect();
        all.append(&mut self.parts);
        let mut drafts = Vec::new();
        let (mut parts, mut bytes): (Vec<DraftPart>, usize) = (Vec::new(), 0);
        for part in all {
            // Encoded once more when it is published; what cannot be is found there by number.
            let size = part.content.encode().map_or(0, |body| body.len());
            if !parts.is_empty() && (parts.len() == MAX_PARTS || bytes + size > MAX_BYTES) {
                drafts.push(self.draft(event, labels, std::mem::take(&mut parts)));
                bytes = 0;
            }
            bytes += size;
            parts.push(part);
        }
        drafts.push(self.draft(event, labels, parts));
        drafts
    }

    fn draft(&self, event: &Event, labels: &Labels, parts: Vec<DraftPart>) -> Draft {
        let reliability = machine(&event.tags, "admiralty-scale:source-reliability");
        let reliability = reliability.and_then(|grade| grade.chars().next());
        let reliability = reliability.map(|grade| grade.to_ascii_uppercase());
        let credibility = machine(&event.tags, "admiralty-scale:information-credibility");
        let credibility = credibility.and_then(|grade| grade.parse().ok());
        Draft {
            reliability: reliability.filter(|grade| ('A'..='F').contains(grade)),
            credibility: credibility.filter(|grade| (1..=6).contains(grade)),
            ..labels.draft(self.tlp, parts)
        }
    }
}

/// What the event as a whole says: its title, and the tags that are no labels of ours.
fn about(event: &Event) -> Vec<Content> {
    let mut contents = Vec::new();
    let levels = ["high", "medium", "low", "undefined"];
    let threat = event
        .threat_level_id
        .and_then(|id| levels.get(usize::try_from(id).ok()?.checked_sub(1)?));
    let states = ["initial", "ongoing", "complete"];
    let analysis = event
        .analysis
        .and_then(|id| states.get(usize::try_from(id).ok()?));
    // Neither who made it nor its UUID, which would say so: the bulletin may bear a pseudonym.
    let text = format!(
        "{}\n\nMISP event of {}; threat level {}, analysis {}.",
        event.info,
        event.date,
        threat.unwrap_or(&"undefined"),
        analysis.unwrap_or(&"initial"),
    );
    let clean: String = text
        .chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect();
    if let Ok(text) = clean.parse() {
        let title = event.info.lines().next().unwrap_or_default();
        let title: String = title
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        contents.push(Content::Narrative(Narrative {
            text,
            title: title.parse().ok(),
            language: None,
        }));
    }
    let mut rest = Vec::new();
    for tag in &event.tags {
        let name = tag.name.trim();
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("pap:") {
            if let Ok(text) = name.to_ascii_uppercase().parse() {
                contents.push(Content::Action(Action { text }));
            }
        } else if !lower.starts_with("tlp:") && !lower.starts_with("admiralty-scale:") {
            rest.push(name);
        }
    }
    if let Ok(text) = rest.join("\n").parse() {
        contents.push(Content::Narrative(Narrative {
            text,
            title: "MISP tags".parse().ok(),
            language: None,
        }));
    }
    contents
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}
