//! `entente export`: what was received here, in the formats of other tools.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
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
use crate::formats::{Disclosed, cap, list, misp, stix};
use crate::gateway::disclosed;
use crate::node::{Command, HeaderView, ItemView, Response};
use crate::partner::PartnerId;

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
    /// The file or, for misp and cap, the directory to write.
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
    let bulletins = received(&args).await?;
    let count = match args.format {
        Format::Stix => {
            let objects: Vec<_> = bulletins.iter().flat_map(stix::export::objects).collect();
            write(&args.out, &bundle(&objects))?;
            objects.len()
        }
        Format::Misp => write_feed(&args.out, &misp::feed(&bulletins))?,
        Format::Cap => write_alerts(&args, &bulletins)?,
        Format::Csv | Format::List => {
            let entries = list::entries(&bulletins, clock().now());
            let (text, count) = if let Some(kind) = args.kind {
                let text = list::plain(&entries, kind.as_str());
                let count = text.lines().count();
                (text, count)
            } else {
                (list::csv(&entries), entries.len())
            };
            write(&args.out, &text)?;
            count
        }
    };
    let told = json!({"bulletins": bulletins.len(), "written": count, "out": args.out});
    report.show(&told, || {
        format!(
            "{count} written to {}, from {} bulletins\n",
            args.out.display(),
            bulletins.len()
        )
    })
}

/// A feed directory, without events of ours that are in it no more; how many it has.
fn write_feed(out: &Path, feed: &misp::Feed) -> Result<usize, CliError> {
    directory(out)?;
    for (uuid, event) in &feed.events {
        write(&out.join(format!("{uuid}.json")), event)?;
    }
    // Last: whoever reads it meanwhile finds what it names.
    write(&out.join("hashes.csv"), &feed.hashes)?;
    write(&out.join("manifest.json"), &feed.manifest)?;
    let kept: HashSet<&str> = feed.events.iter().map(|(uuid, _)| uuid.as_str()).collect();
    remove(out, "json", |uuid, text| {
        !kept.contains(uuid) && misp::is_of(text, uuid)
    })?;
    Ok(feed.events.len())
}

/// A directory of alerts, without those of ours that are none any more; how many were written. Alerts of
/// bulletins that were not asked for stay.
fn write_alerts(args: &ExportArgs, bulletins: &[Disclosed]) -> Result<usize, CliError> {
    let sender = args.sender.as_deref().unwrap_or_default();
    if sender.is_empty() || sender.contains([' ', ',', '<', '&']) {
        let message = "--sender has no spaces, commas, < or &";
        return Err(CliError::refused("invalid", message));
    }
    directory(&args.out)?;
    let mut written = HashSet::new();
    for bulletin in bulletins {
        if let Some(alert) = cap::alert_of(bulletin, sender) {
            write(&args.out.join(format!("{}.xml", bulletin.id)), &alert)?;
            written.insert(bulletin.id);
        }
    }
    remove(&args.out, "xml", |id, text| {
        let asked = |id: &BulletinId| args.ids.is_empty() || args.ids.contains(id);
        let id = id.parse().ok().filter(asked);
        id.is_some_and(|id| !written.contains(&id)) && cap::is_of(text, sender)
    })?;
    Ok(written.len())
}

/// Removes the files `UUID.extension` of a directory that a rule names by their UUID and text.
fn remove(
    directory: &Path,
    extension: &str,
    rule: impl Fn(&str, &str) -> bool,
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
        let file = entry.file_type().is_ok_and(|kind| kind.is_file());
        // What cannot be read, or is no text, is not ours.
        let text = (ours && file).then(|| fs::read_to_string(&path).ok());
        if text.flatten().is_some_and(|text| rule(name, &text)) {
            fs::remove_file(&path).map_err(CliError::file(&path))?;
        }
    }
    Ok(())
}

/// Objects as a bundle. Its id is of no use to anybody; it is the same for the same objects.
fn bundle(objects: &[stix::Object]) -> String {
    let id = stix::export::bundle_id(objects);
    let mut text = format!("{{\"type\":\"bundle\",\"id\":\"{id}\"");
    for (at, object) in objects.iter().enumerate() {
        text.push_str(if at == 0 { ",\"objects\":[" } else { ",\n" });
        text.push_str(&object.json);
    }
    text.push_str(if objects.is_empty() { "}\n" } else { "]}\n" });
    text
}

