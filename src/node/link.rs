//! The link to the broker: connect, greet, serve, and again with growing patience.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::brokers::{self, Brokers, Connected};
use super::config::Config;
use super::error::NodeError;
use super::evidence;
use super::receive::{self, Acks};
use super::send;
use super::{Act, Asked, LinkStatus, Outward, Shared, loss, overdue, proofs, witness};
use crate::bulletin::Precedence;
use crate::ledger::{Genesis, LaneAck, LedgerId, SignedAck};
use crate::proof::{Digest, NoteKey, PublicKey};
use crate::session::{
    AskingItem, Frame, HELLO_TIMEOUT, Hello, Limits, MAX_FRAME_BYTES, MAX_NOTICES,
    PROTOCOL_VERSION, RecipientState, Refusal, accept, decode, encode,
};
use crate::store::{NodeStore, StoreError};
use crate::transport::{FrameReader, write_frame};

/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A session that lived this long was a good one: the next wait is the first again.
const GOOD_SESSION: Duration = Duration::from_secs(5);
/// Where the ledger's id is kept.
const LEDGER: &str = "ledger";
/// Where the key of its log is kept.
pub(super) const LOG_KEY: &str = "log_key";
/// The control stream goes before all others.
const CONTROL_PRIORITY: i32 = 100;
/// The wait before another broker is tried, where there is one that has not failed.
const NEXT_WAIT: Duration = Duration::from_millis(20);

/// The node's side of the connection.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    acts: mpsc::Receiver<Outward>,
    brokers: Brokers,
}

/// What a welcomed session knows of its ledger.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) ledger: LedgerId,
    /// The log's key: its name is the origin of its checkpoints.
    pub(super) log: NoteKey,
    /// The same: it signs promises, too.
    pub(super) log_key: PublicKey,
    /// What is promised from this position on is kept until it is proved; `None`: nothing is.
    pub(super) keep_from: Option<u64>,
    /// Notices that may wait for their promise beside the bulletins; 0: among them.
    pub(super) notices: usize,
}

impl Link {
    /// Prepares to connect; a certificate or root that cannot be read is an error at once.
    pub(super) fn open(
        shared: Arc<Shared>,
        acts: mpsc::Receiver<Outward>,
    ) -> Result<Self, NodeError> {
        brokers::tls(&shared, &shared.config.broker_id)?;
        Ok(Self {
            brokers: Brokers::of(&shared.config),
            shared,
            acts,
        })
    }

