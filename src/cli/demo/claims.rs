//! What the demo claims: read back from the broker and from each recipient, and compared.

use serde::Serialize;

use super::CliError;
use super::scenario::Publication;
use crate::broker::BulletinView;
use crate::bulletin::{BulletinId, Shown, Tlp};
use crate::deployment::Alliance;
use crate::node::ItemView;
use crate::partner::PartnerId;

/// What became of a bulletin.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Observed {
    pub(super) id: BulletinId,
    pub(super) says: String,
    pub(super) originator: PartnerId,
    pub(super) tlp: String,
    pub(super) precedence: String,
    pub(super) recipients: Vec<Received>,
    pub(super) refused: Vec<Refused>,
}

/// At one recipient.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Received {
    pub(super) partner: PartnerId,
    pub(super) clauses: Vec<String>,
    pub(super) withheld: Vec<String>,
    /// How it was shown the originator.
    pub(super) originator: Shown,
    /// Under which TLP it received it.
    pub(super) tlp: Option<Tlp>,
    /// From publishing at the originator's node until it was verified at the recipient's.
    pub(super) latency_ms: f64,
    pub(super) acknowledged: bool,
    /// Parts that the recipient really holds as hashes only.
    #[serde(skip)]
    hashes: usize,
    /// Classes of the parts that it really holds.
    #[serde(skip)]
    held: Vec<String>,
    #[serde(skip)]
    verified: bool,
    /// Whether anything that its node shows names an originator that should not be named.
    #[serde(skip)]
    named: bool,
}

/// At one that did not receive it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Refused {
    pub(super) partner: PartnerId,
    pub(super) code: String,
    pub(super) reason: String,
    /// Whether its node nevertheless holds something under this id.
    #[serde(skip)]
    holds: bool,
}

/// Reads back what became of a bulletin: from the broker, and from every node.
pub(super) async fn observe(
    alliance: &Alliance,
    says: &str,
    view: &BulletinView,
) -> Result<Observed, CliError> {
    let mut recipients = Vec::new();
    for one in &view.recipients {
        let item = alliance.received(&one.partner, view.id).await?;
        let item = item.ok_or_else(|| {
            CliError::Untrue(format!(
                "{} has acknowledged {} and does not hold it",
                one.partner, view.id
            ))
        })?;
        let mut withheld = one.withheld.clone();
        withheld.sort_unstable();
        recipients.push(Received {
            partner: one.partner.clone(),
            clauses: item.clauses.clone(),
            withheld,
            latency_ms: latency_ms(&item),
            acknowledged: one.acknowledged,
            hashes: item.parts.iter().filter(|part| part.withheld).count(),
            held: item
                .parts
                .iter()
                .filter_map(|part| part.class.clone())
                .collect(),
            verified: item.quarantined.is_none(),
            originator: shown(&item),
            tlp: item.header.as_ref().map(|header| header.tlp),
            named: serde_json::to_string(&item)
                .map_err(CliError::failed)?
                .contains(view.originator.as_str()),
        });
    }
    let mut refused = Vec::new();
    for one in &view.refused {
        refused.push(Refused {
            partner: one.partner.clone(),
            code: one.code.clone(),
            reason: one.reason.clone(),
            holds: alliance.received(&one.partner, view.id).await?.is_some(),
        });
    }
    Ok(Observed {
        id: view.id,
        says: says.to_owned(),
        originator: view.originator.clone(),
        tlp: view.tlp.to_string(),
        precedence: view.precedence.to_string(),
        recipients,
        refused,
    })
}

fn shown(item: &ItemView) -> Shown {
    match &item.header {
        Some(header) if header.originator.is_some() => Shown::Named,
        Some(header) if header.single_use => Shown::Framework,
        _ => Shown::Alias,
    }
}

fn latency_ms(item: &ItemView) -> f64 {
    let created = item
        .header
        .as_ref()
        .map_or(item.received, |header| header.created);
    let micros = item.received.since(created).as_micros();
    // Microseconds of a demo fit a double.
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1_000.0
}

/// Sentences about everything that is not as it should be.
pub(super) fn compare(promised: &Publication, observed: &Observed) -> Vec<String> {
    let says = &promised.says;
    let mut broken = Vec::new();
    let mut claim = |holds: bool, sentence: String| {
        if !holds {
            broken.push(format!("{says}: {sentence}"));
        }
    };
    for one in &observed.recipients {
        let to = &one.partner;
        claim(
            promised.to.contains_key(to),
            format!("{to} received it and should not have"),
        );
        claim(one.acknowledged, format!("{to} did not acknowledge it"));
        claim(one.verified, format!("{to} could not verify it"));
        claim(
            one.hashes == one.withheld.len(),
            format!("{to} holds {} hashes for {:?}", one.hashes, one.withheld),
        );
        let leaked = one.held.iter().any(|class| one.withheld.contains(class));
        claim(
            !leaked,
            format!("{to} holds a class that was to be withheld"),
        );
    }
    for (to, expected) in &promised.to {
        let found = observed.recipients.iter().find(|one| one.partner == *to);
        let Some(one) = found else {
            claim(false, format!("{to} did not receive it"));
            continue;
        };
        claim(
            one.clauses == expected.under,
            format!("{to} received it under {:?}", one.clauses),
        );
        claim(
            one.withheld == expected.withheld,
            format!("from {to} was withheld {:?}", one.withheld),
        );
        claim(
            one.originator == expected.originator,
            format!("{to} was shown the originator as {}", one.originator),
        );
        claim(
            one.named == (expected.originator == Shown::Named),
            format!("{to} can read who published it"),
        );
    }
    let refused: Vec<String> = observed
        .refused
        .iter()
        .map(|one| format!("{} ({})", one.partner, one.code))
        .collect();
    claim(
        refused.len() == promised.not_to.len(),
        format!("others were refused: {}", refused.join(", ")),
    );
    for (to, code) in &promised.not_to {
        let found = observed.refused.iter().find(|one| one.partner == *to);
        let Some(one) = found else {
            claim(false, format!("{to} was not refused"));
            continue;
        };
        claim(
            one.code == *code,
            format!("{to} was refused for {}", one.code),
        );
        claim(!one.holds, format!("{to} was refused and holds it"));
    }
    broken
}
