//! How far an object may go, from its markings. Fails closed: what is not known to be less is RED.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::bulletin::Tlp;

/// The TLP 2.0 extension of OASIS.
pub(super) const TLP_2: &str = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d";

/// The standard marking definitions of TLP 2.0 and TLP 1, and OpenCTI's own AMBER+STRICT. TLP 1
/// WHITE is CLEAR; TLP 1 AMBER let clients know, as TLP 2.0 AMBER does.
const KNOWN: [(&str, Tlp); 10] = [
    (
        "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
        Tlp::Clear,
    ),
    (
        "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
        Tlp::Green,
    ),
    (
        "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
        Tlp::Amber,
    ),
    (
        "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
        Tlp::AmberStrict,
    ),
    (
        "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
        Tlp::Red,
    ),
    (
        "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9",
        Tlp::Clear,
    ),
    (
        "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da",
        Tlp::Green,
    ),
    (
        "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82",
        Tlp::Amber,
    ),
    (
        "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed",
        Tlp::Red,
    ),
    (
        "marking-definition--826578e1-40ad-459f-bc73-ede076f81f37",
        Tlp::AmberStrict,
    ),
];

/// The standard marking definition of a level, of TLP 2.0.
pub(super) fn standard_id(tlp: Tlp) -> &'static str {
    // Its rows begin with those of TLP 2.0, in the order of the levels.
    KNOWN[tlp as usize].0
}

/// Whether this is the id of a marking definition that everybody knows: who names it names nothing of
/// anybody. However it is written.
pub fn is_standard(id: &str) -> bool {
    KNOWN
        .iter()
        .any(|(known, _)| known.eq_ignore_ascii_case(id))
}

/// The strictest of the standard markings that an object as a whole bears by id: what any other
/// reader understands of it alone.
pub(super) fn standard_tlp(object: &Map<String, Value>) -> Option<Tlp> {
    let refs = object.get("object_marking_refs").and_then(Value::as_array);
    let refs = refs.into_iter().flatten().filter_map(Value::as_str);
    refs.filter_map(|id| KNOWN.iter().find(|(known, _)| *known == id))
        .map(|(_, tlp)| *tlp)
        .max()
}

/// What a marking definition says about how far a marked object may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Tlp(Tlp),
    /// A copyright or similar statement: says nothing about it.
    Statement,
    /// Something else (ACS, IEP, CUI, a vendor's): not understood, so RED.
    Unknown,
}

/// The marking definitions of a bundle.
#[derive(Debug, Default)]
pub(super) struct Markings {
    defined: HashMap<String, Meaning>,
}

impl Markings {
    /// Takes up a marking definition of the bundle.
    pub(super) fn define(&mut self, id: &str, definition: &Map<String, Value>) {
        let meaning = meaning(definition);
        // The stricter, where a bundle defines one twice.
        let meaning = match (self.defined.get(id).copied(), meaning) {
            (None, one) => one,
            (Some(Meaning::Unknown), _) | (_, Meaning::Unknown) => Meaning::Unknown,
            (Some(Meaning::Tlp(one)), Meaning::Tlp(other)) => Meaning::Tlp(one.max(other)),
            (Some(Meaning::Tlp(tlp)), Meaning::Statement)
            | (Some(Meaning::Statement), Meaning::Tlp(tlp)) => Meaning::Tlp(tlp),
            (Some(Meaning::Statement), Meaning::Statement) => Meaning::Statement,
        };
        self.defined.insert(id.to_owned(), meaning);
    }

    /// The strictest of all that an object is marked with, its granular markings and its
    /// `tlp:` labels included; `None` where nothing marks it.
    pub(super) fn tlp_of(&self, object: &Map<String, Value>) -> Option<Tlp> {
        let list = |name: &str| {
            object
                .get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let whole = list("object_marking_refs").map(Value::as_str);
        let granular = list("granular_markings")
            .filter_map(|one| one.get("marking_ref"))
            .map(Value::as_str);
        let marked = whole.chain(granular).filter_map(|id| self.level(id));
        let labelled = list("labels").filter_map(Value::as_str).filter_map(label);
        // A marking definition is not marked by what it defines, but an extension on any object
        // that says a TLP level is one.
        let own = object
            .get("extensions")
            .and_then(|all| all.get(TLP_2))
            .map(extension);
        let own = own
            .filter(|_| object.get("type").and_then(Value::as_str) != Some("marking-definition"));
        marked.chain(labelled).chain(own).max()
    }

    fn level(&self, id: Option<&str>) -> Option<Tlp> {
        let Some(id) = id else { return Some(Tlp::Red) };
        let known = KNOWN
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, tlp)| *tlp);
        match (known, self.defined.get(id)) {
            // The id counts; a bundle that says something stricter under it is believed.
            (Some(known), Some(Meaning::Tlp(tlp))) => Some(known.max(*tlp)),
            (Some(known), _) => Some(known),
            (None, Some(Meaning::Tlp(tlp))) => Some(*tlp),
            (None, Some(Meaning::Statement)) => None,
            (None, Some(Meaning::Unknown) | None) => Some(Tlp::Red),
        }
    }
}

