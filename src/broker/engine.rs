//! Where this broker's log is: in a directory of its own, or in a stream that it shares with others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::config::Config;
use super::error::BrokerError;
use crate::clock::Entropy;
use crate::identity::read_private;
use crate::ledger::{ENTRY_BYTES, Engine, EngineError, Record, StoredRecord};
use crate::proof::{Digest, Signer, TilePath};
use crate::store::{Disk, EmbeddedEngine, StoreError};
use crate::stream::{News, StreamEngine, is_stream};

/// The log's engine, as the configuration says.
#[derive(Debug)]
pub enum LogEngine {
    /// A directory.
    Embedded(EmbeddedEngine),
    /// A stream, with a copy in a directory.
    Stream(Arc<StreamEngine>),
}

impl LogEngine {
    /// Opens the log of a configuration.
    pub fn open(
        config: &Config,
        disk: Arc<dyn Disk>,
        signer: Arc<dyn Signer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, BrokerError> {
        let log = Self::connect(config, disk, signer, entropy)?;
        while !log.take_some()? {}
        Ok(log)
    }

    /// The same, which has of a stream only what this broker took on before: [`Self::take_some`] is to be called until
    /// that was all.
    pub(super) fn connect(
        config: &Config,
        disk: Arc<dyn Disk>,
        signer: Arc<dyn Signer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, BrokerError> {
        if is_stream(&config.ledger) {
            for secret in [&config.stream.key, &config.stream.credentials] {
                // Only its user may read it.
                secret.as_deref().map(read_private).transpose()?;
            }
            let broker = config.spiffe_id.to_string();
            let mut stream = config.stream.clone();
            stream.disk_reserve = Some(config.disk_reserve);
            let engine = StreamEngine::connect(&config.ledger, &stream, &broker, signer, entropy)?;
            return Ok(Self::Stream(Arc::new(engine)));
        }
        let mut engine = EmbeddedEngine::open_on(&config.ledger, disk)?;
        engine.set_reserve(config.disk_reserve);
        Ok(Self::Embedded(engine))
    }

    /// As [`LogEngine::open`], making the place where there is none.
    pub fn create(
        config: &Config,
        signer: Arc<dyn Signer>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, BrokerError> {
        if is_stream(&config.ledger) {
            let broker = config.spiffe_id.to_string();
            let engine =
                StreamEngine::create(&config.ledger, &config.stream, &broker, signer, entropy)?;
            return Ok(Self::Stream(Arc::new(engine)));
        }
        Ok(Self::Embedded(EmbeddedEngine::open(&config.ledger)?))
    }

    /// Takes on some of what the stream has at the start; whether that was all.
    pub(super) fn take_some(&self) -> Result<bool, BrokerError> {
        Ok(self
            .stream()
            .map_or(Ok(true), |stream| stream.take_some())?)
    }

    /// What is on this broker's disk.
    pub fn local(&self) -> &EmbeddedEngine {
        match self {
            Self::Embedded(engine) => engine,
            Self::Stream(engine) => engine.local(),
        }
    }

    /// The stream, where there is one.
    pub(super) fn stream(&self) -> Option<&Arc<StreamEngine>> {
        match self {
            Self::Embedded(_) => None,
            Self::Stream(engine) => Some(engine),
        }
    }

    /// Whom to tell when others append.
    pub(super) fn on_news(&self, news: News) {
        if let Self::Stream(engine) = self {
            engine.on_news(news);
        }
    }

    /// What an operator must look at.
    pub(super) fn alarms(&self) -> Vec<String> {
        self.stream()
            .map_or_else(Vec::new, |stream| stream.alarms())
    }

    /// Positions from one on whose bodies are kept, in order.
    pub fn kept(&self, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        match self {
            Self::Embedded(engine) => engine.kept(from, limit),
            Self::Stream(engine) => engine.kept(from, limit),
        }
    }

    /// Removes from the disk what was erased; see [`EmbeddedEngine::purge`].
    pub fn purge(&self) -> Result<bool, StoreError> {
        self.local().purge()
    }

    /// A cached value.
    pub fn cached(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.local().cached(name)
    }

    /// Keeps a value that can be computed anew.
    pub fn put_cache(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        self.local().put_cache(name, value)
    }

    /// Upgrades until the directory is free for another process.
    pub fn held(&self) -> Weak<()> {
        self.local().held()
    }

    fn engine(&self) -> &dyn Engine {
        match self {
            Self::Embedded(engine) => engine,
            Self::Stream(engine) => engine.as_ref(),
        }
    }
}

/// For how long a broker that confirmed the end of the log may deliver; `None`: for ever, because nobody else
/// appends.
pub(super) fn lease(config: &Config) -> Option<Duration> {
    is_stream(&config.ledger).then(|| Duration::from_secs(config.stream.lease_seconds))
}

/// For how long nothing may be heard on a connection before node and broker give it up.
pub(super) fn silence(config: &Config) -> Option<Duration> {
    lease(config).map(super::lease::silence_of)
}

/// Whether a ledger's place is something on this machine's disk.
pub(super) fn is_directory(place: &Path) -> bool {
    !is_stream(place)
}

impl Engine for LogEngine {
    fn size(&self) -> u64 {
        self.engine().size()
    }

    fn append(&self, expected: u64, group: &[StoredRecord]) -> Result<u64, EngineError> {
        self.engine().append(expected, group)
    }

    fn prepare(&self, bodies: BTreeMap<u64, Bytes>) -> bool {
        self.engine().prepare(bodies)
    }

    fn is_shared(&self) -> bool {
        self.engine().is_shared()
    }

    fn take_turn(&self, lost: u32) -> Result<(), EngineError> {
        self.engine().take_turn(lost)
    }

    fn catch_up(&self) -> Result<u64, EngineError> {
        self.engine().catch_up()
    }

    fn opened(&self, from: u64, limit: usize) -> Vec<Arc<Record>> {
        self.engine().opened(from, limit)
    }

    fn group_bytes(&self) -> usize {
        self.engine().group_bytes()
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<Bytes>, EngineError> {
        self.engine().read(from, limit)
    }

    fn entries(&self, from: u64, limit: usize) -> Result<Vec<[u8; ENTRY_BYTES]>, EngineError> {
        self.engine().entries(from, limit)
    }

    fn tile(&self, path: &TilePath) -> Result<Vec<Digest>, EngineError> {
        self.engine().tile(path)
    }

    fn bodies(&self, position: u64) -> Result<Option<Bytes>, EngineError> {
        self.engine().bodies(position)
    }

    fn stored(
        &self,
        from: u64,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<StoredRecord>, EngineError> {
        self.engine().stored(from, limit, bytes)
    }
}
