//! A node's witness over HTTP (C2SP tlog-witness), for logs that it is not connected to. Real processes,
//! real disk.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;

use std::process::Command as Shell;
use std::sync::{Arc, Barrier};
use std::thread;

use alliance::{
    PROGRAM, configure, lonely, partner, plan, prepared, publish, receipts, settled, start, status,
    witness_of, written,
};
use entente::broker::{Reply, Request};
use entente::proof::merkle::{self, leaf_hash};
use entente::proof::{AddCheckpoint, Checkpoint, Digest, NoteKey, SecretKey, Signer};
use entente::testing::Scratch;

/// A log of which this test is the operator: it signs whatever it is told to.
struct OwnLog {
    key: SecretKey,
    log: NoteKey,
    /// Its two histories.
    leaves: [Vec<Digest>; 2],
}

impl OwnLog {
    /// Two histories that part after `common` records.
    fn new(seed: u8, common: usize) -> Self {
        let key = SecretKey::from_seed([seed; 32]).expect("a key");
        let origin = format!("log{seed}.example");
        let leaves = ["one", "other"].map(|history| {
            let leaf = |at: usize| {
                let history = if at < common { "both" } else { history };
                leaf_hash(&[&at.to_be_bytes(), history.as_bytes()])
            };
            (0..200).map(leaf).collect()
        });
        let log = NoteKey::new(&origin, key.public_key()).expect("a name");
        Self { key, log, leaves }
    }

    fn head(&self, history: usize, size: usize) -> Checkpoint {
        Checkpoint {
            origin: self.log.name().to_owned(),
            size: size as u64,
            root: merkle::root(&self.leaves[history][..size]),
        }
    }

    fn request(&self, history: usize, old: usize, new: usize) -> AddCheckpoint {
        let proof = merkle::consistency_path(&self.leaves[history][..new], old);
        AddCheckpoint {
            old: old as u64,
            proof: proof.unwrap_or_default(),
            note: self.head(history, new).sign(&self.key).expect("signed"),
        }
    }

    fn path(&self) -> String {
        format!("{}/checkpoint", Digest::of(self.log.name().as_bytes()))
    }
}

/// Status, media type and body.
type Said = (u16, String, String);

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.build().into()
}

