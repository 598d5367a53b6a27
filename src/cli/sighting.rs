//! `entente sighting`: says to whoever published a bulletin what became of it here.

use serde_json::json;

use super::bulletins::outbox_table;
use super::error::CliError;
use super::files::{NodeFile, clock, entropy, unexpected};
use super::policy::Policy;
use super::report::Report;
use crate::bulletin::content::{Line, SightingMark};
use crate::bulletin::{BulletinId, Draft, Precedence};
use crate::clock::Timestamp;
use crate::formats::sighting::{self, Observation};
use crate::gateway::feedback::{self, NoWayBack};
use crate::node::{Command, Response};
use crate::partner::PartnerId;
use crate::store::OutboxState;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "It becomes a bulletin to the originator alone, with the labels of the one that it is about; \
                  agreements decide on it as on any other.\n\nTry it:\n  entente sighting \
                  0190163d-8694-739b-aea5-966c26f8ad91 --of c2.example --count 3 --last \
                  2026-11-02T00:00:00Z\n  entente sighting 0190163d-8694-739b-aea5-966c26f8ad91 --of c2.example \
                  --false-positive"
)]
pub(super) struct SightingArgs {
    /// The bulletin, received here.
    bulletin: BulletinId,
    /// The part of it: its value as `entente inbox BULLETIN` shows it, its STIX id, or the hash of its leaf.
    /// Absent: all of the bulletin.
    #[arg(long, value_name = "VALUE")]
    of: Option<String>,
    /// It fires on what is harmless.
    #[arg(long, group = "says")]
    false_positive: bool,
    /// It does not hold any more.
    #[arg(long, group = "says")]
    expired: bool,
    /// How often it was seen; absent: once.
    #[arg(long, value_name = "NUMBER", conflicts_with = "says")]
    count: Option<u64>,
    /// When it was seen first, in RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "says")]
    first: Option<Timestamp>,
    /// When it was seen last; absent: now.
    #[arg(long, value_name = "TIME", conflicts_with = "says")]
    last: Option<Timestamp>,
    /// Where it was seen.
    #[arg(long, value_name = "TEXT")]
    place: Option<Line>,
    /// How urgent it is.
    #[arg(long, default_value = "ROUTINE")]
    precedence: Precedence,
    /// Waits so many seconds for the broker to take or refuse it.
    #[arg(long, default_value_t = 10)]
    wait: u64,
    #[command(flatten)]
    node: NodeFile,
}

/// What is refused of a sighting, with the bulletin's id.
pub(super) fn refused(bulletin: &BulletinId) -> impl Fn(NoWayBack) -> CliError + '_ {
    move |error| {
        let code = match error {
            NoWayBack::NoClause { .. } => "no_clause",
            NoWayBack::Hidden(_) => "hidden_originator",
            _ => "invalid",
        };
        CliError::refused(code, format!("{bulletin}: {error}"))
    }
}

/// Says whether agreements let a sighting flow.
pub(super) fn check_flow(
    policy: &Policy,
    about: &BulletinId,
    draft: &Draft,
    to: &PartnerId,
) -> Result<(), CliError> {
    let own = policy.own.as_ref().ok_or_else(unexpected)?;
    let now = clock().now();
    let flows = feedback::flows(&policy.rulebook, draft, own, to, now, entropy().as_ref());
    flows.map_err(refused(about))
}

pub(super) async fn sighting(args: SightingArgs, report: &Report) -> Result<(), CliError> {
    let id = args.bulletin;
    let Response::Item(item) = args.node.ask(&Command::Item { id }).await? else {
        return Err(unexpected());
    };
    let (about, to) = feedback::sightable(&item).map_err(refused(&id))?;
    let targets = sighting::targets(&about);
    let target = match &args.of {
        Some(of) => {
            let found = targets.iter().find(|target| target.is(of));
            Some(found.ok_or_else(|| refused(&id)(NoWayBack::NoPart(of.clone())))?)
        }
        None => None,
    };
    let mark = match (args.false_positive, args.expired) {
        (true, _) => Some(SightingMark::FalsePositive),
        (_, true) => Some(SightingMark::Expired),
        _ => None,
    };
    let seen = mark.is_none();
    let now = clock().now();
    let one = Observation {
        mark,
        count: if seen { args.count.unwrap_or(1) } else { 0 },
        first: args.first,
        last: args
            .last
            .or_else(|| seen.then(|| now.max(args.first.unwrap_or(now)))),
        place: args.place,
    };
    let draft = sighting::draft(&about, &to, &[(target, one)], args.precedence);
    let draft = draft.map_err(|error| refused(&id)(error.into()))?;
    draft
        .check()
        .map_err(|error| refused(&id)(NoWayBack::Invalid(error.to_string())))?;
    let policy = super::policy::of_node(&args.node).await?;
    check_flow(&policy, &id, &draft, &to)?;
    let publish = Command::Publish {
        drafts: vec![draft],
    };
    let Response::Published(ids) = args.node.ask(&publish).await? else {
        return Err(unexpected());
    };
    let wait = args.wait.saturating_mul(1_000);
    let Response::Outbox(statuses) = args.node.ask(&Command::Outbox { ids, wait }).await? else {
        return Err(unexpected());
    };
    let value = json!({"about": id, "to": to, "bulletins": statuses});
    report.show(&value, || {
        format!("{}to {to}, about {id}\n", outbox_table(&statuses))
    })?;
    let rejected = |state: &OutboxState| matches!(state, OutboxState::Rejected { .. });
    if statuses.iter().any(|status| rejected(&status.state)) {
        return Err(CliError::refused("rejected", "the broker refused it"));
    }
    Ok(())
}
