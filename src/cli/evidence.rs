//! `entente receipt` and `entente verify`: evidence in hand, and what it proves to anybody.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::error::CliError;
use super::files::{NodeFile, read, read_text, unexpected};
use super::report::Report;
use crate::audit::{Evidence, Trusted, Unconvincing, examine, examine_bulletin, examine_ledger};
use crate::identity::{is_bulletin_file, read_bulletin, read_key_set};
use crate::ledger::Engine as _;
use crate::node::{Command, Response};
use crate::partner::PartnerId;
use crate::proof::{Digest, NoteKey, Policy};
use crate::store::LedgerExport;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A receipt is a C2SP tlog-proof: it proves to anybody who knows the log's key that the \
                  record stands in\nthe log, and what it says to this partner.\n\nTry it: entente \
                  receipt 0190163d-8694-739b-aea5-966c26f8ad91 --out receipt.tlog-proof"
)]
pub(super) struct ReceiptArgs {
    /// A bulletin that was published or received here, or an agreement by its name or id.
    #[arg(required_unless_present = "fork")]
    about: Option<String>,
    /// The proof that the log showed two histories, where there is one.
    #[arg(long, conflicts_with = "about")]
    fork: bool,
    /// Writes it to a file; further ones get `-2`, `-3` before the ending.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Waits so many seconds for the first.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    wait: u64,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn receipt(args: ReceiptArgs, report: &Report) -> Result<(), CliError> {
    let texts = if args.fork {
        let Response::Fork(proof) = args.node.ask(&Command::Fork).await? else {
            return Err(unexpected());
        };
        proof.into_iter().collect()
    } else {
        let about = args.about.unwrap_or_default();
        let wait = args.wait.saturating_mul(1_000);
        let asked = args.node.ask(&Command::Receipts { about, wait }).await?;
        let Response::Receipts(texts) = asked else {
            return Err(unexpected());
        };
        texts
    };
    if texts.is_empty() {
        let message = if args.fork {
            "this node knows of no fork"
        } else {
            "there is no receipt yet: no checkpoint that this node believes covers it; `entente status` \
             says how far they go"
        };
        return Err(CliError::refused("pending", message));
    }
    if let Some(out) = &args.out {
        for (at, text) in texts.iter().enumerate() {
            let path = numbered(out, at);
            std::fs::write(&path, text).map_err(CliError::file(&path))?;
        }
        report.note(&format!("{} written to {}", texts.len(), out.display()));
        return Ok(());
    }
    report.show(&json!({ "receipts": texts }), || texts.join("\n"))
}

/// `receipt.tlog-proof`, `receipt-2.tlog-proof`, ...
fn numbered(path: &Path, at: usize) -> PathBuf {
    if at == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut name = format!("{stem}-{}", at + 1);
    if let Some(ending) = path.extension() {
        name.push('.');
        name.push_str(&ending.to_string_lossy());
    }
    path.with_file_name(name)
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads files and the trusted keys only: no network, no configuration. Exit code 0 only if \
                  everything holds.\n\nTry it: entente verify receipt.tlog-proof --log-key \
                  alliance.example+1f2e3d4c+Aek..."
)]
pub(super) struct VerifyArgs {
    /// Receipts, statements, proofs of forks, bulletins, agreements, exported ledgers.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The verifier key of a log that is trusted; may be repeated. `entente status` shows it.
    #[arg(long, value_name = "VKEY")]
    log_key: Vec<NoteKey>,
    /// Logs, witnesses and the quorum that is asked for (C2SP tlog-policy).
    #[arg(long, value_name = "FILE", conflicts_with = "log_key")]
    policy: Option<PathBuf>,
    /// A key set of a partner that is trusted, for bulletins and agreements; may be repeated.
    #[arg(long, value_name = "FILE")]
    key_set: Vec<PathBuf>,
    /// The hash of a partner's first key set, compared out of band; may be repeated.
    #[arg(long, value_name = "PARTNER=HASH", value_parser = pinned)]
    pin: Vec<(PartnerId, Digest)>,
}

