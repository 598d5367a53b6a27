//! Frames to and from protobuf.

use bytes::Bytes;
use prost::Message;
use thiserror::Error;

use super::hello::{Hello, Limits, Refusal, Welcome};
use super::limits::MAX_EVIDENCE_AGREEMENTS;
use crate::agreement::{AgreementId, ClauseRef, Onward, SignedAgreement, SignedWithdrawal};
use crate::bulletin::{BulletinId, Precedence, Refused, Sealed};
use crate::clock::Timestamp;
use crate::ledger::{
    CertificatesRevoked, Inherited, LaneAck, LedgerId, Question, SignedAck, SignedConsent,
    SignedDeclaration, SignedHoldDecision, SignedPromise, clause_from_wire, clause_to_wire,
    onward_from_wire, onward_to_wire,
};
use crate::partner::{PartnerId, SignedKeySet, signature_from_wire, signature_to_wire};
use crate::proof::Digest;
use crate::proto;
use crate::proto::frame::Frame as Wire;

/// One message between node and broker.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The node's greeting.
    Hello(Hello),
    /// The broker's answer.
    Welcome(Welcome),
    /// Why a session or a stream ends.
    Refuse(Refusal),
    /// A bulletin to publish. One that cannot be read is refused by itself: the session goes on.
    Submit {
        /// Counts the submissions of the stream.
        sequence: u64,
        /// The bulletin.
        bulletin: Result<Box<Sealed>, Refused>,
    },
    /// Bulletins are in the log.
    Promise {
        /// The signed statement.
        promise: SignedPromise,
        /// The submissions it answers, in the order of its items.
        sequences: Vec<u64>,
    },
    /// A bulletin is not.
    Rejected(Rejected),
    /// What follows on this stream is this lane.
    LaneOpen {
        /// Which lane.
        precedence: Precedence,
        /// Number of the first delivery that follows.
        next: u64,
    },
    /// One number of the lane; `None` where its permission no longer holds.
    Deliver {
        /// The number.
        number: u64,
        /// The bulletin.
        item: Option<Box<Delivery>>,
    },
    /// What the node holds durably.
    Acknowledge(SignedAck),
    /// The agreements in force to which the partner is a party.
    Evidence(Evidence),
    /// An act of the partner, to be recorded.
    Statement {
        /// Chosen by the node.
        sequence: u64,
        /// The act.
        statement: Box<Statement>,
    },
    /// What became of it.
    StatementTaken {
        /// As the node chose it.
        sequence: u64,
        /// The position, or why not.
        result: Result<u64, Refusal>,
    },
    /// To an originator: who has not taken its bulletins in time.
    Overdue(Vec<OverdueItem>),
    /// To a partner: what waits for its consent, and for its persons.
    Asking(Asking),
    /// An originator asks what became of its bulletin.
    Ask {
        /// Repeated in the answer.
        sequence: u64,
        /// Which.
        bulletin: BulletinId,
    },
    /// The answer.
    Told {
        /// Of the question.
        sequence: u64,
        /// How far it has come at each recipient.
        result: Result<Vec<RecipientState>, Refusal>,
    },
    /// The sender closes when its queues are empty.
    Goodbye {
        /// For people.
        reason: String,
    },
}

/// A recipient that has not taken a bulletin in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverdueItem {
    /// The bulletin.
    pub bulletin: BulletinId,
    /// The recipient; `None` where the agreement keeps it confidential.
    pub recipient: Option<PartnerId>,
    /// By when it should have taken it.
    pub due: Timestamp,
}

/// What waits for a partner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// For its consent.
    pub consents: Vec<AskingItem>,
    /// For its persons.
    pub holds: Vec<HoldItem>,
}

/// A bulletin that persons of a partner may let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldItem {
    /// Which.
    pub bulletin: BulletinId,
    /// SHA-256 of its header.
    pub header: Digest,
    /// The agreement that holds it.
    pub agreement: AgreementId,
    /// The partner's persons who may, and have not.
    pub persons: Vec<String>,
    /// From then on nobody can.
    pub deadline: Timestamp,
}

