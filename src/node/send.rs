//! The outbox out: the most urgent first, each until the broker has promised or refused it; again, where a
//! broker lost what it had promised (`loss`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, SendStream};
use tokio::time::Instant;

use super::Shared;
use super::error::NodeError;
use super::link::Session;
use crate::bulletin::{BulletinId, Header, Sealed};
use crate::ledger::SignedPromise;
use crate::proof::Digest;
use crate::session::{Frame, MAX_FRAME_BYTES, MAX_OUTSTANDING, Rejected, decode, encode};
use crate::store::{OutboxState, Outgoing, Pending};
use crate::transport::{FrameReader, write_frame};

/// After the control stream, before the lanes.
const PUBLISH_PRIORITY: i32 = 50;
/// A bulletin that the broker cannot take now is offered again after this.
const RETRY: Duration = Duration::from_secs(1);
/// A bulletin under embargo is looked at again after this at the latest.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// A sealed bulletin as the outbox keeps it.
pub(super) fn outgoing(sealed: &Sealed) -> Outgoing {
    Outgoing {
        id: sealed.id,
        precedence: sealed.precedence,
        envelope: sealed.to_bytes(),
        header: sealed.header.clone(),
        passes_on: None,
    }
}

/// Publishes the outbox until the session ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    connection: Connection,
    session: Session,
) -> Result<(), NodeError> {
    let (mut send, receive) = connection.open_bi().await?;
    let _ = send.set_priority(PUBLISH_PRIORITY);
    let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
    let mut flight = Flight {
        shared,
        session,
        last: 0,
        open: BTreeMap::new(),
        notices: HashSet::new(),
        later: HashMap::new(),
    };
    loop {
        flight.fill(&mut send).await?;
        tokio::select! {
            frame = reader.next() => {
                let bytes = frame?.ok_or(NodeError::Protocol("it ended the publish stream"))?;
                let mut answers = flight.answer(decode(bytes)?)?;
                while let Some(bytes) = reader.take()? {
                    answers.extend(flight.answer(decode(bytes)?)?);
                }
                flight.settle(answers).await?;
            }
            () = flight.shared.outbox.notified() => {}
            () = flight.due() => {}
        }
    }
}

/// What was submitted and not yet answered.
struct Flight {
    shared: Arc<Shared>,
    session: Session,
    last: u64,
    open: BTreeMap<u64, (BulletinId, Digest)>,
    /// Of these, notices that are counted apart: each may be promised late.
    notices: HashSet<u64>,
    later: HashMap<BulletinId, Instant>,
}

type Answers = Vec<(BulletinId, OutboxState)>;

impl Flight {
    /// Submits what is pending, as far as the window allows. Waits until the window is half empty,
    /// so that the outbox is not read anew for every answer.
    async fn fill(&mut self, send: &mut SendStream) -> Result<(), NodeError> {
        if self.bulletins() > MAX_OUTSTANDING / 2 {
            return Ok(());
        }
        let now = Instant::now();
        self.later.retain(|_, at| *at > now);
        let limit = MAX_OUTSTANDING + self.open.len() + self.later.len();
        let open: HashSet<BulletinId> = self.open.values().map(|(id, _)| *id).collect();
        let store = Arc::clone(&self.shared.store);
        let pending = tokio::task::spawn_blocking(move || store.pending(limit)).await;
        for one in pending.map_err(|_| NodeError::Stopping)?? {
            if self.bulletins() == MAX_OUTSTANDING {
                break;
            }
            if !open.contains(&one.id) && !self.later.contains_key(&one.id) {
                self.submit(send, &one).await?;
            }
        }
        Ok(())
    }

    /// What is open beside the notices that are counted apart.
    fn bulletins(&self) -> usize {
        self.open.len() - self.notices.len()
    }

    async fn submit(&mut self, send: &mut SendStream, one: &Pending) -> Result<(), NodeError> {
        let sealed = match Sealed::from_bytes(&one.envelope) {
            Ok(sealed) => sealed,
            Err(error) => {
                let (code, message) = (error.code().to_owned(), error.to_string());
                return self
                    .settle(vec![(one.id, OutboxState::Rejected { code, message })])
                    .await;
            }
        };
        let wait = self.embargo(&sealed);
        if let Some(wait) = wait.or_else(|| self.precedes(&sealed).then_some(RETRY)) {
            self.later.insert(one.id, Instant::now() + wait);
            return Ok(());
        }
        let apart = self.session.notices > 0 && sealed.says_notice();
        if apart && self.notices.len() == self.session.notices {
            // It goes when one of them is promised.
            return Ok(());
        }
        self.last += 1;
        if apart {
            self.notices.insert(self.last);
        }
        self.open.insert(self.last, (one.id, sealed.header_hash()));
        let frame = Frame::Submit {
            sequence: self.last,
            bulletin: Ok(Box::new(sealed)),
        };
        Ok(write_frame(send, &encode(&frame)).await?)
    }

