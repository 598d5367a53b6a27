//! Whether a governing fact follows from what is known: the same check admits it to the log,
//! folds it, and audits it.

use bytes::Bytes;
use thiserror::Error;

use super::erasure::{ErasureOrder, ErasureOrdered};
use super::record::{
    Fact, OperatorSignature, PartnerAdmitted, RedLinesOrder, RedLinesSet, StandingOrder,
};
use super::state::State;
use crate::agreement::{
    Agreement, AgreementError, AgreementId, RatifiedAgreement, SignedAgreement,
};
use crate::clock::Timestamp;
use crate::partner::{KeyChain, KeySetError, PartnerId, SignedKeySet, Standing};
use crate::proof::{PayloadType, verify};

/// A governing fact that does not follow, and why.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GovernanceError {
    /// There is no genesis yet, or a second one is offered.
    #[error("a ledger has one genesis, and it is its first record")]
    Genesis,
    /// An operator whom the genesis does not name.
    #[error("`{0}` is not an operator of this ledger")]
    UnknownOperator(String),
    /// Not the operator's signature.
    #[error("the signature of operator `{0}` does not verify")]
    BadOperatorSignature(String),
    /// A partner whom nobody admitted.
    #[error("`{0}` is not a partner; admit it first")]
    UnknownPartner(PartnerId),
    /// Admitted twice.
    #[error("`{0}` is a partner already; a new key set is a rotation")]
    AlreadyAdmitted(PartnerId),
    /// Back from revocation.
    #[error("`{0}` was revoked for good")]
    Revoked(PartnerId),
    /// An order for another ledger, or one that was given before.
    #[error("the order about `{0}` is for another ledger, or older than the last one")]
    StaleOrder(PartnerId),
    /// A key set that does not follow.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// An agreement that does not hold.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// Ratified twice.
    #[error("the agreement {0} is in the log already")]
    AlreadyRatified(AgreementId),
    /// A version that does not follow the one in force.
    #[error("version {version} of `{name}` does not follow what is in force")]
    NotNextVersion {
        /// Name of the agreement.
        name: String,
        /// The version offered.
        version: u64,
    },
    /// It would let flow what must never flow.
    #[error("a red line would be crossed: {0}")]
    RedLine(String),
    /// An older order about red lines, or one for another ledger.
    #[error("the red lines are for another ledger, or older than those in force")]
    StaleRedLines,
    /// An older order to erase, or one for another ledger.
    #[error("the order to erase is for another ledger, or not newer than the last one")]
    StaleErasure,
    /// It would erase what is yet to come.
    #[error("an order erases what was accepted before it was signed, at {0}")]
    ErasesFuture(Timestamp),
    /// Over before it began.
    #[error("the agreement ended its validity at {0}")]
    Over(Timestamp),
    /// Not in force.
    #[error("the agreement {0} is not in force")]
    NotInForce(AgreementId),
    /// Not a governing fact at all.
    #[error("a fact of this kind is not proposed this way")]
    NotGovernance,
}

impl GovernanceError {
    /// A stable name for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::UnknownOperator(_) => "unknown_operator",
            Self::BadOperatorSignature(_) => "bad_operator_signature",
            Self::UnknownPartner(_) => "unknown_partner",
            Self::AlreadyAdmitted(_) => "already_admitted",
            Self::Revoked(_) => "revoked",
            Self::StaleOrder(_) => "stale_order",
            Self::KeySet(_) => "key_set",
            Self::Agreement(error) => error.code(),
            Self::AlreadyRatified(_) => "already_ratified",
            Self::NotNextVersion { .. } => "not_next_version",
            Self::RedLine(_) => "red_line",
            Self::StaleRedLines => "stale_red_lines",
            Self::StaleErasure => "stale_erasure",
            Self::ErasesFuture(_) => "erases_future",
            Self::Over(_) => "over",
            Self::NotInForce(_) => "not_in_force",
            Self::NotGovernance => "not_governance",
        }
    }
}

/// What a governing fact that follows changes.
pub(super) enum Effect {
    Admit(PartnerId, Box<KeyChain>),
    Stand(StandingOrder),
    Rotate(PartnerId, Box<KeyChain>),
    Revoke(PartnerId, Bytes),
    DrawRedLines(RedLinesOrder),
    Enforce {
        signed: SignedAgreement,
        agreement: RatifiedAgreement,
        replaces: Option<AgreementId>,
    },
    OrderErasure(ErasureOrder),
    Withdraw {
        agreement: AgreementId,
        by: PartnerId,
        reason: String,
    },
}

