//! Files of other tools, to be published.

use std::path::{Path, PathBuf};

use super::error::CliError;
use super::files::read;
use crate::bulletin::Draft;
use crate::formats::warninglist::Warninglists;
use crate::formats::{Labels, cap, misp, stix};

/// Reads files, and keeps what of them is left out, with the reason.
/// What was published of them before is not known here: nothing is superseded or taken back.
pub(super) struct Import {
    labels: Labels,
    warninglists: Option<(PathBuf, Warninglists)>,
    pub(super) left_out: Vec<(PathBuf, String)>,
}

fn wrong(file: &Path) -> impl Fn(&dyn std::fmt::Display) -> CliError + '_ {
    move |error| CliError::refused("invalid", format!("{}: {error}", file.display()))
}

impl Import {
    /// An import under these labels; `warninglists` is a directory of them.
    pub(super) fn new(labels: Labels, warninglists: Option<&Path>) -> Result<Self, CliError> {
        let mut found = None;
        if let Some(directory) = warninglists {
            let mut lists = Warninglists::default();
            add(directory, &mut lists, 2)?;
            found = Some((directory.to_owned(), lists));
        }
        Ok(Self {
            labels,
            warninglists: found,
            left_out: Vec::new(),
        })
    }

    pub(super) fn stix(&mut self, file: &Path) -> Result<Vec<Draft>, CliError> {
        let bundle = stix::read_bundle(&read(file)?).map_err(|error| wrong(file)(&error))?;
        let refused = bundle.refused.iter();
        self.left_out
            .extend(refused.map(|one| (file.to_owned(), one.to_string())));
        Ok(stix::drafts(bundle, &self.labels))
    }

    pub(super) fn misp(&mut self, file: &Path) -> Result<Vec<Draft>, CliError> {
        let event = misp::read_event(&read(file)?).map_err(|error| wrong(file)(&error))?;
        let made = misp::drafts(&event, &self.labels, &[]).map_err(|error| wrong(file)(&error))?;
        let left_out = made.left_out.iter();
        self.left_out
            .extend(left_out.map(|one| (file.to_owned(), format!("{}: {}", one.what, one.reason))));
        Ok(made.drafts)
    }

    /// An update or a cancellation refers to messages of its own system, and not to bulletins: what it
    /// replaces is superseded or recalled by hand.
    pub(super) fn cap(&mut self, file: &Path) -> Result<Draft, CliError> {
        let alert = cap::read_alert(&read(file)?).map_err(|error| wrong(file)(&error))?;
        if alert.message != "Alert" {
            let reason = format!(
                "it is an {} of {}: supersede or recall by hand what you published of that",
                alert.message,
                alert.references.join(" ")
            );
            self.left_out.push((file.to_owned(), reason));
        }
        Ok(cap::draft(&alert, &self.labels, &[]))
    }

    /// Takes away what is on a warninglist, and drafts of which nothing is left.
    pub(super) fn leave_out_known(&mut self, drafts: &mut Vec<Draft>) {
        let Some((directory, lists)) = &self.warninglists else {
            return;
        };
        for draft in drafts.iter_mut() {
            draft.parts.retain(|part| {
                let on = lists.check(&part.content);
                if on.is_empty() {
                    return true;
                }
                let reason = format!("{} is on: {}", part.content.summary(), on.join("; "));
                self.left_out.push((directory.clone(), reason));
                false
            });
        }
        drafts.retain(|draft| !draft.parts.is_empty());
    }
}

/// Every `.json` of a directory and of those in it, as MISP's repository keeps its lists.
fn add(directory: &Path, lists: &mut Warninglists, depth: usize) -> Result<(), CliError> {
    let entries = std::fs::read_dir(directory).map_err(CliError::file(directory))?;
    for entry in entries {
        let path = entry.map_err(CliError::file(directory))?.path();
        if path.is_dir() && depth > 0 {
            add(&path, lists, depth - 1)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            lists
                .add(&read(&path)?)
                .map_err(|error| wrong(&path)(&error))?;
        }
    }
    Ok(())
}
