//! The thread that writes the log: gathers what waits, sequences it, appends it with one sync, folds it, and only
//! then answers.
//!
//! Where brokers share the log it folds what others appended, too, before it decides anything. Where another
//! was first, it folds that and decides again.

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::commit::{Answer, Inner, Job, READ};
use super::metrics::Metrics;
use super::sessions::Sessions;
use super::shelf::Shelved;
use crate::bulletin::Sealed;
use crate::clock::{Clock, Entropy, Timestamp, random};
use crate::ledger::{
    Durable, Engine, EngineError, Fact, Likely, MAX_GROUP_RECORDS, Outcome, Proposal, Record,
    Sequenced, sequence_within,
};

/// The longest pause of a writer whom others were ahead of, again and again.
const MOST_PATIENCE: Duration = Duration::from_millis(8);
/// Whoever appended while others do leaves them so much time to go next: otherwise it is ready before they have
/// heard of it, and goes first again and again (`benches/alliance.rs`).
const YIELD: Duration = Duration::from_millis(4);
/// After so many groups that came too late, one after the other, whoever waits is told.
const MOST_TRIES: u32 = 500;
/// Others append as long as something of theirs came within this time.
const OTHERS: Duration = Duration::from_secs(1);

/// The thread that writes.
pub(super) struct Writer {
    pub(super) log: Weak<Inner>,
    pub(super) waiting: mpsc::Receiver<Job>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) metrics: Arc<Metrics>,
    /// When something of another broker was folded last.
    pub(super) others: Cell<Option<Instant>>,
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
    /// So many of the proposals are the next group: their contents are on their way.
    prepared: Option<usize>,
    /// Something was taken after others' records were folded last.
    again: bool,
    /// The end of the log is to be confirmed, and who waits for it.
    confirms: bool,
    confirming: Vec<Confirming>,
}

/// Who waits for the end of the log to be confirmed, and for so many of the proposals, which were there first; for all
/// that is gathered with it, where it was just taken.
struct Confirming {
    behind: Option<usize>,
    answer: oneshot::Sender<Result<(), String>>,
}

impl Work {
    fn take(&mut self, job: Job, told: &AtomicBool) {
        self.again = true;
        match job {
            Job::Propose { proposals, answer } => {
                self.waiting.push_back(Waiting {
                    proposed: proposals.len(),
                    answers: Vec::with_capacity(proposals.len()),
                    answer,
                });
                self.proposals.extend(proposals);
            }
            // It is taken with whatever is written.
            Job::Along => {}
            // What comes from here on is asked for anew.
            Job::News => told.store(false, Ordering::Release),
            Job::Confirm(who) => {
                if who.is_none() {
                    told.store(false, Ordering::Release);
                }
                self.confirms = true;
                self.confirming.extend(who.map(|answer| Confirming {
                    behind: None,
                    answer,
                }));
            }
        }
    }

    /// All that goes together was taken: who waits, waits for no more.
    fn gathered(&mut self) {
        for one in &mut self.confirming {
            one.behind.get_or_insert(self.proposals.len());
        }
    }

    /// Takes away what is not in the next group.
    fn hold_back(&mut self) -> VecDeque<Proposal> {
        match self.prepared.take() {
            Some(count) if count < self.proposals.len() => self.proposals.split_off(count),
            _ => VecDeque::new(),
        }
    }

    /// The end of the log was confirmed with a group of so many of the proposals: who waited for no more of them is told
    /// when the group is folded.
    fn confirmed(&mut self, taken: usize) -> Vec<Confirming> {
        let all = std::mem::take(&mut self.confirming);
        let (told, mut left): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|one| one.behind <= Some(taken));
        for one in &mut left {
            one.behind = one.behind.map(|behind| behind - taken);
        }
        self.confirms = !left.is_empty();
        self.confirming = left;
        told
    }

    /// Tells those who wait for it that the end of the log cannot be confirmed.
    fn unconfirmed(&mut self, reason: &str) {
        self.confirms = false;
        for one in self.confirming.drain(..) {
            let _ = one.answer.send(Err(reason.to_owned()));
        }
    }
}

