//! Sightings of what was received go back to whoever published it, as bulletins on which agreements decide.
//! What would flow to nobody is said before it is published.

use thiserror::Error;

use super::disclosed;
use crate::bulletin::Draft;
use crate::clock::{Entropy, Timestamp};
use crate::decision::{Reason, Rulebook, explain};
use crate::formats::Disclosed;
use crate::formats::sighting::NoSighting;
use crate::node::{HeaderView, ItemView};
use crate::partner::PartnerId;

/// A sighting that cannot go back.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoWayBack {
    /// It is not what somebody said.
    #[error("it could not be verified, so it is not known whose it is: nothing can be sent back")]
    Unverified,
    /// It says what became of others.
    #[error("it is a notice about another bulletin: name that one")]
    Notice,
    /// Nobody knows to whom.
    #[error(
        "its originator is not shown ({0}): there is nobody to whom a sighting could be sent; an agreement in \
         which originators are named makes that possible"
    )]
    Hidden(String),
    /// It has no such part.
    #[error("no part of it is shown as `{0}`; see: entente inbox BULLETIN")]
    NoPart(String),
    /// Its parts.
    #[error(transparent)]
    Nothing(#[from] NoSighting),
    /// It cannot be decided upon.
    #[error("the sighting is no bulletin: {0}")]
    Invalid(String),
    /// Agreements let it flow to nobody.
    #[error(
        "no clause lets a sighting of it flow to {to}: {reason}. Agree on one from you to {to} for such \
         bulletins; see: entente agreement check"
    )]
    NoClause {
        /// Whose it is.
        to: PartnerId,
        /// Of the clauses that there are, what the nearest misses.
        reason: String,
    },
}

/// A bulletin as it was received, and to whom a sighting of it goes.
pub fn sightable(item: &ItemView) -> Result<(Disclosed, PartnerId), NoWayBack> {
    if item.quarantined.is_some() {
        return Err(NoWayBack::Unverified);
    }
    let about = disclosed(item, None, |_| true).ok_or(NoWayBack::Notice)?;
    let header = item.header.as_ref();
    let to = header.and_then(|header| header.originator.clone());
    match to {
        Some(to) => Ok((about, to)),
        None => Err(NoWayBack::Hidden(
            header.map(HeaderView::from).unwrap_or_default(),
        )),
    }
}

/// Whether agreements let a sighting flow from this partner to the one whose bulletin it is about. Quotas are
/// the broker's to count.
pub fn flows(
    rulebook: &Rulebook,
    draft: &Draft,
    from: &PartnerId,
    to: &PartnerId,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), NoWayBack> {
    let invalid = |error: &dyn std::fmt::Display| NoWayBack::Invalid(error.to_string());
    let unsealed = draft.clone().into_unsealed(from, now, entropy);
    let unsealed = unsealed.map_err(|error| invalid(&error))?;
    let (labels, parts) = unsealed.labels().map_err(|error| invalid(&error))?;
    let why = explain(rulebook, None, &labels, &parts, now, to);
    let reason = match &why.decision {
        Ok(_) => return Ok(()),
        Err(refusal) => &refusal.reason,
    };
    let nearest = why.nearest().map(|clause| {
        let misses: Vec<String> = clause.misses.iter().map(ToString::to_string).collect();
        format!("{} does not: {}", clause.clause, misses.join("; "))
    });
    let reason = match (reason, nearest) {
        (Reason::NoClause(_), Some(nearest)) => nearest,
        (reason, _) => reason.to_string(),
    };
    Err(NoWayBack::NoClause {
        to: to.clone(),
        reason,
    })
}
