//! Hooks: applications that are called instead of calling. A webhook is posted every bulletin, one after the
//! other; a program is run for what is urgent.
//!
//! Each has its place in the inbox, and is given a bulletin until it takes it: at least once, under the same
//! id. What it does not take in time becomes a dead letter (`letters`), and the next one follows. A place is
//! never noted before everything up to it is taken or buried, so that nothing is lost in a crash.

mod config;
mod exec;
mod letters;
mod post;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::task::JoinSet;

use super::view::ItemView;
use super::{Config, NodeError, Shared, declare, local};
use crate::agreement::Purpose;
use crate::bulletin::Precedence;
use crate::transport::Trouble;
pub use config::{ExecConfig, WebhookConfig};
pub(super) use config::{check_programs, check_webhooks, is_guarded};
pub use letters::{DeadLetter, LetterAct};
pub(super) use letters::{act, dead};

/// Items looked at together.
const PAGE: usize = 64;
/// After the store failed.
const BREATH: Duration = Duration::from_secs(5);
/// Between the first two tries, and at most.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(1);

/// A try that failed.
#[derive(Debug)]
struct Failed {
    reason: String,
    /// No other try would end otherwise.
    for_good: bool,
}

impl Failed {
    const fn for_now(reason: String) -> Self {
        Self {
            reason,
            for_good: false,
        }
    }

    const fn for_good(reason: String) -> Self {
        Self {
            reason,
            for_good: true,
        }
    }
}

#[derive(Debug)]
enum Way {
    Post(post::Post),
    Exec(exec::Exec),
}

/// An application that is called.
#[derive(Debug)]
pub(super) struct Hook {
    /// `webhook:NAME` or `exec:NAME`: under this its place in the inbox is kept.
    name: String,
    way: Way,
    purpose: Option<Purpose>,
    at_once: usize,
    give_up_after: Duration,
    /// Only what is so urgent and still valid, where it is said.
    urgent: Option<Precedence>,
    exercise: bool,
}

/// The names of all hooks of a configuration.
fn names(config: &Config) -> impl Iterator<Item = String> {
    let posts = config.webhook.iter();
    let posts = posts.map(|hook| format!("webhook:{}", hook.name));
    let programs = config.exec.iter();
    posts.chain(programs.map(|hook| format!("exec:{}", hook.name)))
}

/// The hooks of a configuration, with their secrets.
pub(super) fn all(config: &Config) -> Result<Vec<Hook>, NodeError> {
    let mut hooks = Vec::new();
    for one in &config.webhook {
        hooks.push(Hook {
            name: format!("webhook:{}", one.name),
            way: Way::Post(post::Post::new(one)?),
            purpose: one.purpose,
            at_once: 1,
            give_up_after: Duration::from_secs(u64::from(one.give_up_after)),
            urgent: None,
            exercise: true,
        });
    }
    for one in &config.exec {
        hooks.push(Hook {
            name: format!("exec:{}", one.name),
            way: Way::Exec(exec::Exec::new(one)),
            purpose: one.purpose,
            at_once: usize::from(one.at_once),
            give_up_after: Duration::from_secs(u64::from(one.give_up_after)),
            urgent: Some(one.precedence),
            exercise: one.exercise,
        });
    }
    Ok(hooks)
}

/// How it ended with one bulletin.
enum Ended {
    Taken,
    /// It is not for this hook any more: taken back, or deleted.
    Void,
    GivenUp(DeadLetter),
}

/// A bulletin that is being delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    number: u64,
    again: bool,
}

