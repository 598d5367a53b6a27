//! Brokers of several versions on one stream.

use bytes::Bytes;
use entente::identity::read_secret_key;
use entente::ledger::StoredRecord;
use entente::proof::Digest;
use entente::stream::{FORMAT, InvalidMessage, StreamMessage};

use super::*;

const NEWER: u32 = FORMAT + 1;

/// Appends what another broker of this log would: in a format, after the last message.
async fn append_as_a_broker(
    nats: &Nats,
    alliance: &Alliance,
    format: u32,
    records: &[StoredRecord],
    after: Option<(u64, Digest)>,
) {
    let key = read_secret_key(&alliance.layout().log_key()).expect("a key");
    let public = entente::proof::Signer::public_key(&key);
    loop {
        let (sequence, last) = nats.last("alliance").await;
        let last = StreamMessage::open_up_to(&last, &public, NEWER).expect("a broker's");
        let (first, previous) = after.unwrap_or_else(|| (last.until(), last.hash()));
        let sealed = StreamMessage::seal(format, [7; 16], first, previous, "b", records, &key);
        let message = sealed.expect("signed").bytes().clone();
        if nats.append_after("alliance", sequence, message).await {
            return;
        }
    }
}

fn said(alliance: &Alliance, number: usize) -> String {
    let log = alliance.layout().broker_at(number).join("broker.log");
    std::fs::read_to_string(log).expect("a log")
}

/// Waits until a broker ended by itself, saying this.
async fn stopped(alliance: &mut Alliance, number: usize, what: &str) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !alliance.broker_ended(number) {
        assert!(tokio::time::Instant::now() < end, "it goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let said = said(alliance, number);
    assert!(said.contains(what), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_appends_stops_a_broker_by_name_until_it_is_upgraded() {
    let Some((_scratch, nats, mut alliance)) = started(1, &[], "").await else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..3).await;
    // A newer format: neither passed over nor taken for something else.
    append_as_a_broker(&nats, &alliance, NEWER, &[], None).await;
    let by_name = format!("it has format {NEWER}, and this version reads formats up to {FORMAT}");
    stopped(&mut alliance, 1, &by_name).await;
    assert!(!said(&alliance, 1).contains("passed over"));
    // Nor does it start again.
    alliance.launch_broker_at(1).await.expect("a process");
    stopped(&mut alliance, 1, &by_name).await;
    let waiting = alliance.publish(&norland, vec![draft(3)]).await;
    ids.extend(waiting.expect("in the outbox"));
    alliance.set_stream_format(1, NEWER);
    alliance.start_broker().await.expect("upgraded, it serves");
    alliance.promised(&norland, &ids).await.expect("promised");
    received(&alliance, &sudland, &ids).await;
    assert_eq!(alliance.inbox(&sudland).await.expect("an inbox").len(), 4);

    // A kind of record that only a newer version knows.
    let unknown = StoredRecord {
        // A record of format 2 whose fact has a time, and a field that no version has yet.
        record: Bytes::from_static(b"\x08\x02\x10\x01\x22\x07\x08\x01\xfa\x3f\x02\x08\x01"),
        bodies: None,
        entry: [0; 33],
        erases: Vec::new(),
    };
    append_as_a_broker(&nats, &alliance, FORMAT, &[unknown], None).await;
    stopped(
        &mut alliance,
        1,
        "its record cannot be read: a newer version appended it",
    )
    .await;
    alliance.stop().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_upgraded_one_after_the_other_and_write_what_all_of_them_read() {
    let Some((_scratch, nats, mut alliance)) =
        started(2, &[("norland", 1), ("sudland", 2)], "").await
    else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let key = read_secret_key(&alliance.layout().log_key()).expect("a key");
    let public = entente::proof::Signer::public_key(&key);
    let newest = || async { StreamMessage::open(&nats.last("alliance").await.1, &public).err() };
    let mut ids = promised(&alliance, &norland, 0..3).await;
    alliance.kill_broker_at(1).await.expect("stopped");
    alliance.set_stream_format(1, NEWER);
    alliance.start_broker_at(1).await.expect("upgraded");
    // It reads more, and writes what the other reads, for longer than it takes to hear of that one.
    let end = tokio::time::Instant::now() + Duration::from_secs(6);
    while tokio::time::Instant::now() < end {
        let next = ids.len();
        ids.extend(promised(&alliance, &norland, next..next + 1).await);
        assert_eq!(newest().await, None);
    }
    received(&alliance, &sudland, &ids).await;
    agreed(&alliance, &[1, 2]).await;
    alliance.kill_broker_at(2).await.expect("stopped");
    alliance.set_stream_format(2, NEWER);
    alliance.start_broker_at(2).await.expect("upgraded");
    let newer = InvalidMessage::Newer {
        found: NEWER,
        reads: FORMAT,
    };
    let both = || async {
        let published = alliance.publish(&norland, vec![draft(0)]).await.ok()?;
        alliance.promised(&norland, &published).await.ok()?;
        (newest().await.as_ref() == Some(&newer)).then_some(())
    };
    until("a message of the newer format", PATIENCE, both)
        .await
        .expect("all read it");
    agreed(&alliance, &[1, 2]).await;
    // One of the old version that comes back does not take part in what it does not know.
    alliance.kill_broker_at(2).await.expect("stopped");
    alliance.set_stream_format(2, FORMAT);
    alliance.launch_broker_at(2).await.expect("a process");
    stopped(&mut alliance, 2, "upgrade this broker").await;
    alliance.stop().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_beginning_is_passed_over_before_and_after_a_restart() {
    let Some((_scratch, nats, mut alliance)) = started(1, &[], "").await else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..3).await;
    let Ok(Reply::Records(records)) = alliance.ask_broker(&Request::Records { from: 1 }).await
    else {
        panic!("no records");
    };
    let record = data_encoding::BASE64.decode(records[0].record.as_bytes());
    let entry = data_encoding::BASE64.decode(records[0].entry.as_bytes());
    let record = StoredRecord {
        record: record.expect("base64").into(),
        bodies: None,
        entry: entry.expect("base64").try_into().expect("33 bytes"),
        erases: Vec::new(),
    };
    let beginning = Some((0, Digest([0; 32])));
    for round in 0..3 {
        let records = std::slice::from_ref(&record);
        append_as_a_broker(&nats, &alliance, FORMAT, records, beginning).await;
        let next = ids.len();
        ids.extend(promised(&alliance, &norland, next..next + 2).await);
        received(&alliance, &sudland, &ids).await;
        alliance.kill_broker().await.expect("stopped");
        if round == 1 {
            std::fs::remove_dir_all(layout_cache(&alliance, 1)).expect("removed");
        }
        append_as_a_broker(&nats, &alliance, FORMAT, records, beginning).await;
        alliance.start_broker().await.expect("it goes on");
        ids.extend(promised(&alliance, &norland, next + 2..next + 3).await);
    }
    received(&alliance, &sudland, &ids).await;
    assert_eq!(
        alliance.inbox(&sudland).await.expect("an inbox").len(),
        ids.len()
    );
    alliance.stop().await.expect("stopped");
}
