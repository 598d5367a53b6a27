//! `entente publish`: bulletins from files, of this program and of other tools.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::bulletins::{outbox_table, read_draft};
use super::error::CliError;
use super::files::{NodeFile, unexpected};
use super::import::Import;
use super::misp::Misp;
use super::publication::Publication;
use super::report::{Report, table};
use crate::bulletin::{BulletinId, Draft, Kind, Precedence, Region, TOPICS, Tlp, Topic};
use crate::formats::Labels;
use crate::node::{Command, Response};
use crate::partner::PartnerId;
use crate::store::{OutboxState, OutboxStatus};

/// Bytes of drafts, as they go over the local socket, that are published together; and how many.
pub(super) const BATCH_BYTES: usize = 4 * 1024 * 1024;
const BATCH: usize = 256;
/// Bulletins of which each is told by itself.
const TOLD: usize = 1_000;
/// Bulletins whose state is asked for together.
const PAGE: usize = 256;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A bulletin file in TOML:\n\n  kinds = [\"cyber\"]\n  topics = \
    [\"cyber/malware\"]\n  tlp = \"TLP:AMBER\"\n\n  [[part]]\n  type = \"ip\"\n  value = \
    \"192.0.2.7\"\n\nOther tools' files: entente publish --misp event.json --topics cyber/malware\nA whole feed, \
    and later what is new in it: entente publish --misp feed/\nA list: entente publish --list domains.txt \
    --tlp TLP:GREEN"
)]
pub(super) struct PublishArgs {
    /// Bulletin files in TOML or JSON.
    files: Vec<PathBuf>,
    /// STIX 2.1 bundles: each object becomes a part, kept byte for byte; STIX 2.0 is upgraded. A newer version takes the place of
    /// what was published of it before, what is revoked is taken back, and the same is not published again.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    stix: Vec<PathBuf>,
    /// MISP events, or directories of feeds: attributes become parts, tags labels. What was published of an
    /// event before is superseded where it changed, and not published again where it did not; sightings in
    /// an event that was exported from here go back to its originator.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    misp: Vec<PathBuf>,
    /// Publishes again what the broker refused of --stix and --misp before, though nothing changed.
    #[arg(long)]
    again: bool,
    /// CAP 1.2 alerts: each becomes a warning.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    cap: Vec<PathBuf>,
    /// Lists of indicators: one value on a line, or CSV (`.csv`) with a column `value`.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    list: Vec<PathBuf>,
    /// A confidentiality label of STANAG 4774, for what is made from other formats: its classification, and
    /// to whom it is releasable.
    #[arg(long, value_name = "FILE")]
    label: Option<PathBuf>,
    /// Leaves out what is on one of the lists of this directory, which are in the JSON format of
    /// MISP's warninglists: resolvers, reserved ranges, hashes of empty files.
    #[arg(long, value_name = "DIRECTORY")]
    warninglists: Option<PathBuf>,
    #[command(flatten)]
    labels: StixLabels,
    /// Lists the topics of the taxonomy, and publishes nothing.
    #[arg(long)]
    list_topics: bool,
    /// Waits so many seconds for the broker to take or refuse it.
    #[arg(long, default_value_t = 10)]
    wait: u64,
    #[command(flatten)]
    node: NodeFile,
}

/// The labels of bulletins made from other formats.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StixLabels {
    /// Kinds of the bulletins made from other formats.
    #[arg(long, value_delimiter = ',', default_value = "cyber")]
    pub(super) kinds: Vec<Kind>,
    /// Topics of the bulletins made from other formats.
    #[arg(long, value_delimiter = ',', default_value = "cyber")]
    pub(super) topics: Vec<Topic>,
    /// Regions of the bulletins made from other formats.
    #[arg(long, value_delimiter = ',')]
    pub(super) regions: Vec<Region>,
    /// The least TLP of what is made from other formats; what is marked stricter keeps its own.
    #[arg(long, default_value = "TLP:AMBER")]
    pub(super) tlp: Tlp,
    /// Precedence of the bulletins made from other formats.
    #[arg(long, default_value = "ROUTINE")]
    pub(super) precedence: Precedence,
    /// Partners to whom what is made from other formats is releasable; TLP:RED goes to nobody else.
    #[arg(long, value_delimiter = ',', value_name = "PARTNERS")]
    pub(super) releasable_to: Vec<PartnerId>,
    /// Marks what is made from other formats as an exercise.
    #[arg(long)]
    pub(super) exercise: bool,
}

