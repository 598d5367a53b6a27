//! `entente outbox`, `inbox` and `watch`: what applications do with their node.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::files::{NodeFile, read_text, unexpected};
use super::report::{Report, dash, list, table, titled_table};
use crate::agreement::Purpose;
use crate::bulletin::{BulletinId, Content, Draft, MAX_PART_BYTES};
use crate::node::{Command, HeaderView, ItemView, Response};
use crate::store::{OutboxState, OutboxStatus};

/// Reads a bulletin file. One that is larger than any bulletin is refused before it is parsed.
pub(super) fn read_draft(file: &Path) -> Result<Draft, CliError> {
    let wrong =
        |reason: String| CliError::refused("invalid", format!("{}: {reason}", file.display()));
    let bytes = std::fs::metadata(file).map_err(CliError::file(file))?.len();
    // Text of a part may grow by its escapes; nothing of a bulletin grows sixfold.
    let limit = 6 * MAX_PART_BYTES as u64;
    if bytes > limit {
        return Err(CliError::refused(
            "too_large",
            format!(
                "{}: the file has {bytes} bytes; a part may have {MAX_PART_BYTES}",
                file.display()
            ),
        ));
    }
    let text = read_text(file)?;
    let draft = if file
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?
    } else {
        Draft::from_toml(&text).map_err(|error| wrong(error.to_string()))?
    };
    // Said here, with the file's name, before anything is sent.
    draft.check().map_err(|error| wrong(error.to_string()))?;
    Ok(draft)
}

#[derive(Debug, clap::Args)]
pub(super) struct OutboxArgs {
    /// Only these bulletins.
    ids: Vec<BulletinId>,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn outbox(args: OutboxArgs, report: &Report) -> Result<(), CliError> {
    let asked = args
        .node
        .ask(&Command::Outbox {
            ids: args.ids,
            wait: 0,
        })
        .await?;
    let Response::Outbox(statuses) = asked else {
        return Err(unexpected());
    };
    report.show(&statuses, || outbox_table(&statuses))
}

pub(super) fn outbox_table(statuses: &[OutboxStatus]) -> String {
    let rows = statuses.iter().map(|status| {
        let state = match &status.state {
            OutboxState::Pending => "waits in the outbox".to_owned(),
            OutboxState::Promised { position, time } => format!("record {position} at {time}"),
            OutboxState::Rejected { code, message } => format!("refused: {message} ({code})"),
        };
        [status.id.to_string(), status.precedence.to_string(), state]
    });
    table(["bulletin", "precedence", "state"], rows)
}

#[derive(Debug, clap::Args)]
pub(super) struct InboxArgs {
    /// Shows this bulletin whole.
    id: Option<BulletinId>,
    /// Writes it to a file as it came, with its originator's key sets, for `entente verify`.
    #[arg(long, value_name = "FILE", requires = "id")]
    out: Option<PathBuf>,
    /// Only what came after this number.
    #[arg(long, default_value_t = 0)]
    after: u64,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn inbox(args: InboxArgs, report: &Report) -> Result<(), CliError> {
    if let (Some(id), Some(out)) = (args.id, &args.out) {
        let Response::Exported(text) = args.node.ask(&Command::Export { id }).await? else {
            return Err(unexpected());
        };
        std::fs::write(out, text).map_err(CliError::file(out))?;
        report.note(&format!("{id} written to {}", out.display()));
        return Ok(());
    }
    if let Some(id) = args.id {
        let Response::Item(item) = args.node.ask(&Command::Item { id }).await? else {
            return Err(unexpected());
        };
        return report.show(&item, || whole(&item));
    }
    let asked = args
        .node
        .ask(&Command::Inbox {
            after: args.after,
            limit: args.limit,
        })
        .await?;
    let Response::Items(items) = asked else {
        return Err(unexpected());
    };
    report.show(&items, || {
        let rows = items.iter().map(|item| {
            let header = item.header.as_ref();
            let state = item.quarantined.as_ref().map_or_else(
                || dash(gist(item)),
                |reason| format!("QUARANTINED: {reason}"),
            );
            [
                item.number.to_string(),
                item.id.to_string(),
                header.map(HeaderView::from).unwrap_or_default(),
                header
                    .map(|header| header.tlp.to_string())
                    .unwrap_or_default(),
                state,
            ]
        });
        titled_table(
            &[5, 38, 18, 12],
            ["#", "bulletin", "from", "TLP", "says"],
            rows,
        )
    })
}

/// What a bulletin says, in a line: its warning or narrative, or else its first part.
fn gist(item: &ItemView) -> String {
    let contents = || item.parts.iter().filter_map(|part| part.content.as_ref());
    let told = contents().find(|content| matches!(content, Content::Warning(_)));
    let told = told.or_else(|| contents().find(|one| matches!(one, Content::Narrative(_))));
    told.or_else(|| contents().next())
        .map(Content::summary)
        .unwrap_or_default()
}

/// A bulletin for people: labels, then every part or that it is withheld.
fn whole(item: &ItemView) -> String {
    let mut text = format!("bulletin    {}\n", item.id);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<12}{value}");
        }
    };
    if let Some(reason) = &item.quarantined {
        line("NOT VALID", reason.clone());
    }
    if let Some(header) = &item.header {
        line("from", header.from());
        if let Some(origin) = &item.origin {
            let by = origin.originator.as_ref();
            let by = by.map_or_else(|| "undisclosed".to_owned(), ToString::to_string);
            line(
                "carried",
                format!("from {by}, by way of {}", origin.path.join(", ")),
            );
            let state = if origin.verified {
                "verified"
            } else {
                "NOT VERIFIED"
            };
            line("origin", format!("{state}: {}", origin.because));
            let logged = origin
                .logged
                .map(|time| format!("{time}, as a receipt proves"));
            line("logged", logged.unwrap_or_default());
        }
        line("kind", list(&header.kinds));
        line("topics", list(&header.topics));
        line("regions", list(&header.regions));
        line("TLP", header.tlp.to_string());
        line(
            "level",
            header
                .classification
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        );
        line("caveats", list(&header.caveats));
        line("precedence", header.precedence.to_string());
        line("source", header.admiralty.trim_matches('-').to_owned());
        line(
            "valid",
            format!("{} to {}", header.valid_from, header.valid_until),
        );
        if header.exercise {
            line("EXERCISE", "nothing of this is real".into());
        }
    }
    line(
        "received",
        format!("{} (record {})", item.received, item.position),
    );
    line("under", list(&item.clauses));
    line("onward", item.onward.clone());
    let owed = &item.obligations;
    if let Some(purposes) = &owed.purposes {
        let purposes: Vec<_> = purposes.iter().collect();
        line("only for", list(&purposes));
    }
    line("legal basis", owed.legal_bases.join("; "));
    if let Some(until) = owed.keep_until {
        line("kept until", until.to_string());
    }
    if owed.to_be_taken {
        line("to be taken", "say so with: entente acknowledge".into());
    }
    if let Some(mark) = &item.mark {
        let tlp = mark
            .tlp
            .map(|tlp| format!(", now {tlp}"))
            .unwrap_or_default();
        line(
            "SINCE THEN",
            format!("{}{tlp} (notice {})", mark.relation, mark.notice),
        );
    }
    let rows = item.parts.iter().map(|part| {
        let says = match (&part.content, part.withheld) {
            (_, true) => format!("withheld; its hash is {}", part.leaf),
            (Some(content), _) => content.summary(),
            (None, _) => "of a class that this version does not know".into(),
        };
        [dash(part.class.clone().unwrap_or_default()), says]
    });
    text + &table(["part", "says"], rows)
}

