//! The peer: nats-server with JetStream, file store and mutual TLS, and clients that do what ours do.
//!
//! Its publishers wait for the acknowledgement of the stream, with as many unanswered as ours. Its recipients
//! are durable pull consumers that acknowledge all that came (`AckPolicy::All`), as ours do, and as rarely.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::{Context, PublishAckFuture};
use async_nats::jetstream::message::Message;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::{ConnectOptions, ServerAddr};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

use super::error::BenchError;
use super::fanout::{BULLETIN_BYTES, Fanout, Tally, run};
use super::figures::Figures;
use super::usage::{self, Usage};
use super::worker::{Done, Job, Parent, Receive, Stream, Ticks, micros, tag, until};
use crate::identity::write_private;
use crate::testing::Scratch;

const STREAM: &str = "bulletins";
/// As our recipients: what came within this time is acknowledged at once.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_millis(5);
/// Messages asked for at once.
const BATCH: usize = 512;
/// Bulletins written to a publisher's file with one sync, where it keeps one.
const OUTBOX: usize = 64;
/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program that is the peer.
#[derive(Clone, Debug)]
pub struct NatsServer {
    program: PathBuf,
    /// What it says of itself.
    pub version: String,
}

/// Finds `nats-server` here, or on the path; `None` where there is none.
pub fn find_nats_server(program: Option<PathBuf>) -> Option<NatsServer> {
    let program = program.unwrap_or_else(|| "nats-server".into());
    let output = std::process::Command::new(&program)
        .arg("--version")
        .output();
    let output = output.ok().filter(|output| output.status.success())?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(NatsServer { program, version })
}

/// How its clients reach it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Address {
    ports: Vec<u16>,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    /// Clients write what they send and receive to files here, and sync them, before they go on.
    keep: Option<PathBuf>,
}

/// Running servers: one, or several that hold a copy of the stream each.
pub(super) struct Server {
    children: Vec<Child>,
    address: Address,
    _scratch: Scratch,
}

impl Server {
    async fn start(nats: &NatsServer, synced: bool, keep: bool) -> Result<Self, BenchError> {
        let server = Self::launch(nats, synced, keep, 1).await?;
        create_stream(&connect(&server.address).await?, 1).await?;
        Ok(server)
    }

    /// So many servers that sync, in a cluster, without a stream.
    pub(super) async fn cluster(nats: &NatsServer, count: usize) -> Result<Self, BenchError> {
        Self::launch(nats, true, false, count).await
    }

    async fn launch(
        nats: &NatsServer,
        synced: bool,
        keep: bool,
        count: usize,
    ) -> Result<Self, BenchError> {
        let scratch = Scratch::new().map_err(BenchError::peer)?;
        let directory = scratch.path();
        let address = certificates(directory, keep, count)?;
        let sync = if synced { "sync_interval: always" } else { "" };
        let routes = free_ports(count)?;
        let all = routes
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""));
        let all = all.collect::<Vec<_>>().join(", ");
        let mut children = Vec::new();
        for (number, (port, route)) in address.ports.iter().zip(&routes).enumerate() {
            let store = directory.join(format!("store-{number}"));
            let cluster = format!(
                "cluster {{ name: peer, listen: \"127.0.0.1:{route}\", routes: [{all}] }}\n"
            );
            let text = format!(
                "server_name: peer-{number}\nlisten: \"127.0.0.1:{port}\"\nmax_payload: 8MB\njetstream {{ \
                 store_dir: \"{}\"\n{sync}\n}}\ntls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \
                 \"{}\", verify: true }}\n{}",
                store.display(),
                directory.join("server.pem").display(),
                directory.join("server.key").display(),
                address.authority.display(),
                if count > 1 { &cluster } else { "" },
            );
            let file = directory.join(format!("nats-{number}.conf"));
            std::fs::write(&file, text).map_err(BenchError::file(&file))?;
            let log = directory.join(format!("nats-{number}.log"));
            let output = File::create(&log).map_err(BenchError::file(&log))?;
            let child = Command::new(&nats.program)
                .arg("--config")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(output)
                .kill_on_drop(true)
                .spawn()
                .map_err(BenchError::file(&nats.program))?;
            children.push(child);
        }
        let server = Self {
            children,
            address,
            _scratch: scratch,
        };
        server.ready().await?;
        Ok(server)
    }

    /// Waits until a stream could be made: in a cluster, until it has a leader.
    async fn ready(&self) -> Result<(), BenchError> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let asked = match connect(&self.address).await {
                Ok(context) => context.query_account().await.map_err(BenchError::peer),
                Err(error) => Err(error),
            };
            match asked {
                Ok(_) => return Ok(()),
                Err(error) if tokio::time::Instant::now() > end => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    pub(super) fn usage(&self) -> Result<Usage, BenchError> {
        let ended = || BenchError::peer("the server ended");
        let mut all = Usage::default();
        for child in &self.children {
            all.add(usage::of(child.id().ok_or_else(ended)?)?);
        }
        Ok(all)
    }

    /// The servers as a broker's `ledger`, and what of `[stream]` reaches them.
    pub(super) fn as_ledger(&self) -> (String, String) {
        let all = self.address.ports.iter();
        let all = all.map(|port| format!("127.0.0.1:{port}"));
        let address = &self.address;
        let keys = format!(
            "roots = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            address.authority.display(),
            address.certificate.display(),
            address.key.display()
        );
        (format!("tls://{}", all.collect::<Vec<_>>().join(",")), keys)
    }

    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        for child in &mut self.children {
            child.kill().await.map_err(BenchError::peer)?;
        }
        Ok(())
    }
}

