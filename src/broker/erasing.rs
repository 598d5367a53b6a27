//! Erases contents whose time is over: looks again and again at what is kept, and proposes what a rule
//! erases. The record and the erasure are one write; the sequencer checks the rule again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::commit::Answer;
use super::engine::LogEngine;
use super::error::BrokerError;
use super::shelf::runs;
use crate::ledger::{Engine, ErasureRule, MAX_ERASED, Proposal, Record, erasure_rule};

/// All that is kept is looked at so often at least: nobody says when the last recipient has something.
const LOOK: Duration = Duration::from_hours(1);
/// The pause between two rounds: at least this, and so many times as long as the last one took where it gave way to
/// nobody, so that a large ledger is not gone through all the time.
const REST: Duration = Duration::from_secs(5);
const REST_FACTOR: u32 = 20;
/// Bulletins looked at in one step, and the pause between two steps: a large ledger is gone through at
/// ten thousand in a second, which leaves the disk to others; while a partner that catches up reads, at a tenth of
/// that.
const PAGE: usize = 1_024;
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_FACTOR: u32 = 10;
/// Name among the engine's cached values: something erased may still lie in its tables.
const PURGE: &str = "purge";

/// Looks until the broker stops: when time may have erased something, when somebody takes back a bulletin
/// or orders an erasure, and every hour.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut erasing = shared.log.erasing();
    let mut is_told = false;
    loop {
        let work = async {
            // Told before this round, while the last one rested, or while this one lasts.
            let was_told = std::mem::take(&mut is_told) || erasing.has_changed().unwrap_or(true);
            erasing.borrow_and_update();
            let (began, mut spent) = (Instant::now(), Duration::ZERO);
            let is_hurried = || was_told || erasing.has_changed().unwrap_or(true);
            match sweep(&shared, is_hurried, &mut spent).await {
                Ok(0) => {}
                Ok(erased) => tracing::info!(erased, "contents were erased"),
                Err(error) => tracing::error!(%error, "contents could not be erased"),
            }
            tokio::time::sleep(REST.max(spent * REST_FACTOR)).await;
            let next = began + LOOK;
            while Instant::now() < next && !shared.log.is_erasure_due(shared.clock.now()) {
                let told = tokio::time::timeout(REST, erasing.changed()).await;
                is_told = told.is_ok();
                if is_told {
                    break;
                }
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = work => {}
        }
    }
}

/// Goes once through all that is kept, and adds up the time that it took where it gave way to nobody; returns how many
/// bulletins lost their contents. Unless it is hurried, partners that catch up go before it.
async fn sweep(
    shared: &Arc<Shared>,
    is_hurried: impl Fn() -> bool,
    spent: &mut Duration,
) -> Result<usize, BrokerError> {
    let (mut from, mut erased) = (Some(0), 0);
    // What comes meanwhile notes itself.
    shared.log.forget_due();
    while let Some(position) = from {
        let began = Instant::now();
        let page = due(shared, position).await?;
        from = page.next;
        for (rule, about) in page.due {
            for about in about.chunks(MAX_ERASED) {
                let (about, count) = (about.to_vec(), about.len());
                note_purge(shared, true).await?;
                let proposal = Proposal::Erasure { rule, about };
                match shared.log.propose(proposal).await? {
                    Answer::Recorded { .. } => erased += count,
                    Answer::Stale => {}
                    Answer::Refused(error) => tracing::error!(%error, "an erasure was refused"),
                    // There is no room to record it now.
                    Answer::Later(reason) => {
                        tracing::error!(%reason, "no more contents are erased for now");
                        from = None;
                    }
                }
            }
        }
        *spent += began.elapsed() + PAUSE;
        let gives_way = shared.log.is_read() && !is_hurried();
        let factor = if gives_way { PAUSE_FACTOR } else { 1 };
        tokio::time::sleep(PAUSE * factor).await;
    }
    let began = Instant::now();
    let purged = purge(shared).await;
    *spent += began.elapsed();
    purged?;
    Ok(erased)
}

/// Notes that something is erased and may still lie in the tables, before it is; or that nothing does.
async fn note_purge(shared: &Arc<Shared>, due: bool) -> Result<(), BrokerError> {
    let shared = Arc::clone(shared);
    let value: &[u8] = if due { b"due" } else { b"" };
    let noted = tokio::task::spawn_blocking(move || shared.log.engine().put_cache(PURGE, value));
    Ok(noted.await.map_err(|_| BrokerError::Closed)??)
}

/// Has the store write its tables anew, where something was erased since that was done, also before a
/// restart.
async fn purge(shared: &Arc<Shared>) -> Result<(), BrokerError> {
    let purging = Arc::clone(shared);
    let purged = tokio::task::spawn_blocking(move || {
        let engine = purging.log.engine();
        let due = engine.cached(PURGE)?.is_some_and(|value| !value.is_empty());
        if due { engine.purge() } else { Ok(false) }
    });
    if purged.await.map_err(|_| BrokerError::Closed)?? {
        note_purge(shared, false).await?;
    }
    Ok(())
}

/// What is to be erased, of a page of what is kept.
struct Page {
    due: BTreeMap<ErasureRule, Vec<(u64, Arc<Record>)>>,
    /// Where the next page begins, where there is one.
    next: Option<u64>,
}

async fn due(shared: &Arc<Shared>, from: u64) -> Result<Page, BrokerError> {
    let shared = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || {
        let log = &shared.log;
        let kept = log.engine().kept(from, PAGE)?;
        let next = kept.last().filter(|_| kept.len() == PAGE);
        let next = next.map(|last| last + 1);
        let mut due: BTreeMap<ErasureRule, Vec<(u64, Arc<Record>)>> = BTreeMap::new();
        for run in runs(&kept) {
            for (position, record) in readable(log.engine(), run) {
                let rule = {
                    let state = log.state();
                    let at = shared.clock.now().max(state.time());
                    erasure_rule(&state, position, &record, at)
                };
                if let Some(rule) = rule {
                    let about = (position, Arc::new(record));
                    due.entry(rule).or_default().push(about);
                } else {
                    log.note_due(&record, shared.clock.now());
                }
            }
        }
        Ok(Page { due, next })
    });
    read.await.map_err(|_| BrokerError::Closed)?
}

/// Those of the records at these positions that can be read: one that cannot keeps the contents of no other.
fn readable(engine: &LogEngine, positions: &[u64]) -> Vec<(u64, Record)> {
    records(engine, positions).unwrap_or_else(|_| {
        let one_by_one = positions.iter().map(|position| {
            let read = records(engine, std::slice::from_ref(position));
            read.unwrap_or_else(|error| {
                tracing::error!(position, %error, "whether its contents may be erased cannot be read");
                Vec::new()
            })
        });
        one_by_one.flatten().collect()
    })
}

/// The records at these positions, which are near one another. Damage is looked for by audits.
fn records(engine: &LogEngine, positions: &[u64]) -> Result<Vec<(u64, Record)>, BrokerError> {
    let (Some(first), Some(last)) = (positions.first(), positions.last()) else {
        return Ok(Vec::new());
    };
    let count = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    let read = engine.read(*first, count)?;
    let read = (*first..).zip(read.iter().zip(engine.entries(*first, count)?));
    read.filter(|(position, _)| positions.binary_search(position).is_ok())
        .map(|(position, (bytes, entry))| {
            let record = Record::beside(bytes, &entry);
            let record = record.map_err(|error| BrokerError::Record { position, error })?;
            Ok((position, record))
        })
        .collect()
}
