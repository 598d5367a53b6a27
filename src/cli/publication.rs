//! What was published of other tools' files before, and what follows from that: noted at the node before it is
//! published, so that the same files again lead to the same end, wherever a run was interrupted.
//!
//! Whether a bulletin holds, the outbox says: it keeps each for good, with why the broker refused it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::CliError;
use super::files::{NodeFile, unexpected};
use super::import::Import;
use super::publish::{BATCH_BYTES, Batch, Counter};
use super::report::Report;
use crate::bulletin::{BulletinId, Draft, Relation};
use crate::clock::random;
use crate::formats::stix::ObjectVersion;
use crate::node::{Command, NEVER_GIVEN, NoticeDraft, Response};
use crate::proof::Digest;
use crate::store::{OutboxState, OutboxStatus};

/// Names, and bulletins, that are asked for together.
const PAGE: usize = 256;
/// Bulletins that one can name; nodes act on notices, of which there is one for each.
pub(super) const MAX_REFERENCES: usize = 64;

/// What was made of something.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// Of a MISP event, in seconds since 1970; 0 where it has none.
    #[serde(default)]
    pub(super) timestamp: u64,
    /// Under which labels.
    pub(super) labels: String,
    /// What was published: the same gives the same.
    #[serde(default)]
    pub(super) digest: String,
    /// The bulletins.
    pub(super) bulletins: Vec<BulletinId>,
    /// Those whose place they take. Where they never reached the outbox, these hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) before: Vec<BulletinId>,
    /// Notices that have to be given yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) owed: Vec<Owed>,
    /// SHA-256 over the agreements in force when it was published.
    #[serde(default)]
    pub(super) rules: String,
    /// Of STIX: the versions that it carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) objects: Vec<(String, ObjectVersion)>,
}

/// A notice that has to be given about a bulletin that was published before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Owed {
    /// Its id: given twice it is the same bulletin.
    id: BulletinId,
    pub(super) about: BulletinId,
    relation: Relation,
    /// The bulletin that it follows from: given only where the broker took that. Absent in notes of an earlier
    /// version: the first bulletin of the note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newer: Option<BulletinId>,
}

impl Owed {
    /// With an id that follows from what it is about, and from a secret: nobody can take it before.
    fn new(about: BulletinId, relation: Relation, newer: &BulletinId, secret: &[u8]) -> Self {
        let said = [b"entente/notice/v1\n", secret, &newer.0, &about.0].concat();
        let digest = Digest::of(&[&said, relation.to_string().as_bytes()].concat());
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_bytes()[..16]);
        Self {
            id: BulletinId::from_random(id),
            about,
            relation,
            newer: Some(*newer),
        }
    }

    fn follows(&self, note: &Remembered) -> Option<BulletinId> {
        self.newer.or_else(|| note.bulletins.first().copied())
    }
}

/// What became of a bulletin that was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in the outbox, or the broker took it.
    Holds,
    /// For good, and why.
    Refused(String),
    /// Noted, and never published: the command was interrupted between.
    Lost,
}

/// Bulletins that are ready, and what is noted of them.
pub(super) struct Ready {
    pub(super) file: PathBuf,
    pub(super) name: String,
    pub(super) note: Remembered,
    /// Noted along with it: each name with its text.
    pub(super) more: Vec<(String, String)>,
    pub(super) drafts: Vec<Draft>,
    /// Of the drafts, as they go over the local socket.
    pub(super) bytes: usize,
}

/// Publishes what is not published yet.
pub(super) struct Publication<'a> {
    node: &'a NodeFile,
    /// What the broker refused is published again.
    again: bool,
    /// How long the broker's answers are waited for yet, before notices that follow from them.
    wait: Duration,
    /// Notices that were given: of several that say the same, one is enough.
    given: HashSet<(BulletinId, Relation)>,
    rules: Option<String>,
    ready: Vec<Ready>,
    /// What was published.
    pub(super) published: Vec<BulletinId>,
    /// Events and objects that are as they were.
    pub(super) unchanged: usize,
    /// Notices that could not be given yet.
    pub(super) owing: usize,
}

impl<'a> Publication<'a> {
    /// `wait`: how long the broker's answers are waited for, in all.
    pub(super) fn new(node: &'a NodeFile, again: bool, wait: Duration) -> Self {
        Self {
            node,
            again,
            wait,
            given: HashSet::new(),
            rules: None,
            ready: Vec::new(),
            published: Vec::new(),
            unchanged: 0,
            owing: 0,
        }
    }