/// Ports that are free now.
fn free_ports(count: usize) -> Result<Vec<u16>, BenchError> {
    let bound: Result<Vec<TcpListener>, _> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect();
    let bound = bound.map_err(BenchError::peer)?;
    let ports = bound.iter().map(|one| Ok(one.local_addr()?.port()));
    ports
        .collect::<Result<_, std::io::Error>>()
        .map_err(BenchError::peer)
}

/// An authority, a certificate of the server and one of its clients.
fn certificates(directory: &Path, keep: bool, count: usize) -> Result<Address, BenchError> {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let mut params = CertificateParams::new(Vec::new()).map_err(BenchError::peer)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().map_err(BenchError::peer)?;
    let authority = CertifiedIssuer::self_signed(params, key).map_err(BenchError::peer)?;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(BenchError::file(&path))?;
        Ok::<PathBuf, BenchError>(path)
    };
    let leaf = |name: &str| {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).map_err(BenchError::peer)?;
        let key = KeyPair::generate().map_err(BenchError::peer)?;
        let certificate = params
            .signed_by(&key, &authority)
            .map_err(BenchError::peer)?;
        let certificate = write(&format!("{name}.pem"), certificate.pem())?;
        // A broker refuses a key that others may read.
        let path = directory.join(format!("{name}.key"));
        write_private(&path, key.serialize_pem().as_bytes()).map_err(BenchError::peer)?;
        Ok::<_, BenchError>((certificate, path))
    };
    leaf("server")?;
    let (certificate, key) = leaf("client")?;
    Ok(Address {
        ports: free_ports(count)?,
        authority: write("authority.pem", authority.pem())?,
        certificate,
        key,
        keep: keep.then(|| directory.to_owned()),
    })
}

async fn connect(address: &Address) -> Result<Context, BenchError> {
    // The client library asks for the process's provider, of which this program has none otherwise.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let servers: Result<Vec<ServerAddr>, _> = address
        .ports
        .iter()
        .map(|port| format!("tls://127.0.0.1:{port}").parse())
        .collect();
    let client = ConnectOptions::new()
        .add_root_certificates(address.authority.clone())
        .add_client_certificate(address.certificate.clone(), address.key.clone())
        .require_tls(true)
        .connect(servers.map_err(BenchError::peer)?)
        .await
        .map_err(BenchError::peer)?;
    Ok(async_nats::jetstream::new(client))
}

async fn create_stream(context: &Context, replicas: usize) -> Result<(), BenchError> {
    let config = Config {
        name: STREAM.into(),
        subjects: vec![format!("{STREAM}.*")],
        storage: StorageType::File,
        num_replicas: replicas,
        ..Config::default()
    };
    let created = context.create_stream(config).await;
    created.map(|_| ()).map_err(BenchError::peer)
}

/// One round of W1 on JetStream.
pub(super) async fn fanout(
    plan: &Fanout,
    nats: &NatsServer,
    synced: bool,
) -> Result<Figures, BenchError> {
    round(plan, nats, synced, false).await
}

/// As [`fanout`]; where clients `keep`, they write and sync what they send and receive.
pub(super) async fn round(
    plan: &Fanout,
    nats: &NatsServer,
    synced: bool,
    keep: bool,
) -> Result<Figures, BenchError> {
    let server = Server::start(nats, synced, keep).await?;
    let system = if synced {
        super::System::JetStreamSynced
    } else {
        super::System::JetStream
    };
    round_on(plan, server, system.name()).await
}

/// One round with a stream of three copies.
pub(super) async fn replicated(plan: &Fanout, nats: &NatsServer) -> Result<Figures, BenchError> {
    let server = Server::cluster(nats, 3).await?;
    create_stream(&connect(&server.address).await?, 3).await?;
    round_on(plan, server, "jetstream-synced, 3 copies").await
}

async fn round_on(plan: &Fanout, server: Server, system: &str) -> Result<Figures, BenchError> {
    let streams = plan.streams(&super::world::partners(
        "publisher",
        plan.publishers.into(),
    )?);
    let publish = Job::NatsPublish {
        nats: server.address.clone(),
        streams,
    };
    let receive = Job::NatsReceive {
        nats: server.address.clone(),
        receive: plan.receive(),
    };
    let ran = run(&plan.program, &publish, &receive, || server.usage()).await?;
    let figures = plan.figures(system, &ran, server.usage()?);
    server.stop().await?;
    Ok(figures)
}

/// A file to which a client writes what it must not lose.
struct Kept(Option<File>);

