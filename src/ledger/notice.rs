//! Notices: a bulletin that goes to exactly those who received another one, whatever agreements say
//! now, to take it back, to say what took its place, or to lower its labels.
//!
//! A notice gives nobody anything new: it consists of `action` parts only, and its header may say
//! no more than that of the bulletin it is about.

use super::record::{Fact, Record};
use super::state::State;
use crate::agreement::Onward;
use crate::bulletin::{Header, PartClass, PartLabels, Refused};
use crate::decision::{Clauses, Release, Withheld};
use crate::partner::PartnerId;

/// The releases of a notice; an error where it is none. `by` is who gives it, by its own name;
/// `about` is the record of the bulletin that it refers to.
pub fn notice_releases(
    state: &State,
    notice: &Header,
    by: &PartnerId,
    parts: &[PartLabels],
    about: &Record,
) -> Result<Vec<Release>, Refused> {
    let wrong = |reason| Err(Refused::Notice(reason));
    let (Fact::Accepted(accepted), [reference]) = (&about.fact, notice.references.as_slice())
    else {
        return wrong("it refers to no accepted bulletin");
    };
    let original = &accepted.header;
    let seen = state.seen(&reference.bulletin);
    if original.id != reference.bulletin
        || seen.is_none_or(|seen| seen.header != accepted.header_hash())
    {
        return wrong("it refers to no accepted bulletin");
    }
    if original.originator != notice.originator || accepted.originator != *by {
        return wrong("only its originator gives notice about a bulletin");
    }
    if original.notice {
        return wrong("a notice is about no other notice");
    }
    if notice.precedence < original.precedence {
        return wrong("it is less urgent than the bulletin it is about");
    }
    let behind = |part: &PartLabels| part.class == Some(PartClass::Identity);
    if parts
        .iter()
        .any(|part| part.class != Some(PartClass::Action) && !behind(part))
    {
        return wrong("it has parts of another class than action");
    }
    let more = notice
        .kinds
        .iter()
        .any(|kind| !original.kinds.contains(kind))
        || notice
            .topics
            .iter()
            .any(|topic| !original.topics.contains(topic))
        || notice
            .regions
            .iter()
            .any(|region| !original.regions.contains(region));
    if more || !notice.releasable_to.is_empty() || notice.audience_part {
        return wrong("its header says more than that of the bulletin it is about");
    }
    // Who gives it knows its own bulletin, and recipients the pseudonym.
    let hidden: Withheld = (0u32..)
        .zip(parts)
        .filter(|(_, part)| behind(part))
        .map(|(index, _)| index)
        .collect();
    // What is held went nowhere, unless it was let go since.
    Ok(state
        .given(about)
        .map(|release| Release {
            recipient: release.recipient.clone(),
            clauses: Clauses::new(),
            withheld: hidden.clone(),
            onward: Onward::None,
            held: false,
        })
        .collect())
}
