//! Servers whose disk is really full: a small file system for each.

use super::*;

/// Of each server's disk. Its own limit is above it: what is to stop it is the disk.
const DISK: u64 = 48 * 1024 * 1024;
const LIMIT: &str = ", max_file_store: 10GB";
/// What is left of it at first: bulletins are promised until it is full.
const LEFT: u64 = 1024 * 1024;

async fn on_disks(servers: usize, pins: &[(&str, usize)]) -> Option<(Scratch, Nats, Alliance)> {
    let scratch = Scratch::new().expect("a directory");
    let program = nats_server()?;
    let nats = Nats::start_on_disks(program, scratch.path(), servers, DISK, LIMIT).await?;
    let alliance = started_with(&scratch, &nats, 2, pins).await;
    Some((scratch, nats, alliance))
}

/// What a broker said.
fn said_by(alliance: &Alliance, number: usize) -> String {
    let log = alliance.layout().broker_at(number).join("broker.log");
    std::fs::read_to_string(log).expect("a log")
}

/// Waits until a broker's alarms name these servers and no other.
async fn alarmed(alliance: &Alliance, nats: &Nats, servers: &[usize]) -> Vec<String> {
    let look = async || {
        let Ok(Reply::Status(status)) = alliance.ask_broker_at(1, &Request::Status).await else {
            return None;
        };
        let ill = |at: &usize| {
            let named = format!("at {} is not well", nats.monitor(*at));
            status.alarms.iter().any(|alarm| alarm.contains(&named))
        };
        let named: Vec<usize> = (0..nats.count()).filter(ill).collect();
        (named == servers).then(|| status.alarms.clone())
    };
    let told = until(&format!("alarms of servers {servers:?}"), PATIENCE, look).await;
    told.expect("alarms")
}

/// Bulletins of 20 kB, in an outbox.
async fn publish(alliance: &Alliance, ids: &mut Vec<BulletinId>, count: usize) {
    let drafts = (0..count).map(|number| long_draft(ids.len() + number, 20_000));
    let (norland, drafts) = (partner("norland"), drafts.collect());
    let published = alliance.publish(&norland, drafts).await;
    ids.extend(published.expect("durable"));
}

