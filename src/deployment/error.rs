//! Why a deployment cannot be built or run.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::agreement::{AgreementError, DraftError};
use crate::broker::BrokerError;
use crate::clock::NoEntropy;
use crate::identity::{HomeError, KeyFileError};
use crate::node::NodeError;
use crate::partner::InvalidSpiffeId;
use crate::proof::SignError;
use crate::transport::{LocalError, Trouble};

/// A deployment that cannot be built or run.
#[derive(Debug, Error)]
pub enum DeploymentError {
    /// A file.
    #[error("{}: {error}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The directory holds something already.
    #[error("{} is not empty; name a directory that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// A partner's directory.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// An agreement's text.
    #[error("agreement `{name}`: {error}")]
    Draft {
        /// Its name.
        name: String,
        /// What is wrong.
        error: DraftError,
    },
    /// An agreement.
    #[error(transparent)]
    Agreement(#[from] AgreementError),
    /// Signing.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A name.
    #[error(transparent)]
    Name(#[from] InvalidSpiffeId),
    /// No random bytes.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The broker did not record an act.
    #[error("the broker refuses: {0}")]
    Refused(String),
    /// A running program says no.
    #[error("{message}")]
    Trouble {
        /// Stable, for machines.
        code: String,
        /// For people.
        message: String,
    },
    /// A running program gave another answer than was asked for.
    #[error("the program answered something else; is it another version?")]
    Unexpected,
    /// A running program cannot be asked.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// No free port.
    #[error("no free port on {address}: {error}")]
    Port {
        /// Where.
        address: std::net::IpAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A process that ended.
    #[error("{name} ended ({status}); it last said: {last}")]
    Ended {
        /// Which.
        name: String,
        /// How.
        status: String,
        /// The end of its log.
        last: String,
    },
    /// Something that did not come about.
    #[error("{what} did not come about within {seconds} s")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

impl From<Trouble> for DeploymentError {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble {
            code: trouble.code,
            message: trouble.message,
        }
    }
}

impl DeploymentError {
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }
}
