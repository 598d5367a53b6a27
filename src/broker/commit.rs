//! The one writer of the log: gathers what waits, sequences it, appends it with one sync, folds it,
//! and only then answers.
//!
//! Where brokers share the log it folds what others appended, too, before it decides anything. Where another
//! was first, it folds that and decides again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::checkpoint;
use super::config::Config;
use super::engine::{self, LogEngine};
use super::error::BrokerError;
use super::lease::Lease;
use super::metrics::Metrics;
use super::sessions::Sessions;
use super::shelf::{Shelf, Shelved, shelf};
use crate::bulletin::Sealed;
use crate::clock::{Clock, Entropy, Timestamp, random};
use crate::decision::RULES_VERSION;
use crate::ledger::{
    Durable, Engine, EngineError, Fact, MAX_GROUP_RECORDS, NotRecorded, Outcome, Proposal, Record,
    Sequenced, State, first_due, sequence_within,
};
use crate::proof::Signer;
use crate::store::{Disk, StoreError};

/// Jobs waiting for the writer, from all sessions together: bounds memory when the disk is slow.
const QUEUE: usize = 256;
/// Records read at once when the fold is rebuilt.
const READ: usize = 1_024;
/// The longest pause of a writer whom others were ahead of, again and again.
const MOST_PATIENCE: Duration = Duration::from_millis(64);

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is durable at this position.
    Recorded {
        /// Where.
        position: u64,
        /// Time of its group.
        time: Timestamp,
    },
    /// It says nothing new.
    Stale,
    /// It is refused.
    Refused(NotRecorded),
    /// It could not be written now; the same may succeed later.
    Later(String),
}

/// What the writer is asked to do.
enum Job {
    /// To record what somebody proposes at once, and to tell what became of each.
    Propose {
        proposals: Vec<Proposal>,
        answer: oneshot::Sender<Vec<Answer>>,
    },
    /// To fold what others appended.
    News,
    /// To make sure where the log ends, and to tell whether that succeeded.
    Confirm(Option<oneshot::Sender<Result<(), String>>>),
}

