//! A bulletin of the inbox, as far as a reader may have it.

use serde::{Deserialize, Serialize};

use crate::bulletin::{Admiralty, Marking};
use crate::clock::Timestamp;
use crate::formats::{Disclosed, DisclosedPart};
use crate::node::{HeaderView, ItemView};
use crate::partner::PartnerId;

/// A bulletin as exports take it, with those of its parts that `shows` lets through by their numbers;
/// `taken_back` is when it was. `None` for notices, which say what became of others.
pub fn disclosed(
    item: &ItemView,
    taken_back: Option<Timestamp>,
    shows: impl Fn(usize) -> bool,
) -> Option<Disclosed> {
    let header = item.header.as_ref().filter(|header| !header.notice)?;
    let parts = item.parts.iter().enumerate();
    let parts = parts.filter(|(at, _)| shows(*at));
    let parts = parts.filter_map(|(_, part)| {
        Some(DisclosedPart {
            leaf: part.leaf.clone(),
            marking: Marking {
                tlp: part.tlp,
                level: part.level,
            },
            content: part.content.clone()?,
        })
    });
    let mark = item.mark.as_ref();
    Some(Disclosed {
        id: item.id,
        originator: shown(header),
        created: header.created,
        valid_from: header.valid_from,
        valid_until: header.valid_until,
        kinds: header.kinds.clone(),
        topics: header.topics.clone(),
        regions: header.regions.clone(),
        tlp: mark.and_then(|mark| mark.tlp).unwrap_or(header.tlp),
        classification: header.classification.clone(),
        releasable_to: header.releasable_to.clone(),
        caveats: header.caveats.clone(),
        precedence: header.precedence,
        exercise: header.exercise,
        admiralty: admiralty(&header.admiralty),
        references: header.references.clone(),
        taken_back,
        superseded: None,
        parts: parts.collect(),
    })
}

/// Whose a bulletin is: a partner's, or an alias's that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partner: Option<PartnerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
}

impl Author {
    /// `None` where nobody knows whose it is.
    pub fn of(header: &HeaderView) -> Option<Self> {
        let alias = header.pseudonym.as_deref();
        let lasting = alias.filter(|alias| !header.single_use && alias.starts_with("alias-"));
        let known = header.originator.is_some() || lasting.is_some();
        (known && alias == lasting).then(|| Self {
            partner: header.originator.clone(),
            alias: lasting.map(str::to_owned),
        })
    }
}

/// Who is named as its author: a partner, or an alias that lasts.
fn shown(header: &HeaderView) -> Option<String> {
    let partner = header.originator.as_ref().map(ToString::to_string);
    let alias = header.pseudonym.clone().filter(|_| !header.single_use);
    partner.or(alias)
}

/// `B2`, with a dash for a half that is absent.
fn admiralty(text: &str) -> Admiralty {
    let mut halves = text.bytes();
    let mut half = |first: u8| {
        let grade = halves.next()?.checked_sub(first)? + 1;
        (1..=6).contains(&grade).then_some(grade)
    };
    Admiralty {
        reliability: half(b'A'),
        credibility: half(b'1'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admiralty_code_is_read_as_it_is_shown() {
        for reliability in [None, Some(1), Some(6)] {
            for credibility in [None, Some(2), Some(6)] {
                let code = Admiralty {
                    reliability,
                    credibility,
                };
                assert_eq!(admiralty(&code.to_string()), code);
            }
        }
    }
}