/// Delivers what comes, until the node stops.
pub(super) async fn run(shared: Arc<Shared>, hook: Hook) {
    let (hook, stop) = (Arc::new(hook), shared.stop.clone());
    let (mut arrived, mut replayed) = (shared.inbox.subscribe(), shared.replayed.subscribe());
    let mut running: BTreeSet<Job> = BTreeSet::new();
    let mut tasks: JoinSet<(Job, Ended)> = JoinSet::new();
    let mut after = None;
    loop {
        arrived.borrow_and_update();
        replayed.borrow_and_update();
        let mut failed = false;
        while running.len() < hook.at_once {
            match next(&shared, &hook, &mut after, &running).await {
                Ok(Some(job)) => {
                    running.insert(job);
                    let (shared, hook) = (Arc::clone(&shared), Arc::clone(&hook));
                    tasks.spawn(async move { (job, deliver(shared, hook, job.number).await) });
                }
                Ok(None) => break,
                Err(trouble) => {
                    let reason = trouble.message;
                    tracing::error!(hook = hook.name, reason, "the inbox cannot be read");
                    failed = true;
                    break;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            Some(done) = tasks.join_next() => {
                // One that panicked is not noted: it is delivered after the next start.
                let Ok((job, ended)) = done else { return };
                running.remove(&job);
                let open = running.iter().filter(|job| !job.again).map(|job| job.number).min();
                let up_to = open.map_or_else(|| after.unwrap_or(0), |open| open - 1);
                settle(&shared, &hook, job, ended, up_to).await;
            }
            changed = arrived.changed() => if changed.is_err() { return },
            changed = replayed.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(BREATH), if failed => {}
        }
    }
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    let done = tokio::task::spawn_blocking(act).await;
    done.unwrap_or_else(|_| Err(Trouble::new("internal", "a task failed")))
}

/// What is to be delivered next: first what is tried again.
async fn next(
    shared: &Arc<Shared>,
    hook: &Arc<Hook>,
    after: &mut Option<u64>,
    running: &BTreeSet<Job>,
) -> Result<Option<Job>, Trouble> {
    let (shared, hook) = (Arc::clone(shared), Arc::clone(hook));
    let (running, mut from) = (running.clone(), *after);
    let (found, from) = blocking(move || {
        for number in letters::again(&shared, &hook.name, running.len() + 1)? {
            let job = Job {
                number,
                again: true,
            };
            if !running.contains(&job) {
                return Ok((Some(job), from));
            }
        }
        loop {
            let place = match from {
                Some(place) => place,
                None => shared.store.consumer(&hook.name)?,
            };
            let page = local::page(&shared, place, PAGE)?;
            from = Some(page.last().map_or(place, |last| last.number));
            if let Some(item) = page.iter().find(|item| hook.wants(&shared, item)) {
                let job = Job {
                    number: item.number,
                    again: false,
                };
                return Ok((Some(job), Some(item.number)));
            }
            if page.is_empty() {
                return Ok((None, from));
            }
        }
    })
    .await?;
    *after = from;
    Ok(found)
}

impl Hook {
    fn wants(&self, shared: &Shared, item: &ItemView) -> bool {
        let Some(header) = &item.header else {
            return false;
        };
        let urgent = self.urgent.is_none_or(|least| {
            header.precedence >= least && header.valid_until > shared.clock.now()
        });
        let real = self.exercise || !header.exercise;
        let here = item.quarantined.is_none() && !item.is_taken_back();
        urgent && real && here && item.obligations.permit(self.purpose)
    }

    async fn attempt(self: &Arc<Self>, shared: &Shared, item: Arc<ItemView>) -> Result<(), Failed> {
        match &self.way {
            Way::Exec(exec) => exec.attempt(&item).await,
            Way::Post(post) => {
                let (post, now) = (post.clone(), shared.clock.now());
                let posted = tokio::task::spawn_blocking(move || post.attempt(&item, now));
                let failed = |_| Err(Failed::for_now("a task failed".to_owned()));
                posted.await.unwrap_or_else(failed)
            }
        }
    }
}

/// Tries until it is taken or given up. Each try is with the bulletin as it is then.
async fn deliver(shared: Arc<Shared>, hook: Arc<Hook>, number: u64) -> Ended {
    let began = tokio::time::Instant::now();
    let mut patience = ExponentialBuilder::default()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .with_jitter()
        .without_max_times()
        .build();
    let mut tries = 0;
    loop {
        let asked = Arc::clone(&shared);
        let items = blocking(move || local::page(&asked, number - 1, 1)).await;
        let mut wait = patience.next().unwrap_or(LONGEST);
        match items {
            Ok(items) => {
                let item = items.into_iter().find(|item| item.number == number);
                let Some(item) = item.filter(|item| hook.wants(&shared, item)) else {
                    return Ended::Void;
                };
                let (id, item) = (item.id, Arc::new(item));
                tries += 1;
                let Err(failed) = hook.attempt(&shared, item).await else {
                    return Ended::Taken;
                };
                let left = hook.give_up_after.saturating_sub(began.elapsed());
                let (reason, name) = (failed.reason, &hook.name);
                if failed.for_good || left.is_zero() {
                    tracing::error!(hook = name, %id, reason, "given up; see: entente hook dead");
                    return Ended::GivenUp(DeadLetter {
                        hook: name.clone(),
                        id,
                        number,
                        at: shared.clock.now(),
                        tries,
                        reason,
                    });
                }
                tracing::warn!(hook = name, %id, reason, "not taken");
                wait = wait.min(left);
            }
            Err(trouble) => {
                let reason = trouble.message;
                tracing::error!(hook = hook.name, reason, "the inbox cannot be read");
            }
        }
        tokio::time::sleep(wait).await;
    }
}

/// Notes how it ended, and that everything up to a number is taken or buried.
async fn settle(shared: &Arc<Shared>, hook: &Arc<Hook>, job: Job, ended: Ended, up_to: u64) {
    let (shared, hook) = (Arc::clone(shared), Arc::clone(hook));
    let name = hook.name.clone();
    let noted = blocking(move || {
        if matches!(ended, Ended::Taken) {
            declare::taken(&shared, job.number - 1, job.number)
                .map_err(|error| Trouble::new("declaration", error))?;
        }
        let dead = match &ended {
            Ended::GivenUp(letter) => Some(letter),
            _ => None,
        };
        if job.again || dead.is_some() {
            letters::settle(&shared, &hook.name, job.number, dead)?;
        }
        if !job.again {
            shared.store.advance(&hook.name, up_to)?;
        }
        Ok(())
    });
    if let Err(trouble) = noted.await {
        let reason = trouble.message;
        tracing::error!(
            hook = name,
            reason,
            "the place of a hook could not be noted"
        );
    }
}
