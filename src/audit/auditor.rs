//! Takes records one after the other, and recomputes of each what can be recomputed.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::finding::{Fault, Finding};
use super::trail::Trail;
use super::verify::{Audited, Disputed, ErasedContents};
use crate::bulletin::{
    BulletinId, Part, PartDigest, Refused, VerifiedBursts, check_identity, mentions, read_audience,
};
use crate::clock::Timestamp;
use crate::decision::{Release, decide};
use crate::ledger::{
    Accepted, Backfilled, BackfilledBulletin, ContentsErased, ENTRY_BYTES, ErasureRule, Fact,
    LaneRelease, PassedOn, PassedOnDecision, Record, State, backfill_is_valid, backfill_releases,
    check, check_crossing, decide_passed_on, erasure_rule, notice_releases,
};
use crate::proof::Digest;

/// Bursts remembered as verified.
const REMEMBERED_BURSTS: usize = 4_096;

/// Takes a ledger's records one after the other.
#[derive(Debug)]
pub(super) struct Auditor {
    state: State,
    bursts: VerifiedBursts,
    trail: Trail,
    bulletins: u64,
    releases: u64,
    acknowledgements: u64,
    declarations: u64,
    bodies: u64,
    cover: u64,
    erased: Vec<ErasedContents>,
    /// Orders to erase: up to when, and by whom and why.
    orders: Vec<(Timestamp, String)>,
    /// Bulletins without contents of which no record says that they were erased; `None` where contents
    /// are not looked for.
    without: Option<BTreeSet<u64>>,
    /// Nothing is erased while the audit reads: what a record says is erased, must be gone.
    settled: bool,
    disputed: Vec<Disputed>,
    /// Commitments of the records of bulletins, by position.
    accepted: HashMap<u64, Digest>,
}

impl Default for Auditor {
    fn default() -> Self {
        Self {
            state: State::new(),
            bursts: VerifiedBursts::new(REMEMBERED_BURSTS),
            trail: Trail::default(),
            bulletins: 0,
            releases: 0,
            acknowledgements: 0,
            declarations: 0,
            bodies: 0,
            cover: 0,
            erased: Vec::new(),
            orders: Vec::new(),
            without: None,
            settled: false,
            disputed: Vec::new(),
            accepted: HashMap::new(),
        }
    }
}

impl Auditor {
    /// Nothing seen yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Looks for contents, too: where a bulletin has none, a record must say that they were erased.
    #[must_use]
    pub(super) fn with_contents(mut self, settled: bool) -> Self {
        self.without = Some(BTreeSet::new());
        self.settled = settled;
        self
    }

    /// Whether contents are gone of which no record so far says that they were erased.
    pub(super) fn lacks_contents(&self) -> bool {
        let without = self.without.as_ref();
        without.is_some_and(|without| !without.is_empty())
    }

