//! The processes beside the broker: publishers in one, recipients in another.
//!
//! A worker reads its [`Job`] from its standard input, one line of JSON; says `ready` when it is connected;
//! starts when it is told `go MICROS` (UTC, since 1970), which is also when the first bulletin is due; and
//! says what it [`Done`].

use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use super::error::BenchError;
use super::figures::Latency;
use super::world::World;
use super::{fanout, peer, storm};
use crate::bulletin::Precedence;
use crate::clock::{Clock, SystemClock};
use crate::partner::PartnerId;

/// How long before the first bulletin is due workers are told: longer than telling them takes.
const LEAD: Duration = Duration::from_millis(200);

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Publish to the broker.
    Publish { world: World, streams: Vec<Stream> },
    /// Receive from the broker.
    Receive { world: World, receive: Receive },
    /// Connect as all publishers at once, and stay.
    Connect { world: World },
    /// Publish to the peer.
    NatsPublish {
        nats: peer::Address,
        streams: Vec<Stream>,
    },
    /// Receive from the peer.
    NatsReceive {
        nats: peer::Address,
        receive: Receive,
    },
}

/// What one publisher sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stream {
    pub(super) partner: PartnerId,
    /// Its number among the publishers, from 0.
    pub(super) number: u16,
    pub(super) count: u32,
    /// Bulletins under one signature.
    pub(super) burst: usize,
    pub(super) precedence: Precedence,
    /// `None`: as fast as it goes, with `outstanding` unanswered.
    pub(super) schedule: Option<Schedule>,
    pub(super) outstanding: usize,
}

/// When the bulletins of all publishers are to be sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Schedule {
    /// Microseconds between two bulletins of one publisher.
    pub(super) interval: f64,
    /// How many publishers take turns.
    pub(super) publishers: u16,
}

impl Schedule {
    /// So many bulletins in a second, from so many publishers.
    pub(super) fn of(rate: f64, publishers: u16) -> Self {
        Self {
            interval: f64::from(publishers) * 1e6 / rate,
            publishers,
        }
    }

    /// Microseconds after the start at which a publisher's bulletin is due.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "microseconds of a run"
    )]
    pub(super) fn due(&self, publisher: u16, index: u32) -> u64 {
        let turn = f64::from(publisher) / f64::from(self.publishers.max(1));
        ((f64::from(index) + turn) * self.interval) as u64
    }
}

/// What recipients wait for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Receive {
    /// How many of them; the peer's are numbered, the broker's are the world's first.
    pub(super) recipients: usize,
    /// Bulletins that each waits for, of this precedence.
    pub(super) expect: u32,
    pub(super) of: Precedence,
    /// Whose latency is measured, by precedence and schedule.
    pub(super) measure: Option<(Precedence, Schedule)>,
    /// The last of the recipients does not read what comes.
    pub(super) stalled: bool,
    /// They connect at the start, and not before: something waits for them already.
    #[serde(default)]
    pub(super) late: bool,
}

/// What a worker did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {
    /// When the last bulletin was done with, microseconds after the start.
    pub(super) elapsed: u64,
    /// When the first was received and when the last, microseconds since 1970.
    pub(super) first_at: u64,
    pub(super) last_at: u64,
    pub(super) latency: Latency,
}

/// The bulletin of a publisher: its number is in its id, so that whoever receives it knows when it was due.
pub(super) fn tag(publisher: u16, index: u32) -> [u8; 6] {
    let mut tag = [0; 6];
    tag[..2].copy_from_slice(&publisher.to_be_bytes());
    tag[2..].copy_from_slice(&index.to_be_bytes());
    tag
}

/// Reads what [`tag`] wrote.
pub(super) fn read_tag(id: &[u8]) -> Option<(u16, u32)> {
    let publisher = u16::from_be_bytes(*id.first_chunk()?);
    let index = u32::from_be_bytes(*id.get(2..)?.first_chunk()?);
    Some((publisher, index))
}

/// Microseconds since 1970.
pub(super) fn micros() -> u64 {
    u64::try_from(SystemClock.now().micros()).unwrap_or_default()
}

/// Waits for a moment as closely as the timer can: it is never early.
pub(super) async fn until(moment: u64) {
    let now = micros();
    if moment > now {
        tokio::time::sleep(Duration::from_micros(moment - now)).await;
    }
}

/// Tells a publisher when each of its bulletins is due. The operating system's timer is a hundred times finer than
/// tokio's, whose millisecond would be most of what is measured.
pub(super) struct Ticks(mpsc::UnboundedReceiver<()>);