fn directory(path: &Path) -> Result<(), CliError> {
    fs::create_dir_all(path).map_err(CliError::file(path))
}

/// Whole, or as it was: a reader never finds half a file. Only its owner may read it, whatever is in it:
/// files have no markings.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
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
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(CliError::file(&new))?;
    fs::rename(&new, path).map_err(CliError::file(path))
}

/// What was received and may be handed out for the purpose.
async fn received(args: &ExportArgs) -> Result<Vec<Disclosed>, CliError> {
    let mut after = 0;
    let mut items: Vec<ItemView> = Vec::new();
    loop {
        let asked = Command::Inbox { after, limit: PAGE };
        let Response::Items(page) = args.node.ask(&asked).await? else {
            return Err(unexpected());
        };
        let Some(last) = page.last() else { break };
        after = last.number;
        items.extend(page);
    }
    let notices = Notices::of(&items);
    let wanted = items.iter().filter(|item| {
        let asked = args.ids.is_empty() || args.ids.contains(&item.id);
        asked && item.quarantined.is_none() && item.obligations.permit(args.purpose)
    });
    Ok(wanted
        .filter_map(|item| {
            let mark = item.mark.as_ref();
            let mark = mark.filter(|_| item.is_taken_back());
            let at = mark.map(|mark| {
                notices
                    .given
                    .get(&mark.notice)
                    .copied()
                    .unwrap_or(item.received)
            });
            let mut shown = disclosed(item, at, |_| true)?;
            shown.superseded = notices.superseded(item, item.header.as_ref()?);
            Some(shown)
        })
        .collect())
}

/// The notices among what was received.
#[derive(Default)]
struct Notices<'a> {
    /// When each was given, by its id.
    given: HashMap<BulletinId, Timestamp>,
    /// Those that put another bulletin in the place of this one.
    superseding: HashMap<BulletinId, Vec<&'a HeaderView>>,
}

impl<'a> Notices<'a> {
    fn of(items: &'a [ItemView]) -> Self {
        let mut notices = Self::default();
        let verified = items.iter().filter(|item| item.quarantined.is_none());
        for item in verified {
            let Some(header) = item.header.as_ref().filter(|header| header.notice) else {
                continue;
            };
            notices.given.insert(item.id, header.created);
            for reference in &header.references {
                if reference.relation == Relation::Supersedes {
                    let about = notices.superseding.entry(reference.bulletin);
                    about.or_default().push(header);
                }
            }
        }
        notices
    }

    /// When a bulletin was superseded by its own originator. A bulletin keeps the mark of its last notice
    /// only, which may be another.
    fn superseded(&self, item: &ItemView, header: &HeaderView) -> Option<Timestamp> {
        let mark = item.mark.as_ref();
        let mark = mark.filter(|mark| mark.relation == Relation::Supersedes);
        if let Some(mark) = mark {
            return Some(
                self.given
                    .get(&mark.notice)
                    .copied()
                    .unwrap_or(item.received),
            );
        }
        self.superseded_by_notice(&item.id, header)
    }

    fn superseded_by_notice(&self, id: &BulletinId, header: &HeaderView) -> Option<Timestamp> {
        let author = author(header)?;
        let notices = self.superseding.get(id)?.iter();
        let own = notices.filter(|notice| self::author(notice) == Some(author));
        own.map(|notice| notice.created).min()
    }
}

/// Whose a bulletin is: a partner's, or an alias's that lasts. Of any other nobody knows whose it is.
fn author(header: &HeaderView) -> Option<(Option<&PartnerId>, Option<&str>)> {
    let alias = header.pseudonym.as_deref();
    let lasting = alias.filter(|alias| !header.single_use && alias.starts_with("alias-"));
    let author = (header.originator.as_ref(), lasting);
    (author != (None, None) && alias == lasting).then_some(author)
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
            notices.superseding.insert(id, vec![&notice]);
            let found = notices.superseded_by_notice(&id, &header).is_some();
            assert_eq!(found, superseded, "{by} {of}");
        }
    }
}
