//! Hooks with real nodes, a real HTTP listener and real programs: what is posted is signed, what is not taken
//! becomes a dead letter that survives a crash and can be tried again, and programs run within their limits.

#![allow(clippy::too_many_lines, reason = "a story is told in one piece")]

#[path = "support/alliance.rs"]
mod alliance;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use alliance::{PATIENCE, configure, entente, partner, plan, prepared, start};
use data_encoding::BASE64;
use entente::deployment::until;
use entente::testing::{Cluster, Scratch};
use ring::hmac;
use serde_json::Value;

/// A request as it came.
struct Post {
    head: String,
    body: String,
}

impl Post {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    fn text(&self) -> String {
        let item: Value = serde_json::from_str(&self.body).expect("JSON");
        let parts = item["parts"].as_array().expect("parts");
        parts[0]["content"]["text"]
            .as_str()
            .expect("a text")
            .to_owned()
    }
}

/// A listener that answers each request with the status that `judge` says.
fn listen(judge: impl Fn(&str) -> u16 + Send + 'static) -> (SocketAddr, mpsc::Receiver<Post>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    let (told, posts) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let Some(post) = read_post(&mut stream) else {
                continue;
            };
            let status = judge(&post.text());
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            // Whoever gave up does not listen any more.
            let _ = stream.write_all(answer.as_bytes());
            if told.send(post).is_err() {
                return;
            }
        }
    });
    (address, posts)
}

fn read_post(stream: &mut TcpStream) -> Option<Post> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let (head, body) = (head.to_owned(), body.to_owned());
        let post = Post { head, body };
        let length = post.header("content-length").map(str::parse::<usize>);
        if post.body.len() >= length.expect("a length").expect("a number") {
            return Some(post);
        }
    }
}

fn config(cluster: &Cluster, of: &str) -> PathBuf {
    cluster.layout().node_config(&partner(of))
}

fn publish(cluster: &Cluster, scratch: &Scratch, text: &str, labels: &str) -> String {
    let file = scratch.path().join("bulletin.toml");
    let bulletin = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n{labels}\n[[part]]\ntype = \
         \"narrative\"\ntext = \"{text}\"\n"
    );
    fs::write(&file, bulletin).expect("written");
    let (file, config) = (file.display(), config(cluster, "norland"));
    let said = entente(&[
        "publish",
        &file.to_string(),
        "--config",
        &config.display().to_string(),
        "--json",
    ]);
    assert_eq!(said.0, 0, "{said:?}");
    let id = said.1.split('"').find(|word| word.len() == 36);
    id.expect("an id").to_owned()
}

/// What `entente hook` says at estmark, as JSON.
fn hook(cluster: &Cluster, args: &[&str]) -> Value {
    let config = config(cluster, "estmark").display().to_string();
    let args = [&["hook"], args, &["--config", &config, "--json"]].concat();
    let (code, said) = entente(&args);
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).expect("JSON")
}

async fn dead(cluster: &Cluster, count: usize) -> Vec<Value> {
    let asked = until("dead letters", PATIENCE, || async {
        let all = hook(cluster, &["dead"]).as_array().cloned()?;
        (all.len() == count).then_some(all)
    });
    asked.await.expect("dead letters")
}