    /// The fold of what was verified so far.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Verifies the next record, and folds it.
    ///
    /// `about` are the earlier records that it refers to, in the order of [`Auditor::refers_to`].
    pub(super) fn next(
        &mut self,
        record: &Record,
        entry: &[u8; ENTRY_BYTES],
        contents: Result<bool, Fault>,
        about: &[Record],
    ) -> Result<(), Fault> {
        if record.commitment.entry() != *entry {
            return Err(Fault::OtherEntry);
        }
        let last = self.state.time();
        if record.time < last {
            return Err(Fault::TimeWentBack {
                time: record.time,
                last,
            });
        }
        let first = self.state.size() == 0;
        if first != matches!(record.fact, Fact::Genesis(_)) {
            return Err(Fault::Genesis);
        }
        let accepts = matches!(record.fact, Fact::Accepted(_));
        if !accepts && record.fact.lets_go().is_none() && !record.releases.is_empty() {
            return Err(Fault::Releases);
        }
        match &record.fact {
            Fact::Genesis(_) | Fact::Tick | Fact::SnapshotTaken(_) => {}
            Fact::Accepted(accepted) => {
                self.bulletin(accepted, record, about)?;
                let is_here = contents?;
                self.bodies += u64::from(is_here);
                let commitment = record.commitment.0;
                self.accepted.insert(self.state.size(), commitment);
                if let (Some(without), false) = (&mut self.without, is_here) {
                    without.insert(self.state.size());
                }
                self.bulletins += 1;
                let given = record.releases.iter().filter(|one| !one.release.held);
                self.releases += given.count() as u64;
            }
            Fact::Acknowledged(signed) => {
                signed.check(&self.state, record.time)?;
                let lanes = self
                    .trail
                    .acknowledged(&self.state, &signed.ack, record.time);
                let position = self.state.size();
                self.disputed.extend(lanes.into_iter().map(|lane| Disputed {
                    position,
                    partner: signed.ack.recipient.clone(),
                    lane,
                }));
                self.acknowledgements += 1;
            }
            Fact::HoldDecided(signed) => {
                let about = self.one(record, about)?;
                let decided = signed.check(&self.state, about, record.time)?;
                self.let_go(&decided, about, record)?;
            }
            Fact::ConsentDecided(signed) => {
                let about = self.one(record, about)?;
                let decided = signed.check(&self.state, about, record.time)?;
                self.let_go(&decided, about, record)?;
            }
            Fact::Backfilled(one) => self.backfilled(one, record, about)?,
            Fact::ContentsErased(erased) => self.erased(erased, record, about)?,
            Fact::Cover if record.time == last => self.cover += 1,
            Fact::Cover => return Err(Fault::CoverTime),
            Fact::Declared(signed) => {
                let about = self.one(record, about)?;
                signed.check(&self.state, about, record.time)?;
                self.declarations += 1;
            }
            governing => {
                check(&self.state, governing, record.time)?;
                if let Fact::ErasureOrdered(ordered) = governing {
                    let (by, reason) = (&ordered.operator.operator, &ordered.order.reason);
                    let before = ordered.order.before;
                    self.orders.push((before, format!("{by}: {reason}")));
                }
            }
        }
        self.state.apply(record);
        // A notice may take back what still waits.
        let changes = match &record.fact {
            Fact::Accepted(accepted) => accepted.header.notice,
            Fact::Acknowledged(_)
            | Fact::Declared(_)
            | Fact::HoldDecided(_)
            | Fact::ConsentDecided(_)
            | Fact::Backfilled(_)
            | Fact::ContentsErased(_)
            | Fact::ErasureOrdered(_)
            | Fact::Cover
            | Fact::Tick
            | Fact::SnapshotTaken(_) => false,
            _ => true,
        };
        if changes {
            self.trail.governed(&self.state, record.time);
        }
        Ok(())
    }

    /// Positions of the earlier records without which a record cannot be verified.
    pub(super) fn refers_to(&self, record: &Record) -> Vec<u64> {
        let ids: Vec<BulletinId> = match &record.fact {
            Fact::ContentsErased(erased) => {
                return erased.bulletins.iter().map(|one| one.position).collect();
            }
            Fact::Declared(signed) => vec![signed.declaration.id],
            Fact::Accepted(accepted) if accepted.header.notice => {
                let references = accepted.header.references.iter();
                references.map(|one| one.bulletin).collect()
            }
            Fact::Accepted(accepted) => accepted.header.passes_on().collect(),
            fact => fact.lets_go().into_iter().map(|(id, _)| id).collect(),
        };
        let seen = ids.iter().filter_map(|id| self.state.seen(id));
        seen.map(|seen| seen.position).collect()
    }

