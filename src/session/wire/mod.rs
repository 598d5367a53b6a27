//! Frames to and from protobuf.

mod delivery;

pub use delivery::{DeliveryAround, put_delivery};

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::frame::{
    Asking, AskingItem, Evidence, Frame, FrameError, HoldItem, KeySetVersions, OverdueItem,
    RecipientState, Rejected, Statement,
};
use super::hello::{Hello, LaneTail, Limits, Refusal, Welcome};
use super::limits::{MAX_EVIDENCE_AGREEMENTS, MAX_TAIL};
use super::log::{Fetch, Fetched, MAX_FETCH_RECORDS, WantedRecord};
use crate::agreement::{AgreementId, SignedAgreement, SignedWithdrawal};
use crate::bulletin::{BulletinId, Precedence, Refused, Sealed};
use crate::clock::Timestamp;
use crate::ledger::{
    CertificatesRevoked, LaneAck, LedgerId, Question, RecordOpening, SignedAck, SignedConsent,
    SignedDeclaration, SignedHoldDecision, SignedPromise,
};
use crate::partner::{PartnerId, SignedKeySet, signature_from_wire, signature_to_wire};
use crate::proof::Digest;
use crate::proto;
use crate::proto::frame::Frame as Wire;
use delivery::{read_delivery, write_delivery};

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
            checkpoint: welcome.checkpoint.clone(),
            merge_delay_ms: u32::try_from(welcome.merge_delay.as_millis()).unwrap_or(u32::MAX),
            size: welcome.size,
            tails: welcome.tails.iter().map(write_tail).collect(),
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
        Frame::Overdue(items) => Wire::Overdue(write_overdue(items)),
        Frame::Asking(asking) => Wire::Asking(proto::Asking {
            consents: asking.consents.iter().map(write_asking).collect(),
            holds: asking.holds.iter().map(write_hold).collect(),
        }),
        Frame::Cosign { sequence, request } => Wire::Cosign(proto::Cosign {
            sequence: *sequence,
            request: request.clone(),
        }),
        Frame::Cosigned {
            sequence,
            status,
            body,
        } => Wire::Cosigned(proto::Cosigned {
            sequence: *sequence,
            status: u32::from(*status),
            body: body.clone(),
        }),
        Frame::Checkpoint(note) => Wire::Checkpoint(proto::Checkpoint { note: note.clone() }),
        Frame::Fork(proof) => Wire::Fork(proto::Fork {
            proof: proof.clone(),
        }),
        Frame::Fetch { sequence, what } => Wire::Fetch(write_fetch(*sequence, what)),
        Frame::Fetched { sequence, result } => Wire::Fetched(write_fetched(*sequence, result)),
        Frame::Goodbye { reason } => Wire::Goodbye(proto::Goodbye {
            reason: reason.clone(),
        }),
    }
}

fn read(wire: Wire) -> Read<Frame> {
    Ok(match wire {
        Wire::Hello(hello) => Frame::Hello(read_hello(hello)?),
        Wire::Welcome(welcome) => Frame::Welcome(read_welcome(welcome)?),
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
        Wire::Rejected(rejected) => Frame::Rejected(read_rejected(rejected)),
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
        Wire::Told(told) => read_told(told)?,
        Wire::Overdue(overdue) => Frame::Overdue(
            overdue
                .items
                .iter()
                .map(read_overdue)
                .collect::<Read<_>>()?,
        ),
        Wire::Asking(asking) => Frame::Asking(read_asking(asking)?),
        Wire::Cosign(cosign) => Frame::Cosign {
            sequence: cosign.sequence,
            request: cosign.request,
        },
        Wire::Cosigned(cosigned) => Frame::Cosigned {
            sequence: cosigned.sequence,
            status: u16::try_from(cosigned.status).map_err(|_| Malformed("status"))?,
            body: cosigned.body,
        },
        Wire::Checkpoint(checkpoint) => Frame::Checkpoint(checkpoint.note),
        Wire::Fork(fork) => Frame::Fork(fork.proof),
        Wire::Fetch(fetch) => Frame::Fetch {
            sequence: fetch.sequence,
            what: read_fetch(fetch.what)?,
        },
        Wire::Fetched(fetched) => Frame::Fetched {
            sequence: fetched.sequence,
            result: read_fetched(fetched.what)?,
        },
        Wire::Goodbye(goodbye) => Frame::Goodbye {
            reason: goodbye.reason,
        },
    })
}

fn write_overdue(items: &[OverdueItem]) -> proto::Overdue {
    proto::Overdue {
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
    }
}

fn read_rejected(rejected: proto::Rejected) -> Rejected {
    Rejected {
        sequence: rejected.sequence,
        refusal: Refusal {
            code: rejected.code,
            message: rejected.message,
        },
        retry: rejected.retry,
    }
}

fn read_welcome(welcome: proto::Welcome) -> Read<Welcome> {
    Ok(Welcome {
        version: welcome.version,
        limits: read_limits(welcome.limits)?,
        agent: welcome.agent,
        ledger: LedgerId(read_digest("ledger", &welcome.ledger)?),
        genesis: welcome.genesis,
        time: read_time(welcome.time)?,
        checkpoint: welcome.checkpoint,
        size: welcome.size,
        merge_delay: Duration::from_millis(welcome.merge_delay_ms.into()),
        tails: welcome
            .tails
            .into_iter()
            .map(read_tail)
            .collect::<Read<_>>()?,
    })
}