/// That somebody passes on something of an originator's, and needs its consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskingItem {
    /// The bulletin that does so: consent is to it.
    pub bulletin: BulletinId,
    /// SHA-256 of its header.
    pub header: Digest,
    /// Who passes it on.
    pub asker: PartnerId,
    /// What of the originator's, and to whom.
    pub questions: Vec<Question>,
}

impl AskingItem {
    /// Bytes in a frame, roughly.
    pub fn size(&self) -> usize {
        let names = self.questions.iter().flat_map(|one| &one.recipients);
        let names: usize = names.map(|name| name.as_str().len() + 4).sum();
        128 + self.asker.as_str().len() + 32 * self.questions.len() + names
    }
}

impl HoldItem {
    /// Bytes in a frame, roughly.
    pub fn size(&self) -> usize {
        let names = self.persons.iter().map(|name| name.len() + 4);
        128 + names.sum::<usize>()
    }
}

/// How far a bulletin has come at one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientState {
    /// The recipient; `None` where the agreement keeps it confidential.
    pub recipient: Option<PartnerId>,
    /// `held`, `kept from it`, `on its way` or `acknowledged`.
    pub state: String,
    /// What it declared, in order.
    pub declared: Vec<String>,
    /// By when it has to take it, where it has to and has not.
    pub due: Option<Timestamp>,
}

/// Why a bulletin was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which submission of the stream.
    pub sequence: u64,
    /// Code and sentence.
    pub refusal: Refusal,
    /// The same submission may succeed later.
    pub retry: bool,
}

/// A bulletin as it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// With the parts withheld replaced by their hashes.
    pub bulletin: Sealed,
    /// Where it stands in the log.
    pub position: u64,
    /// Time of the group that accepted it.
    pub time: Timestamp,
    /// The clauses under which it is shared.
    pub clauses: Vec<ClauseRef>,
    /// Whether it may be passed on.
    pub onward: Onward,
    /// What is owed for the clauses under which earlier givers had it.
    pub inherited: Inherited,
}

/// Agreements with everything needed to verify them without believing the broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The log size it reflects.
    pub size: u64,
    /// Those in force to which the partner is a party.
    pub agreements: Vec<SignedAgreement>,
    /// The key sets of all their parties.
    pub key_sets: Vec<KeySetVersions>,
    /// Versions that agreements in force only narrow, back to one that every party signed.
    pub earlier: Vec<SignedAgreement>,
}

/// All versions of one partner's key set, the first first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetVersions {
    /// Whose.
    pub partner: PartnerId,
    /// In order.
    pub versions: Vec<SignedKeySet>,
}

/// An act of a partner that it asks the broker to record.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// Ends an agreement.
    Withdrawal(SignedWithdrawal),
    /// Its next key set.
    KeySet(SignedKeySet),
    /// An agreement that all parties have ratified.
    Agreement(SignedAgreement),
    /// Its authority's revocation list.
    Revocation(CertificatesRevoked),
    /// About a bulletin it received.
    Declaration(SignedDeclaration),
    /// To something of its own being passed on.
    Consent(SignedConsent),
    /// Of one of its persons, about what is held.
    HoldDecision(SignedHoldDecision),
}

/// Bytes that are no frame. Ends the stream: what follows cannot be trusted to begin anywhere.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Not the encoding of session.proto.
    #[error("a frame cannot be read: {0}")]
    Malformed(&'static str),
    /// A kind that this version does not know.
    #[error("a frame is of a kind this version does not know")]
    UnknownKind,
}

use FrameError::Malformed;

type Read<T> = Result<T, FrameError>;

/// A frame's bytes, without the length before them.
pub fn encode(frame: &Frame) -> Bytes {
    proto::Frame {
        frame: Some(write(frame)),
    }
    .encode_to_vec()
    .into()
}

/// Reads a frame's bytes. Bodies are slices of them, not copies.
pub fn decode(bytes: Bytes) -> Read<Frame> {
    let wire = proto::Frame::decode(bytes).map_err(|_| Malformed("encoding"))?;
    read(wire.frame.ok_or(FrameError::UnknownKind)?)
}

