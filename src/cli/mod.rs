//! The command line: `entente NOUN VERB`. Tables for people, `--json` for machines.
//!
//! In scope: arguments, what is shown, exit codes. Out of scope: everything else; each command
//! calls one room below.

mod agreement;
mod audit;
mod backup;
mod bench;
mod bridge;
mod broker;
mod bulletins;
mod demo;
mod error;
mod evidence;
mod export;
mod files;
mod formats;
mod hook;
mod import;
mod misp;
mod node;
mod notices;
mod onward;
mod partner;
mod password;
mod pki;
mod policy;
mod publication;
mod publish;
mod report;
mod sighting;
mod status;
mod stix;
mod taxii;
mod treaty;
mod volume;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

pub use error::CliError;
use report::Report;

/// Share threat intelligence by agreement: signed, withheld where agreed, provable afterwards.
#[derive(Debug, Parser)]
#[command(
    name = "entente",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done; 1 refused or failed; 2 wrong arguments; 3 nothing runs there; \
                  4 something that should hold does not.\n\nTry it: entente demo"
)]
struct Cli {
    /// Prints one JSON document instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// How the logs of running programs are written. What is logged: `RUST_LOG`, as `entente=debug`.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human)]
    log: LogFormat,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Shows a whole alliance at work on this machine, in a few seconds.
    Demo(demo::Args),
    /// Makes and shows certificates, keys and key sets.
    #[command(subcommand)]
    Pki(pki::Command),
    /// Begins a ledger, and runs the broker.
    #[command(subcommand)]
    Broker(broker::Command),
    /// Runs a partner's node.
    #[command(subcommand)]
    Node(node::Command),
    /// Admits partners and changes their standing (operators of the broker).
    #[command(subcommand)]
    Partner(partner::Command),
    /// Checks, signs, submits, lists and withdraws agreements.
    #[command(subcommand)]
    Agreement(agreement::Command),
    /// Publishes bulletins from files.
    Publish(publish::PublishArgs),
    /// Lists what was published here, and what became of it.
    Outbox(bulletins::OutboxArgs),
    /// Lists what was received here, or shows one bulletin.
    Inbox(bulletins::InboxArgs),
    /// Writes what was received here in the formats of other tools.
    Export(formats::ExportArgs),
    /// Hands each bulletin received here to an application, once.
    Watch(bulletins::WatchArgs),
    /// Takes back a bulletin that was published here, from exactly those who received it.
    ///
    /// Example: entente recall 0190163d-8694-739b-aea5-966c26f8ad91 --reason "a false positive"
    Recall(notices::RecallArgs),
    /// Publishes another bulletin in place of one, and says so to all who received that.
    Supersede(notices::SupersedeArgs),
    /// Lowers the TLP of a bulletin, for exactly those who received it.
    Downgrade(notices::DowngradeArgs),
    /// Passes on a bulletin that was received, as the clauses under which it came allow.
    PassOn(onward::PassOnArgs),
    /// Carries what one partner receives in one framework into another, as the agreements of both let it.
    #[command(subcommand)]
    Bridge(bridge::Command),
    /// What others ask to pass on of this partner's bulletins, and the answers.
    #[command(subcommand)]
    Consent(onward::ConsentVerb),
    /// Says to a bulletin's originator that something of it was seen here, is a false positive or has expired.
    Sighting(sighting::SightingArgs),
    /// Shows what became of a bulletin that was published here, recipient by recipient: on its way,
    /// acknowledged, taken, a recall applied, or what is missing.
    Follow(notices::FollowArgs),
    /// Says that somebody took a bulletin, where an agreement asks for that.
    Acknowledge(notices::AcknowledgeArgs),
    /// Gives the receipts of a bulletin or an agreement: proofs for anybody of what the log says of it.
    Receipt(evidence::ReceiptArgs),
    /// Verifies receipts and proofs of forks, from files and trusted keys alone.
    Verify(evidence::VerifyArgs),
    /// Verifies and reads the broker's ledger.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Shows how a broker or node stands.
    Status(status::Args),
    /// Makes the secrets of a node's TAXII clients.
    #[command(subcommand)]
    Taxii(taxii::Command),
    /// What webhooks and programs did not take, and their secrets.
    #[command(subcommand)]
    Hook(hook::Command),
    /// Writes the store of a stopped broker or node to one file.
    Backup(backup::Args),
    /// Brings back what `backup` wrote, where there is nothing yet.
    Restore(backup::Args),
    /// Measures this program on this machine, beside NATS JetStream where that is installed.
    Bench(bench::Args),
    /// A process of `bench`.
    #[command(hide = true)]
    BenchWorker,
}

