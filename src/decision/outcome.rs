//! What a decision says.

use thiserror::Error;

use crate::agreement::{ClauseRef, Onward};
use crate::bulletin::{Caveat, Classification, Kind, Precedence, Region, Tlp, Topic};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// A recipient's right to a bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Who receives it.
    pub recipient: PartnerId,
    /// The clauses that allow it, by agreement name, version and clause.
    pub clauses: Vec<ClauseRef>,
    /// Indexes of the parts withheld, ascending.
    pub withheld: Vec<u32>,
    /// The strictest onward rule among the clauses.
    pub onward: Onward,
}

/// That a partner does not receive a bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who does not.
    pub recipient: PartnerId,
    /// Why.
    pub reason: Reason,
}

/// The decision about a bulletin, for every partner that a clause in force could reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// By recipient.
    pub releases: Vec<Release>,
    /// By recipient. Partners that no clause could reach are not listed.
    pub refusals: Vec<Refusal>,
}

/// Why a partner does not receive a bulletin.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Reason {
    /// The originator may not act.
    #[error("the originator is not an active partner")]
    OriginatorNotActive,
    /// The recipient may not act.
    #[error("the recipient is not an active partner")]
    RecipientNotActive,
    /// The originator itself.
    #[error("it is the originator's own bulletin")]
    OwnBulletin,
    /// Too early.
    #[error("it is valid only from {0}")]
    NotYetValid(Timestamp),
    /// Too late.
    #[error("it was valid until {0}")]
    Expired(Timestamp),
    /// Nothing a clause could match.
    #[error("it names no kind or no topic")]
    NoSubject,
    /// The originator named others.
    #[error("it is releasable to others only")]
    NotReleasable,
    /// TLP:RED goes to named recipients only, and nobody is named.
    #[error("TLP:RED needs releasable-to to name the recipient")]
    RedNotNamed,
    /// LIMDIS goes to named recipients only, and nobody is named.
    #[error("LIMDIS needs releasable-to to name the recipient")]
    LimdisNotNamed,
    /// No agreement joins the two.
    #[error("no agreement in force lets the originator share with the recipient")]
    NoAgreement,
    /// There are clauses, and none allows it.
    #[error("{}", misses(.0))]
    NoClause(Vec<(ClauseRef, ClauseMiss)>),
    /// Clauses allow it, and nothing would be left of it.
    #[error("every part would be withheld under {}", clauses(.0))]
    NothingLeft(Vec<ClauseRef>),
}

impl Reason {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::OriginatorNotActive => "originator_not_active",
            Self::RecipientNotActive => "recipient_not_active",
            Self::OwnBulletin => "own_bulletin",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::Expired(_) => "expired",
            Self::NoSubject => "no_subject",
            Self::NotReleasable => "not_releasable",
            Self::RedNotNamed => "red_not_named",
            Self::LimdisNotNamed => "limdis_not_named",
            Self::NoAgreement => "no_agreement",
            Self::NoClause(_) => "no_clause",
            Self::NothingLeft(_) => "nothing_left",
        }
    }
}

fn misses(misses: &[(ClauseRef, ClauseMiss)]) -> String {
    let each: Vec<String> = misses
        .iter()
        .map(|(clause, miss)| format!("{clause}: {miss}"))
        .collect();
    each.join("; ")
}

fn clauses(clauses: &[ClauseRef]) -> String {
    clauses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The first term of a clause that a bulletin does not meet.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClauseMiss {
    /// The agreement is not valid at this time.
    #[error("the agreement is valid from {from} until {until}")]
    Validity {
        /// From.
        from: Timestamp,
        /// Until.
        until: Timestamp,
    },
    /// Exercises only.
    #[error("it is for exercises only")]
    ExerciseOnly,
    /// Another kind.
    #[error("it does not cover {0}")]
    Kind(Kind),
    /// Another topic.
    #[error("it does not cover the topic {0}")]
    Topic(Topic),
    /// Another region.
    #[error("it does not cover the region {0}")]
    Region(Region),
    /// The clause is bound to regions and the bulletin names none.
    #[error("it is bound to regions, and the bulletin names none")]
    NoRegion,
    /// Too strict a TLP.
    #[error("{tlp} exceeds its ceiling {ceiling}")]
    Tlp {
        /// The bulletin's.
        tlp: Tlp,
        /// The clause's.
        ceiling: Tlp,
    },
    /// Too high a classification, or one of another policy.
    #[error("{classification} exceeds its ceiling {}", ceiling.as_ref().map_or_else(|| "of unclassified".to_owned(), ToString::to_string))]
    Classification {
        /// The bulletin's.
        classification: Classification,
        /// The clause's.
        ceiling: Option<Classification>,
    },
    /// Another precedence.
    #[error("it does not cover {0}")]
    Precedence(Precedence),
    /// ORCON does not go where recipients may pass on.
    #[error("{0} does not go where recipients may share onward")]
    Caveat(Caveat),
}
