//! The broker: takes bulletins, decides, logs, and delivers what agreements allow.
//!
//! One writer (`commit`) owns the log; everything else proposes to it and reads the fold. The route
//! of a bulletin through this room: `accept` lets a partner in, `publishing` reads and verifies what it
//! submits, `commit` makes it durable, `outbound` delivers it, and `inbound` takes the
//! acknowledgement.

mod accept;
mod acks;
mod ahead;
mod alarms;
mod asking;
mod backfill;
mod checkpoint;
mod commit;
mod config;
mod control;
mod copy;
mod covering;
mod engine;
mod erasing;
mod error;
mod fetch;
mod heads;
mod holders;
mod http;
mod inbound;
mod init;
mod join;
mod lease;
mod metrics;
mod outbound;
mod pace;
mod publishing;
mod quota;
mod resume;
mod sessions;
mod shelf;
mod signing;
mod streams;
mod view;
mod witnesses;
mod writer;

pub use commit::{Answer, Log};
pub use config::{Config, CoverConfig, HttpConfig, QuotaConfig, TlsConfig, WitnessConfig};
pub use control::{Reply, Request, execute};
pub use copy::copy;
pub use engine::LogEngine;
pub use error::BrokerError;
pub use init::init;
pub use join::{Joined, join};
pub use view::{
    AgreementView, BulletinView, DeliveryView, PartnerView, PolicyView, RecordView, RefusalView,
    StatusView,
};

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Entropy};
use crate::identity::read_secret_key;
use crate::proof::Signer;
use crate::store::{Disk, EmbeddedEngine, SystemDisk};
use crate::transport::{
    Credentials, LocalListener, ResetSecret, Trust, server_config, server_endpoint,
};
use covering::Covering;
use holders::Holders;
use metrics::Metrics;
use pace::Pace;
use quota::Quotas;
use sessions::Sessions;

/// How long a broker that stops waits for its log.
const SETTLE: Duration = Duration::from_secs(2);

/// What all tasks of a broker share.
#[derive(Debug)]
pub(crate) struct Shared {
    config: Config,
    clock: Arc<dyn Clock>,
    log: Log,
    log_key: Arc<dyn Signer>,
    /// What covers the log's growth, where something does.
    covering: Option<Covering>,
    trust: Arc<ArcSwap<Trust>>,
    quotas: Quotas,
    pace: Pace,
    sessions: Arc<Sessions>,
    /// Which other brokers live, where they share the log.
    holders: Holders,
    metrics: Arc<Metrics>,
    /// Counts changes of what is overdue.
    alarms: watch::Sender<u64>,
    stop: CancellationToken,
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    address: SocketAddr,
    http: Option<SocketAddr>,
    tasks: TaskTracker,
}

