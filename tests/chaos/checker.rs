//! Reads what clients saw and says what must not have been. It shares no code with brokers or nodes: histories
//! are lines of JSON, written by whoever watched.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a history violates, in words; empty where it holds.
pub(crate) fn violations(history: &str) -> Vec<String> {
    let events: Vec<Value> = history
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let mut found = Vec::new();
    found.extend(lost_and_doubled(&events));
    found.extend(out_of_order(&events));
    found.extend(after_a_withdrawal(&events));
    found.extend(forked(&events));
    found
}

fn kind<'a>(events: &'a [Value], wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["event"] == wanted)
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().expect("a text")
}

fn number(event: &Value, key: &str) -> u64 {
    event[key].as_u64().expect("a number")
}

/// What was acknowledged to an application has a promise; what was promised stands where it was promised, and each
/// of its recipients has it once.
fn lost_and_doubled(events: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut received: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for event in kind(events, "received") {
        let key = (text(event, "who"), text(event, "id"));
        received
            .entry(key)
            .or_default()
            .push(number(event, "position"));
    }
    for ((who, id), positions) in &received {
        if positions.len() > 1 {
            found.push(format!("{who} was given {id} {} times", positions.len()));
        }
    }
    let mut promised: BTreeMap<&str, u64> = BTreeMap::new();
    for event in kind(events, "promised") {
        let (id, position) = (text(event, "id"), number(event, "position"));
        if let Some(other) = promised.insert(id, position)
            && other != position
        {
            found.push(format!("{id} was promised at {other} and at {position}"));
        }
    }
    let mut taken: BTreeMap<u64, &str> = BTreeMap::new();
    for (id, position) in &promised {
        if let Some(other) = taken.insert(*position, id) {
            found.push(format!("{other} and {id} were both promised at {position}"));
        }
    }
    for event in kind(events, "published") {
        let id = text(event, "id");
        let Some(position) = promised.get(id) else {
            found.push(format!(
                "{id} was acknowledged by its node and never promised"
            ));
            continue;
        };
        for who in event["to"].as_array().expect("recipients") {
            let who = who.as_str().expect("a name");
            match received.get(&(who, id)) {
                None => found.push(format!("{who} never received {id}, promised at {position}")),
                Some(at) if at[0] != *position => found.push(format!(
                    "{who} received {id} as of {}, and it was promised at {position}",
                    at[0]
                )),
                Some(_) => {}
            }
        }
    }
    found
}

/// Within a lane the order is the log's.
fn out_of_order(events: &[Value]) -> Vec<String> {
    let mut lanes: BTreeMap<(&str, &str), Vec<(u64, u64)>> = BTreeMap::new();
    for event in kind(events, "received") {
        let lane = (text(event, "who"), text(event, "precedence"));
        let place = (number(event, "number"), number(event, "position"));
        lanes.entry(lane).or_default().push(place);
    }
    let mut found = Vec::new();
    for ((who, precedence), mut places) in lanes {
        places.sort_unstable();
        for pair in places.windows(2) {
            if pair[0].1 >= pair[1].1 {
                found.push(format!(
                    "{who}, {precedence}: position {} came after {}",
                    pair[1].1, pair[0].1
                ));
            }
        }
    }
    found
}

/// Nothing accepted after a withdrawal's position flows under what was withdrawn, and nothing at all after the last
/// moment at which what was under way may arrive.
fn after_a_withdrawal(events: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for withdrawn in kind(events, "withdrawn") {
        let agreement = text(withdrawn, "agreement");
        for event in kind(events, "received") {
            if event["under"] != *agreement {
                continue;
            }
            let (who, id) = (text(event, "who"), text(event, "id"));
            if number(event, "position") > number(withdrawn, "position") {
                found.push(format!(
                    "{who} received {id}, accepted at {}, under {agreement}, withdrawn at {}",
                    number(event, "position"),
                    number(withdrawn, "position")
                ));
            }
            if text(event, "at") > text(withdrawn, "last") {
                found.push(format!(
                    "{who} received {id} under {agreement} at {}, and nothing was to arrive after {}",
                    text(event, "at"),
                    text(withdrawn, "last")
                ));
            }
        }
    }
    found
}

/// Of each size one root, whoever showed it; and every broker has every record alike.
fn forked(events: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut roots: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for event in kind(events, "checkpoint") {
        let roots = roots.entry(number(event, "size")).or_default();
        roots.insert(text(event, "root"));
    }
    for (size, roots) in roots {
        if roots.len() > 1 {
            found.push(format!("{} roots over {size} records", roots.len()));
        }
    }
    let mut entries: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
    for event in kind(events, "entry") {
        let all = entries.entry(number(event, "position")).or_default();
        all.insert(text(event, "entry"));
    }
    for (position, entries) in entries {
        if entries.len() > 1 {
            found.push(format!("{} records at {position}", entries.len()));
        }
    }
    found
}

#[test]
fn the_checker_sees_what_it_is_for() {
    let good = [
        r#"{"event":"published","id":"a","to":["x"]}"#,
        r#"{"event":"promised","id":"a","position":7}"#,
        r#"{"event":"received","who":"x","id":"a","number":1,"position":7,"precedence":"FLASH","under":"cyber","at":"2026-01-01T00:00:01Z"}"#,
        r#"{"event":"withdrawn","agreement":"cyber","position":8,"last":"2026-01-01T00:00:02Z"}"#,
        r#"{"event":"checkpoint","size":9,"root":"r"}"#,
        r#"{"event":"entry","position":1,"entry":"e"}"#,
    ];
    assert_eq!(violations(&good.join("\n")), Vec::<String>::new());
    let wrong = [
        (
            "never promised",
            vec![r#"{"event":"published","id":"b","to":[]}"#],
        ),
        ("2 times", vec![good[2]]),
        (
            "never received",
            vec![
                r#"{"event":"published","id":"b","to":["x"]}"#,
                r#"{"event":"promised","id":"b","position":10}"#,
            ],
        ),
        (
            "was promised at",
            vec![r#"{"event":"promised","id":"a","position":9}"#],
        ),
        (
            "both promised",
            vec![r#"{"event":"promised","id":"b","position":7}"#],
        ),
        (
            "came after",
            vec![
                r#"{"event":"received","who":"x","id":"b","number":2,"position":3,"precedence":"FLASH","under":"other","at":"2026-01-01T00:00:01Z"}"#,
            ],
        ),
        (
            "withdrawn at 8",
            vec![
                r#"{"event":"received","who":"y","id":"b","number":1,"position":9,"precedence":"FLASH","under":"cyber","at":"2026-01-01T00:00:01Z"}"#,
            ],
        ),
        (
            "nothing was to arrive after",
            vec![
                r#"{"event":"received","who":"y","id":"b","number":1,"position":6,"precedence":"FLASH","under":"cyber","at":"2026-01-01T00:00:03Z"}"#,
            ],
        ),
        (
            "2 roots",
            vec![r#"{"event":"checkpoint","size":9,"root":"q"}"#],
        ),
        (
            "2 records",
            vec![r#"{"event":"entry","position":1,"entry":"f"}"#],
        ),
    ];
    for (word, lines) in wrong {
        let history = [&good[..], &lines[..]].concat().join("\n");
        let found = violations(&history);
        assert!(
            found.iter().any(|one| one.contains(word)),
            "{word}: {found:?}"
        );
    }
}
