//! What marks an exported object.

use serde_json::{Map, Value, json};

use super::{FIXED, head, ids, written};
use crate::bulletin::{PartClass, Tlp};
use crate::formats::stix::bundle::Object;
use crate::formats::stix::marking::{TLP_2, standard_id};
use crate::formats::{Disclosed, DisclosedPart};
use crate::partner::PartnerId;

/// The ids of what marks a part, or the bulletin as a whole, and the definitions behind them.
pub(super) fn marking_refs(
    bulletin: &Disclosed,
    part: Option<&DisclosedPart>,
) -> (Vec<String>, Vec<Object>) {
    let tlp = part.map_or(bulletin.tlp, |part| bulletin.tlp_of(part));
    let mut definitions = vec![tlp_definition(tlp)];
    let statements = statements(bulletin, part);
    definitions.extend(statements.iter().map(|text| statement(text)));
    let refs = definitions.iter().map(|one| one.id.clone()).collect();
    (refs, definitions)
}

/// The standard marking definition of TLP 2.0, as OASIS publishes it.
fn tlp_definition(tlp: Tlp) -> Object {
    let name = tlp.as_str();
    let level = name.trim_start_matches("TLP:").to_ascii_lowercase();
    let mut object = head("marking-definition", standard_id(tlp).to_owned());
    object.insert("created".into(), "2022-10-01T00:00:00.000Z".into());
    object.insert("name".into(), name.into());
    let extension = json!({"extension_type": "property-extension", "tlp_2_0": level});
    object.insert("extensions".into(), json!({TLP_2: extension}));
    written(object, PartClass::Context, None)
}

/// What STIX has no label for, in sentences.
fn statements(bulletin: &Disclosed, part: Option<&DisclosedPart>) -> Vec<String> {
    let mut statements = Vec::new();
    if bulletin.exercise {
        statements.push("EXERCISE: nothing of this is real".to_owned());
    }
    if let Some(classification) = &bulletin.classification {
        let level = part.and_then(|part| bulletin.level_of(part));
        let level = level.unwrap_or(classification.level);
        statements.push(format!("Classification: {} {level}", classification.policy));
    }
    let list = |words: Vec<&str>| words.join(", ");
    if !bulletin.caveats.is_empty() {
        let words = bulletin.caveats.iter().map(|caveat| caveat.as_str());
        statements.push(format!("Caveats: {}", list(words.collect())));
    }
    if !bulletin.releasable_to.is_empty() {
        let names = bulletin.releasable_to.iter().map(PartnerId::as_str);
        statements.push(format!("Releasable only to: {}", list(names.collect())));
    }
    statements
}

/// A statement marking: the same sentence has the same id in every bulletin.
fn statement(text: &str) -> Object {
    let id = ids::own_id("marking-definition", &[text]);
    let mut object = head("marking-definition", id);
    object.insert("created".into(), FIXED.into());
    object.insert("definition_type".into(), "statement".into());
    let definition = Map::from_iter([("statement".to_owned(), Value::from(text))]);
    object.insert("definition".into(), definition.into());
    written(object, PartClass::Context, None)
}
