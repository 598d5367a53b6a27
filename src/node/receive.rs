//! Lanes in: each delivery is verified, kept, and acknowledged once it is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Shared;
use super::declare;
use super::error::NodeError;
use super::evidence::{self, Trusted};
use super::federation::Federation;
use super::inbox::{InboxItem, Verdict};
use super::link::{Session, held};
use super::loss;
use crate::agreement::Clause;
use crate::bulletin::{BulletinId, Header, Part, Precedence, Refused, Shown, VerifiedBursts, open};
use crate::ledger::{Ack, LaneAck, LaneChain, LedgerId, SignedAck, What};
use crate::partner::PartnerId;
use crate::proof::Digest;
use crate::session::{Delivery, Frame, LaneReceiver, MAX_FRAME_BYTES, decode};
use crate::store::{Expected, Incoming, Unproven};
use crate::transport::FrameReader;

/// Deliveries stored with one sync.
const BATCH: usize = 256;
/// Bursts remembered as verified, per lane.
const REMEMBERED_BURSTS: usize = 256;
/// How long a delivery waits for the evidence of its agreement, which travels on another stream.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(15);

/// Where acknowledgements go.
pub(super) struct Acks {
    pub(super) session: Session,
    pub(super) send: mpsc::Sender<SignedAck>,
}

impl Acks {
    async fn send(&self, shared: &Shared, lanes: Vec<LaneAck>) -> Result<(), NodeError> {
        let ack = Ack {
            ledger: self.session.ledger,
            recipient: shared.config.spiffe_id.partner().clone(),
            lanes,
            time: shared.clock.now(),
        };
        let signed = SignedAck::sign(ack, shared.signer.as_ref())?;
        self.send
            .send(signed)
            .await
            .map_err(|_| NodeError::Stopping)
    }
}

