//! Which files a command works with, and how it reaches what runs upon them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CliError;
use crate::broker::{Reply, Request, execute, open_log};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::identity::read_secret_key;
use crate::node::{Command, Response};
use crate::transport::{LocalError, ask};

/// `--config` of the broker.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BrokerFile {
    /// The broker's configuration.
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "ENTENTE_BROKER",
        default_value = "broker.toml"
    )]
    pub(super) config: PathBuf,
}

/// `--config` of a node.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct NodeFile {
    /// The node's configuration.
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "ENTENTE_NODE",
        default_value = "node.toml"
    )]
    pub(super) config: PathBuf,
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

pub(super) fn entropy() -> Arc<dyn Entropy> {
    Arc::new(SystemEntropy::new())
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(CliError::file(path))
}

pub(super) fn read_text(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(CliError::file(path))
}

/// Base64, as files travel over local sockets.
pub(super) fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

impl BrokerFile {
    pub(super) fn load(&self) -> Result<crate::broker::Config, CliError> {
        Ok(crate::broker::Config::load(&self.config)?)
    }

    /// Waits until a broker runs; an error where none does in time.
    pub(super) async fn running(&self, patience: Duration) -> Result<(), CliError> {
        const LOOK: Duration = Duration::from_millis(50);
        let control = self.load()?.control;
        let end = tokio::time::Instant::now() + patience;
        loop {
            match ask::<_, Reply>(&control, &Request::Status).await {
                Ok(_) => return Ok(()),
                Err(LocalError::NotRunning(_)) if tokio::time::Instant::now() < end => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks the running broker, or works on its files where none runs.
    pub(super) async fn ask(&self, request: Request) -> Result<Reply, CliError> {
        let config = self.load()?;
        let reply = match ask(&config.control, &request).await {
            Err(LocalError::NotRunning(_)) => {
                let log = open_log(&config, clock(), entropy())?;
                let reply = execute(&log, clock().as_ref(), Vec::new(), request).await;
                log.close(&read_secret_key(&config.log_key)?, clock().now())?;
                reply
            }
            asked => asked?,
        };
        match reply {
            Reply::Error(trouble) => Err(trouble.into()),
            reply => Ok(reply),
        }
    }
}

impl NodeFile {
    pub(super) fn load(&self) -> Result<crate::node::Config, CliError> {
        Ok(crate::node::Config::load(&self.config)?)
    }

    /// Asks the running node.
    pub(super) async fn ask(&self, command: &Command) -> Result<Response, CliError> {
        match self.ask_raw(command).await? {
            Response::Error(trouble) => Err(trouble.into()),
            response => Ok(response),
        }
    }

    async fn ask_raw<Q: Serialize, A: DeserializeOwned>(&self, request: &Q) -> Result<A, CliError> {
        let config = self.load()?;
        ask(&config.control, request)
            .await
            .map_err(|error| match error {
                LocalError::NotRunning(path) => CliError::NotRunning(format!(
                    "no node runs at {}; start it with: entente node run --config {}",
                    path.display(),
                    self.config.display()
                )),
                other => other.into(),
            })
    }
}

/// An answer of another kind than was asked for.
pub(super) fn unexpected() -> CliError {
    CliError::refused(
        "unexpected",
        "the program answered something else; is it another version?",
    )
}
