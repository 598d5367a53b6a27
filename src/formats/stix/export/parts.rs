//! Parts as objects.

use serde_json::{Map, Value, json};

use super::{Export, observables, stix_time};
use crate::bulletin::Content;
use crate::bulletin::content::{
    Attachment, Context, DetectionRule, Narrative, Person, RuleLanguage, Sighting, SightingMark,
    Vulnerability, Warning,
};
use crate::clock::Timestamp;
use crate::formats::DisclosedPart;
use crate::formats::stix::pattern::{self, pattern_of};
use crate::formats::stix::tables::{Category, TYPES};

type Object = Map<String, Value>;

/// Writes the objects of a part.
pub(super) fn write(export: &mut Export<'_>, part: &DisclosedPart) {
    match &part.content {
        Content::Stix(stix) => export.add_as_it_came(part, &stix.json),
        Content::Vulnerability(one) => vulnerability(export, part, one),
        Content::DetectionRule(one) => detection_rule(export, part, one),
        Content::Warning(one) => warning(export, part, one),
        Content::Person(one) => person(export, part, one),
        Content::Narrative(one) => narrative(export, part, one),
        Content::Action(one) => {
            let mut object =
                export.versioned("course-of-action", export.id("course-of-action", part, ""));
            object.insert("name".into(), part.content.summary().into());
            object.insert("description".into(), one.text.as_str().into());
            export.add(part, object);
        }
        Content::Sighting(one) => sighting(export, part, one),
        Content::Attachment(one) => attachment(export, part, one),
        // The broker's, and never exported.
        Content::Audience(_) | Content::Identity(_) => {}
        content => match pattern_of(content) {
            Some(pattern) => indicator(export, part, &pattern),
            None => in_words(export, part),
        },
    }
}

/// The id of the object that another part may refer to, where this part becomes one.
pub(super) fn referred(export: &Export<'_>, part: &DisclosedPart) -> Option<String> {
    let kind = match &part.content {
        Content::Vulnerability(_) => "vulnerability",
        Content::Person(_) => "identity",
        Content::DetectionRule(rule) => {
            pattern_type(rule)?;
            "indicator"
        }
        content => {
            pattern_of(content)?;
            "indicator"
        }
    };
    Some(export.id(kind, part, ""))
}

fn confidence(export: &Export<'_>, context: Option<&Context>, object: &mut Object) {
    let own = context.and_then(|context| context.confidence);
    // Appendix A of STIX 2.1: the middle of the range that it gives each grade of credibility; of 6
    // nothing can be said.
    let graded = match export.bulletin.admiralty.credibility {
        Some(1) => Some(90),
        Some(2) => Some(70),
        Some(3) => Some(50),
        Some(4) => Some(30),
        Some(5) => Some(10),
        _ => None,
    };
    if let Some(confidence) = own.or(graded) {
        object.insert("confidence".into(), confidence.into());
    }
}

fn context_of(content: &Content) -> Option<&Context> {
    match content {
        Content::Ip(one) => one.context.as_ref(),
        Content::IpRange(one) => one.context.as_ref(),
        Content::Domain(one) => one.context.as_ref(),
        Content::Url(one) => one.context.as_ref(),
        Content::Email(one) => one.context.as_ref(),
        Content::AsNumber(one) => one.context.as_ref(),
        Content::File(one) => one.context.as_ref(),
        Content::Certificate(one) => one.context.as_ref(),
        Content::TlsFingerprint(one) => one.context.as_ref(),
        _ => None,
    }
}

fn comment(context: Option<&Context>, object: &mut Object) {
    if let Some(comment) = context.and_then(|context| context.comment.as_ref()) {
        object.insert("description".into(), comment.as_str().into());
    }
}

/// What indicators have besides their pattern.
fn indicator_of(export: &Export<'_>, part: &DisclosedPart, context: Option<&Context>) -> Object {
    let bulletin = export.bulletin;
    let mut object = export.versioned("indicator", export.id("indicator", part, ""));
    object.insert("name".into(), part.content.summary().into());
    comment(context, &mut object);
    confidence(export, context, &mut object);
    let from = stix_time(bulletin.valid_from);
    object.insert("valid_from".into(), from.into());
    if bulletin.valid_until > bulletin.valid_from {
        let until = stix_time(bulletin.valid_until);
        object.insert("valid_until".into(), until.into());
    }
    object
}

/// An indicator; and where it was seen, the observation that it is based on.
fn indicator(export: &mut Export<'_>, part: &DisclosedPart, pattern: &str) {
    let context = context_of(&part.content);
    let mut object = indicator_of(export, part, context);
    object.insert("pattern".into(), pattern.into());
    object.insert("pattern_type".into(), "stix".into());
    object.insert("pattern_version".into(), "2.1".into());
    let id = export.add(part, object);
    let seen = context.and_then(|context| span(context.first_seen, context.last_seen));
    let (Some(seen), Some(observable)) = (seen, observables::of_content(&part.content)) else {
        return;
    };
    let observed = observed_data(export, part, observable, seen, 1);
    let mut relationship =
        export.versioned("relationship", export.id("relationship", part, "based-on"));
    relationship.insert("relationship_type".into(), "based-on".into());
    relationship.insert("source_ref".into(), id.into());
    relationship.insert("target_ref".into(), observed.into());
    export.add(part, relationship);
}

