//! W5: a partner comes back after a million bulletins; and a broker with a million records starts again.

use std::path::{Path, PathBuf};

use super::error::BenchError;
use super::figures::Figures;
use super::usage::Usage;
use super::worker::{Done, Job, Receive, Stream, Worker, micros};
use super::world::World;
use crate::bulletin::Precedence;
use crate::testing::Scratch;

/// What is run.
#[derive(Clone, Debug)]
pub struct BackPlan {
    /// This program, for the other processes.
    pub program: PathBuf,
    /// Bulletins that wait for the partner.
    pub bulletins: u32,
}

/// Fills the log with a recipient away, restarts the broker, and lets the recipient come.
pub async fn back(plan: &BackPlan, progress: impl Fn(u64)) -> Result<Figures, BenchError> {
    const PUBLISHERS: usize = 4;
    let scratch = Scratch::new().map_err(BenchError::worker)?;
    let world = World::build(scratch.path(), PUBLISHERS, 1).await?;
    let server = world.start(&plan.program).await?;
    let mut written = 0;
    while written < plan.bulletins {
        // In portions: a worker seals its whole portion beforehand.
        let count = (plan.bulletins - written).min(100_000);
        let each = count.div_ceil(4);
        publish(&plan.program, &filling(&world, each)).await?;
        written += each * 4;
        progress(written.into());
    }
    server.stop().await?;

    let started = micros();
    let server = world.start(&plan.program).await?;
    let serving = micros() - started;
    let before = server.usage()?;
    let job = Job::Receive {
        receive: Receive {
            recipients: 1,
            expect: written,
            of: Precedence::Routine,
            measure: None,
            stalled: false,
            late: false,
        },
        world,
    };
    // It connects when it starts, and deliveries begin at once.
    let mut recipient = Worker::start(&plan.program, &job).await?;
    Worker::go(&mut [&mut recipient]).await?;
    let done = recipient.done().await?;
    recipient.end().await?;
    let after = server.usage()?;
    server.stop().await?;
    Ok(figures(written, &done, before, after)
        .with("serving_after_s", seconds(serving))
        .with("first_delivery_after_s", seconds(done.first_at - started)))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a run")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn figures(written: u32, done: &Done, before: Usage, after: Usage) -> Figures {
    let count = f64::from(written);
    let mut figures = Figures::of("W5", "entente").with("bulletins", written);
    figures.throughput = Some(count / seconds(done.last_at - done.first_at));
    figures.cpu_us_per_bulletin = Some(seconds(after.cpu_us - before.cpu_us) * 1e6 / count);
    figures.rss_kib = Some(after.peak_kib);
    figures
}

fn filling(world: &World, each: u32) -> Job {
    let streams = (0u16..)
        .zip(&world.publishers)
        .map(|(number, partner)| Stream {
            partner: partner.clone(),
            number,
            count: each,
            burst: 64,
            precedence: Precedence::Routine,
            schedule: None,
            outstanding: 256,
        });
    Job::Publish {
        world: world.clone(),
        streams: streams.collect(),
    }
}

/// Lets a worker publish, with nobody waited for.
pub(super) async fn publish(program: &Path, job: &Job) -> Result<(), BenchError> {
    let mut publishers = Worker::start(program, job).await?;
    Worker::go(&mut [&mut publishers]).await?;
    publishers.done().await?;
    publishers.end().await
}
