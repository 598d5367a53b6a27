//! The report that holds a bulletin's objects together, under its labels.

use serde_json::{Map, Value, json};

use super::markings::marking_refs;
use super::{Export, FIXED, head, ids, stix_time, written};
use crate::bulletin::{Content, PartClass, Region, Relation};
use crate::formats::Disclosed;
use crate::formats::stix::bundle::Object;

/// The id of the identity of whoever bears this name: the same in every bulletin.
pub fn identity_id(name: &str) -> String {
    ids::own_id("identity", &["originator", name])
}

/// Writes the report, who said it, and the places it is about.
pub(super) fn write(export: &mut Export<'_>) {
    let bulletin = export.bulletin;
    let (refs, definitions) = marking_refs(bulletin, None);
    for definition in definitions {
        export.before.put(definition);
    }
    if let Some(name) = &bulletin.originator {
        let identity = identity(name);
        export.before.put(identity);
    }
    for region in &bulletin.regions {
        let mut object = place(*region);
        object.insert("object_marking_refs".into(), json!(refs));
        let object = written(object, PartClass::Context, Some(bulletin.tlp));
        export.objects.put(object);
    }
    let mut object = export.versioned("report", export.report.clone());
    object.insert("name".into(), name(bulletin).into());
    object.insert("report_types".into(), json!(["threat-report"]));
    object.insert("published".into(), stix_time(bulletin.created).into());
    object.insert("labels".into(), json!(labels(bulletin)));
    object.insert("external_references".into(), references(bulletin));
    object.insert("object_marking_refs".into(), json!(refs));
    let held = export.objects.objects().filter(|one| is_content(one));
    let mut held: Vec<&str> = held.map(|one| one.id.as_str()).collect();
    let mut seen = std::collections::HashSet::new();
    held.retain(|id| seen.insert(*id));
    if held.is_empty() {
        return;
    }
    object.insert("object_refs".into(), json!(held));
    let object = written(object, PartClass::Narrative, Some(bulletin.tlp));
    export.objects.put(object);
}

/// Markings are no content.
fn is_content(object: &Object) -> bool {
    !matches!(
        object.kind.as_str(),
        "marking-definition" | "extension-definition" | "language-content"
    )
}

fn identity(name: &str) -> Object {
    let mut object = head("identity", identity_id(name));
    object.insert("created".into(), FIXED.into());
    object.insert("modified".into(), FIXED.into());
    object.insert("name".into(), name.into());
    object.insert("identity_class".into(), "organization".into());
    written(object, PartClass::Context, None)
}

/// The id of a place: the same in every bulletin.
pub fn place_id(region: Region) -> String {
    ids::own_id("location", &["region", region.as_str()])
}

/// Whether an object is the place that Entente writes for a region.
pub fn is_place(object: &Map<String, Value>) -> bool {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let code = text("administrative_area").or_else(|| text("country"));
    let region = code.and_then(|code| code.parse().ok());
    region.is_some_and(|region| text("id") == Some(&place_id(region)))
}

fn place(region: Region) -> Map<String, Value> {
    let mut object = head("location", place_id(region));
    object.insert("created".into(), FIXED.into());
    object.insert("modified".into(), FIXED.into());
    object.insert("name".into(), region.as_str().into());
    insert_region(region, &mut object);
    object
}

/// A country, and a subdivision of it, by their ISO 3166 codes.
pub(super) fn insert_region(region: Region, object: &mut Map<String, Value>) {
    let code = region.as_str();
    let country = code.split('-').next().unwrap_or(code);
    object.insert("country".into(), country.into());
    if country != code {
        object.insert("administrative_area".into(), code.into());
    }
}

/// The title of a narrative that goes as far as the bulletin itself.
fn name(bulletin: &Disclosed) -> String {
    let title = bulletin.parts.iter().find_map(|part| match &part.content {
        Content::Narrative(one) if bulletin.goes_as_far(part) => one.title.as_ref(),
        _ => None,
    });
    let name = title.map_or_else(
        || format!("Bulletin {}", bulletin.id),
        |title| title.as_str().to_owned(),
    );
    if bulletin.exercise {
        format!("EXERCISE: {name}")
    } else {
        name
    }
}

/// What STIX has no property for, as labels; the Admiralty code as MISP's taxonomy writes it.
fn labels(bulletin: &Disclosed) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    labels.extend(bulletin.kinds.iter().map(|kind| format!("kind:{kind}")));
    labels.extend(bulletin.topics.iter().map(|topic| format!("topic:{topic}")));
    let precedence = bulletin.precedence.as_str().to_ascii_lowercase();
    labels.push(format!("precedence:{precedence}"));
    if bulletin.exercise {
        labels.push("exercise".to_owned());
    }
    if let Some(grade @ 1..=6) = bulletin.admiralty.reliability {
        let letter = char::from(b'a' - 1 + grade);
        labels.push(format!("admiralty-scale:source-reliability=\"{letter}\""));
    }
    if let Some(grade @ 1..=6) = bulletin.admiralty.credibility {
        labels.push(format!(
            "admiralty-scale:information-credibility=\"{grade}\""
        ));
    }
    labels
}

/// The bulletin's own id, and those that it replaces or takes back.
fn references(bulletin: &Disclosed) -> Value {
    let mut references = vec![json!({
        "source_name": "entente",
        "external_id": bulletin.id.to_string(),
    })];
    for reference in &bulletin.references {
        let what = match reference.relation {
            Relation::Supersedes => "takes the place of this bulletin",
            Relation::Retracts => "takes this bulletin back",
            Relation::Downgrades => "lowers the labels of this bulletin",
            Relation::Ends => "ends that this bulletin is given",
            Relation::PassesOn => "passes on this bulletin",
        };
        references.push(json!({
            "source_name": "entente",
            "external_id": reference.bulletin.to_string(),
            "description": what,
        }));
    }
    references.into()
}
