//! What comes from another ledger, and what goes into one.
//!
//! A bulletin is carried by a partner of both. Where it comes from, that partner declares it first
//! ([`What::Carried`](super::What::Carried)), and the declaration is recorded only where every clause under
//! which the bulletin came to it, then and as of now, names the other ledger: so what may leave is decided by
//! the agreements of the ledger that it leaves. To whom it goes in the other one is decided there, as of any
//! bulletin of the carrier's own.

use thiserror::Error;

use super::onward::{bindings, given_now, release_to};
use super::opening::Summary;
use super::receipt::{Proven, Receipt};
use super::record::{Fact, Record};
use super::state::State;
use crate::bulletin::{Crossing, Header, Refused};
use crate::clock::Timestamp;
use crate::partner::PartnerId;
use crate::proof::{Digest, Policy};

/// Why a bulletin may not be carried into another ledger.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotCarried {
    /// Its originator took it back or replaced it, or its contents were erased.
    #[error("its originator took it back or put another in its place, or its contents were erased")]
    Gone,
    /// It is none that can be carried.
    #[error(transparent)]
    Kind(#[from] Refused),
    /// Its carrier has no right to it, or not any more.
    #[error("{0}")]
    NotGiven(String),
    /// A clause says nothing of that ledger.
    #[error("{0} does not let it be carried into that ledger")]
    Clause(String),
}

/// Checks a bulletin that was carried here from another ledger: it is made for this one, was not here before,
/// and is not late.
pub fn check_crossing(state: &State, header: &Header, at: Timestamp) -> Result<(), Refused> {
    let Some(crossing) = &header.crossing else {
        return Ok(());
    };
    let own = state.ledger().map(|ledger| ledger.0);
    if own != Some(crossing.into) {
        return Err(Refused::Crossing(
            "it is made for another ledger".to_owned(),
        ));
    }
    // Whoever carries it may have left this ledger out of its path.
    let seen = state.seen(&crossing.original.id);
    if seen.is_some_and(|seen| seen.header == crossing.original_hash()) {
        return Err(Refused::Loop(crossing.into));
    }
    if at >= crossing.lease_until {
        return Err(Refused::CrossingLease(crossing.lease_until));
    }
    Ok(())
}

/// What receipts that came along prove of an original: that its log took it.
pub fn logged(crossing: &Crossing, policy: &Policy) -> Option<(Summary, Proven)> {
    let original = crossing.original_hash();
    let receipts = crossing.receipts.iter();
    let proven = receipts.filter_map(|text| text.parse::<Receipt>().ok()?.verify(policy).ok());
    proven
        .filter_map(|proven| Some((proven.shown.summary?, proven)))
        .find(|(summary, _)| summary.accepted && summary.bulletin == original)
}

/// Whether a holder may carry a bulletin into another ledger at a moment.
pub fn may_carry(
    state: &State,
    about: &Record,
    holder: &PartnerId,
    into: &Digest,
    at: Timestamp,
) -> Result<(), NotCarried> {
    let not_given = |reason: &str| NotCarried::NotGiven(reason.to_owned());
    let Fact::Accepted(accepted) = &about.fact else {
        return Err(not_given("no such bulletin was accepted"));
    };
    let header = &accepted.header;
    let own = state
        .ledger()
        .ok_or_else(|| not_given("there is no ledger"))?;
    let seen = state.seen(&header.id);
    if seen.is_none_or(|seen| seen.erased) || state.dossiers().is_replaced(&accepted.header_hash())
    {
        return Err(NotCarried::Gone);
    }
    let earlier = header.crossing.as_ref();
    let mut path = earlier.map_or_else(Vec::new, |crossing| crossing.path.clone());
    path.push(own.0);
    Crossing::check_path(&path, into)?;
    match earlier {
        Some(crossing) if !crossing.federation.contains(into) => {
            let clause = "a clause of a ledger that it came from".to_owned();
            return Err(NotCarried::Clause(clause));
        }
        Some(_) => {}
        None => Crossing::check_original(header)?,
    }
    let then = release_to(state, about, holder).ok_or_else(|| not_given("it was not given it"))?;
    let now = given_now(state, accepted, holder, at).map_err(NotCarried::NotGiven)?;
    // The holder has parts that it would not be given now; it does not give them to others.
    if now
        .withheld
        .iter()
        .any(|part| !then.withheld.contains(part))
    {
        return Err(not_given("less of it would be given to its holder now"));
    }
    let bindings =
        bindings(state, &then.clauses, &now.clauses, at).map_err(NotCarried::NotGiven)?;
    let silent = bindings
        .into_iter()
        .find(|(_, then, now)| !then.federation.contains(into) || !now.federation.contains(into));
    match silent {
        Some((clause, ..)) => Err(NotCarried::Clause(clause.to_string())),
        None => Ok(()),
    }
}
