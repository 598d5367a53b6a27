//! What this partner owes for what it received: for the clauses under which it came, and for those
//! under which earlier givers had it.

use std::collections::BTreeSet;

use super::Shared;
use super::evidence;
use crate::agreement::{Obligations, Purpose};
use crate::bulletin::Header;
use crate::clock::Timestamp;
use crate::ledger::Inherited;
use crate::session::Delivery;

/// What is owed for one delivery.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// What it may be used for; `None`: anything.
    pub(super) purposes: Option<BTreeSet<Purpose>>,
    /// Under which laws or treaties it is shared.
    pub(super) legal_bases: Vec<String>,
    /// Its contents are deleted then.
    pub(super) keep_until: Option<Timestamp>,
    /// It has to be taken.
    pub(super) to_be_taken: bool,
}

/// What is owed for a delivery; of clauses that are not known here, nothing.
pub(super) fn owed(shared: &Shared, delivery: &Delivery) -> Owed {
    let trusted = evidence::trusted(shared);
    let clauses = delivery.clauses.iter();
    let terms: Vec<_> = clauses.filter_map(|named| trusted.clause(named)).collect();
    let mut inherited = delivery.inherited.clone();
    let header = Header::from_bytes(&delivery.bulletin.header).ok();
    if let Some(crossing) = header.and_then(|header| header.crossing) {
        // The broker says the same; nobody has to believe it.
        inherited.join(Inherited::of_crossing(&crossing));
    }
    let mut to_be_taken = false;
    if !terms.is_empty() {
        let own = Obligations::of(terms);
        to_be_taken = own.acknowledge_within.is_some();
        inherited.join_clauses(own, delivery.time);
    }
    Owed {
        purposes: inherited.purposes,
        legal_bases: inherited.legal_bases,
        keep_until: inherited.keep_until,
        to_be_taken,
    }
}
