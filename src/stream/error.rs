//! What goes wrong with a stream.

use std::path::PathBuf;

use thiserror::Error;

use super::wire::InvalidMessage;
use crate::clock::NoEntropy;
use crate::ledger::EngineError;
use crate::proof::SignError;
use crate::store::StoreError;

/// A stream that did not do what was asked, or cannot be used.
#[derive(Debug, Error)]
pub enum StreamError {
    /// No server answers.
    #[error(
        "no NATS server answers at {servers}: {reason}; start one, or correct `ledger` in the configuration"
    )]
    Unreachable {
        /// Where.
        servers: String,
        /// What was seen.
        reason: String,
    },
    /// A server that is too old.
    #[error(
        "the NATS server {server} has version {version}, and a ledger needs 2.12 at least: older ones drop \
         what they do not know of a request; upgrade it"
    )]
    OldServer {
        /// Its name.
        server: String,
        /// Its version.
        version: String,
    },
    /// The stream is not there.
    #[error("there is no stream `{0}`; make it and its ledger with: entente broker init")]
    NoStream(String),
    /// The stream is set up otherwise than a ledger needs.
    #[error("the stream `{stream}` is not fit for a ledger: {what}; remedy: {remedy}")]
    Unfit {
        /// Its name.
        stream: String,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// A server that acknowledges before it syncs.
    #[error(
        "the NATS server at {0} acknowledges before its disk has what it acknowledges; set `sync_interval: \
         always` under `jetstream` in its configuration and start it again"
    )]
    NotSynced(String),
    /// A message that is not what a broker of this ledger appended.
    #[error("message {sequence} of the stream: {error}")]
    Message {
        /// Its sequence.
        sequence: u64,
        /// What is wrong.
        error: InvalidMessage,
    },
    /// The stream shows another history than it did.
    #[error(
        "message {sequence} of the stream is not the one that was acknowledged: the servers lost what they \
         had promised, or were restored from a backup. Stop all brokers, and see docs/brokers.md, \
         \"The stream forked\""
    )]
    Forked {
        /// Where.
        sequence: u64,
    },
    /// The stream is shorter than this broker knows it.
    #[error(
        "the stream ends at message {found}, and this broker has taken on {known}: the servers lost what they \
         had promised, or somebody deleted the stream. Stop all brokers, and see docs/brokers.md, \
         \"The stream is shorter\""
    )]
    Shorter {
        /// Its last sequence.
        found: u64,
        /// What was taken on.
        known: u64,
    },
    /// A snapshot from which no broker begins.
    #[error("the snapshot {}: {what}", path.display())]
    Snapshot {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// No snapshot can be made.
    #[error(
        "a checkpoint over {0} records covers none of the last messages: no snapshot can be made before a newer one \
         has its witnesses; try again"
    )]
    NotCovered(u64),
    /// It could not be reached in time.
    #[error("the stream does not answer: {0}")]
    Unavailable(String),
    /// This broker's own copy.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This broker's own copy.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Signing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The runtime that talks to the servers.
    #[error("the stream's runtime cannot be started: {0}")]
    Runtime(std::io::Error),
}

impl From<StreamError> for EngineError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Engine(error) => error,
            StreamError::Unavailable(_) | StreamError::Unreachable { .. } => {
                Self::Unavailable(error.to_string())
            }
            other => Self::Unknown(other.to_string()),
        }
    }
}
