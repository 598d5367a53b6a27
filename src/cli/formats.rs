//! `entente export`: what was received here, in the formats of other tools.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::error::CliError;
use super::files::{NodeFile, clock, unexpected};
use super::report::Report;
use crate::agreement::Purpose;
use crate::bulletin::{BulletinId, Relation};
use crate::clock::Timestamp;
use crate::formats::stanag4774::{ConfidentialityLabel, write_label};
use crate::formats::{Disclosed, cap, list, misp, stix};
use crate::gateway::{Author, disclosed};
use crate::node::{Command, HeaderView, ItemView, Response};

/// Items asked for together.
const PAGE: usize = 64;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A STIX 2.1 bundle.
    Stix,
    /// A MISP feed: a directory with manifest.json, an event for each bulletin, hashes.csv.
    Misp,
    /// CAP 1.2: a directory with an alert for each FLASH or IMMEDIATE warning.
    Cap,
    /// Indicators as CSV, with their expiry.
    Csv,
    /// Indicators of one kind (--kind), a line each.
    List,
    /// Confidentiality labels of STANAG 4774: a directory with one for each classified bulletin.
    Stanag4774,
}

/// The kinds of values that lists have.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ListKind {
    Ip,
    IpRange,
    Domain,
    Url,
    Email,
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl ListKind {
    /// As the entries of lists name it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::IpRange => "ip-range",
            Self::Domain => "domain",
            Self::Url => "url",
            Self::Email => "email",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Withheld parts leave no trace in any format. What is bound to purposes goes only to \
                  --purpose.\n\nTry it: entente export csv --out indicators.csv"
)]
pub(super) struct ExportArgs {
    format: Format,
    /// Only these bulletins.
    ids: Vec<BulletinId>,
    /// The file or, for misp, cap and stanag4774, the directory to write.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// What the reader uses it for; what is bound to other purposes is left out.
    #[arg(long)]
    purpose: Option<Purpose>,
    /// Which values, of a plain list.
    #[arg(long, required_if_eq("format", "list"))]
    kind: Option<ListKind>,
    /// Who sends the alerts, in CAP.
    #[arg(long, value_name = "NAME", required_if_eq("format", "cap"))]
    sender: Option<String>,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn export(args: ExportArgs, report: &Report) -> Result<(), CliError> {
    if args.kind.is_some() && !matches!(args.format, Format::List) {
        let message =
            "--kind is for plain lists: `entente export list --kind ...`; CSV has all kinds";
        return Err(CliError::refused("invalid", message));
    }
    let mut writer = Writer::new(&args)?;
    let bulletins = each_received(&args, report, |bulletin| writer.add(bulletin)).await?;
    let count = writer.finish()?;
    let told = json!({"bulletins": bulletins, "written": count, "out": args.out});
    report.show(&told, || {
        format!(
            "{count} written to {}, from {bulletins} bulletins\n",
            args.out.display(),
        )
    })
}

/// Writes one bulletin after the other: of those that are done, no more is held than their names; lists hold
/// their lines.
enum Writer<'a> {
    Stix {
        file: NewFile,
        id: stix::export::BundleId,
        count: usize,
    },
    Misp {
        args: &'a ExportArgs,
        hashes: NewFile,
        manifest: NewFile,
        events: HashSet<uuid::Uuid>,
    },
    Cap {
        args: &'a ExportArgs,
        sender: &'a str,
        written: HashSet<BulletinId>,
    },
    Lines {
        args: &'a ExportArgs,
        entries: list::Entries,
    },
    Labels {
        out: &'a Path,
        count: usize,
    },
}

impl<'a> Writer<'a> {
    fn new(args: &'a ExportArgs) -> Result<Self, CliError> {
        let out = args.out.as_path();
        Ok(match args.format {
            Format::Stix => {
                let mut file = NewFile::create(out)?;
                file.write("{\"type\":\"bundle\"")?;
                Self::Stix {
                    file,
                    id: stix::export::BundleId::default(),
                    count: 0,
                }
            }
            Format::Misp => {
                directory(out)?;
                let mut manifest = NewFile::create(&out.join("manifest.json"))?;
                manifest.write("{")?;
                Self::Misp {
                    args,
                    hashes: NewFile::create(&out.join("hashes.csv"))?,
                    manifest,
                    events: HashSet::new(),
                }
            }
            Format::Cap => {
                let sender = args.sender.as_deref().unwrap_or_default();
                if sender.is_empty() || sender.contains([' ', ',', '<', '&']) {
                    let message = "--sender has no spaces, commas, < or &";
                    return Err(CliError::refused("invalid", message));
                }
                directory(out)?;
                Self::Cap {
                    args,
                    sender,
                    written: HashSet::new(),
                }
            }
            Format::Csv | Format::List => Self::Lines {
                args,
                entries: list::Entries::new(clock().now()),
            },
            Format::Stanag4774 => {
                directory(out)?;
                Self::Labels { out, count: 0 }
            }
        })
    }