async fn file(path: &Path) -> String {
    let asked = until("a file", PATIENCE, || async {
        fs::read_to_string(path)
            .ok()
            .filter(|text| !text.is_empty())
    });
    asked.await.expect("it is written")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_posted_is_signed_and_what_is_not_taken_is_kept_and_tried_again() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let secret = scratch.path().join("siem.hook");
    let (code, said) = entente(&["hook", "secret", &secret.display().to_string()]);
    assert_eq!(code, 0, "{said}");
    let shown = fs::read_to_string(&secret).expect("a secret");
    assert!(!said.contains(shown.trim()), "it is in the file only");
    let mode = fs::metadata(&secret).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // One bulletin is refused until a file is there.
    let mended = scratch.path().join("mended");
    let is_mended = mended.clone();
    let (address, posts) = listen(move |text| {
        if text == "poison" && !is_mended.exists() {
            422
        } else {
            200
        }
    });
    let lines = format!(
        "\n[[webhook]]\nname = \"siem\"\nurl = \"http://{address}/in\"\nsecret = \"{}\"\n",
        secret.display()
    );
    configure(&config(&cluster, "estmark"), "", &lines);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    let first = publish(&cluster, &scratch, "first", "");
    let poison = publish(&cluster, &scratch, "poison", "");
    let last = publish(&cluster, &scratch, "last", "");

    // All are posted, in order, under a signature that the application computes itself.
    let bytes = BASE64.decode(shown.trim().trim_start_matches("whsec_").as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes.expect("base64"));
    for id in [&first, &poison, &last] {
        let post = posts.recv_timeout(PATIENCE).expect("a post");
        let header = |name: &str| post.header(name).expect("a header").to_owned();
        assert_eq!(header("webhook-id"), *id);
        let time = header("webhook-timestamp");
        let signed = format!("{id}.{time}.{}", post.body);
        let mac = BASE64.encode(hmac::sign(&key, signed.as_bytes()).as_ref());
        assert_eq!(header("webhook-signature"), format!("v1,{mac}"));
        assert!(time.parse::<i64>().expect("seconds") > 1_700_000_000);
    }

    // The one that is refused is a dead letter, with the reason, also after a crash; and an alarm.
    let letters = dead(&cluster, 1).await;
    assert_eq!(letters[0]["id"], *poison);
    assert_eq!(letters[0]["hook"], "webhook:siem");
    assert!(letters[0]["reason"].to_string().contains("422"));
    cluster
        .kill_node(&partner("estmark"))
        .await
        .expect("killed");
    start(&mut cluster, &["estmark"]).await;
    assert_eq!(dead(&cluster, 1).await, letters);
    let estmark = config(&cluster, "estmark").display().to_string();
    let (_, status) = entente(&["status", "--config", &estmark]);
    assert!(status.contains("webhook:siem has not taken 1"), "{status}");

    // Tried again in vain it is one again; mended, it is taken, and nothing else is posted.
    assert_eq!(
        hook(&cluster, &["replay", "webhook:siem", &poison])["bulletins"],
        1
    );
    assert_eq!(
        posts.recv_timeout(PATIENCE).expect("a post").text(),
        "poison"
    );
    dead(&cluster, 1).await;
    fs::write(&mended, "").expect("written");
    assert_eq!(hook(&cluster, &["replay", "webhook:siem"])["bulletins"], 1);
    assert_eq!(
        posts.recv_timeout(PATIENCE).expect("a post").text(),
        "poison"
    );
    dead(&cluster, 0).await;
    publish(&cluster, &scratch, "after", "");
    assert_eq!(
        posts.recv_timeout(PATIENCE).expect("a post").text(),
        "after"
    );
    for args in [["replay", "webhook:other"], ["forget", "webhook:siem"]] {
        let all = [&["hook"], &args[..], &["--config", &estmark]].concat();
        let (code, said) = entente(&all);
        assert_eq!(code == 0, args[0] == "forget", "{said}");
    }
    let log = cluster.layout().node_config(&partner("estmark"));
    for entry in fs::read_dir(log.parent().expect("a directory")).expect("entries") {
        let path = entry.expect("an entry").path();
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!text.contains(shown.trim()), "{}", path.display());
    }
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_down_is_tried_until_its_time_is_over_and_the_next_follows() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let (address, posts) = listen(|text| if text == "late" { 503 } else { 204 });
    let lines = format!(
        "\n[[webhook]]\nname = \"siem\"\nurl = \"http://{address}/in\"\ngive_up_after = 1\n"
    );
    configure(&config(&cluster, "estmark"), "", &lines);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    publish(&cluster, &scratch, "late", "");
    publish(&cluster, &scratch, "next", "");
    let mut tries = 0;
    loop {
        let post = posts.recv_timeout(PATIENCE).expect("a post");
        assert!(
            post.header("webhook-signature").is_none(),
            "it has no secret"
        );
        if post.text() == "next" {
            break;
        }
        tries += 1;
    }
    let letters = dead(&cluster, 1).await;
    assert!(tries >= 2, "{tries}");
    assert_eq!(letters[0]["tries"], tries);
    assert!(letters[0]["reason"].to_string().contains("503"));
    assert_eq!(hook(&cluster, &["forget", "webhook:siem"])["bulletins"], 1);
    dead(&cluster, 0).await;
    cluster.stop().await.expect("stopped");
}

