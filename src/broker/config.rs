//! The broker's configuration file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::covering::Covering;
use super::error::BrokerError;
use crate::identity::read_secret_key;
use crate::ledger::{Cover, CoverKey, MERGE_DELAY};
use crate::partner::SpiffeId;
use crate::stream::{StreamConfig, is_stream};
use crate::transport::{HttpLimits, Kex};

/// `broker.toml`. Paths are relative to the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The broker's SPIFFE ID, which nodes pin: `spiffe://alliance.example/broker/1`.
    pub spiffe_id: SpiffeId,
    /// UDP address where nodes connect: `0.0.0.0:7400`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Directory of the ledger; or the NATS servers whose stream several brokers share:
    /// `nats://10.0.0.1:4222,10.0.0.2:4222,10.0.0.3:4222`.
    pub ledger: PathBuf,
    /// How that stream is reached.
    #[serde(default)]
    pub stream: StreamConfig,
    /// File of the last signed checkpoint. Best on another disk than the ledger: it tells when the
    /// ledger was restored from an older backup.
    pub head: PathBuf,
    /// Unix socket for operators' commands.
    pub control: PathBuf,
    /// Private key that signs checkpoints and promises.
    pub log_key: PathBuf,
    /// Seed of a second key, with which checkpoints are signed by ML-DSA-44, too; absent: they are not.
    #[serde(default)]
    pub log_key_second: Option<PathBuf>,
    /// Who must cosign checkpoints; absent: every node may, and nobody must.
    #[serde(default)]
    pub witness: Option<WitnessConfig>,
    /// What hides how much is shared; absent: nothing does.
    #[serde(default)]
    pub cover: Option<CoverConfig>,
    /// Bytes of the ledger's disk that are kept free; default 64 MiB.
    #[serde(default = "default_reserve")]
    pub disk_reserve: u64,
    /// Bytes of memory for bulletins just committed; default 64 MiB. An eighth of it beside for those read again.
    #[serde(default = "default_cache")]
    pub body_cache: u64,
    /// Certificate and key exchange.
    pub tls: TlsConfig,
    /// Health and metrics; absent: not served.
    #[serde(default)]
    pub http: Option<HttpConfig>,
    /// What one publisher may send.
    #[serde(default)]
    pub quota: QuotaConfig,
}

/// `[tls]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate in PEM. Replaced on disk, it is taken up within seconds.
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
    /// A C2SP tlog-policy: witnesses without a URL are nodes, those with one are asked over HTTP.
    pub policy: PathBuf,
}

/// `[cover]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoverConfig {
    /// `off`, `pow2`, or `fixed:N` entries for each interval.
    pub growth: Cover,
    /// Seconds from one checkpoint to the next, 1 to 300; default 5. Receipts wait so long.
    #[serde(default = "default_interval")]
    pub interval_seconds: u64,
    /// The auditor's key: a key file whose seed tells cover from what counts.
    pub key: PathBuf,
}

impl CoverConfig {
    pub(super) fn read(&self) -> Result<Option<Covering>, BrokerError> {
        if self.growth == Cover::Off {
            return Ok(None);
        }
        Ok(Some(Covering {
            growth: self.growth,
            every: Duration::from_secs(self.interval_seconds),
            key: CoverKey::new(read_secret_key(&self.key)?.seed()),
        }))
    }
}

const fn default_interval() -> u64 {
    5
}

/// `[http]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where `/healthz`, `/readyz`, `/metrics` and the log are served: a loopback address.
    pub listen: SocketAddr,
    /// Where the log alone is served, to anybody: `/checkpoint` and `/tile/...`.
    #[serde(default)]
    pub log: Option<SocketAddr>,
    /// What those who ask may use, of each listener.
    #[serde(default)]
    pub limits: HttpLimits,
}

/// `[quota]`
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaConfig {
    /// Bulletins that one partner may publish in a second, on average; default 5,000.
    pub bulletins_per_second: u32,
    /// How many it may publish at once; default 10,000.
    pub burst: u32,
}

impl Default for QuotaConfig {
    fn default() -> Self {
        Self {
            bulletins_per_second: 5_000,
            burst: 10_000,
        }
    }
}

const fn default_reserve() -> u64 {
    64 * 1024 * 1024
}

const fn default_cache() -> u64 {
    64 * 1024 * 1024
}

impl Config {
    /// Whether the log's growth is covered, so that checkpoints are signed by the interval.
    pub fn is_covered(&self) -> bool {
        let growth = self.cover.as_ref().map(|cover| cover.growth);
        growth.is_some_and(|growth| growth != Cover::Off)
    }

    /// Within this delay a checkpoint covers what was promised.
    pub fn merge_delay(&self) -> Duration {
        match &self.cover {
            Some(cover) if self.is_covered() => {
                MERGE_DELAY.max(2 * Duration::from_secs(cover.interval_seconds))
            }
            _ => MERGE_DELAY,
        }
    }

    /// Reads a configuration file; a mistake in it is an error with the line.
    pub fn load(path: &Path) -> Result<Self, BrokerError> {
        let text = std::fs::read_to_string(path).map_err(|error| BrokerError::File {
            path: path.to_owned(),
            error,
        })?;
        let wrong = |message| BrokerError::Config {
            path: path.to_owned(),
            message,
        };
        let mut config: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if config
            .http
            .as_ref()
            .is_some_and(|http| !http.listen.ip().is_loopback())
        {
            let message = "http.listen: health and metrics are served on a loopback address only, \
                           such as 127.0.0.1:7401";
            return Err(wrong(message.to_owned()));
        }
        if is_stream(&config.ledger) && config.ledger.to_string_lossy().contains('@') {
            let message = "ledger: a password does not belong there: use `stream.certificate` and `stream.key`, or \
                           `stream.credentials`";
            return Err(wrong(message.to_owned()));
        }
        if config.is_covered() && is_stream(&config.ledger) {
            let message = "cover.growth: brokers that share a ledger would each add cover, and the log would \
                           grow by as many as there are; it needs a ledger in a directory";
            return Err(wrong(message.to_owned()));
        }
        let seconds = config.cover.as_ref().map(|cover| cover.interval_seconds);
        if seconds.is_some_and(|seconds| !(1..=300).contains(&seconds)) {
            let message = "cover.interval_seconds: from 1 to 300 seconds";
            return Err(wrong(message.to_owned()));
        }
        config
            .stream
            .check()
            .map_err(|message| wrong(message.clone()))?;
        let base = path.parent().unwrap_or_else(|| Path::new("."));
        let policy = config.witness.as_mut().map(|witness| &mut witness.policy);
        let cover = config.cover.as_mut().map(|cover| &mut cover.key);
        let optional = policy.into_iter().chain(config.log_key_second.as_mut());
        for relative in optional.chain(cover) {
            *relative = base.join(&*relative);
        }
        config.stream.within(base);
        if !is_stream(&config.ledger) {
            config.ledger = base.join(&config.ledger);
        }
        for relative in [
            &mut config.head,
            &mut config.control,
            &mut config.log_key,
            &mut config.tls.certificate,
            &mut config.tls.key,
        ] {
            *relative = base.join(&*relative);
        }
        Ok(config)
    }
}