fn write_tail(tail: &LaneTail) -> proto::LaneTail {
    proto::LaneTail {
        precedence: tail.precedence.number(),
        acked: tail.acked,
        marks: tail.marks.iter().map(digest_bytes).collect(),
    }
}

fn read_tail(wire: proto::LaneTail) -> Read<LaneTail> {
    if wire.marks.len() > MAX_TAIL {
        return Err(Malformed("lane tail"));
    }
    let marks = wire.marks.iter();
    Ok(LaneTail {
        precedence: Precedence::from_number(wire.precedence).ok_or(Malformed("precedence"))?,
        acked: wire.acked,
        marks: marks
            .map(|mark| read_digest("mark", mark))
            .collect::<Read<_>>()?,
    })
}

fn read_told(told: proto::Told) -> Read<Frame> {
    Ok(Frame::Told {
        sequence: told.sequence,
        result: match told.refused {
            Some(refused) => Err(read_refusal(refused)),
            None => Ok(told
                .recipients
                .into_iter()
                .map(read_recipient_state)
                .collect::<Read<_>>()?),
        },
    })
}

fn write_fetch(sequence: u64, what: &Fetch) -> proto::Fetch {
    use proto::fetch::What;
    let what = match what {
        Fetch::Tile(path) => What::Tile(path.to_string()),
        Fetch::Records(records) => What::Records(proto::WantedRecords {
            records: records
                .iter()
                .map(|one| proto::WantedRecord {
                    position: one.position,
                    bulletin: one
                        .bulletin
                        .map(|hash| digest_bytes(&hash))
                        .unwrap_or_default(),
                })
                .collect(),
        }),
        Fetch::Agreement(id) => What::Agreement(digest_bytes(&id.0)),
    };
    proto::Fetch {
        sequence,
        what: Some(what),
    }
}

fn read_fetch(wire: Option<proto::fetch::What>) -> Read<Fetch> {
    use proto::fetch::What;
    Ok(match wire.ok_or(FrameError::UnknownKind)? {
        What::Tile(path) => Fetch::Tile(path.parse().map_err(|_| Malformed("tile"))?),
        What::Records(wanted) if wanted.records.len() <= MAX_FETCH_RECORDS => {
            let records = wanted.records.into_iter().map(|one| {
                let about = (!one.bulletin.is_empty()).then_some(&one.bulletin);
                Ok(WantedRecord {
                    position: one.position,
                    bulletin: about
                        .map(|hash| read_digest("bulletin", hash))
                        .transpose()?,
                })
            });
            Fetch::Records(records.collect::<Read<_>>()?)
        }
        What::Records(_) => return Err(Malformed("records")),
        What::Agreement(id) => Fetch::Agreement(AgreementId(read_digest("agreement", &id)?)),
    })
}

fn write_fetched(sequence: u64, result: &Result<Fetched, Refusal>) -> proto::Fetched {
    use proto::fetched::What;
    let what = match result {
        Ok(Fetched::Tile(bytes)) => What::Tile(bytes.clone()),
        Ok(Fetched::Records(records)) => What::Records(proto::Opened {
            records: records
                .iter()
                .map(|(position, opening)| proto::OpenedAt {
                    position: *position,
                    opening: Some(opening.to_wire()),
                })
                .collect(),
        }),
        Err(refusal) => What::Refused(write_refusal(refusal)),
    };
    proto::Fetched {
        sequence,
        what: Some(what),
    }
}

fn read_fetched(wire: Option<proto::fetched::What>) -> Read<Result<Fetched, Refusal>> {
    use proto::fetched::What;
    Ok(match wire.ok_or(FrameError::UnknownKind)? {
        What::Tile(bytes) => Ok(Fetched::Tile(bytes)),
        What::Records(opened) => {
            let records = opened.records.into_iter().map(|one| {
                let opening = one.opening.ok_or(Malformed("opening"))?;
                let opening = RecordOpening::from_wire(opening);
                Ok((one.position, opening.map_err(|_| Malformed("opening"))?))
            });
            Ok(Fetched::Records(records.collect::<Read<_>>()?))
        }
        What::Refused(refused) => Err(read_refusal(refused)),
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
        witness: hello.witness.iter().map(ToString::to_string).collect(),
        checkpoint: hello.checkpoint.clone(),
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
        witness: wire
            .witness
            .iter()
            .map(|vkey| vkey.parse().map_err(|_| Malformed("witness")))
            .collect::<Read<_>>()?,
        checkpoint: wire.checkpoint,
    })
}

fn write_limits(limits: Limits) -> proto::Limits {
    proto::Limits {
        frame_bytes: limits.frame_bytes,
        bulletin_bytes: limits.bulletin_bytes,
        parts: u32::try_from(limits.parts).unwrap_or(u32::MAX),
        outstanding: u32::try_from(limits.outstanding).unwrap_or(u32::MAX),
        notices: u32::try_from(limits.notices).unwrap_or(u32::MAX),
    }
}

fn read_limits(wire: Option<proto::Limits>) -> Read<Limits> {
    let wire = wire.ok_or(Malformed("limits"))?;
    Ok(Limits {
        frame_bytes: wire.frame_bytes,
        bulletin_bytes: wire.bulletin_bytes,
        parts: usize::try_from(wire.parts).unwrap_or(usize::MAX),
        outstanding: usize::try_from(wire.outstanding).unwrap_or(usize::MAX),
        notices: usize::try_from(wire.notices).unwrap_or(usize::MAX),
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
