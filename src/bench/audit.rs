//! W6: `entente audit verify` over a ledger that a broker wrote.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::error::BenchError;
use super::figures::Figures;
use super::usage;
use super::worker::{Job, Receive, Stream, Worker};
use super::world::World;
use crate::bulletin::Precedence;
use crate::testing::Scratch;

/// How often the auditor's memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What is run.
#[derive(Clone, Debug)]
pub struct AuditPlan {
    /// This program, for the other processes.
    pub program: PathBuf,
    /// Bulletins in the ledger, each for three recipients; acknowledgements come on top.
    pub bulletins: u32,
    /// Bulletins under one signature.
    pub burst: usize,
}

/// Writes the ledger with a broker, stops it, and audits.
pub async fn audit(plan: &AuditPlan, progress: impl Fn(u64)) -> Result<Figures, BenchError> {
    const PUBLISHERS: u16 = 4;
    const RECIPIENTS: usize = 3;
    let scratch = Scratch::new().map_err(BenchError::worker)?;
    let world = World::build(scratch.path(), PUBLISHERS.into(), RECIPIENTS).await?;
    let server = world.start(&plan.program).await?;
    // In portions: a worker seals its whole portion beforehand.
    let mut portions = Vec::new();
    let mut left = plan.bulletins;
    while left > 0 {
        let portion = left.min(100_000);
        portions.push(portion.div_ceil(PUBLISHERS.into()));
        left -= portion;
    }
    let receive = Receive {
        recipients: RECIPIENTS,
        expect: portions.iter().sum::<u32>() * u32::from(PUBLISHERS),
        of: Precedence::Routine,
        measure: None,
        stalled: false,
        late: false,
    };
    let receiving = Job::Receive {
        world: world.clone(),
        receive,
    };
    let mut recipients = Worker::start(&plan.program, &receiving).await?;
    Worker::go(&mut [&mut recipients]).await?;
    let mut written = 0;
    for each in portions {
        let streams = (0..PUBLISHERS)
            .zip(&world.publishers)
            .map(|(number, partner)| Stream {
                partner: partner.clone(),
                number,
                count: each,
                burst: plan.burst,
                precedence: Precedence::Routine,
                schedule: None,
                outstanding: 256,
            });
        let publish = Job::Publish {
            world: world.clone(),
            streams: streams.collect(),
        };
        super::back::publish(&plan.program, &publish).await?;
        written += each * u32::from(PUBLISHERS);
        progress(written.into());
    }
    recipients.done().await?;
    recipients.end().await?;
    server.stop().await?;
    let (records, seconds, peak) = audited(&plan.program, &world).await?;
    let mut figures = Figures::of("W6", "entente")
        .with("records", records)
        .with("burst", plan.burst);
    figures.throughput = Some(records / seconds);
    figures.rss_kib = Some(peak);
    Ok(figures)
}

/// Records, seconds, and the most memory in KiB.
async fn audited(program: &Path, world: &World) -> Result<(f64, f64, u64), BenchError> {
    let started = Instant::now();
    let child = tokio::process::Command::new(program)
        .args(["--json", "audit", "verify", "--config"])
        .arg(world.layout().broker_config())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(BenchError::file(program))?;
    let id = child.id();
    let output = child.wait_with_output();
    tokio::pin!(output);
    let mut peak = 0;
    let output = loop {
        tokio::select! {
            output = &mut output => break output.map_err(BenchError::worker)?,
            () = tokio::time::sleep(LOOK) => {
                let used = id.and_then(|id| usage::of(id).ok());
                peak = used.map_or(peak, |used| used.peak_kib.max(peak));
            }
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        return Err(BenchError::Untrue(format!("the audit fails: {text}")));
    }
    let told: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(BenchError::worker)?;
    let records = told
        .pointer("/audit/records")
        .and_then(serde_json::Value::as_f64);
    let records = records.ok_or_else(|| BenchError::worker("the audit counts no records"))?;
    Ok((records, seconds, peak))
}
