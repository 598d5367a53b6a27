//! Why a node cannot start, or a session ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::bulletin::Precedence;
use crate::identity::{CertificateError, KeyFileError};
use crate::ledger::{InvalidRecord, PromiseError};
use crate::proof::{InvalidKey, InvalidPolicy, SignError, TilePath};
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
    /// The witness policy.
    #[error("{}: {error}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Line and mistake.
        error: InvalidPolicy,
    },
    /// The witness's listener.
    #[error("cannot listen on {address} for logs that ask the witness: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The witness.
    #[error("this node's witness cannot sign: {0}")]
    Witness(String),
    /// The broker's log is older than what it signed before.
    #[error(
        "the broker's log has {shown} records, and it signed {known} before: it was restored from an \
         old backup, or shows another history"
    )]
    OlderLog {
        /// What this node cosigned.
        known: u64,
        /// What the broker shows.
        shown: u64,
    },
    /// The broker's log is another one.
    #[error("the log's key signed two histories of {0} records")]
    Forked(u64),
    /// A record is not what it was said to be.
    #[error("record {0} of the log does not show what was promised or delivered")]
    OtherRecord(u64),
    /// More is said to be acknowledged than was received.
    #[error(
        "the broker says that lane {precedence} was acknowledged up to {acked}, and {held} were received here"
    )]
    Beyond {
        /// Which lane.
        precedence: Precedence,
        /// What the broker says.
        acked: u64,
        /// What is here.
        held: u64,
    },
    /// A record is not in the log.
    #[error("record {position} is not in the log of {size} records that was signed")]
    NotInLog {
        /// Where it should stand.
        position: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// The broker's log lost what it had delivered here.
    #[error(
        "the broker's log lost what it had delivered here: {0} lanes go back to what it still has, and \
         what comes again is not taken twice"
    )]
    Rewound(usize),
    /// A lane that cannot go back.
    #[error(
        "lane {precedence}: the broker's log lost what it had delivered here beyond {number}, and what was \
         carried up to there is not known any more; an operator has to restore a newer ledger"
    )]
    Carried {
        /// The lane.
        precedence: Precedence,
        /// The last number that both agree about.
        number: u64,
    },
    /// What is shown of the tree does not lead to its root.
    #[error(
        "the tree that the broker shows is not that of the {size} records it signed: seen at record \
         {position}"
    )]
    OtherTree {
        /// Where it was seen.
        position: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// A tile is none.
    #[error("{0} of the log cannot be read")]
    Tile(TilePath),
    /// A receipt that was kept does not hold any more.
    #[error("the receipt of record {0} that is kept here does not hold any more")]
    DamagedReceipt(u64),
    /// A key.
    #[error(transparent)]
    Invalid(#[from] InvalidKey),
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
