//! Where a bulletin leaves its ledger: what may be carried, that it is declared first, and what is still owed
//! about it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;

use super::super::inbox::{InboxItem, Verdict};
use super::super::local::{blocking, deadline, submit_within};
use super::super::notices::{self, NoticeDraft, is_emptied};
use super::super::obligations::owed;
use super::super::{LinkStatus, Shared, declare, evidence};
use super::{Arrival, Carriage, CarryAnswer, Package, goes_along, own_ledger, refused};
use crate::bulletin::{
    BulletinId, Crossing, Header, MAX_HOPS, MAX_MISSING, Precedence, Refused, Relation,
};
use crate::clock::Timestamp;
use crate::ledger::{Receipt, SignedDeclaration, What};
use crate::proof::Digest;
use crate::session::Statement;
use crate::transport::Trouble;

/// How long the broker may take to answer a declaration.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a receipt is waited for that goes along, where nothing is urgent, from when its bulletin came.
const RECEIPT_PATIENCE: Duration = Duration::from_secs(2);
/// The longest receipt that goes along.
const MAX_RECEIPT: usize = 16 * 1024;
/// The longest and the shortest lease, in seconds.
const LEASES: std::ops::RangeInclusive<u64> = 3..=3_600;
/// What was carried is followed for so long after it is over by itself.
const REMEMBERED: Duration = Duration::from_hours(720);
/// Items and rows in one answer.
const PAGE: usize = 64;

/// Under this name it is kept how far the inbox was carried. No application can take it.
pub(super) fn reader(into: &Digest) -> String {
    format!("\0carry/{into}")
}

fn row_key(into: &Digest, bulletin: &BulletinId) -> Vec<u8> {
    [prefix(into).as_slice(), &bulletin.0].concat()
}

fn prefix(into: &Digest) -> Vec<u8> {
    [b"carry/".as_slice(), into.as_bytes()].concat()
}

/// What came since the bridge was here last, once there is something, or the agreements changed.
pub(super) async fn next(
    shared: Arc<Shared>,
    into: Digest,
    wait: u64,
    known: u64,
) -> Result<CarryAnswer, Trouble> {
    let (mut arrived, mut agreed) = (shared.inbox.subscribe(), shared.evidence.subscribe());
    let until = deadline(wait);
    loop {
        arrived.borrow_and_update();
        agreed.borrow_and_update();
        let asked = Arc::clone(&shared);
        let (items, up_to) = blocking(move || {
            let after = asked.store.consumer(&reader(&into))?;
            arrivals(&asked, &into, after)
        })
        .await?;
        let now = evidence::trusted(&shared).size;
        let changed = async {
            tokio::select! {
                changed = arrived.changed() => changed.is_ok(),
                changed = agreed.changed() => changed.is_ok(),
            }
        };
        if up_to.is_some()
            || now != known
            || !matches!(tokio::time::timeout_at(until, changed).await, Ok(true))
        {
            return Ok(CarryAnswer::Next {
                items,
                up_to: up_to.unwrap_or(0),
                known: now,
            });
        }
    }
}

/// The notices about what was carried that came after a number, up to another or as far as there are any now.
pub(super) fn notices(
    shared: &Shared,
    into: &Digest,
    after: u64,
    to: Option<u64>,
) -> Result<CarryAnswer, Trouble> {
    let mut up_to = shared.store.consumer(&reader(into))?.max(after);
    let known = evidence::trusted(shared).size;
    let mut items = Vec::new();
    while items.len() < PAGE
        && to.is_none_or(|to| up_to < to)
        && let (page, Some(last)) = arrivals(shared, into, up_to)?
    {
        items.extend(page.into_iter().filter(|one| one.notice.is_some()));
        up_to = last;
    }
    Ok(CarryAnswer::Next {
        items,
        up_to,
        known,
    })
}

