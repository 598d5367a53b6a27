//! `entente pki`: certificates, keys and key sets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::error::CliError;
use super::files::{clock, entropy};
use super::report::{Report, list, table};
use crate::identity::{
    Home, certificates_from_pem, new_secret_key, not_after, read_key_set, read_secret_key,
    serial_of, spiffe_id_of, write_secret_key,
};
use crate::partner::{KeyUse, PartnerId, SignedKeySet, SpiffeId};
use crate::proof::Signer;

/// Days that a certificate is valid.
const DAYS: u64 = 90;
/// Days until a revocation list must be renewed.
const CRL_DAYS: u64 = 30;
/// Days that a replaced key may still sign.
const GRACE_DAYS: u64 = 7;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Makes a partner: its certificate authority, its keys and its key set.
    ///
    /// Example: entente pki init norland.example
    Init {
        /// The partner's name, which is its SPIFFE trust domain.
        partner: PartnerId,
        #[command(flatten)]
        certs: Certs,
    },
    /// Issues or renews the certificate of a node or broker.
    ///
    /// Example: entente pki issue <spiffe://norland.example/node/1>
    Issue {
        /// The SPIFFE ID.
        id: SpiffeId,
        /// Days that it is valid.
        #[arg(long, default_value_t = DAYS)]
        days: u64,
        #[command(flatten)]
        certs: Certs,
    },
    /// Shows a key set, certificate or key: what to compare with a partner, out of band.
    ///
    /// Example: entente pki show certs/norland.example/key-set.pem
    Show {
        /// The file.
        file: PathBuf,
    },
    /// Revokes certificates: renews the partner's revocation list, to be submitted to the broker.
    ///
    /// Without a certificate the list is only renewed.
    Revoke {
        /// The partner.
        partner: PartnerId,
        /// Certificates in PEM.
        certificates: Vec<PathBuf>,
        /// Days until the list must be renewed.
        #[arg(long, default_value_t = CRL_DAYS)]
        days: u64,
        #[command(flatten)]
        certs: Certs,
    },
    /// Replaces a partner's signing key: makes the next version of its key set, to be submitted to
    /// the broker; then restart the node.
    Rotate {
        /// The partner.
        partner: PartnerId,
        /// Days that the old key may still sign; 0 for a key that was stolen.
        #[arg(long, default_value_t = GRACE_DAYS)]
        grace: u64,
        #[command(flatten)]
        certs: Certs,
    },
    /// Makes a single signing key: for the broker's log, or for an operator.
    ///
    /// Example: entente pki key log.key
    Key {
        /// The file to write.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Certs {
    /// Directory of the partners' directories.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
}

impl Certs {
    fn of(&self, partner: &PartnerId) -> PathBuf {
        self.certs.join(partner.as_str())
    }
}