fn write(frame: &Frame) -> Wire {
    match frame {
        Frame::Hello(hello) => Wire::Hello(write_hello(hello)),
        Frame::Welcome(welcome) => Wire::Welcome(proto::Welcome {
            version: welcome.version,
            limits: Some(write_limits(welcome.limits)),
            agent: welcome.agent.clone(),
            ledger: digest_bytes(&welcome.ledger.0),
            genesis: welcome.genesis.clone(),
            time: welcome.time.micros(),
        }),
        Frame::Refuse(refusal) => Wire::Refuse(write_refusal(refusal)),
        Frame::Submit { sequence, bulletin } => Wire::Submit(proto::Submit {
            sequence: *sequence,
            envelope: bulletin.as_ref().ok().map(|sealed| sealed.to_wire()),
        }),
        Frame::Promise { promise, sequences } => Wire::Promise(proto::Promise {
            statement: promise.bytes.clone(),
            signature: Some(signature_to_wire(&promise.signature)),
            sequences: sequences.clone(),
        }),
        Frame::Rejected(rejected) => Wire::Rejected(proto::Rejected {
            sequence: rejected.sequence,
            code: rejected.refusal.code.clone(),
            message: rejected.refusal.message.clone(),
            retry: rejected.retry,
        }),
        Frame::LaneOpen { precedence, next } => Wire::LaneOpen(proto::LaneOpen {
            precedence: precedence.number(),
            next: *next,
        }),
        Frame::Deliver { number, item } => Wire::Deliver(proto::Deliver {
            lane_number: *number,
            item: Some(
                item.as_ref()
                    .map_or(proto::deliver::Item::Void(proto::Void {}), |item| {
                        proto::deliver::Item::Delivery(write_delivery(item))
                    }),
            ),
        }),
        Frame::Acknowledge(signed) => Wire::Acknowledge(proto::Acknowledge {
            statement: signed.bytes.clone(),
            signature: Some(signature_to_wire(&signed.signature)),
        }),
        Frame::Evidence(evidence) => Wire::Evidence(write_evidence(evidence)),
        Frame::Statement {
            sequence,
            statement,
        } => Wire::Statement(proto::Statement {
            sequence: *sequence,
            statement: Some(write_statement(statement)),
        }),
        Frame::StatementTaken { sequence, result } => Wire::StatementTaken(proto::StatementTaken {
            sequence: *sequence,
            position: result.as_ref().map_or(0, |position| *position),
            refused: result.as_ref().err().map(write_refusal),
        }),
        Frame::Ask { sequence, bulletin } => Wire::Ask(proto::Ask {
            sequence: *sequence,
            bulletin: Bytes::copy_from_slice(&bulletin.0),
        }),
        Frame::Told { sequence, result } => Wire::Told(proto::Told {
            sequence: *sequence,
            recipients: result.iter().flatten().map(write_recipient_state).collect(),
            refused: result.as_ref().err().map(write_refusal),
        }),
        Frame::Overdue(items) => Wire::Overdue(proto::Overdue {
            items: items
                .iter()
                .map(|item| proto::OverdueItem {
                    bulletin: Bytes::copy_from_slice(&item.bulletin.0),
                    recipient: item
                        .recipient
                        .as_ref()
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    due: item.due.micros(),
                })
                .collect(),
        }),
        Frame::Asking(asking) => Wire::Asking(proto::Asking {
            consents: asking.consents.iter().map(write_asking).collect(),
            holds: asking.holds.iter().map(write_hold).collect(),
        }),
        Frame::Goodbye { reason } => Wire::Goodbye(proto::Goodbye {
            reason: reason.clone(),
        }),
    }
}

