//! W1 and W7: every bulletin of every publisher goes to every recipient.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::client::{Session, Submitter};
use super::error::BenchError;
use super::figures::{Figures, Latencies};
use super::peer::{self, NatsServer};
use super::worker::{
    Done, Job, Parent, Receive, Schedule, Stream, Ticks, Worker, micros, read_tag, tag, until,
};
use super::world::World;
use crate::bulletin::{BulletinId, Draft, Precedence, Sealed, Unsealed, seal};
use crate::clock::{Clock, SystemClock, SystemEntropy, random};
use crate::partner::PartnerId;
use crate::proof::SecretKey;
use crate::session::{Frame, encode};
use crate::testing::Scratch;

/// Bytes of contents of a bulletin of the benchmark, in four parts.
pub(super) const BULLETIN_BYTES: usize = 1024;

/// Which system a round runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Entente.
    Entente,
    /// JetStream with `sync_interval: always`: synced before it acknowledges, as Entente is.
    JetStreamSynced,
    /// JetStream as it comes: it syncs every two minutes.
    JetStream,
}

impl System {
    /// Its name among the figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entente => "entente",
            Self::JetStreamSynced => "jetstream-synced",
            Self::JetStream => "jetstream",
        }
    }
}

/// What is run.
#[derive(Clone, Debug)]
pub struct Fanout {
    /// This program, for the other processes.
    pub program: PathBuf,
    /// `W1` or `W7`.
    pub workload: String,
    /// Bulletins of all publishers together.
    pub bulletins: u32,
    /// How many publish.
    pub publishers: u16,
    /// To how many each bulletin goes.
    pub recipients: usize,
    /// Bulletins under one signature; 1 where there is a rate.
    pub burst: usize,
    /// Unanswered submissions of a publisher.
    pub outstanding: usize,
    /// Bulletins in a second, of all together; `None`: as fast as it goes.
    pub rate: Option<f64>,
    /// The last recipient stops reading.
    pub stalled: bool,
}

impl Fanout {
    pub(super) fn streams(&self, world: &[PartnerId]) -> Vec<Stream> {
        let schedule = self.schedule();
        (0u16..)
            .zip(world)
            .map(|(number, partner)| Stream {
                partner: partner.clone(),
                number,
                count: self.bulletins / u32::from(self.publishers.max(1)),
                burst: self.burst,
                precedence: Precedence::Routine,
                schedule,
                outstanding: self.outstanding,
            })
            .collect()
    }

    fn schedule(&self) -> Option<Schedule> {
        self.rate.map(|rate| Schedule::of(rate, self.publishers))
    }

    pub(super) fn receive(&self) -> Receive {
        Receive {
            recipients: self.recipients,
            expect: self.bulletins / u32::from(self.publishers.max(1)) * u32::from(self.publishers),
            of: Precedence::Routine,
            measure: self
                .schedule()
                .map(|schedule| (Precedence::Routine, schedule)),
            stalled: self.stalled,
            late: false,
        }
    }
}

/// One round on one system.
pub async fn fanout(
    plan: &Fanout,
    system: System,
    nats: Option<&NatsServer>,
) -> Result<Figures, BenchError> {
    match (system, nats) {
        (System::Entente, _) => entente(plan).await,
        (synced, Some(nats)) => peer::fanout(plan, nats, synced == System::JetStreamSynced).await,
        (_, None) => Err(BenchError::peer("there is no nats-server")),
    }
}

async fn entente(plan: &Fanout) -> Result<Figures, BenchError> {
    let scratch = Scratch::new().map_err(BenchError::worker)?;
    let world = World::build(scratch.path(), plan.publishers.into(), plan.recipients).await?;
    let server = world.start(&plan.program).await?;
    let receive = Job::Receive {
        world: world.clone(),
        receive: plan.receive(),
    };
    let publish = Job::Publish {
        streams: plan.streams(&world.publishers),
        world,
    };
    let ran = run(&plan.program, &publish, &receive, || server.usage()).await?;
    let figures = plan.figures(System::Entente.name(), &ran, server.usage()?);
    server.stop().await?;
    Ok(figures)
}

type Usage = super::usage::Usage;