pub(super) fn run(command: Command, report: &Report) -> Result<(), CliError> {
    let (now, entropy) = (clock().now(), entropy());
    match command {
        Command::Init { partner, certs } => {
            let path = certs.of(&partner);
            let home = Home::create(&path, &partner, now, entropy.as_ref())?;
            let pin = home.key_set()?.hash();
            let value = json!({"partner": partner, "directory": path, "key_set": pin});
            report.show(&value, || {
                format!(
                    "{partner}: authority, keys and key set are in {}.\n\
                     Take {} offline now.\n\
                     Key set (tell your partners by another channel than this network):\n  {pin}",
                    path.display(),
                    home.recovery_key().display()
                )
            })
        }
        Command::Issue { id, days, certs } => {
            let home = Home::at(&certs.of(id.partner()));
            let leaf = home.issue(&id, now, days_long(days), entropy.as_ref())?;
            let until = now.saturating_add(days_long(days));
            let value = json!({
                "id": id, "certificate": leaf.certificate, "key": leaf.key, "not_after": until
            });
            report.show(&value, || {
                format!(
                    "{id}: {} and {}, valid until {until}",
                    leaf.certificate.display(),
                    leaf.key.display()
                )
            })
        }
        Command::Show { file } => show(&file, report),
        Command::Revoke {
            partner,
            certificates,
            days,
            certs,
        } => {
            let home = Home::at(&certs.of(&partner));
            let mut serials = Vec::new();
            for path in &certificates {
                for certificate in certificates_from_pem(path)? {
                    serials.push(serial_of(&certificate)?);
                }
            }
            let until = now.saturating_add(days_long(days));
            home.authority()?.revoke(&serials, now, until)?;
            let list = certs.of(&partner).join("ca.crl");
            let value = json!({"revoked": serials.len(), "list": list, "next_update": until});
            report.show(&value, || {
                format!(
                    "{} certificates revoked; {} must be renewed before {until}.\nSubmit it with: \
                     entente partner revoke-certificates {partner} {}",
                    serials.len(),
                    list.display(),
                    list.display()
                )
            })
        }
        Command::Rotate {
            partner,
            grace,
            certs,
        } => {
            let home = Home::at(&certs.of(&partner));
            let next = home.rotate(now, days_long(grace), entropy.as_ref())?;
            let version = next.claimed().version;
            let value = json!({"partner": partner, "version": version, "key_set": next.hash()});
            report.show(&value, || {
                format!(
                    "{partner}: version {version} of its key set is in {}.\nSubmit it with: entente \
                     partner rotate {}",
                    home.key_set_path().display(),
                    home.key_set_path().display()
                )
            })
        }
        Command::Key { file } => {
            let key = new_secret_key(entropy.as_ref())?;
            write_secret_key(&file, &key)?;
            let public = key.public_key().to_string();
            let value = json!({"file": file, "public_key": public});
            report.show(&value, || {
                format!("{}: public key {public}", file.display())
            })
        }
    }
}

const fn days_long(days: u64) -> Duration {
    Duration::from_secs(days.saturating_mul(86_400))
}

/// Shows whatever the file holds.
fn show(file: &Path, report: &Report) -> Result<(), CliError> {
    let text = super::files::read_text(file)?;
    if text.contains("ENTENTE KEY SET") {
        return show_key_set(&read_key_set(file)?, report);
    }
    if text.contains("PRIVATE KEY") {
        let public = read_secret_key(file)?.public_key();
        let value = json!({"public_key": public.to_string(), "key_id": public.id().to_string()});
        return report.show(&value, || {
            format!("public key {public}\nkey id     {}", public.id())
        });
    }
    let mut shown = Vec::new();
    for certificate in certificates_from_pem(file)? {
        let id =
            spiffe_id_of(&certificate).map_or_else(|_| "an authority".into(), |id| id.to_string());
        let hash = crate::proof::Digest::of(&certificate).to_string();
        shown.push((id, not_after(&certificate)?.to_string(), hash));
    }
    let value: Vec<_> = shown
        .iter()
        .map(|(id, until, hash)| json!({"id": id, "not_after": until, "sha256": hash}))
        .collect();
    report.show(&value, || {
        table(
            ["certificate", "valid until", "sha-256"],
            shown.into_iter().map(<[String; 3]>::from),
        )
    })
}

fn show_key_set(signed: &SignedKeySet, report: &Report) -> Result<(), CliError> {
    let set = signed.claimed();
    let uses = |uses: &[KeyUse]| -> Vec<&'static str> {
        uses.iter()
            .map(|one| match one {
                KeyUse::Bulletins => "bulletins",
                KeyUse::Agreements => "agreements",
                KeyUse::Acknowledgements => "acknowledgements",
            })
            .collect()
    };
    let keys: Vec<_> = set
        .keys
        .iter()
        .map(|key| {
            json!({
                "id": key.public_key.id().to_string(), "uses": uses(&key.uses),
                "not_before": key.not_before, "not_after": key.not_after
            })
        })
        .collect();
    let value = json!({
        "partner": set.partner, "version": set.version, "key_set": signed.hash(),
        "keys": keys, "roots": set.roots.len()
    });
    report.show(&value, || {
        let rows = set.keys.iter().map(|key| {
            [
                key.public_key.id().to_string(),
                list(&uses(&key.uses)),
                key.not_after.to_string(),
            ]
        });
        format!(
            "{}, version {}\nkey set {}\n{}",
            set.partner,
            set.version,
            signed.hash(),
            table(["key id", "signs", "until"], rows)
        )
    })
}