fn read(wire: Wire) -> Read<Frame> {
    Ok(match wire {
        Wire::Hello(hello) => Frame::Hello(read_hello(hello)?),
        Wire::Welcome(welcome) => Frame::Welcome(Welcome {
            version: welcome.version,
            limits: read_limits(welcome.limits)?,
            agent: welcome.agent,
            ledger: LedgerId(read_digest("ledger", &welcome.ledger)?),
            genesis: welcome.genesis,
            time: read_time(welcome.time)?,
        }),
        Wire::Refuse(refuse) => Frame::Refuse(read_refusal(refuse)),
        Wire::Submit(submit) => Frame::Submit {
            sequence: submit.sequence,
            bulletin: submit
                .envelope
                .ok_or(Refused::Malformed("bulletin"))
                .and_then(Sealed::from_wire)
                .map(Box::new),
        },
        Wire::Promise(promise) => Frame::Promise {
            promise: SignedPromise {
                bytes: promise.statement,
                signature: promise
                    .signature
                    .as_ref()
                    .and_then(signature_from_wire)
                    .ok_or(Malformed("signature"))?,
            },
            sequences: promise.sequences,
        },
        Wire::Rejected(rejected) => Frame::Rejected(Rejected {
            sequence: rejected.sequence,
            refusal: Refusal {
                code: rejected.code,
                message: rejected.message,
            },
            retry: rejected.retry,
        }),
        Wire::LaneOpen(open) => Frame::LaneOpen {
            precedence: Precedence::from_number(open.precedence).ok_or(Malformed("precedence"))?,
            next: open.next,
        },
        Wire::Deliver(deliver) => {
            let item = match deliver.item.ok_or(Malformed("delivery"))? {
                proto::deliver::Item::Void(_) => None,
                proto::deliver::Item::Delivery(item) => Some(Box::new(read_delivery(item)?)),
            };
            Frame::Deliver {
                number: deliver.lane_number,
                item,
            }
        }
        Wire::Acknowledge(ack) => {
            let signature = ack.signature.as_ref().and_then(signature_from_wire);
            let signature = signature.ok_or(Malformed("signature"))?;
            let signed = SignedAck::from_parts(ack.statement, signature);
            Frame::Acknowledge(signed.map_err(|_| Malformed("acknowledgement"))?)
        }
        Wire::Evidence(evidence) => Frame::Evidence(read_evidence(evidence)?),
        Wire::Statement(statement) => Frame::Statement {
            sequence: statement.sequence,
            statement: Box::new(read_statement(statement.statement)?),
        },
        Wire::StatementTaken(taken) => Frame::StatementTaken {
            sequence: taken.sequence,
            result: taken
                .refused
                .map_or(Ok(taken.position), |refused| Err(read_refusal(refused))),
        },
        Wire::Ask(ask) => Frame::Ask {
            sequence: ask.sequence,
            bulletin: read_id(&ask.bulletin)?,
        },
        Wire::Told(told) => Frame::Told {
            sequence: told.sequence,
            result: match told.refused {
                Some(refused) => Err(read_refusal(refused)),
                None => Ok(told
                    .recipients
                    .into_iter()
                    .map(read_recipient_state)
                    .collect::<Read<_>>()?),
            },
        },
        Wire::Overdue(overdue) => Frame::Overdue(
            overdue
                .items
                .iter()
                .map(read_overdue)
                .collect::<Read<_>>()?,
        ),
        Wire::Asking(asking) => Frame::Asking(read_asking(asking)?),
        Wire::Goodbye(goodbye) => Frame::Goodbye {
            reason: goodbye.reason,
        },
    })
}

fn write_recipient_state(one: &RecipientState) -> proto::RecipientState {
    proto::RecipientState {
        recipient: one
            .recipient
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        state: one.state.clone(),
        declared: one.declared.clone(),
        due: one.due.map_or(0, Timestamp::micros),
    }
}

fn read_recipient_state(wire: proto::RecipientState) -> Read<RecipientState> {
    Ok(RecipientState {
        recipient: read_recipient(&wire.recipient)?,
        state: wire.state,
        declared: wire.declared,
        due: Some(wire.due)
            .filter(|due| *due != 0)
            .map(read_time)
            .transpose()?,
    })
}

