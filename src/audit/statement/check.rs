//! Verifies a statement from its file and the log's key alone.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::tell::{release_text, terms_text};
use super::{Item, Statement, Subject};
use crate::agreement::{AgreementError, AgreementId, RatifiedAgreement};
use crate::audit::evidence::UNWITNESSED;
use crate::audit::keys::Keys;
use crate::audit::{Evidence, Trusted};
use crate::bulletin::{BulletinId, Precedence, Refused, VerifiedBursts, open};
use crate::clock::Timestamp;
use crate::ledger::{
    Fact, InvalidOpening, LedgerId, Operator, OperatorSignature, PartnerAdmitted, PieceKind, Shown,
    SignedAck, Summary, What,
};
use crate::partner::{KeySetError, KeyUse, PartnerId};
use crate::proof::merkle::verify_inclusion;
use crate::proof::{PayloadType, Unwitnessed, verify};

/// Bursts remembered as verified.
const REMEMBERED_BURSTS: usize = 1_024;

/// A statement that does not hold.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum InvalidStatement {
    /// Not the form of a statement.
    #[error("its `{0}` cannot be read")]
    Malformed(&'static str),
    /// A newer version's format.
    #[error("it has format {0}, and this version reads format 1; upgrade to verify it")]
    UnknownFormat(u32),
    /// An envelope of something else.
    #[error("it is an envelope of `{0}`")]
    OtherType(String),
    /// Nobody whose key is trusted signed it.
    #[error("no key of a log that is trusted here signed it")]
    Signature,
    /// Its checkpoint is not believed.
    #[error("its checkpoint: {0}")]
    Checkpoint(#[from] Unwitnessed),
    /// The checkpoint is of another log, or the first record of another ledger.
    #[error("its checkpoint, its first record and what it says of itself are of different ledgers")]
    OtherLedger,
    /// Records out of order.
    #[error("its records are not in order")]
    Order,
    /// One of its records.
    #[error("record {position}: {wrong}")]
    Record {
        /// Which.
        position: u64,
        /// What is wrong.
        wrong: InvalidItem,
    },
    /// A key set that is not the partner's.
    #[error(
        "the log's key set of {partner} begins with another hash than the one that is trusted here"
    )]
    OtherKeys {
        /// Whose.
        partner: PartnerId,
    },
    /// The record that accepted the bulletin is not there.
    #[error("the record that accepted bulletin {0} is not there")]
    NoRecord(BulletinId),
    /// A number of a lane is left out.
    #[error(
        "between numbers {from} and {to} of lane {lane} something that {partner} got is left out"
    )]
    LeftOut {
        /// Whose lane.
        partner: PartnerId,
        /// Which.
        lane: Precedence,
        /// The last before.
        from: u64,
        /// The first after.
        to: u64,
    },
}

/// What is wrong with a record of a statement.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum InvalidItem {
    /// Its opening.
    #[error(transparent)]
    Opening(#[from] InvalidOpening),
    /// It is not in the log.
    #[error("the log does not have it there")]
    NotIncluded,
    /// It does not concern what the statement is about.
    #[error("it does not concern what the statement is about")]
    Foreign,
    /// It releases the bulletin to more than it shows.
    #[error("it hides to whom else it releases the bulletin")]
    Hidden,
    /// A key set.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// An agreement.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// A bulletin.
    #[error(transparent)]
    Bulletin(#[from] Refused),
    /// Another bulletin than the record is about, or none.
    #[error("the bulletin with it is not the one that it is about")]
    OtherBulletin,
    /// A signature.
    #[error("the signature of {0} does not verify")]
    Signature(PartnerId),
    /// An operator's signature.
    #[error("the signature of operator `{0}` does not verify")]
    Operator(String),
}

/// What was found, on the way through the records.
pub(super) struct Check<'a> {
    pub(super) statement: &'a Statement,
    pub(super) keys: Keys,
    pub(super) bursts: VerifiedBursts,
    pub(super) ledger: Option<LedgerId>,
    pub(super) operators: Vec<Operator>,
    pub(super) agreements: BTreeMap<AgreementId, RatifiedAgreement>,
    /// Numbers that the subject got, by lane, with whether they are within the time.
    pub(super) lanes: BTreeMap<Precedence, Vec<(u64, Timestamp)>>,
    pub(super) gave: BTreeSet<BulletinId>,
    pub(super) got: BTreeSet<BulletinId>,
    /// Releases of the bulletin that it is about: number by recipient.
    pub(super) released: Vec<(PartnerId, Precedence, u64)>,
    /// How far recipients acknowledged.
    pub(super) acknowledged: BTreeMap<(PartnerId, Precedence), (u64, Timestamp)>,
    /// The record that accepted the bulletin is there.
    pub(super) accepted: bool,
    pub(super) nameless: usize,
    pub(super) details: Vec<String>,
}

