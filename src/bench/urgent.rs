//! W2: how long a FLASH bulletin takes while many ROUTINE ones drain to the same recipients.

use std::path::PathBuf;

use super::error::BenchError;
use super::figures::Figures;
use super::worker::{Done, Job, Receive, Schedule, Stream, Worker};
use super::world::{Server, World};
use crate::bulletin::Precedence;
use crate::testing::Scratch;

/// What is run.
#[derive(Clone, Debug)]
pub struct UrgentPlan {
    /// This program, for the other processes.
    pub program: PathBuf,
    /// ROUTINE bulletins that wait for each recipient.
    pub backlog: u32,
    /// How many receive both.
    pub recipients: usize,
    /// FLASH bulletins in a second.
    pub rate: f64,
    /// FLASH bulletins at the idle broker; beside the backlog, as many as fit while it drains.
    pub flashes: u32,
}

/// First on an idle broker, then while the backlog drains.
pub async fn urgent(plan: &UrgentPlan) -> Result<Vec<Figures>, BenchError> {
    let scratch = Scratch::new().map_err(BenchError::worker)?;
    let quiet = scratch.path().join("idle");
    let world = World::build(&quiet, 2, plan.recipients).await?;
    let server = world.start(&plan.program).await?;
    let idle = Receive {
        expect: plan.flashes,
        of: Precedence::Flash,
        late: false,
        ..plan.receive()
    };
    let idle = plan.flash(&world, idle, plan.flashes).await?;
    server.stop().await?;

    let world = World::build(&scratch.path().join("draining"), 2, plan.recipients).await?;
    let server = world.start(&plan.program).await?;
    plan.fill(&world).await?;
    // As many as a drain of a minute would see; the drain ends the run.
    let flashes = f64_to_u32(plan.rate * 60.0);
    let before = server.usage()?;
    let drained = plan.flash(&world, plan.receive(), flashes).await?;
    let figures = plan.figures(&server, &idle, &drained, before.cpu_us)?;
    server.stop().await?;
    Ok(figures)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of seconds times a small rate; saturates"
)]
fn f64_to_u32(value: f64) -> u32 {
    value as u32
}

impl UrgentPlan {
    fn schedule(&self) -> Schedule {
        Schedule::of(self.rate, 1)
    }

    fn receive(&self) -> Receive {
        Receive {
            recipients: self.recipients,
            expect: self.backlog,
            of: Precedence::Routine,
            measure: Some((Precedence::Flash, self.schedule())),
            stalled: false,
            late: true,
        }
    }

    fn stream(&self, world: &World, number: u16, precedence: Precedence, count: u32) -> Stream {
        Stream {
            partner: world.publishers[usize::from(number)].clone(),
            // The schedule is of one publisher.
            number: 0,
            count,
            burst: 64,
            precedence,
            schedule: (precedence == Precedence::Flash).then(|| self.schedule()),
            outstanding: 256,
        }
    }

    /// Publishes the backlog, with no recipient there.
    async fn fill(&self, world: &World) -> Result<(), BenchError> {
        let job = Job::Publish {
            world: world.clone(),
            streams: vec![self.stream(world, 1, Precedence::Routine, self.backlog)],
        };
        super::back::publish(&self.program, &job).await
    }

    /// Publishes FLASH bulletins until the recipients have what they wait for.
    async fn flash(&self, world: &World, receive: Receive, count: u32) -> Result<Done, BenchError> {
        let job = Job::Publish {
            world: world.clone(),
            streams: vec![self.stream(world, 0, Precedence::Flash, count)],
        };
        let mut publisher = Worker::start(&self.program, &job).await?;
        let job = Job::Receive {
            world: world.clone(),
            receive,
        };
        let mut recipients = Worker::start(&self.program, &job).await?;
        Worker::go(&mut [&mut recipients, &mut publisher]).await?;
        let done = recipients.done().await?;
        recipients.end().await?;
        publisher.end().await?;
        Ok(done)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a run")]
    fn figures(
        &self,
        server: &Server,
        idle: &Done,
        drained: &Done,
        before: u64,
    ) -> Result<Vec<Figures>, BenchError> {
        let after = server.usage()?;
        let idle = Figures::of("W2", "entente, idle")
            .latency(&idle.latency)
            .with("flashes", idle.latency.count);
        let mut drain = Figures::of("W2", "entente, draining")
            .latency(&drained.latency)
            .with("flashes", drained.latency.count)
            .with("backlog", self.backlog);
        let count = f64::from(self.backlog);
        drain.throughput = Some(count / (drained.elapsed as f64 / 1e6));
        drain.cpu_us_per_bulletin = Some((after.cpu_us - before) as f64 / count);
        drain.rss_kib = Some(after.peak_kib);
        Ok(vec![idle, drain])
    }
}
