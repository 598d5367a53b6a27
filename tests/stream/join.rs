//! A broker that begins from a snapshot.

use std::path::Path;

use entente::identity::read_secret_key;
use entente::proof::{Digest, PayloadType, Signer};
use entente::stream::{FORMAT, StreamMessage};

use super::*;

/// Where the parts of a snapshot are in its bytes (`src/stream/snapshot.rs`).
struct Parts {
    message: std::ops::Range<usize>,
    checkpoint: std::ops::Range<usize>,
    /// Each record, and the name of its bodies where it has some.
    records: Vec<(std::ops::Range<usize>, Option<std::ops::Range<usize>>)>,
    /// Where the signature begins, with its length.
    signature: usize,
}

fn parts(bytes: &[u8]) -> Parts {
    let sized = |at: usize| {
        let length = bytes[at..at + 4].try_into().expect("four bytes");
        at + 4..at + 4 + u32::from_be_bytes(length) as usize
    };
    let message = sized("entente-snapshot/v1\n".len() + 8);
    let checkpoint = sized(message.end);
    let mut at = checkpoint.end + 8;
    let count = bytes[checkpoint.end..at].try_into().expect("eight bytes");
    let mut records = Vec::new();
    for _ in 0..u64::from_be_bytes(count) {
        let record = sized(at);
        at = record.end + 1;
        let name = (bytes[record.end] != 0).then(|| at..at + 16);
        at += name.as_ref().map_or(0, std::ops::Range::len);
        records.push((record, name));
    }
    Parts {
        message,
        checkpoint,
        records,
        signature: at,
    }
}

/// What is before the signature, signed as a broker signs it.
fn signed(layout: &entente::deployment::Layout, mut bytes: Vec<u8>) -> Vec<u8> {
    let key = read_secret_key(&layout.log_key()).expect("a key");
    let digest = Digest::of(&bytes);
    let signature = key.sign(PayloadType::StreamSnapshot, digest.as_bytes());
    let signature = signature.expect("signed");
    bytes.extend_from_slice(signature.key_id.0.as_bytes());
    bytes.extend_from_slice(&signature.bytes);
    bytes
}

/// Has a broker write a snapshot, as soon as a witnessed checkpoint covers so many records.
async fn snapshot(config: &Path, least: u64) -> (std::path::PathBuf, u64) {
    let config = config.display().to_string();
    let look = || async {
        let (good, said) = run(&["broker", "snapshot", "--config", &config, "--json"]);
        let said: serde_json::Value = serde_json::from_str(&said).ok().filter(|_| good)?;
        let file = std::path::PathBuf::from(said["file"].as_str()?);
        let covered = said["covered"].as_u64()? >= least;
        covered.then_some((file, said["records"].as_u64()?))
    };
    until("a snapshot", PATIENCE, look).await.expect("written")
}

fn replaced(bytes: &[u8], at: std::ops::Range<usize>, with: &[u8]) -> Vec<u8> {
    [&bytes[..at.start], with, &bytes[at.end..]].concat()
}

/// A snapshot as somebody may have changed it, and what is to be said of each.
fn spoiled(layout: &entente::deployment::Layout, bytes: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    let parts = parts(bytes);
    let body = bytes[..parts.signature].to_vec();
    let (record, _) = parts.records[7].clone();
    let mut named = parts.records.iter().filter_map(|(_, name)| name.clone());
    let name = named.next().expect("a record with bodies");
    let mut flipped = bytes.to_vec();
    flipped[usize::midpoint(record.start, record.end)] ^= 1;
    let mut renamed = bytes.to_vec();
    renamed[name.start] ^= 1;
    let (other, _) = parts.records[8].clone();
    let length = u32::try_from(other.len()).expect("short").to_be_bytes();
    let other = [&length, &bytes[other]].concat();
    let swapped = replaced(&body, record.start - 4..record.end, &other);
    let note = std::str::from_utf8(&bytes[parts.checkpoint.clone()]).expect("text");
    let own: Vec<&str> = note.split_inclusive('\n').take(5).collect();
    let own = own.concat();
    let length = u32::try_from(own.len()).expect("short").to_be_bytes();
    let own = [&length, own.as_bytes()].concat();
    let at = parts.checkpoint.start - 4..parts.checkpoint.end;
    let stripped = replaced(&body, at, &own);
    let mut nobodys = body.clone();
    nobodys[parts.message.end - 1] ^= 1;
    vec![
        (flipped, "record"),
        (renamed, "its signature is not of this log's key"),
        (bytes[..bytes.len() / 2].to_vec(), "it ends too early"),
        (
            signed(layout, swapped),
            "not those that its checkpoint is over",
        ),
        (signed(layout, stripped), "its checkpoint: the quorum"),
        (signed(layout, nobodys), "is not this log's"),
        (vec![b'x'; 99], "no snapshot"),
    ]
}

