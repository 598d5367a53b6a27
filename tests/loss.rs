//! A broker that loses the tail of its log is given it again: by the outboxes, which keep a bulletin until
//! a checkpoint covers it that their node believes. Real processes, real QUIC, real disk.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;

use std::collections::BTreeMap;

use alliance::{
    configure, draft, keep, partner, plan, position, prepared, publish, put_back, receipts,
    settled, start, status, written,
};
use entente::bulletin::BulletinId;
use entente::node::{Command, Response};
use entente::proof::{NoteKey, SecretKey, Signer};
use entente::testing::{Cluster, Scratch};

const ALL: [&str; 3] = ["norland", "estmark", "ostland"];

/// The broker signs nothing before a witness was heard that nobody runs: what it promises is in no
/// checkpoint.
async fn unwitnessed(scratch: &Scratch) -> Cluster {
    let cluster = prepared(scratch, plan(&ALL)).await;
    let key = SecretKey::from_seed([9; 32]).expect("a key").public_key();
    let ghost = NoteKey::cosigner("ghost.example", key).expect("a key");
    let policy = format!("witness ghost {ghost}\nquorum ghost\n");
    let policy = written(scratch, "policy", &policy);
    let policy = format!("\n[witness]\npolicy = \"{}\"\n", policy.display());
    configure(&cluster.layout().broker_config(), "", &policy);
    cluster
}

/// Witnesses are asked for no more.
fn without_policy(cluster: &Cluster) {
    let config = cluster.layout().broker_config();
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let (before, _) = text.split_once("\n[witness]").expect("a policy");
    std::fs::write(&config, before).expect("written");
}

/// How often an application of a node was handed each bulletin, in this many answers of the inbox.
async fn handed(cluster: &Cluster, of: &str, application: &str) -> BTreeMap<BulletinId, usize> {
    let mut handed = BTreeMap::new();
    loop {
        let command = Command::Consume {
            name: application.into(),
            limit: 100,
            purpose: None,
            wait: 0,
        };
        let Ok(Response::Items(items)) = cluster.ask_node(&partner(of), &command).await else {
            panic!("no items");
        };
        let Some(last) = items.last().map(|item| item.number) else {
            return handed;
        };
        for item in items {
            assert_eq!(item.quarantined, None, "{of}");
            *handed.entry(item.id).or_default() += 1;
        }
        let command = Command::Advance {
            name: application.into(),
            to: last,
        };
        let advanced = cluster.ask_node(&partner(of), &command).await;
        advanced.expect("advanced");
    }
}

async fn positions(cluster: &Cluster, of: &str, ids: &[BulletinId]) -> Vec<u64> {
    let mut positions = Vec::new();
    for id in ids {
        positions.push(position(cluster, of, *id).await);
    }
    positions
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_and_lost_is_given_again_and_taken_once() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = unwitnessed(&scratch).await;
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &ALL).await;
    let first = publish(&cluster, "norland", "before the copy").await;
    cluster.delivered(first).await.expect("delivered");
    cluster.stop().await.expect("stopped");
    let copy = scratch.path().join("copy");
    keep(&cluster, &copy);

    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &ALL).await;
    let mut lost = Vec::new();
    for at in 0..5 {
        lost.push(publish(&cluster, "norland", &format!("lost {at}")).await);
    }
    for id in &lost {
        cluster.delivered(*id).await.expect("delivered");
    }
    let kept = status(&cluster, "norland").await;
    assert_eq!((kept.kept, kept.promised), (6, 6), "nothing is witnessed");
    let view = cluster.decided(lost[0]).await.expect("decided");
    assert_eq!(view.recipients.len(), 2, "{view:?}");
    let received = status(&cluster, "estmark").await;
    assert_eq!((received.received, received.quarantined), (6, 0));
    let before = handed(&cluster, "estmark", "early").await;
    assert_eq!(before.len(), 6);
    let then = positions(&cluster, "norland", &lost).await;
    // The node's own store survives a restart, what it keeps included.
    cluster.kill_broker().await.expect("killed");
    cluster
        .kill_node(&partner("norland"))
        .await
        .expect("killed");
    put_back(&cluster, &copy);

    // The log is shorter than what it promised: Norland submits again; the lanes of the others go back.
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland"]).await;
    for id in &lost {
        cluster
            .promised(&partner("norland"), &[*id])
            .await
            .expect("promised");
        cluster.delivered(*id).await.expect("delivered again");
    }
    let status = settled(&cluster, "norland", |status| status.pending == 0).await;
    assert!(
        status
            .alarms
            .iter()
            .any(|alarm| alarm.contains("lost bulletins")),
        "{:?}",
        status.alarms
    );

    // Lost once more, and this time others came first: the log is as long, and holds something else.
    cluster.stop().await.expect("stopped");
    put_back(&cluster, &copy);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["ostland"]).await;
    let mut others = Vec::new();
    for at in 0..40 {
        // What it had seen of the log is lost, too: asked for nothing that is not there.
        let mut one = draft(&format!("in their place {at}"));
        one.as_of = Some(1);
        let ids = cluster.publish(&partner("ostland"), vec![one]).await;
        let ids = ids.expect("in the outbox");
        let promised = cluster.promised(&partner("ostland"), &ids).await;
        promised.expect("promised");
        others.extend(ids);
    }
    start(&mut cluster, &["estmark", "norland"]).await;
    let resumed = cluster.delivered(others[39]).await.expect("delivered");
    assert!(resumed.position > then[4], "longer than what was promised");
    // With a checkpoint that Norland believes, it sees that its bulletins are not where they were.
    cluster.stop().await.expect("stopped");
    without_policy(&cluster);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &ALL).await;
    for id in &lost {
        let receipts = receipts(&cluster, "norland", &id.to_string()).await;
        assert_eq!(receipts.len(), 1, "one receipt of {id}");
    }
    let done = |status: &entente::node::StatusView| {
        (status.kept, status.pending, status.pending_receipts) == (0, 0, 0)
    };
    settled(&cluster, "norland", done).await;
    let now = positions(&cluster, "norland", &lost).await;
    assert!(
        now.iter().zip(&then).all(|(now, then)| now > then),
        "{now:?} {then:?}"
    );
    for id in lost.iter().chain(&others).chain([&first]) {
        cluster.delivered(*id).await.expect("delivered");
    }
    // Each of them, once: to an application that was told before the loss, and to one that begins now.
    for name in ["estmark", "ostland"] {
        settled(&cluster, name, |status| status.pending_receipts == 0).await;
        let own = if name == "ostland" { 0 } else { others.len() };
        let late = handed(&cluster, name, "late").await;
        assert_eq!(late.len(), 6 + own, "{name}");
        assert!(late.values().all(|count| *count == 1), "{name}: {late:?}");
    }
    let rest = handed(&cluster, "estmark", "early").await;
    assert!(rest.keys().all(|id| !before.contains_key(id)), "{rest:?}");
    assert_eq!(rest.len(), others.len());
    cluster.stop().await.expect("stopped");
}