impl Kept {
    fn create(address: &Address, name: &str) -> Result<Self, BenchError> {
        let file = address.keep.as_ref().map(|directory| {
            let path = directory.join(name);
            File::create(&path).map_err(BenchError::file(&path))
        });
        Ok(Self(file.transpose()?))
    }

    /// Writes and syncs.
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), BenchError> {
        let Some(mut file) = self.0.take() else {
            return Ok(());
        };
        let written = tokio::task::spawn_blocking(move || {
            file.write_all(&bytes).and_then(|()| file.sync_data())?;
            Ok::<File, std::io::Error>(file)
        });
        let written = written.await.map_err(BenchError::peer)?;
        self.0 = Some(written.map_err(BenchError::peer)?);
        Ok(())
    }
}

/// The worker that publishes.
pub(super) async fn publish(
    parent: &mut Parent,
    address: &Address,
    streams: Vec<Stream>,
) -> Result<Done, BenchError> {
    let mut publishers = Vec::new();
    for stream in streams {
        let kept = Kept::create(address, &format!("outbox-{}", stream.number))?;
        publishers.push((connect(address).await?, kept, stream));
    }
    let start = parent.ready().await?;
    until(start).await;
    let mut tasks = JoinSet::new();
    for (context, kept, stream) in publishers {
        tasks.spawn(publish_stream(context, kept, stream, start));
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(BenchError::peer)??;
    }
    Ok(Done {
        elapsed: micros() - start,
        ..Done::default()
    })
}

async fn publish_stream(
    context: Context,
    mut kept: Kept,
    stream: Stream,
    start: u64,
) -> Result<(), BenchError> {
    let subject = format!("{STREAM}.{}", stream.number);
    let body = Bytes::from(vec![b'x'; BULLETIN_BYTES]);
    let mut open: VecDeque<PublishAckFuture> = VecDeque::with_capacity(stream.outstanding);
    let mut outbox = 0;
    let ticks = stream
        .schedule
        .map(|schedule| Ticks::of(&stream, schedule, start));
    let mut ticks = ticks.transpose()?;
    for index in 0..stream.count {
        if let Some(ticks) = &mut ticks {
            ticks.next().await;
        }
        if outbox == 0 && kept.0.is_some() {
            outbox = OUTBOX;
            kept.write(vec![b'x'; OUTBOX * BULLETIN_BYTES]).await?;
        }
        outbox = outbox.saturating_sub(1);
        while open.len() >= stream.outstanding
            && let Some(first) = open.pop_front()
        {
            first.await.map_err(BenchError::peer)?;
        }
        let mut message = body.to_vec();
        message[..6].copy_from_slice(&tag(stream.number, index));
        let sent = context.publish(subject.clone(), message.into()).await;
        open.push_back(sent.map_err(BenchError::peer)?);
    }
    for one in open {
        one.await.map_err(BenchError::peer)?;
    }
    Ok(())
}

/// The worker that receives.
pub(super) async fn receive(
    parent: &mut Parent,
    address: &Address,
    receive: &Receive,
) -> Result<Done, BenchError> {
    let tally = Tally::new(receive)?;
    let mut tasks = JoinSet::new();
    for number in 0..receive.recipients {
        let context = connect(address).await?;
        let config = pull::Config {
            durable_name: Some(format!("recipient{number}")),
            ack_policy: AckPolicy::All,
            max_ack_pending: 8 * 1024,
            ..pull::Config::default()
        };
        let stream = context.get_stream(STREAM).await.map_err(BenchError::peer)?;
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(BenchError::peer)?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).messages();
        let messages = messages.await.map_err(BenchError::peer)?;
        if receive.stalled && number + 1 == receive.recipients {
            continue;
        }
        let kept = Kept::create(address, &format!("inbox-{number}"))?;
        tasks.spawn(consume(
            messages,
            kept,
            number,
            Arc::clone(&tally),
            receive.of,
        ));
    }
    let start = parent.ready().await?;
    tokio::select! {
        done = tally.done(start) => Ok(done),
        Some(ended) = tasks.join_next() => {
            ended.map_err(BenchError::peer)??;
            Err(BenchError::peer("a recipient's messages ended"))
        }
    }
}

async fn consume(
    mut messages: pull::Stream,
    mut kept: Kept,
    number: usize,
    tally: Arc<Tally>,
    precedence: crate::bulletin::Precedence,
) -> Result<(), BenchError> {
    let ended = || BenchError::peer("the stream of messages ended");
    loop {
        // The first of a batch opens the time within which others share its acknowledgement.
        let mut last: Message = messages
            .next()
            .await
            .ok_or_else(ended)?
            .map_err(BenchError::peer)?;
        tally.took(number, precedence, &last.payload);
        let mut batch = last.payload.to_vec();
        let end = tokio::time::sleep(ACKNOWLEDGE_EVERY);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                next = messages.next() => {
                    last = next.ok_or_else(ended)?.map_err(BenchError::peer)?;
                    tally.took(number, precedence, &last.payload);
                    if kept.0.is_some() {
                        batch.extend_from_slice(&last.payload);
                    }
                }
            }
        }
        kept.write(std::mem::take(&mut batch)).await?;
        last.ack().await.map_err(BenchError::peer)?;
    }
}
