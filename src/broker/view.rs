//! Read-only answers about the log, for operators.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::alarms::EXPIRY_WARNING;
use super::commit::Log;
use super::error::BrokerError;
use crate::agreement::AgreementId;
use crate::bulletin::{BulletinId, Kind, Precedence, Relation, Tlp};
use crate::clock::Timestamp;
use crate::decision::{ClauseMiss, Reason, Refusal, Release, Rulebook, decide_for, explain};
use crate::ledger::{
    Accepted, Dossier, Engine, EngineError, Fact, LaneRelease, Notice, Record, State, What,
};
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
    /// The log's verifier key (C2SP signed-note vkey): verifies receipts.
    #[serde(default)]
    pub log_key: String,
    /// The verifier key of the log's second signature, with ML-DSA-44, where there is one: a policy
    /// that names it as a witness asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_key_second: Option<String>,
    /// Records under a checkpoint that the quorum of witnesses cosigned; under any, where no policy
    /// asks for one.
    #[serde(default)]
    pub witnessed: u64,
    /// The last signed checkpoint.
    pub checkpoint: Option<String>,
    /// The checkpoint as it is shown, with the cosignatures of the policy's witnesses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
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
    /// What should have happened by now and has not, and what ends soon.
    #[serde(default)]
    pub alarms: Vec<String>,
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

/// What is decided upon: a page of the agreements in force, and what counts beside them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PolicyView {
    /// Records in the log.
    pub size: u64,
    /// Agreements in force, by position: file in base64. An empty page is the last.
    pub agreements: Vec<(u64, String)>,
    /// The partners' standing.
    pub standing: Vec<(PartnerId, Standing)>,
    /// What of quotas is used up: agreement, clause, originator, recipient, period, bulletins.
    pub usage: Vec<(String, String, PartnerId, PartnerId, u64, u32)>,
    /// What must never flow, in TOML.
    pub red_lines: Option<String>,
}

/// One recipient of a bulletin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Who.
    pub partner: PartnerId,
    /// Its originator may not learn that it receives it.
    #[serde(default)]
    pub confidential: bool,
    /// Under which clauses.
    pub clauses: Vec<String>,
    /// Classes of the parts withheld.
    pub withheld: Vec<String>,
    /// Its number in the recipient's lane.
    pub lane_number: u64,
    /// Whether the recipient has acknowledged it.
    pub acknowledged: bool,
    /// What the recipient declared about it, in order.
    #[serde(default)]
    pub declared: Vec<String>,
    /// By when it has to take it, where it has to and has not.
    #[serde(default)]
    pub due: Option<Timestamp>,
    /// For whose decision it waits, and until when, where it is held.
    #[serde(default)]
    pub held: Option<String>,
}

/// A bulletin and the decision about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BulletinView {
    /// Its id.
    pub id: BulletinId,
    /// SHA-256 of its header.
    pub header: String,
    /// Who published it.
    pub originator: PartnerId,
    /// What recipients see in its place who are not shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudonym: Option<String>,
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
    /// Notices about it: what becomes of it, and by which notice.
    #[serde(default)]
    pub notices: Vec<(Relation, BulletinId)>,
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

pub(super) fn status(log: &Log, connected: Vec<SpiffeId>, now: Timestamp) -> StatusView {
    let mut all = log.alarms(now);
    let state = log.state();
    all.extend(alarms(&state, now));
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
        log_key: state
            .genesis()
            .map(|genesis| genesis.log_key.clone())
            .unwrap_or_default(),
        log_key_second: log.head().second_key(),
        witnessed: log.head().published().borrow().witnessed,
        published: Some(log.head().published().borrow().note.clone())
            .filter(|note| !note.is_empty()),
        checkpoint: log.checkpoint(),
        time: state.time(),
        partners: state.registry().partners().len(),
        agreements: state.rulebook().agreements().len(),
        bulletins: state.bulletins(),
        connected,
        alarms: all,
    }
}

fn alarms(state: &State, now: Timestamp) -> Vec<String> {
    let overdue = state.dossiers().overdue(now);
    let mut alarms: Vec<String> = overdue
        .iter()
        .map(|one| {
            let (id, from) = (one.id, &one.originator);
            format!(
                "{} has not taken {id} of {from}, due {}",
                one.recipient, one.due
            )
        })
        .collect();
    for terms in state.rulebook().agreements().values() {
        let (name, until) = (
            format!("{}@{}", terms.name, terms.version),
            terms.valid_until,
        );
        if until <= now {
            alarms.push(format!(
                "{name} has lapsed at {until}: nothing flows under it"
            ));
        } else if until.since(now) < EXPIRY_WARNING {
            alarms.push(format!("{name} ends at {until}"));
        }
    }
    alarms
}

