//! Statements for those who were not there: what a partner gave and got, or to whom a bulletin went, with
//! the proofs, in one signed file that a court or a committee can check.
//!
//! A statement is a DSSE envelope in JSON, signed with the log's key over
//! `application/vnd.entente.disclosure.v1+json`. Its payload names the ledger, the subject and the time
//! that it is about, has one checkpoint, and for each record that concerns the subject an opening with its
//! proof of inclusion. Key sets, agreements and the redacted bulletins are among them, so that all
//! signatures can be verified from the file and the log's key alone.
//!
//! What a partner *got* is complete by proof: the numbers of its lanes are dense, so a number that is left
//! out shows. To prove the same of the ends of a time, the last release before it and the first after it
//! are there, too. What it *gave* has no numbers: that nothing is left out, only the whole ledger proves.

mod check;
mod make;
mod tell;
mod wire;

pub use check::{InvalidStatement, verify_statement};
pub use make::StatementMaker;

use crate::bulletin::{BulletinId, Sealed};
use crate::clock::Timestamp;
use crate::ledger::{LedgerId, RecordOpening};
use crate::partner::PartnerId;
use crate::proof::Digest;

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// What a partner gave and got.
    Partner(PartnerId),
    /// To whom a bulletin went.
    Bulletin(BulletinId),
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The framework: the log's origin.
    pub framework: String,
    /// In which ledger.
    pub ledger: LedgerId,
    /// About what.
    pub subject: Subject,
    /// From this time on; `None`: from the beginning.
    pub since: Option<Timestamp>,
    /// Up to this time, without it; `None`: up to the checkpoint.
    pub until: Option<Timestamp>,
    /// When it was made.
    pub made: Timestamp,
    /// The checkpoint that covers all of it: a signed note, verbatim.
    pub checkpoint: String,
    /// What concerns the subject, by position.
    pub items: Vec<Item>,
}

/// One record of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Where it stands in the log.
    pub position: u64,
    /// Its proof of inclusion under the checkpoint, from its sibling upward.
    pub path: Vec<Digest>,
    /// What is shown of it.
    pub opening: RecordOpening,
    /// The bulletin that it is about, without any contents: header, signature, and hashes of the parts.
    pub bulletin: Option<Sealed>,
}

impl Statement {
    /// Whether a time is within what it is about.
    fn covers(&self, time: Timestamp) -> bool {
        within(self.since, self.until, time)
    }
}

fn within(since: Option<Timestamp>, until: Option<Timestamp>, time: Timestamp) -> bool {
    since.is_none_or(|since| since <= time) && until.is_none_or(|until| time < until)
}