/// A page of what came after a number, and the number of its last.
fn arrivals(
    shared: &Shared,
    into: &Digest,
    after: u64,
) -> Result<(Vec<Arrival>, Option<u64>), Trouble> {
    let page = shared.store.inbox(after, PAGE)?;
    let up_to = page.last().map(|(number, _)| *number);
    let mut items = Vec::new();
    for (_, bytes) in &page {
        let item = InboxItem::from_bytes(bytes);
        let Some(item) = item.filter(|item| item.verdict == Verdict::Verified) else {
            continue;
        };
        let sealed = &item.delivery.bulletin;
        let Ok(header) = Header::from_bytes(&sealed.header) else {
            continue;
        };
        let notice = if header.notice {
            echo(shared, into, &item, &header)?
        } else {
            None
        };
        items.push(Arrival {
            bulletin: sealed.id,
            precedence: sealed.precedence,
            notice,
            is_notice: header.notice,
        });
    }
    Ok((items, up_to))
}

/// What is to be given of a notice where its bulletin was carried.
fn echo(
    shared: &Shared,
    into: &Digest,
    notice: &InboxItem,
    header: &Header,
) -> Result<Option<(Carriage, NoticeDraft, Digest)>, Trouble> {
    let Some(reference) = header.references.first() else {
        return Ok(None);
    };
    let Some(carriage) = row(shared, into, &reference.bulletin)? else {
        return Ok(None);
    };
    let original = shared.store.inbox_item(&reference.bulletin)?;
    let original = original.and_then(|(_, bytes)| InboxItem::from_bytes(&bytes));
    let original =
        original.and_then(|item| Header::from_bytes(&item.delivery.bulletin.header).ok());
    // As of any notice: only of its originator, whom the bulletin names.
    if original.is_none_or(|original| original.originator != header.originator) {
        return Ok(None);
    }
    let hash = notice.delivery.bulletin.header_hash();
    let downgrades = reference.relation == Relation::Downgrades;
    let draft = NoticeDraft {
        id: Some(Crossing::id(into, &hash)),
        about: carriage.copy,
        relation: reference.relation,
        reason: notices::reason(notice),
        precedence: Some(header.precedence),
        tlp: downgrades.then_some(header.tlp),
        classification: header.classification.clone().filter(|_| downgrades),
    };
    Ok(Some((carriage, draft, hash)))
}

fn row(shared: &Shared, into: &Digest, bulletin: &BulletinId) -> Result<Option<Carriage>, Trouble> {
    let found = shared.store.row(&row_key(into, bulletin))?;
    let damaged = |error| Trouble::new("damaged", format!("what was carried: {error}"));
    found
        .map(|bytes| serde_json::from_slice(&bytes).map_err(damaged))
        .transpose()
}

pub(super) fn open(
    shared: &Shared,
    into: &Digest,
    all: bool,
    after: Option<BulletinId>,
) -> Result<Vec<Carriage>, Trouble> {
    let mut after = after.map_or_else(Vec::new, |id| row_key(into, &id));
    let (mut found, mut gone) = (Vec::new(), Vec::new());
    let now = shared.clock.now();
    // What is over stays for who asks what became of it, until nobody could use it any more.
    while found.len() < PAGE {
        let rows = shared.store.rows(&prefix(into), &after, PAGE)?;
        let Some((last, _)) = rows.last() else { break };
        after.clone_from(last);
        for (_, bytes) in &rows {
            let carriage: Carriage = serde_json::from_slice(bytes)
                .map_err(|error| Trouble::new("damaged", format!("what was carried: {error}")))?;
            let forgotten = carriage.until.saturating_add(REMEMBERED) < now;
            if forgotten {
                gone.push(row_key(into, &carriage.bulletin));
            } else if all || carriage.over.is_none() || !carriage.owed.is_empty() {
                found.push(carriage);
            }
        }
    }
    if !gone.is_empty() {
        shared.store.keep_rows(&[], &gone)?;
    }
    Ok(found)
}

