//! Verifies a statement from its file and the log's key alone.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{Item, Statement, Subject};
use crate::agreement::{AgreementError, AgreementId, RatifiedAgreement};
use crate::audit::Evidence;
use crate::bulletin::{BulletinId, BulletinKeys, Precedence, Refused, VerifiedBursts, open};
use crate::clock::Timestamp;
use crate::ledger::{
    Fact, InvalidOpening, LaneRelease, LedgerId, PieceKind, Shown, SignedAck, Summary, What,
};
use crate::partner::{KeyChain, KeySetError, KeyUse, PartnerId, SignedKeySet};
use crate::proof::merkle::verify_inclusion;
use crate::proof::{KeyId, PayloadType, Policy, PublicKey, Signature, Unwitnessed, verify};

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
}

/// Keys out of the records themselves, of any version: what was recorded under an earlier one stays.
#[derive(Default)]
struct Keys(BTreeMap<PartnerId, KeyChain>);

impl Keys {
    fn add(&mut self, next: &SignedKeySet) -> Result<(), KeySetError> {
        let partner = next.claimed().partner.clone();
        match self.0.get_mut(&partner) {
            Some(chain) => chain.push(next.clone()),
            None => {
                let chain = KeyChain::start(next.clone())?;
                self.0.insert(partner, chain);
                Ok(())
            }
        }
    }

    fn verifies(
        &self,
        partner: &PartnerId,
        used: KeyUse,
        signed: (PayloadType, &[u8], &Signature),
    ) -> bool {
        let chain = self.0.get(partner);
        let key = chain.and_then(|chain| chain.key_ever(&signed.2.key_id, used));
        key.is_some_and(|key| verify(&key, signed.0, signed.1, signed.2).is_ok())
    }
}

impl BulletinKeys for Keys {
    fn bulletin_key(&self, partner: &PartnerId, key: &KeyId, _: Timestamp) -> Option<PublicKey> {
        self.0.get(partner)?.key_ever(key, KeyUse::Bulletins)
    }
}

/// What was found, on the way through the records.
struct Check<'a> {
    statement: &'a Statement,
    keys: Keys,
    bursts: VerifiedBursts,
    ledger: Option<LedgerId>,
    agreements: BTreeMap<AgreementId, RatifiedAgreement>,
    /// Numbers that the subject got, by lane, with whether they are within the time.
    lanes: BTreeMap<Precedence, Vec<(u64, Timestamp)>>,
    gave: BTreeSet<BulletinId>,
    got: BTreeSet<BulletinId>,
    /// Releases of the bulletin that it is about: number by recipient.
    released: Vec<(PartnerId, Precedence, u64)>,
    /// How far recipients acknowledged.
    acknowledged: BTreeMap<(PartnerId, Precedence), (u64, Timestamp)>,
    nameless: usize,
    details: Vec<String>,
}