fn meaning(definition: &Map<String, Value>) -> Meaning {
    let text = |name: &str| definition.get(name).and_then(Value::as_str);
    if let Some(extensions) = definition.get("extensions").and_then(Value::as_object) {
        return match extensions.get(TLP_2) {
            Some(tlp) if extensions.len() == 1 => Meaning::Tlp(extension(tlp)),
            _ => Meaning::Unknown,
        };
    }
    let named = text("name").and_then(name);
    match text("definition_type") {
        Some("tlp") => {
            let defined = definition.get("definition").and_then(|one| one.get("tlp"));
            let defined = defined.and_then(Value::as_str).and_then(name);
            // Where name and definition disagree, the stricter.
            match (defined, named) {
                (Some(one), Some(other)) => Meaning::Tlp(one.max(other)),
                (Some(one), None) => Meaning::Tlp(one),
                (None, _) => Meaning::Unknown,
            }
        }
        Some("statement") => named.map_or(Meaning::Statement, Meaning::Tlp),
        _ => Meaning::Unknown,
    }
}

/// The level of a TLP 2.0 extension; RED where it cannot be read.
fn extension(extension: &Value) -> Tlp {
    extension
        .get("tlp_2_0")
        .and_then(Value::as_str)
        .and_then(name)
        .unwrap_or(Tlp::Red)
}

/// A TLP level by name, as `TLP:AMBER+STRICT`, `amber+strict` or `white`.
fn name(text: &str) -> Option<Tlp> {
    let lower = text.trim().to_ascii_lowercase();
    match lower.strip_prefix("tlp:").unwrap_or(&lower) {
        "clear" | "white" => Some(Tlp::Clear),
        "green" => Some(Tlp::Green),
        "amber" => Some(Tlp::Amber),
        "amber+strict" | "amber-strict" => Some(Tlp::AmberStrict),
        "red" => Some(Tlp::Red),
        _ => None,
    }
}

/// A `tlp:` label, as MISP's converter writes them; one that cannot be read is RED.
fn label(text: &str) -> Option<Tlp> {
    let is_tlp = text
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("tlp:"));
    is_tlp.then(|| name(text).unwrap_or(Tlp::Red))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tlp(definitions: &[Value], object: Value) -> Option<Tlp> {
        let mut markings = Markings::default();
        for definition in definitions {
            let map = definition.as_object().unwrap();
            markings.define(map["id"].as_str().unwrap(), map);
        }
        markings.tlp_of(object.as_object().unwrap())
    }

    #[test]
    fn markings_are_read_as_levels_and_what_is_not_understood_is_red() {
        let by = |id: &str| json!({"object_marking_refs": [id]});
        for (id, level) in KNOWN {
            assert_eq!(tlp(&[], by(id)), Some(level));
        }
        assert_eq!(tlp(&[], json!({})), None);
        let unknown = "marking-definition--00000000-0000-4000-8000-000000000000";
        assert_eq!(tlp(&[], by(unknown)), Some(Tlp::Red), "not in the bundle");
        let with = |definition: Value| {
            let mut definition = definition;
            definition["id"] = unknown.into();
            tlp(&[definition], by(unknown))
        };
        let statement = json!({"definition_type": "statement", "definition": {"statement": "(c)"}});
        assert_eq!(with(statement.clone()), None);
        let mut named = statement;
        named["name"] = "TLP:AMBER+STRICT".into();
        assert_eq!(with(named), Some(Tlp::AmberStrict), "as OpenCTI writes it");
        let acs = json!({"extensions": {"extension-definition--3a65884d-005a-4290-8335-cb2d778a83ce": {}}});
        assert_eq!(with(acs), Some(Tlp::Red));
        let iep = json!({"definition_type": "iep", "definition": {}});
        assert_eq!(with(iep), Some(Tlp::Red));
        let disagree =
            json!({"definition_type": "tlp", "definition": {"tlp": "green"}, "name": "TLP:RED"});
        assert_eq!(with(disagree), Some(Tlp::Red));
        let strict = json!({"extensions": {TLP_2: {"tlp_2_0": "amber+strict"}}});
        assert_eq!(with(strict), Some(Tlp::AmberStrict));
        let new = json!({"extensions": {TLP_2: {"tlp_2_0": "infrared"}}});
        assert_eq!(with(new), Some(Tlp::Red));
    }

    #[test]
    fn each_level_has_its_standard_id() {
        for tlp in Tlp::ALL {
            assert_eq!(tlp_by_id(standard_id(*tlp)), Some(*tlp));
        }
    }

    fn tlp_by_id(id: &str) -> Option<Tlp> {
        standard_tlp(json!({"object_marking_refs": [id]}).as_object().unwrap())
    }

    #[test]
    fn the_strictest_marking_counts() {
        let object = json!({
            "object_marking_refs": [KNOWN[0].0],
            "granular_markings": [{"marking_ref": KNOWN[2].0, "selectors": ["name"]}],
            "labels": ["tlp:green", "trojan"],
        });
        assert_eq!(tlp(&[], object), Some(Tlp::Amber));
        assert_eq!(tlp(&[], json!({"labels": ["tlp:ex:chr"]})), Some(Tlp::Red));
        assert_eq!(tlp(&[], json!({"labels": ["TLP:WHITE"]})), Some(Tlp::Clear));
        assert_eq!(tlp(&[], json!({"labels": ["malicious"]})), None);
    }
}
