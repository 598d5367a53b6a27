//! `entente recall | supersede | downgrade | acknowledge`: what becomes of a bulletin after it was
//! published, and that one was taken.

use std::path::PathBuf;

use serde_json::json;

use super::bulletins::read_draft;
use super::error::CliError;
use super::files::{NodeFile, unexpected};
use super::report::{Report, dash, list, table};
use super::treaty::{parse_classification, parse_tlp};
use crate::bulletin::{BulletinId, Classification, Precedence, Relation, Tlp};
use crate::node::{Command, NoticeDraft, Response};

#[derive(Debug, clap::Args)]
pub(super) struct RecallArgs {
    /// The bulletin, published here.
    bulletin: BulletinId,
    /// Why, for those who received it.
    #[arg(long)]
    reason: String,
    /// More urgent than the bulletin was; absent: as urgent.
    #[arg(long)]
    precedence: Option<Precedence>,
    #[command(flatten)]
    node: NodeFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct SupersedeArgs {
    /// The bulletin, published here.
    bulletin: BulletinId,
    /// The bulletin that takes its place: goes to whom agreements let it go, as any other.
    file: PathBuf,
    /// Why, for those who received the old one.
    #[arg(long)]
    reason: String,
    /// More urgent than the bulletin was; absent: as urgent.
    #[arg(long)]
    precedence: Option<Precedence>,
    #[command(flatten)]
    node: NodeFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct DowngradeArgs {
    /// The bulletin, published here.
    bulletin: BulletinId,
    /// Its TLP from now on, lower than it was.
    #[arg(long, value_parser = parse_tlp)]
    tlp: Tlp,
    /// Its classification from now on, as "NATO:RESTRICTED".
    #[arg(long, value_parser = parse_classification)]
    classification: Option<Classification>,
    /// Why, for those who received it.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    node: NodeFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct AcknowledgeArgs {
    /// The bulletin, received here.
    bulletin: BulletinId,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn recall(args: RecallArgs, report: &Report) -> Result<(), CliError> {
    let notice = NoticeDraft {
        id: None,
        about: args.bulletin,
        relation: Relation::Retracts,
        reason: args.reason,
        precedence: args.precedence,
        tlp: None,
        classification: None,
    };
    give(notice, Vec::new(), &args.node, report).await
}

pub(super) async fn supersede(args: SupersedeArgs, report: &Report) -> Result<(), CliError> {
    let mut draft = read_draft(&args.file)?;
    draft.supersedes.push(args.bulletin);
    let publish = Command::Publish {
        drafts: vec![draft],
    };
    let Response::Published(newer) = args.node.ask(&publish).await? else {
        return Err(unexpected());
    };
    let notice = NoticeDraft {
        id: None,
        about: args.bulletin,
        relation: Relation::Supersedes,
        reason: args.reason,
        precedence: args.precedence,
        tlp: None,
        classification: None,
    };
    give(notice, newer, &args.node, report).await
}

pub(super) async fn downgrade(args: DowngradeArgs, report: &Report) -> Result<(), CliError> {
    let notice = NoticeDraft {
        id: None,
        about: args.bulletin,
        relation: Relation::Downgrades,
        reason: args.reason,
        precedence: None,
        tlp: Some(args.tlp),
        classification: args.classification,
    };
    give(notice, Vec::new(), &args.node, report).await
}

async fn give(
    notice: NoticeDraft,
    newer: Vec<BulletinId>,
    node: &NodeFile,
    report: &Report,
) -> Result<(), CliError> {
    let (about, relation) = (notice.about, notice.relation);
    let Response::Published(ids) = node.ask(&Command::Notice { notice }).await? else {
        return Err(unexpected());
    };
    let value = json!({"bulletin": about, "notice": ids, "newer": newer});
    report.show(&value, || {
        let notice = ids.first().map(ToString::to_string).unwrap_or_default();
        let newer = newer.first().map(|id| format!(" by {id}"));
        let newer = newer.unwrap_or_default();
        if ids == [about] {
            return format!("{about} waited here; it goes to nobody");
        }
        format!("{about} is {relation}{newer}; the notice is {notice}")
    })
}

#[derive(Debug, clap::Args)]
pub(super) struct FollowArgs {
    /// The bulletin, published here.
    bulletin: BulletinId,
    #[command(flatten)]
    node: NodeFile,
}

/// Recipient by recipient: how far it has come, what was declared, what is missing.
pub(super) async fn follow(args: FollowArgs, report: &Report) -> Result<(), CliError> {
    let id = args.bulletin;
    let Response::Followed(states) = args.node.ask(&Command::Follow { id }).await? else {
        return Err(unexpected());
    };
    report.show(&states, || {
        let rows = states.iter().map(|one| {
            let who = one.recipient.as_ref();
            [
                who.map_or_else(|| "(confidential)".to_owned(), ToString::to_string),
                one.state.clone(),
                dash(list(&one.declared)),
                one.due
                    .map_or_else(String::new, |due| format!("to be taken by {due}")),
            ]
        });
        table(["recipient", "state", "declared", "missing"], rows)
    })
}

pub(super) async fn acknowledge(args: AcknowledgeArgs, report: &Report) -> Result<(), CliError> {
    let id = args.bulletin;
    args.node.ask(&Command::Acknowledge { id }).await?;
    report.show(&json!({"bulletin": id}), || format!("{id} is taken"))
}
