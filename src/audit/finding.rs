//! What an audit finds wrong.

use thiserror::Error;

use crate::bulletin::{BulletinId, Refused};
use crate::clock::Timestamp;
use crate::ledger::{
    AckError, ConsentError, DeclarationError, EngineError, ErasureRule, GovernanceError, HoldError,
    InvalidRecord,
};
use crate::partner::PartnerId;
use crate::proof::InvalidCheckpoint;

/// The first thing that is wrong with a ledger.
#[derive(Debug, Error)]
pub enum Finding {
    /// A record.
    #[error("record {position} ({kind}) is wrong: {fault}")]
    Record {
        /// The first that is wrong.
        position: u64,
        /// What it is.
        kind: &'static str,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The checkpoint itself.
    #[error("the checkpoint is wrong: {0}")]
    Checkpoint(#[from] InvalidCheckpoint),
    /// The checkpoint is of another log.
    #[error("the checkpoint is of `{found}`, and this ledger's framework is `{framework}`")]
    OtherLog {
        /// Its origin.
        found: String,
        /// The ledger's.
        framework: String,
    },
    /// The checkpoint covers more than there is.
    #[error("the checkpoint covers {signed} records, and there are {size}: records are missing")]
    Shortened {
        /// What was signed.
        signed: u64,
        /// What there is.
        size: u64,
    },
    /// The records are not those that were signed.
    #[error(
        "records 0 to {} hash to another root than the signed checkpoint: a record and its entry \
         were changed together",
        signed - 1
    )]
    OtherRoot {
        /// What was signed.
        signed: u64,
    },
    /// Contents are gone, and no record says under which rule.
    #[error(
        "the contents of {count} bulletins are gone, and no record says why: the first was accepted in \
         record {first}"
    )]
    ContentsMissing {
        /// How many.
        count: usize,
        /// The first.
        first: u64,
    },
    /// There is nothing.
    #[error("the ledger is empty")]
    Empty,
}

/// What is wrong with a record.
#[derive(Debug, Error)]
pub enum Fault {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] InvalidRecord),
    /// It is not there.
    #[error(transparent)]
    Missing(#[from] EngineError),
    /// Its bytes are not those that the log's tree holds.
    #[error("its bytes are not those that were committed to")]
    OtherEntry,
    /// The first record.
    #[error("a ledger begins with its genesis, and has no other")]
    Genesis,
    /// Time went back.
    #[error("its time {time} is before {last}, that of the record before it")]
    TimeWentBack {
        /// Its own.
        time: Timestamp,
        /// The record's before it.
        last: Timestamp,
    },
    /// It does not follow from what was known.
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    /// Its bulletin.
    #[error(transparent)]
    Bulletin(#[from] Refused),
    /// The same bulletin twice.
    #[error("its bulletin was accepted before, at {0}")]
    Repeated(u64),
    /// Its bodies are not those of the leaves.
    #[error("the body of part {0} is not the one that was signed")]
    Body(usize),
    /// What its parts name.
    #[error("it says of its parts that they name others than they do")]
    Mentions,
    /// Its audience part.
    #[error("its audience part is not one of the bulletin's parts")]
    Audience,
    /// Another decision than the agreements give.
    #[error("its releases are not what the agreements give: `{partner}` {what}")]
    Decision {
        /// For whom it differs.
        partner: PartnerId,
        /// How.
        what: &'static str,
    },
    /// Releases where there is nothing to release.
    #[error("it releases something, and is no bulletin")]
    Releases,
    /// A number out of order.
    #[error("in the lane of `{partner}` it has number {found}, and {expected} was due")]
    Number {
        /// Whose lane.
        partner: PartnerId,
        /// What was due.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A release of another bulletin.
    #[error("a release names another bulletin")]
    OtherBulletin,
    /// Its acknowledgement.
    #[error(transparent)]
    Acknowledgement(#[from] AckError),
    /// What a person decided.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// What an originator said to its bulletin being passed on.
    #[error(transparent)]
    Consent(#[from] ConsentError),
    /// It gives nothing, or no agreement that is in force gives what came before.
    #[error("it gives what came before an agreement, and no backfill is due there")]
    Backfill,
    /// Other clauses bind what it passes on, or it waits for the consent of others.
    #[error("it names other clauses and consents than those that bind what it passes on")]
    Awaited,
    /// What a recipient declared.
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    /// It erases what no rule lets be erased.
    #[error("it erases, by the rule `{rule}`, bulletin {id}, for which that rule does not hold")]
    Erasure {
        /// The rule it names.
        rule: ErasureRule,
        /// The bulletin.
        id: BulletinId,
    },
    /// Contents are there that it says are erased.
    #[error("it says that the contents of record {0} are erased, and they are there")]
    NotErased(u64),
    /// Cover with a time of its own, which nothing commits to.
    #[error("it is cover, and its time is not that of the record before it")]
    CoverTime,
    /// The record that it refers to is not the one that was verified.
    #[error("it refers to a bulletin that is not in the log before it")]
    RefersToNothing,
}