    fn add(&mut self, bulletin: &Disclosed) -> Result<(), CliError> {
        match self {
            Self::Stix { file, id, count } => {
                for object in stix::export::objects(bulletin) {
                    file.write(if *count == 0 { ",\"objects\":[" } else { ",\n" })?;
                    file.write(&object.json)?;
                    id.add(&object.json);
                    *count += 1;
                }
            }
            Self::Misp {
                args,
                hashes,
                manifest,
                events,
            } => {
                let event = misp::feed_event(bulletin);
                let Some((uuid, event)) = event.and_then(|one| Some((one.uuid.parse().ok()?, one)))
                else {
                    return Ok(());
                };
                let path = args.out.join(format!("{uuid}.json"));
                let event = match fs::read_to_string(&path) {
                    Ok(before) => misp::newer_than_tombstone(event, &before),
                    Err(_) => event,
                };
                write(&path, &event.event)?;
                hashes.write(&event.hashes)?;
                let comma = if events.is_empty() { "" } else { "," };
                manifest.write(&format!("{comma}\"{uuid}\":{}", event.manifest))?;
                events.insert(uuid);
            }
            Self::Cap {
                args,
                sender,
                written,
            } => {
                if let Some(alert) = cap::alert_of(bulletin, sender) {
                    write(&args.out.join(format!("{}.xml", bulletin.id)), &alert)?;
                    written.insert(bulletin.id);
                }
            }
            Self::Lines { entries, .. } => entries.add(bulletin),
            Self::Labels { out, count } => {
                let path = out.join(format!("{}.xml", bulletin.id));
                let holds = bulletin.ended().is_none();
                if let Some(label) = label(bulletin).filter(|_| holds) {
                    write(&path, &write_label(&label))?;
                    *count += 1;
                }
            }
        }
        Ok(())
    }

    /// Finishes all files, and removes those of ours that are in a directory no more; how much was written.
    fn finish(self) -> Result<usize, CliError> {
        match self {
            Self::Stix {
                mut file,
                id,
                count,
            } => {
                // Known only now. It is the same for the same objects, and of use to nobody else.
                let end = if count == 0 { "" } else { "]" };
                file.write(&format!("{end},\"id\":\"{}\"}}\n", id.finish()))?;
                file.finish()?;
                Ok(count)
            }
            Self::Misp {
                args,
                hashes,
                mut manifest,
                events,
            } => {
                hashes.finish()?;
                let mut gone = Vec::new();
                let mut comma = if events.is_empty() { "" } else { "," };
                let now = clock().now();
                each_file(&args.out, "json", |uuid, path| {
                    let known = uuid.parse().is_ok_and(|uuid| events.contains(&uuid));
                    let text = if known {
                        None
                    } else {
                        fs::read_to_string(path).ok()
                    };
                    let Some(text) = text.filter(|text| misp::is_of(text, uuid)) else {
                        return Ok(());
                    };
                    // Of a part of them it is not known what became of the others.
                    let left = misp::tombstone(&text, now).filter(|_| args.ids.is_empty());
                    let Some(left) = left else {
                        gone.push(path.to_owned());
                        return Ok(());
                    };
                    if left.event != text {
                        write(path, &left.event)?;
                    }
                    manifest.write(&format!("{comma}\"{uuid}\":{}", left.manifest))?;
                    comma = ",";
                    Ok(())
                })?;
                // Last: whoever reads it meanwhile finds what it names.
                manifest.write("}")?;
                manifest.finish()?;
                for path in gone {
                    fs::remove_file(&path).map_err(CliError::file(&path))?;
                }
                Ok(events.len())
            }
            Self::Cap {
                args,
                sender,
                written,
            } => {
                // Alerts of bulletins that were not asked for stay.
                each_file(&args.out, "xml", |id, path| {
                    let asked = |id: &BulletinId| args.ids.is_empty() || args.ids.contains(id);
                    let id = id.parse().ok().filter(asked);
                    // What cannot be read, or is no text, is not ours.
                    let ours =
                        || fs::read_to_string(path).is_ok_and(|text| cap::is_of(&text, sender));
                    if id.is_some_and(|id| !written.contains(&id)) && ours() {
                        fs::remove_file(path).map_err(CliError::file(path))?;
                    }
                    Ok(())
                })?;
                Ok(written.len())
            }
            Self::Lines { args, entries } => {
                let entries = entries.finish();
                let mut file = NewFile::create(&args.out)?;
                let count = if let Some(kind) = args.kind {
                    let text = list::plain(&entries, kind.as_str());
                    file.write(&text)?;
                    text.lines().count()
                } else {
                    file.write(&list::csv(&entries))?;
                    entries.len()
                };
                file.finish()?;
                Ok(count)
            }
            Self::Labels { count, .. } => Ok(count),
        }
    }
}

