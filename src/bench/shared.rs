//! W9: brokers that share a log of three copies, beside JetStream alone with as many.

use super::error::BenchError;
use super::fanout::{Fanout, run};
use super::figures::Figures;
use super::peer::{self, NatsServer, Server};
use super::worker::Job;
use super::world::World;
use crate::deployment::SharedLog;
use crate::testing::Scratch;

/// Copies of the log.
const COPIES: usize = 3;

/// One round with so many brokers, to which publishers and recipients connect in turn. The CPU time and memory are
/// those of all brokers; `servers_cpu_us` is that of the servers, for each bulletin.
pub async fn shared(
    plan: &Fanout,
    nats: &NatsServer,
    brokers: usize,
) -> Result<Figures, BenchError> {
    let servers = Server::cluster(nats, COPIES).await?;
    let scratch = Scratch::new().map_err(BenchError::worker)?;
    let (ledger, keys) = servers.as_ledger();
    let log = SharedLog {
        servers: vec![ledger; brokers],
        name: "bench".into(),
        replicas: COPIES,
        lease_seconds: 10,
        more: keys,
    };
    let (publishers, recipients) = (plan.publishers.into(), plan.recipients);
    let world = World::build_shared(scratch.path(), publishers, recipients, Some(log)).await?;
    let server = world.start(&plan.program).await?;
    let receive = Job::Receive {
        world: world.clone(),
        receive: plan.receive(),
    };
    let publish = Job::Publish {
        streams: plan.streams(&world.publishers),
        world,
    };
    let before = servers.usage()?;
    let ran = run(&plan.program, &publish, &receive, || server.usage()).await?;
    let used = servers.usage()?.cpu_us - before.cpu_us;
    let system = format!("entente, {brokers} brokers, 3 copies");
    let figures = plan.figures(&system, &ran, server.usage()?);
    server.stop().await?;
    servers.stop().await?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a run")]
    let each = used as f64 / f64::from(plan.receive().expect);
    Ok(figures.with("servers_cpu_us", each))
}

/// One round on JetStream alone, with as many copies and syncs.
pub async fn replicated(plan: &Fanout, nats: &NatsServer) -> Result<Figures, BenchError> {
    peer::replicated(plan, nats).await
}
