//! A node's submissions: read, verified, proposed to the log, and answered in their order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use quinn::{RecvStream, SendStream};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::Shared;
use super::commit::Answer;
use super::error::BrokerError;
use super::inbound::{End, parse, unexpected};
use crate::bulletin::{BulletinId, Precedence, Refused, Sealed, Submission, VerifiedBursts, open};
use crate::clock::Timestamp;
use crate::ledger::{LedgerId, Promise, PromiseItem, Proposal, SignedPromise};
use crate::partner::PartnerId;
use crate::proof::Digest;
use crate::session::{
    Frame, MAX_NOTICES, MAX_OUTSTANDING, PublishWindow, Refusal, Rejected, encode,
};
use crate::transport::{FrameReader, write_frame};

/// A notice about a bulletin that is not in the log.
const NOTHING: Refused = Refused::Notice("it refers to no accepted bulletin");

/// Bursts a session remembers as verified.
const REMEMBERED_BURSTS: usize = 256;

/// Submissions that are read at once go to the log together, up to so many and so many bytes.
const BATCH: usize = 32;
const BATCH_BYTES: usize = 256 * 1024;

/// A submission on its way, with its number on the stream.
struct Open {
    sequence: u64,
    bulletin: BulletinId,
    header: Digest,
    /// It is a notice: what it is about is not delivered any more.
    narrows: bool,
    /// Of those that are not recorded yet.
    room: Option<OwnedSemaphorePermit>,
}

/// Submissions that go to the log together.
#[derive(Default)]
struct Gathered {
    open: Vec<Open>,
    proposals: Vec<Proposal>,
}

/// What is to be said on the publish stream, in the order of the submissions.
enum Due {
    Rejected(Rejected),
    Open(Vec<Open>, oneshot::Receiver<Vec<Answer>>),
}

/// The publish stream, from its first frame on: one task reads and verifies, this one promises.
pub(super) async fn run(
    shared: Arc<Shared>,
    partner: PartnerId,
    send: SendStream,
    reader: FrameReader<RecvStream>,
    first: Frame,
) -> Result<(), End> {
    // At most so many are ever due, so this channel never makes the reader wait.
    let (due, waiting) = mpsc::channel(MAX_OUTSTANDING + MAX_NOTICES);
    let window = Arc::new(Mutex::new(PublishWindow::new()));
    let submissions = Submissions {
        shared: Arc::clone(&shared),
        partner: partner.clone(),
        bursts: VerifiedBursts::new(REMEMBERED_BURSTS),
        window: Arc::clone(&window),
        room: Arc::new(Semaphore::new(MAX_OUTSTANDING)),
        due,
    };
    let answers = promise(shared, partner, send, waiting, window);
    tokio::try_join!(submissions.run(reader, first), answers)?;
    Ok(())
}

struct Submissions {
    shared: Arc<Shared>,
    partner: PartnerId,
    bursts: VerifiedBursts,
    window: Arc<Mutex<PublishWindow>>,
    /// What is not recorded yet is held whole: no more of it than without notices.
    room: Arc<Semaphore>,
    due: mpsc::Sender<Due>,
}

impl Submissions {
    async fn run(mut self, mut reader: FrameReader<RecvStream>, first: Frame) -> Result<(), End> {
        let mut next = Some(first);
        loop {
            let mut batch = Gathered::default();
            let mut bytes = 0;
            while let Some(frame) = next.take() {
                self.take(frame, &mut batch).await?;
                // Whatever has come meanwhile goes along.
                if batch.proposals.len() < BATCH
                    && bytes < BATCH_BYTES
                    && let Some(frame) = reader.take()?
                {
                    bytes += frame.len();
                    next = Some(parse(frame)?);
                }
            }
            self.propose(&mut batch).await?;
            // Lanes and others have their turn: verifying is long work for one task.
            tokio::task::yield_now().await;
            let Some(frame) = self.next(&mut reader).await? else {
                return Ok(());
            };
            next = Some(frame);
        }
    }

    /// The next frame, in step with the lanes; one that is urgent waits for nobody.
    async fn next(&self, reader: &mut FrameReader<RecvStream>) -> Result<Option<Frame>, End> {
        let mut in_step = std::pin::pin!(self.shared.pace.wait());
        let (bytes, waited) = tokio::select! {
            biased;
            () = &mut in_step => (reader.next().await?, true),
            bytes = reader.next() => (bytes?, false),
        };
        let Some(frame) = bytes.map(parse).transpose()? else {
            return Ok(None);
        };
        if !waited && !is_urgent(&frame) {
            in_step.await;
        }
        Ok(Some(frame))
    }