/// The log, its fold, and the way to propose to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    state: RwLock<State>,
    pub(super) engine: Arc<LogEngine>,
    pub(super) shelf: Shelf,
    jobs: mpsc::Sender<Job>,
    size: watch::Sender<u64>,
    /// Counts the governing facts: partners and agreements.
    governance: watch::Sender<u64>,
    failure: watch::Sender<Option<String>>,
    head: checkpoint::Head,
    /// Records in the last snapshot.
    snapshot: AtomicU64,
    /// Until when this broker may deliver.
    lease: Lease,
    /// News of others, or a renewal of the lease, wait for the writer.
    told: AtomicBool,
    /// The log's growth is covered.
    covered: bool,
    /// Changes where contents may have to go at once: a recall, an order.
    erasing: watch::Sender<u64>,
    /// When the passing of time may erase something next, in microseconds.
    due: AtomicI64,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Log {
    /// Opens the ledger, folds it, checks it against the last signed checkpoint, and starts the
    /// writer.
    pub(super) fn open(
        config: &Config,
        disk: Arc<dyn Disk>,
        log_key: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BrokerError> {
        let (signer, random) = (Arc::clone(&log_key), Arc::clone(&entropy));
        let engine = LogEngine::open(config, Arc::clone(&disk), signer, random)?;
        if engine.size() == 0 {
            return Err(BrokerError::NoLedger(config.ledger.clone()));
        }
        let head = checkpoint::Head::open(config, disk, log_key.as_ref(), engine.stream())?;
        if let (Some(stream), Some(signed)) = (engine.stream(), head.signed_size()) {
            stream.reach(signed)?;
        }
        let (state, snapshot) = fold(&engine, &head)?;
        let rules = state.genesis().map_or(0, |genesis| genesis.rules);
        if rules > RULES_VERSION {
            return Err(BrokerError::NewerRules(rules));
        }
        head.check(config, &state)?;
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let inner = Arc::new(Inner {
            size: watch::Sender::new(state.size()),
            state: RwLock::new(state),
            engine: Arc::new(engine),
            shelf: shelf(config.body_cache),
            jobs,
            governance: watch::Sender::new(0),
            failure: watch::Sender::new(None),
            head,
            snapshot: AtomicU64::new(snapshot),
            lease: Lease::new(engine::lease(config)),
            told: AtomicBool::new(false),
            covered: config.is_covered(),
            erasing: watch::Sender::new(0),
            due: AtomicI64::new(i64::MAX),
        });
        let told = Arc::downgrade(&inner);
        inner.engine.on_news(Box::new(move || {
            if let Some(inner) = told.upgrade() {
                inner.tell(Job::News);
            }
        }));
        let writer = Writer {
            log: Arc::downgrade(&inner),
            waiting,
            clock,
            entropy,
            sessions,
            metrics,
        };
        thread::Builder::new()
            .name("commit".into())
            .spawn(move || writer.run())
            .map_err(|error| BrokerError::File {
                path: config.ledger.clone(),
                error,
            })?;
        Ok(Self { inner })
    }

    /// Makes sure where the log ends, as of some moment after this one; the reason where that cannot be.
    pub(super) async fn confirm(&self) -> Result<Result<(), String>, BrokerError> {
        if !self.inner.engine.is_shared() {
            return Ok(Ok(()));
        }
        let (answer, confirmed) = oneshot::channel();
        let job = Job::Confirm(Some(answer));
        let sent = self.inner.jobs.send(job).await;
        sent.map_err(|_| BrokerError::Closed)?;
        confirmed.await.map_err(|_| BrokerError::Closed)
    }

    /// Has that done, without waiting for it.
    pub(super) fn confirm_soon(&self) {
        self.inner.tell(Job::Confirm(None));
    }

    /// Until when this broker may deliver.
    pub(super) fn lease(&self) -> &Lease {
        &self.inner.lease
    }

    /// Proposes, waits for the group to be durable, and tells what became of it.
    pub async fn propose(&self, proposal: Proposal) -> Result<Answer, BrokerError> {
        let answers = self.submit(vec![proposal]).await?.await;
        let answer = answers.ok().and_then(|mut answers| answers.pop());
        answer.ok_or(BrokerError::Closed)
    }

    /// Proposes; the answers come, in the order of the proposals, when all of them are durable.
    pub(super) async fn submit(
        &self,
        proposals: Vec<Proposal>,
    ) -> Result<oneshot::Receiver<Vec<Answer>>, BrokerError> {
        let (answer, receiver) = oneshot::channel();
        let job = Job::Propose { proposals, answer };
        let sent = self.inner.jobs.send(job).await;
        sent.map_err(|_| BrokerError::Closed)?;
        Ok(receiver)
    }

    /// The fold, as of now. Hold it briefly: the writer waits.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.inner.read_state()
    }

    /// Records in the log.
    pub fn size(&self) -> u64 {
        *self.inner.size.borrow()
    }

    pub(super) fn sizes(&self) -> watch::Receiver<u64> {
        self.inner.size.subscribe()
    }

    /// Changes whenever a governing fact was recorded.
    pub(super) fn governance(&self) -> watch::Receiver<u64> {
        self.inner.governance.subscribe()
    }

    /// Changes where contents may have to go at once.
    pub(super) fn erasing(&self) -> watch::Receiver<u64> {
        self.inner.erasing.subscribe()
    }

    /// Whether the passing of time may have erased something.
    pub(super) fn is_erasure_due(&self, now: Timestamp) -> bool {
        self.inner.due.load(Ordering::Relaxed) <= now.micros()
    }

    /// Forgets when time erases something: all that is kept is looked at.
    pub(super) fn forget_due(&self) {
        self.inner.due.store(i64::MAX, Ordering::Relaxed);
    }

    /// Notes when time may erase the contents that a record accepted, where that is yet to come.
    pub(super) fn note_due(&self, record: &Record, now: Timestamp) {
        self.inner.note_due(&self.state(), record, now);
    }

    /// Where the log is stored.
    pub fn engine(&self) -> &Arc<LogEngine> {
        &self.inner.engine
    }

    /// The last signed checkpoint.
    pub fn checkpoint(&self) -> Option<String> {
        self.inner.head.last()
    }

    /// Waits until the log cannot be written any more.
    pub(super) async fn failed(&self) -> BrokerError {
        let mut failure = self.inner.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await;
        let reason = failed.map_or_else(|_| None, |reason| reason.clone());
        BrokerError::Engine(EngineError::Unknown(reason.unwrap_or_default()))
    }

    /// The last checkpoint and its witnesses.
    pub(super) fn head(&self) -> &checkpoint::Head {
        &self.inner.head
    }

    /// Nothing can be written any more, for a reason that only an operator can mend.
    pub(super) fn fail(&self, reason: &BrokerError) {
        self.inner.failure.send_replace(Some(reason.to_string()));
    }

    /// Signs a checkpoint over the first records, where the last one is over fewer.
    pub(super) fn sign_checkpoint(
        &self,
        size: u64,
        log_key: &dyn Signer,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let root = {
            let state = self.state();
            (state.size() == size).then(|| state.root())
        };
        let root = root.map_or_else(|| checkpoint::root(self.engine(), size), Ok)?;
        let signed = self.inner.head.sign(size, root, log_key, now);
        // Which checkpoint is kept is unknown, or somebody else's: only a new start can tell.
        if let Err(error @ (BrokerError::Store(StoreError::Poisoned) | BrokerError::HeadTaken)) =
            &signed
        {
            self.fail(error);
        }
        signed
    }

    /// Keeps a snapshot of the fold where the log has grown much since the last one, so that a
    /// restart reads few records. A checkpoint must be signed after it: a snapshot counts only
    /// where a signed checkpoint covers it.
    pub(super) fn snapshot_if_due(&self) -> Result<(), BrokerError> {
        let size = self.size();
        let last = self.inner.snapshot.load(Ordering::Relaxed);
        if size < last.saturating_add(SNAPSHOT_EVERY) {
            return Ok(());
        }
        self.snapshot()
    }

    /// Keeps a snapshot of the fold.
    pub(super) fn snapshot(&self) -> Result<(), BrokerError> {
        let (size, snapshot) = {
            let state = self.state();
            (state.size(), state.to_snapshot())
        };
        self.inner.engine.put_cache(SNAPSHOT, &snapshot)?;
        self.inner.snapshot.store(size, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps a snapshot and signs the last checkpoint, before the program ends. Where growth is covered,
    /// nothing is signed between two intervals.
    pub fn close(&self, log_key: &dyn Signer, now: Timestamp) -> Result<(), BrokerError> {
        self.snapshot()?;
        if self.inner.covered {
            return Ok(());
        }
        self.sign_checkpoint(self.size(), log_key, now)
    }

    /// Forgets the snapshot: the next start folds the whole log.
    pub fn forget_snapshot(&self) -> Result<(), BrokerError> {
        Ok(self.inner.engine.put_cache(SNAPSHOT, b"")?)
    }
}

/// Name of the snapshot among the engine's cached values.
const SNAPSHOT: &str = "snapshot";
/// Records after which another snapshot is kept: reading so many takes about a second.
const SNAPSHOT_EVERY: u64 = 100_000;

impl Inner {
    /// Asks the writer for what may be asked again and again: once is enough until it comes to it.
    fn tell(&self, job: Job) {
        if !self.told.swap(true, Ordering::AcqRel) && self.jobs.try_send(job).is_err() {
            // It is busy, and takes on what is new with whatever it does.
            self.told.store(false, Ordering::Release);
        }
    }

    fn note_due(&self, state: &State, record: &Record, now: Timestamp) {
        if let Some(due) = first_due(state, record).filter(|due| now < *due) {
            self.due.fetch_min(due.micros(), Ordering::Relaxed);
        }
    }

    pub(super) fn read_state(&self) -> RwLockReadGuard<'_, State> {
        // Folding does not panic; were it to, the process would end.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether after a record contents may have to go at once.
fn may_erase(record: &Record) -> bool {
    match &record.fact {
        Fact::Accepted(accepted) => accepted.header.notice,
        fact => matches!(fact, Fact::ErasureOrdered(_)),
    }
}

/// Rebuilds the fold from the last snapshot, where it fits, and the records after it; tells how
/// many records the snapshot spared.
fn fold(engine: &LogEngine, head: &checkpoint::Head) -> Result<(State, u64), BrokerError> {
    let snapshot = engine.cached(SNAPSHOT)?;
    let snapshot = snapshot.and_then(|bytes| State::from_snapshot(&bytes).ok());
    // A snapshot beyond the log, or beyond what was signed, cannot be checked: fold from the start.
    let signed = head.signed_size().unwrap_or(0);
    let mut state = snapshot
        .filter(|state| state.size() <= engine.size() && state.size() <= signed)
        .unwrap_or_default();
    let spared = state.size();
    while state.size() < engine.size() {
        let from = state.size();
        for bytes in engine.read(from, READ)? {
            let position = state.size();
            let record = Record::from_bytes(&bytes)
                .map_err(|error| BrokerError::Record { position, error })?;
            state.apply(&record);
            if state.size() == signed {
                head.check_root(signed, || state.root())?;
            }
        }
    }
    if state.size() == signed {
        head.check_root(signed, || state.root())?;
    }
    Ok((state, spared))
}

/// The thread that writes.
struct Writer {
    log: std::sync::Weak<Inner>,
    waiting: mpsc::Receiver<Job>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
}

/// Who proposed what is being written, and what became of it so far.
struct Waiting {
    proposed: usize,
    answers: Vec<Answer>,
    answer: oneshot::Sender<Vec<Answer>>,
}

/// What the writer does at once.
#[derive(Default)]
struct Work {
    proposals: VecDeque<Proposal>,
    waiting: VecDeque<Waiting>,
    /// The end of the log is to be confirmed, and who waits for it.
    confirms: bool,
    confirming: Vec<oneshot::Sender<Result<(), String>>>,
}

impl Work {
    fn take(&mut self, job: Job, told: &AtomicBool) {
        match job {
            Job::Propose { proposals, answer } => {
                self.waiting.push_back(Waiting {
                    proposed: proposals.len(),
                    answers: Vec::with_capacity(proposals.len()),
                    answer,
                });
                self.proposals.extend(proposals);
            }
            // What comes from here on is asked for anew.
            Job::News => told.store(false, Ordering::Release),
            Job::Confirm(who) => {
                if who.is_none() {
                    told.store(false, Ordering::Release);
                }
                self.confirms = true;
                self.confirming.extend(who);
            }
        }
    }

    /// Tells those who wait for it whether the end of the log is confirmed.
    fn confirmed(&mut self, result: &Result<(), String>) {
        self.confirms = false;
        for one in self.confirming.drain(..) {
            let _ = one.send(result.clone());
        }
    }
}

/// A record that is durable, as it is made known.
struct Known<'a> {
    record: &'a Arc<Record>,
    /// The bulletin it accepted, where it was accepted here.
    sealed: Option<Sealed>,
}

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.waiting.blocking_recv() {
            let Some(log) = self.log.upgrade() else {
                return;
            };
            let mut work = Work::default();
            work.take(first, &log.told);
            // Whatever came while the last group was synced goes into this one.
            while work.proposals.len() < MAX_GROUP_RECORDS
                && let Ok(job) = self.waiting.try_recv()
            {
                work.take(job, &log.told);
            }
            if let Err(error) = self.write(&log, &mut work) {
                // What reached the disk is unknown: nobody is answered, and the program
                // starts again from what is there.
                tracing::error!(%error, "the log cannot be written; stopping");
                log.failure.send_replace(Some(error.to_string()));
                return;
            }
        }
    }

    /// Does what is to be done. An error is final.
    fn write(&self, log: &Inner, work: &mut Work) -> Result<(), EngineError> {
        let mut tries = 0;
        loop {
            let before = work.proposals.len();
            let done = self.take_on(log).and_then(|()| {
                if before == 0 && !work.confirms {
                    return Ok(None);
                }
                self.commit(log, &mut work.proposals).map(Some)
            });
            let taken = before - work.proposals.len();
            match done {
                Ok(None) => return Ok(()),
                Ok(Some(durable)) => {
                    tries = 0;
                    self.answer(&durable, &mut work.waiting);
                    work.confirmed(&Ok(()));
                }
                // Somebody was ahead of this broker: what was decided is decided again.
                Err(EngineError::Conflict { .. }) if log.engine.is_shared() => {
                    self.metrics.conflicts.inc();
                    self.give_way(&mut tries);
                    continue;
                }
                Err(EngineError::Full(reason)) => {
                    tracing::error!(%reason, "nothing can be recorded until there is room");
                    self.metrics.disk_full.inc();
                    later(work, if taken == 0 { before } else { taken }, &reason);
                }
                Err(EngineError::Unavailable(reason)) => {
                    tracing::warn!(%reason, "nothing can be recorded now");
                    later(work, before, &reason);
                }
                Err(error) => return Err(error),
            }
            if work.proposals.is_empty() {
                return Ok(());
            }
        }
    }

    /// Lets others go first for a moment, longer each time.
    fn give_way(&self, tries: &mut u32) {
        let most = Duration::from_millis(1 << (*tries).min(6)).min(MOST_PATIENCE);
        let share = random::<1>(self.entropy.as_ref()).map_or(255, |[byte]| byte);
        *tries += 1;
        if *tries > 1 {
            thread::sleep(most * u32::from(share) / 255);
        }
    }

    /// Folds what others appended.
    fn take_on(&self, log: &Inner) -> Result<(), EngineError> {
        if !log.engine.is_shared() {
            return Ok(());
        }
        let size = log.engine.catch_up()?;
        loop {
            let from = log.read_state().size();
            if from >= size {
                return Ok(());
            }
            let mut records = Vec::new();
            for (position, bytes) in (from..).zip(log.engine.read(from, READ)?) {
                let record = Record::from_bytes(&bytes);
                let record = record.map_err(|error| EngineError::Unreadable {
                    position,
                    reason: error.to_string(),
                })?;
                records.push(Arc::new(record));
            }
            let Some(time) = records.last().map(|last| last.time) else {
                return Ok(());
            };
            let known = records.iter().map(|record| Known {
                record,
                sealed: None,
            });
            self.publish(log, from, time, known.collect());
        }
    }

    fn commit(
        &self,
        log: &Inner,
        proposals: &mut VecDeque<Proposal>,
    ) -> Result<Durable, EngineError> {
        let now = self.clock.now();
        let shared = log.engine.is_shared();
        // What cannot be appended as it was decided is proposed again.
        let kept: Vec<Proposal> = if shared {
            proposals.iter().take(MAX_GROUP_RECORDS).cloned().collect()
        } else {
            Vec::new()
        };
        let (before, most) = (proposals.len(), log.engine.group_bytes());
        let group = {
            let state = log.state.read().unwrap_or_else(PoisonError::into_inner);
            sequence_within(&state, proposals, now, self.entropy.as_ref(), most)
        };
        let group = group.map_err(|error| EngineError::Full(error.to_string()))?;
        let started = Instant::now();
        // What is refused is refused upon what is in force: a group of nothing shows that this was all.
        let durable = if shared && group.is_empty() {
            let size = log.read_state().size();
            let confirmed = log.engine.append(size, &[]);
            confirmed.and_then(|_| group.append(log.engine.as_ref()))
        } else {
            group.append(log.engine.as_ref())
        };
        let durable = match durable {
            Err(error @ EngineError::Conflict { .. }) => {
                let taken = before - proposals.len();
                for proposal in kept.into_iter().take(taken).rev() {
                    proposals.push_front(proposal);
                }
                return Err(error);
            }
            other => other?,
        };
        log.lease.renew(started);
        if !durable.records().is_empty() {
            self.metrics.group_size.observe(f64::from(
                u32::try_from(durable.records().len()).unwrap_or(u32::MAX),
            ));
            self.metrics
                .append_seconds
                .observe(started.elapsed().as_secs_f64());
        }
        let known = durable.records().iter().map(|one: &Sequenced| Known {
            record: &one.record,
            sealed: one
                .bulletin
                .as_ref()
                .map(|bulletin| bulletin.sealed().clone()),
        });
        self.publish(log, durable.first(), durable.time(), known.collect());
        Ok(durable)
    }

    /// Folds durable records and wakes whom they concern.
    fn publish(&self, log: &Inner, first: u64, time: Timestamp, known: Vec<Known<'_>>) {
        let mut governs = false;
        let mut lanes = std::collections::BTreeSet::new();
        for (position, one) in (first..).zip(&known) {
            match &one.record.fact {
                Fact::Accepted(accepted) => {
                    self.metrics.accepted.inc();
                    if let Some(sealed) = &one.sealed {
                        let record = Arc::clone(one.record);
                        let shelved = Shelved::new(record, position, sealed.clone());
                        log.shelf.insert(position, shelved);
                    }
                    for release in &one.record.releases {
                        let lane = (
                            release.release.recipient.clone(),
                            accepted.header.precedence,
                        );
                        lanes.insert(lane);
                    }
                }
                fact if fact.lets_go().is_some() => {
                    let state = log.state.read().unwrap_or_else(PoisonError::into_inner);
                    let precedence = state.lane_of(fact);
                    for release in &one.record.releases {
                        let recipient = release.release.recipient.clone();
                        lanes.extend(precedence.map(|precedence| (recipient, precedence)));
                    }
                }
                Fact::Acknowledged(_) => {
                    self.metrics.acknowledgements.inc();
                }
                Fact::ContentsErased(erased) => {
                    self.metrics.erased.inc_by(erased.bulletins.len() as u64);
                }
                Fact::Backfilled(_)
                | Fact::Cover
                | Fact::Declared(_)
                | Fact::Tick
                | Fact::SnapshotTaken(_) => {}
                _ => governs = true,
            }
        }
        let size = {
            let mut state = log.state.write().unwrap_or_else(PoisonError::into_inner);
            for one in &known {
                state.apply(one.record);
            }
            state.size()
        };
        {
            let state = log.state.read().unwrap_or_else(PoisonError::into_inner);
            for one in &known {
                log.note_due(&state, one.record, time);
            }
        }
        if known.iter().any(|one| may_erase(one.record)) {
            log.erasing.send_modify(|count| *count += 1);
        }
        // Only now does nobody put them on the shelf again.
        for one in &known {
            if let Fact::ContentsErased(erased) = &one.record.fact {
                for bulletin in &erased.bulletins {
                    log.shelf.remove(&bulletin.position);
                }
            }
        }
        log.size.send_replace(size);
        for (recipient, precedence) in lanes {
            self.sessions.wake(&recipient, precedence);
        }
        if governs {
            log.governance.send_modify(|count| *count += 1);
        }
    }

    fn answer(&self, durable: &Durable, waiting: &mut VecDeque<Waiting>) {
        let time = durable.time();
        let answers = durable.outcomes().iter().map(|outcome| match outcome {
            Outcome::Recorded(position) | Outcome::Again(position) => Answer::Recorded {
                position: *position,
                time,
            },
            Outcome::Stale => Answer::Stale,
            Outcome::Refused(error) => {
                self.metrics.refused(error.code());
                Answer::Refused(error.clone())
            }
        });
        tell(waiting, answers);
    }
}

/// Tells those who proposed so many of what was there first that it cannot be recorded now.
fn later(work: &mut Work, refused: usize, reason: &str) {
    let answered: usize = work.waiting.iter().map(|one| one.answers.len()).sum();
    let proposed: usize = work.waiting.iter().map(|one| one.proposed).sum();
    let left = (proposed - answered).saturating_sub(refused);
    while work.proposals.len() > left {
        work.proposals.pop_front();
    }
    let answer = Answer::Later(reason.to_owned());
    tell(&mut work.waiting, std::iter::repeat_n(answer, refused));
    work.confirmed(&Err(reason.to_owned()));
}

/// Gives answers, in the order of the proposals, to those who wait for them.
fn tell(waiting: &mut VecDeque<Waiting>, answers: impl Iterator<Item = Answer>) {
    for answer in answers {
        let Some(first) = waiting.front_mut() else {
            return;
        };
        first.answers.push(answer);
        if first.answers.len() == first.proposed
            && let Some(done) = waiting.pop_front()
        {
            // Whoever asked may be gone; what was recorded stays.
            let _ = done.answer.send(done.answers);
        }
    }
}