/// From the first to the last; where one is missing, the other.
fn span(first: Option<Timestamp>, last: Option<Timestamp>) -> Option<(Timestamp, Timestamp)> {
    let first = first.or(last)?;
    Some((first, last.unwrap_or(first)))
}

fn observed_data(
    export: &mut Export<'_>,
    part: &DisclosedPart,
    observable: Object,
    (first, last): (Timestamp, Timestamp),
    number: u64,
) -> String {
    let observable = export.add(part, observable);
    let mut object = export.versioned("observed-data", export.id("observed-data", part, ""));
    object.insert("first_observed".into(), stix_time(first).into());
    object.insert("last_observed".into(), stix_time(last).into());
    object.insert(
        "number_observed".into(),
        number.clamp(1, MOST_OBSERVED).into(),
    );
    object.insert("object_refs".into(), json!([observable]));
    export.add(part, object)
}

/// The largest number that an observation or a sighting can have.
const MOST_OBSERVED: u64 = 999_999_999;

fn vulnerability(export: &mut Export<'_>, part: &DisclosedPart, one: &Vulnerability) {
    let mut object = export.versioned("vulnerability", export.id("vulnerability", part, ""));
    let id = one.id.as_str();
    object.insert("name".into(), id.into());
    let comment = one
        .context
        .as_ref()
        .and_then(|context| context.comment.as_ref());
    if let Some(text) = one.description.as_ref().or(comment) {
        object.insert("description".into(), text.as_str().into());
    }
    confidence(export, one.context.as_ref(), &mut object);
    let authority = id
        .split('-')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let reference = json!([{"source_name": authority, "external_id": id}]);
    object.insert("external_references".into(), reference);
    export.add(part, object);
}

/// The name of a rule's language in STIX; `None` where an indicator in it would tell nobody anything,
/// or be none.
fn pattern_type(one: &DetectionRule) -> Option<&'static str> {
    match one.language {
        RuleLanguage::Stix => pattern::parse(one.rule.as_str()).is_ok().then_some("stix"),
        RuleLanguage::Other => None,
        language => Some(language.as_str()),
    }
}

fn detection_rule(export: &mut Export<'_>, part: &DisclosedPart, one: &DetectionRule) {
    let Some(kind) = pattern_type(one) else {
        in_words(export, part);
        return;
    };
    let mut object = indicator_of(export, part, one.context.as_ref());
    object.insert("pattern".into(), one.rule.as_str().into());
    object.insert("pattern_type".into(), kind.into());
    if kind == "stix" {
        object.insert("pattern_version".into(), "2.1".into());
    }
    export.add(part, object);
}

/// A note about the bulletin.
fn note(export: &Export<'_>, part: &DisclosedPart, title: &str, text: String) -> Object {
    let mut object = export.versioned("note", export.id("note", part, ""));
    object.insert("abstract".into(), title.into());
    object.insert("content".into(), text.into());
    object.insert("object_refs".into(), json!([export.report]));
    object
}

fn narrative(export: &mut Export<'_>, part: &DisclosedPart, one: &Narrative) {
    let title = one
        .title
        .as_ref()
        .map_or("Narrative", |title| title.as_str());
    let mut object = note(export, part, title, one.text.as_str().to_owned());
    if let Some(language) = &one.language {
        object.insert("lang".into(), language.as_str().into());
    }
    export.add(part, object);
}

/// A note, and the place where it can be written as one.
fn warning(export: &mut Export<'_>, part: &DisclosedPart, one: &Warning) {
    let more = fields(&part.content, &["text"]);
    let text = [one.text.as_str(), &more].join("\n\n");
    let mut object = note(export, part, "Warning", text.trim_end().to_owned());
    if one.region.is_some() || one.latitude.is_some() {
        let mut place = export.versioned("location", export.id("location", part, ""));
        if let Some(name) = &one.place {
            place.insert("name".into(), name.as_str().into());
        }
        if let Some(region) = one.region {
            super::report::insert_region(region, &mut place);
        }
        if let (Some(north), Some(east)) = (one.latitude, one.longitude) {
            place.insert("latitude".into(), north.into());
            place.insert("longitude".into(), east.into());
        }
        let place = export.add(part, place);
        object.insert("object_refs".into(), json!([export.report, place]));
    }
    export.add(part, object);
}