impl From<StixLabels> for Labels {
    fn from(labels: StixLabels) -> Self {
        Self {
            kinds: labels.kinds,
            topics: labels.topics,
            regions: labels.regions,
            tlp: labels.tlp,
            precedence: labels.precedence,
            releasable_to: labels.releasable_to,
            exercise: labels.exercise,
        }
    }
}

/// What `publish` tells.
#[derive(Debug, Default, Serialize)]
struct Published {
    /// The first of them; beyond those only what the broker refused.
    bulletins: Vec<OutboxStatus>,
    /// How many in all.
    #[serde(rename = "published")]
    count: usize,
    /// How many of them the broker has not answered yet.
    pending: usize,
    /// Events and STIX objects that are as they were when they were published.
    unchanged: usize,
    /// Notices about what was published before that the node could not give yet.
    #[serde(skip_serializing_if = "is_zero")]
    owing: usize,
    refused: Vec<RefusedView>,
}

/// Something in a file that was not published, and why.
#[derive(Debug, Serialize)]
struct RefusedView {
    file: PathBuf,
    reason: String,
}

pub(super) async fn publish(args: PublishArgs, report: &Report) -> Result<(), CliError> {
    if args.list_topics {
        return list_topics(report);
    }
    let others = [&args.stix, &args.misp, &args.cap, &args.list];
    if args.files.is_empty() && others.iter().all(|files| files.is_empty()) {
        return Err(CliError::refused(
            "nothing",
            "name a bulletin file, or files of other tools after --stix, --misp, --cap or --list",
        ));
    }
    let mut import = Import::new(
        args.labels.into(),
        args.label.as_deref(),
        args.warninglists.as_deref(),
    )?;
    let mut drafts = Vec::new();
    for file in &args.files {
        drafts.push(read_draft(file)?);
    }
    // Before anything is published it is known that all of them can be read.
    let mut bundles = Vec::new();
    for file in &args.stix {
        let bundle = import.stix(file)?;
        if bundle.upgraded > 0 {
            let (name, count) = (file.display(), bundle.upgraded);
            report.note(&format!(
                "{name}: {count} objects of STIX 2.0 are upgraded to 2.1"
            ));
        }
        bundles.push((file, bundle));
    }
    for file in &args.cap {
        drafts.push(import.cap(file)?);
    }
    for file in &args.list {
        drafts.extend(import.list(file)?);
    }
    import.leave_out_known(&mut drafts);
    for file in args.misp.iter().filter(|file| !file.is_dir()) {
        super::import::event(file)?;
    }
    let mut published = Published::default();
    let mut ids = Vec::new();
    let bar = report.progress("publishing", drafts.len() as u64);
    let mut batch = Batch::default();
    for draft in drafts {
        if batch.is_full() {
            ids.extend(batch.publish(&args.node).await?);
        }
        batch.push(draft)?;
        bar.inc(1);
    }
    ids.extend(batch.publish(&args.node).await?);
    bar.finish_and_clear();
    published.tell(&mut import, report);
    let mut publication = Publication::new(&args.node, args.again, Duration::from_secs(args.wait));
    for (file, bundle) in bundles {
        super::stix::publish(&mut publication, &mut import, file, bundle, report).await?;
    }
    if !args.misp.is_empty() {
        let mut misp = Misp::new(&mut publication, &mut import);
        for path in &args.misp {
            misp.publish(path, report).await?;
        }
    }
    published.unchanged = publication.unchanged;
    published.owing = publication.owing;
    ids.append(&mut publication.published);
    published.tell(&mut import, report);
    published
        .settle(&args.node, &ids, args.wait, report)
        .await?;
    published.show(report)
}

fn list_topics(report: &Report) -> Result<(), CliError> {
    let topics: Vec<_> = TOPICS
        .iter()
        .map(|(topic, about)| json!({"topic": topic, "about": about}))
        .collect();
    report.show(&topics, || {
        let rows = TOPICS
            .iter()
            .map(|(topic, about)| [(*topic).to_owned(), (*about).to_owned()]);
        table(["topic", "about"], rows)
    })
}

