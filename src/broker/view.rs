//! Read-only answers about the log, for operators.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::commit::Log;
use super::error::BrokerError;
use crate::agreement::AgreementId;
use crate::bulletin::{BulletinId, Kind, PartDigest, Precedence, Tlp, read_audience};
use crate::clock::Timestamp;
use crate::decision::explain;
use crate::ledger::{Accepted, Engine, EngineError, Fact, Record, State};
use crate::partner::{PartnerId, SpiffeId, Standing};

/// How the broker stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusView {
    /// The ledger's id.
    pub ledger: String,
    /// The framework's name.
    pub framework: String,
    /// Records in the log.
    pub size: u64,
    /// Root of its tree.
    pub root: String,
    /// The last signed checkpoint.
    pub checkpoint: Option<String>,
    /// Time of the last record.
    pub time: Timestamp,
    /// Partners admitted.
    pub partners: usize,
    /// Agreements in force.
    pub agreements: usize,
    /// Bulletins accepted.
    pub bulletins: usize,
    /// Nodes connected.
    pub connected: Vec<SpiffeId>,
}

/// A partner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartnerView {
    /// Its id.
    pub partner: PartnerId,
    /// Whether it may act.
    pub standing: Standing,
    /// Hash of version 1 of its key set: what agreements pin.
    pub pin: String,
    /// The version of its key set in force.
    pub key_set_version: u64,
    /// Position of its admission.
    pub admitted: u64,
    /// Whether it publishes a revocation list.
    pub revocation_list: bool,
    /// Bulletins released to it and not yet acknowledged.
    pub backlog: usize,
}

/// An agreement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgreementView {
    /// SHA-256 of its bytes.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its title.
    pub title: String,
    /// Its parties.
    pub parties: Vec<PartnerId>,
    /// In sentences.
    pub clauses: Vec<String>,
    /// Releases nothing before.
    pub valid_from: Timestamp,
    /// Releases nothing from then on.
    pub valid_until: Timestamp,
    /// In force from this position on.
    pub position: u64,
    /// How it ended, where it did.
    pub ended: Option<String>,
}

/// One recipient of a bulletin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Who.
    pub partner: PartnerId,
    /// Under which clauses.
    pub clauses: Vec<String>,
    /// Classes of the parts withheld.
    pub withheld: Vec<String>,
    /// Its number in the recipient's lane.
    pub lane_number: u64,
    /// Whether the recipient has acknowledged it.
    pub acknowledged: bool,
}

/// A bulletin and the decision about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BulletinView {
    /// Its id.
    pub id: BulletinId,
    /// Who published it.
    pub originator: PartnerId,
    /// Where it stands in the log.
    pub position: u64,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// What it is about.
    pub kinds: Vec<Kind>,
    /// Its TLP.
    pub tlp: Tlp,
    /// Its precedence.
    pub precedence: Precedence,
    /// Whether it is an exercise.
    pub exercise: bool,
    /// Number of parts.
    pub parts: usize,
    /// Who receives it.
    pub recipients: Vec<DeliveryView>,
    /// Who does not, and why.
    pub refused: Vec<RefusalView>,
}

/// A partner that does not receive a bulletin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusalView {
    /// Who.
    pub partner: PartnerId,
    /// Stable code.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// A record as it is stored; bytes in base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordView {
    /// Where it stands.
    pub position: u64,
    /// The record.
    pub record: String,
    /// Its entry in the log's tree.
    pub entry: String,
    /// Its bodies, where it has some.
    pub bodies: Option<String>,
}

/// Bytes of records in one answer, and how many at most.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
const PAGE_RECORDS: usize = 512;

