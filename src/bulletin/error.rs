//! Why a bulletin is refused.

use thiserror::Error;

use super::header::BulletinId;
use crate::clock::{NoEntropy, Timestamp};
use crate::partner::PartnerId;
use crate::proof::{Digest, KeyId, SignError};

/// The largest bulletin: header, parts and proofs. A bulletin is held in memory while it is
/// verified, so this times the outstanding submissions bounds what a publisher can make us hold.
pub const MAX_BULLETIN_BYTES: usize = 8 * 1024 * 1024;
/// The largest body of a part.
pub const MAX_PART_BYTES: usize = 4 * 1024 * 1024;
/// The most parts: a large feed in one bulletin, 16,384 indicators.
pub const MAX_PARTS: usize = 16_384;
/// The largest header.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// The most leaves in the tree of a burst.
pub const MAX_BURST: u32 = 4_096;
/// The most topics, regions, references and caveats each.
pub(super) const MAX_LABELS: usize = 64;
/// The most bulletins that one passes on: how often something is passed on.
pub const MAX_PASSED_ON: usize = 8;
/// The most partners in a releasable-to list.
pub(super) const MAX_RELEASABLE_TO: usize = 1_024;
/// The longest name of a part class or a classification policy.
pub(super) const MAX_NAME_BYTES: usize = 64;

/// A bulletin that is not accepted, and why. The code is stable.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// Not the encoding of `proto/entente/v1/bulletin.proto`.
    #[error("the {0} cannot be read as protobuf")]
    Malformed(&'static str),
    /// A field whose value is none of those allowed.
    #[error("the header's `{field}` is not valid: {reason}")]
    InvalidField {
        /// Its name in bulletin.proto.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A critical field of a newer version.
    #[error(
        "the header has a critical field {0} that this version does not know; upgrade to read it"
    )]
    UnknownCriticalField(u32),
    /// A format of the header newer than this version.
    #[error("the header has format {0}; this version reads format 1")]
    UnknownFormat(u32),
    /// More bytes than the limit.
    #[error("the {what} has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Bulletin, header or part.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More of something than the limit, or none where one is needed.
    #[error("the bulletin has {count} {what}; it may have 1 to {limit}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The envelope says one thing and the signed header another.
    #[error("the envelope's `{0}` contradicts the signed header")]
    EnvelopeContradicts(&'static str),
    /// The session's partner speaks for another.
    #[error("`{partner}` may not publish for `{originator}`")]
    NotOriginator {
        /// Who sent it.
        partner: PartnerId,
        /// Whom the header names.
        originator: PartnerId,
    },
    /// The key is not, or no longer, one with which the originator signs bulletins.
    #[error("the key {key} is not one that `{originator}` signs bulletins with at this time")]
    UnknownKey {
        /// The key named by the header.
        key: KeyId,
        /// The originator.
        originator: PartnerId,
    },
    /// The signature does not hold for the burst.
    #[error("the signature over the burst does not verify")]
    BadSignature,
    /// The bulletin does not hang in the signed tree of its burst.
    #[error("the bulletin is not in the burst that was signed")]
    NotInBurst,
    /// The parts do not hash to the header's root: a part was changed, or is another bulletin's.
    #[error("the parts do not belong to this header: their root differs")]
    WrongRoot,
    /// The broker needs every part; one came withheld.
    #[error("part {0} is withheld; a publisher sends every part")]
    PartMissing(usize),
    /// A part's marking is weaker than the header's.
    #[error("the marking of part {0} is less strict than the header's")]
    WeakMarking(usize),
    /// A part for the broker has a marking of its own, which would withhold it by another rule.
    #[error("part {0} is for the broker, and has a marking of its own")]
    MarkedPart(usize),
    /// The audience part is announced and missing, or there and not announced, or there twice.
    #[error("the header and the parts disagree about an audience part")]
    Audience,
    /// The identity behind a pseudonym is missing, there twice, beside a name, or unreadable.
    #[error("the header and the parts disagree about who is behind the bulletin")]
    Identity,
    /// The identity behind a pseudonym is not bound to its key by the partner it names.
    #[error("`{0}` has not bound the pseudonym's key to itself")]
    Unbound(PartnerId),
    /// A key of single use signed something else before, or an alias another agreement's bulletins.
    #[error("the pseudonym was used before in a way that would link what must not be linked")]
    PseudonymReused,
    /// Its time is further ahead than clocks may differ.
    #[error("the bulletin was created at {created}, ahead of this clock, which says {now}")]
    FromTheFuture {
        /// When it says it was created.
        created: Timestamp,
        /// This side's time.
        now: Timestamp,
    },
    /// It is no longer valid.
    #[error("the bulletin expired at {0}")]
    Expired(Timestamp),
    /// Its originator has seen more of the log than there is: agreements may be missing here.
    #[error("the bulletin was made upon {as_of} records of the log, and here are {size}")]
    AheadOfLog {
        /// What its originator has seen.
        as_of: u64,
        /// What there is.
        size: u64,
    },
    /// No notice, or one that may not be given.
    #[error("the notice cannot be given: {0}")]
    Notice(&'static str),
    /// It passes on what may not be passed on, or not so.
    #[error("it cannot be passed on: {0}")]
    PassedOn(String),
    /// It was carried here from another ledger, and should not have been.
    #[error("it cannot come from another ledger: {0}")]
    Crossing(String),
    /// It would come into a ledger again.
    #[error("it has been in the ledger {0} before: it would go in a circle")]
    Loop(Digest),
    /// It was carried for too long: the ledger it comes from may have changed its mind.
    #[error(
        "what carries it from another ledger was good until {0}, which is over; if it was carried just now, \
         compare the clocks"
    )]
    CrossingLease(Timestamp),
    /// The id was accepted before, with other content.
    #[error("the id {0} was accepted before with other content")]
    DuplicateId(BulletinId),
}

impl Refused {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::InvalidField { .. } => "invalid_field",
            Self::UnknownCriticalField(_) => "unknown_critical_field",
            Self::UnknownFormat(_) => "unknown_format",
            Self::TooLarge { .. } => "too_large",
            Self::Count { .. } => "count",
            Self::EnvelopeContradicts(_) => "envelope_contradicts",
            Self::NotOriginator { .. } => "not_originator",
            Self::UnknownKey { .. } => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::NotInBurst => "not_in_burst",
            Self::WrongRoot => "wrong_root",
            Self::PartMissing(_) => "part_missing",
            Self::WeakMarking(_) => "weak_marking",
            Self::MarkedPart(_) => "marked_part",
            Self::Audience => "audience",
            Self::Identity => "identity",
            Self::Unbound(_) => "unbound_pseudonym",
            Self::PseudonymReused => "pseudonym_reused",
            Self::FromTheFuture { .. } => "from_the_future",
            Self::Expired(_) => "expired",
            Self::AheadOfLog { .. } => "ahead_of_log",
            Self::Notice(_) => "notice",
            Self::PassedOn(_) => "passed_on",
            Self::Crossing(_) => "crossing",
            Self::Loop(_) => "loop",
            Self::CrossingLease(_) => "crossing_lease",
            Self::DuplicateId(_) => "duplicate_id",
        }
    }
}

/// A bulletin that could not be sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// It would be refused everywhere.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// A burst's root would link what must not be linked.
    #[error("a burst never mixes identities, and a key of single use signs one bulletin")]
    MixedIdentities,
    /// More bulletins than a burst holds, or none.
    #[error("a burst has 1 to {MAX_BURST} bulletins, not {0}")]
    BurstSize(usize),
}