/// A recipient's id; empty where it is confidential.
fn read_recipient(text: &str) -> Read<Option<PartnerId>> {
    let named = Some(text).filter(|name| !name.is_empty());
    named
        .map(|name| name.parse().map_err(|_| Malformed("recipient")))
        .transpose()
}

fn read_id(bytes: &Bytes) -> Read<BulletinId> {
    let id = bytes.as_ref().try_into();
    id.map(BulletinId).map_err(|_| Malformed("bulletin"))
}

fn read_overdue(wire: &proto::OverdueItem) -> Read<OverdueItem> {
    Ok(OverdueItem {
        bulletin: read_id(&wire.bulletin)?,
        recipient: read_recipient(&wire.recipient)?,
        due: read_time(wire.due)?,
    })
}

fn write_asking(item: &AskingItem) -> proto::AskingItem {
    proto::AskingItem {
        bulletin: Bytes::copy_from_slice(&item.bulletin.0),
        header: digest_bytes(&item.header),
        asker: item.asker.to_string(),
        questions: item.questions.iter().map(Question::to_wire).collect(),
    }
}

fn read_asking(wire: proto::Asking) -> Read<Asking> {
    let (consents, holds) = (wire.consents.iter(), wire.holds.into_iter());
    Ok(Asking {
        consents: consents.map(read_asking_item).collect::<Read<_>>()?,
        holds: holds.map(read_hold).collect::<Read<_>>()?,
    })
}

fn read_asking_item(wire: &proto::AskingItem) -> Read<AskingItem> {
    let questions = wire.questions.iter().map(Question::from_wire);
    Ok(AskingItem {
        bulletin: read_id(&wire.bulletin)?,
        header: read_digest("header", &wire.header)?,
        asker: wire.asker.parse().map_err(|_| Malformed("partner"))?,
        questions: questions
            .collect::<Result<_, _>>()
            .map_err(|_| Malformed("question"))?,
    })
}

fn write_hold(item: &HoldItem) -> proto::HoldItem {
    proto::HoldItem {
        bulletin: Bytes::copy_from_slice(&item.bulletin.0),
        header: digest_bytes(&item.header),
        agreement: digest_bytes(&item.agreement.0),
        persons: item.persons.clone(),
        deadline: item.deadline.micros(),
    }
}

fn read_hold(wire: proto::HoldItem) -> Read<HoldItem> {
    Ok(HoldItem {
        bulletin: read_id(&wire.bulletin)?,
        header: read_digest("header", &wire.header)?,
        agreement: AgreementId(read_digest("agreement", &wire.agreement)?),
        persons: wire.persons,
        deadline: read_time(wire.deadline)?,
    })
}

fn write_hello(hello: &Hello) -> proto::Hello {
    proto::Hello {
        versions: hello.versions.clone(),
        limits: Some(write_limits(hello.limits)),
        agent: hello.agent.clone(),
        time: hello.time.micros(),
        resume: hello.resume.iter().map(LaneAck::to_wire).collect(),
        ledger: hello
            .ledger
            .map(|ledger| digest_bytes(&ledger.0))
            .unwrap_or_default(),
    }
}

fn read_hello(wire: proto::Hello) -> Read<Hello> {
    let resume = wire
        .resume
        .iter()
        .map(LaneAck::from_wire)
        .collect::<Result<_, _>>();
    let ledger = (!wire.ledger.is_empty())
        .then(|| read_digest("ledger", &wire.ledger).map(LedgerId))
        .transpose()?;
    Ok(Hello {
        versions: wire.versions,
        limits: read_limits(wire.limits)?,
        agent: wire.agent,
        time: read_time(wire.time)?,
        resume: resume.map_err(|_| Malformed("resume"))?,
        ledger,
    })
}

fn write_limits(limits: Limits) -> proto::Limits {
    proto::Limits {
        frame_bytes: limits.frame_bytes,
        bulletin_bytes: limits.bulletin_bytes,
        parts: u32::try_from(limits.parts).unwrap_or(u32::MAX),
        outstanding: u32::try_from(limits.outstanding).unwrap_or(u32::MAX),
    }
}