    /// The earlier records that a record refers to: those that were verified at their positions.
    fn known<'a>(&self, record: &Record, about: &'a [Record]) -> Result<Vec<&'a Record>, Fault> {
        let positions = self.refers_to(record);
        let verified = positions.iter().filter_map(|at| self.accepted.get(at));
        if verified.eq(about.iter().map(|about| &about.commitment.0)) {
            Ok(about.iter().collect())
        } else {
            Err(Fault::RefersToNothing)
        }
    }

    /// The only earlier record that a record refers to.
    fn one<'a>(&self, record: &Record, about: &'a [Record]) -> Result<&'a Record, Fault> {
        let known = self.known(record, about)?;
        known.first().copied().ok_or(Fault::RefersToNothing)
    }

    /// Signature, parts, uniqueness, the decision anew, and the numbers of the lanes.
    fn bulletin(
        &mut self,
        accepted: &Accepted,
        record: &Record,
        about: &[Record],
    ) -> Result<(), Fault> {
        let header = &accepted.header;
        if let Some(seen) = self.state.seen(&header.id) {
            return Err(Fault::Repeated(seen.position));
        }
        let (as_of, size) = (header.as_of, self.state.size());
        if as_of > size {
            return Err(Refused::AheadOfLog { as_of, size }.into());
        }
        let registry = self.state.registry();
        let leaves: Vec<Digest> = accepted.parts.iter().map(PartDigest::leaf).collect();
        let signed = accepted.signed_header();
        signed.verify(record.time, registry, &mut self.bursts)?;
        signed.check_leaves(&leaves)?;
        check_crossing(&self.state, header, record.time)?;
        let audience = accepted.audience.as_ref();
        if let Some(part) = audience {
            let digest = part.digest();
            if !header.audience_part || !accepted.parts.contains(&digest) {
                return Err(Fault::Audience);
            }
        } else if header.audience_part {
            return Err(Fault::Audience);
        }
        if let Some(part) = audience {
            read_audience(&part.body)?;
        }
        if let Some(part) = &accepted.identity {
            if !accepted.parts.contains(&part.digest()) {
                return Err(Refused::Identity.into());
            }
            check_identity(header, part, record.time, registry)?;
        }
        let pseudonyms = self.state.pseudonyms();
        pseudonyms.check(header, &accepted.originator, accepted.disguise.as_ref())?;
        let (labels, parts) = (accepted.labels(), accepted.part_labels());
        let (rulebook, usage) = (self.state.rulebook(), self.state.usage());
        let ancestors: Vec<BulletinId> = header.passes_on().collect();
        let to_all = |releases| PassedOnDecision {
            releases,
            ..PassedOnDecision::default()
        };
        let decided = if header.notice {
            let about = self.one(record, about)?;
            let author = &accepted.originator;
            to_all(notice_releases(&self.state, header, author, &parts, about)?)
        } else if ancestors.is_empty() {
            to_all(decide(rulebook, usage, &labels, &parts, record.time))
        } else {
            let about = self.known(record, about)?;
            let bulletin = PassedOn {
                ancestors: &ancestors,
                labels: &labels,
                parts: &accepted.parts,
            };
            decide_passed_on(&self.state, usage, bulletin, &parts, record.time, &about)?
        };
        check_releases(&decided.releases, &record.releases)?;
        if decided.awaited != accepted.awaited || decided.bonds != accepted.bonds {
            return Err(Fault::Awaited);
        }
        let hash = accepted.header_hash();
        for one in &record.releases {
            if one.bulletin != hash {
                return Err(Fault::OtherBulletin);
            }
            if one.release.held {
                continue;
            }
            let partner = &one.release.recipient;
            let expected = self.state.lanes().issued(partner, header.precedence) + 1;
            if one.number != expected {
                let (partner, found) = (partner.clone(), one.number);
                return Err(Fault::Number {
                    partner,
                    expected,
                    found,
                });
            }
        }
        self.trail.released(&self.state, record);
        Ok(())
    }

    /// What is given of what came before an agreement; or that nothing more is.
    fn backfilled(
        &mut self,
        one: &Backfilled,
        record: &Record,
        about: &[Record],
    ) -> Result<(), Fault> {
        let backfill = self.state.backfills().get(&one.agreement);
        let backfill = backfill.ok_or(Fault::Backfill)?;
        let Some(bulletin) = &one.bulletin else {
            let valid = backfill_is_valid(&self.state, &one.agreement, record.time);
            let ends = valid && one.up_to == backfill.until;
            return if ends { Ok(()) } else { Err(Fault::Backfill) };
        };
        let known = self.one(record, about)?;
        let position = one.up_to.checked_sub(1).ok_or(Fault::Backfill)?;
        let Fact::Accepted(accepted) = &known.fact else {
            return Err(Fault::RefersToNothing);
        };
        let at = record.time;
        let decided = backfill_releases(&self.state, &one.agreement, position, known, at);
        if decided.is_empty() || *bulletin != BackfilledBulletin::of(accepted) {
            return Err(Fault::Backfill);
        }
        self.let_go(&decided, known, record)
    }

    /// Each erasure follows from its rule, and was done.
    fn erased(
        &mut self,
        erased: &ContentsErased,
        record: &Record,
        about: &[Record],
    ) -> Result<(), Fault> {
        let known = self.known(record, about)?;
        if known.len() != erased.bulletins.len() {
            return Err(Fault::RefersToNothing);
        }
        for (one, about) in erased.bulletins.iter().zip(known) {
            let rule = erasure_rule(&self.state, one.position, about, record.time);
            let named = match &about.fact {
                Fact::Accepted(accepted) => accepted.header.id == one.id,
                _ => false,
            };
            if rule != Some(erased.rule) || !named {
                let (rule, id) = (erased.rule, one.id);
                return Err(Fault::Erasure { rule, id });
            }
            if let Some(without) = &mut self.without
                && !without.remove(&one.position)
                && self.settled
            {
                return Err(Fault::NotErased(one.position));
            }
            let ordered = erased.rule == ErasureRule::Order;
            // The first that reaches so far.
            let mut orders = self.orders.iter();
            let order = orders.find(|(before, _)| about.time < *before);
            let order = order.map(|(_, order)| order.clone());
            self.erased.push(ErasedContents {
                position: one.position,
                bulletin: one.id,
                rule: erased.rule.name(),
                by: self.state.size(),
                order: order.filter(|_| ordered),
            });
        }
        Ok(())
    }

    /// The releases that a decision lets go, and their numbers.
    fn let_go(
        &mut self,
        decided: &[Release],
        about: &Record,
        record: &Record,
    ) -> Result<(), Fault> {
        check_releases(decided, &record.releases)?;
        let Fact::Accepted(accepted) = &about.fact else {
            return Err(Fault::RefersToNothing);
        };
        for one in &record.releases {
            let (partner, precedence) = (&one.release.recipient, accepted.header.precedence);
            let expected = self.state.lanes().issued(partner, precedence) + 1;
            if one.bulletin != accepted.header_hash() {
                return Err(Fault::OtherBulletin);
            }
            if one.number != expected {
                let (partner, found) = (partner.clone(), one.number);
                return Err(Fault::Number {
                    partner,
                    expected,
                    found,
                });
            }
            self.trail.let_go(&self.state, about, one, record.time);
        }
        self.releases += record.releases.len() as u64;
        Ok(())
    }

    pub(super) fn finish(self, signed: Option<u64>) -> Result<Audited, Finding> {
        let without = self.without.unwrap_or_default();
        if let Some(first) = without.first() {
            return Err(Finding::ContentsMissing {
                count: without.len(),
                first: *first,
            });
        }
        Ok(Audited {
            ledger: self
                .state
                .ledger()
                .map(|id| id.to_string())
                .unwrap_or_default(),
            records: self.state.size(),
            root: self.state.root(),
            signed,
            bulletins: self.bulletins,
            releases: self.releases,
            acknowledgements: self.acknowledgements,
            declarations: self.declarations,
            bodies: self.bodies,
            cover: self.cover,
            erased: self.erased,
            disputed: self.disputed,
            time: self.state.time(),
        })
    }
}