/// What two workers gave.
pub(super) struct Ran {
    /// What the server had used before.
    pub(super) before: Usage,
    /// Microseconds until the last bulletin was delivered, and answered.
    pub(super) elapsed: u64,
    pub(super) published: Done,
    pub(super) received: Done,
}

/// Lets two workers run.
pub(super) async fn run(
    program: &Path,
    publish: &Job,
    receive: &Job,
    usage: impl Fn() -> Result<Usage, BenchError>,
) -> Result<Ran, BenchError> {
    let mut recipients = Worker::start(program, receive).await?;
    let mut publishers = Worker::start(program, publish).await?;
    let before = usage()?;
    Worker::go(&mut [&mut recipients, &mut publishers]).await?;
    let published = publishers.done().await?;
    let received = recipients.done().await?;
    let elapsed = published.elapsed.max(received.elapsed);
    publishers.end().await?;
    recipients.end().await?;
    Ok(Ran {
        before,
        elapsed,
        published,
        received,
    })
}

impl Fanout {
    #[expect(clippy::cast_precision_loss, reason = "counts of a run")]
    pub(super) fn figures(&self, system: &str, ran: &Ran, after: Usage) -> Figures {
        let count = f64::from(self.receive().expect);
        let rate = |micros: u64| count / (micros as f64 / 1e6);
        let mut figures = Figures::of(&self.workload, system).latency(&ran.received.latency);
        figures.throughput = Some(rate(ran.elapsed));
        figures.cpu_us_per_bulletin = Some((after.cpu_us - ran.before.cpu_us) as f64 / count);
        figures.rss_kib = Some(after.peak_kib);
        figures.with("acknowledged_per_second", rate(ran.published.elapsed))
    }
}

/// A bulletin of the benchmark: a text, an address, a domain and where it comes from, 1 KiB together.
pub(super) fn draft(precedence: Precedence) -> Result<Draft, BenchError> {
    const SENTENCE: &str = "Three organisations saw connections to this server in the last night. ";
    let rest = [
        "[[part]]\ntype = \"ip\"\nvalue = \"192.0.2.17\"\n",
        "[[part]]\ntype = \"domain\"\nvalue = \"update.evil.example\"\n",
        "[[part]]\ntype = \"source\"\ndescription = \"a sensor at the border of our network\"\n",
    ];
    let told =
        BULLETIN_BYTES - "192.0.2.17update.evil.examplea sensor at the border of our network".len();
    let text: String = SENTENCE.chars().cycle().take(told).collect();
    let text = format!(
        "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\nprecedence = \
         \"{precedence}\"\n[[part]]\ntype = \"narrative\"\ntext = \"{text}\"\n{}",
        rest.concat()
    );
    Draft::from_toml(&text).map_err(BenchError::worker)
}

/// Makes a publisher's bulletins.
pub(super) struct Maker {
    partner: PartnerId,
    key: Arc<SecretKey>,
    number: u16,
    draft: Draft,
    next: u32,
    entropy: SystemEntropy,
}

impl Maker {
    pub(super) fn new(stream: &Stream, key: Arc<SecretKey>) -> Result<Self, BenchError> {
        Ok(Self {
            partner: stream.partner.clone(),
            key,
            number: stream.number,
            draft: draft(stream.precedence)?,
            next: 0,
            entropy: SystemEntropy::new(),
        })
    }

    fn one(&mut self) -> Result<Unsealed, BenchError> {
        let draft = self.draft.clone();
        let mut unsealed = draft
            .into_unsealed(&self.partner, SystemClock.now(), &self.entropy)
            .map_err(BenchError::worker)?;
        let mut id: [u8; 16] = random(&self.entropy).map_err(BenchError::worker)?;
        id[..6].copy_from_slice(&tag(self.number, self.next));
        unsealed.header.id = BulletinId::from_random(id);
        self.next += 1;
        Ok(unsealed)
    }

    /// The next bulletins, not sealed.
    pub(super) fn unsealed(&mut self, count: usize) -> Result<Vec<Unsealed>, BenchError> {
        (0..count).map(|_| self.one()).collect()
    }

    /// The next bulletins, under one signature.
    pub(super) fn burst(&mut self, count: usize) -> Result<Vec<Sealed>, BenchError> {
        let unsealed = self.unsealed(count)?;
        seal(unsealed, self.key.as_ref(), &self.entropy).map_err(BenchError::worker)
    }
}

