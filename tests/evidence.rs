//! What anybody can prove afterwards: receipts, witnesses, forks, damage. Real processes, real QUIC,
//! real disk.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;

use std::fs;
use std::path::Path;
use std::process::Command as Shell;

use alliance::{
    PATIENCE, PROGRAM, configure, draft, keep, partner, plan, position, prepared, publish,
    put_back, receipts, settled, start, status, written,
};
use entente::broker;
use entente::deployment::until;
use entente::node::{Command, Response, StatusView};
use entente::proof::merkle::leaf_hash;
use entente::proof::tree::{self, Tiled};
use entente::proof::{
    Checkpoint, Digest, NoteKey, SecretKey, Signer, TileKind, TilePath, bundle_entries, tile_hashes,
};
use entente::testing::{Cluster, Scratch};

async fn cluster(scratch: &Scratch) -> Cluster {
    // Ostland is only admitted.
    prepared(scratch, plan(&["norland", "estmark"])).await
}

async fn started(scratch: &Scratch) -> Cluster {
    let mut cluster = cluster(scratch).await;
    cluster.start_broker().await.expect("a broker");
    let partners = cluster.plan().partners.clone();
    cluster.start_nodes(&partners).await.expect("nodes");
    cluster
}

/// `entente verify`: exit code and what it says.
fn verify(file: &Path, trust: &[&str]) -> (i32, String) {
    let mut shell = Shell::new(PROGRAM);
    let output = shell.arg("verify").arg(file).args(trust).output();
    let output = output.expect("the program");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().expect("an exit code"),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_prove_to_each_what_concerns_it_and_verify_from_files_alone() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = started(&scratch).await;
    let id = publish(&cluster, "norland", "one").await;
    cluster.delivered(id).await.expect("delivered");
    let estmark = settled(&cluster, "estmark", |status| status.receipts >= 2).await;
    let norland = settled(&cluster, "norland", |status| status.receipts >= 2).await;
    let log = norland.log_key.clone();
    assert_eq!(log, estmark.log_key);

    let own = receipts(&cluster, "norland", &id.to_string()).await;
    let theirs = receipts(&cluster, "estmark", &id.to_string()).await;
    let agreement = receipts(&cluster, "estmark", "cyber").await;
    assert_eq!((own.len(), theirs.len(), agreement.len()), (1, 1, 1));
    let nobody = cluster
        .ask_node(
            &partner("ostland"),
            &Command::Receipts {
                about: id.to_string(),
                wait: 0,
            },
        )
        .await;
    assert!(matches!(nobody, Ok(Response::Receipts(none)) if none.is_empty()));
    // Nothing runs any more, and nothing is needed.
    cluster.stop().await.expect("stopped");

    let own = written(&scratch, "own.tlog-proof", &own[0]);
    let (code, text) = verify(&own, &["--log-key", &log]);
    assert_eq!(code, 0, "{text}");
    for said in [
        "this record releases it to 1 recipient",
        "released to estmark.example under cyber@1/feed",
        &id.to_string(),
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let their_text = &theirs[0];
    let theirs = written(&scratch, "theirs.tlog-proof", their_text);
    let (code, text) = verify(&theirs, &["--log-key", &log]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("withheld: number 1 of its lane"), "{text}");
    assert!(!text.contains("recipients"), "{text}");
    let agreement = written(&scratch, "agreement.tlog-proof", &agreement[0]);
    let (code, text) = verify(&agreement, &["--log-key", &log]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("agreement cyber@1"), "{text}");

    // A policy asks for both partners' witnesses, and what was stripped of one does not satisfy it.
    let policy = |quorum: &str| {
        format!(
            "log {log}\nwitness norland {}\nwitness estmark {}\ngroup both all norland estmark\n\
             quorum {quorum}\n",
            norland.witness[0], estmark.witness[0]
        )
    };
    let path = written(&scratch, "policy", &policy("both"));
    let trust = ["--policy", path.to_str().expect("a path")];
    let lines: Vec<&str> = their_text.lines().collect();
    let is_of = |line: &str, who: &str| line.starts_with(&format!("\u{2014} {who}.example/node/1"));
    // Its own witness signed in any case; the other's cosignature may have come later than its proof.
    assert!(
        lines.iter().any(|line| is_of(line, "estmark")),
        "{their_text}"
    );
    let stripped: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| !is_of(line, "estmark"))
        .collect();
    let stripped = written(&scratch, "stripped", &format!("{}\n", stripped.join("\n")));
    let (code, text) = verify(&stripped, &trust);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("quorum"), "{text}");

    // Whatever else is changed, it proves nothing.
    for (from, to) in [("index ", "index 1"), ("extra ", "extra AAAA")] {
        let changed = their_text.replacen(from, to, 1);
        let changed = written(&scratch, "changed", &changed);
        let (code, text) = verify(&changed, &["--log-key", &log]);
        assert_eq!(code, 4, "{text}");
    }
    let other = norland.witness[0].replace('+', "x");
    let (code, _) = verify(&own, &["--log-key", &other]);
    assert_eq!(code, 2);
    let (code, text) = verify(&own, &[]);
    assert_eq!(code, 4, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_quorum_bulletins_flow_and_receipts_wait() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = started(&scratch).await;
    let [norland, estmark] = ["norland", "estmark"].map(|name| status(&cluster, name));
    let (norland, estmark) = (norland.await, estmark.await);
    cluster.stop().await.expect("stopped");
    let policy = format!(
        "log {}\nwitness norland {}\nwitness estmark {}\ngroup both all norland estmark\nquorum both\n",
        norland.log_key, norland.witness[0], estmark.witness[0]
    );
    let path = written(&scratch, "policy", &policy);
    let shown = path.to_str().expect("a path");
    let config = cluster.layout().broker_config();
    let text = fs::read_to_string(&config).expect("a configuration");
    let text = format!("{text}\n[witness]\npolicy = \"{shown}\"\n");
    fs::write(&config, text).expect("written");
    let config = cluster.layout().node_config(&partner("norland"));
    let text = fs::read_to_string(&config).expect("a configuration");
    fs::write(&config, format!("witness_policy = \"{shown}\"\n{text}")).expect("written");

    cluster.start_broker().await.expect("a broker");
    let alone = [partner("norland")];
    cluster.start_nodes(&alone).await.expect("a node");
    // One witness of two: it is promised, and its receipt waits.
    let id = publish(&cluster, "norland", "one").await;
    let waiting = settled(&cluster, "norland", |status| status.pending_receipts > 0).await;
    let alarmed = until("an alarm", PATIENCE, || async {
        match cluster.ask_broker(&broker::Request::Status).await {
            Ok(broker::Reply::Status(status)) => (!status.alarms.is_empty()).then_some(()),
            _ => None,
        }
    });
    alarmed.await.expect("the broker alarms");
    assert_eq!(waiting.receipts, status(&cluster, "norland").await.receipts);

    cluster.launch_node(&partner("estmark")).expect("a node");
    let own = receipts(&cluster, "norland", &id.to_string()).await;
    assert_eq!(own.len(), 1);
    cluster.stop().await.expect("stopped");
    let own = written(&scratch, "own", &own[0]);
    let (code, text) = verify(&own, &["--policy", shown]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("cosigned by norland at") && text.contains("estmark at"),
        "{text}"
    );
}

