//! Why a broker cannot start, or must stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::clock::NoEntropy;
use crate::identity::{CertificateError, KeyFileError};
use crate::ledger::{EngineError, InvalidRecord};
use crate::proof::{CosignError, InvalidCheckpoint, InvalidNote, InvalidPolicy, SignError};
use crate::store::StoreError;
use crate::stream::StreamError;
use crate::transport::{EndpointError, LocalError, TlsError};

/// A broker that cannot start, or must stop.
#[derive(Debug, Error)]
pub enum BrokerError {
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
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The endpoint's address.
    #[error("the listening address cannot be read: {0}")]
    Address(io::Error),
    /// The port for health and metrics.
    #[error(
        "health and metrics cannot be served on {address}: {error}; stop what listens there, or \
         choose another port under [http] in the configuration"
    )]
    Http {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The control socket.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream that brokers share.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The log.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A record that cannot be read.
    #[error("record {position} of the ledger: {error}")]
    Record {
        /// Where.
        position: u64,
        /// What is wrong.
        error: InvalidRecord,
    },
    /// A ledger of a newer version.
    #[error("the ledger is decided by version {0} of the rules; upgrade to run it")]
    NewerRules(u32),
    /// No ledger there yet.
    #[error("{} has no ledger; make one with: entente broker init", .0.display())]
    NoLedger(PathBuf),
    /// What a new ledger cannot begin with.
    #[error("the ledger cannot be made: {0}")]
    Framework(String),
    /// A ledger there already.
    #[error("{} has a ledger already", .0.display())]
    LedgerExists(PathBuf),
    /// The place that a ledger is to be copied to has another.
    #[error("record {0} is another in the place that is to be copied to; copy to an empty one")]
    OtherLedger(u64),
    /// What only brokers do that share a log.
    #[error(
        "{} is no stream: a snapshot is of a ledger that several brokers share; for this one, use entente backup",
        .0.display()
    )]
    NotShared(PathBuf),
    /// No checkpoint vouches for a snapshot.
    #[error(
        "no checkpoint is shown yet that has its quorum of witnesses, and a snapshot needs one: run the broker, and try \
         again"
    )]
    NotWitnessed,
    /// The log's key is another.
    #[error("the key in {} is not the one that the ledger's genesis names", .0.display())]
    OtherLogKey(PathBuf),
    /// The witness policy.
    #[error("{}: {error}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Line and mistake.
        error: InvalidPolicy,
    },
    /// The second key.
    #[error("{} is no seed of an ML-DSA-44 key; make one with `entente pki key`", .0.display())]
    SecondKey(PathBuf),
    /// A checkpoint that was not signed.
    #[error(transparent)]
    Cosign(#[from] CosignError),
    /// A checkpoint that cannot be written.
    #[error(transparent)]
    Note(InvalidNote),
    /// The last checkpoint cannot be believed.
    #[error("the last checkpoint in {}: {error}", path.display())]
    Head {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        error: InvalidCheckpoint,
    },
    /// The log is older than what was signed.
    #[error(
        "the ledger has {size} records, and a checkpoint over {signed} was signed: it was restored \
         from an older backup, and going on would rewrite history. Restore a newer one"
    )]
    Rollback {
        /// What there is.
        size: u64,
        /// What was signed.
        signed: u64,
    },
    /// The log is not the one that was signed.
    #[error(
        "the ledger's first {0} records are not those that the last checkpoint was signed over"
    )]
    Forked(u64),
    /// Somebody else signs checkpoints of this log.
    #[error("the last checkpoint was replaced by another process; stop one of them")]
    HeadTaken,
    /// Signing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The commit thread ended.
    #[error("the log is closed")]
    Closed,
}
