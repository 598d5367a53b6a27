//! What a node says: its greeting, acknowledgements, statements. Its submissions: `publishing`.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Shared;
use super::acks::Acks;
use super::asking;
use super::commit::Answer;
use super::error::BrokerError;
use super::holders;
use super::outbound;
use super::resume::{self, Lanes, Resumed};
use super::sessions::Registration;
use super::streams;
use super::view;
use super::witnesses::Witness;
use crate::agreement::{AgreementId, SignedAgreement};
use crate::bulletin::BulletinId;
use crate::identity::check_crl;
use crate::ledger::{
    AckError, AgreementEntry, CertificatesRevoked, ConsentError, DeclarationError, Fact, HoldError,
    Proposal, SignedAck, SignedConsent, SignedDeclaration, SignedHoldDecision, State,
};
use crate::partner::PartnerId;
use crate::proof::NoteKey;
use crate::session::{
    Asking, Evidence, Frame, HELLO_TIMEOUT, Hello, KeySetVersions, LaneTail, Limits,
    MAX_FRAME_BYTES, MAX_HELLO_BYTES, OverdueItem, RecipientState, Refusal, Statement, Welcome,
    decode, encode, witness_name,
};
use crate::transport::{FrameReader, PeerIdentity, ReadError, write_frame};

/// A node whose broker cannot find the end of the log within this time is better served by another.
const CONFIRM: Duration = Duration::from_secs(2);

/// Why a session ended.
#[derive(Debug, Error)]
pub(super) enum End {
    /// The peer does not keep to the protocol, or may not go on.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection is gone.
    #[error("{0}")]
    Gone(String),
    /// This side cannot go on.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge { .. } => {
                Self::Refused(Refusal::new("frame_too_large", error.to_string()))
            }
            ReadError::Truncated => Self::Refused(Refusal::new("truncated", error.to_string())),
            ReadError::Io(error) => Self::Gone(error.to_string()),
        }
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Gone(error.to_string())
    }
}

impl From<quinn::ConnectionError> for End {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::Gone(error.to_string())
    }
}

pub(super) fn parse(bytes: bytes::Bytes) -> Result<Frame, End> {
    decode(bytes).map_err(|error| Refusal::new("malformed_frame", error.to_string()).into())
}

pub(super) fn unexpected(stream: &str) -> End {
    Refusal::new(
        "unexpected_frame",
        format!("this frame does not belong on the {stream} stream"),
    )
    .into()
}

/// A session that was greeted and welcomed.
struct Begun {
    /// The partner's lanes are this session's as long as it lives.
    held: holders::Held,
    lanes: Lanes,
    witness: Witness,
    control: SendStream,
    reader: FrameReader<RecvStream>,
}

impl Begun {
    /// The tasks of the session: one for each lane, one for the node's streams, one for the control stream.
    fn start(
        self,
        shared: &Arc<Shared>,
        connection: &Connection,
        peer: &PeerIdentity,
        registration: &Registration,
    ) -> (holders::Held, JoinSet<Result<(), End>>) {
        let partner = peer.id().partner();
        let mut tasks = JoinSet::new();
        for (precedence, lane) in &self.lanes {
            tasks.spawn(outbound::run(
                Arc::clone(shared),
                connection.clone(),
                partner.clone(),
                *precedence,
                Arc::clone(lane),
                registration.lane(*precedence),
            ));
        }
        tasks.spawn(streams::run(
            Arc::clone(shared),
            connection.clone(),
            partner.clone(),
        ));
        let precedences = self.lanes.iter().map(|(precedence, _)| *precedence);
        let session = Control {
            shared: Arc::clone(shared),
            partner: partner.clone(),
            woken: precedences.map(|one| registration.lane(one)).collect(),
            lanes: self.lanes,
            witness: self.witness,
        };
        tasks.spawn(session.run(self.control, self.reader));
        (self.held, tasks)
    }
}

