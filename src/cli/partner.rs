//! `entente partner`: who may act. Every change is signed by an operator, or by the partner itself.

use std::path::PathBuf;

use serde_json::json;

use super::error::CliError;
use super::files::{BrokerFile, base64, clock, read, unexpected};
use super::report::{Report, table};
use crate::broker::{Reply, Request};
use crate::identity::{crl_from_pem, read_key_set, read_secret_key};
use crate::ledger::{LedgerId, PartnerAdmitted, StandingOrder};
use crate::partner::{PartnerId, Standing};
use crate::proof::{PayloadType, Signer};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Lists the partners.
    List {
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Admits a partner, whose key set was compared with it out of band.
    ///
    /// Example: entente partner admit key-set.pem --operator anna --key anna.key
    Admit {
        /// The partner's key set.
        key_set: PathBuf,
        #[command(flatten)]
        operator: OperatorArgs,
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Suspends a partner: it is disconnected, and nothing is shared with it or from it.
    Suspend(StandArgs),
    /// Lets a suspended partner act again.
    Restore(StandArgs),
    /// Revokes a partner for good.
    Revoke(StandArgs),
    /// Records a partner's next key set, signed as its last one demands.
    Rotate {
        /// The key set.
        key_set: PathBuf,
        #[command(flatten)]
        file: BrokerFile,
    },
    /// Records a partner's certificate revocation list, signed by its own authority.
    RevokeCertificates {
        /// The partner.
        partner: PartnerId,
        /// The list in PEM.
        list: PathBuf,
        #[command(flatten)]
        file: BrokerFile,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct OperatorArgs {
    /// The operator's name, as in the ledger's genesis.
    #[arg(long)]
    operator: String,
    /// The operator's key.
    #[arg(long)]
    key: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct StandArgs {
    /// The partner.
    partner: PartnerId,
    /// Why, for people.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    operator: OperatorArgs,
    #[command(flatten)]
    file: BrokerFile,
}

pub(super) async fn run(command: Command, report: &Report) -> Result<(), CliError> {
    match command {
        Command::List { file } => list(&file, report).await,
        Command::Admit {
            key_set,
            operator,
            file,
        } => {
            let key_set = read_key_set(&key_set)?;
            let payload = PartnerAdmitted::payload(ledger(&file).await?, &key_set);
            let key = read_secret_key(&operator.key)?;
            let signature = key.sign(PayloadType::Admission, &payload)?;
            let request = Request::Admit {
                key_set: base64(&key_set.to_bytes()),
                operator: operator.operator,
                key: signature.key_id.to_string(),
                signature: base64(&signature.bytes),
            };
            let what = format!("{} is admitted", key_set.claimed().partner);
            record(&file, request, &what, report).await
        }
        Command::Suspend(args) => stand(args, Standing::Suspended, report).await,
        Command::Restore(args) => stand(args, Standing::Active, report).await,
        Command::Revoke(args) => stand(args, Standing::Revoked, report).await,
        Command::Rotate { key_set, file } => {
            let key_set = read_key_set(&key_set)?;
            let claimed = key_set.claimed();
            let what = format!(
                "{}: key set version {} counts",
                claimed.partner, claimed.version
            );
            let request = Request::Rotate {
                key_set: base64(&key_set.to_bytes()),
            };
            record(&file, request, &what, report).await
        }
        Command::RevokeCertificates {
            partner,
            list,
            file,
        } => {
            let _ = read(&list)?;
            let what = format!("the revocation list of {partner} counts");
            let request = Request::Revoke {
                partner,
                crl: base64(&crl_from_pem(&list)?),
            };
            record(&file, request, &what, report).await
        }
    }
}

/// The ledger's id, which every signature of an operator names.
pub(super) async fn ledger(file: &BrokerFile) -> Result<LedgerId, CliError> {
    let Reply::Status(status) = file.ask(Request::Status).await? else {
        return Err(unexpected());
    };
    Ok(LedgerId(status.ledger.parse().map_err(CliError::failed)?))
}

/// Has an act recorded and says so.
pub(super) async fn record(
    file: &BrokerFile,
    request: Request,
    what: &str,
    report: &Report,
) -> Result<(), CliError> {
    let Reply::Recorded(position) = file.ask(request).await? else {
        return Err(unexpected());
    };
    report.show(&json!({"position": position}), || {
        format!("{what} (record {position})")
    })
}

async fn stand(args: StandArgs, standing: Standing, report: &Report) -> Result<(), CliError> {
    let order = StandingOrder {
        ledger: ledger(&args.file).await?,
        partner: args.partner.clone(),
        standing,
        reason: args.reason,
        time: clock().now(),
    };
    let bytes = order.to_bytes();
    let key = read_secret_key(&args.operator.key)?;
    let signature = key.sign(PayloadType::StandingOrder, &bytes)?;
    let request = Request::Stand {
        order: base64(&bytes),
        operator: args.operator.operator,
        key: signature.key_id.to_string(),
        signature: base64(&signature.bytes),
    };
    record(
        &args.file,
        request,
        &format!("{} is {standing}", args.partner),
        report,
    )
    .await
}

async fn list(file: &BrokerFile, report: &Report) -> Result<(), CliError> {
    let Reply::Partners(partners) = file.ask(Request::Partners).await? else {
        return Err(unexpected());
    };
    report.show(&partners, || {
        let rows = partners.iter().map(|one| {
            [
                one.partner.to_string(),
                one.standing.to_string(),
                one.key_set_version.to_string(),
                one.backlog.to_string(),
                one.pin.clone(),
            ]
        });
        table(
            [
                "partner",
                "standing",
                "key set",
                "backlog",
                "pin (sha-256 of key set 1)",
            ],
            rows,
        )
    })
}
