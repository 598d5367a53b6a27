//! W1 with whole nodes: a durable outbox and inbox at each end; and the peer's clients likewise writing and
//! syncing to a file what they send and receive.

use std::time::Duration;

use tokio::task::JoinSet;

use super::error::BenchError;
use super::fanout::{Fanout, draft};
use super::figures::Figures;
use super::peer::{self, NatsServer};
use super::world::World;
use super::{System, usage};
use crate::bulletin::Precedence;
use crate::deployment::{Alliance, Runner, until};
use crate::node::{Command, Response};
use crate::partner::PartnerId;
use crate::testing::Scratch;

/// Bulletins given to a node in one request: it signs them together.
const REQUEST: usize = 64;
/// How long a run may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// One round of `plan` on a system; `nats` where it is the peer's.
pub async fn whole_nodes(
    plan: &Fanout,
    system: System,
    nats: Option<&NatsServer>,
) -> Result<Figures, BenchError> {
    match (system, nats) {
        (System::Entente, _) => entente(plan).await,
        (synced, Some(nats)) => {
            peer::round(plan, nats, synced == System::JetStreamSynced, true).await
        }
        (_, None) => Err(BenchError::peer("there is no nats-server")),
    }
}

async fn entente(plan: &Fanout) -> Result<Figures, BenchError> {
    let scratch = Scratch::new().map_err(BenchError::worker)?;
    let world = World::build(scratch.path(), plan.publishers.into(), plan.recipients).await?;
    let mut alliance = Alliance::new(world.layout(), Runner::Processes(plan.program.clone()));
    alliance.start_broker().await?;
    alliance
        .start_nodes(world.publishers.iter().chain(&world.recipients))
        .await?;
    let broker = alliance.broker_process().unwrap_or_default();
    let before = usage::of(broker)?;
    let each = plan.bulletins / u32::from(plan.publishers.max(1));
    let alliance = std::sync::Arc::new(alliance);
    let started = std::time::Instant::now();
    let mut tasks = JoinSet::new();
    for partner in world.publishers.clone() {
        let alliance = std::sync::Arc::clone(&alliance);
        tasks.spawn(async move { publish(&alliance, &partner, each).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(BenchError::worker)??;
    }
    let published = started.elapsed().as_secs_f64();
    let expected = u64::from(each) * u64::from(plan.publishers);
    for partner in &world.recipients {
        let received = || async {
            let after = expected.saturating_sub(1);
            let page = Command::Inbox { after, limit: 1 };
            match alliance.ask_node(partner, &page).await.ok()? {
                Response::Items(items) => (!items.is_empty()).then_some(()),
                _ => None,
            }
        };
        until("the last delivery", PATIENCE, received).await?;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let after = usage::of(broker)?;
    let mut alliance = std::sync::Arc::into_inner(alliance)
        .ok_or_else(|| BenchError::worker("a publisher is still there"))?;
    alliance.stop().await?;
    let count = f64::from(each) * f64::from(plan.publishers);
    let mut figures = Figures::of("W1-nodes", System::Entente.name());
    figures.throughput = Some(count / elapsed);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a run")]
    let cpu = (after.cpu_us - before.cpu_us) as f64;
    figures.cpu_us_per_bulletin = Some(cpu / count);
    figures.rss_kib = Some(after.peak_kib);
    Ok(figures.with("in_outboxes_after_s", published))
}

/// Gives a node its bulletins, as an application does.
async fn publish(alliance: &Alliance, partner: &PartnerId, count: u32) -> Result<(), BenchError> {
    let draft = draft(Precedence::Routine)?;
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    while left > 0 {
        let some = left.min(REQUEST);
        alliance.publish(partner, vec![draft.clone(); some]).await?;
        left -= some;
    }
    Ok(())
}
