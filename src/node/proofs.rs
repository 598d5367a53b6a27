//! Receipts: when a checkpoint that this node believes covers a record that concerns it, the record is
//! opened, looked for in the log's tree, and the proof is kept.
//!
//! What is asked of the broker is verified here: an opening against what was published or received,
//! its place against the checkpoint. Tiles are asked for as they are needed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::error::NodeError;
use super::evidence::trusted;
use super::inbox::InboxItem;
use super::link::Session;
use super::loss;
use crate::agreement::AgreementId;
use crate::bulletin::BulletinId;
use crate::ledger::{Fact, RecordOpening, Shown};
use crate::partner::PartnerId;
use crate::proof::merkle::verify_inclusion;
use crate::proof::tree::{Tiled, TiledError, inclusion_path};
use crate::proof::{
    Checkpoint, Digest, NoteKey, Policy, TILE_WIDTH, TileKind, TilePath, Unwitnessed, tile_hashes,
};
use crate::session::{
    Fetch, Fetched, Frame, MAX_FETCH_RECORDS, MAX_FRAME_BYTES, UNREADABLE, WantedRecord, decode,
    encode,
};
use crate::store::{Expected, Proved, Unproven};
use crate::transport::{FrameReader, write_frame};

/// Tiles kept in memory: 8 KiB each.
const TILES: usize = 512;
/// How often some of what was proved is looked at again, and how much of it.
const LOOK: Duration = Duration::from_secs(2);
const LOOKED_AT_ONCE: usize = 16;
/// Faults that are told apart: one is enough to look.
const MAX_FAULTS: usize = 16;
/// Bulletins that one session submits again because the log does not show them.
const MAX_AGAIN: usize = 65_536;

/// A checkpoint that this node believes.
#[derive(Clone, Debug)]
pub(super) struct Believed {
    /// The note, with its cosignatures.
    pub(super) note: String,
    pub(super) checkpoint: Checkpoint,
}

/// What this node believes a checkpoint by: its policy, and its own witness in any case.
pub(super) fn policy(shared: &Shared, log: &NoteKey) -> Policy {
    let policy = shared
        .policy
        .as_ref()
        .map_or_else(|| Policy::of_log(log.clone()), |policy| policy.for_log(log));
    shared
        .witness
        .keys()
        .iter()
        .fold(policy, |policy, key| policy.and_mandatory(key))
}

/// Notes what is wrong with the log, for `entente status`.
pub(super) fn alarm(shared: &Shared, text: String) {
    let mut faults = shared.faults.lock().unwrap_or_else(PoisonError::into_inner);
    if faults.len() < MAX_FAULTS && faults.insert(text.clone()) {
        tracing::error!("{text}");
    }
}

/// Takes a checkpoint that the broker shows.
pub(super) fn shown(shared: &Shared, log: &NoteKey, note: String) {
    match policy(shared, log).check(&note) {
        Ok(witnessed) => {
            let checkpoint = witnessed.checkpoint;
            shared.believed.send_if_modified(|known| {
                let larger = known
                    .as_ref()
                    .is_none_or(|known| known.checkpoint.size < checkpoint.size);
                if larger {
                    *known = Some(Believed { note, checkpoint });
                }
                larger
            });
        }
        // More cosignatures may come.
        Err(Unwitnessed::Quorum { .. }) => {}
        // One bad line rejects the note, and is no reason to stop delivering.
        Err(error) => tracing::error!(%error, "a checkpoint is not believed"),
    }
}

/// Gathers receipts until the session ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    connection: Connection,
    session: Session,
) -> Result<(), NodeError> {
    let mut believed = shared.believed.subscribe();
    believed.mark_changed();
    let mut asker = Asker {
        shared: Arc::clone(&shared),
        connection,
        session,
        stream: None,
        sequence: 0,
        tiles: HashMap::new(),
        looked: Vec::new(),
        again: HashSet::new(),
    };
    let mut evidence = shared.evidence.subscribe();
    evidence.mark_changed();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What could not be done is tried again at the next look.
    let mut due = Due::default();
    loop {
        let looks = tokio::select! {
            changed = believed.changed() => {
                changed.map_err(|_| NodeError::Stopping)?;
                due.receipts = true;
                false
            }
            changed = evidence.changed() => {
                changed.map_err(|_| NodeError::Stopping)?;
                due.agreements = true;
                false
            }
            _ = look.tick() => true,
        };
        let Some(head) = believed.borrow_and_update().clone() else {
            continue;
        };
        let done = asker.work(&head, &mut due, looks).await;
        match done {
            // The broker has no time for it, or cannot read what it should show.
            Err(NodeError::Refused(refusal)) if refusal.code == UNREADABLE => {
                asker.alarm(format!(
                    "the broker cannot show its log: {}",
                    refusal.message
                ));
            }
            Err(NodeError::Refused(refusal)) => tracing::debug!(%refusal, "no receipts now"),
            done => done?,
        }
    }
}