fn put(shared: &Shared, into: &Digest, carriage: &Carriage) -> Result<(), Trouble> {
    let value = serde_json::to_vec(carriage).map_err(|error| Trouble::new("internal", error))?;
    let key = row_key(into, &carriage.bulletin);
    Ok(shared.store.keep_rows(&[(key, value)], &[])?)
}

pub(super) fn note(
    shared: &Shared,
    into: &Digest,
    carriage: &Carriage,
    given: Option<Digest>,
) -> Result<(), Trouble> {
    // The declaration first: said again it says nothing new, and left out nobody would look for it.
    if let Some(notice) = given {
        declare_given(shared, into, carriage, notice)?;
    }
    put(shared, into, carriage)
}

fn declare_given(
    shared: &Shared,
    into: &Digest,
    carriage: &Carriage,
    notice: Digest,
) -> Result<(), Trouble> {
    let (_, item) = received(shared, &carriage.bulletin)?;
    let sealed = &item.delivery.bulletin;
    let what = What::Carried {
        into: *into,
        notice: Some(notice),
    };
    let ledger = own_ledger(shared)?;
    let signed = declare::sign(shared, ledger, sealed.id, sealed.header_hash(), what);
    let signed = signed.map_err(|error| Trouble::new("declaration", error))?;
    shared.store.declare_later(&signed)?;
    shared.declared.notify_one();
    Ok(())
}

fn received(shared: &Shared, id: &BulletinId) -> Result<(u64, InboxItem), Trouble> {
    let unknown = || {
        Trouble::new(
            "unknown_bulletin",
            format!("no bulletin {id} was received here"),
        )
    };
    let (number, bytes) = shared.store.inbox_item(id)?.ok_or_else(unknown)?;
    let item = InboxItem::from_bytes(&bytes).ok_or_else(unknown)?;
    Ok((number, item))
}

/// What this node can tell without its broker of whether a bulletin may be carried; the clauses as this
/// partner ratified them.
fn check(shared: &Shared, item: &InboxItem, into: &Digest) -> Result<BTreeSet<Digest>, Trouble> {
    let header = Header::from_bytes(&item.delivery.bulletin.header)
        .map_err(|error| Trouble::new("damaged", error))?;
    if item.verdict != Verdict::Verified {
        return Err(refused(
            "it could not be verified, and nobody should be given it",
        ));
    }
    let mark = shared.store.mark(&header.id)?;
    let mark = mark.filter(|mark| mark.is_by(&header) && mark.relation != Relation::Downgrades);
    if mark.is_some() || is_emptied(item) || notices::ends_soon(shared, &header)? {
        return Err(refused(
            "its originator took it back or replaced it, or its contents were deleted",
        ));
    }
    // First, so that it is called by its name: no clause would let it go in a circle either.
    let path = header.crossing.as_ref().map(|one| one.path.clone());
    let mut path = path.unwrap_or_default();
    path.push(own_ledger(shared)?.0);
    Crossing::check_path(&path, into).map_err(|error| match &error {
        Refused::Loop(_) => Trouble::new("loop", error),
        _ => refused(error),
    })?;
    let trusted = evidence::trusted(shared);
    let now = shared.clock.now();
    let mut federation: Option<BTreeSet<Digest>> =
        header.crossing.as_ref().map(|one| one.federation.clone());
    for named in &item.delivery.clauses {
        let live = trusted
            .present(named)
            .filter(|(terms, _)| terms.is_valid(now));
        let (_, clause) = live.ok_or_else(|| refused(format!("{named} is no longer in force")))?;
        federation = Some(match federation {
            Some(so_far) => &so_far & &clause.federation,
            None => clause.federation.clone(),
        });
        if !clause.federation.contains(into) {
            return Err(refused(format!(
                "{named} does not let it be carried into that ledger"
            )));
        }
    }
    let federation = federation.filter(|named| named.contains(into));
    let federation = federation.ok_or_else(|| refused("no clause lets it into that ledger"))?;
    if header.crossing.is_none() {
        Crossing::check_original(&header).map_err(refused)?;
    }
    Ok(federation)
}

