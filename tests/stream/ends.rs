//! What ends something is answered when it has ended everywhere.

use std::time::Instant;

use entente::store::OutboxState;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_recall_is_promised_when_no_broker_delivers_what_it_is_about() {
    let Some((_scratch, _nats, mut alliance)) =
        started(2, &[("norland", 1), ("sudland", 2), ("estmark", 2)], "").await
    else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let ids = promised(&alliance, &norland, 0..2).await;
    received(&alliance, &sudland, &ids).await;
    let config = alliance
        .layout()
        .node_config(&norland)
        .display()
        .to_string();
    let recalled = Instant::now();
    let id = ids[0].to_string();
    let arguments = ["recall", &id, "--reason", "wrong", "-c", &config, "--json"];
    let (good, said) = run(&arguments);
    assert!(good, "{said}");
    let notice: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let notice = notice["notice"][0].as_str().expect("an id").parse();
    let notice: BulletinId = notice.expect("an id");
    // What comes after it need not wait for it.
    let after = promised(&alliance, &norland, 2..4).await;
    let command = Command::Outbox {
        ids: vec![notice],
        wait: 0,
    };
    let Ok(Response::Outbox(statuses)) = alliance.ask_node(&norland, &command).await else {
        panic!("no status");
    };
    // The lease is two seconds; four fifths of it more, and no node believes a broker that is cut off.
    let until = Duration::from_millis(2_000 + 1_600);
    if recalled.elapsed() < until {
        assert_eq!(statuses[0].state, OutboxState::Pending);
    }
    alliance
        .promised(&norland, &[notice])
        .await
        .expect("promised");
    assert!(recalled.elapsed() >= until, "{:?}", recalled.elapsed());
    println!("a recall was promised after {:?}", recalled.elapsed());
    received(&alliance, &sudland, &after).await;
    alliance.stop().await.expect("stopped");
}
