//! STIX 2.0 into STIX 2.1.
//!
//! An object without `spec_version` is one of STIX 2.0 (STIX 2.1, section 3.2). What the two versions say in the same
//! way is kept as it is, under the same id and time; the rules for the rest are in [`upgraded`], and in `docs/stix.md`.
//! What has no counterpart is refused: observed data, whose observables have no ids of their own.

use serde_json::{Map, Value};

use super::rules::{Checked, Violation, is_versioned};

/// The property that says in 2.1 what `labels` said in 2.0, by type.
const TYPES: [(&str, &str); 6] = [
    ("identity", "roles"),
    ("indicator", "indicator_types"),
    ("malware", "malware_types"),
    ("report", "report_types"),
    ("threat-actor", "threat_actor_types"),
    ("tool", "tool_types"),
];

/// Types of objects that STIX 2.0 has not: without a `spec_version` they are none of it, but wrong ones of 2.1.
const NEWER: [&str; 9] = [
    "extension-definition",
    "grouping",
    "incident",
    "infrastructure",
    "language-content",
    "location",
    "malware-analysis",
    "note",
    "opinion",
];

/// Whether an object is one of STIX 2.0.
pub(super) fn is_older(object: &Map<String, Value>) -> bool {
    let kind = object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let of_2_0 = match object.get("spec_version") {
        None => is_versioned(kind) || kind == "marking-definition" || kind.starts_with("x-"),
        Some(version) => version == "2.0",
    };
    of_2_0 && !NEWER.contains(&kind)
}

/// The object of STIX 2.1 that says the same as one of 2.0.
pub(super) fn upgraded(mut object: Map<String, Value>) -> Checked<Map<String, Value>> {
    let kind = object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if kind == "observed-data" {
        let reason = "its observables have no ids in STIX 2.0: upgrade it first, for instance with the STIX elevator";
        return Err(Violation::of("objects", reason));
    }
    object.insert("spec_version".into(), "2.1".into());
    // They stay, too: marks are among them (`tlp:green`), and others read them as they did.
    let types = TYPES.iter().find(|(of, _)| *of == kind);
    if let Some((_, name)) = types
        && let Some(labels) = object.get("labels").cloned()
    {
        object.entry(*name).or_insert(labels);
    }
    match &*kind {
        // There was no other language.
        "indicator" => {
            object
                .entry("pattern_type")
                .or_insert_with(|| "stix".into());
        }
        // Of samples 2.0 has nothing to say: what it names is what samples have in common.
        "malware" => {
            object.entry("is_family").or_insert(Value::Bool(true));
        }
        _ => {}
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::super::{read_any_bundle, read_bundle};
    use serde_json::{Value, json};

    const TIME: &str = "2017-01-01T00:00:00.000Z";

    fn bundle(objects: &[Value]) -> Vec<u8> {
        json!({"type": "bundle", "id": "bundle--1f2cb4d8-06cb-4a2b-8f6a-2d4a0b4a1c11",
               "spec_version": "2.0", "objects": objects})
        .to_string()
        .into()
    }

    fn object(kind: &str, more: Value) -> Value {
        let mut object = json!({
            "type": kind, "id": format!("{kind}--1f2cb4d8-06cb-4a2b-8f6a-2d4a0b4a1c12"),
            "created": TIME, "modified": TIME, "name": "n",
        });
        let all = object.as_object_mut().unwrap();
        all.extend(more.as_object().cloned().unwrap());
        object
    }

    fn read(object: Value) -> Result<Value, String> {
        let read = read_any_bundle(&bundle(&[object])).unwrap();
        match (&read.objects[..], &read.refused[..]) {
            ([one], []) => Ok(serde_json::from_str(&one.json).unwrap()),
            ([], [one]) => Err(one.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_both_versions_have_is_kept_and_the_rest_follows_the_rules() {
        let indicator = object(
            "indicator",
            json!({
                "labels": ["malicious-activity", "tlp:amber"], "valid_from": TIME,
                "pattern": "[domain-name:value = 'c2.example']", "x_vendor": 1,
            }),
        );
        let new = read(indicator.clone()).unwrap();
        for (name, value) in indicator.as_object().unwrap() {
            assert_eq!(new[name], *value, "{name}");
        }
        assert_eq!(new["spec_version"], "2.1");
        assert_eq!(new["pattern_type"], "stix");
        assert_eq!(new["indicator_types"], indicator["labels"]);
        let marked = read_any_bundle(&bundle(&[indicator])).unwrap();
        assert_eq!(marked.objects[0].tlp, Some(crate::bulletin::Tlp::Amber));
        assert_eq!(marked.upgraded, 1);

        let malware = read(object("malware", json!({"labels": ["trojan"]}))).unwrap();
        assert_eq!(
            (&malware["is_family"], &malware["malware_types"]),
            (&json!(true), &json!(["trojan"]))
        );
        let sample = read(object(
            "malware",
            json!({"labels": ["trojan"], "is_family": false}),
        ));
        assert_eq!(sample.unwrap()["is_family"], false);
        let identity = read(object(
            "identity",
            json!({"identity_class": "organization"}),
        ));
        assert_eq!(identity.unwrap().get("roles"), None);
    }

    #[test]
    fn what_has_no_counterpart_is_refused_and_nothing_is_guessed() {
        let observed = object(
            "observed-data",
            json!({
                "first_observed": TIME, "last_observed": TIME, "number_observed": 1,
                "objects": {"0": {"type": "ipv4-addr", "value": "192.0.2.1"}},
            }),
        );
        assert!(read(observed).unwrap_err().contains("observables"));
        // A pattern of 2.0 that is none of 2.1.
        let indicator = object(
            "indicator",
            json!({
                "labels": ["x"], "valid_from": TIME,
                "pattern": "[ipv4-addr:value = '192.0.2.1'] START '2017-01-01T00:00:00Z' STOP '2017-01-02T00:00:00Z'",
            }),
        );
        assert!(read(indicator).unwrap_err().contains("pattern"));
        for (kind, version) in [("location", None), ("note", None), ("tool", Some("2.2"))] {
            let mut one = object(
                kind,
                json!({"region": "africa", "content": "c", "labels": ["x"]}),
            );
            if let Some(version) = version {
                one["spec_version"] = version.into();
            }
            assert!(read(one).unwrap_err().contains("spec_version"), "{kind}");
        }
        // 2.1 in the same bundle is kept byte for byte, and where 2.1 is asked for nothing is upgraded.
        let mut new = object("tool", json!({}));
        new["spec_version"] = "2.1".into();
        let both = bundle(&[new.clone(), object("campaign", json!({}))]);
        let read = read_any_bundle(&both).unwrap();
        assert_eq!((read.objects.len(), read.upgraded), (2, 1));
        assert_eq!(read.objects[0].json, new.to_string());
        let strict = read_bundle(&both).unwrap();
        assert_eq!(
            (strict.objects.len(), strict.refused.len(), strict.upgraded),
            (1, 1, 0)
        );
    }
}