/// Verifies all of a statement under a policy, and tells what it proves.
pub fn verify_statement(text: &str, policy: &Policy) -> Result<Evidence, InvalidStatement> {
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
    if witnessed.cosigners.is_empty() {
        evidence.not_proved.push(
            "that others were shown the same log: no witness that is trusted here cosigned it"
                .to_owned(),
        );
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
            agreements: BTreeMap::new(),
            lanes: BTreeMap::new(),
            gave: BTreeSet::new(),
            got: BTreeSet::new(),
            released: Vec::new(),
            acknowledged: BTreeMap::new(),
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
        let precedence = self.bulletin(item, &summary)?;
        match &self.statement.subject {
            Subject::Bulletin(id) => self.of_bulletin(position, *id, &summary, precedence, shown),
            Subject::Partner(partner) => {
                let partner = partner.clone();
                let kinds = item.opening.pieces.iter().map(|piece| piece.kind);
                if kinds.into_iter().any(|kind| kind == PieceKind::Tally) {
                    self.given(position, &summary, shown);
                    Ok(())
                } else {
                    self.received(position, &partner, &summary, precedence, shown)
                }
            }
        }
    }

    /// The bulletin is the one that the record is about, and its originator signed it.
    fn bulletin(&mut self, item: &Item, summary: &Summary) -> Result<Precedence, InvalidItem> {
        let sealed = item.bulletin.clone().ok_or(InvalidItem::OtherBulletin)?;
        if sealed.header_hash() != summary.bulletin || sealed.id != summary.id {
            return Err(InvalidItem::OtherBulletin);
        }
        // Whether it was valid then, the log's record says; here it is who signed.
        let verified = open(sealed, summary.time, &self.keys, &mut self.bursts)?;
        if verified.header().originator.partner().is_none() {
            self.nameless += 1;
        }
        Ok(verified.header().precedence)
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
            "record {position}, {}: gave {} to {to}",
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
                "record {position}, {}: got {}, number {} of lane {precedence}, {}",
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
                Ok(())
            }
            Fact::PartnerAdmitted(one) => Ok(self.keys.add(&one.key_set)?),
            Fact::KeySetRotated(next) => Ok(self.keys.add(next)?),
            Fact::StandingChanged(one) => {
                let (partner, standing) = (&one.order.partner, one.order.standing);
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

    fn tell(self, lanes: Vec<Whole>) -> Evidence {
        let (mut proved, mut not_proved) = (Vec::new(), Vec::new());
        let period = match (self.statement.since, self.statement.until) {
            (None, None) => String::new(),
            (Some(since), None) => format!(" since {since}"),
            (None, Some(until)) => format!(" before {until}"),
            (Some(since), Some(until)) => format!(" from {since} to {until}"),
        };
        let agreements = self.agreements.len();
        proved.push(format!(
            "the log has the key sets of all who signed, and {} with its parties' signatures",
            count(agreements, "agreement")
        ));
        match &self.statement.subject {
            Subject::Partner(partner) => {
                proved.push(format!(
                    "{partner} gave {} and got {}{period}, each with its originator's signature",
                    count(self.gave.len(), "bulletin"),
                    self.got.len()
                ));
                for one in &lanes {
                    let (lane, last) = (one.lane, one.last);
                    let acked = self.acknowledged.get(&(partner.clone(), lane));
                    let acked = acked.map_or_else(
                        || format!("{partner} has not acknowledged any of it"),
                        |(up_to, at)| {
                            format!("{partner} signed at {at} that it holds it up to {up_to}")
                        },
                    );
                    proved.push(format!(
                        "in lane {lane} nothing is left out up to number {last}; {acked}"
                    ));
                    if !one.ends {
                        not_proved.push(format!(
                            "that {partner} got nothing after number {last} of lane {lane}"
                        ));
                    }
                }
                let silent = Precedence::ALL.iter();
                let silent: Vec<String> = silent
                    .filter(|lane| lanes.iter().all(|one| one.lane != **lane))
                    .map(|lane| lane.to_string())
                    .collect();
                if !silent.is_empty() {
                    not_proved.push(format!(
                        "that {partner} got nothing in lane {}, of which nothing is here",
                        silent.join(", ")
                    ));
                }
                not_proved.push(format!(
                    "that {partner} gave nothing else: the numbers of lanes count what is got; the whole \
                     ledger proves it"
                ));
            }
            Subject::Bulletin(id) => {
                proved.push(format!(
                    "bulletin {id}, which its originator signed, was released to {}",
                    count(self.released.len(), "recipient")
                ));
                for (recipient, lane, number) in &self.released {
                    match self.acknowledged.get(&(recipient.clone(), *lane)) {
                        Some((up_to, at)) if up_to >= number => proved.push(format!(
                            "{recipient} signed at {at} that it holds lane {lane} up to {up_to}: number \
                             {number} is it"
                        )),
                        _ => not_proved.push(format!("that {recipient} has it")),
                    }
                }
                not_proved.push(
                    "that it was released to nobody else by a later record: the whole ledger proves it"
                        .to_owned(),
                );
            }
        }
        if self.nameless > 0 {
            not_proved.push(format!(
                "who published {} of the bulletins: their headers name a key only",
                self.nameless
            ));
        }
        not_proved.push(
            "what the bulletins say: contents are no part of a statement; and that they arrived with all \
             these parts: permission may have narrowed before they were delivered"
                .to_owned(),
        );
        Evidence {
            kind: "statement",
            proved,
            details: self.details,
            not_proved,
        }
    }
}

fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

/// A lane without gaps.
struct Whole {
    lane: Precedence,
    last: u64,
    /// The next number is known to be later than the time that the statement is about.
    ends: bool,
}

fn terms_text(one: &LaneRelease) -> String {
    let release = &one.release;
    let clauses: Vec<String> = release.clauses.iter().map(ToString::to_string).collect();
    let under = if clauses.is_empty() {
        "as a notice".to_owned()
    } else {
        format!("under {}", clauses.join(", "))
    };
    match release.withheld.len() {
        0 => under,
        1 => format!("{under}, one part withheld"),
        parts => format!("{under}, {parts} parts withheld"),
    }
}

fn release_text(one: &LaneRelease) -> String {
    let held = if one.number == 0 {
        ", held until it is let go"
    } else {
        ""
    };
    format!("{} {}{held}", one.release.recipient, terms_text(one))
}
