//! Frames: what node and broker say to one another.

use thiserror::Error;

use super::hello::{Hello, Refusal, Welcome};
use super::log::{Fetch, Fetched};
use crate::agreement::{AgreementId, ClauseRef, Onward, SignedAgreement, SignedWithdrawal};
use crate::bulletin::{BulletinId, Precedence, Refused, Sealed};
use crate::clock::Timestamp;
use crate::ledger::{
    CertificatesRevoked, Inherited, Question, SignedAck, SignedConsent, SignedDeclaration,
    SignedHoldDecision, SignedPromise,
};
use crate::partner::{PartnerId, SignedKeySet};
use crate::proof::Digest;

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
    /// To a node's witness: the body of a request to cosign a checkpoint (C2SP tlog-witness).
    Cosign {
        /// Repeated in the answer.
        sequence: u64,
        /// The body.
        request: String,
    },
    /// Its answer, as over HTTP.
    Cosigned {
        /// Of the request.
        sequence: u64,
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
    /// The latest checkpoint, with the cosignatures that came.
    Checkpoint(String),
    /// A proof that the log showed two histories.
    Fork(String),
    /// A question about the log.
    Fetch {
        /// Repeated in the answer.
        sequence: u64,
        /// What is asked.
        what: Fetch,
    },
    /// The answer.
    Fetched {
        /// Of the question.
        sequence: u64,
        /// What was asked for, or why it is not given.
        result: Result<Fetched, Refusal>,
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
    /// Position of the record that released it: another one where it was held, or is given later.
    pub released: u64,
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
