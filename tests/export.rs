//! The commands on real nodes: files of other tools are published on one side, and what arrives is
//! exported on the other, without a trace of what was withheld.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use alliance::{entente, plan, prepared, settled, start, written};
use entente::deployment::until;
use entente::testing::Scratch;
use serde_json::Value;

const EVENT: &str = r#"{"Event": {"uuid": "b2f4c1de-0a11-4d0e-9d5a-3a1c0f6f7a10", "info": "A campaign",
    "date": "2026-01-15", "threat_level_id": "2", "analysis": "2", "distribution": "3",
    "Tag": [{"name": "tlp:amber"}], "Attribute": [
    {"type": "domain", "category": "Network activity", "value": "c2.example", "to_ids": true},
    {"type": "domain", "category": "Network activity", "value": "not good.example", "to_ids": true},
    {"type": "ip-dst", "category": "Network activity", "value": "8.8.8.8", "to_ids": true}]}}"#;

const DRAFT: &str = r#"
kinds = ["cyber"]
topics = ["cyber/malware"]
tlp = "TLP:CLEAR"
precedence = "FLASH"
part = [
    { type = "warning", text = "Implants at two utilities.", place = "the north" },
    { type = "source", description = "a utility that must not be named" },
]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_other_tools_write_is_published_and_what_arrives_is_exported() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let config = |name: &str| {
        let config = cluster.layout().node_config(&alliance::partner(name));
        config.to_str().expect("a path").to_owned()
    };
    let (norland, estmark) = (config("norland"), config("estmark"));

    let event = written(&scratch, "event.json", EVENT);
    let bulletin = written(&scratch, "warning.toml", DRAFT);
    let lists = scratch.path().join("lists");
    fs::create_dir(&lists).expect("a directory");
    let list = r#"{"name": "resolvers", "type": "cidr", "list": ["8.8.8.0/24"]}"#;
    fs::write(lists.join("list.json"), list).expect("a list");
    let [event, bulletin, lists] =
        [&event, &bulletin, &lists].map(|path| path.to_str().expect("a path"));
    let publish = [
        "publish",
        bulletin,
        "--misp",
        event,
        "--warninglists",
        lists,
        "-c",
        &norland,
    ];
    let (code, said) = entente(&publish);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("8.8.8.8 is on: resolvers"), "{said}");
    assert!(
        said.contains("not good.example"),
        "what is no domain is named: {said}"
    );
    settled(&cluster, "estmark", |status| status.received == 2).await;

    let out = |name: &str| scratch.path().join(name).display().to_string();
    let export = |format: &str, more: &[&str]| {
        let target = out(format);
        let all = [&["export", format, "--out", &target, "-c", &estmark], more].concat();
        let (code, said) = entente(&all);
        assert_eq!(code, 0, "{said}");
        target
    };
    let stix = fs::read_to_string(export("stix", &[])).expect("a bundle");
    let bundle: Value = serde_json::from_str(&stix).expect("JSON");
    let indicators = bundle["objects"].as_array().expect("objects").iter();
    let patterns: Vec<&str> = indicators
        .filter_map(|one| one["pattern"].as_str())
        .collect();
    assert_eq!(patterns, ["[domain-name:value = 'c2.example']"]);
    assert!(
        !stix.contains("must not be named"),
        "the source was withheld"
    );

    let feed = export("misp", &[]);
    let manifest = fs::read_to_string(format!("{feed}/manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let events = manifest.as_object().expect("events");
    assert_eq!(events.len(), 2);
    assert!(events.values().any(|event| event["info"] == "A campaign"));

    let csv = fs::read_to_string(export("csv", &[])).expect("a list");
    assert!(
        csv.contains("domain,c2.example,") && !csv.contains("8.8.8.8"),
        "{csv}"
    );
    let plain = fs::read_to_string(export("list", &["--kind", "domain"])).expect("a list");
    assert_eq!(plain, "c2.example\n");

    let alerts = export("cap", &["--sender", "warnings@estmark.example"]);
    let alerts: Vec<_> = fs::read_dir(alerts).expect("alerts").collect();
    let [Ok(alert)] = alerts.as_slice() else {
        panic!("one alert: {alerts:?}");
    };
    let id = alert.path();
    let id = id.file_stem().and_then(|id| id.to_str()).expect("an id");
    let alert = fs::read(alert.path()).expect("an alert");
    let alert = entente::formats::cap::read_alert(&alert).expect("our own alert");
    assert_eq!(
        alert.warnings[0].place.as_ref().expect("a place").as_str(),
        "the north"
    );

    // Whatever it says, only its owner may read it.
    for file in ["csv", "stix", "misp/manifest.json", "misp/hashes.csv"] {
        let mode = fs::metadata(out(file))
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    // A kind of values is a plain list's, and one that there is.
    for (format, kind, why) in [
        ("csv", "domain", "--kind is for plain lists"),
        ("list", "domains", "invalid value 'domains'"),
    ] {
        let target = out("refused");
        let (code, said) = entente(&[
            "export", format, "--kind", kind, "--out", &target, "-c", &estmark,
        ]);
        assert!(code != 0 && said.contains(why), "{said}");
        assert!(
            !fs::exists(target).expect("a directory"),
            "nothing is written"
        );
    }

    // What its originator replaced is exported no more, and what lies there of it goes.
    let gone = format!("{feed}/{}.json", uuid::Uuid::nil());
    let named = events.iter().next().expect("an event").0;
    let ours = fs::read_to_string(format!("{feed}/{named}.json")).expect("an event");
    let ours = ours.replace(named, &uuid::Uuid::nil().to_string());
    fs::write(&gone, ours).expect("an event that the manifest does not name");
    let others = format!("{feed}/{}.json", uuid::Uuid::max());
    fs::write(&others, r#"{"Event": {"info": "another's"}}"#).expect("a file of others");
    let supersede = [
        "supersede",
        id,
        bulletin,
        "--reason",
        "more is known",
        "-c",
        &norland,
    ];
    let (code, said) = entente(&supersede);
    assert_eq!(code, 0, "{said}");
    settled(&cluster, "estmark", |status| status.received == 4).await;
    let marked = until("the mark", Duration::from_secs(40), || async {
        let stix = fs::read_to_string(export("stix", &[])).expect("a bundle");
        stix.contains(r#""revoked":true"#).then_some(())
    });
    marked.await.expect("it is revoked in STIX");
    let alerts = export("cap", &["--sender", "warnings@estmark.example"]);
    let alerts: Vec<_> = fs::read_dir(alerts).expect("alerts").collect();
    let [Ok(alert)] = alerts.as_slice() else {
        panic!("one alert: {alerts:?}");
    };
    assert_ne!(
        alert.path().file_stem().and_then(|id| id.to_str()),
        Some(id)
    );
    // What is there no more stays in the feed, emptied, so that MISP empties what it has read.
    let entry = || -> Value {
        let manifest = fs::read_to_string(format!("{feed}/manifest.json")).expect("a manifest");
        let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
        manifest[uuid::Uuid::nil().to_string()].clone()
    };
    let before: Value =
        serde_json::from_str(&fs::read_to_string(&gone).expect("an event")).expect("JSON");
    export("misp", &[]);
    let text = fs::read_to_string(&gone).expect("an event");
    let after: Value = serde_json::from_str(&text).expect("JSON");
    let seconds = |value: &Value| -> i64 {
        let text = value["timestamp"].as_str().expect("a time");
        text.parse().expect("seconds")
    };
    assert!(seconds(&after["Event"]) > seconds(&before["Event"]));
    assert_eq!(entry()["timestamp"], after["Event"]["timestamp"]);
    let uuids = |event: &Value| -> Vec<String> {
        let own = event["Event"]["Attribute"].as_array().into_iter().flatten();
        let objects = event["Event"]["Object"].as_array().into_iter().flatten();
        let inner = objects.flat_map(|one| one["Attribute"].as_array().into_iter().flatten());
        let all = own.chain(inner);
        all.map(|one| one["uuid"].to_string()).collect()
    };
    assert!(!uuids(&before).is_empty());
    assert_eq!(uuids(&after), uuids(&before));
    for attribute in after["Event"]["Attribute"].as_array().expect("attributes") {
        assert_eq!(attribute["deleted"], true);
        assert_eq!(attribute["value"], "deleted");
    }
    for word in ["A campaign", "c2.example"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    // It stays as it is; where only some bulletins are asked for, it goes.
    export("misp", &[]);
    assert_eq!(fs::read_to_string(&gone).expect("an event"), text);
    // Were it there again, it would be newer than what stands in its place.
    let (alive, empty) = (
        format!("{feed}/{named}.json"),
        text.replace(&uuid::Uuid::nil().to_string(), named),
    );
    let far = empty.replace(
        after["Event"]["timestamp"].as_str().expect("a time"),
        "4000000000",
    );
    fs::write(&alive, far).expect("written");
    export("misp", &[]);
    let again: Value =
        serde_json::from_str(&fs::read_to_string(&alive).expect("an event")).expect("JSON");
    assert_eq!(again["Event"]["timestamp"], "4000000001");
    export("misp", &[id]);
    assert!(!fs::exists(gone).expect("a directory"));
    assert_eq!(entry(), Value::Null);
    assert!(fs::exists(others).expect("a directory"), "it is not ours");
}

const LABEL: &str = r#"<slab:originatorConfidentialityLabel xmlns:slab="urn:nato:stanag:4774:confidentialitymetadatalabel:1:0">
<slab:ConfidentialityInformation><slab:PolicyIdentifier>NATO</slab:PolicyIdentifier>
<slab:Classification>NATO RESTRICTED</slab:Classification>
<slab:Category TagName="Releasable To" Type="PERMISSIVE"><slab:GenericValue>estmark.example</slab:GenericValue></slab:Category>
</slab:ConfidentialityInformation><slab:CreationDateTime>2026-01-15T00:00:00Z</slab:CreationDateTime>
</slab:originatorConfidentialityLabel>"#;

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_published_under_a_confidentiality_label_which_comes_out_again() {
    let scratch = Scratch::new().expect("a directory");
    let all = ["norland", "estmark", "ostland"];
    let mut plan = plan(&all);
    let ceiling = "classification = { policy = \"NATO\", level = \"SECRET\" }\nwithhold";
    plan.agreements[0].clauses = plan.agreements[0].clauses.replace("withhold", ceiling);
    let mut cluster = prepared(&scratch, plan).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &all).await;
    let config = |name: &str| {
        let config = cluster.layout().node_config(&alliance::partner(name));
        config.to_str().expect("a path").to_owned()
    };
    let (norland, estmark) = (config("norland"), config("estmark"));
    let plain = "# of today\nc2.example\n198.51.100.7\n203.0.113.0/24\nno indicator\n";
    let csv = "value,comment,confidence\nc3.example,\"beacons, often\",80\n,,\n'=1+1,,\n";
    let plain = written(&scratch, "list.txt", plain);
    let csv = written(&scratch, "list.csv", csv);
    let label = written(&scratch, "label.xml", LABEL);
    let [plain, csv, label] =
        [&plain, &csv, &label].map(|path| path.to_str().expect("a path").to_owned());
    let (code, said) = entente(&[
        "publish",
        "--list",
        &plain,
        &csv,
        "--label",
        &label,
        "--tlp",
        "TLP:GREEN",
        "-c",
        &norland,
    ]);
    assert_eq!(code, 0, "{said}");
    for line in ["line 5: `no indicator`", "line 4: `=1+1`"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    settled(&cluster, "estmark", |status| status.received == 2).await;
    let target = scratch.path().join("out.csv").display().to_string();
    let (code, said) = entente(&["export", "csv", "--out", &target, "-c", &estmark]);
    assert_eq!(code, 0, "{said}");
    let lines = fs::read_to_string(&target).expect("a list");
    for line in [
        "domain,c2.example,",
        "ip,198.51.100.7,",
        "ip-range,203.0.113.0/24,",
        "\"beacons, often\"",
        ",80,",
    ] {
        assert!(lines.contains(line), "{line}: {lines}");
    }
    // What this writes is read again.
    let (code, said) = entente(&["publish", "--list", &target, "-c", &estmark]);
    assert_eq!(code, 0, "{said}");

    let target = scratch.path().join("labels");
    let out = target.display().to_string();
    let (code, said) = entente(&["export", "stanag4774", "--out", &out, "-c", &estmark]);
    assert_eq!(code, 0, "{said}");
    let labels: Vec<_> = fs::read_dir(&target)
        .expect("labels")
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("a label"))
        .collect();
    assert_eq!(labels.len(), 2);
    for label in labels {
        let label = entente::formats::stanag4774::read_label(&label).expect("our own label");
        assert_eq!(label.classification.to_string(), "NATO RESTRICTED");
        assert_eq!(
            label.releasable_to,
            Some(vec!["estmark.example".to_owned()])
        );
    }
    settled(&cluster, "ostland", |status| status.received == 1).await;

    let elsewhere = LABEL.replace("estmark.example", "EST");
    let elsewhere = written(&scratch, "elsewhere.xml", &elsewhere);
    let elsewhere = elsewhere.display().to_string();
    let (code, said) = entente(&[
        "publish", "--list", &plain, "--label", &elsewhere, "-c", &norland,
    ]);
    assert_eq!(code, 1);
    assert!(said.contains("none of them is a partner here"), "{said}");
    let unknown = written(&scratch, "none.csv", "a,b\n1,2\n")
        .display()
        .to_string();
    let (code, said) = entente(&["publish", "--list", &unknown, "-c", &norland]);
    assert_eq!(
        (code, said.contains("names no column `value`")),
        (1, true),
        "{said}"
    );
    cluster.stop().await.expect("stopped");
}
