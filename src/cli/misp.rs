//! MISP events, published once in each state: what was made of an event before is noted at the node, so that
//! a newer one takes its place, and the same one is not published again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::CliError;
use super::files::{NodeFile, unexpected};
use super::import::Import;
use super::policy::Policy;
use super::publish::{BATCH_BYTES, Batch};
use super::report::Report;
use crate::bulletin::{BulletinId, Draft, Precedence, Relation};
use crate::clock::random;
use crate::formats::misp::{self, Event};
use crate::formats::sighting::{self, MAX_SIGHTINGS};
use crate::gateway::{disclosed, feedback};
use crate::node::{Command, ItemView, NoticeDraft, Response};
use crate::proof::Digest;
use crate::store::OutboxState;

/// Events that are looked up together.
const PAGE: usize = 64;
/// Bulletins that one can name; nodes act on notices, of which there is one for each.
const MAX_REFERENCES: usize = 64;

/// What was made of an event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Remembered {
    /// Of the event, in seconds since 1970; 0 where it has none.
    timestamp: u64,
    /// Under which labels.
    labels: String,
    /// What was published: the same gives the same.
    digest: String,
    /// The bulletins.
    bulletins: Vec<BulletinId>,
    /// Those whose place they take. Where they never reached the outbox, these hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<BulletinId>,
    /// Notices that have to be given yet, each about a bulletin that was published before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    owed: Vec<(BulletinId, Relation)>,
}

/// Bulletins that are ready, and what is noted of them.
struct Ready {
    file: PathBuf,
    name: String,
    note: Remembered,
    drafts: Vec<Draft>,
    /// Of the drafts, as they go over the local socket.
    bytes: usize,
}

/// Publishes events.
pub(super) struct Misp<'a> {
    node: &'a NodeFile,
    import: &'a mut Import,
    labels: String,
    /// The events that exports make of what was received, by UUID, with the bulletins' ids.
    received: Option<HashMap<Uuid, BulletinId>>,
    policy: Option<Policy>,
    ready: Vec<Ready>,
    /// What was published.
    pub(super) published: Vec<BulletinId>,
    /// Events that are as they were.
    pub(super) unchanged: usize,
}

fn name(event: &str) -> String {
    format!("misp/{event}")
}

fn is_settled(known: &Remembered, labels: &str, timestamp: u64) -> bool {
    timestamp > 0 && known.timestamp >= timestamp && known.labels == labels && known.owed.is_empty()
}

impl<'a> Misp<'a> {
    pub(super) fn new(node: &'a NodeFile, import: &'a mut Import) -> Self {
        let labels = Digest::of(import.labels().as_bytes()).to_string();
        Self {
            node,
            import,
            labels,
            received: None,
            policy: None,
            ready: Vec::new(),
            published: Vec::new(),
            unchanged: 0,
        }
    }

