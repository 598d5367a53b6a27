//! The labels of bulletins made from other people's formats, which have no room for them.

use crate::bulletin::{Draft, DraftPart, Kind, Precedence, Region, Tlp, Topic};
use crate::partner::PartnerId;

/// What the publisher says of what is imported.
#[derive(Clone, Debug)]
pub struct Labels {
    /// What it is about.
    pub kinds: Vec<Kind>,
    /// About what exactly.
    pub topics: Vec<Topic>,
    /// Where.
    pub regions: Vec<Region>,
    /// The least TLP; what is marked stricter keeps its own.
    pub tlp: Tlp,
    /// How urgent.
    pub precedence: Precedence,
    /// To whom it is releasable; none: no restriction beyond the agreements.
    pub releasable_to: Vec<PartnerId>,
    /// Nothing of it is real.
    pub exercise: bool,
}

impl Labels {
    /// A bulletin with these labels, at this level.
    pub(super) fn draft(&self, tlp: Tlp, parts: Vec<DraftPart>) -> Draft {
        Draft {
            pseudonym: None,
            as_of: None,
            id: None,
            kinds: self.kinds.clone(),
            topics: self.topics.clone(),
            regions: self.regions.clone(),
            tlp: tlp.max(self.tlp),
            classification: None,
            releasable_to: self.releasable_to.clone(),
            hide_audience: false,
            caveats: Vec::new(),
            precedence: self.precedence,
            exercise: self.exercise,
            reliability: None,
            credibility: None,
            valid_from: None,
            valid_until: None,
            supersedes: Vec::new(),
            retracts: Vec::new(),
            parts,
        }
    }
}