/// A script of this text that nobody else can write.
fn script(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let path = scratch.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_run_for_what_is_urgent_and_real_without_shell_or_environment() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let at = scratch.path().display().to_string();
    // It writes under the number of its run: its environment, arguments and input.
    let siren = script(
        &scratch,
        "siren.sh",
        "/usr/bin/env > \"$1/env\"; echo \"$2\" > \"$1/argument\"; /bin/pwd > \"$1/directory\"\n\
         /bin/cat > \"$1/body.$$\"; /bin/mv \"$1/body.$$\" \"$1/done.$$\"",
    );
    let lines = format!(
        "\n[[exec]]\nname = \"siren\"\ncommand = \"{}\"\narguments = [\"{at}\", \"$(touch {at}/shell); \
         *\"]\n",
        siren.display()
    );
    configure(&config(&cluster, "estmark"), "", &lines);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    publish(&cluster, &scratch, "routine", "");
    publish(
        &cluster,
        &scratch,
        "drill",
        "precedence = \"FLASH\"\nexercise = true",
    );
    let flash = publish(&cluster, &scratch, "flash", "precedence = \"FLASH\"");
    let second = publish(&cluster, &scratch, "second", "precedence = \"FLASH\"");
    let runs = || -> BTreeSet<String> {
        let entries = fs::read_dir(scratch.path()).expect("entries").flatten();
        let done = entries.filter(|one| one.file_name().to_string_lossy().starts_with("done."));
        done.map(|one| {
            let body = fs::read_to_string(one.path()).expect("a body");
            let item: Value = serde_json::from_str(&body).expect("JSON");
            item["id"].as_str().expect("an id").to_owned()
        })
        .collect()
    };
    let ran = until("two runs", PATIENCE, || async {
        (runs().len() >= 2).then_some(())
    });
    ran.await.expect("it ran");
    assert_eq!(runs(), BTreeSet::from([flash, second]));
    let argument = file(&scratch.path().join("argument")).await;
    assert_eq!(argument.trim(), format!("$(touch {at}/shell); *"));
    assert!(!scratch.path().join("shell").exists());
    assert_eq!(file(&scratch.path().join("directory")).await, "/\n");
    let environment = file(&scratch.path().join("env")).await;
    let names: BTreeSet<&str> = environment
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    // What a shell sets itself.
    let own = BTreeSet::from(["PWD", "OLDPWD", "SHLVL", "_"]);
    assert!(names.is_subset(&own), "{environment}");
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_killed_after_its_time_and_no_more_run_at_once_than_may() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let at = scratch.path().display().to_string();
    let stuck = script(
        &scratch,
        "stuck.sh",
        "/bin/sleep 600 & echo $! > \"$1/child\"; wait",
    );
    // Each notes that it runs, counts who does, and waits until it may end.
    let busy = script(
        &scratch,
        "busy.sh",
        "/bin/mkdir \"$1/runs.$$\"; set -- \"$1\" \"$1\"/runs.*; echo $(($# - 1)) >> \"$1/counts\"\n\
         while [ ! -e \"$1/go\" ]; do /bin/sleep 0.05; done; /bin/rmdir \"$1/runs.$$\"",
    );
    let lines = format!(
        "\n[[exec]]\nname = \"stuck\"\ncommand = \"{}\"\narguments = [\"{at}\"]\ntimeout = \
         1\ngive_up_after = 0\n[[exec]]\nname = \"busy\"\ncommand = \"{}\"\narguments = \
         [\"{at}\"]\nat_once = 2\n",
        stuck.display(),
        busy.display()
    );
    configure(&config(&cluster, "estmark"), "", &lines);
    cluster.start_broker().await.expect("a broker");
    start(&mut cluster, &["norland", "estmark"]).await;
    for text in ["a", "b", "c", "d"] {
        publish(&cluster, &scratch, text, "precedence = \"FLASH\"");
    }
    // The program that is stuck, and what it started, are gone.
    let letters = dead(&cluster, 4).await;
    assert!(letters.iter().all(|one| one["hook"] == "exec:stuck"));
    assert!(letters[0]["reason"].to_string().contains("killed"));
    let child = file(&scratch.path().join("child")).await;
    let gone = until("its child gone", PATIENCE, || async {
        let state = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        // A zombie waits for whoever reaps it.
        state
            .map_or(true, |stat| stat.contains(") Z "))
            .then_some(())
    });
    gone.await.expect("it is killed");
    // Two run at once, and never more.
    let counts = || fs::read_to_string(scratch.path().join("counts")).unwrap_or_default();
    let two = until("two runs", PATIENCE, || async {
        (counts().lines().count() == 2).then_some(())
    });
    two.await.expect("they run");
    fs::write(scratch.path().join("go"), "").expect("written");
    let all = until("four runs", PATIENCE, || async {
        (counts().lines().count() == 4).then_some(())
    });
    all.await.expect("they ran");
    let most = counts().lines().filter_map(|line| line.parse().ok()).max();
    assert_eq!(most, Some(2_u32), "{}", counts());
    cluster.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_is_not_safe_keeps_the_node_from_starting() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = prepared(&scratch, plan(&["norland", "estmark"])).await;
    let path = config(&cluster, "norland");
    let plain = fs::read_to_string(&path).expect("a configuration");
    let exposed = scratch.path().join("exposed");
    fs::write(&exposed, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("written");
    fs::set_permissions(&exposed, PermissionsExt::from_mode(0o644)).expect("set");
    let open = script(&scratch, "open.sh", "exit 0");
    fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).expect("set");
    let (exposed, open) = (exposed.display(), open.display());
    for (lines, word) in [
        (
            "[[webhook]]\nname = \"a\"\nurl = \"http://siem.example/in\"".to_owned(),
            "https",
        ),
        (
            "[[webhook]]\nname = \"a\"\nurl = \"https://u:p@siem.example/in\"".to_owned(),
            "password",
        ),
        (
            "[[webhook]]\nname = \"a/b\"\nurl = \"https://siem.example/in\"".to_owned(),
            "letters",
        ),
        (
            format!(
                "[[webhook]]\nname = \"a\"\nurl = \"https://siem.example/\"\nsecret = \"{exposed}\""
            ),
            "chmod 600",
        ),
        (
            "[[exec]]\nname = \"a\"\ncommand = \"siren\"".to_owned(),
            "absolute",
        ),
        (
            format!("[[exec]]\nname = \"a\"\ncommand = \"{open}\""),
            "chmod go-w",
        ),
        (
            "[[exec]]\nname = \"a\"\ncommand = \"/bin/sh\"\ntimeout = 0".to_owned(),
            "timeout",
        ),
    ] {
        fs::write(&path, format!("{plain}\n{lines}\n")).expect("written");
        let (code, said) = entente(&["node", "run", "--config", &path.display().to_string()]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(word), "{word}: {said}");
    }
}
