//! The log and its fold, and the way to propose to its one writer (`writer`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::checkpoint;
use super::config::Config;
use super::engine::{self, LogEngine};
use super::error::BrokerError;
use super::lease::Lease;
use super::metrics::Metrics;
use super::sessions::Sessions;
use super::shelf::{Shelf, readers};
use super::writer::Writer;
use crate::clock::{Clock, Entropy, Timestamp};
use crate::decision::RULES_VERSION;
use crate::ledger::{Engine, EngineError, NotRecorded, Proposal, Record, State, first_due};
use crate::proof::Signer;
use crate::store::{Disk, StoreError};
use crate::stream::each;

/// Jobs waiting for the writer, from all sessions together: bounds memory when the disk is slow.
const QUEUE: usize = 256;
/// What may go along with other records is written after this time where nothing else was.
const ALONG: Duration = Duration::from_millis(10);
/// So much goes along with one group: whatever is urgent in it waits for no more.
const MOST_ALONG: usize = 64;
/// Records read at once when the fold is rebuilt.
pub(super) const READ: usize = 1_024;

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
pub(super) enum Job {
    /// To record what somebody proposes at once, and to tell what became of each.
    Propose {
        proposals: Vec<Proposal>,
        answer: oneshot::Sender<Vec<Answer>>,
    },
    /// To fold what others appended.
    News,
    /// To make sure where the log ends, and to tell whether that succeeded.
    Confirm(Option<oneshot::Sender<Result<(), String>>>),
    /// To write what goes along, where it still waits.
    Along,
}

