//! MISP events, published once in each state: what was made of an event before is noted at the node, so that
//! a newer one takes its place, and the same one is not published again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;
use uuid::Uuid;

use super::error::CliError;
use super::files::unexpected;
use super::import::Import;
use super::policy::Policy;
use super::publication::{
    self, Fate, MAX_REFERENCES, Publication, Ready, Remembered, refused_before,
};
use super::report::Report;
use crate::bulletin::{BulletinId, Draft, Precedence, Relation};
use crate::formats::misp::{self, Event};
use crate::formats::sighting::{self, MAX_SIGHTINGS};
use crate::gateway::{disclosed, feedback};
use crate::node::{Command, ItemView, Response};
use crate::proof::Digest;

/// Events that are looked up together.
const PAGE: usize = 64;

/// Publishes events.
pub(super) struct Misp<'a, 'b> {
    import: &'a mut Import,
    labels: String,
    publication: &'a mut Publication<'b>,
    /// The events that exports make of what was received, by UUID, with the bulletins' ids.
    received: Option<HashMap<Uuid, BulletinId>>,
    policy: Option<Policy>,
}

fn name(event: &str) -> String {
    format!("misp/{event}")
}

fn is_settled(known: &Remembered, labels: &str, timestamp: u64) -> bool {
    timestamp > 0 && known.timestamp >= timestamp && known.labels == labels && known.owed.is_empty()
}

impl<'a, 'b> Misp<'a, 'b> {
    pub(super) fn new(publication: &'a mut Publication<'b>, import: &'a mut Import) -> Self {
        let labels = Digest::of(import.labels().as_bytes()).to_string();
        Self {
            import,
            labels,
            publication,
            received: None,
            policy: None,
        }
    }

    /// Publishes what is new in an event, or in a feed's directory.
    pub(super) async fn publish(&mut self, path: &Path, report: &Report) -> Result<(), CliError> {
        if !path.is_dir() {
            let event = super::import::event(path)?;
            let known = self.publication.noted(&[name(&event.uuid)]).await?;
            let known = known.into_iter().next().flatten();
            self.event(path, &event, known).await?;
            return self.publication.flush(self.import, report).await;
        }
        let manifest = read_manifest(&path.join("manifest.json"))?;
        let bar = report.progress("publishing", manifest.len() as u64);
        let all: Vec<(Uuid, u64)> = manifest.into_iter().collect();
        for page in all.chunks(PAGE) {
            let names: Vec<String> = page
                .iter()
                .map(|(uuid, _)| name(&uuid.to_string()))
                .collect();
            let known: Vec<Option<Remembered>> = self.publication.noted(&names).await?;
            let settled =
                |known: &&Remembered, timestamp: u64| is_settled(known, &self.labels, timestamp);
            let of_page = page.iter().zip(&known);
            let of_page = of_page.filter_map(|((_, timestamp), known)| {
                known.as_ref().filter(|known| settled(known, *timestamp))
            });
            let ids: Vec<BulletinId> = of_page.flat_map(|known| known.bulletins.clone()).collect();
            let fates = self.publication.fates(&ids).await?;
            for ((uuid, timestamp), known) in page.iter().zip(known) {
                let file = path.join(format!("{uuid}.json"));
                if let Some(known) = &known
                    && is_settled(known, &self.labels, *timestamp)
                    && self.is_done(&file, known, &fates).await?
                {
                    continue;
                }
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
            self.publication.flush(self.import, report).await?;
            bar.inc(page.len() as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Whether there is nothing to publish where nothing changed: all of it holds, or the broker would refuse
    /// it again, which is said.
    async fn is_done(
        &mut self,
        file: &Path,
        known: &Remembered,
        fates: &HashMap<BulletinId, Fate>,
    ) -> Result<bool, CliError> {
        let all: Option<Vec<&Fate>> = known.bulletins.iter().map(|id| fates.get(id)).collect();
        let Some(all) = all.filter(|all| !all.contains(&&Fate::Lost)) else {
            return Ok(false);
        };
        let refused = all.iter().find_map(|fate| match fate {
            Fate::Refused(reason) => Some(reason),
            _ => None,
        });
        let Some(reason) = refused else {
            self.publication.unchanged += 1;
            return Ok(true);
        };
        let stays = self.publication.stays_refused(known).await?;
        if stays {
            let reason = refused_before(reason);
            self.import.left_out.push((file.to_owned(), reason));
        }
        Ok(stays)
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
        let fates = self.publication.fates(&known.bulletins).await?;
        if digest == known.digest && self.is_done(file, &known, &fates).await? {
            let note = Remembered {
                timestamp: timestamp.max(known.timestamp),
                labels: self.labels.clone(),
                ..known
            };
            self.publication.catch_up(file.to_owned(), name, note);
            return Ok(());
        }
        let mut earlier = holding(&known.bulletins, &fates);
        if earlier.is_empty() {
            let fates = self.publication.fates(&known.before).await?;
            earlier = holding(&known.before, &fates);
        }
        publication::name(&mut drafts)?;
        let Some(first) = drafts.first_mut() else {
            return Ok(());
        };
        let references = match relation {
            Relation::Retracts => &mut first.retracts,
            _ => &mut first.supersedes,
        };
        references.extend(earlier.iter().take(MAX_REFERENCES));
        let replaced: Vec<_> = earlier.iter().map(|about| (*about, relation)).collect();
        let note = Remembered {
            timestamp,
            labels: self.labels.clone(),
            digest,
            before: earlier,
            owed: known.owed,
            ..Remembered::default()
        };
        let ready = Ready {
            file: file.to_owned(),
            name,
            note,
            more: Vec::new(),
            drafts,
            bytes,
        };
        self.publication.add(ready, &replaced).await
    }

    /// Sightings in an event that was made of what was received here. The rest of it is another's.
    async fn sightings(
        &mut self,
        file: &Path,
        event: &Event,
        bulletin: BulletinId,
    ) -> Result<(), CliError> {
        let Response::Item(item) = self
            .publication
            .node()
            .ask(&Command::Item { id: bulletin })
            .await?
        else {
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
            self.policy = Some(super::policy::of_node(self.publication.node()).await?);
        }
        if let Some(policy) = &self.policy {
            for draft in &drafts {
                super::sighting::check_flow(policy, &bulletin, draft, &to)?;
            }
        }
        let name = format!("misp-sightings/{}", event.uuid);
        let known = self.publication.noted(std::slice::from_ref(&name)).await?;
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
        let Response::Items(items) = self.publication.node().ask(&asked).await? else {
            return Err(unexpected());
        };
        Ok(items)
    }
}

/// Those of these bulletins that are in the outbox or were taken by the broker.
fn holding(ids: &[BulletinId], fates: &HashMap<BulletinId, Fate>) -> Vec<BulletinId> {
    let holds = |id: &&BulletinId| fates.get(id) == Some(&Fate::Holds);
    ids.iter().filter(holds).copied().collect()
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