/// A record that is durable, as it is made known.
struct Known<'a> {
    record: &'a Arc<Record>,
    /// The bulletin it accepted, where it was accepted here.
    sealed: Option<&'a Arc<Sealed>>,
}

impl Writer {
    /// Writes until the log is closed.
    pub(super) fn run(mut self) {
        // What was done is gone from it, and its room is used again.
        let mut work = Work::default();
        while let Some(first) = self.waiting.blocking_recv() {
            let Some(log) = self.log.upgrade() else {
                return;
            };
            work.take(first, &log.told);
            // Whatever came while the last group was synced goes into this one.
            self.gather(&log, &mut work);
            if let Err(error) = self.write(&log, &mut work) {
                // What reached the disk is unknown: nobody is answered, and the program
                // starts again from what is there.
                tracing::error!(%error, "the log cannot be written; stopping");
                log.failure.send_replace(Some(error.to_string()));
                log.forget_along();
                return;
            }
        }
    }

    fn gather(&mut self, log: &Inner, work: &mut Work) {
        while work.proposals.len() < MAX_GROUP_RECORDS
            && let Ok(job) = self.waiting.try_recv()
        {
            work.take(job, &log.told);
        }
        for job in log.take_along() {
            work.take(job, &log.told);
        }
        work.gathered();
    }

    /// Has the contents of the next group stored while this one is folded and the next is decided. Where others append, too,
    /// it is another group as often as not.
    fn prepare(&mut self, log: &Inner, work: &mut Work, durable: &Durable) {
        let records = durable.records();
        if !log.engine.is_shared() || self.is_among_others() || records.is_empty() {
            return;
        }
        self.gather(log, work);
        let bytes: usize = records.iter().map(|one| one.stored.record.len()).sum();
        let (first, each) = (
            durable.first() + records.len() as u64,
            bytes / records.len(),
        );
        let likely = {
            let (state, most) = (log.read_state(), log.engine.group_bytes());
            Likely::of(work.proposals.iter(), &state, first, each, most)
        };
        let is_prepared = log.engine.prepare(likely.bodies);
        work.prepared = is_prepared.then_some(likely.proposals);
    }

    /// Whether others append.
    fn is_among_others(&self) -> bool {
        self.others.get().is_some_and(|at| at.elapsed() < OTHERS)
    }