    /// Takes a submission into the batch; one that is rejected is answered in its place.
    async fn take(&mut self, frame: Frame, batch: &mut Gathered) -> Result<(), End> {
        let Frame::Submit { sequence, bulletin } = frame else {
            return Err(unexpected("publish"));
        };
        let notice = bulletin.as_ref().is_ok_and(|sealed| sealed.says_notice());
        lock(&self.window).handle_submit(sequence, notice)?;
        if self.room.available_permits() == 0 {
            self.propose(batch).await?;
        }
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| BrokerError::Closed)?;
        match self.submission(sequence, bulletin).await {
            Ok((mut open, proposal)) => {
                open.room = Some(room);
                batch.open.push(open);
                batch.proposals.push(proposal);
                Ok(())
            }
            Err(rejected) => {
                self.shared.metrics.refused(&rejected.refusal.code);
                self.propose(batch).await?;
                self.say(Due::Rejected(rejected)).await
            }
        }
    }

    /// Proposes what the batch holds, and leaves it empty.
    async fn propose(&self, batch: &mut Gathered) -> Result<(), End> {
        let Gathered { open, proposals } = std::mem::take(batch);
        if proposals.is_empty() {
            return Ok(());
        }
        let answers = self.shared.log.submit(proposals).await?;
        self.say(Due::Open(open, answers)).await
    }

    async fn say(&self, due: Due) -> Result<(), End> {
        Ok(self.due.send(due).await.map_err(|_| BrokerError::Closed)?)
    }

    async fn submission(
        &mut self,
        sequence: u64,
        bulletin: Result<Box<Sealed>, Refused>,
    ) -> Result<(Open, Proposal), Rejected> {
        let refuse = |error: Refused| Rejected {
            sequence,
            refusal: Refusal::new(error.code(), error.to_string()),
            retry: false,
        };
        let sealed = *bulletin.map_err(refuse)?;
        let now = self.shared.clock.now();
        self.shared
            .quotas
            .take(&self.partner, now)
            .map_err(|wait| Rejected {
                sequence,
                refusal: Refusal::new(
                    "quota",
                    format!("the quota of this partner is used up; try again in {wait:?}"),
                ),
                retry: true,
            })?;
        let submission = {
            let state = self.shared.log.state();
            open(sealed, now, state.registry(), &mut self.bursts)
        };
        let submission = submission
            .and_then(|verified| verified.into_submission(&self.partner, now))
            .map_err(refuse)?;
        let open = Open {
            sequence,
            bulletin: submission.bulletin().header().id,
            header: submission.bulletin().header_hash(),
            narrows: submission.bulletin().header().notice,
            room: None,
        };
        // It is decided upon once: what may not be shared yet waits at its originator.
        let valid_from = submission.labels().valid_from;
        if valid_from > now.max(self.shared.log.state().time()) {
            let refusal = Refusal::new(
                "not_yet_valid",
                format!("it may be shared from {valid_from} on, and it is {now} here"),
            );
            return Err(Rejected {
                sequence,
                refusal,
                retry: true,
            });
        }
        // What it refers to may be on its way in an earlier submission of this stream.
        let waits = lock(&self.window).outstanding() > 1;
        let missing = |error: Refused| Rejected {
            retry: waits && error == NOTHING,
            ..refuse(error)
        };
        let proposal = self.proposal(submission).await.map_err(missing)?;
        Ok((open, proposal))
    }
}

fn is_urgent(frame: &Frame) -> bool {
    let Frame::Submit { bulletin, .. } = frame else {
        return false;
    };
    let sealed = bulletin.as_ref().ok();
    sealed.is_some_and(|sealed| sealed.precedence >= Precedence::Immediate)
}

impl Submissions {
    /// A notice is decided upon together with the bulletin it refers to, and what passes bulletins on
    /// together with those.
    async fn proposal(&self, submission: Submission) -> Result<Proposal, Refused> {
        let header = submission.bulletin().header();
        let ancestors: Vec<BulletinId> = header.passes_on().collect();
        if !ancestors.is_empty() {
            let mut about = Vec::with_capacity(ancestors.len());
            for id in ancestors {
                // One that is missing is named by the decision.
                about.extend(self.shared.log.accepted(&id).await.ok().flatten());
            }
            let bulletin = Box::new(submission);
            return Ok(Proposal::PassedOn { bulletin, about });
        }
        if !header.notice {
            return Ok(Proposal::Bulletin(Box::new(submission)));
        }
        let reference = header.references.first().ok_or(NOTHING)?.bulletin;
        let about = self.shared.log.accepted(&reference).await;
        match about.map_err(|_| NOTHING)? {
            Some(about) => Ok(Proposal::Notice {
                notice: Box::new(submission),
                about,
            }),
            None => Err(NOTHING),
        }
    }
}

/// Notices that are recorded, in order, and when each is promised.
type Late = VecDeque<(Instant, Open, Answer)>;