fn read(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Said, ureq::Error> {
    let mut answer = answer?;
    let kind = answer.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (status, kind) = (answer.status().as_u16(), kind.to_owned());
    Ok((status, kind, answer.body_mut().read_to_string()?))
}

fn post(url: &str, body: &str) -> Result<Said, ureq::Error> {
    read(agent().post(format!("{url}/add-checkpoint")).send(body))
}

fn get(url: &str, path: &str) -> Said {
    read(agent().get(format!("{url}/{path}")).call()).expect("an answer")
}

/// The checkpoint that the witness shows, verified under its log's key and the witness's.
fn shown(url: &str, log: &OwnLog, witness: &NoteKey) -> Checkpoint {
    let (status, kind, note) = get(url, &log.path());
    assert_eq!(
        (status, kind.as_str()),
        (200, "text/plain; charset=utf-8"),
        "{note}"
    );
    let policy = format!("log {}\nwitness w {witness}\nquorum w\n", log.log);
    let policy: entente::proof::Policy = policy.parse().expect("a policy");
    policy.check(&note).expect("cosigned").checkpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_connected_counts_in_the_quorum() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    cluster.start_broker().await.expect("a broker");
    let Ok(Reply::Status(broker)) = cluster.ask_broker(&Request::Status).await else {
        panic!("no status");
    };
    start(&mut cluster, &["norland"]).await;
    let norland = status(&cluster, "norland").await;
    cluster.stop().await.expect("stopped");
    let log: NoteKey = broker.log_key.parse().expect("a key");
    let url = lonely(&scratch, &mut cluster, &[&log]).await;
    let ostland = status(&cluster, "ostland").await;

    let policy = format!(
        "log {log}\nwitness norland {}\nwitness ostland {} {url}\ngroup both all norland ostland\n\
         quorum both\n",
        norland.witness[0], ostland.witness[0]
    );
    let policy = written(&scratch, "policy", &policy);
    let shown = policy.to_str().expect("a path");
    let line = format!("\n[witness]\npolicy = \"{shown}\"\n");
    configure(&cluster.layout().broker_config(), "", &line);
    let line = format!("witness_policy = \"{shown}\"\n");
    configure(
        &cluster.layout().node_config(&partner("norland")),
        &line,
        "",
    );
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland"]).await;
    let id = publish(&cluster, "norland", "one").await;
    let own = receipts(&cluster, "norland", &id.to_string()).await;
    let own = written(&scratch, "own", &own[0]);
    assert!(!status(&cluster, "ostland").await.connected);
    // Without it, receipts wait.
    cluster
        .kill_node(&partner("ostland"))
        .await
        .expect("killed");
    publish(&cluster, "norland", "two").await;
    settled(&cluster, "norland", |status| status.pending_receipts > 0).await;
    cluster.stop().await.expect("stopped");
    let mut verify = Shell::new(PROGRAM);
    let verify = verify.arg("verify").arg(own).args(["--policy", shown]);
    let said = verify.output().expect("the program");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}");
    assert!(
        text.contains("norland at") && text.contains("ostland at"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_is_the_one_of_the_specification() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let (log, other) = (OwnLog::new(1, 8), OwnLog::new(2, 8));
    let url = lonely(&scratch, &mut cluster, &[&log.log]).await;
    let witness = status(&cluster, "ostland").await.witness[0].clone();
    let witness: NoteKey = witness.parse().expect("a key");

    let send = |request: &AddCheckpoint| post(&url, &request.to_string()).expect("an answer");
    assert_eq!(get(&url, &log.path()).0, 404, "nothing was cosigned yet");
    let (code, kind, lines) = send(&log.request(0, 0, 5));
    assert_eq!((code, kind.as_str()), (200, "text/plain; charset=utf-8"));
    assert!(
        lines.starts_with("\u{2014} ostland.example/node/1 "),
        "{lines}"
    );
    assert_eq!(shown(&url, &log, &witness), log.head(0, 5));
    // Again, and further.
    assert_eq!(send(&log.request(0, 5, 5)).0, 200);
    assert_eq!(send(&log.request(0, 5, 9)).0, 200);
    assert_eq!(
        send(&log.request(0, 5, 9)),
        (409, "text/x.tlog.size".into(), "9\n".into())
    );
    assert_eq!(
        send(&log.request(0, 0, 20)),
        (409, "text/x.tlog.size".into(), "9\n".into())
    );
    for bad in [
        "",
        "old 9\n",
        "old 09\n\nx",
        "old +9\n\nx",
        "old 9\n\nno note",
    ] {
        assert_eq!(post(&url, bad).expect("an answer").0, 400, "{bad:?}");
    }
    let shrunk = AddCheckpoint {
        old: 9,
        ..log.request(0, 0, 5)
    };
    assert_eq!(send(&shrunk).0, 400);
    let stranger = OwnLog {
        key: SecretKey::from_seed([9; 32]).expect("a key"),
        ..OwnLog::new(1, 8)
    };
    assert_eq!(send(&stranger.request(0, 9, 12)).0, 403);
    assert_eq!(send(&other.request(0, 0, 5)).0, 404);
    assert_eq!(get(&url, &other.path()).0, 404);
    // A proof that is none costs nothing but its refusal: no alarm without evidence.
    let mut unproved = log.request(0, 9, 12);
    unproved.proof[0] = Digest::of(b"x");
    assert_eq!(send(&unproved).0, 422);
    assert!(status(&cluster, "ostland").await.alarms.is_empty());
    assert_eq!(send(&log.request(0, 9, 12)).0, 200);
    let large = format!("old 12\n\n{}", "x".repeat(200_000));
    assert_eq!(post(&url, &large).expect("an answer").0, 413);
    // Another history, signed: refused, and proved.
    assert_eq!(send(&log.request(1, 12, 12)).0, 422);
    assert_eq!(
        send(&log.request(0, 12, 13)).0,
        422,
        "nothing more after a fork"
    );
    let alarmed = status(&cluster, "ostland").await.alarms;
    assert!(
        alarmed.iter().any(|alarm| alarm.contains("log1.example")),
        "{alarmed:?}"
    );
    assert_eq!(shown(&url, &log, &witness), log.head(0, 12));
    cluster.stop().await.expect("stopped");
}

/// Sends requests at once: the status of each; 0 where none came.
fn race(url: &str, requests: Vec<AddCheckpoint>) -> impl FnOnce() -> Vec<u16> + use<> {
    let start = Arc::new(Barrier::new(requests.len()));
    let send = |request: AddCheckpoint| {
        let (start, url) = (Arc::clone(&start), url.to_owned());
        thread::spawn(move || {
            start.wait();
            post(&url, &request.to_string()).map_or(0, |(code, _, _)| code)
        })
    };
    let threads: Vec<_> = requests.into_iter().map(send).collect();
    move || {
        let joined = threads.into_iter().map(thread::JoinHandle::join);
        joined.map(|code| code.expect("no panic")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_once_one_is_cosigned_and_nothing_goes_back() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let forking: Vec<OwnLog> = (1..9).map(|seed| OwnLog::new(seed, 1)).collect();
    let growing = OwnLog::new(9, 200);
    let logs: Vec<&NoteKey> = forking
        .iter()
        .chain([&growing])
        .map(|one| &one.log)
        .collect();
    let mut url = lonely(&scratch, &mut cluster, &logs).await;
    let witness = status(&cluster, "ostland").await.witness[0].clone();
    let witness: NoteKey = witness.parse().expect("a key");

    // Two histories from one size.
    for log in &forking {
        assert_eq!(race(&url, vec![log.request(0, 0, 1)])(), [200]);
        let mut codes = race(&url, vec![log.request(0, 1, 3), log.request(1, 1, 3)])();
        let kept = shown(&url, log, &witness);
        let (kept, lost) = if kept == log.head(0, 3) {
            (0, 1)
        } else {
            (1, 0)
        };
        assert_eq!(shown(&url, log, &witness), log.head(kept, 3));
        assert_eq!(codes[kept], 200, "{codes:?}");
        codes.sort_unstable();
        assert_eq!(codes, [200, 409]);
        assert_eq!(race(&url, vec![log.request(lost, 3, 5)])(), [422]);
    }

    // One history, further and less far, with the witness killed at any moment.
    let mut old = 0;
    for round in 0..24 {
        let sizes = [old + 1, old + 4, old + 2, old + 3];
        let requests = sizes.map(|new| growing.request(0, old, new)).to_vec();
        let racing = race(&url, requests);
        if round % 4 == 3 {
            cluster
                .kill_node(&partner("ostland"))
                .await
                .expect("killed");
            url = witness_of(&mut cluster).await;
        }
        let codes = racing();
        let won: Vec<usize> = (0..4).filter(|at| codes[*at] == 200).collect();
        let kept = shown(&url, &growing, &witness);
        let size = usize::try_from(kept.size).expect("small");
        assert_eq!(kept, growing.head(0, size));
        match won.as_slice() {
            [one] => assert_eq!(size, sizes[*one], "{codes:?}"),
            // It was killed before it answered, and may have kept one.
            [] => assert!(codes.contains(&0) && (size == old || sizes.contains(&size))),
            more => panic!("{more:?} were cosigned from one size"),
        }
        old = size;
    }
    assert!(old > 24, "it grew: {old}");
    cluster.stop().await.expect("stopped");
}