/// Bulletins that go to the node together.
#[derive(Default)]
pub(super) struct Batch {
    drafts: Vec<Draft>,
    bytes: usize,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.drafts.len() >= BATCH
    }

    pub(super) fn push(&mut self, draft: Draft) -> Result<(), CliError> {
        let mut count = Counter(0);
        serde_json::to_writer(&mut count, &draft).map_err(CliError::failed)?;
        self.bytes += count.0;
        self.drafts.push(draft);
        Ok(())
    }

    /// Publishes them. One bulletin that is none keeps the others from going, and is named.
    pub(super) async fn publish(&mut self, node: &NodeFile) -> Result<Vec<BulletinId>, CliError> {
        let drafts = std::mem::take(&mut self.drafts);
        self.bytes = 0;
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        let Response::Published(ids) = node.ask(&Command::Publish { drafts }).await? else {
            return Err(unexpected());
        };
        Ok(ids)
    }
}

/// Counts what is written.
pub(super) struct Counter(pub(super) usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Published {
    /// Says what was left out.
    fn tell(&mut self, import: &mut Import, report: &Report) {
        for (file, reason) in import.left_out.drain(..) {
            report.note(&format!("{}: {reason}", file.display()));
            self.refused.push(RefusedView { file, reason });
        }
    }

    /// Waits for the broker's answers, for so many seconds at most.
    async fn settle(
        &mut self,
        node: &NodeFile,
        ids: &[BulletinId],
        wait: u64,
        report: &Report,
    ) -> Result<(), CliError> {
        self.count = ids.len();
        let end = tokio::time::Instant::now() + Duration::from_secs(wait);
        let bar = report.progress("waiting for the broker", ids.len() as u64);
        for page in ids.chunks(PAGE) {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let outbox = Command::Outbox {
                ids: page.to_vec(),
                wait: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            };
            let Response::Outbox(statuses) = node.ask(&outbox).await? else {
                return Err(unexpected());
            };
            for status in statuses {
                self.pending += usize::from(status.state == OutboxState::Pending);
                let rejected = matches!(status.state, OutboxState::Rejected { .. });
                if self.bulletins.len() < TOLD || rejected {
                    self.bulletins.push(status);
                }
            }
            bar.inc(page.len() as u64);
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn show(&self, report: &Report) -> Result<(), CliError> {
        report.show(self, || {
            let rejected = |one: &&OutboxStatus| matches!(one.state, OutboxState::Rejected { .. });
            let bulletins = if self.count > TOLD {
                let pending = match self.pending {
                    0 => String::new(),
                    some => format!(", {some} of them still in the outbox"),
                };
                let refused = self.bulletins.iter().filter(rejected).cloned();
                let refused: Vec<OutboxStatus> = refused.collect();
                let table = if refused.is_empty() {
                    String::new()
                } else {
                    outbox_table(&refused)
                };
                format!("{} bulletins published{pending}.\n{table}", self.count)
            } else if self.bulletins.is_empty() {
                String::new()
            } else {
                outbox_table(&self.bulletins)
            };
            let unchanged = match self.unchanged {
                0 => String::new(),
                1 => "One event or object is as it was published before.\n".to_owned(),
                some => format!("{some} events and objects are as they were published before.\n"),
            };
            let rest = if self.count > 0 {
                "; the rest is published"
            } else {
                ""
            };
            let refused = match self.refused.len() {
                0 => String::new(),
                1 => format!("One thing was left out{rest}.\n"),
                some => format!("{some} things were left out{rest}.\n"),
            };
            bulletins + &unchanged + &refused
        })?;
        let rejected = self
            .bulletins
            .iter()
            .any(|status| matches!(status.state, OutboxState::Rejected { .. }));
        if rejected {
            return Err(CliError::refused(
                "rejected",
                "the broker refused a bulletin",
            ));
        }
        if self.owing > 0 {
            let message = format!(
                "{} notices are not given yet, since the broker has not answered or the node could not: run the \
                 command again",
                self.owing
            );
            return Err(CliError::refused("owing", message));
        }
        if self.count == 0 && self.unchanged == 0 {
            return Err(CliError::refused(
                "invalid",
                "nothing in these files could be published",
            ));
        }
        Ok(())
    }
}