/// Answers submissions in order; those that one group recorded share one signature. Where brokers share the log a
/// notice is promised later than what came after it: when no broker delivers any more what it is about.
async fn promise(
    shared: Arc<Shared>,
    partner: PartnerId,
    mut send: SendStream,
    mut waiting: mpsc::Receiver<Due>,
    window: Arc<Mutex<PublishWindow>>,
) -> Result<(), End> {
    let ledger = shared.log.state().ledger().ok_or(BrokerError::Closed)?;
    let (mut queue, mut late) = (VecDeque::new(), Late::new());
    let outlasted = shared.log.lease().outlasted();
    loop {
        if queue.is_empty() {
            let due = late.front().map(|(due, ..)| *due);
            tokio::select! {
                first = waiting.recv() => match first {
                    Some(first) => queue.push_back(first),
                    None => break,
                },
                () = until(due) => {}
            }
        }
        let mut batch = Batch::default();
        batch.add_late(&mut late, Instant::now());
        // The first is waited for; whatever else has come by then is answered with it.
        while let Some(due) = queue.pop_front() {
            match due {
                Due::Rejected(rejected) => {
                    batch.rejected.push(rejected);
                }
                Due::Open(open, mut answers) => {
                    let answers = if batch.items.is_empty() {
                        answers.await.map_err(|_| BrokerError::Closed)?
                    } else {
                        match answers.try_recv() {
                            Ok(answers) => answers,
                            Err(TryRecvError::Closed) => return Err(BrokerError::Closed.into()),
                            Err(TryRecvError::Empty) => {
                                queue.push_front(Due::Open(open, answers));
                                break;
                            }
                        }
                    };
                    for (mut open, answer) in open.into_iter().zip(answers) {
                        // It is recorded, or is not to be.
                        open.room = None;
                        if let (true, Some(after), Answer::Recorded { .. }) =
                            (open.narrows, outlasted, &answer)
                        {
                            late.push_back((Instant::now() + after, open, answer));
                            continue;
                        }
                        batch.add(open, answer);
                    }
                }
            }
            while let Ok(next) = waiting.try_recv() {
                queue.push_back(next);
            }
        }
        let answered = batch.answered();
        batch.write(&shared, ledger, &partner, &mut send).await?;
        lock(&window).answered(&answered);
    }
    // The node submits no more, and waits for these.
    while let Some((due, open, answer)) = late.pop_front() {
        until(Some(due)).await;
        let mut batch = Batch::default();
        batch.add(open, answer);
        batch.write(&shared, ledger, &partner, &mut send).await?;
    }
    let _ = send.finish();
    Ok(())
}

/// Waits for a moment; for ever where there is none.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[derive(Default)]
struct Batch {
    items: Vec<PromiseItem>,
    sequences: Vec<u64>,
    time: Timestamp,
    rejected: Vec<Rejected>,
}

impl Batch {
    /// Takes the notices that may be promised now.
    fn add_late(&mut self, late: &mut Late, now: Instant) {
        while let Some((_, open, answer)) = late.pop_front_if(|(due, ..)| *due <= now) {
            self.add(open, answer);
        }
    }

    /// The submissions that it answers.
    fn answered(&self) -> Vec<u64> {
        let rejected = self.rejected.iter().map(|one| one.sequence);
        self.sequences.iter().copied().chain(rejected).collect()
    }

    fn add(&mut self, open: Open, answer: Answer) {
        let Open {
            sequence,
            bulletin,
            header,
            ..
        } = open;
        let rejected = |code: &str, message: String, retry| Rejected {
            sequence,
            refusal: Refusal::new(code, message),
            retry,
        };
        match answer {
            Answer::Recorded { position, time } => {
                self.items.push(PromiseItem {
                    bulletin,
                    header,
                    position,
                });
                self.sequences.push(sequence);
                self.time = self.time.max(time);
            }
            Answer::Refused(error) => {
                // A log that is behind may come to know what the originator has seen.
                let retry = error.code() == "ahead_of_log";
                self.rejected
                    .push(rejected(error.code(), error.to_string(), retry));
            }
            Answer::Later(reason) => self.rejected.push(rejected("later", reason, true)),
            Answer::Stale => self
                .rejected
                .push(rejected("stale", "nothing new".into(), false)),
        }
    }

    async fn write(
        self,
        shared: &Shared,
        ledger: LedgerId,
        partner: &PartnerId,
        send: &mut SendStream,
    ) -> Result<(), End> {
        for rejected in self.rejected {
            write_frame(send, &encode(&Frame::Rejected(rejected))).await?;
        }
        if self.items.is_empty() {
            return Ok(());
        }
        let promise = Promise {
            ledger,
            originator: partner.clone(),
            items: self.items,
            time: self.time,
            merge_delay: shared.config.merge_delay(),
        };
        let promise =
            SignedPromise::sign(&promise, shared.log_key.as_ref()).map_err(BrokerError::from)?;
        let frame = Frame::Promise {
            promise,
            sequences: self.sequences,
        };
        Ok(write_frame(send, &encode(&frame)).await?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Held for single steps only: a panic elsewhere leaves the value whole.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
