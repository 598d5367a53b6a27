//! The node's configuration file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::NodeError;
use crate::agreement::Purpose;
use crate::partner::SpiffeId;
use crate::proof::Digest;
use crate::transport::{HttpLimits, Kex};

/// `node.toml`. Paths are relative to the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node's SPIFFE ID, as in its certificate: `spiffe://norland.example/node/1`.
    pub spiffe_id: SpiffeId,
    /// The broker's UDP address: `broker.alliance.example:7400`.
    pub broker: String,
    /// The broker's SPIFFE ID; no other is believed.
    pub broker_id: SpiffeId,
    /// The root certificate of the broker's authority, in PEM.
    pub broker_roots: PathBuf,
    /// The revocation list of the broker's authority, in PEM; read for each connection. One that has
    /// expired refuses the broker. Absent: none is checked.
    #[serde(default)]
    pub broker_revocations: Option<PathBuf>,
    /// The ledger's id; absent: the first one met is kept.
    #[serde(default)]
    pub ledger: Option<Digest>,
    /// Directory of outbox and inbox.
    pub store: PathBuf,
    /// Unix socket for this machine's applications.
    pub control: PathBuf,
    /// Private key that signs bulletins and acknowledgements, mode 0600.
    pub signing_key: PathBuf,
    /// The secret behind this partner's pseudonyms, mode 0600; made when it is first needed. Absent:
    /// `pseudonyms.key` beside the signing key.
    #[serde(default)]
    pub pseudonyms: Option<PathBuf>,
    /// This partner's own key set.
    pub key_set: PathBuf,
    /// Seconds beyond the broker's promised delay after which a missing receipt is an alarm; default 60.
    #[serde(default = "default_receipts_within")]
    pub receipts_within: u64,
    /// Who must have cosigned a checkpoint before it is believed (C2SP tlog-policy); this node's own
    /// witness must in any case. Absent: nobody else.
    #[serde(default)]
    pub witness_policy: Option<PathBuf>,
    /// This node's witness for logs that it is not connected to; absent: it answers its broker only.
    #[serde(default)]
    pub witness: Option<WitnessConfig>,
    /// Certificate and key exchange.
    pub tls: TlsConfig,
    /// Where received bulletins are posted.
    #[serde(default)]
    pub webhook: Vec<WebhookConfig>,
}

/// `[tls]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate in PEM. Replaced on disk, it is used for the next connection.
    pub certificate: PathBuf,
    /// Its private key in PEM, mode 0600.
    pub key: PathBuf,
    /// `hybrid` (default), `hybrid-required` or `classical`.
    #[serde(default)]
    pub kex: Kex,
}

/// `[witness]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Where logs ask over HTTP for cosignatures (C2SP tlog-witness): `127.0.0.1:7402`.
    pub listen: SocketAddr,
    /// Whether others than this machine may ask; otherwise `listen` has to be a loopback address, such
    /// as for a proxy in front of it.
    #[serde(default)]
    pub public: bool,
    /// A C2SP tlog-policy whose `log` lines name the logs that are witnessed besides the broker's own;
    /// absent: none.
    #[serde(default)]
    pub logs: Option<PathBuf>,
    /// What those who ask may use.
    #[serde(default)]
    pub limits: HttpLimits,
}

/// `[[webhook]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Names its place in the inbox: keep it, and nothing is posted twice.
    pub name: String,
    /// Where each bulletin is posted as JSON.
    pub url: String,
    /// What its application uses bulletins for.
    #[serde(default)]
    pub purpose: Option<Purpose>,
}

const fn default_receipts_within() -> u64 {
    60
}

impl Config {
    /// Reads a configuration file; a mistake in it is an error with the line.
    pub fn load(path: &Path) -> Result<Self, NodeError> {
        let text = std::fs::read_to_string(path).map_err(|error| NodeError::File {
            path: path.to_owned(),
            error,
        })?;
        let mut config: Self = toml::from_str(&text).map_err(|error| NodeError::Config {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let witness = config.witness.as_ref();
        if witness.is_some_and(|witness| !witness.public && !witness.listen.ip().is_loopback()) {
            return Err(NodeError::Config {
                path: path.to_owned(),
                message: "witness.listen: the witness answers this machine only, such as on \
                          127.0.0.1:7402, unless `public = true` stands beside it"
                    .to_owned(),
            });
        }
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        let optional = config.broker_revocations.iter_mut();
        let optional = optional.chain(config.pseudonyms.iter_mut());
        let witness = config.witness.iter_mut();
        let optional = optional.chain(witness.filter_map(|witness| witness.logs.as_mut()));
        for relative in optional.chain(config.witness_policy.iter_mut()).chain([
            &mut config.broker_roots,
            &mut config.store,
            &mut config.control,
            &mut config.signing_key,
            &mut config.key_set,
            &mut config.tls.certificate,
            &mut config.tls.key,
        ]) {
            *relative = base.join(&*relative);
        }
        Ok(config)
    }
}
