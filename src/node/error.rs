//! Why a node cannot start, or a session ended.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::identity::{CertificateError, KeyFileError};
use crate::ledger::{InvalidRecord, PromiseError};
use crate::proof::SignError;
use crate::session::{FrameError, LaneError, Refusal};
use crate::store::StoreError;
use crate::transport::{EndpointError, LocalError, ReadError, TlsError, TrustError};

/// A node that cannot start, or a session that ended.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The configuration.
    #[error("{}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Line, mistake and what would be right.
        message: String,
    },
    /// A file.
    #[error("{}: {error}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The signing key and the key set do not belong together.
    #[error("{0}")]
    Keys(&'static str),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The broker's roots.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The control socket.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No connection.
    #[error("the broker at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// The broker said no.
    #[error("the broker refuses: {0}")]
    Refused(Refusal),
    /// The broker offers what this node cannot work with.
    #[error("this node refuses the broker: {0}")]
    Unserved(Refusal),
    /// The connection is gone.
    #[error("the connection ended: {0}")]
    Gone(String),
    /// A stream.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The broker does not keep to the protocol.
    #[error("the broker does not keep to the protocol: {0}")]
    Protocol(&'static str),
    /// A lane.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// Another ledger than the one this node knows.
    #[error("the broker's ledger is {found}, and this node knows {known}")]
    OtherLedger {
        /// The broker's.
        found: String,
        /// This node's.
        known: String,
    },
    /// A genesis that cannot be read.
    #[error("the broker's genesis cannot be read: {0}")]
    Genesis(#[from] InvalidRecord),
    /// A promise that does not hold.
    #[error(transparent)]
    Promise(#[from] PromiseError),
    /// Signing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The node stops.
    #[error("the node stops")]
    Stopping,
}

impl From<quinn::ConnectionError> for NodeError {
    fn from(error: quinn::ConnectionError) -> Self {
        match error {
            // The broker's refusals come as "sentence (code)".
            quinn::ConnectionError::ApplicationClosed(close) => {
                let text = String::from_utf8_lossy(&close.reason).into_owned();
                let (message, code) = text
                    .strip_suffix(')')
                    .and_then(|text| text.rsplit_once(" ("))
                    .unwrap_or((text.as_str(), "closed"));
                Self::Refused(Refusal::new(code, message))
            }
            other => Self::Gone(other.to_string()),
        }
    }
}

impl From<io::Error> for NodeError {
    fn from(error: io::Error) -> Self {
        Self::Gone(error.to_string())
    }
}