    pub(super) const fn node(&self) -> &'a NodeFile {
        self.node
    }

    /// What was noted under these names.
    pub(super) async fn noted<T: DeserializeOwned>(
        &self,
        names: &[String],
    ) -> Result<Vec<Option<T>>, CliError> {
        let mut found = Vec::with_capacity(names.len());
        for names in names.chunks(PAGE) {
            let names = names.to_vec();
            let Response::Noted(texts) = self.node.ask(&Command::Noted { names }).await? else {
                return Err(unexpected());
            };
            let read = |text: Option<String>| serde_json::from_str(&text?).ok();
            found.extend(texts.into_iter().map(read));
        }
        Ok(found)
    }

    /// What became of bulletins.
    pub(super) async fn fates(
        &self,
        ids: &[BulletinId],
    ) -> Result<HashMap<BulletinId, Fate>, CliError> {
        let mut fates = HashMap::new();
        for page in ids.chunks(PAGE) {
            // Nearly always all of them are there, which is one question.
            if let Some(statuses) = self.statuses(page, Duration::ZERO).await? {
                fates.extend(statuses.into_iter().map(fate));
                continue;
            }
            for id in page {
                let statuses = self.statuses(&[*id], Duration::ZERO).await?;
                let lost = statuses.is_none().then_some((*id, Fate::Lost));
                fates.extend(lost);
                fates.extend(statuses.into_iter().flatten().map(fate));
            }
        }
        Ok(fates)
    }

    /// Waits so long at most for the broker's answers.
    async fn statuses(
        &self,
        ids: &[BulletinId],
        wait: Duration,
    ) -> Result<Option<Vec<OutboxStatus>>, CliError> {
        let outbox = Command::Outbox {
            ids: ids.to_vec(),
            wait: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        };
        match self.node.ask(&outbox).await {
            Ok(Response::Outbox(statuses)) => Ok(Some(statuses)),
            Ok(_) => Err(unexpected()),
            Err(error) if error.code() == "unknown_bulletin" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether what was refused would be refused again: nothing changed that the broker decides by.
    pub(super) async fn stays_refused(&mut self, known: &Remembered) -> Result<bool, CliError> {
        Ok(!self.again && known.rules == self.rules().await?)
    }

    async fn rules(&mut self) -> Result<String, CliError> {
        if self.rules.is_none() {
            let Response::Policy(mut files) = self.node.ask(&Command::Policy).await? else {
                return Err(unexpected());
            };
            files.sort();
            self.rules = Some(Digest::of(files.join("\n").as_bytes()).to_string());
        }
        self.rules.clone().ok_or_else(unexpected)
    }

    /// Takes up what is to be published, with the notices that follow from it.
    pub(super) async fn add(
        &mut self,
        mut ready: Ready,
        replaced: &[(BulletinId, Relation)],
    ) -> Result<(), CliError> {
        let secret: [u8; 16] =
            random(super::files::entropy().as_ref()).map_err(CliError::failed)?;
        let note = &mut ready.note;
        note.rules = self.rules().await?;
        note.bulletins = ready.drafts.iter().filter_map(|draft| draft.id).collect();
        let newer = note.bulletins.first().copied().ok_or_else(unexpected)?;
        let mut owed: Vec<Owed> = replaced
            .iter()
            .map(|(about, relation)| Owed::new(*about, *relation, &newer, &secret))
            .collect();
        // What a run left that was interrupted, unless something else is to be said of the same now.
        note.owed
            .retain(|one| replaced.iter().all(|(about, _)| *about != one.about));
        owed.append(&mut note.owed);
        note.owed = owed;
        self.ready.push(ready);
        Ok(())
    }

    /// Takes up notices that a run left which was interrupted, or met a node that could not give them.
    pub(super) fn catch_up(&mut self, file: PathBuf, name: String, note: Remembered) {
        self.ready.push(Ready {
            file,
            name,
            note,
            more: Vec::new(),
            drafts: Vec::new(),
            bytes: 0,
        });
    }

    /// Whether so much is ready that it should go.
    pub(super) fn is_full(&self) -> bool {
        self.ready.iter().map(|one| one.bytes).sum::<usize>() >= BATCH_BYTES
    }

    /// Notes what is ready. In several requests, where it is much: what is noted and not published is nowhere.
    async fn note(&mut self) -> Result<(), CliError> {
        let (mut notes, mut bytes) = (Vec::new(), 0);
        for one in &mut self.ready {
            let text = serde_json::to_string(&one.note).map_err(CliError::failed)?;
            let own = std::iter::once((one.name.clone(), text));
            for note in own.chain(std::mem::take(&mut one.more)) {
                if bytes > BATCH_BYTES {
                    let notes = std::mem::take(&mut notes);
                    self.node.ask(&Command::Note { notes }).await?;
                    bytes = 0;
                }
                bytes += note.0.len() + note.1.len();
                notes.push(note);
            }
        }
        self.node.ask(&Command::Note { notes }).await.map(|_| ())
    }

    /// Publishes what is ready in these places together; where something in it is no bulletin, each by itself,
    /// and that one is named.
    async fn send(&mut self, from: usize, to: usize, import: &mut Import) -> Result<(), CliError> {
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
                import.left_out.push((one.file.clone(), reason));
            }
            Some(_) => {
                for at in from..to {
                    Box::pin(self.send(at, at + 1, import)).await?;
                }
            }
        }
        Ok(())
    }

    /// Notes what is about to be published, publishes it, and gives the notices that follow. Interrupted
    /// anywhere, the same files again lead to the same end.
    pub(super) async fn flush(
        &mut self,
        import: &mut Import,
        report: &Report,
    ) -> Result<(), CliError> {
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
            self.send(from, to, import).await?;
            from = to;
        }
        if self.give_notices(report).await? {
            self.note().await?;
        }
        self.ready.clear();
        Ok(())
    }

    /// What became of the bulletins from which notices follow, after a while in which the broker may answer. What
    /// is in no outbox is not among them.
    async fn answers(&mut self) -> Result<HashMap<BulletinId, OutboxState>, CliError> {
        let follow = |one: &Ready| -> Vec<BulletinId> {
            let owed = one.note.owed.iter();
            owed.filter_map(|owed| owed.follows(&one.note)).collect()
        };
        let newer: BTreeSet<BulletinId> = self.ready.iter().flat_map(follow).collect();
        let newer: Vec<BulletinId> = newer.into_iter().collect();
        let mut answers = HashMap::new();
        for page in newer.chunks(PAGE) {
            let asked = tokio::time::Instant::now();
            let mut statuses = self.statuses(page, self.wait).await?;
            if statuses.is_none() {
                let mut some = Vec::new();
                for id in page {
                    some.extend(
                        self.statuses(&[*id], self.wait)
                            .await?
                            .into_iter()
                            .flatten(),
                    );
                }
                statuses = Some(some);
            }
            self.wait = self.wait.saturating_sub(asked.elapsed());
            let statuses = statuses.into_iter().flatten();
            answers.extend(statuses.map(|status| (status.id, status.state)));
        }
        Ok(answers)
    }

    /// Gives what is owed, where the broker took what it follows from. Where it has not answered, or the node cannot
    /// give it now, it stays so, for the next run; where it refused, what was to be replaced holds. Says whether
    /// anything was owed.
    async fn give_notices(&mut self, report: &Report) -> Result<bool, CliError> {
        let answers = self.answers().await?;
        let mut any = false;
        for one in &mut self.ready {
            let mut left = Vec::new();
            for owed in std::mem::take(&mut one.note.owed) {
                any = true;
                let (about, relation) = (owed.about, owed.relation);
                let Some(newer) = owed.follows(&one.note) else {
                    continue;
                };
                match answers.get(&newer) {
                    None | Some(OutboxState::Rejected { .. }) => continue,
                    Some(OutboxState::Pending) => {
                        left.push(owed);
                        continue;
                    }
                    Some(OutboxState::Promised { .. }) => {}
                }
                if self.given.contains(&(about, relation)) {
                    continue;
                }
                let notice = NoticeDraft {
                    id: Some(owed.id),
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
                let Err(error) = self.node.ask(&Command::Notice { notice }).await else {
                    self.given.insert((about, relation));
                    continue;
                };
                report.note(&format!("{about}: no notice could be given: {error}"));
                if !NEVER_GIVEN.contains(&error.code()) {
                    left.push(owed);
                }
            }
            one.note.owed = left;
        }
        for one in &mut self.ready {
            let owed = &mut one.note.owed;
            owed.retain(|owed| !self.given.contains(&(owed.about, owed.relation)));
            self.owing += owed.len();
        }
        Ok(any)
    }
}

/// Gives bulletins their ids, which are noted before they are published.
pub(super) fn name(drafts: &mut [Draft]) -> Result<(), CliError> {
    let entropy = super::files::entropy();
    for draft in drafts {
        let id = random(entropy.as_ref()).map_err(CliError::failed)?;
        draft.id = Some(BulletinId::from_random(id));
    }
    Ok(())
}

/// How many bytes drafts have on the local socket.
pub(super) fn size(drafts: &[Draft]) -> Result<usize, CliError> {
    let mut count = Counter(0);
    for draft in drafts {
        serde_json::to_writer(&mut count, draft).map_err(CliError::failed)?;
    }
    Ok(count.0)
}

fn fate(status: OutboxStatus) -> (BulletinId, Fate) {
    let fate = match status.state {
        OutboxState::Rejected { code, message } => Fate::Refused(format!("{code}: {message}")),
        _ => Fate::Holds,
    };
    (status.id, fate)
}

/// Why something is not published again that the broker refused.
pub(super) fn refused_before(reason: &str) -> String {
    format!(
        "the broker refused what was published of it ({reason}); it goes again when it, its labels or an \
         agreement changed, or with --again"
    )
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