/// Verifies all of a statement under the logs that are trusted, and the pins where there are some, and tells
/// what it proves.
pub fn verify_statement(text: &str, trusted: &Trusted) -> Result<Evidence, InvalidStatement> {
    let policy = &trusted.policy;
    let known = policy.logs().iter();
    let keys = known.filter_map(|known| known.key.signs_notes());
    let (statement, signer) = Statement::open(text, keys)?;
    let mut logs = policy.logs().iter().map(|known| &known.key);
    let log = logs
        .find(|log| log.signs_notes() == Some(signer))
        .ok_or(InvalidStatement::Signature)?;
    let witnessed = policy.for_log(log).check(&statement.checkpoint)?;
    let head = &witnessed.checkpoint;
    if head.origin != statement.framework {
        return Err(InvalidStatement::OtherLedger);
    }
    let mut check = Check::new(&statement);
    let mut last = None;
    for item in &statement.items {
        if last.is_some_and(|last| item.position <= last) {
            return Err(InvalidStatement::Order);
        }
        last = Some(item.position);
        let wrong = |wrong| InvalidStatement::Record {
            position: item.position,
            wrong,
        };
        let (commitment, shown) = item.opening.verify().map_err(|error| wrong(error.into()))?;
        let leaf = commitment.leaf_hash();
        verify_inclusion(&leaf, item.position, head.size, &item.path, &head.root)
            .map_err(|_| wrong(InvalidItem::NotIncluded))?;
        check.item(item, &shown).map_err(wrong)?;
    }
    if check.ledger != Some(statement.ledger) {
        return Err(InvalidStatement::OtherLedger);
    }
    check.look_for_the_record()?;
    let unpinned = check.pins(trusted)?;
    let complete = check.lanes()?;
    let signed = match witnessed.cosigners.len() {
        0 => String::new(),
        1 => " and one witness cosigned".to_owned(),
        many => format!(" and {many} witnesses cosigned"),
    };
    let mut evidence = check.tell(complete);
    evidence.proved.insert(
        0,
        format!(
            "whoever holds the key of the log `{}` signed this statement at {}; its {} records stand \
             in the log at the positions given, under a checkpoint of {} records that the log signed{signed}",
            head.origin,
            statement.made,
            statement.items.len(),
            head.size
        ),
    );
    if !unpinned.is_empty() {
        evidence.not_proved.push(format!(
            "that the key sets are those of {}: the log says so; compare their hashes, and name them with \
             --pin or --key-set",
            unpinned.join(", ")
        ));
    }
    if witnessed.cosigners.is_empty() {
        evidence.not_proved.push(UNWITNESSED.to_owned());
    }
    Ok(evidence)
}

impl<'a> Check<'a> {
    fn new(statement: &'a Statement) -> Self {
        Self {
            statement,
            keys: Keys::default(),
            bursts: VerifiedBursts::new(REMEMBERED_BURSTS),
            ledger: None,
            operators: Vec::new(),
            agreements: BTreeMap::new(),
            lanes: BTreeMap::new(),
            gave: BTreeSet::new(),
            got: BTreeSet::new(),
            released: Vec::new(),
            acknowledged: BTreeMap::new(),
            accepted: false,
            nameless: 0,
            details: Vec::new(),
        }
    }

