//! `entente agreement`: what may be shared, signed by every party.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::error::CliError;
use super::files::{BrokerFile, NodeFile, base64, clock, read, read_text, unexpected};
use super::partner::record;
use super::policy::{AnyFile, OneFile};
use super::report::{Report, list as joined, table};
use super::treaty;
use crate::agreement::{Agreement, SignedAgreement, SignedWithdrawal, Withdrawal, parse_draft};
use crate::broker::{AgreementView, Reply, Request};
use crate::decision::Rulebook;
use crate::identity::{Home, read_key_set, read_secret_key, write_public};
use crate::node::{Command as NodeCommand, Response};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Writes the text of a new agreement, with the ledger's id and the parties' key sets filled in
    /// and one clause to edit.
    ///
    /// Example: entente agreement draft sharing --party certs/norland.example/key-set.pem --party
    /// certs/estmark.example/key-set.pem
    Draft(DraftArgs),
    /// Checks an agreement's text, says in sentences what it lets flow, and warns of clauses that can
    /// never match or add nothing.
    Check {
        /// The text in TOML, or a signed agreement.
        file: PathBuf,
        /// Red lines in TOML that it must not cross; exit code 4 where it does.
        #[arg(long, value_name = "FILE")]
        assert: Option<PathBuf>,
    },
    /// Signs an agreement for a partner: the text, or one that others have signed already.
    ///
    /// Example: entente agreement sign sharing.toml --as certs/norland.example --out
    /// sharing.agreement
    Sign {
        /// The text in TOML, or the agreement signed by others.
        file: PathBuf,
        /// The partner's directory.
        #[arg(long = "as", value_name = "DIR")]
        home: PathBuf,
        /// Where the signed agreement goes; absent: beside the text, as `.agreement`.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Joins the signatures under copies of one agreement that were signed apart.
    Merge {
        /// The copies.
        #[arg(required = true, num_args = 2..)]
        files: Vec<PathBuf>,
        /// Where the result goes.
        #[arg(long)]
        out: PathBuf,
    },
    /// Puts an agreement that all parties have signed in force: at the broker, or by the node of a
    /// party.
    Submit {
        /// The signed agreement.
        file: PathBuf,
        #[command(flatten)]
        config: AnyFile,
    },
    /// Lists the agreements.
    List {
        #[command(flatten)]
        broker: BrokerFile,
    },
    /// Shows an agreement in sentences.
    Show {
        /// Its id, or its name.
        agreement: String,
        #[command(flatten)]
        broker: BrokerFile,
    },
    /// Explains a bulletin's decision: every clause considered, and the nearest missing condition.
    Explain(treaty::ExplainArgs),
    /// Says before publishing who would get a bulletin, which parts, under which clauses.
    ///
    /// Example: entente agreement preview c2.toml --config norland.toml
    Preview(treaty::PreviewArgs),
    /// Says whether a partner can ever receive something from another, directly or onward: exact,
    /// with the chain of clauses and an example.
    ///
    /// Example: entente agreement reach --from norland.example --to estmark.example --tlp red
    Reach(treaty::ReachArgs),
    /// Shows what one version lets flow that the other does not, and whether it only narrows.
    Diff(treaty::DiffArgs),
    /// Decides the log's bulletins again, as if a draft had been in force.
    Simulate(treaty::SimulateArgs),
    /// Checks red lines against the agreements in force, or sets them for every later one.
    ///
    /// Example: entente agreement assert red-lines.toml --operator anna --key anna.key
    Assert(treaty::AssertArgs),
    /// Lets a held bulletin go, or keeps it for good, as a person whom the agreement names.
    ///
    /// Example: entente agreement release 0190163d-8694-739b-aea5-966c26f8ad91 --under crisis --as
    /// anna --key anna.key
    Release(treaty::ReleaseArgs),
    /// Ends an agreement, for one party alone, at once, also for what is already queued.
    ///
    /// Example: entente agreement withdraw sharing --as certs/norland.example --config norland.toml
    Withdraw {
        /// Its id, or its name.
        agreement: String,
        /// The partner's directory.
        #[arg(long = "as", value_name = "DIR")]
        home: PathBuf,
        /// Why, for people.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        config: AnyFile,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct DraftArgs {
    /// The agreement's name: a-z, 0-9 and dashes.
    name: String,
    /// A party's key set, version 1, compared with that party out of band; at least two.
    #[arg(long, required = true, value_name = "KEYSET")]
    party: Vec<PathBuf>,
    /// Days that it is valid.
    #[arg(long, default_value_t = 365)]
    days: u64,
    /// Where it goes; absent: NAME.toml.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerFile,
}

pub(super) async fn run(command: Command, report: &Report) -> Result<(), CliError> {
    match command {
        Command::Draft(args) => write_draft(args, report).await,
        Command::Check { file, assert } => check(&file, assert.as_deref(), report),
        Command::Explain(args) => treaty::explanation(args, report).await,
        Command::Preview(args) => treaty::preview(args, report).await,
        Command::Reach(args) => treaty::reachable(args, report).await,
        Command::Diff(args) => treaty::difference(args, report).await,
        Command::Simulate(args) => treaty::simulation(args, report).await,
        Command::Assert(args) => treaty::assertion(args, report).await,
        Command::Release(args) => treaty::release(args, report).await,
        Command::Sign { file, home, out } => sign(&file, &Home::at(&home), out, report),
        Command::Merge { files, out } => {
            let mut copies = files.iter().map(|file| open(file));
            let mut merged = copies.next().ok_or_else(unexpected)??;
            for copy in copies {
                merged.merge(&copy?)?;
            }
            write_public(&out, &merged.to_file())?;
            let terms = merged.terms()?;
            report.show(&value(&merged, &terms), || sentences(&merged, &terms))
        }
        Command::Submit { file, config } => {
            let signed = SignedAgreement::from_file(&read(&file)?)?;
            let terms = signed.terms()?;
            let file = base64(&signed.to_file());
            let what = format!("{}@{} is in force", terms.name, terms.version);
            match config.of()? {
                OneFile::Broker(broker) => {
                    let request = Request::Ratify { agreement: file };
                    record(&broker, request, &what, report).await
                }
                OneFile::Node(node) => {
                    state(&node, NodeCommand::Agreement { file }, &what, report).await
                }
            }
        }
        Command::List { broker } => {
            let agreements = agreements(&broker).await?;
            report.show(&agreements, || {
                let rows = agreements.iter().map(|one| {
                    [
                        format!("{}@{}", one.name, one.version),
                        joined(&one.parties),
                        one.ended.clone().unwrap_or_else(|| "in force".into()),
                        one.title.clone(),
                    ]
                });
                table(["agreement", "parties", "state", "title"], rows)
            })
        }
        Command::Show { agreement, broker } => {
            let found = find(&broker, &agreement).await?;
            report.show(&found, || {
                let clauses: Vec<_> = found
                    .clauses
                    .iter()
                    .map(|one| format!("  {one}\n"))
                    .collect();
                format!(
                    "{}@{}: {}\nid {}\nvalid {} to {}\n{}",
                    found.name,
                    found.version,
                    found.title,
                    found.id,
                    found.valid_from,
                    found.valid_until,
                    clauses.concat()
                )
            })
        }
        Command::Withdraw {
            agreement,
            home,
            reason,
            config,
        } => withdraw(&agreement, &Home::at(&home), reason, &config, report).await,
    }
}

async fn withdraw(
    agreement: &str,
    home: &Home,
    reason: String,
    config: &AnyFile,
    report: &Report,
) -> Result<(), CliError> {
    let (id, terms) = config.policy().await?.named(agreement)?;
    let withdrawal = Withdrawal {
        ledger: terms.ledger,
        agreement: id,
        partner: home.key_set()?.claimed().partner.clone(),
        time: clock().now(),
        reason,
    };
    let key = read_secret_key(&home.agreements_key())?;
    let file = base64(&SignedWithdrawal::sign(withdrawal, &key)?.to_file());
    let what = format!("{}@{} has ended", terms.name, terms.version);
    match config.of()? {
        OneFile::Broker(broker) => {
            let request = Request::Withdraw { withdrawal: file };
            record(&broker, request, &what, report).await
        }
        OneFile::Node(node) => state(&node, NodeCommand::Withdrawal { file }, &what, report).await,
    }
}

/// Has a node say something in its partner's name.
async fn state(
    node: &NodeFile,
    command: NodeCommand,
    what: &str,
    report: &Report,
) -> Result<(), CliError> {
    let Response::Recorded(position) = node.ask(&command).await? else {
        return Err(unexpected());
    };
    report.show(&json!({"position": position}), || {
        format!("{what} (record {position})")
    })
}

fn check(file: &Path, assert: Option<&Path>, report: &Report) -> Result<(), CliError> {
    let signed = open(file)?;
    let terms = signed.terms()?;
    if let Some(assert) = assert {
        let lines = treaty::red_lines(assert, &read_text(assert)?)?;
        let mut alone = Rulebook::new();
        alone.insert_terms(signed.id(), &Arc::new(terms.clone()));
        if let Some(crossed) = lines.crossed(&alone, clock().now()) {
            return Err(CliError::Untrue(format!(
                "{} crosses {crossed}",
                file.display()
            )));
        }
    }
    let warnings = terms.warnings(clock().now());
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let mut value = value(&signed, &terms);
    value["warnings"] = json!(warnings);
    report.show(&value, || {
        let warnings = warnings.iter().map(|one| format!("\nwarning: {one}"));
        sentences(&signed, &terms) + &warnings.collect::<String>()
    })
}

async fn write_draft(args: DraftArgs, report: &Report) -> Result<(), CliError> {
    let ledger = super::partner::ledger(&args.broker).await?;
    let text = draft(&args.name, &args.party, args.days, &ledger.to_string())?;
    let out = args
        .out
        .unwrap_or_else(|| format!("{}.toml", args.name).into());
    if out.exists() {
        let message = format!("{} is there already", out.display());
        return Err(CliError::refused("exists", message));
    }
    parse_draft(&text).map_err(|error| CliError::refused("invalid", error.message))?;
    write_public(&out, text.as_bytes())?;
    report.show(&json!({"file": out}), || {
        format!(
            "{}: edit its clauses, then have every party sign it",
            out.display()
        )
    })
}

fn draft(name: &str, parties: &[PathBuf], days: u64, ledger: &str) -> Result<String, CliError> {
    let now = clock().now();
    let until = now.saturating_add(Duration::from_secs(days.saturating_mul(86_400)));
    let mut text = format!(
        "name = \"{name}\"\ntitle = \"\"\nversion = 1\nledger = \"{ledger}\"\n\
         valid_from = \"{now}\"\nvalid_until = \"{until}\"\n\n\
         # Each party with the hash of its key set, version 1.\n[parties]\n"
    );
    for path in parties {
        let key_set = read_key_set(path)?;
        let _ = writeln!(
            text,
            "\"{}\" = \"{}\"",
            key_set.claimed().partner,
            key_set.hash()
        );
    }
    text.push_str(
        "\n# What flows from whom to whom. `*` is every party, topic or region.\n[[clause]]\n\
         id = \"cyber\"\nfrom = [\"*\"]\nto = [\"*\"]\nkinds = [\"cyber\"]\ntopics = [\"cyber\"]\n\
         regions = [\"*\"]\ntlp = \"TLP:AMBER\"\nwithhold = [\"source\"]\n",
    );
    Ok(text)
}

/// Reads a text or a signed agreement.
pub(super) fn open(file: &Path) -> Result<SignedAgreement, CliError> {
    if file
        .extension()
        .is_some_and(|extension| extension == "toml")
    {
        let terms = parse_draft(&read_text(file)?).map_err(|error| {
            CliError::refused(
                "invalid",
                format!(
                    "{}:{}:{}: {}",
                    file.display(),
                    error.line,
                    error.column,
                    error.message
                ),
            )
        })?;
        return Ok(SignedAgreement::unsigned(&terms)?);
    }
    SignedAgreement::from_file(&read(file)?)
        .map_err(|error| CliError::refused("invalid", format!("{}: {error}", file.display())))
}

fn sign(file: &Path, home: &Home, out: Option<PathBuf>, report: &Report) -> Result<(), CliError> {
    let mut signed = open(file)?;
    let terms = signed.terms()?;
    let key_set = home.key_set()?;
    let partner = &key_set.claimed().partner;
    let party = terms.parties.iter().find(|party| party.partner == *partner);
    let party = party.ok_or_else(|| {
        CliError::refused(
            "not_party",
            format!("{partner} is not a party of {}", terms.name),
        )
    })?;
    let first = key_set.claimed().version == 1;
    if first && party.key_set != key_set.hash() {
        let message = format!(
            "the agreement pins another key set for {partner}: {} instead of {}",
            party.key_set,
            key_set.hash()
        );
        return Err(CliError::refused("other_key_set", message));
    }
    let out = out.unwrap_or_else(|| file.with_extension("agreement"));
    if out != file && out.exists() {
        // Signatures that are there are kept; those under other terms are nobody's to throw away.
        let known = open(&out)?;
        if known.id() != signed.id() {
            let message = format!(
                "{} is there already, with other terms; remove it, or name another file with --out",
                out.display()
            );
            return Err(CliError::refused("already_there", message));
        }
        signed = known;
    }
    signed.ratify(partner, &read_secret_key(&home.agreements_key())?)?;
    write_public(&out, &signed.to_file())?;
    report.show(&value(&signed, &terms), || {
        format!(
            "{}\nSigned for {partner}: {}",
            sentences(&signed, &terms),
            out.display()
        )
    })
}

fn value(signed: &SignedAgreement, terms: &Agreement) -> serde_json::Value {
    let clauses: Vec<_> = terms
        .clauses
        .iter()
        .map(|one| format!("{}: {one}", one.id))
        .collect();
    let names = |signed: &SignedAgreement| -> Vec<String> {
        signed
            .ratifications()
            .iter()
            .map(|one| one.partner.to_string())
            .collect()
    };
    json!({
        "id": signed.id().to_string(), "name": *terms.name, "version": terms.version,
        "clauses": clauses, "signed_by": names(signed)
    })
}

fn sentences(signed: &SignedAgreement, terms: &Agreement) -> String {
    let clauses: Vec<_> = terms
        .clauses
        .iter()
        .map(|one| format!("  {}: {one}\n", one.id))
        .collect();
    let by: Vec<_> = signed
        .ratifications()
        .iter()
        .map(|one| one.partner.to_string())
        .collect();
    let missing: Vec<_> = terms
        .parties
        .iter()
        .map(|party| party.partner.to_string())
        .filter(|party| !by.contains(party))
        .collect();
    format!(
        "{}@{}: {}\nid {}\n{}signed by: {}\nmissing: {}",
        terms.name,
        terms.version,
        terms.title,
        signed.id(),
        clauses.concat(),
        super::report::dash(by.join(", ")),
        super::report::dash(missing.join(", ")),
    )
}

async fn agreements(broker: &BrokerFile) -> Result<Vec<AgreementView>, CliError> {
    match broker.ask(Request::Agreements).await? {
        Reply::Agreements(agreements) => Ok(agreements),
        _ => Err(unexpected()),
    }
}

/// The agreement of an id, or the one in force of a name.
pub(super) async fn find(broker: &BrokerFile, wanted: &str) -> Result<AgreementView, CliError> {
    let found = agreements(broker)
        .await?
        .into_iter()
        .find(|one| one.id == wanted || (one.name == wanted && one.ended.is_none()));
    found.ok_or_else(|| {
        CliError::refused("unknown_agreement", format!("no agreement `{wanted}` here"))
    })
}