/// Receives all lanes of a session until it ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    connection: Connection,
    acks: Acks,
) -> Result<(), NodeError> {
    // Said again: the last acknowledgement may have been lost with the last connection.
    let held = held(&shared)?;
    if !held.is_empty() {
        acks.send(&shared, held).await?;
    }
    let (kept, storing) = mpsc::channel(BATCH);
    let receiver = Arc::new(Receiver {
        shared: Arc::clone(&shared),
        session: acks.session.clone(),
        opened: AtomicU8::new(0),
        kept,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(store(shared, storing, acks));
    loop {
        tokio::select! {
            stream = connection.accept_uni() => {
                tasks.spawn(Arc::clone(&receiver).lane(stream?));
            }
            ended = tasks.join_next() => match ended {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return Err(error),
                _ => return Err(NodeError::Gone("a lane's task failed".into())),
            }
        }
    }
}

/// Stores what the lanes bring, many with one sync, and only then acknowledges it.
async fn store(
    shared: Arc<Shared>,
    mut storing: mpsc::Receiver<Incoming>,
    acks: Acks,
) -> Result<(), NodeError> {
    while let Some(first) = storing.recv().await {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = storing.try_recv()
        {
            batch.push(next);
        }
        let lanes: BTreeMap<_, _> = batch
            .iter()
            .map(|one| (one.lane.precedence, one.lane))
            .collect();
        let store = Arc::clone(&shared.store);
        let stored = tokio::task::spawn_blocking(move || store.receive(&batch));
        let again = stored.await.map_err(|_| NodeError::Stopping)??;
        loss::submit_again(&shared, again);
        shared.inbox.send_modify(|count| *count += 1);
        shared.declared.notify_one();
        acks.send(&shared, lanes.into_values().collect()).await?;
    }
    Ok(())
}

/// The id under which a delivery is kept, what is kept of it, and what is declared about it.
type Judged = (BulletinId, bytes::Bytes, Option<bytes::Bytes>);

struct Receiver {
    shared: Arc<Shared>,
    session: Session,
    /// A bit for each lane that was opened in this session.
    opened: AtomicU8,
    kept: mpsc::Sender<Incoming>,
}

impl Receiver {
    /// Reads one lane until its stream ends.
    async fn lane(self: Arc<Self>, stream: RecvStream) -> Result<(), NodeError> {
        let mut reader = FrameReader::new(stream, MAX_FRAME_BYTES);
        let Some(first) = reader.next().await? else {
            return Ok(());
        };
        let Frame::LaneOpen { precedence, next } = decode(first)? else {
            return Err(NodeError::Protocol("a lane does not begin with its name"));
        };
        let bit = 1u8 << (precedence as u8);
        if self.opened.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return Err(NodeError::Protocol("it opened a lane twice"));
        }
        let mut lane = self.resume(precedence)?;
        lane.expect(next)?;
        let mut bursts = VerifiedBursts::new(REMEMBERED_BURSTS);
        while let Some(bytes) = reader.next().await? {
            let Frame::Deliver { number, item } = decode(bytes)? else {
                return Err(NodeError::Protocol("a frame does not belong on a lane"));
            };
            lane.expect(number)?;
            let mut unproven = None;
            let item = match item {
                None => {
                    lane.received_void();
                    None
                }
                Some(delivery) => {
                    if delivery.bulletin.precedence != precedence {
                        return Err(NodeError::Protocol("a bulletin came in another's lane"));
                    }
                    let header = delivery.bulletin.header_hash();
                    lane.received(&header, &withheld(&delivery));
                    unproven = Some(Unproven {
                        position: delivery.released,
                        subject: delivery.bulletin.id.0,
                        expected: Expected::Delivered(header),
                    });
                    Some(self.judge(*delivery, number, &mut bursts).await?)
                }
            };
            let (item, declaration) = match item {
                Some((id, item, declaration)) => (Some((id, item)), declaration),
                None => (None, None),
            };
            let incoming = Incoming {
                lane: lane.position(),
                item,
                declaration,
                unproven,
            };
            self.kept
                .send(incoming)
                .await
                .map_err(|_| NodeError::Stopping)?;
        }
        Ok(())
    }

    fn resume(&self, precedence: Precedence) -> Result<LaneReceiver, NodeError> {
        let partner = self.shared.config.spiffe_id.partner();
        let start = LaneChain::start(self.session.ledger, partner, precedence);
        let held = self.shared.store.lane(precedence)?;
        let (number, chain) = held.map_or((0, start), |held| (held.up_to, LaneChain(held.chain)));
        Ok(LaneReceiver::resume(precedence, number, chain))
    }

    /// Verifies a delivery. What does not hold is kept apart, as evidence against whoever sent it.
    async fn judge(
        &self,
        delivery: Delivery,
        number: u64,
        bursts: &mut VerifiedBursts,
    ) -> Result<Judged, NodeError> {
        let mut evidence = self.shared.evidence.subscribe();
        let patience = tokio::time::Instant::now() + EVIDENCE_PATIENCE;
        let verdict = loop {
            evidence.borrow_and_update();
            let trusted = evidence::trusted(&self.shared);
            let me = self.shared.config.spiffe_id.partner();
            let (own, federation) = (self.session.ledger, &self.shared.federation);
            if let Some(reason) = check_carried(&delivery, own, federation) {
                break Verdict::Quarantined(reason);
            }
            let unknown = match check(&delivery, &trusted, me, bursts) {
                Ok(None) => break Verdict::Verified,
                Ok(Some(notice)) => {
                    self.stored(delivery.bulletin.precedence, number - 1)
                        .await?;
                    break self.about(&notice)?;
                }
                Err(Fault::Unknown(reason)) => reason,
                Err(Fault::Wrong(reason)) => break Verdict::Quarantined(reason),
            };
            let newer = tokio::time::timeout_at(patience, evidence.changed()).await;
            if !matches!(newer, Ok(Ok(()))) {
                break Verdict::Quarantined(unknown);
            }
        };
        let verdict = match verdict {
            Verdict::Verified => self.check_duplicate(&delivery)?,
            other => other,
        };
        let fault = verdict.fault();
        let id = match &fault {
            None => delivery.bulletin.id,
            Some(reason) => {
                tracing::error!(id = %delivery.bulletin.id, %reason, "a delivery is quarantined");
                // A forgery must not take the place of the bulletin whose id it bears.
                BulletinId::from_random(prefix(&Digest::of(&delivery.to_bytes())))
            }
        };
        let received = self.shared.clock.now();
        // The broker is told that it was not taken as it came, and why.
        let declaration = match &fault {
            None => None,
            Some(reason) => {
                let reason = reason.chars().take(1_000).collect();
                let sealed = &delivery.bulletin;
                Some(declare::sign(
                    &self.shared,
                    self.session.ledger,
                    sealed.id,
                    sealed.header_hash(),
                    What::Refused(reason),
                )?)
            }
        };
        Ok((
            id,
            InboxItem {
                verdict,
                received,
                delivery,
            }
            .to_bytes(),
            declaration,
        ))
    }

    /// Waits until everything of a lane up to a number is durable: storing runs behind receiving.
    async fn stored(&self, precedence: Precedence, up_to: u64) -> Result<(), NodeError> {
        let mut stored = self.shared.inbox.subscribe();
        loop {
            stored.borrow_and_update();
            let lane = self.shared.store.lane(precedence)?;
            if lane.map_or(0, |lane| lane.up_to) >= up_to {
                return Ok(());
            }
            stored.changed().await.map_err(|_| NodeError::Stopping)?;
        }
    }

    /// What a notice under no clause is by the bulletin that it is about.
    fn about(&self, notice: &Header) -> Result<Verdict, NodeError> {
        let Some(reference) = notice.references.first() else {
            return Ok(Verdict::Quarantined("it is about no bulletin".into()));
        };
        let target = self.shared.store.inbox_item(&reference.bulletin)?;
        let target = target.and_then(|(_, bytes)| InboxItem::from_bytes(&bytes));
        Ok(vouched(notice, target.as_ref()))
    }

    /// The same bulletin may come twice; another one under its id may not.
    fn check_duplicate(&self, delivery: &Delivery) -> Result<Verdict, NodeError> {
        let Some((_, known)) = self.shared.store.inbox_item(&delivery.bulletin.id)? else {
            return Ok(Verdict::Verified);
        };
        let same = InboxItem::from_bytes(&known)
            .is_some_and(|known| known.delivery.bulletin.header == delivery.bulletin.header);
        let other = || Verdict::Quarantined("its id is that of another bulletin".into());
        Ok(if same { Verdict::Verified } else { other() })
    }
}

/// Why a delivery is not believed: for want of evidence that may still come, or for good.
enum Fault {
    Unknown(String),
    Wrong(String),
}

/// Whether a notice under no clause is to be believed. A name is vouched for by a key that an
/// agreement pins, so such a notice may overtake its bulletin; anybody has a key without a name, and only
/// the bulletin that bears the same one vouches for it.
fn vouched(notice: &Header, target: Option<&InboxItem>) -> Verdict {
    let target = target.filter(|item| item.verdict == Verdict::Verified);
    let header = target.and_then(|item| Header::from_bytes(&item.delivery.bulletin.header).ok());
    match header {
        Some(original) if original.originator == notice.originator => Verdict::Verified,
        Some(_) => Verdict::Quarantined(
            "it is a notice about a bulletin of which it is not the originator".into(),
        ),
        None if notice.originator.partner().is_some() => Verdict::Verified,
        None => Verdict::Early,
    }
}

/// Why a delivery is not believed that was carried here from another ledger; `None` where nothing speaks
/// against it, or it was not.
fn check_carried(delivery: &Delivery, own: LedgerId, federation: &Federation) -> Option<String> {
    let header = Header::from_bytes(&delivery.bulletin.header).ok()?;
    let crossing = header.crossing?;
    if crossing.into != own.0 {
        return Some("it was carried from another ledger, and not into this one".to_owned());
    }
    federation.fault(&crossing)
}

/// Checks a delivery by itself; what is still to be looked at is the header of a notice that names no
/// clause, for it follows the bulletin it is about, wherever that went.
fn check(
    delivery: &Delivery,
    trusted: &Trusted,
    me: &PartnerId,
    bursts: &mut VerifiedBursts,
) -> Result<Option<Header>, Fault> {
    let verified = open(delivery.bulletin.clone(), delivery.time, trusted, bursts);
    let verified = verified.map_err(|error| match error {
        Refused::UnknownKey { .. } => Fault::Unknown(error.to_string()),
        error => Fault::Wrong(error.to_string()),
    })?;
    if verified.header().notice && delivery.clauses.is_empty() {
        return Ok(Some(verified.header().clone()));
    }
    if delivery.clauses.is_empty() {
        return Err(Fault::Wrong("it names no clause".into()));
    }
    for named in &delivery.clauses {
        let agreement = trusted.agreements.get(&named.agreement);
        let agreement = agreement
            .ok_or_else(|| Fault::Unknown(format!("{named} is of no agreement of ours")))?;
        let terms = agreement.agreement();
        let clause = terms.clauses.iter().find(|one| one.id == named.clause);
        // Only a clause that this partner ratified lets it be given what bears no name.
        let from = |clause: &Clause| match verified.originator() {
            Some(originator) => clause.from.contains(originator),
            None => clause.originator != Shown::Named,
        };
        let other = verified.identity();
        let other = other.is_some_and(|identity| *terms.name != *identity.agreement);
        if other || !clause.is_some_and(|clause| clause.to.contains(me) && from(clause)) {
            let originator = &verified.header().originator;
            return Err(Fault::Wrong(format!(
                "{named} is not from {originator} to {me}"
            )));
        }
    }
    Ok(None)
}

fn prefix(digest: &Digest) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&digest.as_bytes()[..16]);
    id
}