fn pinned(text: &str) -> Result<(PartnerId, Digest), String> {
    let (partner, hash) = text.split_once('=').ok_or("write it as PARTNER=HASH")?;
    let partner = partner.parse().map_err(|error| format!("{error}"))?;
    Ok((partner, hash.parse().map_err(|error| format!("{error}"))?))
}

pub(super) fn verify(args: &VerifyArgs, report: &Report) -> Result<(), CliError> {
    let policy = match &args.policy {
        Some(path) => read_text(path)?.parse::<Policy>().map_err(|error| {
            CliError::refused("bad_policy", format!("{}: {error}", path.display()))
        })?,
        None => Policy::of_logs(args.log_key.iter().cloned()),
    };
    let key_sets = args.key_set.iter().map(|path| read_key_set(path));
    let trusted = Trusted {
        policy,
        key_sets: key_sets.collect::<Result<_, _>>()?,
        pins: args.pin.iter().cloned().collect(),
    };
    let mut failed = None;
    for path in &args.files {
        let shown = path.display().to_string();
        match examined(path, &trusted, report)? {
            Ok(evidence) => {
                let value = json!({"file": shown, "verified": true, "evidence": evidence});
                report.line(&value, || sentences(&shown, &evidence))?;
            }
            Err(error) => {
                let value = json!({"file": shown, "verified": false, "reason": error});
                report.line(&value, || format!("{shown}: NOT PROVED\n  {error}"))?;
                failed.get_or_insert_with(|| format!("{shown}: {error}"));
            }
        }
    }
    failed.map_or(Ok(()), |reason| Err(CliError::Untrue(reason)))
}

/// What a file proves, or why it does not. An exported ledger is read piece by piece, whatever its size.
fn examined(
    path: &Path,
    trusted: &Trusted,
    report: &Report,
) -> Result<Result<Evidence, String>, CliError> {
    let told =
        |evidence: Result<Evidence, Unconvincing>| evidence.map_err(|error| error.to_string());
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(CliError::file(path))?;
    let begin = file.take(LedgerExport::START).read_to_end(&mut start);
    begin.map_err(CliError::file(path))?;
    if !LedgerExport::is_meant(&start) {
        let bytes = read(path)?;
        let bulletin = std::str::from_utf8(&bytes)
            .ok()
            .filter(|text| is_bulletin_file(text));
        return Ok(match bulletin.map(read_bulletin) {
            Some(Ok((sealed, key_sets))) => told(examine_bulletin(sealed, &key_sets, trusted)),
            Some(Err(error)) => Err(error.to_string()),
            None => told(examine(&bytes, trusted)),
        });
    }
    let ledger = match LedgerExport::open(path) {
        Ok(ledger) => ledger,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let bar = report.progress("verifying", ledger.size());
    let (note, contents) = (ledger.checkpoint(), ledger.has_contents());
    let progress = |done| bar.set_position(done);
    let evidence = examine_ledger(&ledger, note, contents, trusted, progress);
    bar.finish_and_clear();
    Ok(told(evidence))
}

/// More lines than people read: machines are given all.
const MAX_LINES: usize = 40;

fn sentences(file: &str, evidence: &Evidence) -> String {
    let list = |lines: &[String]| format!("\n  - {}", lines.join("\n  - "));
    let proved = list(&evidence.proved);
    let mut text = format!("{file}: this {} proves:{proved}", evidence.kind);
    if !evidence.details.is_empty() {
        let few: Vec<&String> = evidence.details.iter().take(MAX_LINES).collect();
        for line in &few {
            text.push_str("\n    ");
            text.push_str(line);
        }
        if few.len() < evidence.details.len() {
            let more = evidence.details.len() - few.len();
            let _ = write!(text, "\n    and {more} more lines, which --json shows");
        }
    }
    if !evidence.not_proved.is_empty() {
        text.push_str("\nIt does not prove:");
        text.push_str(&list(&evidence.not_proved));
    }
    text
}