/// What there is to do.
#[derive(Debug, Default)]
struct Due {
    receipts: bool,
    agreements: bool,
}

struct Asker {
    shared: Arc<Shared>,
    connection: Connection,
    session: Session,
    stream: Option<(SendStream, FrameReader<RecvStream>)>,
    sequence: u64,
    tiles: HashMap<TilePath, Vec<Digest>>,
    /// The key of the receipt that was looked at last.
    looked: Vec<u8>,
    /// What this session submitted again: once is enough for a broker that means well.
    again: HashSet<(u64, BulletinId)>,
}

/// A tile that must be asked for.
struct Wanted(TilePath);

impl Asker {
    async fn work(&mut self, head: &Believed, due: &mut Due, looks: bool) -> Result<(), NodeError> {
        if due.receipts {
            self.gather(head).await?;
            due.receipts = false;
        }
        if due.agreements {
            // Until the checkpoint covers all that was said of them.
            due.agreements = !self.agreements(head).await?;
        }
        if looks {
            self.look_again(head).await?;
        }
        Ok(())
    }

    /// Gathers the receipts of all that a checkpoint covers.
    async fn gather(&mut self, head: &Believed) -> Result<(), NodeError> {
        let mut from = 0;
        loop {
            let size = head.checkpoint.size;
            let store = Arc::clone(&self.shared.store);
            let page = blocking(move || store.unproven(from, size, MAX_FETCH_RECORDS)).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            from = last.position + 1;
            let wanted = page.iter().map(|one| WantedRecord {
                position: one.position,
                bulletin: Some(one.expected.header()),
            });
            let opened = self.ask(Fetch::Records(wanted.collect())).await?;
            let Fetched::Records(opened) = opened else {
                return Err(NodeError::Protocol("it answered something else"));
            };
            let mut proved = Vec::new();
            if let (true, Some((answered, _))) = (opened.len() < page.len(), opened.last()) {
                // A large answer is cut short.
                from = answered + 1;
            }
            let shown: HashSet<u64> = opened.iter().map(|(position, _)| *position).collect();
            let answered = page.iter().filter(|one| one.position < from);
            self.missing(answered.filter(|one| !shown.contains(&one.position)))?;
            for (position, opening) in opened {
                let wanted = page.iter().find(|one| one.position == position);
                let wanted = wanted.ok_or(NodeError::Protocol("it opened another record"))?;
                if self.heeded(self.check(wanted, &opening))?.is_none() {
                    self.missing([wanted].into_iter())?;
                    continue;
                }
                let subject = wanted.subject.to_vec();
                let one = self.prove(head, subject, position, opening).await;
                proved.extend(self.heeded(one)?);
            }
            self.keep(proved, head).await?;
        }
    }