    fn item(&mut self, item: &Item, shown: &Shown) -> Result<(), InvalidItem> {
        let position = item.position;
        if let Some((time, fact)) = &shown.fact {
            return self.fact(position, *time, fact);
        }
        let summary = shown.summary.ok_or(InvalidItem::Foreign)?;
        let (precedence, originator) = self.bulletin(item, &summary)?;
        match &self.statement.subject {
            Subject::Bulletin(id) => self.of_bulletin(position, *id, &summary, precedence, shown),
            Subject::Partner(partner) => {
                let partner = partner.clone();
                let kinds = item.opening.pieces.iter().map(|piece| piece.kind);
                if kinds.into_iter().any(|kind| kind == PieceKind::Tally) {
                    // A nameless one would be put upon it.
                    if originator.as_ref() != Some(&partner) {
                        return Err(InvalidItem::Foreign);
                    }
                    self.given(position, &summary, shown);
                    Ok(())
                } else {
                    self.received(position, &partner, &summary, precedence, shown)
                }
            }
        }
    }

    /// The bulletin is the one that the record is about, and its originator signed it.
    fn bulletin(
        &mut self,
        item: &Item,
        summary: &Summary,
    ) -> Result<(Precedence, Option<PartnerId>), InvalidItem> {
        let sealed = item.bulletin.clone().ok_or(InvalidItem::OtherBulletin)?;
        if sealed.header_hash() != summary.bulletin || sealed.id != summary.id {
            return Err(InvalidItem::OtherBulletin);
        }
        // Whether it was valid then, the log's record says; here it is who signed.
        let verified = open(sealed, summary.time, &self.keys, &mut self.bursts)?;
        let originator = verified.header().originator.partner().cloned();
        if originator.is_none() {
            self.nameless += 1;
        }
        Ok((verified.header().precedence, originator))
    }

    fn given(&mut self, position: u64, summary: &Summary, shown: &Shown) {
        self.gave.insert(summary.id);
        let to: Vec<String> = shown.releases.iter().map(release_text).collect();
        let tally = shown.tally.map_or(0, |tally| tally.released);
        let hidden = usize::try_from(tally).unwrap_or(usize::MAX);
        let open = shown.releases.iter().filter(|one| one.number > 0).count();
        let more = match hidden.saturating_sub(open) {
            0 => String::new(),
            more => format!(" and {more} whom it may not know"),
        };
        let to = if to.is_empty() && more.is_empty() {
            "nobody".to_owned()
        } else {
            to.join("; ") + &more
        };
        self.details.push(format!(
            "record {position}, {}: {} released to {to}",
            summary.time, summary.id
        ));
    }

    fn received(
        &mut self,
        position: u64,
        partner: &PartnerId,
        summary: &Summary,
        precedence: Precedence,
        shown: &Shown,
    ) -> Result<(), InvalidItem> {
        let [own] = shown.releases.as_slice() else {
            return Err(InvalidItem::Foreign);
        };
        if own.release.recipient != *partner || own.number == 0 || own.bulletin != summary.bulletin
        {
            return Err(InvalidItem::Foreign);
        }
        let lane = self.lanes.entry(precedence).or_default();
        lane.push((own.number, summary.time));
        if self.statement.covers(summary.time) {
            self.got.insert(summary.id);
            self.details.push(format!(
                "record {position}, {}: released to it {}, number {} of lane {precedence}, {}",
                summary.time,
                summary.id,
                own.number,
                terms_text(own)
            ));
        }
        Ok(())
    }

    fn of_bulletin(
        &mut self,
        position: u64,
        id: BulletinId,
        summary: &Summary,
        precedence: Precedence,
        shown: &Shown,
    ) -> Result<(), InvalidItem> {
        if summary.id != id {
            return Err(InvalidItem::Foreign);
        }
        self.accepted |= summary.accepted;
        let open = |held: bool| {
            let releases = shown.releases.iter();
            releases.filter(|one| (one.number == 0) == held).count() as u64
        };
        let tally = shown.tally.ok_or(InvalidItem::Hidden)?;
        if (open(false), open(true)) != (tally.released.into(), tally.held.into()) {
            return Err(InvalidItem::Hidden);
        }
        for one in &shown.releases {
            if one.bulletin != summary.bulletin {
                return Err(InvalidItem::Foreign);
            }
            if one.number > 0 {
                let recipient = one.release.recipient.clone();
                self.released.push((recipient, precedence, one.number));
            }
            self.details.push(format!(
                "record {position}, {}: to {}",
                summary.time,
                release_text(one)
            ));
        }
        Ok(())
    }

