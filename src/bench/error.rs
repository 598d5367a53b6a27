//! Why a workload could not be run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::deployment::DeploymentError;

/// A workload that could not be run.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The deployment under test.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// A client could not connect, or its session ended.
    #[error("a client of the benchmark: {0}")]
    Client(String),
    /// The peer.
    #[error("the peer, NATS JetStream: {0}")]
    Peer(String),
    /// A process of the benchmark ended or spoke nonsense.
    #[error("a process of the benchmark: {0}")]
    Worker(String),
    /// A file.
    #[error("{}: {error}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// What a process used cannot be read here.
    #[error("processor time and memory of a process can only be read on Linux: {0}")]
    Usage(String),
    /// The outcome contradicts what a broker promises.
    #[error("{0}")]
    Untrue(String),
}

impl BenchError {
    pub(super) fn client(error: impl ToString) -> Self {
        Self::Client(error.to_string())
    }

    pub(super) fn peer(error: impl ToString) -> Self {
        Self::Peer(error.to_string())
    }

    pub(super) fn worker(error: impl ToString) -> Self {
        Self::Worker(error.to_string())
    }

    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }
}
