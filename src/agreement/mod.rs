//! What may be shared: agreements, their clauses, their ratification and withdrawal.
//!
//! In scope: typed terms, the operators' TOML, the canonical bytes that every party signs, and the
//! signatures. Out of scope: which agreements are in force (the ledger says) and what they release
//! (the decision says).

mod diff;
mod draft;
mod error;
mod lint;
mod obligations;
mod ratify;
pub(crate) mod space;
mod terms;
mod wire;

pub use diff::{Change, Difference, Flow};
pub use draft::{AgreementDraft, DraftError, parse_draft};
pub use error::AgreementError;
pub use lint::{Odd, Warning};
pub use obligations::Obligations;
pub use ratify::{Ratification, RatifiedAgreement, SignedAgreement, SignedWithdrawal, Withdrawal};
pub use space::Example;
pub use terms::{
    Agreement, AgreementId, Clause, ClauseName, ClauseRef, Equivalent, Hold, LedgerHash,
    MAX_CLAUSES, MAX_PARTIES, Onward, Parties, Party, Person, Purpose, Quota, References, Regions,
    Topics,
};