    fn fact(&mut self, position: u64, time: Timestamp, fact: &Fact) -> Result<(), InvalidItem> {
        match fact {
            Fact::Genesis(genesis) if position == 0 => {
                self.ledger = Some(genesis.ledger_id());
                self.operators.clone_from(&genesis.operators);
                Ok(())
            }
            Fact::PartnerAdmitted(one) => {
                let payload = PartnerAdmitted::payload(self.statement.ledger, &one.key_set);
                self.operator(&one.operator, PayloadType::Admission, &payload)?;
                Ok(self.keys.add(&one.key_set)?)
            }
            Fact::KeySetRotated(next) => Ok(self.keys.add(next)?),
            Fact::StandingChanged(one) => {
                self.operator(&one.operator, PayloadType::StandingOrder, &one.bytes)?;
                let (partner, standing) = (&one.order.partner, one.order.standing);
                self.concerns(partner)?;
                let text = format!("record {position}, {time}: {partner} is {standing}");
                self.details.push(text);
                Ok(())
            }
            Fact::AgreementRatified(signed) => {
                let ledger = self.statement.ledger.0;
                let keys = |partner: &PartnerId| self.keys.0.get(partner);
                let previous = signed.terms()?.previous.map(AgreementId);
                let previous = previous.and_then(|id| self.agreements.get(&id));
                let ratified = signed.check_next(ledger, keys, None, previous)?;
                let terms = ratified.agreement();
                let by: Vec<String> = signed
                    .ratifications()
                    .iter()
                    .map(|one| one.partner.to_string())
                    .collect();
                self.details.push(format!(
                    "record {position}, {time}: agreement {}@{} is in force, signed by {}",
                    terms.name,
                    terms.version,
                    by.join(", ")
                ));
                self.agreements.insert(ratified.id(), ratified);
                Ok(())
            }
            Fact::AgreementWithdrawn(signed) => {
                let id = signed.agreement_id();
                let agreement = self.agreements.get(&id).ok_or(InvalidItem::Foreign)?;
                let keys = |partner: &PartnerId| self.keys.0.get(partner);
                let withdrawal = signed.check(agreement, keys, signed.claimed().time)?;
                self.details.push(format!(
                    "record {position}, {time}: {} withdrew from agreement {}",
                    withdrawal.partner,
                    agreement.agreement().name
                ));
                Ok(())
            }
            Fact::Acknowledged(signed) => self.acknowledgement(position, signed),
            Fact::Declared(signed) => {
                let one = &signed.declaration;
                let signature = (
                    PayloadType::Declaration,
                    signed.bytes.as_ref(),
                    &signed.signature,
                );
                if one.ledger != self.statement.ledger
                    || !self
                        .keys
                        .verifies(&one.partner, KeyUse::Acknowledgements, signature)
                {
                    return Err(InvalidItem::Signature(one.partner.clone()));
                }
                match &self.statement.subject {
                    Subject::Bulletin(id) if one.id != *id => return Err(InvalidItem::Foreign),
                    Subject::Bulletin(_) => {}
                    Subject::Partner(_) => self.concerns(&one.partner)?,
                }
                let what = match &one.what {
                    What::Refused(_) => "could not verify",
                    what => what.name(),
                };
                self.details.push(format!(
                    "record {position}, {time}: {} declares by its signature: {what} {}",
                    one.partner, one.id
                ));
                Ok(())
            }
            _ => Err(InvalidItem::Foreign),
        }
    }

    /// An act of an operator whom the first record names.
    fn operator(
        &self,
        by: &OperatorSignature,
        payload_type: PayloadType,
        payload: &[u8],
    ) -> Result<(), InvalidItem> {
        let mut operators = self.operators.iter();
        let operator = operators.find(|operator| operator.name == by.operator);
        let signed = operator.is_some_and(|operator| {
            verify(&operator.public_key, payload_type, payload, &by.signature).is_ok()
        });
        if signed {
            Ok(())
        } else {
            Err(InvalidItem::Operator(by.operator.clone()))
        }
    }