/// Has the broker record that a bulletin is carried; where it has already, it only says whether that may be.
pub(super) async fn declare_carried(
    shared: &Arc<Shared>,
    bulletin: BulletinId,
    into: Digest,
) -> Result<(InboxItem, BTreeSet<Digest>), Trouble> {
    if !matches!(*shared.link.borrow(), LinkStatus::Up(_)) {
        let message = "the node is not connected: its broker cannot say whether it may be carried";
        return Err(Trouble::new("not_connected", message));
    }
    let asked = Arc::clone(shared);
    let (item, federation, statement) = blocking(move || {
        let (_, item) = received(&asked, &bulletin)?;
        let federation = check(&asked, &item, &into)?;
        let sealed = &item.delivery.bulletin;
        let ledger = own_ledger(&asked)?;
        let what = What::Carried { into, notice: None };
        let signed = declare::sign(&asked, ledger, sealed.id, sealed.header_hash(), what);
        let signed = signed.map_err(|error| Trouble::new("declaration", error))?;
        let signed = SignedDeclaration::from_bytes(&signed)
            .map_err(|error| Trouble::new("declaration", error))?;
        Ok((item, federation, Statement::Declaration(signed)))
    })
    .await?;
    match submit_within(shared, statement, PATIENCE).await {
        Ok(_) => Ok((item, federation)),
        Err(trouble) if trouble.code == "declaration_not_carried" => Err(refused(trouble.message)),
        Err(trouble) => Err(trouble),
    }
}

/// Declares that a bulletin is carried, notes it, and gives it out.
pub(super) async fn take(
    shared: Arc<Shared>,
    bulletin: BulletinId,
    into: Digest,
    lease: u64,
    receipt: bool,
) -> Result<CarryAnswer, Trouble> {
    if !LEASES.contains(&lease) {
        let (least, most) = (LEASES.start(), LEASES.end());
        let message = format!("a lease is {least} to {most} seconds");
        return Err(Trouble::new("bad_request", message));
    }
    // The broker's word is as of when it was asked at the latest: neither its answer nor a receipt that is
    // waited for prolongs it.
    let said = shared.clock.now();
    let (item, federation) = match declare_carried(&shared, bulletin, into).await {
        Err(trouble) if trouble.code == "loop" => {
            return circle(shared, bulletin, into, trouble).await;
        }
        declared => declared?,
    };
    let urgent = item.delivery.bulletin.precedence >= Precedence::Immediate;
    // Since it came, not since this one's turn: many that came together wait together.
    let waited = said.since(item.received);
    let patience = if urgent {
        Duration::ZERO
    } else {
        RECEIPT_PATIENCE.saturating_sub(waited)
    };
    let receipt = if receipt {
        receipt_of(&shared, bulletin, patience).await?
    } else {
        None
    };
    blocking(move || {
        let lease_until = said.saturating_add(Duration::from_secs(lease));
        let crossing = crossing(&shared, &item, into, federation, lease_until, receipt)?;
        let header = Header::from_bytes(&item.delivery.bulletin.header)
            .map_err(|error| Trouble::new("damaged", error))?;
        let carriage = Carriage {
            recalled: false,
            bulletin,
            copy: Crossing::id(&into, &crossing.original_hash()),
            until: header.valid_until,
            lease_until,
            owed: Vec::new(),
            over: None,
        };
        match row(&shared, &into, &bulletin)? {
            Some(known) if known.over.is_some() || !known.owed.is_empty() => {
                return Err(refused("it was carried before, and that came to an end"));
            }
            _ => put(&shared, &into, &carriage)?,
        }
        let package = Package {
            bulletin: BASE64.encode(&item.delivery.bulletin.to_bytes()),
            crossing: BASE64.encode(&crossing.to_bytes()),
        };
        Ok(CarryAnswer::Taken { package, carriage })
    })
    .await
}