/// Parses the arguments, does what they say, and tells how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout and succeeds; mistakes go to stderr with code 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    log_to_stderr(cli.log, &cli.noun);
    let report = Report::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // What the writer wakes comes from outside the runtime, and packets from its event queue: by
        // default both are looked at after 61 tasks, and one here may verify a batch of bulletins.
        .global_queue_interval(3)
        .event_interval(7)
        // Each costs memory for seconds, and none makes a disk faster; many nodes connect at once.
        .max_blocking_threads(128)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report.failure(&CliError::failed(error)),
    };
    let done = runtime.block_on(run(cli.noun, &report));
    // What still blocks (a store's last sync) has had its time in the orderly shutdown.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report.failure(&error),
    }
}

async fn run(noun: Noun, report: &Report) -> Result<(), CliError> {
    match noun {
        Noun::Demo(args) => demo::run(args, report).await,
        Noun::Pki(command) => pki::run(command, report),
        Noun::Broker(command) => broker::run(command, report).await,
        Noun::Node(command) => node::run(command).await,
        Noun::Partner(command) => partner::run(command, report).await,
        Noun::Agreement(command) => agreement::run(command, report).await,
        Noun::Publish(args) => publish::publish(args, report).await,
        Noun::Outbox(args) => bulletins::outbox(args, report).await,
        Noun::Inbox(args) => bulletins::inbox(args, report).await,
        Noun::Export(args) => formats::export(args, report).await,
        Noun::Watch(args) => bulletins::watch(args, report).await,
        Noun::Recall(args) => notices::recall(args, report).await,
        Noun::Supersede(args) => notices::supersede(args, report).await,
        Noun::Downgrade(args) => notices::downgrade(args, report).await,
        Noun::PassOn(args) => onward::pass_on(args, report).await,
        Noun::Bridge(command) => bridge::run(command, report).await,
        Noun::Consent(verb) => onward::consent(verb, report).await,
        Noun::Sighting(args) => sighting::sighting(args, report).await,
        Noun::Follow(args) => notices::follow(args, report).await,
        Noun::Acknowledge(args) => notices::acknowledge(args, report).await,
        Noun::Receipt(args) => evidence::receipt(args, report).await,
        Noun::Verify(args) => evidence::verify(&args, report),
        Noun::Audit(command) => audit::run(command, report).await,
        Noun::Status(args) => status::run(args, report).await,
        Noun::Hook(command) => hook::run(command, report).await,
        Noun::Taxii(command) => taxii::run(&command, report),
        Noun::Backup(args) => backup::backup(&args, report),
        Noun::Restore(args) => backup::restore(&args, report),
        Noun::Bench(args) => bench::run(args, report).await,
        Noun::BenchWorker => Ok(crate::bench::work().await?),
    }
}

/// Programs that run log what they do; commands only what goes wrong.
fn log_to_stderr(format: LogFormat, noun: &Noun) {
    let runs = matches!(
        noun,
        Noun::Broker(broker::Command::Run { .. })
            | Noun::Node(node::Command::Run(_))
            | Noun::Bridge(bridge::Command::Run(_))
    );
    let usual = if runs { "warn,entente=info" } else { "error" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Human => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
