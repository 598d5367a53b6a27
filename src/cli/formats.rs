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
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::formats::{Disclosed, cap, list, misp, stix};
use crate::gateway::disclosed;
use crate::node::{Command, ItemView, Response};

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
        .filter_map(|item| {
            let mark = item.mark.as_ref();
            let mark = mark.filter(|_| item.is_taken_back());
            let at = mark.map(|mark| notices.get(&mark.notice).copied().unwrap_or(item.received));
            disclosed(item, at, |_| true)
        })
        .collect())
}