    /// How long a bulletin must wait that is not to be shared yet: what the broker decides upon too
    /// early would go to nobody, for good.
    fn embargo(&self, sealed: &Sealed) -> Option<Duration> {
        let header = Header::from_bytes(&sealed.header).ok()?;
        let wait = header.valid_from.since(self.shared.clock.now());
        (!wait.is_zero()).then(|| wait.min(LONGEST_WAIT))
    }

    /// Whether it is a notice about a bulletin that still waits here: the broker would refuse it, and
    /// take the bulletin afterwards.
    fn precedes(&self, notice: &Sealed) -> bool {
        let header = Header::from_bytes(&notice.header);
        let Some(header) = header.ok().filter(|header| header.notice) else {
            return false;
        };
        let mut about = header.references.iter().map(|one| one.bulletin);
        about.any(|id| {
            let status = self.shared.store.outbox_status(&id);
            let status = status.ok().flatten();
            status.is_some_and(|one| one.state == OutboxState::Pending)
        })
    }

    fn answer(&mut self, frame: Frame) -> Result<Answers, NodeError> {
        match frame {
            Frame::Promise { promise, sequences } => self.promised(&promise, &sequences),
            Frame::Rejected(rejected) => self.rejected(rejected),
            Frame::Refuse(refusal) => Err(NodeError::Refused(refusal)),
            _ => Err(NodeError::Protocol(
                "a frame does not belong on the publish stream",
            )),
        }
    }

    /// A promise counts when the log's key signed it, and it is about what was submitted.
    fn promised(
        &mut self,
        signed: &SignedPromise,
        sequences: &[u64],
    ) -> Result<Answers, NodeError> {
        let promise = signed.open(&self.session.log_key)?;
        let ours = promise.ledger == self.session.ledger
            && promise.originator == *self.shared.config.spiffe_id.partner()
            && promise.items.len() == sequences.len();
        if !ours {
            return Err(NodeError::Protocol(
                "its promise is not about what was submitted",
            ));
        }
        let mut answers = Vec::with_capacity(sequences.len());
        for (item, sequence) in promise.items.iter().zip(sequences) {
            let (id, header) = self.close(*sequence)?;
            if item.bulletin != id || item.header != header {
                return Err(NodeError::Protocol("its promise is about another bulletin"));
            }
            let (position, time) = (item.position, promise.time);
            answers.push((id, OutboxState::Promised { position, time }));
        }
        Ok(answers)
    }

    fn rejected(&mut self, rejected: Rejected) -> Result<Answers, NodeError> {
        let (id, _) = self.close(rejected.sequence)?;
        let refusal = rejected.refusal;
        if rejected.retry {
            tracing::warn!(%id, %refusal, "the broker cannot take a bulletin now");
            self.later.insert(id, Instant::now() + RETRY);
            return Ok(Vec::new());
        }
        tracing::error!(%id, %refusal, "the broker refused a bulletin");
        let (code, message) = (refusal.code, refusal.message);
        Ok(vec![(id, OutboxState::Rejected { code, message })])
    }

    fn close(&mut self, sequence: u64) -> Result<(BulletinId, Digest), NodeError> {
        let open = self.open.remove(&sequence);
        self.notices.remove(&sequence);
        open.ok_or(NodeError::Protocol("it answered what was not submitted"))
    }

    async fn settle(&self, answers: Answers) -> Result<(), NodeError> {
        if answers.is_empty() {
            return Ok(());
        }
        let store = Arc::clone(&self.shared.store);
        let keep_from = self.session.keep_from;
        let settled = tokio::task::spawn_blocking(move || store.settle(&answers, keep_from)).await;
        settled.map_err(|_| NodeError::Stopping)??;
        self.shared.settled.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Waits until something that was put off is due.
    async fn due(&self) {
        match self.later.values().min() {
            Some(at) => tokio::time::sleep_until(*at).await,
            None => std::future::pending().await,
        }
    }
}
