//! What a decision says.

use std::sync::Arc;

use smallvec::SmallVec;
use thiserror::Error;

use crate::agreement::{ClauseRef, Onward};
use crate::bulletin::{
    Caveat, Classification, Kind, Level, PartClass, Precedence, Region, Shown, Tlp, Topic,
};
use crate::clock::Timestamp;
use crate::partner::PartnerId;

/// The clauses of a release: nearly always one or two, which need no memory of their own.
pub type Clauses = SmallVec<[ClauseRef; 2]>;
/// Indexes of parts, ascending.
pub type Withheld = SmallVec<[u32; 4]>;

/// A recipient's right to a bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Who receives it.
    pub recipient: PartnerId,
    /// The clauses that allow it, by agreement name, version and clause.
    pub clauses: Clauses,
    /// Indexes of the parts withheld, ascending.
    pub withheld: Withheld,
    /// The strictest onward rule among the clauses.
    pub onward: Onward,
    /// A clause among them holds it until persons let it go.
    pub held: bool,
}

/// That a partner does not receive a bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who does not.
    pub recipient: PartnerId,
    /// Why.
    pub reason: Reason,
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
    /// Clauses allow it, but for a part that names a withheld one.
    #[error("a part names a withheld one, which {} does not bear", clauses(.0))]
    TellingReference(Vec<ClauseRef>),
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
            Self::TellingReference(_) => "telling_reference",
            Self::NothingLeft(_) => "nothing_left",
        }
    }

    /// In a few words, where the clauses are listed beside it.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::NoClause(_) => "no clause allows it".to_owned(),
            other => other.to_string(),
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
    /// Too unreliable a source.
    #[error("its source is {}, and at least {} is asked for", grade(*given, true), grade(Some(*least), true))]
    Reliability {
        /// The bulletin's grade.
        given: Option<u8>,
        /// The clause's.
        least: u8,
    },
    /// Too little credible an information.
    #[error("its information is {}, and at least {} is asked for", grade(*given, false), grade(Some(*least), false))]
    Credibility {
        /// The bulletin's grade.
        given: Option<u8>,
        /// The clause's.
        least: u8,
    },
    /// The header names other recipients.
    #[error("its header names other recipients; hide_audience keeps the list from them")]
    NamesRecipients,
    /// Its recipient would see more of its originator than the clause lets it, or less.
    #[error("it shows its originator as {shown} to the recipient, and the clause as {clause}")]
    Originator {
        /// As the bulletin shows it.
        shown: Shown,
        /// As the clause does.
        clause: Shown,
    },
    /// Its pseudonym is for another agreement.
    #[error("its pseudonym is for {0} only")]
    OtherAgreement(Arc<str>),
    /// A part would name a withheld one.
    #[error("a part of it names one that would be withheld")]
    TellingReference,
    /// Used up.
    #[error("its quota of {0} is used up")]
    Quota(u32),
}

impl ClauseMiss {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Validity { .. } => "validity",
            Self::ExerciseOnly => "exercise_only",
            Self::Kind(_) => "kind",
            Self::Topic(_) => "topic",
            Self::Region(_) | Self::NoRegion => "region",
            Self::Tlp { .. } => "tlp",
            Self::Classification { .. } => "classification",
            Self::Precedence(_) => "precedence",
            Self::Caveat(_) => "caveat",
            Self::Reliability { .. } => "reliability",
            Self::Credibility { .. } => "credibility",
            Self::NamesRecipients => "names_recipients",
            Self::Originator { .. } => "originator",
            Self::OtherAgreement(_) => "other_agreement",
            Self::TellingReference => "telling_reference",
            Self::Quota(_) => "quota",
        }
    }
}

fn grade(grade: Option<u8>, letters: bool) -> String {
    match grade {
        None => "ungraded".to_owned(),
        Some(grade) if letters => char::from(b'A' - 1 + grade.clamp(1, 6)).to_string(),
        Some(grade) => grade.to_string(),
    }
}

/// Why a part does not flow under a clause that allows its bulletin.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PartMiss {
    /// Nobody could say what is in it.
    #[error("its class is unknown to this version")]
    UnknownClass,
    /// The audience.
    #[error("only the broker sees it")]
    BrokerOnly,
    /// By its class.
    #[error("the clause withholds {0}")]
    Withheld(PartClass),
    /// Who stands behind the pseudonym.
    #[error("the clause does not show who is behind it")]
    Identity,
    /// By its own TLP.
    #[error("its own {0} exceeds the ceiling")]
    Tlp(Tlp),
    /// By its own TLP:RED.
    #[error("its own TLP:RED needs releasable-to")]
    RedNotNamed,
    /// By its own classification.
    #[error("its own {0} exceeds the ceiling")]
    Level(Level),
    /// It names a withheld part.
    #[error("it names part {0}, which is withheld")]
    Names(u32),
}
