//! `entente audit volume`: what the auditor's key tells of a log that is served as tiles.

use std::path::PathBuf;
use std::time::Duration;

use super::error::CliError;
use super::report::Report;
use crate::audit::volume;
use crate::identity::read_secret_key;
use crate::ledger::CoverKey;
use crate::proof::{Checkpoint, NoteKey, TilePath};

/// How long one file of the log may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest that is read: 256 entries, or a checkpoint with very many cosignatures.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Try it: entente audit volume --cover-key cover.key --log-key \
                  alliance.example+1f2e3d4c+Aek... http://127.0.0.1:7401"
)]
pub(super) struct VolumeArgs {
    /// Where the log is served (C2SP tlog-tiles).
    url: String,
    /// The auditor's key, with which cover is made.
    #[arg(long, value_name = "FILE")]
    cover_key: PathBuf,
    /// The log's verifier key. `entente status` shows it.
    #[arg(long, value_name = "VKEY")]
    log_key: NoteKey,
}

pub(super) fn run(args: &VolumeArgs, report: &Report) -> Result<(), CliError> {
    let key = CoverKey::new(read_secret_key(&args.cover_key)?.seed());
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let get = |path: &str| -> Result<Vec<u8>, ureq::Error> {
        let url = format!("{}/{path}", args.url.trim_end_matches('/'));
        let mut answer = agent.get(url).call()?;
        answer
            .body_mut()
            .with_config()
            .limit(MAX_BYTES)
            .read_to_vec()
    };
    let unreachable = |error: ureq::Error| {
        let message = format!("{} does not serve a log: {error}", args.url);
        CliError::refused("unreachable", message)
    };
    let note = get("checkpoint").map_err(unreachable)?;
    let untrue = |error: &dyn std::fmt::Display| CliError::Untrue(error.to_string());
    let note = String::from_utf8(note).map_err(|error| untrue(&error))?;
    let checkpoint = Checkpoint::verify(&note, &args.log_key).map_err(|error| untrue(&error))?;
    let bar = report.progress("counting", checkpoint.size);
    let fetch = |path: &TilePath| get(&path.to_string());
    let counted = volume(&key, &checkpoint, fetch, |done| bar.set_position(done));
    bar.finish_and_clear();
    let counted = counted.map_err(|error| untrue(&error))?;
    report.show(&counted, || {
        format!(
            "{} entries: {} records, {} cover",
            counted.size, counted.records, counted.cover
        )
    })
}
