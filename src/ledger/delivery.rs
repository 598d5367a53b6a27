//! What may be delivered now of what was released then.
//!
//! A delivery needs the release at acceptance *and* permission at the position then current. What
//! either withholds stays withheld; a later agreement never widens an old item. The one exception is a
//! backfill, which all parties sign: a release of its own, to who had none of the item.

use std::borrow::Cow;

use super::record::{Accepted, LaneRelease};
use super::state::State;
use crate::bulletin::{Labels, PartClass, PartLabels};
use crate::clock::Timestamp;
use crate::decision::{Release, Withheld, decide_for, withhold_mentions};

/// The right to deliver one bulletin to one recipient, as of one log size. Made by
/// [`State::permit`] only; a delivery cannot be built without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    release: Release,
    size: u64,
}

/// What a decision about a bulletin looks at.
#[derive(Clone, Debug)]
pub struct Subject {
    labels: Labels,
    parts: Vec<PartLabels>,
}

impl Subject {
    /// Of what was accepted.
    pub fn of(accepted: &Accepted) -> Self {
        Self {
            labels: accepted.labels(),
            parts: accepted.part_labels(),
        }
    }
}

impl Permit {
    /// The clauses that hold, the parts withheld, the obligation: the stricter of then and now.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The log size at which permission held.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl State {
    /// Whether a bulletin's originator may not learn of a release: a clause of it says so.
    pub fn is_confidential(&self, release: &Release) -> bool {
        let mut terms = release.clauses.iter().filter_map(|one| self.terms(one));
        terms.any(|terms| terms.confidential_recipients)
    }

    /// Permission to deliver what was released, at this moment; `None` where it no longer holds.
    pub fn permit(
        &self,
        accepted: &Accepted,
        released: &LaneRelease,
        now: Timestamp,
    ) -> Option<Permit> {
        let subject = Subject::of(accepted);
        self.permit_as(&subject, accepted, released, now)
    }

    /// As [`State::permit`], for who asks for several recipients: `subject` is of this bulletin.
    pub fn permit_as(
        &self,
        subject: &Subject,
        accepted: &Accepted,
        released: &LaneRelease,
        now: Timestamp,
    ) -> Option<Permit> {
        let erased = self
            .seen(&accepted.header.id)
            .is_some_and(|seen| seen.erased);
        if erased {
            return None;
        }
        if accepted.header.notice {
            // It follows the bulletin it is about, wherever that went.
            let active = self.rulebook().is_active(&released.release.recipient);
            let (release, size) = (released.release.clone(), self.size());
            return active.then_some(Permit { release, size });
        }
        if self.dossiers().is_ended(&accepted.header_hash()) {
            return None;
        }
        let then = &released.release;
        let at = now.max(self.time());
        // Nor what it passes on, and only where the clauses under which that came still let it go.
        let replaced = |id| {
            let seen = self.seen(&id);
            seen.is_some_and(|seen| self.dossiers().is_replaced(&seen.header))
        };
        if accepted.header.passes_on().any(replaced)
            || self.is_barred(accepted, &then.recipient, at)
        {
            return None;
        }
        let Subject { labels, parts } = subject;
        let mut labels = Cow::Borrowed(labels);
        // Who was not shown the name then is not shown it by a clause of today, and so gets nothing
        // under a clause that shows names.
        let unnamed = (0u32..).zip(parts).any(|(index, part)| {
            part.class == Some(PartClass::Identity) && then.withheld.contains(&index)
        });
        if unnamed && let Some(disguise) = &mut labels.to_mut().disguise {
            disguise.reveal_to.remove(&then.recipient);
        }
        let recipient = &then.recipient;
        let current = decide_for(self.rulebook(), None, &labels, parts, at, recipient).ok()?;
        let mut withheld: Withheld = then
            .withheld
            .iter()
            .chain(&current.withheld)
            .copied()
            .collect();
        // A part that was let through then and is now may name one that only then or only now is.
        withhold_mentions(&mut withheld, parts);
        let mut told = (0u32..).zip(parts).filter(|(index, part)| {
            part.class != Some(PartClass::Identity) && withheld.binary_search(index).is_err()
        });
        told.next()?;
        let release = Release {
            recipient: then.recipient.clone(),
            clauses: current.clauses,
            withheld,
            onward: then.onward.min(current.onward),
            // Whoever holds a number of a lane was let go.
            held: false,
        };
        Some(Permit {
            release,
            size: self.size(),
        })
    }
}
