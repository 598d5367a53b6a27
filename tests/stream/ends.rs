//! What ends something is answered when it has ended everywhere.

use std::time::Instant;

use entente::bulletin::Relation;
use entente::node::NoticeDraft;
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

#[tokio::test(flavor = "multi_thread")]
async fn many_notices_that_wait_hold_up_no_bulletin() {
    /// More than the bulletins that may be open at once.
    const MANY: usize = 300;
    let scratch = Scratch::new().expect("a directory");
    let Some(program) = nats_server() else { return };
    let nats = Nats::start(program, scratch.path(), 1).await;
    let mut plan = plan(vec![nats.url()], 1);
    // Long enough that no notice is promised before the test is over.
    plan.shared.as_mut().expect("a stream").lease_seconds = 60;
    let mut alliance = alliance(&scratch, &plan).await;
    alliance.start_broker().await.expect("a broker");
    let connected = alliance.start_nodes(&plan.partners).await;
    connected.expect("connected");
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let ids = promised(&alliance, &norland, 0..MANY).await;
    received(&alliance, &sudland, &ids[MANY - 1..]).await;
    let mut notices = Vec::new();
    for about in ids {
        let notice = NoticeDraft {
            id: None,
            about,
            relation: Relation::Retracts,
            reason: "wrong".into(),
            precedence: None,
            tlp: None,
            classification: None,
        };
        let asked = Command::Notice { notice };
        let Ok(Response::Published(given)) = alliance.ask_node(&norland, &asked).await else {
            panic!("no notice");
        };
        notices.extend(given);
    }
    // All are recorded, none is promised, and what comes after them waits for none.
    received(&alliance, &sudland, &notices).await;
    let after = promised(&alliance, &norland, MANY..MANY + 20).await;
    received(&alliance, &sudland, &after).await;
    let command = Command::Outbox {
        ids: notices,
        wait: 0,
    };
    let Ok(Response::Outbox(statuses)) = alliance.ask_node(&norland, &command).await else {
        panic!("no status");
    };
    assert_eq!(statuses.len(), MANY);
    let pending = |state: &OutboxState| *state == OutboxState::Pending;
    assert!(statuses.iter().all(|one| pending(&one.state)));
    alliance.stop().await.expect("stopped");
}
