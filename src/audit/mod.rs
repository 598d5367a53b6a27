//! The audit: recomputes everything from the records, and believes nothing that it can recompute.
//!
//! In scope: reading a ledger and saying whether it holds, or which record is the first that does
//! not. Out of scope: writing anything.

mod auditor;
mod evidence;
mod finding;
mod given;
mod keys;
mod simulate;
mod statement;
mod trail;
mod verify;
mod volume;

pub use evidence::{Evidence, Trusted, Unconvincing, examine, examine_bulletin, examine_ledger};
pub use finding::{Fault, Finding};
pub use given::{Given, GivenOne};
pub use simulate::{Simulated, Simulation};
pub use statement::{InvalidStatement, Item, Statement, StatementMaker, Subject, verify_statement};
pub use verify::{
    Audited, Decoded, Disputed, ErasedContents, Stored, Verification, verify, verify_with_contents,
};
pub use volume::{Uncounted, Volume, volume};