fn read_limits(wire: Option<proto::Limits>) -> Read<Limits> {
    let wire = wire.ok_or(Malformed("limits"))?;
    Ok(Limits {
        frame_bytes: wire.frame_bytes,
        bulletin_bytes: wire.bulletin_bytes,
        parts: usize::try_from(wire.parts).unwrap_or(usize::MAX),
        outstanding: usize::try_from(wire.outstanding).unwrap_or(usize::MAX),
    })
}

fn write_refusal(refusal: &Refusal) -> proto::Refuse {
    proto::Refuse {
        code: refusal.code.clone(),
        message: refusal.message.clone(),
    }
}

fn read_refusal(wire: proto::Refuse) -> Refusal {
    Refusal {
        code: wire.code,
        message: wire.message,
    }
}

fn write_delivery(item: &Delivery) -> proto::Delivery {
    proto::Delivery {
        envelope: Some(item.bulletin.to_wire()),
        position: item.position,
        time: item.time.micros(),
        clauses: item.clauses.iter().map(clause_to_wire).collect(),
        onward: onward_to_wire(item.onward),
        inherited: write_inherited(&item.inherited),
    }
}

/// Nothing where nothing is owed.
fn write_inherited(owed: &Inherited) -> Option<proto::Inherited> {
    let purposes = owed.purposes.iter().flatten();
    (*owed != Inherited::default()).then(|| proto::Inherited {
        keep_until: owed.keep_until.map_or(0, Timestamp::micros),
        bound: owed.purposes.is_some(),
        purposes: purposes.map(ToString::to_string).collect(),
        legal_bases: owed.legal_bases.clone(),
    })
}

fn read_inherited(wire: Option<proto::Inherited>) -> Read<Inherited> {
    let Some(wire) = wire else {
        return Ok(Inherited::default());
    };
    let until = Some(wire.keep_until).filter(|until| *until != 0);
    let purposes = wire.purposes.iter().map(|word| word.parse());
    let purposes: Result<_, _> = purposes.collect();
    let purposes = purposes.map_err(|_| Malformed("purposes"))?;
    Ok(Inherited {
        keep_until: until.map(read_time).transpose()?,
        purposes: wire.bound.then_some(purposes),
        legal_bases: wire.legal_bases,
    })
}

fn read_delivery(wire: proto::Delivery) -> Read<Delivery> {
    let envelope = wire.envelope.ok_or(Malformed("bulletin"))?;
    let clauses = wire
        .clauses
        .iter()
        .map(clause_from_wire)
        .collect::<Option<_>>();
    Ok(Delivery {
        bulletin: Sealed::from_wire(envelope).map_err(|_| Malformed("bulletin"))?,
        position: wire.position,
        time: read_time(wire.time)?,
        clauses: clauses.ok_or(Malformed("clauses"))?,
        onward: onward_from_wire(wire.onward).ok_or(Malformed("onward"))?,
        inherited: read_inherited(wire.inherited)?,
    })
}

/// The serialized evidence, for the node's store.
impl Evidence {
    /// The bytes of this evidence.
    pub fn to_bytes(&self) -> Vec<u8> {
        write_evidence(self).encode_to_vec()
    }

    /// Reads stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Read<Self> {
        let wire = proto::Evidence::decode(Bytes::copy_from_slice(bytes));
        read_evidence(wire.map_err(|_| Malformed("evidence"))?)
    }
}

/// A delivery as the node's inbox stores it.
impl Delivery {
    /// The bytes of this delivery.
    pub fn to_bytes(&self) -> Vec<u8> {
        write_delivery(self).encode_to_vec()
    }

    /// Reads stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Read<Self> {
        let wire = proto::Delivery::decode(Bytes::copy_from_slice(bytes));
        read_delivery(wire.map_err(|_| Malformed("delivery"))?)
    }
}

