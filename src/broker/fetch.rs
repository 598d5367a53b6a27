//! What a node asks about the log: tiles, which say nothing but that the log grew, and of records
//! what concerns its partner.

use std::collections::BTreeSet;
use std::sync::Arc;

use quinn::{RecvStream, SendStream};

use super::Shared;
use super::commit::Log;
use super::error::BrokerError;
use super::inbound::{End, parse, unexpected};
use crate::agreement::{Agreement, AgreementId};
use crate::ledger::{
    Accepted, Engine, Fact, Lane, LaneRelease, Reader, Record, RecordOpening, State,
};
use crate::partner::PartnerId;
use crate::proof::{Digest, TileKind, tile_bytes};
use crate::session::{Fetch, Fetched, Frame, Refusal, UNREADABLE, WantedRecord, encode};
use crate::transport::{FrameReader, write_frame};

/// Below everything that carries bulletins.
const PRIORITY: i32 = -10;
/// An originator is shown the releases of so many recipients with the tally.
const MAX_RELEASES: usize = 64;
/// Bytes of openings in one answer, roughly; the node asks again for the rest.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// Answers until the stream ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    partner: PartnerId,
    mut send: SendStream,
    mut reader: FrameReader<RecvStream>,
    first: Frame,
) -> Result<(), End> {
    let _ = send.set_priority(PRIORITY);
    let mut frame = first;
    loop {
        let Frame::Fetch { sequence, what } = frame else {
            return Err(unexpected("log"));
        };
        let now = shared.clock.now();
        let result = if let Err(wait) = shared.quotas.take(&partner, now) {
            Err(Refusal::new("later", format!("try again in {wait:?}")))
        } else {
            let (asked, of) = (Arc::clone(&shared), partner.clone());
            let found = tokio::task::spawn_blocking(move || answer(&asked.log, &of, &what));
            found.await.map_err(|_| BrokerError::Closed)?
        };
        write_frame(&mut send, &encode(&Frame::Fetched { sequence, result })).await?;
        let Some(bytes) = reader.next().await? else {
            return Ok(());
        };
        frame = parse(bytes)?;
    }
}

fn answer(log: &Log, partner: &PartnerId, what: &Fetch) -> Result<Fetched, Refusal> {
    match what {
        Fetch::Tile(path) => {
            let signed = log.head().signed_size().unwrap_or(0);
            if !matches!(path.kind(), TileKind::Hashes(_)) || !path.is_in(signed) {
                let message = format!("{path} is in no signed checkpoint");
                return Err(Refusal::new("no_tile", message));
            }
            match log.engine().tile(path) {
                Ok(hashes) => Ok(Fetched::Tile(tile_bytes(&hashes).into())),
                Err(error) => {
                    tracing::error!(%error, %path, "a tile cannot be shown");
                    Err(Refusal::new(UNREADABLE, format!("{path} cannot be read")))
                }
            }
        }
        Fetch::Records(records) => Ok(Fetched::Records(opened(log, partner, records))),
        Fetch::Agreement(id) => {
            let records = about(&log.state(), partner, id);
            Ok(Fetched::Records(opened(log, partner, &records)))
        }
    }
}

fn opened(log: &Log, partner: &PartnerId, wanted: &[WantedRecord]) -> Vec<(u64, RecordOpening)> {
    let mut all = Vec::new();
    let mut bytes = 0;
    for WantedRecord { position, bulletin } in wanted {
        // What cannot be read shows nothing: who asks sees that it is missing.
        let record = log.record(*position).unwrap_or_else(|error| {
            tracing::error!(%error, position, "a record cannot be shown");
            None
        });
        let Some(record) = record else { continue };
        let Some(opening) = open(log, partner, &record, bulletin.as_ref()) else {
            continue;
        };
        bytes += opening.to_bytes().len();
        all.push((*position, opening));
        if bytes > MAX_BYTES {
            break;
        }
    }
    all
}

/// Where an agreement entered into force and ended, for its parties.
fn about(state: &State, partner: &PartnerId, id: &AgreementId) -> Vec<WantedRecord> {
    let entry = state.agreements().get(id);
    let Some(entry) = entry.filter(|one| one.agreement.agreement().is_party(partner)) else {
        return Vec::new();
    };
    let ended = entry.ended.iter().map(|ended| ended.position);
    std::iter::once(entry.position)
        .chain(ended)
        .map(|position| WantedRecord {
            position,
            bulletin: None,
        })
        .collect()
}

/// What a record shows to a partner.
fn open(
    log: &Log,
    partner: &PartnerId,
    record: &Record,
    bulletin: Option<&Digest>,
) -> Option<RecordOpening> {
    let is_known = |accepted: &Accepted| bulletin == Some(&accepted.header_hash());
    let is_party = |terms: &Agreement| terms.is_party(partner);
    let shows_fact = match &record.fact {
        Fact::Accepted(accepted) if is_known(accepted) => {
            return open_bulletin(log, partner, accepted, record);
        }
        Fact::Accepted(_) => false,
        Fact::Genesis(_) => true,
        Fact::PartnerAdmitted(admitted) => admitted.key_set.claimed().partner == *partner,
        Fact::KeySetRotated(signed) => signed.claimed().partner == *partner,
        Fact::StandingChanged(changed) => changed.order.partner == *partner,
        Fact::CertificatesRevoked(revoked) => revoked.partner == *partner,
        Fact::AgreementRatified(signed) => {
            let state = log.state();
            let entry = state.agreements().get(&signed.id());
            entry.is_some_and(|entry| is_party(entry.agreement.agreement()))
        }
        Fact::AgreementWithdrawn(signed) => {
            let state = log.state();
            let entry = state.agreements().get(&signed.agreement_id());
            entry.is_some_and(|entry| is_party(entry.agreement.agreement()))
        }
        Fact::Acknowledged(signed) => signed.ack.recipient == *partner,
        Fact::Declared(signed) => signed.declaration.partner == *partner,
        Fact::ConsentDecided(signed) if signed.consent.partner == *partner => true,
        fact => match fact.lets_go() {
            Some((id, _)) => {
                let seen = log.state().seen(&id);
                let about = seen.and_then(|seen| log.record(seen.position).ok().flatten());
                let accepted = about.as_deref().and_then(|about| match &about.fact {
                    Fact::Accepted(accepted) => Some(accepted).filter(|one| is_known(one)),
                    _ => None,
                });
                let opening =
                    accepted.and_then(|accepted| open_bulletin(log, partner, accepted, record));
                return opening;
            }
            None => false,
        },
    };
    shows_fact.then(|| record.open(Reader::Party)).flatten()
}

fn open_bulletin(
    log: &Log,
    partner: &PartnerId,
    accepted: &Accepted,
    record: &Record,
) -> Option<RecordOpening> {
    if accepted.originator == *partner {
        let state = log.state();
        let kept = |one: &&LaneRelease| {
            record.releases.len() > MAX_RELEASES || state.is_confidential(&one.release)
        };
        let kept = record.releases.iter().filter(kept);
        let kept: BTreeSet<PartnerId> = kept.map(|one| one.release.recipient.clone()).collect();
        drop(state);
        return record.open(Reader::Originator(&kept));
    }
    // What did not go out yet may never: its number tells that it was dealt with.
    let acked = {
        let state = log.state();
        let lane = state.lanes().lane(partner, accepted.header.precedence);
        lane.map_or(0, Lane::acked)
    };
    let mut own = record.releases.iter();
    let went = own.any(|one| one.release.recipient == *partner && one.number <= acked);
    went.then(|| record.open(Reader::Recipient(partner)))
        .flatten()
}