impl Ticks {
    pub(super) fn of(stream: &Stream, schedule: Schedule, start: u64) -> Result<Self, BenchError> {
        let (tick, ticks) = mpsc::unbounded_channel();
        let (number, count) = (stream.number, stream.count);
        let ticking = move || {
            for index in 0..count {
                let due = start + schedule.due(number, index);
                thread::sleep(Duration::from_micros(due.saturating_sub(micros())));
                // Nobody publishes any more.
                if tick.send(()).is_err() {
                    return;
                }
            }
        };
        let spawned = thread::Builder::new().name("ticks".into()).spawn(ticking);
        spawned.map_err(BenchError::worker)?;
        Ok(Self(ticks))
    }

    /// Waits until the next is due; it is never early.
    pub(super) async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// A worker's own end: what it is to do comes in, how it went goes out.
pub(super) struct Parent {
    lines: Lines<BufReader<tokio::io::Stdin>>,
}

impl Parent {
    /// Says that everything is connected, and waits for the start.
    pub(super) async fn ready(&mut self) -> Result<u64, BenchError> {
        say("ready").await?;
        let line = self.lines.next_line().await.map_err(BenchError::worker)?;
        let line = line.ok_or_else(|| BenchError::worker("the benchmark is gone"))?;
        let micros = line.strip_prefix("go ").and_then(|at| at.parse().ok());
        micros.ok_or_else(|| BenchError::worker("the start is no number"))
    }

    /// Waits until the benchmark is gone: it ends its workers by that.
    pub(super) async fn gone(&mut self) {
        while let Ok(Some(_)) = self.lines.next_line().await {}
    }
}

async fn say(line: &str) -> Result<(), BenchError> {
    let mut out = tokio::io::stdout();
    let line = format!("{line}\n");
    out.write_all(line.as_bytes())
        .await
        .map_err(BenchError::worker)?;
    out.flush().await.map_err(BenchError::worker)
}

/// The worker's program.
pub async fn work() -> Result<(), BenchError> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let line = lines.next_line().await.map_err(BenchError::worker)?;
    let job = line.ok_or_else(|| BenchError::worker("there is nothing to do"))?;
    let job: Job = serde_json::from_str(&job).map_err(BenchError::worker)?;
    let mut parent = Parent { lines };
    let done = match job {
        Job::Publish { world, streams } => fanout::publish(&mut parent, &world, streams).await?,
        Job::Receive { world, receive } => fanout::receive(&mut parent, &world, &receive).await?,
        Job::Connect { world } => storm::connect(&mut parent, &world).await?,
        Job::NatsPublish { nats, streams } => peer::publish(&mut parent, &nats, streams).await?,
        Job::NatsReceive { nats, receive } => peer::receive(&mut parent, &nats, &receive).await?,
    };
    let done = serde_json::to_string(&done).map_err(BenchError::worker)?;
    say(&done).await?;
    parent.gone().await;
    Ok(())
}

/// A worker, as the benchmark sees it. It is killed when this goes.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts a worker and waits until it is ready.
    pub(super) async fn start(program: &Path, job: &Job) -> Result<Self, BenchError> {
        let mut child = Command::new(program)
            .arg("bench-worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(BenchError::file(program))?;
        let gone = || BenchError::worker("it has no input or output");
        let input = child.stdin.take().ok_or_else(gone)?;
        let output = child.stdout.take().ok_or_else(gone)?;
        let mut worker = Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        };
        let job = serde_json::to_string(job).map_err(BenchError::worker)?;
        worker.tell(&job).await?;
        match worker.hear().await?.as_str() {
            "ready" => Ok(worker),
            other => Err(BenchError::worker(format!("it said `{other}` for ready"))),
        }
    }

    async fn tell(&mut self, line: &str) -> Result<(), BenchError> {
        let line = format!("{line}\n");
        self.input
            .write_all(line.as_bytes())
            .await
            .map_err(BenchError::worker)?;
        self.input.flush().await.map_err(BenchError::worker)
    }

    async fn hear(&mut self) -> Result<String, BenchError> {
        let line = self.output.next_line().await.map_err(BenchError::worker)?;
        if let Some(line) = line {
            return Ok(line);
        }
        let status = self.child.wait().await.map_err(BenchError::worker)?;
        Err(BenchError::worker(format!("it ended ({status})")))
    }

    /// Lets workers begin together; the moment from which they count.
    pub(super) async fn go(workers: &mut [&mut Self]) -> Result<u64, BenchError> {
        let at = micros() + u64::try_from(LEAD.as_micros()).unwrap_or_default();
        for worker in workers {
            worker.tell(&format!("go {at}")).await?;
        }
        Ok(at)
    }

    /// Waits for what it did.
    pub(super) async fn done(&mut self) -> Result<Done, BenchError> {
        let line = self.hear().await?;
        serde_json::from_str(&line).map_err(BenchError::worker)
    }

    /// Ends it.
    pub(super) async fn end(mut self) -> Result<(), BenchError> {
        drop(self.input);
        let patience = Duration::from_secs(5);
        if tokio::time::timeout(patience, self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await.map_err(BenchError::worker)?;
        }
        Ok(())
    }
}