fn write_evidence(evidence: &Evidence) -> proto::Evidence {
    let chains = evidence.key_sets.iter().map(|chain| proto::KeySetChain {
        partner: chain.partner.to_string(),
        versions: chain.versions.iter().map(SignedKeySet::to_wire).collect(),
    });
    proto::Evidence {
        size: evidence.size,
        agreements: evidence
            .agreements
            .iter()
            .map(SignedAgreement::to_wire)
            .collect(),
        key_sets: chains.collect(),
        earlier: evidence
            .earlier
            .iter()
            .map(SignedAgreement::to_wire)
            .collect(),
    }
}

fn read_evidence(wire: proto::Evidence) -> Read<Evidence> {
    if wire.agreements.len() > MAX_EVIDENCE_AGREEMENTS
        || wire.earlier.len() > MAX_EVIDENCE_AGREEMENTS
    {
        return Err(Malformed("number of agreements"));
    }
    let signed = |wire: &[proto::SignedAgreement]| {
        let signed = wire.iter().map(SignedAgreement::from_wire);
        signed
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Malformed("agreement"))
    };
    let key_sets = wire.key_sets.iter().map(|chain| {
        let versions = chain.versions.iter().map(SignedKeySet::from_wire);
        Ok(KeySetVersions {
            partner: chain.partner.parse().map_err(|_| Malformed("partner"))?,
            versions: versions
                .collect::<Result<_, _>>()
                .map_err(|_| Malformed("key set"))?,
        })
    });
    Ok(Evidence {
        size: wire.size,
        agreements: signed(&wire.agreements)?,
        earlier: signed(&wire.earlier)?,
        key_sets: key_sets.collect::<Read<_>>()?,
    })
}

fn write_statement(statement: &Statement) -> proto::statement::Statement {
    use proto::statement::Statement as Act;
    match statement {
        Statement::Withdrawal(signed) => Act::Withdrawal(signed.to_wire()),
        Statement::KeySet(signed) => Act::KeySet(signed.to_wire()),
        Statement::Agreement(signed) => Act::Agreement(signed.to_wire()),
        Statement::Revocation(revoked) => Act::Revocation(revoked.to_wire()),
        Statement::Declaration(signed) => Act::Declaration(signed.to_wire()),
        Statement::Consent(signed) => Act::Consent(signed.to_wire()),
        Statement::HoldDecision(signed) => Act::HoldDecision(signed.to_wire()),
    }
}

fn read_statement(wire: Option<proto::statement::Statement>) -> Read<Statement> {
    use proto::statement::Statement as Act;
    Ok(match wire.ok_or(FrameError::UnknownKind)? {
        Act::Withdrawal(wire) => Statement::Withdrawal(
            SignedWithdrawal::from_wire(&wire).map_err(|_| Malformed("withdrawal"))?,
        ),
        Act::KeySet(wire) => {
            Statement::KeySet(SignedKeySet::from_wire(&wire).map_err(|_| Malformed("key set"))?)
        }
        Act::Agreement(wire) => Statement::Agreement(
            SignedAgreement::from_wire(&wire).map_err(|_| Malformed("agreement"))?,
        ),
        Act::Declaration(wire) => Statement::Declaration(
            SignedDeclaration::from_wire(wire).map_err(|_| Malformed("declaration"))?,
        ),
        Act::Consent(wire) => {
            Statement::Consent(SignedConsent::from_wire(wire).map_err(|_| Malformed("consent"))?)
        }
        Act::HoldDecision(wire) => Statement::HoldDecision(
            SignedHoldDecision::from_wire(wire).map_err(|_| Malformed("hold decision"))?,
        ),
        Act::Revocation(wire) => Statement::Revocation(
            CertificatesRevoked::from_wire(wire).map_err(|_| Malformed("revocation"))?,
        ),
    })
}

fn digest_bytes(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

fn read_digest(field: &'static str, bytes: &Bytes) -> Read<Digest> {
    Digest::try_from(bytes.as_ref()).map_err(|_| Malformed(field))
}

fn read_time(micros: i64) -> Read<Timestamp> {
    Timestamp::from_micros(micros).ok_or(Malformed("time"))
}
