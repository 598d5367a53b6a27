//! Where a bulletin comes into another ledger: sealed under an id that follows from the original, and stopped
//! there, whether the broker has answered for it or not.

use std::sync::Arc;

use data_encoding::BASE64;

use super::super::local::{blocking, deadline, follow};
use super::super::notices::{self, NoticeDraft};
use super::super::{Shared, evidence, send};
use super::{Fate, Given, Package, goes_along, own_ledger, refused};
use crate::bulletin::{
    BulletinId, Crossing, Header, Part, PlainPart, Refused, Sealed, Unsealed, seal,
};
use crate::clock::Timestamp;
use crate::store::{OutboxState, Outgoing};
use crate::transport::Trouble;

/// Puts into the outbox what another node gave out; its id here.
pub(super) fn land(shared: &Shared, package: &Package) -> Result<BulletinId, Trouble> {
    let bytes = |text: &str| {
        let bytes = BASE64.decode(text.as_bytes());
        bytes.map_err(|error| Trouble::new("bad_request", error))
    };
    let wrong = |error: Refused| Trouble::new(error.code(), error);
    let sealed = Sealed::from_bytes(&bytes(&package.bulletin)?.into()).map_err(wrong)?;
    let crossing = Crossing::from_bytes(&bytes(&package.crossing)?.into()).map_err(wrong)?;
    if crossing.into != own_ledger(shared)?.0 {
        return Err(Trouble::new(
            "other_ledger",
            "it was given out for another ledger",
        ));
    }
    let id = Crossing::id(&crossing.into, &crossing.original_hash());
    if let Some(known) = shared.store.outbox_status(&id)? {
        match known.state {
            OutboxState::Rejected { code, .. } if code == "crossing_lease" => {
                shared.store.forget_rejected(&id)?;
            }
            // The same original is the same here, whatever became of it.
            _ => return Ok(id),
        }
    }
    let received = Header::from_bytes(&sealed.header).map_err(wrong)?;
    let now = shared.clock.now();
    let parts = sealed.parts.iter().filter(|part| goes_along(part));
    let parts = parts.filter_map(|part| match part {
        Part::Open(part) => Some(PlainPart {
            class: part.class.parse().ok()?,
            marking: part.marking,
            body: part.body.clone(),
            salt: Some(part.salt),
        }),
        Part::Withheld(_) => None,
    });
    let parts: Vec<PlainPart> = parts.collect();
    let header = Header {
        id,
        originator: shared.config.spiffe_id.partner().clone().into(),
        created: now,
        audience_part: false,
        references: Vec::new(),
        as_of: evidence::trusted(shared).size,
        notice: false,
        crossing: Some(Box::new(crossing)),
        ..received
    };
    if header.valid_until <= now {
        return Err(refused("it is no longer valid"));
    }
    let unsealed = Unsealed { header, parts };
    let sealed = seal(
        vec![unsealed],
        shared.signer.as_ref(),
        shared.entropy.as_ref(),
    )
    .map_err(refused)?;
    let outgoing: Vec<Outgoing> = sealed.iter().map(send::outgoing).collect();
    shared.store.enqueue(&outgoing, now)?;
    shared.outbox.notify_one();
    Ok(id)
}

/// What became of something that was taken here, once the broker has answered or the time is over.
pub(super) async fn fate(
    shared: Arc<Shared>,
    copy: BulletinId,
    wait: u64,
) -> Result<Fate, Trouble> {
    let mut settled = shared.settled.subscribe();
    let until = deadline(wait);
    loop {
        settled.borrow_and_update();
        let fate = match state(&shared, copy).await? {
            Some(OutboxState::Promised { .. }) => Fate::Taken,
            Some(OutboxState::Rejected { code, message }) => Fate::Refused { code, message },
            Some(OutboxState::Pending) => Fate::Pending,
            None => {
                let message = format!("no bulletin {copy} was carried here");
                return Err(Trouble::new("unknown_bulletin", message));
            }
        };
        if fate != Fate::Pending
            || tokio::time::timeout_at(until, settled.changed())
                .await
                .is_err()
        {
            return Ok(fate);
        }
    }
}

async fn state(shared: &Arc<Shared>, id: BulletinId) -> Result<Option<OutboxState>, Trouble> {
    let shared = Arc::clone(shared);
    blocking(move || Ok(shared.store.outbox_status(&id)?.map(|status| status.state))).await
}

/// Gives a notice about something that was carried here. What the broker has not answered for is taken back
/// first; whether it came into the ledger all the same, only the broker can say, and until the lease is over
/// it may still come in.
pub(super) async fn give(
    shared: Arc<Shared>,
    notice: NoticeDraft,
    lease_until: Timestamp,
) -> Result<Given, Trouble> {
    let copy = notice.about;
    let known = state(&shared, copy).await?;
    let mut taken_back = match &known {
        None => return Ok(Given::NotNeeded),
        Some(OutboxState::Rejected { code, .. }) if code != notices::TAKEN_BACK => {
            return Ok(Given::NotNeeded);
        }
        Some(OutboxState::Rejected { .. }) => true,
        Some(_) => false,
    };
    if !taken_back {
        let (giving, draft) = (Arc::clone(&shared), notice.clone());
        taken_back = blocking(move || notices::give(&giving, draft)).await? == copy;
        if !taken_back {
            return Ok(Given::Yes);
        }
    }
    let late = shared.clock.now() > lease_until;
    match follow(&shared, copy).await {
        Ok(_) => {
            blocking(move || notices::give(&shared, notice)).await?;
            Ok(Given::Yes)
        }
        Err(trouble) if trouble.code == "unknown_bulletin" && late => Ok(Given::NotNeeded),
        Err(trouble) if trouble.code == "unknown_bulletin" => Ok(Given::NotYet),
        Err(trouble) => Err(trouble),
    }
}