/// The greetings, and where the lanes begin.
async fn begin(
    shared: &Arc<Shared>,
    connection: &Connection,
    peer: &PeerIdentity,
) -> Result<Begun, End> {
    let partner = peer.id().partner().clone();
    let greeting = tokio::time::timeout(HELLO_TIMEOUT, greeting(connection)).await;
    let (mut control, reader, hello) =
        greeting.map_err(|_| Refusal::new("no_hello", "the node did not greet in time"))??;
    // What the node knows through another broker, this one must know, too.
    let confirmed = tokio::time::timeout(CONFIRM, shared.log.confirm()).await;
    let late = || Ok(Err("it does not answer in time".to_owned()));
    if let Err(reason) = confirmed.unwrap_or_else(|_| late())? {
        let refusal = Refusal::new("no_quorum", format!("the log cannot be reached: {reason}"));
        return Err(refuse(&mut control, refusal).await);
    }
    let held = match holders::claim(shared, peer.id()).await? {
        Ok(held) => held,
        Err(refusal) => return Err(refuse(&mut control, refusal).await),
    };
    let ledger = shared.log.state().ledger().ok_or(BrokerError::Closed)?;
    let resumed = match resume::resume(shared, &partner, &hello, ledger) {
        Ok(resumed) => resumed,
        Err(refusal) => return Err(refuse(&mut control, refusal).await),
    };
    let keys = own_keys(peer, hello.witness);
    hear(shared, &keys, hello.checkpoint).await?;
    let witness = Witness::new(peer.id().to_string(), keys);
    let genesis = shared
        .log
        .state()
        .genesis()
        .map(crate::ledger::Genesis::to_bytes);
    let tails = tails(shared, &partner, &resumed).await?;
    let welcome = Frame::Welcome(Welcome {
        version: crate::session::PROTOCOL_VERSION,
        limits: Limits::OURS,
        agent: agent(),
        ledger,
        genesis: genesis.ok_or(BrokerError::Closed)?,
        time: shared.clock.now(),
        checkpoint: shared.log.checkpoint().unwrap_or_default(),
        size: told_size(shared),
        merge_delay: shared.config.merge_delay(),
        tails,
    });
    write_frame(&mut control, &encode(&welcome)).await?;
    if let Some(refusal) = resumed.ahead {
        return Err(refuse(&mut control, refusal).await);
    }
    Ok(Begun {
        held,
        lanes: resumed.lanes,
        witness,
        control,
        reader,
    })
}

/// Serves one session until it ends.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    connection: &Connection,
    peer: &PeerIdentity,
    registration: &Registration,
) -> Result<(), End> {
    // On the heap: what the beginning needs is given back before the session waits.
    let begun = Box::pin(begin(shared, connection, peer)).await?;
    // The lanes are given up after their tasks: what is declared last is dropped first.
    let (_held, mut tasks) = begun.start(shared, connection, peer, registration);
    // The first that ends, ends the session; the others are dropped with the set.
    let ended = tokio::select! {
        ended = tasks.join_next() => ended,
        closed = connection.closed() => return Err(closed.into()),
    };
    match ended {
        Some(Ok(result)) => result,
        Some(Err(panic)) => {
            tracing::error!(%panic, "a session's task failed");
            Err(Refusal::new("internal", "the broker failed in this session").into())
        }
        None => Ok(()),
    }
}

/// Refuses on the stream, too: a node that reads it there learns the code.
async fn refuse(control: &mut SendStream, refusal: Refusal) -> End {
    let _ = write_frame(control, &encode(&Frame::Refuse(refusal.clone()))).await;
    let _ = control.finish();
    let _ = tokio::time::timeout(HELLO_TIMEOUT, control.stopped()).await;
    refusal.into()
}

/// What the log has of the lanes of which the node holds more than it has acknowledged.
async fn tails(
    shared: &Arc<Shared>,
    partner: &PartnerId,
    resumed: &Resumed,
) -> Result<Vec<LaneTail>, End> {
    let beyond = resumed.beyond();
    if beyond.is_empty() {
        return Ok(Vec::new());
    }
    let (log, partner) = (shared.log.clone(), partner.clone());
    let read = tokio::task::spawn_blocking(move || resume::tails(beyond, &log, &partner));
    Ok(read.await.map_err(|_| BrokerError::Closed)??)
}

