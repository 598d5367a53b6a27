//! `demo --stix`: the objects of real bundles, from one partner to those who are entitled.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use super::CliError;
use super::claims::{self, Observed};
use super::show;
use super::stage;
use crate::bulletin::{BulletinId, Content, Kind, Precedence, Tlp};
use crate::cli::files::read;
use crate::cli::report::{Report, table};
use crate::deployment::Alliance;
use crate::formats::stix::{self, Labels};
use crate::partner::PartnerId;

/// What became of one file.
#[derive(Debug, Serialize)]
struct FileView {
    file: PathBuf,
    objects: usize,
    arrived: usize,
    refused: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    outcome: show::Outcome,
    stix: Vec<FileView>,
}

/// What was published of one file.
struct Published {
    view: FileView,
    /// Each object's exact text, by bulletin.
    texts: Vec<(BulletinId, Vec<String>)>,
}

pub(super) async fn play(
    alliance: &Alliance,
    files: &[PathBuf],
    report: &Report,
) -> Result<(), CliError> {
    let started = Instant::now();
    let labels = Labels {
        kinds: vec![Kind::Cyber],
        topics: vec!["cyber".parse().map_err(CliError::failed)?],
        regions: Vec::new(),
        tlp: Tlp::Green,
        precedence: Precedence::Routine,
        // TLP:RED goes to named partners only; of the others the agreements decide.
        releasable_to: Vec::new(),
        exercise: false,
    };
    let bar = report.progress("publishing", files.len() as u64);
    let mut published = Vec::new();
    for file in files {
        published.push(publish(alliance, file, &labels).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let bar = report.progress("delivering", published.len() as u64);
    let mut shown: Vec<Observed> = Vec::new();
    let mut broken = Vec::new();
    for one in &mut published {
        let name = one
            .view
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for (id, texts) in &one.texts {
            let view = alliance.delivered(*id).await?;
            shown.push(claims::observe(alliance, &name, &view).await?);
            let arrived = arrived(alliance, *id, texts).await?;
            one.view.arrived += arrived;
            if arrived != texts.len() {
                let missing = texts.len() - arrived;
                broken.push(format!(
                    "{name}: {missing} objects did not arrive byte for byte"
                ));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let audited = stage::audited(alliance, report).await?;
    let partners = alliance.running().cloned().collect();
    let outcome = Outcome {
        outcome: show::Outcome::new(partners, shown, audited, started.elapsed(), broken),
        stix: published.into_iter().map(|one| one.view).collect(),
    };
    report.show(&outcome, || people(&outcome))?;
    outcome.outcome.verdict()
}

async fn publish(alliance: &Alliance, file: &Path, labels: &Labels) -> Result<Published, CliError> {
    let mut view = FileView {
        file: file.to_owned(),
        objects: 0,
        arrived: 0,
        refused: Vec::new(),
    };
    let mut texts = Vec::new();
    let bundle = match stix::read_bundle(&read(file)?) {
        Ok(bundle) => bundle,
        Err(error) => {
            view.refused.push(error.to_string());
            return Ok(Published { view, texts });
        }
    };
    view.refused = bundle.refused.iter().map(ToString::to_string).collect();
    view.objects = bundle.objects.len();
    let originator = partner("norland.example")?;
    for mut draft in stix::drafts(bundle, labels) {
        if draft.tlp == Tlp::Red {
            draft.releasable_to = vec![partner("estmark.example")?];
        }
        let objects: Vec<String> = draft
            .parts
            .iter()
            .filter_map(|part| text(&part.content))
            .collect();
        let ids = alliance.publish(&originator, vec![draft]).await?;
        alliance.promised(&originator, &ids).await?;
        texts.extend(ids.first().map(|id| (*id, objects)));
    }
    Ok(Published { view, texts })
}

fn text(content: &Content) -> Option<String> {
    match content {
        Content::Stix(stix) => Some(stix.json.clone()),
        _ => None,
    }
}

/// How many of these objects Estmark, which is entitled to all, holds byte for byte.
async fn arrived(alliance: &Alliance, id: BulletinId, texts: &[String]) -> Result<usize, CliError> {
    let Some(item) = alliance.received(&partner("estmark.example")?, id).await? else {
        return Ok(0);
    };
    let mut held: HashMap<String, usize> = HashMap::new();
    for content in item.parts.iter().filter_map(|part| part.content.as_ref()) {
        if let Some(text) = text(content) {
            *held.entry(text).or_default() += 1;
        }
    }
    let found = texts.iter().filter(|text| {
        held.get_mut(*text).is_some_and(|left| {
            *left = left.saturating_sub(1);
            true
        })
    });
    Ok(found.count())
}

fn people(outcome: &Outcome) -> String {
    let rows = outcome.stix.iter().map(|one| {
        let name = one.file.file_name().unwrap_or_default().to_string_lossy();
        let first = one.refused.first().cloned().unwrap_or_default();
        let first: String = first.chars().take(160).collect();
        [
            name.into_owned(),
            one.objects.to_string(),
            one.arrived.to_string(),
            one.refused.len().to_string(),
            first,
        ]
    });
    let files = table(
        ["file", "objects", "arrived", "refused", "the first refusal"],
        rows,
    );
    // One line a bulletin would be long for real bundles; the files above are the summary.
    format!("{files}\n{}", show::summary(&outcome.outcome))
}

fn partner(name: &str) -> Result<PartnerId, CliError> {
    name.parse().map_err(CliError::failed)
}
