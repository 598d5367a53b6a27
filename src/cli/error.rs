//! What a command tells the shell.

use std::fmt;
use std::path::Path;

use thiserror::Error;

use crate::bench::BenchError;
use crate::transport::{LocalError, Trouble};

/// A command that did not do what was asked, in a sentence for people.
#[derive(Debug, Error)]
pub enum CliError {
    /// Refused or failed.
    #[error("{message}")]
    Failed {
        /// Stable, for machines.
        code: String,
        /// For people.
        message: String,
    },
    /// Nothing runs there.
    #[error("{0}")]
    NotRunning(String),
    /// Something that should hold does not.
    #[error("{0}")]
    Untrue(String),
}

impl CliError {
    /// Failed, as an error below says.
    pub(super) fn failed(error: impl fmt::Display) -> Self {
        Self::refused("failed", error)
    }

    /// Refused, with a code.
    pub(super) fn refused(code: &str, error: impl fmt::Display) -> Self {
        Self::Failed {
            code: code.to_owned(),
            message: error.to_string(),
        }
    }

    /// A file that cannot be read or written.
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::failed(format!("{}: {error}", path.display()))
    }

    /// The exit code.
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed { .. } => 1,
            Self::NotRunning(_) => 3,
            Self::Untrue(_) => 4,
        }
    }

    pub(super) fn code(&self) -> &str {
        match self {
            Self::Failed { code, .. } => code,
            Self::NotRunning(_) => "not_running",
            Self::Untrue(_) => "untrue",
        }
    }
}

impl From<LocalError> for CliError {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::NotRunning(_) => Self::NotRunning(error.to_string()),
            other => Self::failed(other),
        }
    }
}

/// Errors that a command passes on as they are.
macro_rules! passed_on {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::failed(error)
            }
        })+
    };
}

passed_on!(
    crate::agreement::AgreementError,
    crate::broker::BrokerError,
    crate::deployment::DeploymentError,
    crate::identity::AuthorityError,
    crate::identity::CertificateError,
    crate::identity::HomeError,
    crate::identity::KeyFileError,
    crate::node::NodeError,
    crate::proof::SignError,
    crate::store::StoreError,
);

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Untrue(text) => Self::Untrue(text),
            other => Self::failed(other),
        }
    }
}

impl From<Trouble> for CliError {
    fn from(trouble: Trouble) -> Self {
        Self::Failed {
            code: trouble.code,
            message: trouble.message,
        }
    }
}