/// Checks a governing fact against the state before it.
pub fn check(state: &State, fact: &Fact, at: Timestamp) -> Result<(), GovernanceError> {
    effect(state, fact, at).map(|_| ())
}

pub(super) fn effect(state: &State, fact: &Fact, at: Timestamp) -> Result<Effect, GovernanceError> {
    let ledger = state.ledger().ok_or(GovernanceError::Genesis)?;
    match fact {
        Fact::Genesis(_) => Err(GovernanceError::Genesis),
        Fact::PartnerAdmitted(admitted) => admit(state, admitted),
        Fact::StandingChanged(changed) => {
            check_operator(
                state,
                &changed.operator,
                PayloadType::StandingOrder,
                &changed.bytes,
            )?;
            let order = &changed.order;
            let partner = known(state, &order.partner)?;
            if order.ledger != ledger || order.time <= partner.ordered {
                return Err(GovernanceError::StaleOrder(order.partner.clone()));
            }
            if partner.standing == Standing::Revoked {
                return Err(GovernanceError::Revoked(order.partner.clone()));
            }
            Ok(Effect::Stand(order.clone()))
        }
        Fact::KeySetRotated(next) => rotate(state, next),
        Fact::CertificatesRevoked(revoked) => {
            known(state, &revoked.partner)?;
            Ok(Effect::Revoke(revoked.partner.clone(), revoked.crl.clone()))
        }
        Fact::RedLinesSet(set) => draw(state, set, at),
        Fact::ErasureOrdered(ordered) => order_erasure(state, ordered, at),
        Fact::AgreementRatified(signed) => enforce(state, signed, at),
        Fact::AgreementWithdrawn(signed) => {
            let keys = |id: &PartnerId| state.registry().partner(id).map(|found| &found.keys);
            let id = signed.agreement_id();
            let entry = state
                .agreements()
                .get(&id)
                .filter(|entry| entry.ended.is_none());
            let entry = entry.ok_or(GovernanceError::NotInForce(id))?;
            let withdrawal = signed.check(&entry.agreement, keys, at)?;
            Ok(Effect::Withdraw {
                agreement: id,
                by: withdrawal.partner.clone(),
                reason: withdrawal.reason.clone(),
            })
        }
        Fact::Accepted(_)
        | Fact::Acknowledged(_)
        | Fact::Declared(_)
        | Fact::HoldDecided(_)
        | Fact::ConsentDecided(_)
        | Fact::Backfilled(_)
        | Fact::ContentsErased(_)
        | Fact::Cover
        | Fact::Tick
        | Fact::SnapshotTaken(_) => Err(GovernanceError::NotGovernance),
    }
}

fn known<'a>(
    state: &'a State,
    id: &PartnerId,
) -> Result<&'a super::registry::Partner, GovernanceError> {
    state
        .registry()
        .partner(id)
        .ok_or_else(|| GovernanceError::UnknownPartner(id.clone()))
}

fn check_operator(
    state: &State,
    signature: &OperatorSignature,
    payload_type: PayloadType,
    payload: &[u8],
) -> Result<(), GovernanceError> {
    let name = &signature.operator;
    let genesis = state.genesis().ok_or(GovernanceError::Genesis)?;
    let operator = genesis
        .operators
        .iter()
        .find(|operator| operator.name == *name);
    let operator = operator.ok_or_else(|| GovernanceError::UnknownOperator(name.clone()))?;
    verify(
        &operator.public_key,
        payload_type,
        payload,
        &signature.signature,
    )
    .map_err(|_| GovernanceError::BadOperatorSignature(name.clone()))
}

fn admit(state: &State, admitted: &PartnerAdmitted) -> Result<Effect, GovernanceError> {
    let ledger = state.ledger().ok_or(GovernanceError::Genesis)?;
    let payload = PartnerAdmitted::payload(ledger, &admitted.key_set);
    check_operator(state, &admitted.operator, PayloadType::Admission, &payload)?;
    let id = &admitted.key_set.claimed().partner;
    if state.registry().partner(id).is_some() {
        return Err(GovernanceError::AlreadyAdmitted(id.clone()));
    }
    let keys = KeyChain::start(admitted.key_set.clone())?;
    Ok(Effect::Admit(id.clone(), Box::new(keys)))
}

fn rotate(state: &State, next: &SignedKeySet) -> Result<Effect, GovernanceError> {
    let id = &next.claimed().partner;
    let mut keys = known(state, id)?.keys.clone();
    keys.push(next.clone())?;
    Ok(Effect::Rotate(id.clone(), Box::new(keys)))
}