/// Indexes of the parts that came as hashes.
pub(super) fn withheld(delivery: &Delivery) -> Vec<u32> {
    let parts = (0..).zip(&delivery.bulletin.parts);
    parts
        .filter(|(_, part)| matches!(part, Part::Withheld(_)))
        .map(|(at, _)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulletin::{Crossing, Draft, Originator, Pseudonym, seal};
    use crate::clock::{SystemEntropy, Timestamp};
    use crate::proof::{SecretKey, Signer};

    fn received(seed: u8, name: Option<&str>, verdict: Verdict) -> (InboxItem, Header) {
        let now: Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let draft = Draft::from_toml(
            "kinds = [\"cyber\"]\ntopics = [\"cyber\"]\ntlp = \"TLP:GREEN\"\n[[part]]\ntype = \
             \"narrative\"\ntext = \"n\"\n",
        );
        let partner: PartnerId = name.unwrap_or("norland.example").parse().unwrap();
        let entropy = SystemEntropy::new();
        let mut one = draft
            .unwrap()
            .into_unsealed(&partner, now, &entropy)
            .unwrap();
        let key = SecretKey::from_seed([seed; 32]).unwrap();
        if name.is_none() {
            one.header.originator = Originator::Pseudonym(Pseudonym {
                key: key.public_key(),
                single_use: false,
            });
        }
        let bulletin = seal(vec![one], &key, &entropy).unwrap().remove(0);
        let header = Header::from_bytes(&bulletin.header).unwrap();
        let delivery = Delivery {
            bulletin,
            position: 0,
            released: 1,
            time: now,
            clauses: Vec::new(),
            onward: crate::agreement::Onward::None,
            inherited: crate::ledger::Inherited::default(),
        };
        let item = InboxItem {
            verdict,
            received: now,
            delivery,
        };
        (item, header)
    }

    #[test]
    fn a_nameless_notice_is_believed_only_under_the_pseudonym_of_its_bulletin() {
        let (honest, alias) = received(1, None, Verdict::Verified);
        let (named, norland) = received(2, Some("norland.example"), Verdict::Verified);
        let (_, estmark) = received(3, Some("estmark.example"), Verdict::Verified);
        let (_, forger) = received(4, None, Verdict::Verified);
        let refused = |verdict| matches!(verdict, Verdict::Quarantined(_));
        assert_eq!(vouched(&alias, Some(&honest)), Verdict::Verified);
        assert!(refused(vouched(&forger, Some(&honest))));
        assert!(refused(vouched(&norland, Some(&honest))));
        assert_eq!(vouched(&norland, Some(&named)), Verdict::Verified);
        assert!(refused(vouched(&estmark, Some(&named))));
        assert!(refused(vouched(&forger, Some(&named))));
        // One that overtook its bulletin: a name has a key that is pinned, a pseudonym has not.
        assert_eq!(vouched(&norland, None), Verdict::Verified);
        assert_eq!(vouched(&forger, None), Verdict::Early);
        let (doubted, _) = received(1, None, Verdict::Quarantined("x".into()));
        assert_eq!(vouched(&alias, Some(&doubted)), Verdict::Early);
        let (early, _) = received(1, None, Verdict::Early);
        assert_eq!(vouched(&alias, Some(&early)), Verdict::Early);
        assert!(early.verdict.fault().is_some());
        let read = InboxItem::from_bytes(&early.to_bytes()).unwrap();
        assert_eq!(read, early);
    }

    #[test]
    fn what_was_carried_into_another_ledger_is_not_believed_in_this_one() {
        let (item, original) = received(2, Some("norland.example"), Verdict::Verified);
        let (here, elsewhere) = (Digest::of(b"here"), Digest::of(b"elsewhere"));
        let crossing = Crossing {
            into: here,
            path: vec![Digest::of(b"there")],
            header: item.delivery.bulletin.header.clone(),
            original: Box::new(original.clone()),
            burst: item.delivery.bulletin.burst.clone(),
            missing: [(0, item.delivery.bulletin.parts[0].leaf())].into(),
            federation: [here].into(),
            keep_until: None,
            purposes: None,
            legal_bases: Vec::new(),
            lease_until: original.valid_until,
            receipts: Vec::new(),
        };
        let carried = Header {
            crossing: Some(Box::new(crossing)),
            ..original
        };
        let mut delivery = item.delivery;
        delivery.bulletin.header = carried.to_bytes();
        let known = Federation::default();
        // Its form is looked at first, wherever it is read: this one is none of an original without parts.
        assert!(Header::from_bytes(&delivery.bulletin.header).is_err());
        let reason = |into, delivery: &Delivery| check_carried(delivery, LedgerId(into), &known);
        assert_eq!(reason(here, &delivery), None);
        let hash = Digest::of(&carried.crossing.as_ref().unwrap().header);
        let carried = Header {
            id: Crossing::id(&here, &hash),
            originator: "estmark.example".parse::<PartnerId>().unwrap().into(),
            part_count: 0,
            ..carried
        };
        delivery.bulletin.header = carried.to_bytes();
        assert!(Header::from_bytes(&delivery.bulletin.header).is_ok());
        assert_eq!(reason(here, &delivery), None);
        assert!(
            reason(elsewhere, &delivery)
                .unwrap()
                .contains("not into this one")
        );
    }

    #[test]
    fn the_mark_of_another_originator_is_none() {
        let (_, alias) = received(1, None, Verdict::Verified);
        let (_, forger) = received(4, None, Verdict::Verified);
        let mark = crate::store::Mark {
            relation: crate::bulletin::Relation::Retracts,
            notice: forger.id,
            header: Digest::of(b"notice"),
            originator: forger.originator,
            tlp: None,
        };
        assert!(!mark.is_by(&alias));
        let mark = crate::store::Mark {
            originator: alias.originator.clone(),
            ..mark
        };
        assert!(mark.is_by(&alias));
    }
}