/// A bulletin's label; none where it is not classified.
fn label(bulletin: &Disclosed) -> Option<ConfidentialityLabel> {
    let names = bulletin.releasable_to.iter().map(ToString::to_string);
    let names: Vec<String> = names.collect();
    Some(ConfidentialityLabel {
        classification: bulletin.classification.clone()?,
        releasable_to: (!names.is_empty()).then_some(names),
        created: bulletin.created,
    })
}

/// The files `UUID.extension` of a directory, each with its UUID.
fn each_file(
    directory: &Path,
    extension: &str,
    mut each: impl FnMut(&str, &Path) -> Result<(), CliError>,
) -> Result<(), CliError> {
    for entry in fs::read_dir(directory).map_err(CliError::file(directory))? {
        let entry = entry.map_err(CliError::file(directory))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().and_then(|name| name.strip_suffix(extension));
        let Some(name) = name.and_then(|name| name.strip_suffix('.')) else {
            continue;
        };
        let ours = name
            .parse::<uuid::Uuid>()
            .is_ok_and(|uuid| uuid.to_string() == name);
        if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            each(name, &path)?;
        }
    }
    Ok(())
}

fn directory(path: &Path) -> Result<(), CliError> {
    fs::create_dir_all(path).map_err(CliError::file(path))
}

/// A file that is whole, or as it was: a reader never finds half of it. Only its owner may read it, whatever
/// is in it: files have no markings.
struct NewFile {
    path: PathBuf,
    new: PathBuf,
    file: BufWriter<File>,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self, CliError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        // What an earlier run left behind may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(CliError::file(&new)(error));
            }
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new);
        Ok(Self {
            file: BufWriter::new(file.map_err(CliError::file(&new))?),
            path: path.to_owned(),
            new,
        })
    }

    fn write(&mut self, text: &str) -> Result<(), CliError> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(CliError::file(&self.new))
    }

    fn finish(mut self) -> Result<(), CliError> {
        self.file.flush().map_err(CliError::file(&self.new))?;
        fs::rename(&self.new, &self.path).map_err(CliError::file(&self.path))
    }
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let mut file = NewFile::create(path)?;
    file.write(text)?;
    file.finish()
}