/// A broker of which the witness policy is that norland's witness must have cosigned.
async fn with_policy(alliance: &Alliance, configs: &[&Path]) {
    let Ok(Reply::Status(status)) = alliance.ask_broker(&Request::Status).await else {
        panic!("no status");
    };
    let witness = status_of(alliance, &partner("norland"))
        .await
        .expect("a status");
    let policy = format!(
        "log {}\nwitness norland {}\nquorum norland\n",
        status.log_key, witness.witness[0]
    );
    for config in configs {
        let file = config.with_file_name("policy");
        std::fs::write(&file, &policy).expect("written");
        let text = std::fs::read_to_string(config).expect("a configuration");
        let text = format!("{text}\n[witness]\npolicy = \"policy\"\n");
        std::fs::write(config, text).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_begins_from_a_snapshot_that_witnesses_vouch_for() {
    let Some((_scratch, mut nats, mut alliance)) =
        started(2, &[("norland", 1), ("sudland", 1), ("estmark", 2)], "").await
    else {
        return;
    };
    let [norland, sudland, estmark] = ["norland", "sudland", "estmark"].map(partner);
    let layout = alliance.layout().clone();
    let (first, second) = (layout.broker_config_at(1), layout.broker_config_at(2));
    let cache = layout_cache(&alliance, 2);
    with_policy(&alliance, &[&first, &second]).await;
    let mut ids = promised(&alliance, &norland, 0..4).await;
    for number in [1, 2] {
        alliance.kill_broker_at(number).await.expect("killed");
    }
    std::fs::remove_dir_all(&cache).expect("removed");
    // What the server has now is what it comes back with at the end.
    nats.kill(0).await;
    nats.keep(0);
    nats.launch(0);
    nats.ready().await;
    alliance.start_broker_at(1).await.expect("a broker");
    ids.extend(promised(&alliance, &norland, 4..20).await);
    received(&alliance, &sudland, &ids).await;
    let (file, records) = snapshot(&first, 20).await;
    ids.extend(promised(&alliance, &norland, 20..25).await);

    let join = |file: &Path| {
        let (file, config) = (file.display().to_string(), second.display().to_string());
        run(&["broker", "join", &file, "--config", &config, "--json"])
    };
    // Whatever is changed in it, no broker begins from it, and what is wrong is said.
    let bytes = std::fs::read(&file).expect("a snapshot");
    assert_eq!(parts(&bytes).records.len() as u64, records);
    let tampered = file.with_file_name("tampered");
    for (bytes, what) in spoiled(&layout, &bytes) {
        std::fs::write(&tampered, bytes).expect("written");
        let (good, said) = join(&tampered);
        let named = said.contains("the snapshot") && said.contains(what);
        assert!(!good && named, "{what}: {said}");
        assert!(!cache.exists(), "{what}: something is left");
    }

    // As it was made, it is a beginning; the rest comes from the stream.
    let (good, said) = join(&file);
    assert!(good, "{said}");
    let told: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&told["snapshot"], &told["witnesses"]),
        (&records.into(), &1.into())
    );
    assert!(told["records"].as_u64() > Some(records), "{said}");
    let (good, said) = join(&file);
    assert!(!good && said.contains("has a copy already"), "{said}");
    alliance.start_broker_at(2).await.expect("a broker");
    received(&alliance, &estmark, &ids).await;
    ids.extend(promised(&alliance, &norland, 25..27).await);
    received(&alliance, &estmark, &ids).await;
    agreed(&alliance, &[1, 2]).await;

    // A server that lost what the snapshot has, then another message in that place, then a stream that begins later.
    alliance.stop().await.expect("stopped");
    std::fs::remove_dir_all(&cache).expect("removed");
    nats.kill(0).await;
    nats.put_back(0);
    nats.launch(0);
    nats.ready().await;
    let (good, said) = join(&file);
    assert!(
        !good && said.contains("it is newer than the stream"),
        "{said}"
    );
    nats.append(
        "alliance",
        vec![bytes::Bytes::from_static(b"nonsense"); 200],
    )
    .await;
    let (good, said) = join(&file);
    assert!(
        !good && said.contains("is not the one that it ends with"),
        "{said}"
    );
    nats.delete_stream("alliance").await;
    nats.create_from("alliance", 10_000).await;
    let (good, said) = join(&file);
    assert!(
        !good && said.contains("it is older than what the stream gives"),
        "{said}"
    );
    assert!(!cache.exists(), "something is left");
}