/// Notes that a bulletin would go in a circle, for who asks what became of it.
async fn circle(
    shared: Arc<Shared>,
    bulletin: BulletinId,
    into: Digest,
    trouble: Trouble,
) -> Result<CarryAnswer, Trouble> {
    blocking(move || {
        let (_, item) = received(&shared, &bulletin)?;
        let header = Header::from_bytes(&item.delivery.bulletin.header)
            .map_err(|error| Trouble::new("damaged", error))?;
        let crossing = header.crossing.as_ref();
        let original = crossing.map_or_else(
            || item.delivery.bulletin.header_hash(),
            |crossing| crossing.original_hash(),
        );
        let carriage = Carriage {
            recalled: false,
            bulletin,
            copy: Crossing::id(&into, &original),
            until: header.valid_until,
            lease_until: shared.clock.now(),
            owed: Vec::new(),
            over: Some(format!("refused: loop: {}", trouble.message)),
        };
        put(&shared, &into, &carriage)?;
        Err(trouble)
    })
    .await
}

/// The receipt of what was received, once it is here.
async fn receipt_of(
    shared: &Arc<Shared>,
    id: BulletinId,
    patience: Duration,
) -> Result<Option<String>, Trouble> {
    let mut proved = shared.proved.subscribe();
    let until = tokio::time::Instant::now() + patience;
    loop {
        proved.borrow_and_update();
        let asked = Arc::clone(shared);
        let found = blocking(move || Ok(asked.store.receipts(&id.0)?)).await?;
        let text = found.first().map(Receipt::to_string);
        if text.is_some()
            || tokio::time::timeout_at(until, proved.changed())
                .await
                .is_err()
        {
            return Ok(text.filter(|text| text.len() <= MAX_RECEIPT));
        }
    }
}

/// What the other ledger is told of where it comes from.
fn crossing(
    shared: &Shared,
    item: &InboxItem,
    into: Digest,
    federation: BTreeSet<Digest>,
    lease_until: Timestamp,
    receipt: Option<String>,
) -> Result<Crossing, Trouble> {
    let sealed = &item.delivery.bulletin;
    let header =
        Header::from_bytes(&sealed.header).map_err(|error| Trouble::new("damaged", error))?;
    let owed = owed(shared, &item.delivery);
    let earlier = header.crossing.as_deref();
    let mut path = earlier.map_or_else(Vec::new, |one| one.path.clone());
    path.push(own_ledger(shared)?.0);
    let original = earlier.map_or_else(|| header.clone(), |one| (*one.original).clone());
    let mut missing = earlier.map_or_else(Default::default, |one| one.missing.clone());
    let places: Vec<u32> = (0..original.part_count)
        .filter(|index| !missing.contains_key(index))
        .collect();
    for (index, part) in places.into_iter().zip(&sealed.parts) {
        if !goes_along(part) {
            missing.insert(index, part.leaf());
        }
    }
    if missing.len() > MAX_MISSING {
        return Err(refused(format!(
            "more than {MAX_MISSING} of its parts were withheld"
        )));
    }
    let mut receipts = earlier.map_or_else(Vec::new, |one| one.receipts.clone());
    receipts.extend(receipt);
    receipts.truncate(MAX_HOPS);
    let purposes = owed
        .purposes
        .map(|all| all.iter().map(ToString::to_string).collect());
    Ok(Crossing {
        into,
        path,
        header: earlier.map_or_else(|| sealed.header.clone(), |one| one.header.clone()),
        burst: earlier.map_or_else(|| sealed.burst.clone(), |one| one.burst.clone()),
        original: Box::new(original),
        missing,
        federation,
        keep_until: owed.keep_until,
        purposes,
        legal_bases: owed.legal_bases,
        lease_until,
        receipts,
    })
}