    /// Does what is to be done. An error is final.
    fn write(&mut self, log: &Inner, work: &mut Work) -> Result<(), EngineError> {
        let mut tries = 0;
        loop {
            let mut yields = false;
            work.again = false;
            let all = work.proposals.len();
            let mut rest = work.hold_back();
            let before = work.proposals.len();
            let turn = if before > 0 {
                log.engine.take_turn(tries)
            } else {
                Ok(())
            };
            let done = turn.and_then(|()| self.take_on(log)).and_then(|()| {
                if before == 0 && !work.confirms {
                    return Ok(None);
                }
                self.commit(log, &mut work.proposals).map(Some)
            });
            let taken = before - work.proposals.len();
            work.proposals.append(&mut rest);
            match done {
                Ok(None) => return Ok(()),
                Ok(Some(durable)) => {
                    tries = 0;
                    yields = true;
                    let confirmed = work.confirmed(taken);
                    self.prepare(log, work, &durable);
                    self.fold(log, &durable);
                    self.answer(&durable, &mut work.waiting);
                    for one in confirmed {
                        let _ = one.answer.send(Ok(()));
                    }
                }
                // Somebody was ahead of this broker: what was decided is decided again.
                Err(EngineError::Conflict { .. })
                    if log.engine.is_shared() && tries < MOST_TRIES =>
                {
                    self.metrics.conflicts.inc();
                    self.give_way(&mut tries);
                    continue;
                }
                Err(EngineError::Full(reason)) => {
                    tracing::error!(%reason, "nothing can be recorded until there is room");
                    self.metrics.disk_full.inc();
                    tries = 0;
                    later(work, if taken == 0 { before } else { taken }, &reason);
                }
                Err(EngineError::Unavailable(reason)) => {
                    tracing::warn!(%reason, "nothing can be recorded now");
                    later(work, all, &reason);
                }
                Err(error @ EngineError::Conflict { .. }) if log.engine.is_shared() => {
                    tracing::warn!(%error, "others were always first");
                    later(work, all, &error.to_string());
                }
                Err(error) => return Err(error),
            }
            if yields && self.is_among_others() {
                thread::sleep(YIELD);
            }
            if work.proposals.is_empty() && !work.again {
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
            let mut records = log.engine.opened(from, READ);
            let unread = if records.is_empty() { READ } else { 0 };
            for (position, bytes) in (from..).zip(log.engine.read(from, unread)?) {
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
            self.others.set(Some(Instant::now()));
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
        Ok(durable)
    }

    /// Folds a group that is durable.
    fn fold(&self, log: &Inner, durable: &Durable) {
        let known = durable.records().iter().map(|one: &Sequenced| Known {
            record: &one.record,
            sealed: one.sealed.as_ref(),
        });
        self.publish(log, durable.first(), durable.time(), known.collect());
    }

    /// Folds durable records and wakes whom they concern.
    fn publish(&self, log: &Inner, first: u64, time: Timestamp, known: Vec<Known<'_>>) {
        let mut governs = false;
        let mut lanes = HashSet::new();
        for (position, one) in (first..).zip(&known) {
            match &one.record.fact {
                Fact::Accepted(accepted) => {
                    self.metrics.accepted.inc();
                    if let Some(sealed) = one.sealed {
                        let record = Arc::clone(one.record);
                        let shelved = Shelved::new(record, position, Arc::clone(sealed));
                        log.shelf.put_recent(position, shelved);
                    }
                    let precedence = accepted.header.precedence;
                    let releases = one.record.releases.iter();
                    lanes.extend(releases.map(|one| (&one.release.recipient, precedence)));
                }
                fact if fact.lets_go().is_some() => {
                    let state = log.state.read().unwrap_or_else(PoisonError::into_inner);
                    let precedence = state.lane_of(fact);
                    for release in &one.record.releases {
                        let recipient = &release.release.recipient;
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
                    log.shelf.remove(bulletin.position);
                }
            }
        }
        log.size.send_replace(size);
        for (recipient, precedence) in lanes {
            self.sessions.wake(recipient, precedence);
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
    work.unconfirmed(reason);
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

/// Whether after a record contents may have to go at once.
fn may_erase(record: &Record) -> bool {
    match &record.fact {
        Fact::Accepted(accepted) => accepted.header.notice,
        fact => matches!(fact, Fact::ErasureOrdered(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(work: &mut Work) -> oneshot::Receiver<Result<(), String>> {
        let (answer, told) = oneshot::channel();
        work.take(Job::Confirm(Some(answer)), &AtomicBool::new(true));
        told
    }

    fn propose(work: &mut Work, count: usize) {
        let (answer, _) = oneshot::channel();
        let proposals = vec![Proposal::Fact(Fact::Tick); count];
        let job = Job::Propose { proposals, answer };
        work.take(job, &AtomicBool::new(true));
    }

    #[test]
    fn who_waits_for_what_was_gathered_is_told_when_all_of_it_is_recorded() {
        let mut work = Work::default();
        propose(&mut work, 2);
        let mut first = waits(&mut work);
        propose(&mut work, 1);
        work.gathered();
        propose(&mut work, 4);
        let mut second = waits(&mut work);
        work.gathered();
        // Two of seven are written, and none are where another was first.
        for (taken, told) in [(2, 0), (0, 0), (1, 1), (3, 0), (1, 1)] {
            assert!(work.confirms);
            work.proposals.drain(..taken);
            let confirmed = work.confirmed(taken);
            assert_eq!(confirmed.len(), told);
            for one in confirmed {
                one.answer.send(Ok(())).expect("it waits");
            }
        }
        assert!(!work.confirms && work.proposals.is_empty());
        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert_eq!(second.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn what_is_not_in_the_next_group_is_held_back_once() {
        let mut work = Work::default();
        propose(&mut work, 5);
        for (prepared, held) in [(None, 0), (Some(2), 3), (Some(5), 0), (Some(9), 0)] {
            work.prepared = prepared;
            let mut rest = work.hold_back();
            assert_eq!((rest.len(), work.prepared), (held, None));
            work.proposals.append(&mut rest);
            assert_eq!(work.proposals.len(), 5);
        }
    }
}