    /// What was published here, and the log does not show where it was promised, is submitted again: the
    /// broker promises the same again, or something else where it lost it.
    fn missing<'a>(
        &mut self,
        unshown: impl Iterator<Item = &'a Unproven>,
    ) -> Result<(), NodeError> {
        let mut lost = Vec::new();
        for one in unshown {
            let named = (one.position, BulletinId(one.subject));
            let published = matches!(one.expected, Expected::Published(_));
            if published && self.again.len() < MAX_AGAIN && self.again.insert(named) {
                lost.push(named);
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        loss::missing(&self.shared, &lost)
    }

    /// Gathers what the log says of the agreements that are, or were, in force.
    async fn agreements(&mut self, head: &Believed) -> Result<bool, NodeError> {
        let known = trusted(&self.shared);
        let mut complete = true;
        for id in known.agreements.keys().copied() {
            let Fetched::Records(opened) = self.ask(Fetch::Agreement(id)).await? else {
                return Err(NodeError::Protocol("it answered something else"));
            };
            let mut proved = Vec::new();
            for (position, opening) in opened {
                if position >= head.checkpoint.size {
                    complete = false;
                    continue;
                }
                let subject = id.0.as_bytes().to_vec();
                let (store, of) = (Arc::clone(&self.shared.store), subject.clone());
                let known = blocking(move || store.has_receipt(&of, position)).await?;
                if known || !is_about(&opening, &id) {
                    continue;
                }
                let one = self.prove(head, subject, position, opening).await;
                proved.extend(self.heeded(one)?);
            }
            self.keep(proved, head).await?;
        }
        Ok(complete)
    }

    /// Looks again at some of what was proved: that it still stands here as it was proved, and that the
    /// broker still shows the same of the log.
    async fn look_again(&mut self, head: &Believed) -> Result<(), NodeError> {
        let (store, after) = (Arc::clone(&self.shared.store), self.looked.clone());
        let page = blocking(move || store.receipts_after(&after, LOOKED_AT_ONCE)).await?;
        self.looked = page.last().map_or_else(Vec::new, |(key, _)| key.clone());
        // What is in memory says nothing of what the broker has now.
        self.tiles.clear();
        // It was believed when it came: keys and policies may have changed since.
        let policy = Policy::of_log(self.session.log.clone());
        let wanted = page.iter().map(|(_, receipt)| WantedRecord {
            position: receipt.position,
            bulletin: receipt
                .opening
                .verify()
                .ok()
                .and_then(|(_, shown)| Some(shown.summary?.bulletin)),
        });
        let Fetched::Records(opened) = self.ask(Fetch::Records(wanted.collect())).await? else {
            return Err(NodeError::Protocol("it answered something else"));
        };
        for (key, receipt) in page {
            let position = receipt.position;
            let kept = receipt.verify(&policy);
            let kept = kept.map_err(|_| NodeError::DamagedReceipt(position));
            let Some(kept) = self.heeded(kept)? else {
                continue;
            };
            let same = self.is_kept(&key, &kept.shown).await?;
            let same = same.then_some(()).ok_or(NodeError::OtherRecord(position));
            self.heeded(same)?;
            // A record that shows nothing any more is one that was taken away.
            let again = opened.iter().find(|(at, _)| *at == position);
            let again = again.map(|(_, opening)| opening.clone());
            let again = again
                .filter(|opening| opening.verify().is_ok_and(|(_, shown)| shown == kept.shown))
                .ok_or(NodeError::OtherRecord(position));
            if let Some(opening) = self.heeded(again)? {
                let found = self.prove(head, Vec::new(), position, opening).await;
                self.heeded(found)?;
            }
        }
        Ok(())
    }

    /// Whether the bulletin that a receipt is about is still the one that is kept here.
    async fn is_kept(&self, key: &[u8], shown: &Shown) -> Result<bool, NodeError> {
        let Some(summary) = shown.summary else {
            return Ok(true);
        };
        let store = Arc::clone(&self.shared.store);
        let own = key.len() == 24;
        let header = blocking(move || {
            if let Some(status) = store.outbox_status(&summary.id)? {
                return Ok(status.header().map(|header| Digest::of(&header)));
            }
            let item = store.inbox_item(&summary.id)?;
            let item = item.and_then(|(_, bytes)| InboxItem::from_bytes(&bytes));
            Ok(item.map(|item| item.delivery.bulletin.header_hash()))
        });
        let header = header.await?;
        Ok(!own || header.is_none_or(|header| header == summary.bulletin))
    }

    /// What is wrong with the log is an alarm, and no reason to stop delivering.
    fn heeded<T>(&self, found: Result<T, NodeError>) -> Result<Option<T>, NodeError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(
                fault @ (NodeError::OtherRecord(_)
                | NodeError::NotInLog { .. }
                | NodeError::OtherTree { .. }
                | NodeError::Tile(_)
                | NodeError::DamagedReceipt(_)),
            ) => {
                self.alarm(fault.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn alarm(&self, text: String) {
        alarm(&self.shared, text);
    }

    async fn keep(&self, proved: Vec<Proved>, head: &Believed) -> Result<(), NodeError> {
        if proved.is_empty() {
            return Ok(());
        }
        let (store, head) = (Arc::clone(&self.shared.store), head.clone());
        blocking(move || store.prove(&proved, head.checkpoint.size, &head.note)).await?;
        self.shared.proved.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Whether an opening shows what was published or received here.
    fn check(&self, wanted: &Unproven, opening: &RecordOpening) -> Result<(), NodeError> {
        let other = NodeError::OtherRecord(wanted.position);
        let Ok((_, shown)) = opening.verify() else {
            return Err(other);
        };
        let me = self.shared.config.spiffe_id.partner();
        if shows(&shown, &wanted.expected, me) {
            Ok(())
        } else {
            Err(other)
        }
    }

    /// Looks for a record in the tree of a checkpoint.
    async fn prove(
        &mut self,
        head: &Believed,
        subject: Vec<u8>,
        position: u64,
        opening: RecordOpening,
    ) -> Result<Proved, NodeError> {
        let (commitment, _) = opening
            .verify()
            .map_err(|_| NodeError::OtherRecord(position))?;
        let path = self.path(position, head.checkpoint.size).await?;
        let (leaf, size) = (commitment.leaf_hash(), head.checkpoint.size);
        // The path is made of all hashes but its own: that one tells whether it is this record that
        // is another.
        if self.leaf(position, size) != Some(leaf) {
            return Err(NodeError::NotInLog { position, size });
        }
        verify_inclusion(&leaf, position, size, &path, &head.checkpoint.root)
            .map_err(|_| NodeError::OtherTree { position, size })?;
        Ok(Proved {
            subject,
            position,
            opening,
            path,
        })
    }

    /// A record's hash, as the tile says that its path is made of.
    fn leaf(&self, position: u64, size: u64) -> Option<Digest> {
        let width = u64::from(TILE_WIDTH);
        let tile = TilePath::in_tree(TileKind::Hashes(0), position / width, size)?;
        let at = usize::try_from(position % width).ok()?;
        self.tiles.get(&tile)?.get(at).copied()
    }

    async fn path(&mut self, position: u64, size: u64) -> Result<Vec<Digest>, NodeError> {
        loop {
            let tiles = &self.tiles;
            let have = |path: &TilePath| tiles.get(path).cloned().ok_or(Wanted(*path));
            let own =
                TilePath::in_tree(TileKind::Hashes(0), position / u64::from(TILE_WIDTH), size);
            let missing = match inclusion_path(&Tiled::new(size, have), position, size) {
                // A path of other tiles alone still needs its own.
                Ok(Some(path)) => match own.filter(|own| !self.tiles.contains_key(own)) {
                    None => return Ok(path),
                    Some(own) => own,
                },
                Err(TiledError::Fetch(Wanted(path))) => path,
                Ok(None) | Err(_) => return Err(NodeError::NotInLog { position, size }),
            };
            let Fetched::Tile(bytes) = self.ask(Fetch::Tile(missing)).await? else {
                return Err(NodeError::Protocol("it answered something else"));
            };
            let hashes = tile_hashes(&missing, &bytes);
            let hashes = hashes.map_err(|_| NodeError::Tile(missing))?;
            if self.tiles.len() >= TILES {
                self.tiles.clear();
            }
            self.tiles.insert(missing, hashes);
        }
    }

    async fn ask(&mut self, what: Fetch) -> Result<Fetched, NodeError> {
        if self.stream.is_none() {
            let (send, receive) = self.connection.open_bi().await?;
            self.stream = Some((send, FrameReader::new(receive, MAX_FRAME_BYTES)));
        }
        let Some((send, reader)) = self.stream.as_mut() else {
            return Err(NodeError::Stopping);
        };
        self.sequence += 1;
        let asked = self.sequence;
        let sequence = asked;
        write_frame(send, &encode(&Frame::Fetch { sequence, what })).await?;
        let bytes = reader.next().await?;
        let bytes = bytes.ok_or(NodeError::Protocol("it ended the log stream"))?;
        match decode(bytes)? {
            Frame::Fetched { sequence, result } if sequence == asked => {
                result.map_err(NodeError::Refused)
            }
            _ => Err(NodeError::Protocol(
                "a frame does not belong on the log stream",
            )),
        }
    }
}

/// Whether what is shown is what is expected of a record.
fn shows(shown: &Shown, expected: &Expected, me: &PartnerId) -> bool {
    let Some(summary) = shown.summary else {
        return false;
    };
    match expected {
        Expected::Published(header) => {
            let tally = shown.tally.is_some_and(|tally| tally.bulletin == *header);
            summary.accepted && summary.bulletin == *header && tally
        }
        Expected::Delivered(header) => {
            let mut own = shown.releases.iter();
            let own = own.any(|one| one.bulletin == *header && one.release.recipient == *me);
            summary.bulletin == *header && own
        }
    }
}

/// Whether a record says something of an agreement.
fn is_about(opening: &RecordOpening, id: &AgreementId) -> bool {
    let shown = opening.verify().map(|(_, shown)| shown);
    match shown.map(|shown| shown.fact) {
        Ok(Some((_, Fact::AgreementRatified(signed)))) => {
            let replaces = signed.terms().ok().and_then(|terms| terms.previous);
            signed.id() == *id || replaces == Some(id.0)
        }
        Ok(Some((_, Fact::AgreementWithdrawn(signed)))) => signed.agreement_id() == *id,
        _ => false,
    }
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, crate::store::StoreError> + Send + 'static,
) -> Result<T, NodeError> {
    let done = tokio::task::spawn_blocking(act).await;
    Ok(done.map_err(|_| NodeError::Stopping)??)
}