/// Every page of the inbox.
async fn pages(
    node: &NodeFile,
    mut each: impl FnMut(&[ItemView]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut after = 0;
    loop {
        let asked = Command::Inbox { after, limit: PAGE };
        let Response::Items(page) = node.ask(&asked).await? else {
            return Err(unexpected());
        };
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.number;
        each(&page)?;
    }
}

/// Goes through what was received and may be handed out for the purpose; how much that is. Twice: what became
/// of a bulletin is said by notices that came later.
async fn each_received(
    args: &ExportArgs,
    report: &Report,
    mut take: impl FnMut(&Disclosed) -> Result<(), CliError>,
) -> Result<usize, CliError> {
    let mut notices = Notices::default();
    let mut length = 0;
    pages(&args.node, |page| {
        length += page.len() as u64;
        for item in page {
            notices.note(item);
        }
        Ok(())
    })
    .await?;
    let bar = report.progress("writing", length);
    let mut count = 0;
    pages(&args.node, |page| {
        for item in page {
            let asked = args.ids.is_empty() || args.ids.contains(&item.id);
            let may = item.quarantined.is_none() && item.obligations.permit(args.purpose);
            if let Some(shown) = notices.shown(item).filter(|_| asked && may) {
                take(&shown)?;
                count += 1;
            }
        }
        bar.inc(page.len() as u64);
        Ok(())
    })
    .await?;
    bar.finish_and_clear();
    Ok(count)
}

/// The notices among what was received.
#[derive(Default)]
struct Notices {
    /// When each was given, by its id.
    given: HashMap<BulletinId, Timestamp>,
    /// Whose, and when, by the bulletin in whose place they put another.
    superseding: HashMap<BulletinId, Vec<(Author, Timestamp)>>,
}

impl Notices {
    fn note(&mut self, item: &ItemView) {
        let header = item.header.as_ref().filter(|header| header.notice);
        let Some(header) = header.filter(|_| item.quarantined.is_none()) else {
            return;
        };
        self.given.insert(item.id, header.created);
        for reference in &header.references {
            if reference.relation == Relation::Supersedes
                && let Some(author) = Author::of(header)
            {
                let about = self.superseding.entry(reference.bulletin).or_default();
                about.push((author, header.created));
            }
        }
    }

    /// A bulletin as it is by now.
    fn shown(&self, item: &ItemView) -> Option<Disclosed> {
        let mark = item.mark.as_ref().filter(|_| item.is_taken_back());
        let at = mark.map(|mark| self.at(item, &mark.notice));
        let mut shown = disclosed(item, at, |_| true)?;
        shown.superseded = self.superseded(item, item.header.as_ref()?);
        Some(shown)
    }

    fn at(&self, item: &ItemView, notice: &BulletinId) -> Timestamp {
        self.given.get(notice).copied().unwrap_or(item.received)
    }

    /// When a bulletin was superseded by its own originator. A bulletin keeps the mark of its last notice
    /// only, which may be another.
    fn superseded(&self, item: &ItemView, header: &HeaderView) -> Option<Timestamp> {
        let mark = item.mark.as_ref();
        let mark = mark.filter(|mark| mark.relation == Relation::Supersedes);
        if let Some(mark) = mark {
            return Some(self.at(item, &mark.notice));
        }
        self.superseded_by_notice(&item.id, header)
    }

    fn superseded_by_notice(&self, id: &BulletinId, header: &HeaderView) -> Option<Timestamp> {
        let author = Author::of(header)?;
        let notices = self.superseding.get(id)?.iter();
        let own = notices.filter(|(by, _)| *by == author);
        own.map(|(_, at)| *at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_author_supersedes_a_bulletin() {
        let view = |number: u8, author: serde_json::Value, references: serde_json::Value| {
            let at = "2026-11-23T12:00:00Z";
            let mut header = json!({
                "created": at, "valid_from": at, "valid_until": at, "kinds": [], "topics": [],
                "regions": [], "tlp": "TLP:GREEN", "releasable_to": [], "caveats": [],
                "precedence": "ROUTINE", "exercise": false, "admiralty": "--",
                "references": references, "notice": references != json!([]),
            });
            let author = author.as_object().unwrap().clone();
            header.as_object_mut().unwrap().extend(author);
            let header: HeaderView = serde_json::from_value(header).unwrap();
            (BulletinId::from_random([number; 16]), header)
        };
        let norland = json!({"originator": "norland.example"});
        let alias = json!({"pseudonym": "alias-1"});
        let nobody = json!({"pseudonym": "undisclosed"});
        let once = json!({"pseudonym": "alias-2", "single_use": true});
        for (by, of, superseded) in [
            (&norland, &norland, true),
            (&alias, &alias, true),
            (&norland, &json!({"originator": "estmark.example"}), false),
            (&alias, &norland, false),
            (&nobody, &nobody, false),
            (&once, &once, false),
        ] {
            let (id, header) = view(1, of.clone(), json!([]));
            let references = json!([{"bulletin": id, "relation": "supersedes"}]);
            let (_, notice) = view(2, by.clone(), references);
            let mut notices = Notices::default();
            let author = Author::of(&notice).map(|author| (author, notice.created));
            notices.superseding.insert(id, author.into_iter().collect());
            let found = notices.superseded_by_notice(&id, &header).is_some();
            assert_eq!(found, superseded, "{by} {of}");
        }
    }
}