/// All bulletins are promised and with their recipients, once each, in one log whose every record is right; nothing had to
/// be given back to the servers.
async fn complete(mut alliance: Alliance, ids: &[BulletinId]) {
    let [norland, sudland, estmark] = ["norland", "sudland", "estmark"].map(partner);
    alliance.promised(&norland, ids).await.expect("promised");
    for who in [&sudland, &estmark] {
        let all = || async {
            let inbox = alliance.inbox(who).await.ok()?;
            (inbox.len() >= ids.len()).then_some(inbox)
        };
        let inbox = until("all of it", PATIENCE, all).await.expect("all");
        let there: BTreeSet<BulletinId> = inbox.iter().map(|item| item.id).collect();
        assert_eq!((inbox.len(), there.len()), (ids.len(), ids.len()), "{who}");
        assert!(there == ids.iter().copied().collect(), "{who} has each");
    }
    agreed(&alliance, &[1, 2]).await;
    for number in [1, 2] {
        let said = said_by(&alliance, number);
        assert!(!said.contains("panicked"), "{said}");
        assert!(!said.contains("given to them again"), "{said}");
        assert!(!alliance.broker_ended(number), "{said}");
    }
    let config = alliance.layout().broker_config();
    alliance.stop().await.expect("stopped");
    let (good, said) = run(&["audit", "verify", "--config", &config.display().to_string()]);
    assert!(good, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_is_full_is_named_and_follows_again_when_it_is_started_with_room() {
    let pins = [("norland", 1), ("sudland", 2), ("estmark", 2)];
    let Some((_scratch, mut nats, alliance)) = on_disks(3, &pins).await else {
        return;
    };
    let norland = partner("norland");
    let mut ids = promised(&alliance, &norland, 0..3).await;
    // It leads, so that all of it has to go through what fails.
    for stream in ["alliance", "alliance-contents"] {
        nats.lead(stream, 2).await;
    }
    nats.disk(2).fill(LEFT);
    let began = std::time::Instant::now();
    for _ in 0..10 {
        publish(&alliance, &mut ids, 20).await;
        alliance.promised(&norland, &ids).await.expect("promised");
    }
    println!("200 bulletins of 20 kB promised in {:?}", began.elapsed());
    let alarms = alarmed(&alliance, &nats, &[2]).await;
    println!("{alarms:?}");
    let said = nats.said(2);
    assert!(said.contains("no space left on device"), "{said}");
    // Room alone does not bring it back.
    nats.disk(2).make_room();
    publish(&alliance, &mut ids, 20).await;
    alliance.promised(&norland, &ids).await.expect("promised");
    alarmed(&alliance, &nats, &[2]).await;
    nats.kill(2).await;
    nats.launch(2);
    nats.ready().await;
    alarmed(&alliance, &nats, &[]).await;
    // It has what it missed: without another one it is half of a majority.
    nats.kill(0).await;
    publish(&alliance, &mut ids, 20).await;
    complete(alliance, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_whose_disks_are_full_make_publishers_wait_until_they_are_started_with_room() {
    for servers in [1, 3] {
        let Some((_scratch, mut nats, alliance)) = on_disks(servers, &[]).await else {
            return;
        };
        let norland = partner("norland");
        let mut ids = promised(&alliance, &norland, 0..3).await;
        for at in 0..servers {
            nats.disk(at).fill(LEFT);
        }
        // More than there is room for.
        publish(&alliance, &mut ids, 100).await;
        let refused = async || {
            let said = said_by(&alliance, 1) + &said_by(&alliance, 2);
            said.contains("nothing can be recorded").then_some(())
        };
        let refused = until("a refusal", PATIENCE, refused).await;
        refused.expect("it says so");
        let every: Vec<usize> = (0..servers).collect();
        let alarms = alarmed(&alliance, &nats, &every).await;
        println!("{servers} servers: {alarms:?}");
        let status = status_of(&alliance, &norland).await.expect("a status");
        println!("{} of {} wait", status.pending, ids.len());
        assert!(status.pending > 0, "the outbox keeps what has no room");
        for at in 0..servers {
            let said = nats.said(at);
            println!("server {at}: {}", said.contains("no space left on device"));
            nats.disk(at).make_room();
            nats.kill(at).await;
            nats.launch(at);
        }
        nats.ready().await;
        alarmed(&alliance, &nats, &[]).await;
        complete(alliance, &ids).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_own_disk_is_full_keeps_nobody_else() {
    // So much is kept free of it, as its configuration says.
    const RESERVE: u64 = 32 * 1024 * 1024;
    let pins = [("norland", 2), ("sudland", 1), ("estmark", 1)];
    let Some((_scratch, _nats, mut alliance)) = started(2, &pins, "").await else {
        return;
    };
    let place = Scratch::new().expect("a directory");
    let Some(disk) = nats::SmallDisk::mount(place.path(), RESERVE + LEFT * 8) else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..3).await;
    alliance.kill_broker_at(2).await.expect("killed");
    let config = alliance.layout().broker_config_at(2);
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let cache = format!(
        "[stream]\ncache = \"{}\"\n",
        disk.path().join("cache").display()
    );
    assert!(
        text.contains("[stream]\n") && !text.contains("cache"),
        "{text}"
    );
    let text = text.replace("[stream]\n", &cache);
    let text = format!("disk_reserve = {RESERVE}\n{text}");
    std::fs::write(&config, text).expect("written");
    alliance.start_broker_at(2).await.expect("it takes all on");
    ids.extend(promised(&alliance, &norland, 3..6).await);
    disk.fill(RESERVE - LEFT);
    let kept = alliance.publish(&norland, vec![draft(6)]).await;
    let refused = async || {
        let said = said_by(&alliance, 2);
        said.contains("nothing can be recorded until there is room")
            .then_some(())
    };
    let refused = until("a refusal", PATIENCE, refused).await;
    refused.expect("it says so");
    // The other one goes on, and this one takes on what came meanwhile.
    let others = promised(&alliance, &sudland, 7..10).await;
    disk.make_room();
    received(&alliance, &norland, &others).await;
    ids.extend(kept.expect("durable"));
    alliance.promised(&norland, &ids).await.expect("promised");
    received(&alliance, &sudland, &ids).await;
    agreed(&alliance, &[1, 2]).await;
    alliance.stop().await.expect("stopped");
}