/// Records from a position on, as many as fit in an answer, at least one.
pub(super) fn records(log: &Log, from: u64) -> Result<Vec<RecordView>, BrokerError> {
    let engine = log.engine();
    let records = engine.read(from, PAGE_RECORDS)?;
    let entries = engine.entries(from, PAGE_RECORDS)?;
    let mut views = Vec::new();
    let mut bytes = 0;
    for ((position, record), entry) in (from..).zip(records).zip(entries) {
        let bodies = engine.bodies(position)?;
        bytes += record.len() + bodies.as_ref().map_or(0, bytes::Bytes::len);
        views.push(RecordView {
            position,
            record: BASE64.encode(&record),
            entry: BASE64.encode(&entry),
            bodies: bodies.map(|bodies| BASE64.encode(&bodies)),
        });
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(views)
}

pub(super) fn status(log: &Log, connected: Vec<SpiffeId>) -> StatusView {
    let state = log.state();
    StatusView {
        ledger: state
            .ledger()
            .map(|ledger| ledger.to_string())
            .unwrap_or_default(),
        framework: state
            .genesis()
            .map(|genesis| genesis.framework.clone())
            .unwrap_or_default(),
        size: state.size(),
        root: state.root().to_string(),
        checkpoint: log.checkpoint(),
        time: state.time(),
        partners: state.registry().partners().len(),
        agreements: state.rulebook().agreements().len(),
        bulletins: state.bulletins(),
        connected,
    }
}

pub(super) fn partners(log: &Log) -> Vec<PartnerView> {
    let state = log.state();
    let view = |(id, partner): (&PartnerId, &crate::ledger::Partner)| PartnerView {
        partner: id.clone(),
        standing: partner.standing,
        pin: partner.keys.pin().to_string(),
        key_set_version: partner.keys.current().version,
        admitted: partner.admitted,
        revocation_list: partner.revocations.is_some(),
        backlog: state.lanes().backlog(id),
    };
    state.registry().partners().map(view).collect()
}

pub(super) fn agreements(log: &Log) -> Vec<AgreementView> {
    let state = log.state();
    let mut all: Vec<AgreementView> = state
        .agreements()
        .iter()
        .map(|(id, entry)| agreement(*id, entry))
        .collect();
    all.sort_by_key(|agreement| agreement.position);
    all
}

fn agreement(id: AgreementId, entry: &crate::ledger::AgreementEntry) -> AgreementView {
    let terms = entry.agreement.agreement();
    let ended = entry.ended.as_ref().map(|ended| match &ended.by {
        Some(partner) => {
            let reason = &ended.reason;
            let reason = if reason.is_empty() {
                String::new()
            } else {
                format!(": {reason}")
            };
            format!(
                "withdrawn by {partner} in record {}{reason}",
                ended.position
            )
        }
        None => format!("ended in record {}: {}", ended.position, ended.reason),
    });
    AgreementView {
        id: id.to_string(),
        name: terms.name.to_string(),
        version: terms.version,
        title: terms.title.clone(),
        parties: terms
            .parties
            .iter()
            .map(|party| party.partner.clone())
            .collect(),
        clauses: terms
            .clauses
            .iter()
            .map(|one| format!("{}: {one}", one.id))
            .collect(),
        valid_from: terms.valid_from,
        valid_until: terms.valid_until,
        position: entry.position,
        ended,
    }
}

/// The bulletin of this id; `None` where none was accepted.
pub(super) fn bulletin(log: &Log, id: &BulletinId) -> Result<Option<BulletinView>, BrokerError> {
    let Some(seen) = log.state().seen(id) else {
        return Ok(None);
    };
    let bytes = log.engine().read(seen.position, 1)?.pop();
    let missing = || EngineError::Unreadable {
        position: seen.position,
        reason: "missing".into(),
    };
    let record =
        Record::from_bytes(&bytes.ok_or_else(missing)?).map_err(|error| BrokerError::Record {
            position: seen.position,
            error,
        })?;
    let Fact::Accepted(accepted) = &record.fact else {
        return Ok(None);
    };
    let state = log.state();
    let recipients = record.releases.iter().map(|one| {
        let lane = state
            .lanes()
            .lane(&one.release.recipient, accepted.header.precedence);
        let class = |index: &u32| {
            let part = usize::try_from(*index)
                .ok()
                .and_then(|at| accepted.parts.get(at));
            part.map_or_else(|| "?".to_owned(), |part| part.class.clone())
        };
        DeliveryView {
            partner: one.release.recipient.clone(),
            clauses: one
                .release
                .clauses
                .iter()
                .map(ToString::to_string)
                .collect(),
            withheld: one.release.withheld.iter().map(class).collect(),
            lane_number: one.number,
            acknowledged: lane.is_some_and(|lane| lane.acked() >= one.number),
        }
    });
    let header = &accepted.header;
    Ok(Some(BulletinView {
        id: header.id,
        originator: header.originator.clone(),
        position: seen.position,
        accepted: record.time,
        kinds: header.kinds.clone(),
        tlp: header.tlp,
        precedence: header.precedence,
        exercise: header.exercise,
        parts: accepted.parts.len(),
        recipients: recipients.collect(),
        refused: refusals(&state, accepted, &record),
    }))
}

/// Why every other partner does not receive it, under the agreements as they are now.
fn refusals(state: &State, accepted: &Accepted, record: &Record) -> Vec<RefusalView> {
    let audience = accepted
        .audience
        .as_ref()
        .and_then(|part| read_audience(&part.body).ok());
    let labels = accepted.header.labels(audience.as_ref());
    let parts: Vec<_> = accepted.parts.iter().map(PartDigest::labels).collect();
    let mut refused = Vec::new();
    for (id, _) in state.registry().partners() {
        let released = record
            .releases
            .iter()
            .any(|one| one.release.recipient == *id);
        if released || *id == accepted.header.originator {
            continue;
        }
        let explanation = explain(state.rulebook(), &labels, &parts, record.time, id);
        let (code, reason) = match explanation.decision {
            Err(refusal) => (refusal.reason.code().to_owned(), refusal.reason.to_string()),
            Ok(_) => (
                "later_agreement".into(),
                "no agreement allowed it when it came".into(),
            ),
        };
        refused.push(RefusalView {
            partner: id.clone(),
            code,
            reason,
        });
    }
    refused
}

/// Explains a bulletin's decision for one partner, under the agreements as they are now.
pub(super) fn explain_bulletin(
    log: &Log,
    id: &BulletinId,
    partner: &PartnerId,
) -> Result<Option<String>, BrokerError> {
    let Some(seen) = log.state().seen(id) else {
        return Ok(None);
    };
    let bytes = log.engine().read(seen.position, 1)?.pop();
    let Some(bytes) = bytes else { return Ok(None) };
    let record = Record::from_bytes(&bytes).map_err(|error| BrokerError::Record {
        position: seen.position,
        error,
    })?;
    let Fact::Accepted(accepted) = &record.fact else {
        return Ok(None);
    };
    let audience = accepted
        .audience
        .as_ref()
        .and_then(|part| read_audience(&part.body).ok());
    let labels = accepted.header.labels(audience.as_ref());
    let parts: Vec<_> = accepted.parts.iter().map(PartDigest::labels).collect();
    let state = log.state();
    let explanation = explain(state.rulebook(), &labels, &parts, record.time, partner);
    Ok(Some(explanation.to_string()))
}