/// Of the keys that a node calls its witness's, those under its own name: nobody cosigns as another.
fn own_keys(peer: &PeerIdentity, keys: Vec<NoteKey>) -> Vec<NoteKey> {
    let name = witness_name(peer.id());
    let own = keys.into_iter().take(2);
    own.filter(|key| key.is_cosigner() && key.name() == name)
        .collect()
}

/// Compares the checkpoint that a node knows with this log. Where the log is older, or another, the
/// broker stops: an operator has to look.
async fn hear(shared: &Arc<Shared>, keys: &[NoteKey], checkpoint: String) -> Result<(), End> {
    if checkpoint.is_empty() {
        shared.log.head().heard(keys);
        return Ok(());
    }
    let (hearing, keys) = (Arc::clone(shared), keys.to_vec());
    let heard = tokio::task::spawn_blocking(move || {
        let log = &hearing.log;
        log.head().hear(log.engine(), &keys, &checkpoint)
    });
    let heard = heard.await.map_err(|_| BrokerError::Closed)?;
    if let Err(error) = heard {
        if matches!(error, BrokerError::Rollback { .. } | BrokerError::Forked(_)) {
            tracing::error!(%error, "a witness knows another log");
            shared.log.fail(&error);
        }
        return Err(error.into());
    }
    Ok(())
}

pub(super) fn agent() -> String {
    concat!("entente ", env!("CARGO_PKG_VERSION")).to_owned()
}

type Greeting = (SendStream, FrameReader<RecvStream>, Hello);

async fn greeting(connection: &Connection) -> Result<Greeting, End> {
    let (send, receive) = connection.accept_bi().await?;
    // The control stream goes before everything, acknowledgements and withdrawals among it.
    send.set_priority(100)
        .map_err(|_| End::Gone("the control stream is closed".into()))?;
    let mut reader = FrameReader::new(receive, MAX_HELLO_BYTES);
    let first = reader.next().await?;
    let first = first.ok_or_else(|| Refusal::new("no_hello", "the node said nothing"))?;
    let Frame::Hello(hello) = parse(first)? else {
        return Err(Refusal::new("no_hello", "the first frame is not a hello").into());
    };
    reader.set_limit(MAX_FRAME_BYTES);
    Ok((send, reader, hello))
}

/// The control stream after the greeting.
struct Control {
    shared: Arc<Shared>,
    partner: PartnerId,
    lanes: Lanes,
    /// Wakes each of the lanes, in their order: an acknowledgement opens its window.
    woken: Vec<Arc<Notify>>,
    /// The node as a witness.
    witness: Witness,
}