fn get(address: &str, path: &str) -> Result<Vec<u8>, u16> {
    match ureq::get(format!("http://{address}/{path}")).call() {
        Ok(mut answer) => Ok(answer.body_mut().read_to_vec().expect("a body")),
        Err(ureq::Error::StatusCode(code)) => Err(code),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_served_as_tiles_that_lead_to_its_checkpoint() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = started(&scratch).await;
    let drafts = (0..300)
        .map(|at| draft(&format!("bulletin {at}")))
        .collect();
    let ids = cluster.publish(&partner("norland"), drafts).await;
    let ids = ids.expect("in the outbox");
    let norland = partner("norland");
    cluster.promised(&norland, &ids).await.expect("promised");
    cluster.checkpointed().await.expect("a checkpoint");
    let key = status(&cluster, "norland").await.log_key;
    let key: NoteKey = key.parse().expect("a key");
    let config = broker::Config::load(&cluster.layout().broker_config()).expect("a file");
    let address = config.http.expect("http").listen.to_string();

    let note = until("a checkpoint", PATIENCE, || async {
        let note = get(&address, "checkpoint").ok()?;
        let note = String::from_utf8(note).ok()?;
        let head = Checkpoint::verify(&note, &key).ok()?;
        (head.size > 300).then_some(head)
    });
    let head = note.await.expect("a checkpoint of more than 300 records");
    let fetch = |path: &TilePath| -> Result<Vec<Digest>, u16> {
        let bytes = get(&address, &path.to_string())?;
        Ok(tile_hashes(path, &bytes).expect("a tile"))
    };
    let tiled = Tiled::new(head.size, fetch);
    assert_eq!(tree::root(&tiled, head.size).expect("tiles"), head.root);
    for index in 0..2 {
        let bundle = TilePath::in_tree(TileKind::Entries, index, head.size).expect("one");
        let hashes = TilePath::in_tree(TileKind::Hashes(0), index, head.size).expect("one");
        let bytes = get(&address, &bundle.to_string()).expect("a bundle");
        let entries = bundle_entries(&bundle, &bytes).expect("entries");
        assert!(entries.iter().all(|entry| entry.len() == 33));
        let leaves: Vec<Digest> = entries.iter().map(|entry| leaf_hash(&[entry])).collect();
        assert_eq!(leaves, fetch(&hashes).expect("a tile"));
        // Commitments: nothing of a bulletin or a partner is in them.
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!shown.contains("norland") && !shown.contains("bulletin"));
    }
    for none in [
        "tile/0/999",
        "tile/0/0",
        "tile/entries/009",
        "tile/64/000",
        "tile/x/000",
    ] {
        assert_eq!(get(&address, none), Err(404), "{none}");
    }
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_on_yesterdays_disk_stops_when_a_witness_tells() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = started(&scratch).await;
    publish(&cluster, "norland", "yesterday").await;
    cluster.stop().await.expect("stopped");
    let backup = scratch.path().join("backup");
    keep(&cluster, &backup);
    let all = cluster.plan().partners.clone();
    cluster.start_broker().await.expect("a broker");
    cluster.start_nodes(&all).await.expect("nodes");
    let id = publish(&cluster, "norland", "today").await;
    cluster.delivered(id).await.expect("delivered");
    // Its witness cosigned what has a receipt.
    assert_eq!(
        receipts(&cluster, "norland", &id.to_string()).await.len(),
        1
    );
    cluster.stop().await.expect("stopped");
    // Ledger and head are put back together: nothing on this machine tells.
    put_back(&cluster, &backup);
    cluster.start_broker().await.expect("a broker");
    cluster.launch_node(&partner("norland")).expect("a node");
    let gone = until("the broker's end", PATIENCE, || async {
        let asked = cluster.ask_broker(&broker::Request::Status).await;
        asked.is_err().then_some(())
    });
    gone.await.expect("the broker stops");
    let log = fs::read_dir(cluster.layout().broker()).expect("a directory");
    let said = log.filter_map(Result::ok).any(|entry| {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        text.contains("restored")
    });
    assert!(said, "it says why");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_histories_are_proved_to_everybody() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    cluster.start_broker().await.expect("a broker");
    let seeing = [partner("norland"), partner("estmark")];
    cluster.start_nodes(&seeing).await.expect("nodes");
    publish(&cluster, "norland", "before").await;
    cluster.stop().await.expect("stopped");
    let backup = scratch.path().join("backup");
    keep(&cluster, &backup);
    cluster.start_broker().await.expect("a broker");
    cluster.start_nodes(&seeing).await.expect("nodes");
    let id = publish(&cluster, "norland", "shown to norland").await;
    assert_eq!(
        receipts(&cluster, "norland", &id.to_string()).await.len(),
        1
    );
    let known = status(&cluster, "norland").await;
    cluster.stop().await.expect("stopped");

    // Ostland saw nothing of that, and is shown another history.
    put_back(&cluster, &backup);
    cluster.start_broker().await.expect("a broker");
    let others = [partner("ostland")];
    cluster.start_nodes(&others).await.expect("a node");
    for at in 0..10 {
        publish(&cluster, "ostland", &format!("shown to ostland {at}")).await;
    }
    let longer = known.witnessed + 2;
    settled(&cluster, "ostland", |status| status.witnessed > longer).await;
    // Then a witness of the first history comes back.
    cluster.launch_node(&partner("norland")).expect("a node");
    for name in ["norland", "ostland"] {
        let alarmed = |status: &StatusView| {
            let mut alarms = status.alarms.iter();
            alarms.any(|alarm| alarm.contains("two histories"))
        };
        settled(&cluster, name, alarmed).await;
    }
    let Ok(Response::Fork(Some(proof))) =
        cluster.ask_node(&partner("ostland"), &Command::Fork).await
    else {
        panic!("no proof");
    };
    cluster.stop().await.expect("stopped");
    let file = written(&scratch, "fork", &proof);
    let (code, text) = verify(&file, &["--log-key", &known.log_key]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("signed two histories"), "{text}");
    let kept = cluster.layout().broker().join("head.fork");
    assert_eq!(fs::read_to_string(kept).expect("kept"), proof);
}