/// Opens a broker's ledger without serving anybody: for commands while no broker runs.
pub fn open_log(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Log, BrokerError> {
    open_log_on(Arc::new(SystemDisk), config, clock, entropy)
}

/// Opens where a broker's log is, to read it while no broker runs.
pub fn open_engine(config: &Config, entropy: Arc<dyn Entropy>) -> Result<LogEngine, BrokerError> {
    // Of a directory an auditor needs no key.
    if engine::is_directory(&config.ledger) {
        return Ok(LogEngine::Embedded(EmbeddedEngine::open(&config.ledger)?));
    }
    let signer = Arc::new(read_secret_key(&config.log_key)?);
    LogEngine::open(config, Arc::new(SystemDisk), signer, entropy)
}

/// As [`open_log`], on this disk.
pub fn open_log_on(
    disk: Arc<dyn Disk>,
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Log, BrokerError> {
    let log_key = Arc::new(read_secret_key(&config.log_key)?);
    Log::open(
        config,
        disk,
        log_key,
        clock,
        entropy,
        Arc::default(),
        Arc::default(),
    )
}

impl Broker {
    /// Starts a broker: opens its ledger, listens for nodes, operators and monitors.
    pub async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, BrokerError> {
        Self::start_on(Arc::new(SystemDisk), config, clock, entropy).await
    }

    /// As [`Broker::start`], on this disk.
    pub async fn start_on(
        disk: Arc<dyn Disk>,
        config: Config,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, BrokerError> {
        let log_key = Arc::new(read_secret_key(&config.log_key)?);
        let metrics = Arc::new(Metrics::default());
        let sessions = Arc::new(Sessions::default());
        let log = Log::open(
            &config,
            disk,
            Arc::clone(&log_key) as Arc<dyn Signer>,
            Arc::clone(&clock),
            entropy,
            Arc::clone(&sessions),
            Arc::clone(&metrics),
        )?;
        let trust = Arc::new(ArcSwap::from_pointee(sessions::trust_of(&log)));
        let credentials = Arc::new(read_credentials(&config)?);
        let tls = server_config(
            config.tls.kex,
            Arc::clone(&credentials),
            Arc::clone(&trust),
            Arc::clone(&clock),
        )?;
        let secret = ResetSecret::derive(log_key.seed());
        let (endpoint, buffers) =
            server_endpoint(config.listen, tls, secret, engine::silence(&config))?;
        if !buffers.is_enough() {
            tracing::warn!("{buffers}");
        }
        let address = endpoint.local_addr().map_err(BrokerError::Address)?;
        let control = LocalListener::bind(&config.control)?;
        let covering = config.cover.as_ref().map(CoverConfig::read).transpose()?;
        let shared = Arc::new(Shared {
            covering: covering.flatten(),
            quotas: Quotas::new(config.quota),
            pace: Pace::default(),
            config,
            clock,
            log,
            log_key,
            trust,
            sessions,
            holders: Holders::default(),
            metrics,
            alarms: watch::Sender::new(0),
            stop: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        let http = http::listen(&shared, &tasks).await?;
        tasks.spawn(accept::run(Arc::clone(&shared), endpoint, tasks.clone()));
        tasks.spawn(control::serve(Arc::clone(&shared), control));
        if shared.covering.is_some() {
            tasks.spawn(covering::run(Arc::clone(&shared)));
        } else {
            tasks.spawn(signing::run(Arc::clone(&shared)));
        }
        tasks.spawn(erasing::run(Arc::clone(&shared)));
        tasks.spawn(signing::publish(Arc::clone(&shared)));
        tasks.spawn(heads::follow(Arc::clone(&shared)));
        tasks.spawn(holders::beat(Arc::clone(&shared)));
        tasks.spawn(sessions::hand_over(Arc::clone(&shared)));
        witnesses::ask_over_http(&shared, &tasks);
        tasks.spawn(alarms::run(Arc::clone(&shared)));
        tasks.spawn(backfill::run(Arc::clone(&shared)));
        tasks.spawn(sessions::watch_trust(Arc::clone(&shared)));
        tasks.spawn(watch_certificate(Arc::clone(&shared), credentials));
        tracing::info!(%address, size = shared.log.size(), "the broker listens");
        Ok(Self {
            shared,
            address,
            http,
            tasks,
        })
    }

    /// Where nodes connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where monitors ask, where that is configured.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Waits until the broker must stop by itself, because its log cannot be written any more.
    pub async fn failed(&self) -> BrokerError {
        self.shared.log.failed().await
    }

    /// Says goodbye to all peers, signs a last checkpoint and stops.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.shared.sessions.close_all("the broker stops");
        self.tasks.close();
        self.tasks.wait().await;
        // What goes along is written before the last checkpoint. Where the log takes too long, whoever said it says it again.
        let _ = tokio::time::timeout(SETTLE, self.shared.log.settle()).await;
        let now = self.shared.clock.now();
        let closed = match &self.shared.covering {
            Some(covering) => match covering::seal(&self.shared, covering).await {
                Ok(()) => self.shared.log.snapshot(),
                error => error,
            },
            None => self.shared.log.close(self.shared.log_key.as_ref(), now),
        };
        if let Err(error) = closed {
            tracing::error!(%error, "the last checkpoint could not be signed");
        }
        let held = self.shared.log.engine().held();
        drop(self.shared);
        crate::store::released(&held).await;
    }
}

fn read_credentials(config: &Config) -> Result<Credentials, BrokerError> {
    let (chain, key) = read_pair(config)?;
    Ok(Credentials::new(&chain, key.as_bytes())?)
}

fn read_pair(config: &Config) -> Result<(Vec<u8>, zeroize::Zeroizing<String>), BrokerError> {
    let key = crate::identity::read_private(&config.tls.key)?;
    let chain = read(&config.tls.certificate)?;
    Ok((chain, key))
}

fn read(path: &Path) -> Result<Vec<u8>, BrokerError> {
    std::fs::read(path).map_err(|error| BrokerError::File {
        path: path.to_owned(),
        error,
    })
}

/// Takes up a renewed certificate without a restart, and warns before the present one expires.
async fn watch_certificate(shared: Arc<Shared>, credentials: Arc<Credentials>) {
    const LOOK: Duration = Duration::from_secs(5);
    const WARN: Duration = Duration::from_hours(336);
    let mut last = None;
    loop {
        let modified = std::fs::metadata(&shared.config.tls.certificate)
            .and_then(|meta| meta.modified())
            .ok();
        if last.is_some() && modified != last {
            let renewed = read_pair(&shared.config).and_then(|(chain, key)| {
                credentials
                    .renew(&chain, key.as_bytes())
                    .map_err(BrokerError::from)
            });
            match renewed {
                Ok(()) => tracing::info!("the renewed certificate is in use"),
                Err(error) => tracing::error!(%error, "the renewed certificate cannot be used"),
            }
        }
        last = modified;
        if let Ok(until) = credentials.not_after()
            && until.since(shared.clock.now()) < WARN
        {
            tracing::warn!(%until, "the broker's certificate expires soon; issue another");
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