/// What is decided upon now; agreements in force from after a position on, as many as fit.
pub(super) fn policy(log: &Log, after: u64) -> PolicyView {
    let state = log.state();
    let mut in_force: Vec<_> = state
        .agreements()
        .values()
        .filter(|entry| entry.ended.is_none() && entry.position > after)
        .collect();
    in_force.sort_by_key(|entry| entry.position);
    let mut agreements = Vec::new();
    let mut bytes = 0;
    for entry in in_force {
        let file = BASE64.encode(&entry.signed.to_file());
        bytes += file.len();
        agreements.push((entry.position, file));
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    let usage = state
        .usage()
        .iter()
        .map(|((agreement, clause, from, to), spent)| {
            let (agreement, clause) = (agreement.to_string(), clause.to_string());
            let (from, to) = (from.clone(), to.clone());
            (agreement, clause, from, to, spent.period, spent.bulletins)
        });
    PolicyView {
        size: state.size(),
        agreements,
        usage: usage.collect(),
        standing: state
            .registry()
            .partners()
            .map(|(id, partner)| (id.clone(), partner.standing))
            .collect(),
        red_lines: state.red_lines().map(|order| order.text.clone()),
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

/// The bulletin of this id with every refusal; `None` where none was accepted.
pub(super) fn bulletin(log: &Log, id: &BulletinId) -> Result<Option<BulletinView>, BrokerError> {
    let Some((record, position)) = accepted(log, id)? else {
        return Ok(None);
    };
    let Fact::Accepted(accepted) = &record.fact else {
        return Ok(None);
    };
    let mut view = delivered(log, &record, accepted, position);
    if !accepted.header.notice {
        view.refused = refusals(&log.state(), accepted, &record, position);
    }
    Ok(Some(view))
}

/// The bulletin of this id and what became of it at its recipients, without the refusals: those
/// cost a look at every agreement that ever was.
pub(super) fn followed(log: &Log, id: &BulletinId) -> Result<Option<BulletinView>, BrokerError> {
    let found = accepted(log, id)?;
    Ok(found.and_then(|(record, position)| match &record.fact {
        Fact::Accepted(accepted) => Some(delivered(log, &record, accepted, position)),
        _ => None,
    }))
}

fn delivered(log: &Log, record: &Record, accepted: &Accepted, position: u64) -> BulletinView {
    let state = log.state();
    let dossier = state.dossiers().dossier(&accepted.header_hash());
    let recipients = state.releases(record).map(|one| {
        let lane = state
            .lanes()
            .lane(&one.release.recipient, accepted.header.precedence);
        let later = dossier.and_then(|dossier| dossier.let_go.get(&one.release.recipient));
        let number = later.copied().unwrap_or(one.number);
        let class = |index: &u32| {
            let part = usize::try_from(*index)
                .ok()
                .and_then(|at| accepted.parts.get(at));
            part.map_or_else(|| "?".to_owned(), |part| part.class.clone())
        };
        DeliveryView {
            partner: one.release.recipient.clone(),
            confidential: state.is_confidential(&one.release),
            clauses: one
                .release
                .clauses
                .iter()
                .map(ToString::to_string)
                .collect(),
            withheld: one.release.withheld.iter().map(class).collect(),
            lane_number: number,
            acknowledged: number > 0 && lane.is_some_and(|lane| lane.acked() >= number),
            declared: declared(dossier, &one.release.recipient),
            due: dossier
                .and_then(|dossier| dossier.due.get(&one.release.recipient))
                .map(|(due, _)| *due),
            held: held(dossier, &one.release),
        }
    });
    let header = &accepted.header;
    BulletinView {
        id: header.id,
        header: accepted.header_hash().to_string(),
        originator: accepted.originator.clone(),
        pseudonym: header.originator.pseudonym().map(ToString::to_string),
        position,
        accepted: record.time,
        kinds: header.kinds.clone(),
        tlp: header.tlp,
        precedence: header.precedence,
        exercise: header.exercise,
        parts: accepted.parts.len(),
        recipients: recipients.collect(),
        refused: Vec::new(),
        notices: dossier.map_or_else(Vec::new, |dossier| {
            let of = |notice: &Notice| (notice.relation, notice.id);
            dossier.notices.iter().map(of).collect()
        }),
    }
}

/// Of a release that persons or originators do not let go.
pub(super) const KEPT: &str = "kept for good";

/// Why a release is not on its way, where persons hold it.
fn held(dossier: Option<&Dossier>, release: &Release) -> Option<String> {
    if !release.held || dossier?.let_go.contains_key(&release.recipient) {
        return None;
    }
    if dossier?.kept.contains(&release.recipient) {
        return Some(KEPT.to_owned());
    }
    let asked = dossier?.asked.iter();
    let waiting: Vec<&str> = asked
        .filter(|one| one.given.is_none() && one.awaited.recipient == release.recipient)
        .map(|one| one.awaited.by.as_str())
        .collect();
    if !waiting.is_empty() {
        let by = waiting.join(", ");
        return Some(format!("held until {by} consents to its being passed on"));
    }
    let mut own = dossier?
        .holds
        .iter()
        .filter(|held| held.recipient == release.recipient);
    Some(own.next().map_or_else(
        || "held".to_owned(),
        |held| {
            let persons: Vec<&str> = held.persons.iter().map(String::as_str).collect();
            let given: Vec<&str> = held.released_by.iter().map(String::as_str).collect();
            format!(
                "held until two of {} let it go, before {}; so far: {}",
                persons.join(", "),
                held.deadline,
                if given.is_empty() {
                    "nobody".to_owned()
                } else {
                    given.join(", ")
                }
            )
        },
    ))
}

/// What a recipient declared, in words.
fn declared(dossier: Option<&Dossier>, recipient: &PartnerId) -> Vec<String> {
    let own = dossier.into_iter().flat_map(|dossier| &dossier.declared);
    own.filter(|one| one.partner == *recipient)
        .map(|one| match &one.what {
            What::Taken | What::Erased | What::Applied(_) => one.what.name().to_owned(),
            What::Carried { into, .. } => format!("{}: {}", one.what.name(), into),
            What::PassedOn { to, .. } => {
                let to: Vec<&str> = to.iter().map(PartnerId::as_str).collect();
                format!("applied; passed on to {}", to.join(", "))
            }
            What::Refused(reason) | What::Unable { reason, .. } => {
                format!("{}: {reason}", one.what.name())
            }
        })
        .collect()
}

/// Why every other partner does not receive it, under the agreements as they were when it came.
fn refusals(
    state: &State,
    accepted: &Accepted,
    record: &Record,
    position: u64,
) -> Vec<RefusalView> {
    let (labels, parts) = (accepted.labels(), accepted.part_labels());
    let rulebook = state.rulebook_at(position);
    let mut refused = Vec::new();
    for (id, partner) in state.registry().partners() {
        let released = |one: &LaneRelease| one.release.recipient == *id;
        let known = partner.admitted < position;
        if state.releases(record).any(released) || labels.originator == *id || !known {
            continue;
        }
        let reason = match decide_for(&rulebook, None, &labels, &parts, record.time, id) {
            Err(refusal) => refusal.reason,
            Ok(release) => quota_used_up(&rulebook, release),
        };
        refused.push(RefusalView {
            partner: id.clone(),
            code: reason.code().to_owned(),
            reason: reason.to_string(),
        });
    }
    refused
}

/// Why a release that everything else allowed is not in the log: only a quota can be it.
fn quota_used_up(rulebook: &Rulebook, release: Release) -> Reason {
    let misses = release.clauses.into_iter().map(|clause| {
        let terms = rulebook.agreements().get(&clause.agreement);
        let mut clauses = terms.into_iter().flat_map(|terms| &terms.clauses);
        let quota = clauses
            .find(|terms| terms.id == clause.clause)
            .and_then(|terms| terms.quota);
        let bulletins = quota.map_or(0, |quota| quota.bulletins);
        (clause, ClauseMiss::Quota(bulletins))
    });
    Reason::NoClause(misses.collect())
}

/// Explains a bulletin's decision for one partner, under the agreements as they were when it came.
pub(super) fn explain_bulletin(
    log: &Log,
    id: &BulletinId,
    partner: &PartnerId,
) -> Result<Option<String>, BrokerError> {
    let Some((record, position)) = accepted(log, id)? else {
        return Ok(None);
    };
    let Fact::Accepted(accepted) = &record.fact else {
        return Ok(None);
    };
    let (labels, parts) = (accepted.labels(), accepted.part_labels());
    let rulebook = log.state().rulebook_at(position);
    let mut explanation = explain(&rulebook, None, &labels, &parts, record.time, partner);
    let released = |one: &&LaneRelease| one.release.recipient == *partner;
    // Quotas are not recomputed: what was recorded tells.
    let state = log.state();
    let recorded = state.releases(&record).find(released);
    explanation.decision = match (explanation.decision, recorded) {
        (_, Some(recorded)) => Ok(recorded.release.clone()),
        (Ok(release), None) => Err(Refusal {
            recipient: partner.clone(),
            reason: quota_used_up(&rulebook, release),
        }),
        (refused, None) => refused,
    };
    Ok(Some(explanation.to_string()))
}

/// The record of an accepted bulletin, with its position.
fn accepted(log: &Log, id: &BulletinId) -> Result<Option<(Record, u64)>, BrokerError> {
    let Some(seen) = log.state().seen(id) else {
        return Ok(None);
    };
    let position = seen.position;
    let bytes = log.engine().read(position, 1)?.pop();
    let missing = || EngineError::Unreadable {
        position,
        reason: "missing".into(),
    };
    let record = Record::from_bytes(&bytes.ok_or_else(missing)?);
    let record = record.map_err(|error| BrokerError::Record { position, error })?;
    Ok(Some((record, position)))
}