    /// Connects until the node stops.
    pub(super) async fn run(mut self) {
        let mut backoff = patience();
        let mut tries = 0;
        let stop = self.shared.stop.clone();
        loop {
            let started = tokio::time::Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.session() => ended,
            };
            if let Err(NodeError::Store(StoreError::Poisoned)) = ended {
                tracing::error!("the store cannot be written any more; the node stops");
                return stop.cancel();
            }
            let reason = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
            tracing::warn!(%reason, "not connected to the broker");
            self.shared.link.send_replace(LinkStatus::Down(reason));
            if started.elapsed() > GOOD_SESSION {
                backoff = patience();
                tries = 0;
            }
            tries += 1;
            let wait = if tries < self.brokers.count() {
                NEXT_WAIT
            } else {
                backoff.next().unwrap_or(LONGEST_WAIT)
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One session, from connecting until it ends.
    async fn session(&mut self) -> Result<(), NodeError> {
        let shared = Arc::clone(&self.shared);
        let connected = self.brokers.connect(&shared).await?;
        let began = tokio::time::Instant::now();
        let ended = self.session_with(&shared, &connected).await;
        let was_good = began.elapsed() > GOOD_SESSION;
        self.brokers.left(&connected, was_good);
        let Connected {
            endpoint,
            connection,
            ..
        } = connected;
        connection.close(0u8.into(), b"the node ends the session");
        endpoint.wait_idle().await;
        ended
    }

    async fn session_with(
        &mut self,
        shared: &Arc<Shared>,
        connected: &Connected,
    ) -> Result<(), NodeError> {
        let connection = &connected.connection;
        let greeted = tokio::time::timeout(HELLO_TIMEOUT, greet(shared, connection)).await;
        let greeted =
            greeted.map_err(|_| NodeError::Gone("the broker did not greet in time".into()))??;
        tracing::info!(broker = %connected.id, "connected");
        self.brokers.served(connected);
        shared
            .link
            .send_replace(LinkStatus::Up(connected.id.clone()));
        let ended = self.serve(greeted, connection).await;
        // The broker's own words say more than the stream that broke under them.
        match connection.close_reason() {
            Some(reason @ ConnectionError::ApplicationClosed(_)) => Err(reason.into()),
            _ => ended,
        }
    }

    async fn serve(&mut self, greeted: Greeted, connection: &Connection) -> Result<(), NodeError> {
        let Greeted {
            session,
            send,
            reader,
        } = greeted;
        let shared = &self.shared;
        let (acks, acked) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(receive::run(
            Arc::clone(shared),
            connection.clone(),
            Acks {
                session: session.clone(),
                send: acks,
            },
        ));
        let log = session.log.clone();
        let proving = proofs::run(Arc::clone(shared), connection.clone(), session.clone());
        tasks.spawn(proving);
        tasks.spawn(send::run(Arc::clone(shared), connection.clone(), session));
        let control = Control {
            shared: Arc::clone(shared),
            log,
            acts: &mut self.acts,
            acked,
        };
        tokio::select! {
            ended = control.run(send, reader) => ended,
            ended = tasks.join_next() => match ended {
                Some(Ok(result)) => result,
                _ => Err(NodeError::Gone("a task of the session failed".into())),
            },
            closed = connection.closed() => Err(closed.into()),
        }
    }
}

fn patience() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// A session that was greeted: the control stream, and what is known of the ledger.
struct Greeted {
    session: Session,
    send: SendStream,
    reader: FrameReader<RecvStream>,
}

async fn greet(shared: &Arc<Shared>, connection: &Connection) -> Result<Greeted, NodeError> {
    let (mut send, receive) = connection.open_bi().await?;
    let _ = send.set_priority(CONTROL_PRIORITY);
    let mut reader = FrameReader::new(receive, MAX_FRAME_BYTES);
    let hello = Frame::Hello(Hello {
        versions: vec![PROTOCOL_VERSION],
        limits: Limits::OURS,
        agent: concat!("entente ", env!("CARGO_PKG_VERSION")).to_owned(),
        time: shared.clock.now(),
        resume: held(shared)?,
        ledger: known_ledger(shared)?,
        witness: shared.witness.keys().to_vec(),
        checkpoint: known_checkpoint(shared)?,
    });
    write_frame(&mut send, &encode(&hello)).await?;
    let answer = reader
        .next()
        .await?
        .ok_or(NodeError::Protocol("it hung up without a word"))?;
    let welcome = match decode(answer)? {
        Frame::Welcome(welcome) => welcome,
        Frame::Refuse(refusal) => return Err(NodeError::Refused(refusal)),
        _ => return Err(NodeError::Protocol("its first frame is no welcome")),
    };
    accept(&welcome, shared.clock.now()).map_err(NodeError::Unserved)?;
    let genesis = Genesis::from_bytes(&welcome.genesis)?;
    if genesis.ledger_id() != welcome.ledger {
        return Err(NodeError::Protocol("its genesis is not its ledger's"));
    }
    if let Some(known) = known_ledger(shared)?
        && known != welcome.ledger
    {
        let (found, known) = (welcome.ledger.to_string(), known.to_string());
        return Err(NodeError::OtherLedger { found, known });
    }
    shared.store.put(LEDGER, welcome.ledger.0.as_bytes())?;
    let unusable = NodeError::Protocol("the key of its log cannot be used");
    let Ok(log) = genesis.log_key.parse::<NoteKey>() else {
        return Err(unusable);
    };
    shared.store.put(LOG_KEY, log.to_string().as_bytes())?;
    witness::compare(shared, &log, &welcome.checkpoint)?;
    overdue::expect_within(shared, welcome.merge_delay);
    let keep_from = loss::look(shared, &log, &welcome)?;
    let session = Session {
        ledger: welcome.ledger,
        log_key: *log.signs_notes().ok_or(unusable)?,
        log,
        keep_from,
        notices: welcome.limits.notices.min(MAX_NOTICES),
    };
    Ok(Greeted {
        session,
        send,
        reader,
    })
}

/// The verifier key of the log that was met; empty before.
pub(super) fn known_log_key(shared: &Shared) -> Result<String, StoreError> {
    let key = shared.store.value(LOG_KEY)?;
    let key = key.and_then(|bytes| String::from_utf8(bytes.into()).ok());
    Ok(key.unwrap_or_default())
}

/// The checkpoint that this node's witness cosigned last, as the log signed it.
fn known_checkpoint(shared: &Shared) -> Result<String, NodeError> {
    let Ok(key) = known_log_key(shared)?.parse::<NoteKey>() else {
        return Ok(String::new());
    };
    Ok(shared.store.cosigned(key.name())?.unwrap_or_default())
}

/// How far each lane is held here.
pub(super) fn held(shared: &Shared) -> Result<Vec<LaneAck>, NodeError> {
    let mut held = Vec::new();
    for precedence in Precedence::ALL {
        held.extend(shared.store.lane(*precedence)?);
    }
    Ok(held)
}

/// The ledger of the configuration, or else the one that was met first.
pub(super) fn known_ledger(shared: &Shared) -> Result<Option<LedgerId>, NodeError> {
    ledger_of(&shared.config, &shared.store)
}

/// As [`known_ledger`], before the node runs.
pub(super) fn ledger_of(config: &Config, store: &NodeStore) -> Result<Option<LedgerId>, NodeError> {
    if let Some(configured) = config.ledger {
        return Ok(Some(LedgerId(configured)));
    }
    let digest = store
        .value(LEDGER)?
        .map(|bytes| Digest::try_from(bytes.as_ref()));
    let damaged = |_| NodeError::Store(StoreError::Damaged("ledger id"));
    Ok(digest.transpose().map_err(damaged)?.map(LedgerId))
}

/// The control stream after the greeting.
struct Control<'a> {
    shared: Arc<Shared>,
    /// The log's key.
    log: NoteKey,
    acts: &'a mut mpsc::Receiver<Outward>,
    acked: mpsc::Receiver<SignedAck>,
}

/// Who waits for which answer of the broker.
#[derive(Default)]
struct Waiting {
    acts: HashMap<u64, oneshot::Sender<Result<u64, Refusal>>>,
    questions: HashMap<u64, oneshot::Sender<Result<Vec<RecipientState>, Refusal>>>,
}

impl Waiting {
    /// Notes who waits, and gives the frame to be sent.
    fn add(&mut self, sequence: u64, outward: Outward) -> Frame {
        match outward {
            Outward::Act(act) => {
                let Act { statement, answer } = *act;
                self.acts.insert(sequence, answer);
                let statement = Box::new(statement);
                Frame::Statement {
                    sequence,
                    statement,
                }
            }
            Outward::Ask(Asked { bulletin, answer }) => {
                self.questions.insert(sequence, answer);
                Frame::Ask { sequence, bulletin }
            }
        }
    }
}

impl Control<'_> {
    async fn run(
        mut self,
        mut send: SendStream,
        mut reader: FrameReader<RecvStream>,
    ) -> Result<(), NodeError> {
        let mut sequence = 0;
        let mut waiting = Waiting::default();
        loop {
            tokio::select! {
                frame = reader.next() => {
                    let bytes = frame?.ok_or(NodeError::Protocol("it ended the control stream"))?;
                    match decode(bytes)? {
                        Frame::Cosign { sequence, request } => {
                            let cosigned = self.cosign(sequence, request).await?;
                            write_frame(&mut send, &encode(&cosigned)).await?;
                        }
                        frame => self.handle(frame, &mut waiting).await?,
                    }
                }
                Some(ack) = self.acked.recv() => {
                    write_frame(&mut send, &encode(&Frame::Acknowledge(ack))).await?;
                }
                Some(outward) = self.acts.recv() => {
                    sequence += 1;
                    let frame = waiting.add(sequence, outward);
                    write_frame(&mut send, &encode(&frame)).await?;
                }
            }
        }
    }

