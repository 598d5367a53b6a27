//! A server that lost what it acknowledged, and gave its place to something else.

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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_after_a_place_that_was_given_away() {
    let Some(program) = nats_server() else { return };
    let scratch = Scratch::new().expect("a directory");
    let mut nats = Nats::start(program, scratch.path(), 1).await;
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
        let engine = StreamEngine::create(Path::new(&url), &config, "broker", key, entropy);
        let engine = engine.expect("a stream");
        assert_eq!(engine.append(0, &record("one")).expect("appended"), 1);
        assert_eq!(engine.append(1, &record("two")).expect("appended"), 2);
        engine
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