pub(super) fn check_bodies(
    accepted: &Accepted,
    bodies: &Bytes,
    mentioning: bool,
) -> Result<(), Fault> {
    let sealed = accepted.to_sealed(Some(bodies))?;
    for (at, (part, digest)) in sealed.parts.iter().zip(&accepted.parts).enumerate() {
        // A body that was erased is a hash, and proves itself.
        if matches!(part, Part::Open(part) if part.digest() != *digest) {
            return Err(Fault::Body(at));
        }
    }
    let whole = sealed
        .parts
        .iter()
        .all(|part| matches!(part, Part::Open(_)));
    if mentioning && whole && mentions(&sealed.parts)? != accepted.mentions {
        return Err(Fault::Mentions);
    }
    Ok(())
}

/// The logged releases must be exactly what the decision gives, in its order.
fn check_releases(decided: &[Release], logged: &[LaneRelease]) -> Result<(), Fault> {
    let differs = |release: &Release, what| Fault::Decision {
        partner: release.recipient.clone(),
        what,
    };
    for one in logged {
        let known = decided
            .iter()
            .find(|release| release.recipient == one.release.recipient);
        match known {
            None => return Err(differs(&one.release, "has no right to it")),
            Some(release) if *release != one.release => {
                return Err(differs(release, "has a right to something else of it"));
            }
            Some(_) => {}
        }
    }
    let released = |release: &&Release| {
        !logged
            .iter()
            .any(|one| one.release.recipient == release.recipient)
    };
    match decided.iter().find(released) {
        Some(release) => Err(differs(release, "has a right to it and was left out")),
        None if decided.len() != logged.len() => {
            let twice = &logged[decided.len()].release;
            Err(differs(twice, "receives it twice"))
        }
        None => Ok(()),
    }
}