    /// Publishes what is new in an event, or in a feed's directory.
    pub(super) async fn publish(&mut self, path: &Path, report: &Report) -> Result<(), CliError> {
        if !path.is_dir() {
            let event = super::import::event(path)?;
            let known = self.noted(&[name(&event.uuid)]).await?;
            let known = known.into_iter().next().flatten();
            self.event(path, &event, known).await?;
            return self.flush(report).await;
        }
        let manifest = read_manifest(&path.join("manifest.json"))?;
        let bar = report.progress("publishing", manifest.len() as u64);
        let all: Vec<(Uuid, u64)> = manifest.into_iter().collect();
        for page in all.chunks(PAGE) {
            let names: Vec<String> = page
                .iter()
                .map(|(uuid, _)| name(&uuid.to_string()))
                .collect();
            let known = self.noted(&names).await?;
            let settled = |known: &Option<Remembered>, timestamp: u64| {
                let known = known.as_ref();
                known
                    .filter(|known| is_settled(known, &self.labels, timestamp))
                    .cloned()
            };
            let of_page = page.iter().zip(&known);
            let of_page = of_page.filter_map(|((_, timestamp), known)| settled(known, *timestamp));
            let ids: Vec<BulletinId> = of_page.flat_map(|known| known.bulletins).collect();
            // Nearly always all of them, which is one question.
            let all_hold = self.all_hold(&ids).await?;
            for ((uuid, timestamp), known) in page.iter().zip(known) {
                if let Some(known) = &known
                    && is_settled(known, &self.labels, *timestamp)
                    && (all_hold
                        || self.holding(&known.bulletins).await?.len() == known.bulletins.len())
                {
                    self.unchanged += 1;
                    continue;
                }
                let file = path.join(format!("{uuid}.json"));
                // One file that is missing or none keeps no other from going, and is named.
                match super::import::event(&file) {
                    Ok(event) if event.uuid == uuid.to_string() => {
                        if let Err(error) = self.event(&file, &event, known).await {
                            self.leave_out(&file, error)?;
                        }
                    }
                    Ok(_) => {
                        let reason = "it is another event than its name says".to_owned();
                        self.import.left_out.push((file, reason));
                    }
                    // It is missing, or none.
                    Err(error) => self.leave_out(&file, CliError::refused("invalid", error))?,
                }
            }
            self.flush(report).await?;
            bar.inc(page.len() as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// What is wrong with a file is said of it; what is wrong with the node ends it all.
    fn leave_out(&mut self, file: &Path, error: CliError) -> Result<(), CliError> {
        if !matches!(error.code(), "invalid" | "no_clause" | "hidden_originator") {
            return Err(error);
        }
        let text = error.to_string();
        let prefix = format!("{}: ", file.display());
        let reason = text.strip_prefix(&prefix).unwrap_or(&text).to_owned();
        self.import.left_out.push((file.to_owned(), reason));
        Ok(())
    }

    async fn event(
        &mut self,
        file: &Path,
        event: &Event,
        known: Option<Remembered>,
    ) -> Result<(), CliError> {
        let uuid: Option<Uuid> = event.uuid.parse().ok();
        let received = match uuid {
            Some(uuid) => self.received().await?.get(&uuid).copied(),
            None => None,
        };
        if let Some(bulletin) = received {
            return self.sightings(file, event, bulletin).await;
        }
        if event.is_of_bulletin() {
            let reason = "it was made of a bulletin of another partner, whose contents are not here any more: it \
                          is not this partner's to publish";
            self.import
                .left_out
                .push((file.to_owned(), reason.to_owned()));
            return Ok(());
        }
        let timestamp = event.timestamp.unwrap_or(0);
        if let Some(known) = &known
            && timestamp < known.timestamp
        {
            let reason = "it is older than what was published of it".to_owned();
            self.import.left_out.push((file.to_owned(), reason));
            return Ok(());
        }
        let (drafts, is_emptied) = self.import.misp(file, event)?;
        let relation = if is_emptied {
            Relation::Retracts
        } else {
            Relation::Supersedes
        };
        let name = name(&event.uuid);
        self.prepare(file, name, timestamp, drafts, relation, known)
            .await
    }

    /// Makes bulletins ready, unless they are published already as they are.
    async fn prepare(
        &mut self,
        file: &Path,
        name: String,
        timestamp: u64,
        mut drafts: Vec<Draft>,
        relation: Relation,
        known: Option<Remembered>,
    ) -> Result<(), CliError> {
        let known = known.unwrap_or_default();
        let mut bytes = Vec::new();
        for draft in &drafts {
            serde_json::to_writer(&mut bytes, draft).map_err(CliError::failed)?;
        }
        let digest = Digest::of(&bytes).to_string();
        let bytes = bytes.len();
        let file = file.to_owned();
        let mut earlier = self.holding(&known.bulletins).await?;
        if digest == known.digest && earlier.len() == known.bulletins.len() {
            self.unchanged += 1;
            let note = Remembered {
                timestamp: timestamp.max(known.timestamp),
                labels: self.labels.clone(),
                ..known
            };
            // Notices that a run which was interrupted left.
            self.ready.push(Ready {
                file,
                name,
                note,
                drafts: Vec::new(),
                bytes: 0,
            });
            return Ok(());
        }
        let owed_before = known.owed;
        if earlier.is_empty() {
            earlier = self.holding(&known.before).await?;
        }
        for draft in &mut drafts {
            let entropy = super::files::entropy();
            let id = random(entropy.as_ref()).map_err(CliError::failed)?;
            draft.id = Some(BulletinId::from_random(id));
        }
        let Some(first) = drafts.first_mut() else {
            return Ok(());
        };
        let references = match relation {
            Relation::Retracts => &mut first.retracts,
            _ => &mut first.supersedes,
        };
        references.extend(earlier.iter().take(MAX_REFERENCES));
        let mut owed: Vec<(BulletinId, Relation)> =
            earlier.iter().map(|about| (*about, relation)).collect();
        let among = |about: &BulletinId| earlier.contains(about);
        owed.extend(owed_before.into_iter().filter(|(about, _)| !among(about)));
        let note = Remembered {
            timestamp,
            labels: self.labels.clone(),
            digest,
            bulletins: drafts.iter().filter_map(|draft| draft.id).collect(),
            before: earlier,
            owed,
        };
        self.ready.push(Ready {
            file,
            name,
            note,
            drafts,
            bytes,
        });
        Ok(())
    }

    /// Sightings in an event that was made of what was received here. The rest of it is another's.
    async fn sightings(
        &mut self,
        file: &Path,
        event: &Event,
        bulletin: BulletinId,
    ) -> Result<(), CliError> {
        let Response::Item(item) = self.node.ask(&Command::Item { id: bulletin }).await? else {
            return Err(unexpected());
        };
        let wrong = super::sighting::refused(&bulletin);
        let (about, to) = feedback::sightable(&item).map_err(&wrong)?;
        let said = misp::sightings(event, &about);
        if said.is_empty() {
            let reason = format!(
                "it was made of bulletin {bulletin}, received here: only sightings in it go back to {to}, and \
                 it has none"
            );
            self.import.left_out.push((file.to_owned(), reason));
            return Ok(());
        }
        let mut drafts = Vec::new();
        for some in said.chunks(MAX_SIGHTINGS) {
            let some: Vec<_> = some
                .iter()
                .map(|(target, one)| (Some(target), one.clone()))
                .collect();
            let draft = sighting::draft(&about, &to, &some, Precedence::Routine);
            drafts.push(draft.map_err(|error| wrong(error.into()))?);
        }
        if self.policy.is_none() {
            self.policy = Some(super::policy::of_node(self.node).await?);
        }
        if let Some(policy) = &self.policy {
            for draft in &drafts {
                super::sighting::check_flow(policy, &bulletin, draft, &to)?;
            }
        }
        let name = format!("misp-sightings/{}", event.uuid);
        let known = self.noted(std::slice::from_ref(&name)).await?;
        let known = known.into_iter().next().flatten();
        self.prepare(file, name, 0, drafts, Relation::Supersedes, known)
            .await
    }

    async fn received(&mut self) -> Result<&HashMap<Uuid, BulletinId>, CliError> {
        if self.received.is_none() {
            let mut found = HashMap::new();
            let mut after = 0;
            loop {
                let items = self.page(after).await?;
                let Some(last) = items.last() else { break };
                after = last.number;
                for item in items.iter().filter(|item| item.quarantined.is_none()) {
                    let shown = disclosed(item, None, |_| true);
                    let uuid = shown.and_then(|one| misp::event_uuid(&one).parse().ok());
                    found.extend(uuid.map(|uuid: Uuid| (uuid, item.id)));
                }
            }
            self.received = Some(found);
        }
        self.received.as_ref().ok_or_else(unexpected)
    }

    async fn page(&self, after: u64) -> Result<Vec<ItemView>, CliError> {
        let asked = Command::Inbox { after, limit: PAGE };
        let Response::Items(items) = self.node.ask(&asked).await? else {
            return Err(unexpected());
        };
        Ok(items)
    }

    async fn noted(&self, names: &[String]) -> Result<Vec<Option<Remembered>>, CliError> {
        let names = names.to_vec();
        let Response::Noted(texts) = self.node.ask(&Command::Noted { names }).await? else {
            return Err(unexpected());
        };
        let read = |text: Option<String>| serde_json::from_str(&text?).ok();
        Ok(texts.into_iter().map(read).collect())
    }

    async fn note(&self) -> Result<(), CliError> {
        let mut notes = Vec::new();
        for one in &self.ready {
            let text = serde_json::to_string(&one.note).map_err(CliError::failed)?;
            notes.push((one.name.clone(), text));
        }
        self.node.ask(&Command::Note { notes }).await.map(|_| ())
    }

    /// Whether all of these bulletins are in the outbox or were taken by the broker.
    async fn all_hold(&self, ids: &[BulletinId]) -> Result<bool, CliError> {
        if ids.is_empty() {
            return Ok(true);
        }
        let outbox = Command::Outbox {
            ids: ids.to_vec(),
            wait: 0,
        };
        match self.node.ask(&outbox).await {
            Ok(Response::Outbox(statuses)) => {
                let refused = |state: &OutboxState| matches!(state, OutboxState::Rejected { .. });
                Ok(!statuses.iter().any(|status| refused(&status.state)))
            }
            Ok(_) => Err(unexpected()),
            Err(error) if error.code() == "unknown_bulletin" => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Those of these bulletins that are in the outbox or were taken by the broker.
    async fn holding(&self, ids: &[BulletinId]) -> Result<Vec<BulletinId>, CliError> {
        let mut holding = Vec::new();
        for id in ids {
            let outbox = Command::Outbox {
                ids: vec![*id],
                wait: 0,
            };
            match self.node.ask(&outbox).await {
                Ok(Response::Outbox(statuses)) => {
                    let refused =
                        |state: &OutboxState| matches!(state, OutboxState::Rejected { .. });
                    let held = statuses.iter().all(|status| !refused(&status.state));
                    holding.extend(held.then_some(*id));
                }
                Ok(_) => return Err(unexpected()),
                // Noted, and never published: the command was interrupted between.
                Err(error) if error.code() == "unknown_bulletin" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(holding)
    }

    /// Publishes what is ready in these places together; where something in it is no bulletin, each event by
    /// itself, and that one is named.
    async fn send(&mut self, from: usize, to: usize) -> Result<(), CliError> {
        let alone = to - from == 1;
        let mut batch = Batch::default();
        let mut sent = Vec::new();
        let mut wrong = None;
        for at in from..to {
            for draft in self.ready[at].drafts.clone() {
                if alone && batch.is_full() && wrong.is_none() {
                    let published = batch.publish(self.node).await;
                    wrong = keep(&mut sent, published)?;
                }
                batch.push(draft)?;
            }
        }
        if wrong.is_none() {
            let published = batch.publish(self.node).await;
            wrong = keep(&mut sent, published)?;
        }
        self.published.extend(sent);
        match wrong {
            None => {}
            Some(reason) if alone => {
                let one = &mut self.ready[from];
                one.note.owed.clear();
                self.import.left_out.push((one.file.clone(), reason));
            }
            Some(_) => {
                for at in from..to {
                    Box::pin(self.send(at, at + 1)).await?;
                }
            }
        }
        Ok(())
    }

    /// Notes what is about to be published, publishes it, and gives the notices that follow. Interrupted
    /// anywhere, the same files again lead to the same end.
    async fn flush(&mut self, report: &Report) -> Result<(), CliError> {
        if self.ready.is_empty() {
            return Ok(());
        }
        self.note().await?;
        let mut from = 0;
        while from < self.ready.len() {
            let mut bytes = 0;
            let fit = self.ready[from..].iter().take_while(|one| {
                bytes += one.bytes;
                bytes <= BATCH_BYTES
            });
            // One that is too large for a batch goes by itself, in several.
            let to = from + fit.count().max(1);
            self.send(from, to).await?;
            from = to;
        }
        let mut owed = false;
        for one in &mut self.ready {
            let newer = one.note.bulletins.first().copied();
            for (about, relation) in std::mem::take(&mut one.note.owed) {
                owed = true;
                let newer = newer.map(|id| id.to_string()).unwrap_or_default();
                let notice = NoticeDraft {
                    id: None,
                    about,
                    relation,
                    reason: match relation {
                        Relation::Retracts => "everything in it was deleted".to_owned(),
                        _ => format!("a newer state of it is in {newer}"),
                    },
                    precedence: None,
                    tlp: None,
                    classification: None,
                };
                if let Err(error) = self.node.ask(&Command::Notice { notice }).await {
                    report.note(&format!("{about}: no notice could be given: {error}"));
                }
            }
        }
        if owed {
            self.note().await?;
        }
        self.ready.clear();
        Ok(())
    }
}

/// Keeps what was published; why something is no bulletin, where that is the trouble.
fn keep(
    sent: &mut Vec<BulletinId>,
    published: Result<Vec<BulletinId>, CliError>,
) -> Result<Option<String>, CliError> {
    match published {
        Ok(ids) => {
            sent.extend(ids);
            Ok(None)
        }
        Err(error) if error.code() == "invalid" => Ok(Some(error.to_string())),
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    timestamp: serde_json::Value,
}

/// A feed's events, each with when it was changed last.
fn read_manifest(path: &Path) -> Result<BTreeMap<Uuid, u64>, CliError> {
    let file = File::open(path).map_err(CliError::file(path))?;
    let wrong = |error: &dyn std::fmt::Display| {
        let message = format!(
            "{}: it is no manifest of a MISP feed: {error}",
            path.display()
        );
        CliError::refused("invalid", message)
    };
    let lines: BTreeMap<String, Line> =
        serde_json::from_reader(BufReader::new(file)).map_err(|error| wrong(&error))?;
    let seconds = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.parse().unwrap_or(0),
        value => value.as_u64().unwrap_or(0),
    };
    let entry = |(uuid, line): (String, Line)| {
        let uuid = uuid
            .parse()
            .map_err(|_| wrong(&format!("`{uuid}` is no UUID")))?;
        Ok((uuid, seconds(&line.timestamp)))
    };
    lines.into_iter().map(entry).collect()
}