fn enforce(
    state: &State,
    signed: &SignedAgreement,
    at: Timestamp,
) -> Result<Effect, GovernanceError> {
    let ledger = state.ledger().ok_or(GovernanceError::Genesis)?;
    let keys = |id: &PartnerId| state.registry().partner(id).map(|found| &found.keys);
    let previous = signed.terms()?.previous.and_then(|previous| {
        let entry = state.agreements().get(&AgreementId(previous))?;
        entry.ended.is_none().then_some(&entry.agreement)
    });
    let ratified = signed.check_next(ledger.0, keys, Some(at), previous)?;
    let agreement = ratified.agreement();
    if agreement.valid_until <= at {
        return Err(GovernanceError::Over(agreement.valid_until));
    }
    if state.agreements().contains_key(&ratified.id()) {
        return Err(GovernanceError::AlreadyRatified(ratified.id()));
    }
    let replaces = replaced(state, agreement)?;
    check_red_lines(state, &ratified, replaces.as_ref(), at)?;
    Ok(Effect::Enforce {
        signed: signed.clone(),
        agreement: ratified,
        replaces,
    })
}

/// Red lines of an operator, newer than those in force, which what is in force does not cross.
fn draw(state: &State, set: &RedLinesSet, at: Timestamp) -> Result<Effect, GovernanceError> {
    check_operator(state, &set.operator, PayloadType::RedLines, &set.bytes)?;
    let order = &set.order;
    let known = state.red_lines().map(|known| known.time);
    if state.ledger() != Some(order.ledger) || known.is_some_and(|known| order.time <= known) {
        return Err(GovernanceError::StaleRedLines);
    }
    match order.lines.crossed(state.rulebook(), at) {
        None => Ok(Effect::DrawRedLines(order.clone())),
        Some(crossed) => Err(GovernanceError::RedLine(crossed.to_string())),
    }
}

/// An operator's order, newer than the last one, about what was accepted before it was signed.
fn order_erasure(
    state: &State,
    ordered: &ErasureOrdered,
    at: Timestamp,
) -> Result<Effect, GovernanceError> {
    let signed = (&ordered.operator, PayloadType::ErasureOrder);
    check_operator(state, signed.0, signed.1, &ordered.bytes)?;
    let order = &ordered.order;
    let known = state.erasure_order().map(|known| known.time);
    if state.ledger() != Some(order.ledger) || known.is_some_and(|known| order.time <= known) {
        return Err(GovernanceError::StaleErasure);
    }
    // What was accepted up to now is known; what comes is not.
    if order.before > order.time || order.before > at {
        return Err(GovernanceError::ErasesFuture(order.time));
    }
    Ok(Effect::OrderErasure(order.clone()))
}

/// That with this agreement in force no red line is crossed.
fn check_red_lines(
    state: &State,
    ratified: &RatifiedAgreement,
    replaces: Option<&AgreementId>,
    at: Timestamp,
) -> Result<(), GovernanceError> {
    let Some(order) = state
        .red_lines()
        .filter(|order| !order.lines.never.is_empty())
    else {
        return Ok(());
    };
    let mut rulebook = state.rulebook().clone();
    if let Some(replaced) = replaces {
        rulebook.remove(replaced);
    }
    rulebook.insert(ratified);
    match order.lines.crossed(&rulebook, at) {
        None => Ok(()),
        Some(crossed) => Err(GovernanceError::RedLine(crossed.to_string())),
    }
}

/// The agreement that a later version replaces: the one it names by hash, in force, of the same
/// name, and none of whose parties it leaves out, because leaving a party out would end its rights
/// without its signature. Version 1 replaces nothing.
fn replaced(state: &State, agreement: &Agreement) -> Result<Option<AgreementId>, GovernanceError> {
    let Some(previous) = agreement.previous else {
        return Ok(None);
    };
    let not_next = || GovernanceError::NotNextVersion {
        name: agreement.name.to_string(),
        version: agreement.version,
    };
    let entry = state
        .agreements()
        .get(&AgreementId(previous))
        .ok_or_else(not_next)?;
    let old = entry.agreement.agreement();
    let keeps_parties = old.parties.iter().all(|party| {
        agreement
            .parties
            .iter()
            .any(|new| new.partner == party.partner)
    });
    let follows = entry.ended.is_none()
        && old.name == agreement.name
        && old.version + 1 == agreement.version
        && keeps_parties;
    if follows {
        Ok(Some(entry.agreement.id()))
    } else {
        Err(not_next())
    }
}
