//! Files of other tools, to be published.

use std::path::{Path, PathBuf};

use super::error::CliError;
use super::files::read;
use crate::bulletin::{Draft, DraftPart};
use crate::formats::stanag4774::{ConfidentialityLabel, read_label};
use crate::formats::warninglist::Warninglists;
use crate::formats::{Labels, cap, list, misp, stix};
use crate::partner::PartnerId;

/// Reads files, and keeps what of them is left out, with the reason.
pub(super) struct Import {
    labels: Labels,
    label: Option<ConfidentialityLabel>,
    warninglists: Option<(PathBuf, Warninglists)>,
    pub(super) left_out: Vec<(PathBuf, String)>,
}

fn wrong(file: &Path) -> impl Fn(&dyn std::fmt::Display) -> CliError + '_ {
    move |error| CliError::refused("invalid", format!("{}: {error}", file.display()))
}

/// Reads a MISP event.
pub(super) fn event(file: &Path) -> Result<misp::Event, CliError> {
    misp::read_event(&read(file)?).map_err(|error| wrong(file)(&error))
}

impl Import {
    /// An import under these labels; `label` is a file of a confidentiality label, `warninglists` a
    /// directory of them.
    pub(super) fn new(
        mut labels: Labels,
        label: Option<&Path>,
        warninglists: Option<&Path>,
    ) -> Result<Self, CliError> {
        let mut found = None;
        if let Some(directory) = warninglists {
            let mut lists = Warninglists::default();
            add(directory, &mut lists, 2)?;
            found = Some((directory.to_owned(), lists));
        }
        let label = label.map(|file| {
            let label = read_label(&read(file)?).map_err(|error| wrong(file)(&error))?;
            narrow(&mut labels, &label).map_err(|error| wrong(file)(&error))?;
            Ok::<_, CliError>(label)
        });
        Ok(Self {
            labels,
            label: label.transpose()?,
            warninglists: found,
            left_out: Vec::new(),
        })
    }

    /// Reads a STIX bundle. What is no object of STIX 2.1, and cannot be upgraded to one, is left out.
    pub(super) fn stix(&mut self, file: &Path) -> Result<stix::Bundle, CliError> {
        let bundle = stix::read_any_bundle(&read(file)?).map_err(|error| wrong(file)(&error))?;
        let refused = bundle.refused.iter();
        self.left_out
            .extend(refused.map(|one| (file.to_owned(), one.to_string())));
        Ok(bundle)
    }

    /// What is done with bulletins of every format in the end.
    pub(super) fn finish(&mut self, drafts: &mut Vec<Draft>) {
        self.leave_out_known(drafts);
        self.classify(drafts);
    }

    /// Makes bulletins of a MISP event, without references to what was made of it before; and whether there
    /// is nothing left in it.
    pub(super) fn misp(
        &mut self,
        file: &Path,
        event: &misp::Event,
    ) -> Result<(Vec<Draft>, bool), CliError> {
        let made = misp::drafts(event, &self.labels, &[]).map_err(|error| wrong(file)(&error))?;
        let left_out = made.left_out.iter();
        self.left_out
            .extend(left_out.map(|one| (file.to_owned(), format!("{}: {}", one.what, one.reason))));
        let mut drafts = made.drafts;
        self.finish(&mut drafts);
        Ok((drafts, made.is_emptied))
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
        let mut drafts = [cap::draft(&alert, &self.labels, &[])];
        self.classify(&mut drafts);
        let [draft] = drafts;
        Ok(draft)
    }

    /// A list of indicators: CSV where its name says so, a value on each line otherwise.
    pub(super) fn list(&mut self, file: &Path) -> Result<Vec<Draft>, CliError> {
        let text = String::from_utf8(read(file)?)
            .map_err(|_| wrong(file)(&"it is no text in UTF-8; save it so"))?;
        let csv = file.extension().is_some_and(|extension| extension == "csv");
        let listed = if csv {
            list::read_csv(&text).map_err(|error| wrong(file)(&error))?
        } else {
            let listed = list::read_plain(&text);
            listed.ok_or_else(|| wrong(file)(&"it is larger than what is read: split it"))?
        };
        let refused = listed.refused.iter();
        self.left_out.extend(refused.map(|(number, value)| {
            let reason =
                format!("line {number}: `{value}` is no indicator that is known by its form");
            (file.to_owned(), reason)
        }));
        let parts = listed.contents.into_iter().map(DraftPart::from);
        let mut drafts = list::drafts(parts, &self.labels);
        self.classify(&mut drafts);
        Ok(drafts)
    }

    fn classify(&self, drafts: &mut [Draft]) {
        for draft in drafts {
            let label = self.label.as_ref();
            draft.classification = label.map(|label| label.classification.clone());
        }
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

    /// The labels of what is made from other formats.
    pub(super) const fn labelling(&self) -> &Labels {
        &self.labels
    }

    /// What the same event is published as depends on this, too.
    pub(super) fn labels(&self) -> String {
        format!("{:?} {:?}", self.labels, self.label)
    }
}

/// Nobody to whom the label is not releasable is given what bears it. Its names are the policy's: those that
/// are partners count, and where none is, it goes to nobody.
fn narrow(labels: &mut Labels, label: &ConfidentialityLabel) -> Result<(), String> {
    let Some(names) = &label.releasable_to else {
        return Ok(());
    };
    let named: Vec<PartnerId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    if labels.releasable_to.is_empty() {
        labels.releasable_to = named;
    } else {
        labels
            .releasable_to
            .retain(|partner| named.contains(partner));
    }
    if labels.releasable_to.is_empty() {
        return Err(format!(
            "it is releasable to {}, and none of them is a partner here: a label names partners as \
             norland.example",
            names.join(", ")
        ));
    }
    Ok(())
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