impl Control {
    async fn run(
        mut self,
        mut send: SendStream,
        mut reader: FrameReader<RecvStream>,
    ) -> Result<(), End> {
        let mut governance = self.shared.log.governance();
        governance.mark_changed();
        let mut alarms = self.shared.alarms.subscribe();
        alarms.mark_changed();
        let (mut told, mut asked) = (Vec::new(), Asking::default());
        let head = self.shared.log.head();
        let (mut signed, mut shown, mut fork) = (head.signed(), head.shown(), head.fork());
        signed.mark_changed();
        shown.mark_changed();
        fork.mark_changed();
        let mut last_shown = String::new();
        let mut acks = Acks::default();
        loop {
            tokio::select! {
                changed = signed.changed() => {
                    changed.map_err(|_| BrokerError::Closed)?;
                    signed.borrow_and_update();
                    self.ask_witness(&mut send).await?;
                }
                changed = shown.changed() => {
                    changed.map_err(|_| BrokerError::Closed)?;
                    shown.borrow_and_update();
                    let note = self.shared.log.head().for_node(self.witness.keys());
                    if let Some(note) = note.filter(|note| *note != last_shown) {
                        last_shown.clone_from(&note);
                        write_frame(&mut send, &encode(&Frame::Checkpoint(note))).await?;
                    }
                }
                changed = fork.changed() => {
                    changed.map_err(|_| BrokerError::Closed)?;
                    let proof = fork.borrow_and_update().clone();
                    if let Some(proof) = proof {
                        let frame = Frame::Fork(proof.as_str().to_owned());
                        write_frame(&mut send, &encode(&frame)).await?;
                    }
                }
                changed = governance.changed() => {
                    changed.map_err(|_| BrokerError::Closed)?;
                    governance.borrow_and_update();
                    let evidence = Frame::Evidence(self.evidence());
                    write_frame(&mut send, &encode(&evidence)).await?;
                }
                changed = alarms.changed() => {
                    changed.map_err(|_| BrokerError::Closed)?;
                    alarms.borrow_and_update();
                    let overdue = self.overdue();
                    if overdue != told {
                        told.clone_from(&overdue);
                        write_frame(&mut send, &encode(&Frame::Overdue(overdue))).await?;
                    }
                    let asking = asking::of(&self.shared, &self.partner);
                    if asking != asked {
                        asked.clone_from(&asking);
                        write_frame(&mut send, &encode(&Frame::Asking(asking))).await?;
                    }
                }
                answer = acks.answered() => {
                    answer?;
                    acks.propose(&self.shared);
                }
                frame = reader.next(), if !acks.are_full() => {
                    let Some(bytes) = frame? else { return Ok(()) };
                    match parse(bytes)? {
                        Frame::Acknowledge(ack) => {
                            self.acknowledge(&ack)?;
                            acks.add(ack);
                            acks.propose(&self.shared);
                        }
                        Frame::Cosigned { sequence, status, body } => {
                            self.witness.answered(&self.shared.log, sequence, status, &body);
                            self.ask_witness(&mut send).await?;
                        }
                        // On the heap: a session that waits has no room for it.
                        frame => if let Some(answer) = Box::pin(self.handle(frame)).await? {
                            write_frame(&mut send, &encode(&answer)).await?;
                        }
                    }
                }
            }
        }
    }

    /// Asks the node to cosign the last checkpoint, where it has not.
    async fn ask_witness(&mut self, send: &mut SendStream) -> Result<(), End> {
        if let Some((sequence, request)) = self.witness.request(&self.shared.log)? {
            let frame = Frame::Cosign { sequence, request };
            write_frame(send, &encode(&frame)).await?;
        }
        Ok(())
    }

    async fn handle(&self, frame: Frame) -> Result<Option<Frame>, End> {
        match frame {
            Frame::Statement {
                sequence,
                statement,
            } => {
                let result = self.state(*statement).await?;
                Ok(Some(Frame::StatementTaken { sequence, result }))
            }
            Frame::Ask { sequence, bulletin } => {
                let result = self.followed(bulletin).await?;
                Ok(Some(Frame::Told { sequence, result }))
            }
            Frame::Goodbye { reason } => Err(End::Gone(reason)),
            _ => Err(unexpected("control")),
        }
    }

    /// Checks an acknowledgement against what this session sent, and opens the windows.
    fn acknowledge(&self, signed: &SignedAck) -> Result<(), End> {
        if signed.ack.recipient != self.partner {
            let (partner, recipient) = (self.partner.clone(), signed.ack.recipient.clone());
            let error = AckError::NotRecipient { partner, recipient };
            return Err(Refusal::new(error.code(), error.to_string()).into());
        }
        for ack in &signed.ack.lanes {
            for ((precedence, lane), woken) in self.lanes.iter().zip(&self.woken) {
                if *precedence == ack.precedence {
                    outbound::lock(lane)
                        .acknowledge(ack)
                        .map_err(|error| Refusal::new("bad_acknowledgement", error.to_string()))?;
                    woken.notify_one();
                }
            }
        }
        Ok(())
    }