/// Whole frames of the publish stream, numbered from 1.
fn frames(maker: &mut Maker, stream: &Stream) -> Result<Vec<Bytes>, BenchError> {
    let count = usize::try_from(stream.count).unwrap_or(usize::MAX);
    let mut frames = Vec::with_capacity(count);
    while frames.len() < count {
        let burst = stream.burst.min(count - frames.len());
        for sealed in maker.burst(burst)? {
            let frame = encode(&Frame::Submit {
                sequence: frames.len() as u64 + 1,
                bulletin: Ok(Box::new(sealed)),
            });
            let mut framed = BytesMut::with_capacity(frame.len() + 4);
            framed.put_u32(u32::try_from(frame.len()).map_err(BenchError::worker)?);
            framed.extend_from_slice(&frame);
            frames.push(framed.freeze());
        }
    }
    Ok(frames)
}

/// The worker that publishes: sealed beforehand where it is to go as fast as possible, and as each is due
/// where there is a schedule.
pub(super) async fn publish(
    parent: &mut Parent,
    world: &World,
    streams: Vec<Stream>,
) -> Result<Done, BenchError> {
    let mut publishers = Vec::new();
    for stream in streams {
        let session = Session::open(world, &stream.partner, Vec::new()).await?;
        let mut maker = Maker::new(&stream, Arc::clone(&session.key))?;
        let frames = match stream.schedule {
            None => frames(&mut maker, &stream)?,
            Some(_) => Vec::new(),
        };
        publishers.push((session, stream, maker, frames));
    }
    let start = parent.ready().await?;
    until(start).await;
    let mut tasks = JoinSet::new();
    for (session, stream, maker, frames) in publishers {
        tasks.spawn(async move {
            let published = match stream.schedule {
                None => flood(&session, &stream, frames).await,
                Some(schedule) => pace(&session, &stream, maker, schedule, start).await,
            };
            published.map(|()| session)
        });
    }
    let mut sessions = Vec::new();
    while let Some(done) = tasks.join_next().await {
        sessions.push(done.map_err(BenchError::worker)??);
    }
    Ok(Done {
        elapsed: micros() - start,
        ..Done::default()
    })
}

/// Publishes as fast as answers come.
async fn flood(session: &Session, stream: &Stream, frames: Vec<Bytes>) -> Result<(), BenchError> {
    let (Submitter { mut send, .. }, mut answers) = session.publish().await?;
    let mut frames = frames.into_iter();
    let (mut open, mut left) = (0, frames.len());
    while left > 0 {
        let room = stream.outstanding - open;
        let mut buffer = BytesMut::new();
        for frame in frames.by_ref().take(room) {
            buffer.extend_from_slice(&frame);
            open += 1;
        }
        let written = send.write_chunk(buffer.freeze()).await;
        written.map_err(BenchError::client)?;
        let answered = answers.next().await?.len();
        open -= answered;
        left -= answered;
    }
    Ok(())
}

/// Publishes each when it is due, whatever became of the others.
async fn pace(
    session: &Session,
    stream: &Stream,
    mut maker: Maker,
    schedule: Schedule,
    start: u64,
) -> Result<(), BenchError> {
    let (mut submitter, mut answers) = session.publish().await?;
    let open = Arc::new((AtomicUsize::new(0), Notify::new()));
    let answered = Arc::clone(&open);
    let count = usize::try_from(stream.count).unwrap_or(usize::MAX);
    let hearing = tokio::spawn(async move {
        let mut heard = 0;
        while heard < count {
            let some = answers.next().await?.len();
            heard += some;
            answered.0.fetch_sub(some, Ordering::Relaxed);
            answered.1.notify_one();
        }
        Ok::<(), BenchError>(())
    });
    let mut ticks = Ticks::of(stream, schedule, start)?;
    for _ in 0..stream.count {
        ticks.next().await;
        // The protocol's window. Waiting for it counts, because latency is measured from when it was due.
        while open.0.load(Ordering::Relaxed) >= stream.outstanding && !hearing.is_finished() {
            open.1.notified().await;
        }
        open.0.fetch_add(1, Ordering::Relaxed);
        for sealed in maker.burst(1)? {
            submitter.add(sealed);
        }
        submitter.flush().await?;
    }
    hearing.await.map_err(BenchError::client)?
}

