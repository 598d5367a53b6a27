//! Very much at once: a feed of MISP events and a bundle of STIX objects, small by default. The figures at full
//! size, with the peak of memory of every process:
//!
//! ```text
//! ENTENTE_EVENTS=45000 ENTENTE_OBJECTS=10000 cargo test --release --test volume -- --nocapture --test-threads 1
//! ```

#![allow(clippy::print_stdout, reason = "figures are shown")]
#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;
#[path = "support/exchange.rs"]
mod exchange;
#[path = "support/taxii.rs"]
mod taxii;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use alliance::{PROGRAM, partner, plan, prepared, start};
use entente::deployment::until;
use entente::node::{Command, Response};
use entente::testing::{Cluster, Scratch};
use exchange::{listening, serve};
use serde_json::{Value, json};

/// What a command may take at its peak beyond what it takes for a few events, in KiB: a page of the inbox, a batch
/// of bulletins and the names of all events.
const BEYOND: u64 = 64 * 1024;
/// How long everything may take to arrive.
const PATIENCE: Duration = Duration::from_hours(1);

fn size(variable: &str, small: usize) -> usize {
    let set = std::env::var(variable).ok();
    set.map_or(small, |text| text.parse().expect("a number"))
}

/// The peak of a process's memory so far, in KiB.
fn peak(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Of the process that runs with this configuration.
fn peak_of(config: &Path) -> u64 {
    let config = config.display().to_string();
    let mut found = 0;
    for entry in fs::read_dir("/proc").expect("processes") {
        let name = entry.expect("an entry").file_name();
        let Some(pid) = name.to_str().filter(|pid| pid.parse::<u32>().is_ok()) else {
            continue;
        };
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.contains(&config) {
            found = found.max(peak(pid).unwrap_or(0));
        }
    }
    found
}

/// Runs the program; what it said in JSON, its peak in KiB, and how long it took.
fn measured(args: &[&str]) -> (Value, u64, Duration) {
    let began = Instant::now();
    let said = tempfile::NamedTempFile::new().expect("a file");
    let child = Program::new(PROGRAM)
        .args(args)
        .arg("--json")
        .stdout(Stdio::from(said.reopen().expect("a file")))
        .spawn();
    let mut child = child.expect("it starts");
    let (pid, mut most) = (child.id().to_string(), 0);
    let status = loop {
        most = most.max(peak(&pid).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a status") {
            break status;
        }
        // Not waited for: it is looked at now and then.
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = fs::read_to_string(said.path()).expect("what it said");
    assert!(status.success(), "{text}");
    (
        serde_json::from_str(&text).expect("JSON"),
        most,
        began.elapsed(),
    )
}

async fn received(cluster: &Cluster, of: &str, count: usize) {
    // The inbox numbers what it holds without gaps.
    let after = u64::try_from(count).expect("a number") - 1;
    let arrived = until("everything", PATIENCE, || async {
        let asked = Command::Inbox { after, limit: 2 };
        match cluster.ask_node(&partner(of), &asked).await {
            Ok(Response::Items(items)) if !items.is_empty() => Some(items.len()),
            _ => None,
        }
    });
    assert_eq!(arrived.await.expect("it arrives"), 1, "and no more");
}

/// A feed of so many events of ten indicators, as `PyMISP` writes it.
fn write_feed(directory: &Path, count: usize) {
    fs::create_dir_all(directory).expect("a directory");
    let manifest = fs::File::create(directory.join("manifest.json")).expect("a file");
    let mut manifest = std::io::BufWriter::new(manifest);
    for number in 0..count {
        let uuid = format!("b2f4c1de-0a11-4d0e-9d5a-{number:012x}");
        let domain = |at: usize| {
            json!({"type": "domain", "category": "Network activity", "to_ids": true,
                   "value": format!("c{at}.n{number}.example"), "comment": "beacons every two minutes"})
        };
        let attributes: Vec<Value> = (0..10).map(domain).collect();
        let event = json!({"Event": {
            "uuid": uuid, "info": format!("Campaign {number}"), "date": "2026-01-15", "analysis": "2",
            "timestamp": "1768435200", "threat_level_id": "2", "Tag": [{"name": "tlp:green"}],
            "Attribute": attributes,
        }});
        fs::write(directory.join(format!("{uuid}.json")), event.to_string()).expect("written");
        let line = json!({"info": event["Event"]["info"], "timestamp": "1768435200", "date": "2026-01-15"});
        let before = if number == 0 { "{" } else { "," };
        write!(manifest, "{before}\"{uuid}\":{line}").expect("written");
    }
    write!(manifest, "}}").expect("written");
    manifest.flush().expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_of_very_many_events_goes_through_in_little_memory() {
    let count = size("ENTENTE_EVENTS", 300);
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let config = |of: &str| cluster.layout().node_config(&partner(of));
    let path = |path: &PathBuf| path.display().to_string();
    let (norland, estmark) = (path(&config("norland")), path(&config("estmark")));
    let export = |format: &str| {
        let out = path(&scratch.path().join(format!("out-{format}")));
        let (said, most, took) = measured(&["export", format, "--out", &out, "-c", &estmark]);
        (said, most, took, out)
    };
    let few = 10.min(count);
    let feed = scratch.path().join("few");
    write_feed(&feed, few);
    let (_, base, _) = measured(&["publish", "--misp", &path(&feed), "-c", &norland]);
    received(&cluster, "estmark", few).await;
    let (_, export_base, ..) = export("misp");

    let feed = scratch.path().join("feed");
    write_feed(&feed, count);
    let began = Instant::now();
    let publish = ["publish", "--misp", &path(&feed), "-c", &norland];
    let (said, most, took) = measured(&publish);
    assert_eq!(said["published"], count - few, "{said}");
    assert_eq!(said["refused"], json!([]));
    println!("publish: {count} events in {took:?}, peak {most} KiB (for {few} events {base} KiB)");
    assert!(
        most < base + BEYOND,
        "{most} KiB, for {few} events {base} KiB"
    );
    received(&cluster, "estmark", count).await;
    println!("arrived after {:?}", began.elapsed());
    let (said, again, took) = measured(&publish);
    assert_eq!(said["unchanged"], count, "{said}");
    println!("publish again: nothing in {took:?}, peak {again} KiB");
    for format in ["misp", "stix"] {
        let (said, most, took, out) = export(format);
        println!(
            "export {format}: {said} in {took:?}, peak {most} KiB (for {few} {export_base} KiB)"
        );
        assert!(
            most < export_base + BEYOND,
            "{most} KiB, for {few} events {export_base} KiB"
        );
        assert_eq!(said["bulletins"], count);
        if format == "misp" {
            assert_eq!(said["written"], count);
            let manifest = fs::read_to_string(format!("{out}/manifest.json")).expect("a manifest");
            let manifest: BTreeMap<String, Value> = serde_json::from_str(&manifest).expect("JSON");
            assert_eq!(manifest.len(), count);
            let hashes = fs::read_to_string(format!("{out}/hashes.csv")).expect("hashes");
            // A narrative beside ten domains.
            assert_eq!(hashes.lines().count(), count * 11);
        }
    }
    for (name, config) in [
        ("norland", config("norland")),
        ("estmark", config("estmark")),
    ] {
        println!("the node of {name}: peak {} KiB", peak_of(&config));
    }
    cluster.stop().await.expect("stopped");
}

fn indicators(of: usize, count: usize) -> Vec<Value> {
    let indicator = |number: usize| {
        json!({
            "type": "indicator", "spec_version": "2.1",
            "id": format!("indicator--0000000{of}-0000-4000-8000-{number:012}"),
            "created": "2026-01-15T09:30:00.000Z", "modified": "2026-01-15T09:30:00.000Z",
            "pattern": format!("[domain-name:value = 'n{number}.example']"), "pattern_type": "stix",
            "valid_from": "2026-01-15T09:30:00Z",
        })
    };
    (0..count).map(indicator).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_very_many_objects_arrives_whole() {
    let count = size("ENTENTE_OBJECTS", 1_200);
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let way = "[[taxii.publish]]\nname = \"out\"\n[taxii.publish.labels]\nkinds = [\"cyber\"]\ntopics = \
               [\"cyber/malware\"]\ntlp = \"TLP:GREEN\"\n";
    let writes = ("w", "tlp = \"TLP:RED\"\nwrite = [\"out\"]");
    let writer = serve(&cluster, "norland", &[writes], way).remove(0);
    let reads = ("r", "tlp = \"TLP:GREEN\"\nread = [\"agreement:cyber\"]");
    let reader = serve(&cluster, "estmark", &[reads], "").remove(0);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    listening(&[&writer, &reader]).await;
    let config = |of: &str| cluster.layout().node_config(&partner(of));
    let path = |path: &Path| path.display().to_string();
    let (norland, estmark) = (path(&config("norland")), path(&config("estmark")));

    let file = scratch.path().join("bundle.json");
    let bundle = json!({"type": "bundle", "id": "bundle--00000000-0000-4000-8000-000000000000",
                        "objects": indicators(1, count)});
    fs::write(&file, bundle.to_string()).expect("written");
    let args = [
        "publish",
        "--stix",
        &path(&file),
        "--tlp",
        "TLP:GREEN",
        "-c",
        &norland,
    ];
    let (said, most, took) = measured(&args);
    let bulletins = count.div_ceil(1_000);
    assert_eq!(said["published"], bulletins);
    println!("publish --stix: {count} objects in {took:?}, peak {most} KiB");
    received(&cluster, "estmark", bulletins).await;

    let began = Instant::now();
    let body = json!({"objects": indicators(2, count)}).to_string();
    let out = "/entente/collections/publish-out/objects/";
    let said = writer.send("POST", out, body.as_bytes());
    assert_eq!(said.status, 202, "{said:?}");
    println!("POST: {count} objects in {:?}", began.elapsed());
    let id = said.json()["id"].as_str().expect("an id").to_owned();
    let status = until("a complete status", PATIENCE, || async {
        let status = writer.get(&format!("/entente/status/{id}/")).ok();
        (status["status"] == "complete").then_some(status)
    });
    let status = status.await.expect("it completes");
    assert_eq!(status["success_count"], count);
    received(&cluster, "estmark", 2 * bulletins).await;

    // All of them are served, page by page.
    let read_all = || {
        let (mut ids, mut next) = (BTreeSet::new(), String::new());
        loop {
            let at =
                "/entente/collections/agreement-cyber/objects/?match[type]=indicator&limit=1000";
            let said = reader.get(&format!("{at}{next}"));
            if said.status == 404 {
                return ids;
            }
            let page = said.ok();
            let objects = page["objects"].as_array().cloned().unwrap_or_default();
            ids.extend(
                objects
                    .iter()
                    .filter_map(|one| one["id"].as_str().map(str::to_owned)),
            );
            match page["next"].as_str() {
                Some(token) => next = format!("&next={token}"),
                None => return ids,
            }
        }
    };
    let began = Instant::now();
    let served = until("all of them", PATIENCE, || async {
        Some(read_all()).filter(|ids| ids.len() == 2 * count)
    });
    served.await.expect("all are served");
    println!("served: {} objects after {:?}", 2 * count, began.elapsed());
    let out = path(&scratch.path().join("out.json"));
    let (said, most, took) = measured(&["export", "stix", "--out", &out, "-c", &estmark]);
    assert_eq!(said["bulletins"], 2 * bulletins);
    println!("export stix: {said} in {took:?}, peak {most} KiB");
    let text = fs::read_to_string(&out).expect("a bundle");
    let exported: Value = serde_json::from_str(&text).expect("JSON");
    let all = exported["objects"].as_array().expect("objects").iter();
    assert_eq!(
        all.filter(|one| one["type"] == "indicator").count(),
        2 * count
    );

    // What is more than a request may have is refused, not cut off.
    let large = format!("{{\"objects\":[{}]}}", "9,".repeat(8 * 1024 * 1024) + "9");
    assert_eq!(
        writer
            .send(
                "POST",
                "/entente/collections/publish-out/objects/",
                large.as_bytes()
            )
            .status,
        413
    );
    for name in ["norland", "estmark"] {
        println!("the node of {name}: peak {} KiB", peak_of(&config(name)));
    }
    cluster.stop().await.expect("stopped");
}