/// The log, its fold, and the way to propose to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: RwLock<State>,
    pub(super) engine: Arc<LogEngine>,
    pub(super) shelf: Shelf,
    /// Turns to read old bulletins, of those that are not urgent.
    pub(super) reading: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
    /// What goes along with whatever is written next.
    along: Mutex<VecDeque<Job>>,
    pub(super) size: watch::Sender<u64>,
    /// Counts the governing facts: partners and agreements.
    pub(super) governance: watch::Sender<u64>,
    pub(super) failure: watch::Sender<Option<String>>,
    head: checkpoint::Head,
    /// Records in the last snapshot.
    snapshot: AtomicU64,
    /// Until when this broker may deliver.
    pub(super) lease: Lease,
    /// News of others, or a renewal of the lease, wait for the writer.
    pub(super) told: AtomicBool,
    /// The log's growth is covered.
    covered: bool,
    /// Changes where contents may have to go at once: a recall, an order.
    pub(super) erasing: watch::Sender<u64>,
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
        let engine = LogEngine::connect(config, Arc::clone(&disk), signer, random)?;
        let head = checkpoint::Head::open(config, disk, log_key.as_ref(), engine.stream())?;
        let (state, snapshot) = fold(&engine, &head)?;
        if engine.size() == 0 {
            return Err(BrokerError::NoLedger(config.ledger.clone()));
        }
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
            shelf: Shelf::new(config.body_cache),
            reading: Arc::new(Semaphore::new(readers())),
            jobs,
            along: Mutex::default(),
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
            others: Cell::new(None),
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
        self.confirm_by_writer().await
    }

    /// Has everything written that was proposed so far; the reason where that cannot be.
    pub(super) async fn settle(&self) -> Result<Result<(), String>, BrokerError> {
        loop {
            let confirmed = self.confirm_by_writer().await?;
            if confirmed.is_err() || self.inner.lock_along().is_empty() {
                return Ok(confirmed);
            }
        }
    }

    async fn confirm_by_writer(&self) -> Result<Result<(), String>, BrokerError> {
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

    /// As [`Self::submit`], for what nobody waits for: it goes along with what is written next, so that a sync of its
    /// own holds up nothing that is urgent. Where nothing comes within [`ALONG`], it is written alone.
    pub(super) fn submit_along(&self, proposals: Vec<Proposal>) -> oneshot::Receiver<Vec<Answer>> {
        let (answer, receiver) = oneshot::channel();
        if self.inner.jobs.is_closed() {
            return receiver;
        }
        let is_first = {
            let mut along = self.inner.lock_along();
            along.push_back(Job::Propose { proposals, answer });
            along.len() == 1
        };
        if is_first {
            let jobs = self.inner.jobs.clone();
            tokio::spawn(async move {
                tokio::time::sleep(ALONG).await;
                // A log that is closed tells those who wait.
                let _ = jobs.send(Job::Along).await;
            });
        }
        receiver
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

    /// What an operator must look at, of checkpoints and servers.
    pub(super) fn alarms(&self, now: Timestamp) -> Vec<String> {
        let mut alarms = self.inner.head.alarms(now);
        alarms.extend(self.inner.engine.alarms());
        alarms
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
        let started = Instant::now();
        let (size, frozen) = {
            let state = self.state();
            (state.size(), state.freeze())
        };
        let held = started.elapsed();
        let snapshot = frozen.into_bytes();
        self.inner.engine.put_cache(SNAPSHOT, &snapshot)?;
        let (bytes, took) = (snapshot.len(), started.elapsed());
        tracing::debug!(size, bytes, ?held, ?took, "a snapshot is kept");
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
    fn lock_along(&self) -> MutexGuard<'_, VecDeque<Job>> {
        // Every change is one step: a panic elsewhere leaves the queue whole.
        self.along.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for what goes along that the log is not written any more.
    pub(super) fn forget_along(&self) {
        self.lock_along().clear();
    }

    /// Some of what goes along with the next group.
    pub(super) fn take_along(&self) -> Vec<Job> {
        let mut along = self.lock_along();
        let most = along.len().min(MOST_ALONG);
        let taken = along.drain(..most).collect();
        let is_empty = along.is_empty();
        drop(along);
        if !is_empty {
            // Where the queue is full, more is written soon anyway.
            let _ = self.jobs.try_send(Job::Along);
        }
        taken
    }

    /// Asks the writer for what may be asked again and again: once is enough until it comes to it.
    fn tell(&self, job: Job) {
        if !self.told.swap(true, Ordering::AcqRel) && self.jobs.try_send(job).is_err() {
            // It is busy, and takes on what is new with whatever it does.
            self.told.store(false, Ordering::Release);
        }
    }

    pub(super) fn note_due(&self, state: &State, record: &Record, now: Timestamp) {
        if let Some(due) = first_due(state, record).filter(|due| now < *due) {
            self.due.fetch_min(due.micros(), Ordering::Relaxed);
        }
    }

    pub(super) fn read_state(&self) -> RwLockReadGuard<'_, State> {
        // Folding does not panic; were it to, the process would end.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rebuilds the fold from the last snapshot, where it fits, and the records after it; tells how
/// many records the snapshot spared. What a stream has beyond this broker's copy is folded while it is taken on.
fn fold(engine: &LogEngine, head: &checkpoint::Head) -> Result<(State, u64), BrokerError> {
    let snapshot = engine.cached(SNAPSHOT)?;
    let snapshot = snapshot.and_then(|bytes| State::from_snapshot(&bytes).ok());
    // A snapshot beyond the log, or beyond what was signed, cannot be checked: fold from the start.
    let signed = head.signed_size();
    let mut state = snapshot
        .filter(|state| state.size() <= engine.size() && Some(state.size()) <= signed)
        .unwrap_or_default();
    let spared = state.size();
    loop {
        let is_all = engine.take_some()?;
        fold_up(engine, head, &mut state)?;
        if is_all {
            break;
        }
    }
    // A server that was asked may have been behind.
    if let (Some(stream), Some(signed)) = (engine.stream(), signed) {
        stream.reach(signed)?;
        fold_up(engine, head, &mut state)?;
    }
    if state.size() == signed.unwrap_or(0) {
        head.check_root(state.size(), || state.root())?;
    }
    Ok((state, spared))
}

/// Folds what is there.
fn fold_up(
    engine: &LogEngine,
    head: &checkpoint::Head,
    state: &mut State,
) -> Result<(), BrokerError> {
    let signed = head.signed_size().unwrap_or(0);
    let apply = |state: &mut State, record: &Record| {
        state.apply(record);
        if state.size() == signed {
            head.check_root(signed, || state.root())?;
        }
        Ok::<_, BrokerError>(())
    };
    while state.size() < engine.size() {
        let from = state.size();
        let opened = engine.opened(from, READ);
        for record in &opened {
            apply(state, record)?;
        }
        let unread = if opened.is_empty() { READ } else { 0 };
        for record in each(&engine.read(from, unread)?, Record::from_bytes) {
            let position = state.size();
            let record = record.map_err(|error| BrokerError::Record { position, error })?;
            apply(state, &record)?;
        }
    }
    Ok(())
}
