//! W4: all nodes connect at once; and what each costs in memory when nothing happens.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;

use super::client::{Session, endpoint};
use super::error::BenchError;
use super::figures::{Figures, Latencies};
use super::worker::{Done, Job, Parent, Worker, micros, until};
use super::world::World;
use crate::testing::Scratch;

/// The first wait of a node that was turned away.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Microseconds after which a node gives up.
const PATIENCE: u64 = 60_000_000;

/// What is run.
#[derive(Clone, Debug)]
pub struct StormPlan {
    /// This program, for the other processes.
    pub program: PathBuf,
    /// How many connect, each another partner.
    pub nodes: usize,
}

/// Two storms, the second after every connection of the first is gone.
pub async fn storm(plan: &StormPlan) -> Result<Figures, BenchError> {
    let scratch = Scratch::new().map_err(BenchError::worker)?;
    let world = World::build(scratch.path(), plan.nodes, 0).await?;
    let server = world.start(&plan.program).await?;
    let mut storms = Vec::new();
    let mut idle = 0;
    for _ in 0..2 {
        let before = server.usage()?;
        let job = Job::Connect {
            world: world.clone(),
        };
        let mut nodes = Worker::start(&plan.program, &job).await?;
        Worker::go(&mut [&mut nodes]).await?;
        let done = nodes.done().await?;
        let after = server.usage()?;
        if idle == 0 {
            idle = after.now_kib.saturating_sub(before.now_kib);
        }
        storms.push((done, after.cpu_us - before.cpu_us));
        nodes.end().await?;
    }
    let peak = server.usage()?.peak_kib;
    server.stop().await?;
    Ok(figures(plan.nodes, &storms, idle, peak))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run")]
fn figures(nodes: usize, storms: &[(Done, u64)], idle_kib: u64, peak_kib: u64) -> Figures {
    let count = nodes as f64;
    let rate = |done: &Done| count / (done.elapsed as f64 / 1e6);
    let first = storms.first().map(|(done, _)| rate(done));
    let (last, cpu) = storms.last().cloned().unwrap_or_default();
    let mut figures = Figures::of("W4", "entente").latency(&last.latency);
    figures.throughput = Some(rate(&last));
    figures.rss_kib = Some(peak_kib);
    figures
        .with("nodes", nodes)
        .with("first_storm", first.unwrap_or_default())
        .with("cpu_us_per_handshake", cpu as f64 / count)
        .with("idle_kib_per_node", idle_kib as f64 / count)
}

/// The worker that connects as every publisher of the world, all at once; a node is there when it is
/// welcomed.
pub(super) async fn connect(parent: &mut Parent, world: &World) -> Result<Done, BenchError> {
    let mut endpoints = Vec::new();
    for partner in &world.publishers {
        endpoints.push((endpoint(world, partner)?, partner.clone()));
    }
    let start = parent.ready().await?;
    until(start).await;
    let mut tasks = JoinSet::new();
    for (endpoint, partner) in endpoints {
        let world = world.clone();
        tasks.spawn(async move {
            // As a node does: one that is turned away comes again, a little later each time.
            let mut wait = FIRST_WAIT;
            loop {
                let open = Session::open_on(endpoint.clone(), &world, &partner, Vec::new());
                match open.await {
                    Ok(session) => return Ok::<_, BenchError>((session, micros())),
                    Err(error) if micros() - start > PATIENCE => return Err(error),
                    Err(_) => tokio::time::sleep(wait).await,
                }
                wait = wait.mul_f64(1.5);
            }
        });
    }
    let (mut sessions, mut latencies, mut last) = (Vec::new(), Latencies::new()?, start);
    while let Some(connected) = tasks.join_next().await {
        let (session, at) = connected.map_err(BenchError::worker)??;
        latencies.record(at.saturating_sub(start));
        last = last.max(at);
        sessions.push(session);
    }
    for session in sessions {
        tokio::spawn(session.idle());
    }
    Ok(Done {
        elapsed: last - start,
        latency: latencies.read(),
        ..Done::default()
    })
}