#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// The application's name: its place in the inbox is kept under it.
    #[arg(long = "as", value_name = "NAME", default_value = "watch")]
    name: String,
    /// What it uses bulletins for; what is bound to other purposes is passed over.
    #[arg(long)]
    purpose: Option<Purpose>,
    /// Ends after so many bulletins.
    #[arg(long)]
    max: Option<usize>,
    #[command(flatten)]
    node: NodeFile,
}

/// Prints each bulletin, and only then notes that it was taken: an application that dies in between
/// is given it again, and sees by the id that it was.
pub(super) async fn watch(args: WatchArgs, report: &Report) -> Result<(), CliError> {
    const PAGE: usize = 32;
    const WAIT: u64 = 30_000;
    let mut left = args.max.unwrap_or(usize::MAX);
    let interrupted = super::broker::interrupted()?;
    tokio::pin!(interrupted);
    while left > 0 {
        let consume = Command::Consume {
            name: args.name.clone(),
            limit: PAGE.min(left),
            purpose: args.purpose,
            wait: WAIT,
        };
        let asked = tokio::select! {
            () = &mut interrupted => return Ok(()),
            asked = args.node.ask(&consume) => asked?,
        };
        let Response::Items(items) = asked else {
            return Err(unexpected());
        };
        for item in &items {
            report.line(item, || whole(item))?;
            let advance = Command::Advance {
                name: args.name.clone(),
                to: item.number,
            };
            args.node.ask(&advance).await?;
        }
        left = left.saturating_sub(items.len());
    }
    Ok(())
}
