//! `entente pass-on` and `entente consent`: giving further what was received, and allowing it.

use serde_json::json;

use super::bulletins::outbox_table;
use super::error::CliError;
use super::files::{NodeFile, unexpected};
use super::report::{Report, list, table};
use crate::bulletin::{BulletinId, PartClass};
use crate::ledger::Question;
use crate::node::{Command, PassOnDraft, Response};
use crate::partner::PartnerId;
use crate::store::OutboxState;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The clauses under which it came decide: `entente inbox BULLETIN` shows the onward \
                  rule.\nWhere the originator must consent first, it is asked by this, and the \
                  bulletin is held.\n\nTry it: entente pass-on 0193... --to estmark.example \
                  --without source"
)]
pub(super) struct PassOnArgs {
    /// The bulletin, received here.
    bulletin: BulletinId,
    /// To whom; may be repeated.
    #[arg(long, required = true, value_name = "PARTNER")]
    to: Vec<PartnerId>,
    /// Parts of this class stay here; may be repeated.
    #[arg(long, value_name = "CLASS")]
    without: Vec<PartClass>,
    /// Keeps the recipients from one another.
    #[arg(long)]
    hide_audience: bool,
    /// Waits so many seconds for the broker to take or refuse it.
    #[arg(long, default_value_t = 10)]
    wait: u64,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn pass_on(args: PassOnArgs, report: &Report) -> Result<(), CliError> {
    let draft = PassOnDraft {
        bulletin: args.bulletin,
        to: args.to,
        without: args.without,
        hide_audience: args.hide_audience,
    };
    let Response::Published(ids) = args.node.ask(&Command::PassOn { draft }).await? else {
        return Err(unexpected());
    };
    let wait = args.wait.saturating_mul(1_000);
    let Response::Outbox(statuses) = args.node.ask(&Command::Outbox { ids, wait }).await? else {
        return Err(unexpected());
    };
    report.show(&statuses, || outbox_table(&statuses))?;
    let rejected = |state: &OutboxState| matches!(state, OutboxState::Rejected { .. });
    if statuses.iter().any(|status| rejected(&status.state)) {
        return Err(CliError::refused("rejected", "the broker refused it"));
    }
    Ok(())
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum ConsentVerb {
    /// What others ask to pass on of this partner's bulletins.
    List(ListArgs),
    /// Lets it be passed on to those it names.
    Approve(AnswerArgs),
    /// Keeps it from them for good.
    Deny(AnswerArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    node: NodeFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct AnswerArgs {
    /// The bulletin that passes it on, as `entente consent list` names it.
    bulletin: BulletinId,
    /// Why; the log keeps it.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn consent(verb: ConsentVerb, report: &Report) -> Result<(), CliError> {
    match verb {
        ConsentVerb::List(args) => asked(&args.node, report).await,
        ConsentVerb::Approve(args) => answer(args, true, report).await,
        ConsentVerb::Deny(args) => answer(args, false, report).await,
    }
}

async fn asked(node: &NodeFile, report: &Report) -> Result<(), CliError> {
    let Response::Asking(asking) = node.ask(&Command::Asking).await? else {
        return Err(unexpected());
    };
    report.show(&asking, || {
        let rows = asking.iter().map(|one| {
            [
                one.bulletin.to_string(),
                one.asker.to_string(),
                what_is_asked(&one.questions),
            ]
        });
        table(["bulletin", "asked by", "what"], rows)
    })
}

fn what_is_asked(questions: &[Question]) -> String {
    let one = |question: &Question| {
        format!(
            "passes on {} to {}",
            question.about,
            list(&question.recipients)
        )
    };
    questions.iter().map(one).collect::<Vec<_>>().join("; ")
}

async fn answer(args: AnswerArgs, approve: bool, report: &Report) -> Result<(), CliError> {
    let command = Command::Consent {
        bulletin: args.bulletin,
        approve,
        reason: args.reason,
    };
    let Response::Recorded(position) = args.node.ask(&command).await? else {
        return Err(unexpected());
    };
    let value = json!({"bulletin": args.bulletin, "approved": approve, "position": position});
    report.show(&value, || {
        let what = if approve {
            "goes on"
        } else {
            "goes no further"
        };
        format!("{} {what}; record {position} says so", args.bulletin)
    })
}
