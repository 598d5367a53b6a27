//! `entente export`: what was received here, in the formats of other tools.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::error::CliError;
use super::files::{NodeFile, clock, unexpected};
use super::report::Report;
use crate::agreement::Purpose;
use crate::bulletin::{Admiralty, BulletinId, Marking, Relation};
use crate::clock::Timestamp;
use crate::formats::{Disclosed, DisclosedPart, cap, list, misp, stix};
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
    /// Of a plain list: ip, ip-range, domain, url, email, md5, sha1, sha256 or sha512.
    #[arg(long, required_if_eq("format", "list"))]
    kind: Option<String>,
    /// Who sends the alerts, in CAP.
    #[arg(long, value_name = "NAME", required_if_eq("format", "cap"))]
    sender: Option<String>,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn export(args: ExportArgs, report: &Report) -> Result<(), CliError> {
    let bulletins = received(&args).await?;
    let count = match args.format {
        Format::Stix => {
            let objects: Vec<_> = bulletins.iter().flat_map(stix::export::objects).collect();
            write(&args.out, &bundle(&objects))?;
            objects.len()
        }
        Format::Misp => {
            let feed = misp::feed(&bulletins);
            directory(&args.out)?;
            for (uuid, event) in &feed.events {
                write(&args.out.join(format!("{uuid}.json")), event)?;
            }
            // Last: whoever reads it meanwhile finds what it names.
            write(&args.out.join("hashes.csv"), &feed.hashes)?;
            write(&args.out.join("manifest.json"), &feed.manifest)?;
            feed.events.len()
        }
        Format::Cap => {
            let sender = args.sender.as_deref().unwrap_or_default();
            if sender.is_empty() || sender.contains([' ', ',', '<', '&']) {
                let message = "--sender has no spaces, commas, < or &";
                return Err(CliError::refused("invalid", message));
            }
            directory(&args.out)?;
            let mut count = 0;
            for bulletin in &bulletins {
                if let Some(alert) = cap::alert_of(bulletin, sender) {
                    write(&args.out.join(format!("{}.xml", bulletin.id)), &alert)?;
                    count += 1;
                }
            }
            count
        }
        Format::Csv | Format::List => {
            let entries = list::entries(&bulletins, clock().now());
            let (text, count) = if let Some(kind) = &args.kind {
                let text = list::plain(&entries, kind);
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

/// Whole, or as it was: a reader never finds half a file.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    fs::write(&new, text).map_err(CliError::file(&new))?;
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
    // When each notice was given, by its id.
    let notices: HashMap<BulletinId, Timestamp> = items
        .iter()
        .filter_map(|item| {
            Some((
                item.id,
                item.header.as_ref().filter(|one| one.notice)?.created,
            ))
        })
        .collect();
    let wanted = items.iter().filter(|item| {
        let asked = args.ids.is_empty() || args.ids.contains(&item.id);
        asked && item.quarantined.is_none() && item.obligations.permit(args.purpose)
    });
    Ok(wanted
        .filter_map(|item| disclosed(item, &notices))
        .collect())
}

/// An item as exports take it; `None` for notices, which say what became of others.
fn disclosed(item: &ItemView, notices: &HashMap<BulletinId, Timestamp>) -> Option<Disclosed> {
    let header = item.header.as_ref().filter(|header| !header.notice)?;
    let parts = item.parts.iter().filter_map(|part| {
        Some(DisclosedPart {
            leaf: part.leaf.clone(),
            marking: Marking {
                tlp: part.tlp,
                level: part.level,
            },
            content: part.content.clone()?,
        })
    });
    let mark = item.mark.as_ref();
    let taken_back = mark.filter(|mark| mark.relation == Relation::Retracts);
    let taken_back =
        taken_back.map(|mark| notices.get(&mark.notice).copied().unwrap_or(item.received));
    Some(Disclosed {
        id: item.id,
        originator: shown(header),
        created: header.created,
        valid_from: header.valid_from,
        valid_until: header.valid_until,
        kinds: header.kinds.clone(),
        topics: header.topics.clone(),
        regions: header.regions.clone(),
        tlp: mark.and_then(|mark| mark.tlp).unwrap_or(header.tlp),
        classification: header.classification.clone(),
        releasable_to: header.releasable_to.clone(),
        caveats: header.caveats.clone(),
        precedence: header.precedence,
        exercise: header.exercise,
        admiralty: admiralty(&header.admiralty),
        references: header.references.clone(),
        taken_back,
        parts: parts.collect(),
    })
}

/// Who is named as its author: a partner, or an alias that lasts.
fn shown(header: &HeaderView) -> Option<String> {
    let partner = header.originator.as_ref().map(ToString::to_string);
    let alias = header.pseudonym.clone().filter(|_| !header.single_use);
    partner.or(alias)
}

/// `B2`, with a dash for a half that is absent.
fn admiralty(text: &str) -> Admiralty {
    let mut halves = text.bytes();
    let mut half = |first: u8| {
        let grade = halves.next()?.checked_sub(first)? + 1;
        (1..=6).contains(&grade).then_some(grade)
    };
    Admiralty {
        reliability: half(b'A'),
        credibility: half(b'1'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_admiralty_code_is_read_as_it_is_shown() {
        for reliability in [None, Some(1), Some(6)] {
            for credibility in [None, Some(2), Some(6)] {
                let code = Admiralty {
                    reliability,
                    credibility,
                };
                assert_eq!(admiralty(&code.to_string()), code);
            }
        }
    }
}