    /// Records an act of the partner, or says why not.
    async fn state(&self, statement: Statement) -> Result<Result<u64, Refusal>, End> {
        if let Err(refusal) = self.take_quota() {
            return Ok(Err(refusal));
        }
        let fact = match statement {
            Statement::Withdrawal(signed) => Fact::AgreementWithdrawn(signed),
            Statement::KeySet(signed) => Fact::KeySetRotated(signed),
            Statement::Agreement(signed) => Fact::AgreementRatified(signed),
            Statement::Declaration(signed) => return self.declare(signed).await,
            Statement::Consent(signed) => return self.consent(signed).await,
            Statement::HoldDecision(signed) => return self.decide_hold(signed).await,
            Statement::Revocation(revoked) => match self.check_revocation(&revoked) {
                Ok(()) => Fact::CertificatesRevoked(revoked),
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        self.propose(Proposal::Fact(fact)).await
    }

    /// Records what the partner says about a bulletin it received.
    async fn declare(&self, signed: SignedDeclaration) -> Result<Result<u64, Refusal>, End> {
        let declaration = &signed.declaration;
        let unknown = DeclarationError::UnknownBulletin(declaration.id);
        if declaration.partner != self.partner {
            return Ok(Err(Refusal::new(
                "not_yours",
                "the declaration is of another partner",
            )));
        }
        let Some(about) = self.shared.log.accepted(&declaration.id).await? else {
            return Ok(Err(Refusal::new(unknown.code(), unknown.to_string())));
        };
        self.propose(Proposal::Declaration { signed, about }).await
    }

    /// Records what the partner says to its bulletin being passed on.
    async fn consent(&self, signed: SignedConsent) -> Result<Result<u64, Refusal>, End> {
        let consent = &signed.consent;
        if consent.partner != self.partner {
            let message = "the answer is of another partner";
            return Ok(Err(Refusal::new("not_yours", message)));
        }
        let unknown = ConsentError::NotAsked(consent.id);
        let Some(about) = self.shared.log.accepted(&consent.id).await? else {
            return Ok(Err(Refusal::new(unknown.code(), unknown.to_string())));
        };
        self.propose(Proposal::Consent { signed, about }).await
    }

    /// Records what one of the partner's persons decides about what is held.
    async fn decide_hold(&self, signed: SignedHoldDecision) -> Result<Result<u64, Refusal>, End> {
        let decision = &signed.decision;
        let is_own = {
            let state = self.shared.log.state();
            let entry = state.agreements().get(&decision.agreement);
            entry.is_some_and(|entry| {
                let mut persons = entry.agreement.agreement().persons.iter();
                persons.any(|one| one.partner == self.partner && *one.name == *decision.person)
            })
        };
        if !is_own {
            let (person, partner) = (&decision.person, &self.partner);
            let message = format!("this agreement names no `{person}` of {partner}");
            return Ok(Err(Refusal::new("not_yours", message)));
        }
        let unknown = HoldError::NotHeld(decision.id);
        let Some(about) = self.shared.log.accepted(&decision.id).await? else {
            return Ok(Err(Refusal::new(unknown.code(), unknown.to_string())));
        };
        self.propose(Proposal::HoldDecision { signed, about }).await
    }

    async fn propose(&self, proposal: Proposal) -> Result<Result<u64, Refusal>, End> {
        Ok(match self.shared.log.propose_and_settle(proposal).await? {
            Answer::Recorded { position, .. } => Ok(position),
            Answer::Stale => Ok(0),
            Answer::Refused(error) => Err(Refusal::new(error.code(), error.to_string())),
            Answer::Later(reason) => Err(Refusal::new("later", reason)),
        })
    }

    /// What became of one of this partner's own bulletins. Of another's it is told what it would be
    /// told of none.
    async fn followed(&self, id: BulletinId) -> Result<Result<Vec<RecipientState>, Refusal>, End> {
        if let Err(refusal) = self.take_quota() {
            return Ok(Err(refusal));
        }
        let shared = Arc::clone(&self.shared);
        let found = tokio::task::spawn_blocking(move || view::followed(&shared.log, &id)).await;
        let found = found.map_err(|_| BrokerError::Closed)??;
        let Some(view) = found.filter(|view| view.originator == self.partner) else {
            let message = format!("no bulletin {id} of this partner is in the log");
            return Ok(Err(Refusal::new("unknown_bulletin", message)));
        };
        let states = view.recipients.into_iter().map(|one| RecipientState {
            recipient: (!one.confidential).then_some(one.partner),
            state: match (one.held, one.acknowledged) {
                (Some(reason), _) if reason == view::KEPT => "kept from it",
                (Some(_), _) => "held",
                (None, true) => "acknowledged",
                (None, false) => "on its way",
            }
            .to_owned(),
            declared: one.declared,
            due: one.due,
        });
        let mut states: Vec<RecipientState> = states.collect();
        // An order by name would tell which nameless one is which.
        states.sort_by_key(|one| (one.recipient.clone(), one.state.clone()));
        Ok(Ok(states))
    }

    /// What a partner says and asks counts as what it publishes does.
    fn take_quota(&self) -> Result<(), Refusal> {
        let now = self.shared.clock.now();
        let taken = self.shared.quotas.take(&self.partner, now);
        taken.map_err(|wait| Refusal::new("later", format!("try again in {wait:?}")))
    }

    /// Who has not taken this partner's bulletins in time.
    fn overdue(&self) -> Vec<OverdueItem> {
        let state = self.shared.log.state();
        let all = state.dossiers().overdue(self.shared.clock.now());
        all.into_iter()
            .filter(|one| one.originator == self.partner)
            .map(|one| OverdueItem {
                bulletin: one.id,
                recipient: (!one.confidential).then_some(one.recipient),
                due: one.due,
            })
            .collect()
    }

    fn check_revocation(&self, revoked: &CertificatesRevoked) -> Result<(), Refusal> {
        if revoked.partner != self.partner {
            return Err(Refusal::new(
                "not_yours",
                "the revocation list is of another partner",
            ));
        }
        let state = self.shared.log.state();
        let partner = state.registry().partner(&self.partner);
        let roots = partner.map_or(&[][..], |partner| &partner.keys.current().roots);
        let last = partner.and_then(|partner| partner.revocations.as_deref());
        check_crl(roots, &revoked.crl, last, self.shared.clock.now())
            .map_err(|error| Refusal::new("bad_crl", error.to_string()))
    }

    /// The agreements in force to which the partner is a party, with the parties' key sets.
    fn evidence(&self) -> Evidence {
        let state = self.shared.log.state();
        let mut evidence = Evidence {
            size: state.size(),
            ..Evidence::default()
        };
        let mut parties = std::collections::BTreeSet::new();
        for entry in state.agreements().values() {
            let agreement = entry.agreement.agreement();
            if entry.ended.is_none() && agreement.is_party(&self.partner) {
                evidence.agreements.push(entry.signed.clone());
                evidence.earlier.extend(earlier(&state, entry));
                parties.extend(agreement.parties.iter().map(|party| party.partner.clone()));
            }
        }
        for id in parties {
            if let Some(partner) = state.registry().partner(&id) {
                let versions = partner.keys.versions().to_vec();
                evidence.key_sets.push(KeySetVersions {
                    partner: id,
                    versions,
                });
            }
        }
        evidence
    }
}

/// The versions that an agreement narrows, back to one that every party signed.
fn earlier(state: &State, entry: &AgreementEntry) -> Vec<SignedAgreement> {
    let mut versions = Vec::new();
    let mut last = entry;
    while last.signed.ratifications().len() < last.agreement.agreement().parties.len() {
        let previous = last.agreement.agreement().previous.map(AgreementId);
        let Some(found) = previous.and_then(|id| state.agreements().get(&id)) else {
            break;
        };
        versions.push(found.signed.clone());
        last = found;
    }
    versions
}

/// How many records a greeting tells of. Where growth is covered, as many as the next checkpoint will have:
/// otherwise whoever greets again and again sees how much is shared.
fn told_size(shared: &Shared) -> u64 {
    let size = shared.log.size();
    let signed = shared.log.head().signed_size().unwrap_or(0);
    let covering = shared.covering.as_ref();
    covering.map_or(size, |one| size.max(one.growth.goal(signed, size)))
}
