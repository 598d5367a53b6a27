//! The engine by itself: contents that are stored beforehand, and a server that lost what it acknowledged and gave its
//! place to something else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use entente::clock::Entropy;
use entente::identity::new_secret_key;
use entente::ledger::{ENTRY_BYTES, Engine, EngineError, StoredRecord};
use entente::stream::{StreamConfig, StreamEngine};

use super::*;

fn record(text: &'static str) -> Vec<StoredRecord> {
    vec![StoredRecord {
        record: text.into(),
        bodies: Some("contents".into()),
        entry: [1; ENTRY_BYTES],
        erases: Vec::new(),
    }]
}

/// One server, and an engine on it.
async fn on_one_server(scratch: &Scratch) -> Option<(Nats, StreamEngine)> {
    let nats = Nats::start(nats_server()?, scratch.path(), 1).await;
    let config = StreamConfig {
        name: "alliance".into(),
        replicas: 1,
        cache: scratch.path().join("cache"),
        ..StreamConfig::default()
    };
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
    let key = Arc::new(new_secret_key(entropy.as_ref()).expect("a key"));
    let url = nats.url();
    let engine = tokio::task::block_in_place(|| {
        StreamEngine::create(Path::new(&url), &config, "broker", key, entropy)
    });
    Some((nats, engine.expect("a stream")))
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_are_stored_beforehand_and_what_no_group_has_goes() {
    let scratch = Scratch::new().expect("a directory");
    let Some((nats, engine)) = on_one_server(&scratch).await else {
        return;
    };
    let likely = |position, text: &'static str| BTreeMap::from([(position, text.into())]);
    let append = |size, text| {
        let appended = tokio::task::block_in_place(|| engine.append(size, &record(text)));
        assert_eq!(appended.expect("appended"), size + 1);
    };
    engine.prepare(likely(0, "contents"));
    append(0, "as it was to be");
    assert_eq!(nats.contents("alliance").await, 1);
    for (size, position, text) in [(1, 1, "others"), (2, 5, "contents"), (3, 3, "two guesses")] {
        engine.prepare(likely(position, text));
        engine.prepare(likely(position, text));
        append(size, "another than it was to be");
        let left = || async { (nats.contents("alliance").await == size + 1).then_some(()) };
        let gone = until("only what groups have", PATIENCE, left).await;
        gone.expect("what was guessed goes");
        let kept = tokio::task::block_in_place(|| engine.bodies(size));
        assert_eq!(kept.expect("read"), Some("contents".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_after_a_place_that_was_given_away() {
    let scratch = Scratch::new().expect("a directory");
    let Some((mut nats, engine)) = on_one_server(&scratch).await else {
        return;
    };
    tokio::task::block_in_place(|| {
        assert_eq!(engine.append(0, &record("one")).expect("appended"), 1);
        assert_eq!(engine.append(1, &record("two")).expect("appended"), 2);
    });
    nats.kill(0).await;
    nats.keep(0);
    nats.launch(0);
    nats.ready().await;
    let append = |size, text| {
        // The connection is made anew meanwhile.
        let appended = || match engine.append(size, &record(text)) {
            Err(EngineError::Unavailable(_)) => None,
            // It was stored, and the answer lost.
            Err(EngineError::Conflict { actual, .. }) if actual > size => Some(Ok(actual)),
            other => Some(other),
        };
        tokio::task::block_in_place(|| (0..20).find_map(|_| appended())).expect("it answers")
    };
    assert_eq!(append(2, "three").expect("appended"), 3);
    assert_eq!(append(3, "four").expect("appended"), 4);
    nats.kill(0).await;
    nats.put_back(0);
    nats.launch(0);
    nats.ready().await;
    nats.append("alliance", vec!["other".into(), "more".into()])
        .await;
    let error = append(4, "five").expect_err("message 4 is another");
    assert!(
        error.to_string().contains("message 4 of the stream"),
        "{error}"
    );
    assert_eq!(engine.size(), 4);
}
