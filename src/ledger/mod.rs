//! The ordered log and its fold: every fact that ever counted, and all state as a function of it.
//!
//! In scope: the kinds of record, how the log commits to them, the sequencer that decides and
//! numbers, the fold, what may be delivered, and the statements signed about it. Out of scope:
//! where the log is stored (an [`Engine`] does that, elsewhere) and who is told of it.
//!
//! The route through this room: a verified [`crate::bulletin::Submission`] is [`Proposal`]ed;
//! [`sequence`] makes a [`Group`]; [`Group::append`] makes it [`Durable`];
//! [`Durable::fold_into`] applies it to the [`State`]; [`State::permit`] allows each delivery.

mod ack;
mod backfill;
mod check;
mod commitment;
mod consent;
mod cover;
mod crossing;
mod declaration;
mod delivery;
mod dossier;
mod engine;
mod erasure;
mod hold;
mod lanes;
mod likely;
mod memory;
mod notice;
mod onward;
mod opening;
mod promise;
mod pseudonym;
mod receipt;
mod record;
mod registry;
mod seen;
mod sequencer;
mod snapshot;
mod state;
mod wire;

pub use ack::AckError;
pub use backfill::{
    Backfill, Backfilled, BackfilledBulletin, Backfills, backfill_is_valid, backfill_releases,
};
pub use check::{GovernanceError, check};
pub use commitment::{Commitment, ENTRY_BYTES, PieceKind, PieceProof};
pub use consent::{Consent, ConsentError, Question, SignedConsent};
pub use cover::{Cover, CoverKey, UnknownCover};
pub use crossing::{NotCarried, check_crossing, logged, may_carry};
pub use declaration::{Declaration, DeclarationError, SignedDeclaration, What};
pub use delivery::{Permit, Subject};
pub use dossier::{Asked, Declared, Dossier, Dossiers, Held, Notice, Overdue};
pub use engine::{Engine, EngineError, StoredRecord};
pub use erasure::{
    ContentsErased, ErasedBulletin, ErasureOrder, ErasureOrdered, ErasureRule, MAX_ERASED,
    erasure_rule, first_due,
};
pub use hold::{HoldDecision, HoldError, PERSONS_NEEDED, SignedHoldDecision};
pub use lanes::{Lane, LaneChain, Lanes};
pub use likely::Likely;
pub use memory::{AppendFault, MemoryEngine};
pub use notice::notice_releases;
pub use onward::{Awaited, Bond, Inherited, PassedOn, PassedOnDecision, decide_passed_on};
pub use opening::{InvalidOpening, OpenPiece, Reader, RecordOpening, Shown, Summary, Tally};
pub use promise::{MERGE_DELAY, Promise, PromiseError, PromiseItem, SignedPromise};
pub use pseudonym::Pseudonyms;
pub use receipt::{InvalidReceipt, Proven, Receipt};
pub use record::{
    Accepted, Ack, CertificatesRevoked, Fact, Genesis, InvalidRecord, LaneAck, LaneRelease,
    LedgerId, Operator, OperatorSignature, PartnerAdmitted, Record, RedLinesOrder, RedLinesSet,
    SignedAck, SnapshotTaken, StandingChanged, StandingOrder,
};
pub use registry::{Partner, Registry};
pub use sequencer::{
    Durable, Group, MAX_GROUP_BYTES, MAX_GROUP_RECORDS, NotRecorded, Outcome, Proposal, Sequenced,
    sequence, sequence_within,
};
pub use state::{AgreementEntry, Ended, Seen, State};
pub(crate) use wire::put_clause;
pub use wire::{clause_from_wire, clause_to_wire, onward_from_wire, onward_to_wire};