fn person(export: &mut Export<'_>, part: &DisclosedPart, one: &Person) {
    let mut object = export.versioned("identity", export.id("identity", part, ""));
    object.insert("name".into(), one.name.as_str().into());
    object.insert("identity_class".into(), "individual".into());
    let more = fields(&part.content, &["name"]);
    if !more.is_empty() {
        object.insert("description".into(), more.into());
    }
    export.add(part, object);
}

/// A sighting of another part, or of a part of the bulletin that it names; or else an observation of the value,
/// since a sighting is of an object.
fn sighting(export: &mut Export<'_>, part: &DisclosedPart, one: &Sighting) {
    let of = one.of.as_str();
    let elsewhere = one.object.as_ref().filter(|id| is_sightable(id.as_str()));
    let named = export.named.get(of).cloned();
    let named = elsewhere.map(ToString::to_string).or(named);
    let about = one.bulletin.map(|id| {
        json!([{
            "source_name": "entente", "external_id": id.to_string(),
            "description": "about this bulletin",
        }])
    });
    if one.says() != SightingMark::Seen {
        match named {
            Some(id) => opinion(export, part, one, &id, about),
            None => in_words(export, part),
        }
        return;
    }
    if let Some(id) = named {
        let mut object = export.versioned("sighting", export.id("sighting", part, ""));
        object.insert("sighting_of_ref".into(), id.into());
        object.insert("count".into(), one.count.min(MOST_OBSERVED).into());
        for (name, at) in [("first_seen", one.first), ("last_seen", one.last)] {
            if let Some(at) = at {
                object.insert(name.into(), stix_time(at).into());
            }
        }
        if let Some(place) = &one.place {
            object.insert("description".into(), format!("Seen at: {place}").into());
        }
        if let Some(about) = about {
            object.insert("external_references".into(), about);
        }
        export.add(part, object);
        return;
    }
    if about.is_some() {
        in_words(export, part);
        return;
    }
    let observable = observables::of_value(of).filter(|_| one.count > 0);
    match (observable, span(one.first, one.last)) {
        (Some(observable), Some(seen)) => {
            observed_data(export, part, observable, seen, one.count);
        }
        _ => in_words(export, part),
    }
}

/// A sighting is of a domain object (STIX 2.1, section 5.2), and not of an observable or of another relationship.
fn is_sightable(id: &str) -> bool {
    let kind = id.split("--").next().unwrap_or_default();
    let known = TYPES.iter().find(|(name, ..)| *name == kind);
    // One that is custom may be one.
    let versioned = known.is_none_or(|(_, category, ..)| *category == Category::Versioned);
    versioned && !matches!(kind, "relationship" | "sighting" | "language-content")
}

/// STIX has no sighting that says the contrary: it is an opinion, as tools that have it write it.
fn opinion(
    export: &mut Export<'_>,
    part: &DisclosedPart,
    one: &Sighting,
    id: &str,
    about: Option<Value>,
) {
    let (opinion, explanation) = match one.says() {
        SightingMark::FalsePositive => ("strongly-disagree", "A false positive."),
        _ => ("disagree", "It has expired."),
    };
    let mut object = export.versioned("opinion", export.id("opinion", part, ""));
    object.insert("opinion".into(), opinion.into());
    object.insert("explanation".into(), explanation.into());
    object.insert("object_refs".into(), json!([id]));
    if let Some(about) = about {
        object.insert("external_references".into(), about);
    }
    export.add(part, object);
}

fn attachment(export: &mut Export<'_>, part: &DisclosedPart, one: &Attachment) {
    match observables::of_attachment(one) {
        Some(objects) => {
            for object in objects {
                export.add(part, object);
            }
        }
        None => in_words(export, part),
    }
}

/// What STIX has no object for: a note with every field.
fn in_words(export: &mut Export<'_>, part: &DisclosedPart) {
    let title = match &part.content {
        Content::Document(_) => "Document",
        Content::Telephone(_) => "Telephone",
        Content::BankAccount(_) => "Bank account",
        Content::Vehicle(_) => "Vehicle",
        Content::Source(_) => "Source",
        Content::Sighting(_) => "Sighting",
        Content::DetectionRule(_) => "Detection rule",
        _ => "Part of the bulletin",
    };
    let object = note(export, part, title, fields(&part.content, &[]));
    export.add(part, object);
}

/// The fields of a content, one on a line, without those named.
fn fields(content: &Content, without: &[&str]) -> String {
    let Ok(Value::Object(all)) = serde_json::to_value(content) else {
        return String::new();
    };
    let mut lines: Vec<String> = all
        .iter()
        .filter(|(name, _)| *name != "type" && !without.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {}", in_line(value)))
        .collect();
    // Whatever order the map has.
    lines.sort();
    lines.join("\n")
}

fn in_line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(in_line).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            let mut fields: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{name} {}", in_line(value)))
                .collect();
            fields.sort();
            fields.join(", ")
        }
        value => value.to_string(),
    }
}