/// An unsigned message whose records begin at the last position that there is, and go on.
fn beyond_every_number() -> bytes::Bytes {
    let first = [&[0x10][..], &[0xff; 9], &[0x01]].concat();
    let group = [first, [0x2a, 0x00].repeat(3)].concat();
    let length = u8::try_from(group.len()).expect("small");
    [vec![0x0a, length], group].concat().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_is_read_with_whatever_strangers_sent() {
    let Some((_scratch, nats, mut alliance)) = started(1, &[], "").await else {
        return;
    };
    let [norland, sudland] = ["norland", "sudland"].map(partner);
    let mut ids = promised(&alliance, &norland, 0..3).await;
    received(&alliance, &sudland, &ids).await;
    alliance.kill_broker().await.expect("stopped");
    // More than brokers keep as they are, without records; and some that is no broker's.
    let key = read_secret_key(&alliance.layout().log_key()).expect("a key");
    let (_, last) = nats.last("alliance").await;
    let last = StreamMessage::open(&last, &key.public_key()).expect("a broker's");
    let (first, mut previous) = (last.until(), last.hash());
    let mut messages = Vec::new();
    for number in 0u32..9_000 {
        if number % 2_000 == 1_500 {
            messages.push(bytes::Bytes::from_static(b"nonsense"));
            messages.push(beyond_every_number());
        }
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let sealed = StreamMessage::seal(FORMAT, id, first, previous, "b", &[], &key);
        let sealed = sealed.expect("signed");
        previous = sealed.hash();
        messages.push(sealed.bytes().clone());
    }
    // What lost a race long ago, sent again by who saw it.
    let lost = Digest::of(b"what it followed is forgotten");
    let lost = StreamMessage::seal(FORMAT, [7; 16], 1, lost, "b", &[], &key);
    messages.insert(8_000, lost.expect("signed").bytes().clone());
    nats.append("alliance", messages).await;
    for round in 0..2 {
        let began = std::time::Instant::now();
        alliance.start_broker().await.expect("a broker");
        println!("9,000 messages read in {:?}", began.elapsed());
        // Nothing was recorded for longer than messages are kept as they are.
        snapshot(&alliance.layout().broker_config(), 1).await;
        let next = ids.len();
        ids.extend(promised(&alliance, &norland, next..next + 2).await);
        received(&alliance, &sudland, &ids).await;
        alliance.kill_broker().await.expect("stopped");
        if round == 0 {
            std::fs::remove_dir_all(layout_cache(&alliance, 1)).expect("removed");
        }
    }
    alliance.stop().await.expect("stopped");
}