/// What recipients took so far.
struct Taken {
    counts: Vec<u32>,
    latencies: Latencies,
    first_at: u64,
    last_at: u64,
}

/// What one worker's recipients wait for, and what they took.
pub(super) struct Tally {
    expect: u32,
    of: Precedence,
    measure: Option<(Precedence, Schedule)>,
    start: OnceLock<u64>,
    /// What was due before the recipients were there is not measured: it had to wait for them.
    measured_from: AtomicU64,
    taken: Mutex<Taken>,
    complete: Notify,
    waiting: usize,
}

impl Tally {
    pub(super) fn new(receive: &Receive) -> Result<Arc<Self>, BenchError> {
        Ok(Arc::new(Self {
            expect: receive.expect,
            of: receive.of,
            measure: receive.measure,
            start: OnceLock::new(),
            measured_from: AtomicU64::new(0),
            taken: Mutex::new(Taken {
                counts: vec![0; receive.recipients],
                latencies: Latencies::new()?,
                first_at: 0,
                last_at: 0,
            }),
            complete: Notify::new(),
            waiting: receive.recipients - usize::from(receive.stalled),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A recipient took a bulletin.
    pub(super) fn took(&self, recipient: usize, precedence: Precedence, id: &[u8]) {
        let now = micros();
        let mut taken = self.lock();
        if let (Some((measured, schedule)), Some((publisher, index)), Some(start)) =
            (self.measure, read_tag(id), self.start.get())
            && measured == precedence
        {
            let due = start + schedule.due(publisher, index);
            if due >= self.measured_from.load(Ordering::Relaxed) {
                taken.latencies.record(now.saturating_sub(due));
            }
        }
        if precedence != self.of {
            return;
        }
        if taken.first_at == 0 {
            taken.first_at = now;
        }
        taken.counts[recipient] += 1;
        if taken.counts[recipient] == self.expect {
            taken.last_at = now;
            let done = taken.counts.iter().filter(|count| **count == self.expect);
            if done.count() >= self.waiting {
                self.complete.notify_one();
            }
        }
    }

    /// From when on what is due is counted.
    fn begin(&self, start: u64) {
        // The first to say so is believed.
        let _ = self.start.set(start);
    }

    /// Waits until everybody has everything.
    pub(super) async fn done(&self, start: u64) -> Done {
        self.begin(start);
        self.complete.notified().await;
        let taken = self.lock();
        Done {
            elapsed: taken.last_at.saturating_sub(start),
            first_at: taken.first_at,
            last_at: taken.last_at,
            latency: taken.latencies.read(),
        }
    }
}

/// The worker that receives.
pub(super) async fn receive(
    parent: &mut Parent,
    world: &World,
    receive: &Receive,
) -> Result<Done, BenchError> {
    let tally = Tally::new(receive)?;
    let begun = if receive.late {
        let start = parent.ready().await?;
        tally.begin(start);
        tally.measured_from.store(u64::MAX, Ordering::Relaxed);
        until(start).await;
        Some(start)
    } else {
        None
    };
    let mut sessions = Vec::new();
    for partner in world.recipients.iter().take(receive.recipients) {
        sessions.push(Session::open(world, partner, Vec::new()).await?);
    }
    if receive.late {
        tally.measured_from.store(micros(), Ordering::Relaxed);
    }
    let mut tasks = JoinSet::new();
    let last = sessions.len().saturating_sub(1);
    for (number, session) in sessions.into_iter().enumerate() {
        if receive.stalled && number == last {
            tasks.spawn(session.idle());
            continue;
        }
        let tally = Arc::clone(&tally);
        tasks.spawn(session.receive(move |precedence, sealed: &Sealed| {
            tally.took(number, precedence, &sealed.id.0);
        }));
    }
    let start = match begun {
        Some(start) => start,
        None => parent.ready().await?,
    };
    tokio::select! {
        done = tally.done(start) => Ok(done),
        Some(ended) = tasks.join_next() => {
            ended.map_err(BenchError::worker)??;
            Err(BenchError::client("a recipient's session ended"))
        }
    }
}
