//! `entente hook`: what a node's webhooks and programs did not take, and the secrets of webhooks.

use std::path::PathBuf;

use data_encoding::BASE64;
use serde_json::json;
use zeroize::Zeroizing;

use super::error::CliError;
use super::files::{NodeFile, entropy, unexpected};
use super::report::{Report, table};
use crate::bulletin::BulletinId;
use crate::clock::random;
use crate::identity::write_private;
use crate::node::{Command as Asked, LetterAct, Response};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Lists the bulletins that a hook gave up on.
    Dead(DeadArgs),
    /// Has a hook try them again.
    ///
    /// Example: entente hook replay webhook:siem
    Replay(LettersArgs),
    /// Forgets them.
    Forget(LettersArgs),
    /// Draws a secret that signs what a webhook posts, and writes it to a file: the `secret` of a webhook in
    /// node.toml. The application that is called gets the same.
    ///
    /// Example: entente hook secret siem.hook
    Secret {
        /// The file, which must not be there yet.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct DeadArgs {
    #[command(flatten)]
    node: NodeFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct LettersArgs {
    /// webhook:NAME or exec:NAME.
    hook: String,
    /// Only these bulletins.
    ids: Vec<BulletinId>,
    #[command(flatten)]
    node: NodeFile,
}

pub(super) async fn run(command: Command, report: &Report) -> Result<(), CliError> {
    match command {
        Command::Dead(args) => dead(&args, report).await,
        Command::Replay(args) => settle(args, LetterAct::Replay, report).await,
        Command::Forget(args) => settle(args, LetterAct::Forget, report).await,
        Command::Secret { file } => {
            let bytes = random::<32>(entropy().as_ref()).map_err(CliError::failed)?;
            let bytes = Zeroizing::new(bytes);
            let text = Zeroizing::new(format!("whsec_{}\n", BASE64.encode(bytes.as_slice())));
            write_private(&file, text.as_bytes())?;
            let shown = file.display().to_string();
            report.show(&json!({ "file": shown }), || {
                format!("a secret is in {shown}")
            })
        }
    }
}

async fn dead(args: &DeadArgs, report: &Report) -> Result<(), CliError> {
    let Response::DeadLetters(letters) = args.node.ask(&Asked::DeadLetters).await? else {
        return Err(unexpected());
    };
    report.show(&letters, || {
        let rows = letters.iter().map(|one| {
            [
                one.hook.clone(),
                one.id.to_string(),
                one.at.to_string(),
                one.tries.to_string(),
                one.reason.clone(),
            ]
        });
        table(["hook", "bulletin", "given up", "tries", "because"], rows)
    })
}

async fn settle(args: LettersArgs, act: LetterAct, report: &Report) -> Result<(), CliError> {
    let asked = Asked::Letters {
        hook: args.hook,
        ids: args.ids,
        act,
    };
    let Response::Settled(count) = args.node.ask(&asked).await? else {
        return Err(unexpected());
    };
    report.show(&json!({ "bulletins": count }), || match act {
        LetterAct::Replay => format!("{count} bulletins are tried again"),
        LetterAct::Forget => format!("{count} bulletins are forgotten"),
    })
}
