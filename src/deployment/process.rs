//! Real processes of this program.

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};

use super::error::DeploymentError;
use crate::broker;
use crate::node;
use crate::transport::{LocalError, ask};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How much of a dead process's log is shown.
const LAST_WORDS: usize = 600;

/// A broker or node as a process of its own. It is killed when this goes.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    control: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts `entente broker run` with a configuration.
    pub fn broker(program: &Path, config: &Path) -> Result<Self, DeploymentError> {
        Self::start("broker", program, config, &[])
    }

    /// The same with more arguments, for tests.
    pub fn broker_with(
        program: &Path,
        config: &Path,
        more: &[String],
    ) -> Result<Self, DeploymentError> {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        Self::start("broker", program, config, &more)
    }

    /// Starts `entente node run` with a configuration.
    pub fn node(program: &Path, config: &Path) -> Result<Self, DeploymentError> {
        Self::start("node", program, config, &[])
    }

    fn start(
        noun: &str,
        program: &Path,
        config: &Path,
        more: &[&str],
    ) -> Result<Self, DeploymentError> {
        let directory = config.parent().unwrap_or_else(|| Path::new("."));
        let log = directory.join(format!("{noun}.log"));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.map_err(DeploymentError::file(&log))?;
        let child = Command::new(program)
            .args([noun, "run", "--config"])
            .arg(config)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .map_err(DeploymentError::file(program))?;
        Ok(Self {
            name: format!("{noun} {}", directory.display()),
            child,
            control: directory.join("control.sock"),
            log,
        })
    }

    /// Asks the process one thing over its control socket.
    pub async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        request: &Q,
    ) -> Result<A, LocalError> {
        ask(&self.control, request).await
    }

    /// Waits until the broker answers.
    pub async fn broker_ready(&mut self, patience: Duration) -> Result<(), DeploymentError> {
        self.ready(
            patience,
            &broker::Request::Status,
            |reply: broker::Reply| matches!(reply, broker::Reply::Status(_)),
        )
        .await
    }

    /// Waits until the node is connected.
    pub async fn node_ready(&mut self, patience: Duration) -> Result<(), DeploymentError> {
        self.ready(patience, &node::Command::Status, |reply: node::Response| {
            matches!(reply, node::Response::Status(status) if status.connected)
        })
        .await
    }

    async fn ready<Q: Serialize + Sync, A: DeserializeOwned>(
        &mut self,
        patience: Duration,
        request: &Q,
        good: impl Fn(A) -> bool,
    ) -> Result<(), DeploymentError> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            if let Ok(reply) = self.ask(request).await
                && good(reply)
            {
                return Ok(());
            }
            self.check_alive()?;
            if tokio::time::Instant::now() > until {
                let (what, seconds) = (format!("the start of {}", self.name), patience.as_secs());
                return Err(DeploymentError::TimedOut { what, seconds });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// An error where the process ended, with its last words.
    pub fn check_alive(&mut self) -> Result<(), DeploymentError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(&status.to_string())),
            Err(error) => Err(self.ended(&error.to_string())),
        }
    }

    fn ended(&self, status: &str) -> DeploymentError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let start = log.len().saturating_sub(LAST_WORDS);
        let last = log.get(start..).unwrap_or(&log).trim().to_owned();
        DeploymentError::Ended {
            name: self.name.clone(),
            status: status.to_owned(),
            last,
        }
    }

    /// Kills the process at once (SIGKILL), as a power failure would, and waits until it is gone.
    pub async fn kill(mut self) -> Result<(), DeploymentError> {
        self.child
            .kill()
            .await
            .map_err(DeploymentError::file(&self.log))
    }

    /// Asks the process to end (SIGTERM) and waits for it; an error where it did not end well.
    pub async fn stop(mut self) -> Result<(), DeploymentError> {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
        {
            kill_process(pid, Signal::TERM)
                .map_err(|error| DeploymentError::file(&self.log)(error.into()))?;
        }
        let status = self
            .child
            .wait()
            .await
            .map_err(DeploymentError::file(&self.log))?;
        if status.success() {
            Ok(())
        } else {
            Err(self.ended(&status.to_string()))
        }
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// Waits until a condition holds: looks until it gives a value.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T, DeploymentError> {
    let end = tokio::time::Instant::now() + patience;
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if tokio::time::Instant::now() > end {
            let (what, seconds) = (what.to_owned(), patience.as_secs());
            return Err(DeploymentError::TimedOut { what, seconds });
        }
        tokio::time::sleep(LOOK).await;
    }
}