    /// Of a partner whom the statement is about.
    fn concerns(&self, partner: &PartnerId) -> Result<(), InvalidItem> {
        match &self.statement.subject {
            Subject::Partner(subject) if subject == partner => Ok(()),
            _ => Err(InvalidItem::Foreign),
        }
    }

    fn acknowledgement(&mut self, position: u64, signed: &SignedAck) -> Result<(), InvalidItem> {
        let ack = &signed.ack;
        let signature = (
            PayloadType::Acknowledgement,
            signed.bytes.as_ref(),
            &signed.signature,
        );
        if ack.ledger != self.statement.ledger
            || !self
                .keys
                .verifies(&ack.recipient, KeyUse::Acknowledgements, signature)
        {
            return Err(InvalidItem::Signature(ack.recipient.clone()));
        }
        if let Subject::Partner(_) = self.statement.subject {
            self.concerns(&ack.recipient)?;
        }
        for lane in &ack.lanes {
            let key = (ack.recipient.clone(), lane.precedence);
            let known = self.acknowledged.entry(key).or_insert((0, ack.time));
            if lane.up_to > known.0 {
                *known = (lane.up_to, ack.time);
            }
        }
        let lanes = ack.lanes.iter();
        let lanes = lanes.map(|lane| format!("{} up to {}", lane.precedence, lane.up_to));
        let lanes: Vec<String> = lanes.collect();
        self.details.push(format!(
            "record {position}, {}: {} acknowledges by its signature {}",
            ack.time,
            ack.recipient,
            lanes.join(", ")
        ));
        Ok(())
    }

    /// A bulletin's statement has the record that accepted it.
    fn look_for_the_record(&self) -> Result<(), InvalidStatement> {
        match &self.statement.subject {
            Subject::Bulletin(id) if !self.accepted => Err(InvalidStatement::NoRecord(*id)),
            _ => Ok(()),
        }
    }

    /// The key sets in the log are those that are trusted; returns whose only the log vouches for.
    fn pins(&mut self, trusted: &Trusted) -> Result<Vec<String>, InvalidStatement> {
        let mut unpinned = Vec::new();
        for (partner, chain) in &self.keys.0 {
            let hash = chain.pin();
            let line = format!("the key sets of {partner} begin with the hash {hash}");
            self.details.push(line);
            match trusted.pin(partner) {
                Some(pin) if pin == hash => {}
                Some(_) => {
                    let partner = partner.clone();
                    return Err(InvalidStatement::OtherKeys { partner });
                }
                None => unpinned.push(partner.to_string()),
            }
        }
        Ok(unpinned)
    }

    /// The numbers of each lane are dense, from one to the other end; says of each how far it is known to
    /// be whole.
    fn lanes(&self) -> Result<Vec<Whole>, InvalidStatement> {
        let Subject::Partner(partner) = &self.statement.subject else {
            return Ok(Vec::new());
        };
        let mut whole = Vec::new();
        for (lane, numbers) in &self.lanes {
            for pair in numbers.windows(2) {
                let ((from, _), (to, _)) = (pair[0], pair[1]);
                if to != from + 1 {
                    return Err(InvalidStatement::LeftOut {
                        partner: partner.clone(),
                        lane: *lane,
                        from,
                        to,
                    });
                }
            }
            let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
                continue;
            };
            let since = self.statement.since;
            let starts = first.0 == 1 || since.is_some_and(|since| first.1 < since);
            if !starts {
                // Something came before the first that is here, and belongs here or bounds it.
                return Err(InvalidStatement::LeftOut {
                    partner: partner.clone(),
                    lane: *lane,
                    from: 0,
                    to: first.0,
                });
            }
            let ends = self.statement.until.is_some_and(|until| until <= last.1);
            whole.push(Whole {
                lane: *lane,
                last: last.0,
                ends,
            });
        }
        Ok(whole)
    }
}

/// A lane without gaps.
pub(super) struct Whole {
    pub(super) lane: Precedence,
    pub(super) last: u64,
    /// The next number is known to be later than the time that the statement is about.
    pub(super) ends: bool,
}
