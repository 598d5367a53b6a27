//! `entente audit export`: evidence for who was not there.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::audit::{each_record, each_stored};
use super::error::CliError;
use super::files::{BrokerFile, clock};
use super::report::Report;
use crate::audit::{StatementMaker, Subject};
use crate::broker::{Reply, Request};
use crate::bulletin::BulletinId;
use crate::clock::Timestamp;
use crate::identity::read_secret_key;
use crate::partner::PartnerId;
use crate::proof::{Checkpoint, NoteKey};
use crate::store::LedgerExportWriter;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Whoever gets the file verifies it with the log's key alone: entente verify FILE --log-key \
                  VKEY\n\nTry it: entente audit export --partner norland.example --since \
                  2026-10-01T00:00:00Z --out norland.statement"
)]
pub(super) struct ExportArgs {
    /// A signed statement of what this partner gave and got, with proofs and without contents.
    #[arg(long, group = "subject")]
    partner: Option<PartnerId>,
    /// A signed statement of whom this bulletin went to, with their acknowledgements.
    #[arg(long, group = "subject", value_name = "ID")]
    bulletin: Option<BulletinId>,
    /// From this time on.
    #[arg(long, requires = "partner", value_name = "TIME")]
    since: Option<Timestamp>,
    /// Up to this time, without it.
    #[arg(long, requires = "partner", value_name = "TIME")]
    until: Option<Timestamp>,
    /// With the contents of bulletins, where the whole ledger is exported.
    #[arg(long, conflicts_with = "subject")]
    contents: bool,
    /// The file, which must not be there yet. Without a partner or a bulletin, it is the whole ledger.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    file: BrokerFile,
}

pub(super) async fn run(args: ExportArgs, report: &Report) -> Result<(), CliError> {
    let subject = match (args.partner.clone(), args.bulletin) {
        (Some(partner), _) => Some(Subject::Partner(partner)),
        (None, Some(id)) => Some(Subject::Bulletin(id)),
        (None, None) => None,
    };
    let Reply::Status(status) = args.file.ask(Request::Status).await? else {
        return Err(super::files::unexpected());
    };
    // What witnesses have cosigned proves more; without them the newest proves most.
    let lines = |note: &String| {
        note.lines()
            .filter(|line| line.starts_with('\u{2014}'))
            .count()
    };
    let (shown, newest) = (status.published, status.checkpoint);
    let cosigned =
        shown.filter(|shown| newest.as_ref().is_none_or(|one| lines(one) < lines(shown)));
    let note = cosigned.or(newest).ok_or_else(|| {
        let message = "no checkpoint was signed yet: nothing could be proved; run the broker first";
        CliError::refused("unsigned", message)
    })?;
    let key: NoteKey = status.log_key.parse().map_err(CliError::failed)?;
    let head = Checkpoint::verify(&note, &key).map_err(CliError::failed)?;
    match subject {
        Some(subject) => statement(args, subject, note, &head, report).await,
        None => ledger(args, &note, &head, report).await,
    }
}

async fn ledger(
    args: ExportArgs,
    note: &str,
    head: &Checkpoint,
    report: &Report,
) -> Result<(), CliError> {
    let mut writer = LedgerExportWriter::create(&args.out, note, head.size, args.contents)?;
    let written = each_stored(&args.file, report, "exporting", head.size, |stored| {
        let bodies = stored.bodies.as_deref();
        Ok(writer.push(&stored.record, &stored.entry, bodies)?)
    });
    let written = written.await;
    let finished = written.and_then(|()| Ok(writer.finish()?));
    if let Err(error) = finished {
        // Half a ledger proves nothing, and would be in the way of the next try.
        let _ = std::fs::remove_file(&args.out);
        return Err(error);
    }
    let shown = args.out.display().to_string();
    report.show(&json!({"file": shown, "records": head.size}), || {
        format!("{} records written to {shown}", head.size)
    })
}

async fn statement(
    args: ExportArgs,
    subject: Subject,
    note: String,
    head: &Checkpoint,
    report: &Report,
) -> Result<(), CliError> {
    let file = new_file(&args.out)?;
    let made = made(&args, subject, note, head, report).await;
    let written = made.and_then(|(text, items)| {
        write(file, &text).map_err(CliError::file(&args.out))?;
        Ok(items)
    });
    let items = written.inspect_err(|_| {
        let _ = std::fs::remove_file(&args.out);
    })?;
    let shown = args.out.display().to_string();
    report.show(&json!({"file": shown, "records": items}), || {
        format!("a statement of {items} records written to {shown}")
    })
}

/// A statement's text, and how many records it has.
async fn made(
    args: &ExportArgs,
    subject: Subject,
    note: String,
    head: &Checkpoint,
    report: &Report,
) -> Result<(String, usize), CliError> {
    let mut maker = StatementMaker::new(subject, args.since, args.until, head.size);
    let (file, key) = (&args.file, read_secret_key(&args.file.load()?.log_key)?);
    each_record(file, report, "looking", |record| maker.note(record)).await?;
    each_record(file, report, "gathering", |record| maker.take(record)).await?;
    let statement = maker.finish(note, clock().now()).ok_or_else(|| {
        let message = "the ledger is shorter than its checkpoint; see: entente audit verify";
        CliError::Untrue(message.to_owned())
    })?;
    Ok((statement.sign(&key)?, statement.items.len()))
}

/// A file that was not there, for its owner only.
fn new_file(path: &Path) -> Result<File, CliError> {
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.map_err(CliError::file(path))
}

fn write(mut file: File, text: &str) -> std::io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