    /// Lets this node's witness answer.
    async fn cosign(&self, sequence: u64, request: String) -> Result<Frame, NodeError> {
        let (shared, log) = (Arc::clone(&self.shared), self.log.clone());
        let answered = tokio::task::spawn_blocking(move || {
            let now = shared.clock.now();
            let (own, store) = (&shared.witness, &shared.store);
            let log_of = |origin: &str| Ok((origin == log.name()).then(|| log.clone()));
            own.add_checkpoint(store, log_of, &request, now, witness::Source::Broker)
        });
        let (status, body) = answered.await.map_err(|_| NodeError::Stopping)??;
        Ok(Frame::Cosigned {
            sequence,
            status,
            body,
        })
    }

    async fn handle(&self, frame: Frame, waiting: &mut Waiting) -> Result<(), NodeError> {
        match frame {
            Frame::Checkpoint(note) => {
                proofs::shown(&self.shared, &self.log, note);
                Ok(())
            }
            Frame::Fork(proof) => {
                let (shared, log) = (Arc::clone(&self.shared), self.log.clone());
                let taken =
                    tokio::task::spawn_blocking(move || witness::take_fork(&shared, &log, &proof));
                taken.await.map_err(|_| NodeError::Stopping)?
            }
            Frame::Evidence(evidence) => {
                let shared = Arc::clone(&self.shared);
                let taken =
                    tokio::task::spawn_blocking(move || evidence::take_up(&shared, &evidence));
                taken.await.map_err(|_| NodeError::Stopping)?
            }
            Frame::StatementTaken { sequence, result } => {
                if let Some(answer) = waiting.acts.remove(&sequence) {
                    // Whoever asked may be gone; what was recorded stays.
                    let _ = answer.send(result);
                }
                Ok(())
            }
            Frame::Told { sequence, result } => {
                if let Some(answer) = waiting.questions.remove(&sequence) {
                    let _ = answer.send(result);
                }
                Ok(())
            }
            Frame::Overdue(items) => {
                for one in &items {
                    let recipient = one.recipient.as_ref().map(ToString::to_string);
                    let recipient = recipient.unwrap_or_else(|| "a recipient".into());
                    tracing::error!(bulletin = %one.bulletin, recipient, "not taken in time");
                }
                self.shared.overdue.send_replace(items);
                Ok(())
            }
            Frame::Asking(asking) => {
                let known = self.shared.asking.borrow().clone();
                let new = |one: &&AskingItem| !known.consents.contains(one);
                for one in asking.consents.iter().filter(new) {
                    tracing::warn!(
                        bulletin = %one.bulletin, asker = %one.asker,
                        "consent to its being passed on is asked for"
                    );
                }
                for one in asking.holds.iter().filter(|one| !known.holds.contains(one)) {
                    tracing::warn!(
                        bulletin = %one.bulletin, persons = one.persons.join(", "),
                        deadline = %one.deadline, "a bulletin waits to be let go"
                    );
                }
                self.shared.asking.send_replace(asking);
                Ok(())
            }
            Frame::Refuse(refusal) => Err(NodeError::Refused(refusal)),
            Frame::Goodbye { reason } => Err(NodeError::Gone(reason)),
            _ => Err(NodeError::Protocol(
                "a frame does not belong on the control stream",
            )),
        }
    }
}
