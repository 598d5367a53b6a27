//! Servers that are slow or full, and what strangers send them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;

/// Servers that run a fifth of the time, as those whose disk is slow, until this goes.
struct Slow(Arc<AtomicBool>, Vec<u32>);

fn pause(processes: &[u32], paused: bool) {
    for id in processes {
        nats::pause(*id, paused);
    }
}

impl Slow {
    fn servers(nats: &Nats, which: &[usize]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let processes: Vec<u32> = which.iter().map(|at| nats.process(*at)).collect();
        let (told, slowed) = (Arc::clone(&stop), processes.clone());
        std::thread::spawn(move || {
            while !told.load(Ordering::Acquire) {
                for (paused, millis) in [(true, 200), (false, 50)] {
                    pause(&slowed, paused);
                    // It is the time that makes them slow: nothing waits for it.
                    std::thread::sleep(Duration::from_millis(millis));
                }
            }
            pause(&slowed, false);
        });
        Self(stop, processes)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        pause(&self.1, false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_servers_make_it_slow_and_lose_nothing() {
    let Some((_scratch, nats, mut alliance)) =
        started_on(3, 2, &[("norland", 1), ("sudland", 2), ("estmark", 2)], "").await
    else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = Vec::new();
    let mut promises = async |what: &str| {
        let mut longest = Duration::ZERO;
        for _ in 0..5 {
            let (next, began) = (ids.len(), Instant::now());
            ids.extend(promised(&alliance, &norland, next..next + 1).await);
            longest = longest.max(began.elapsed());
        }
        println!("{what}: a promise within {longest:?}");
        longest
    };
    promises("all three well").await;
    for at in 0..3 {
        let slow = Slow::servers(&nats, &[at]);
        // The two others are a majority; where the slow one leads, each append waits for it to run.
        let longest = promises(&format!("server {at} slow")).await;
        assert!(longest < Duration::from_secs(10), "{longest:?}");
        drop(slow);
    }
    let slow = Slow::servers(&nats, &[0, 1]);
    promises("servers 0 and 1 slow").await;
    drop(slow);
    received(&alliance, &sudland, &ids).await;
    let inbox = alliance.inbox(&sudland).await.expect("an inbox");
    let order: Vec<BulletinId> = inbox.iter().map(|item| item.id).collect();
    assert_eq!(order, ids, "each once, in order");
    agreed(&alliance, &[1, 2]).await;
    alliance.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_of_three_keeps_nobody() {
    let Some((_scratch, mut nats, mut alliance)) = started_on(3, 1, &[], "").await else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..3).await;
    nats.kill(2).await;
    nats.configure(
        2,
        "sync_interval: always",
        "sync_interval: always, max_file_store: 2MB",
    );
    nats.launch(2);
    nats.ready().await;
    // It leads as long as it has room; then it takes nothing, and another is to lead.
    for stream in ["alliance", "alliance-contents"] {
        nats.lead(stream, 2).await;
    }
    let began = Instant::now();
    for round in 0..10 {
        let drafts = (0..20).map(|number| long_draft(round * 20 + number, 20_000));
        let published = alliance.publish(&norland, drafts.collect()).await;
        let published = published.expect("durable");
        alliance
            .promised(&norland, &published)
            .await
            .expect("promised");
        ids.extend(published);
    }
    println!("200 bulletins of 20 kB promised in {:?}", began.elapsed());
    let log = alliance.layout().broker().join("broker.log");
    let said = std::fs::read_to_string(log).expect("a log");
    assert!(said.contains("another is asked to lead"), "{said}");
    let complete = || async {
        let inbox = alliance.inbox(&sudland).await.ok()?;
        (inbox.len() == ids.len()).then_some(())
    };
    until("all of it", PATIENCE, complete).await.expect("all");
    alliance.stop().await.expect("stopped");
}

/// Bytes of the files in a directory.
fn bytes_in(directory: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let sizes = entries.map(|entry| {
        let entry = entry.expect("an entry");
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_in(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        }
    });
    sizes.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_send_takes_no_room_and_is_given_back_as_nothing() {
    const MUCH: usize = 900_000;
    let Some((_scratch, mut nats, mut alliance)) = started(2, &[], "").await else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..3).await;
    nats.kill(0).await;
    nats.keep(0);
    nats.launch(0);
    nats.ready().await;
    let before = bytes_in(&layout_cache(&alliance, 1));
    let junk: Vec<bytes::Bytes> = (0..40).map(|byte| vec![byte; MUCH].into()).collect();
    nats.append("alliance", junk).await;
    ids.extend(promised(&alliance, &norland, 3..6).await);
    received(&alliance, &sudland, &ids).await;
    agreed(&alliance, &[1, 2]).await;
    let grown = bytes_in(&layout_cache(&alliance, 1)).saturating_sub(before);
    println!("40 messages of {MUCH} bytes took {grown} bytes of a broker's disk");
    assert!(grown < MUCH as u64, "{grown}");
    // The server forgets it all; what is given back holds the places, and every broker knows it.
    for number in [1, 2] {
        alliance.kill_broker_at(number).await.expect("killed");
    }
    nats.kill(0).await;
    nats.put_back(0);
    nats.launch(0);
    nats.ready().await;
    for number in [1, 2] {
        alliance.start_broker_at(number).await.expect("it serves");
    }
    ids.extend(promised(&alliance, &norland, 6..8).await);
    received(&alliance, &sudland, &ids).await;
    agreed(&alliance, &[1, 2]).await;
    let log = alliance.layout().broker().join("broker.log");
    let said = std::fs::read_to_string(log).expect("a log");
    assert!(said.contains("given to them again"), "{said}");
    assert_eq!(
        alliance.inbox(&sudland).await.expect("an inbox").len(),
        ids.len()
    );
    alliance.stop().await.expect("stopped");
}