/// Changes the last byte of a value in the broker's store.
fn flip(cluster: &Cluster, keyspace: &str, position: u64) {
    let path = cluster.layout().broker().join("ledger/db");
    let database = fjall::Database::builder(path).open().expect("a database");
    let values = database
        .keyspace(keyspace, fjall::KeyspaceCreateOptions::default)
        .expect("a keyspace");
    let key = position.to_be_bytes();
    let mut value = values.get(key).expect("read").expect("there").to_vec();
    *value.last_mut().expect("a byte") ^= 1;
    values.insert(key, value).expect("written");
    database
        .persist(fjall::PersistMode::SyncAll)
        .expect("synced");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flipped_bit_is_found_and_named() {
    for keyspace in ["records", "entries"] {
        let scratch = Scratch::new().expect("a directory");
        let mut cluster = started(&scratch).await;
        let id = publish(&cluster, "norland", "one").await;
        cluster.delivered(id).await.expect("delivered");
        settled(&cluster, "norland", |status| status.receipts >= 2).await;
        let position = position(&cluster, "norland", id).await;
        cluster.stop().await.expect("stopped");
        flip(&cluster, keyspace, position);
        let all = cluster.plan().partners.clone();
        cluster.start_broker().await.expect("a broker");
        cluster.start_nodes(&all).await.expect("nodes");
        // A checkpoint over what came since, so that the node has one to compare with.
        publish(&cluster, "ostland", "two").await;
        let named = format!("record {position} ");
        let alarmed = |status: &StatusView| {
            let mut alarms = status.alarms.iter();
            alarms.any(|alarm| alarm.contains(&named))
        };
        settled(&cluster, "norland", alarmed).await;
        cluster.stop().await.expect("stopped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_keeps_a_receipt_back_is_told_of() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = cluster(&scratch).await;
    let config = cluster.layout().node_config(&partner("norland"));
    let key = SecretKey::from_seed([9; 32]).expect("a key").public_key();
    let ghost = NoteKey::cosigner("ghost.example", key).expect("a key");
    cluster.start_broker().await.expect("a broker");
    let Ok(broker::Reply::Status(known)) = cluster.ask_broker(&broker::Request::Status).await
    else {
        panic!("no status");
    };
    let policy = format!(
        "log {}\nwitness ghost {ghost}\nquorum ghost\n",
        known.log_key
    );
    let policy = written(&scratch, "policy", &policy);
    let plain = fs::read_to_string(&config).expect("a configuration");
    let asks = format!("witness_policy = \"{}\"\n", policy.display());
    configure(&config, &format!("receipts_within = 0\n{asks}"), "");
    start(&mut cluster, &["norland"]).await;
    let id = publish(&cluster, "norland", "one").await;
    // No checkpoint is believed: that is told when the promised delay is over.
    let position = position(&cluster, "norland", id).await;
    let named = format!("record {position} of {id} has no receipt");
    let alarmed = |why: &'static str, named: String| {
        move |status: &StatusView| {
            let mut alarms = status.alarms.iter();
            alarms.any(|alarm| alarm.contains(&named) && alarm.contains(why))
        }
    };
    let waits = alarmed("no checkpoint", named.clone());
    settled(&cluster, "norland", waits).await;
    cluster.checkpointed().await.expect("a checkpoint");
    cluster.stop().await.expect("stopped");

    // Now one is, and the broker does not show the record.
    fs::write(&config, format!("receipts_within = 0\n{plain}")).expect("written");
    flip(&cluster, "records", position);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland"]).await;
    publish(&cluster, "norland", "two").await;
    let kept_back = alarmed("does not show it", named.clone());
    settled(&cluster, "norland", kept_back).await;
    cluster.stop().await.expect("stopped");

    // It does, and the alarm is over.
    flip(&cluster, "records", position);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland"]).await;
    assert_eq!(
        receipts(&cluster, "norland", &id.to_string()).await.len(),
        1
    );
    let over = |status: &StatusView| !status.alarms.iter().any(|alarm| alarm.contains(&named));
    settled(&cluster, "norland", over).await;
    cluster.stop().await.expect("stopped");
}
